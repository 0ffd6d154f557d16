"""A disk that remembers: a VFS below the encryption layer that records writes, and what a power cut leaves of them.

Until a file is synced, each of its writes since the last sync may have reached the disk, or not, or only some of its
512-byte sectors; deletions and truncations too. What it does not model: a disk that lies about syncs, one that mixes up
bytes it was not told to write, and the directory entries of new files (they are taken to be there).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512
_numbers = count(1)


@dataclass
class Step:
    """One thing that happened to the disk: write, sync, truncate or delete of a file; or a note of the test's own."""

    what: str
    name: str = ""
    at: int = 0
    data: bytes = b""
    note: Any = None


@dataclass
class Trace:
    """What a workload did to the disk, in order."""

    steps: list[Step] = field(default_factory=list)

    def note(self, what: str, value: Any) -> None:
        """Adds something of the test's own: an acknowledgement, a mark that was synced elsewhere."""
        self.steps.append(Step(what, note=value))

    def writes(self) -> list[int]:
        """Where in the trace the disk was touched: every place at which power can fail."""
        return [at for at, step in enumerate(self.steps) if step.what in ("write", "sync", "truncate", "delete")]

    def left_by_power_cut(self, at: int, rng: random.Random) -> dict[str, bytes]:
        """The files as a power cut right before step `at` leaves them, by name."""
        files: dict[str, bytearray] = {}
        loose: dict[str, list[Step]] = {}
        for step in self.steps[:at]:
            if step.what == "sync":
                for waiting in loose.pop(step.name, []):
                    _apply(files, waiting)
            elif step.what in ("write", "truncate", "delete"):
                loose.setdefault(step.name, []).append(step)
        for steps in loose.values():
            fate = rng.choice(("all", "none", "some", "some"))
            for step in steps:
                if fate == "all" or (fate == "some" and rng.random() < 0.5):
                    _apply(files, step, torn=rng if fate == "some" and rng.random() < 0.5 else None)
        return {name: bytes(content) for name, content in files.items()}


def _apply(files: dict[str, bytearray], step: Step, torn: random.Random | None = None) -> None:
    if step.what == "delete":
        files.pop(step.name, None)
        return
    content = files.setdefault(step.name, bytearray())
    if step.what == "truncate":
        del content[step.at :]
        return
    for low in range(0, len(step.data), SECTOR):
        if torn is not None and torn.random() < 0.5:
            continue
        piece = step.data[low : low + SECTOR]
        start = step.at + low
        content.extend(bytes(max(0, start + len(piece) - len(content))))
        content[start : start + len(piece)] = piece


class _RecordedFile(apsw.VFSFile):
    def __init__(self, disk: RecordingDisk, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(path).name if path else None
        self._disk = disk
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.before_write(self._name, len(data))
        super().xWrite(data, offset)
        self._note(Step("write", self._name or "", offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        super().xTruncate(size)
        self._note(Step("truncate", self._name or "", size))

    def xSync(self, flags: int) -> None:
        self._disk.before_sync(self._name)
        super().xSync(flags)
        self._note(Step("sync", self._name or ""))

    def _note(self, step: Step) -> None:
        if self._name is not None:
            self._disk.trace.steps.append(step)


class RecordingDisk(apsw.VFS):
    """Passes everything to the real disk and records it. Give `vfs` to whatever opens files, and close it after."""

    def __init__(self) -> None:
        self.trace = Trace()
        self._inner = f"recorded{next(_numbers)}"
        super().__init__(self._inner, "unix")

    @property
    def vfs(self) -> str:
        """The name to open encrypted files by: the cipher's layer above this one."""
        return f"multipleciphers-{self._inner}"

    def before_write(self, name: str | None, size: int) -> None:
        """For disks that refuse."""

    def before_sync(self, name: str | None) -> None:
        """For disks that refuse."""

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _RecordedFile(self, name, flags)

    def xDelete(self, name: str, sync_directory: bool) -> None:
        super().xDelete(name, sync_directory)
        self.trace.steps.append(Step("delete", Path(name).name))
        if sync_directory:
            self.trace.steps.append(Step("sync", Path(name).name))


class SmallDisk(RecordingDisk):
    """A disk with room for so many more bytes; then it says that it is full."""

    def __init__(self) -> None:
        super().__init__()
        self.room: int | None = None

    def before_write(self, name: str | None, size: int) -> None:
        if self.room is None:
            return
        if size > self.room:
            raise apsw.FullError("no room")
        self.room -= size


def put_files(folder: Path, files: dict[str, bytes], names: Iterable[str]) -> None:
    """Makes the files in a folder be those; a file that stays keeps its inode."""
    for name in names:
        path = folder / name
        if name in files:
            with path.open("r+b" if path.exists() else "w+b") as file:
                file.write(files[name])
                file.truncate()
        else:
            with suppress(FileNotFoundError):
                path.unlink()
