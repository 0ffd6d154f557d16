"""Room `world` (imports `model`): the machine, and the marks it keeps outside every agent's folder.

A mark says how far a file had grown when a checkpoint of it last left a process here. A file whose mark is
missing, ahead of it or of another machine is a copy or a restored backup: its logs must not be written again.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import threading
from collections.abc import Iterator
from errno import EACCES, ENOSPC, EPERM, EROFS
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG

import msgspec
import platformdirs

from antiphon.model.errors import DiskFull, ReadOnly, Unavailable

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

MARK_BYTES = 4_096 + 512
"""Room for a path of the greatest length and the rest."""


class Mark(msgspec.Struct, frozen=True):
    """The last known state of one file on this machine.

    *Units*: `events` counts all events ever appended to the file, over all its logs.
    """

    machine: str
    path: str
    device: int
    inode: int
    incarnation: str
    events: int


class Host:
    """This machine's identity and its state folder."""

    def __init__(self, state: Path | None = None, machine: str | None = None) -> None:
        self._state = state or state_folder()
        self._machine = machine or _machine()

    def observe(self, path: Path, *, incarnation: str, events: int) -> Mark:
        """The mark that the file at `path` should have now."""
        stat = path.stat()
        return Mark(self._machine, str(path.resolve()), stat.st_dev, stat.st_ino, incarnation, events)

    def recall(self, file_id: bytes) -> Mark | None:
        """The mark kept for a file, None when there is none that can be read."""
        try:
            return msgspec.json.decode(self._place(file_id).read_bytes(), type=Mark)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return None

    def keep(self, file_id: bytes, mark: Mark) -> None:
        """Stores a mark and waits until it is on disk. Raises Unavailable when the state folder cannot be written."""
        place = self._place(file_id)
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = place.with_suffix(f".{os.getpid()}.{threading.get_ident()}.new")
            handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(handle, _padded(mark))
                os.fsync(handle)
            finally:
                os.close(handle)
            fresh.replace(place)
        except OSError as error:
            known = {ENOSPC: DiskFull, EACCES: ReadOnly, EPERM: ReadOnly, EROFS: ReadOnly}
            raise known.get(error.errno or 0, Unavailable)(
                f"cannot keep marks in {place.parent} ({error.strerror}): without them a copy could not be told from "
                "the original; make room there, or set ANTIPHON_STATE to a folder on this machine that can be written",
                path=str(place.parent),
            ) from None
        _sync_folder(place.parent)

    def note(self, file_id: bytes, mark: Mark) -> None:
        """Moves a kept mark on without waiting for the disk; quietly nothing where none is kept.

        A killed process then leaves a mark that is not behind; only a power cut can. *Cost*: about 10 µs.
        """
        with contextlib.suppress(OSError):
            handle = os.open(self._place(file_id), os.O_WRONLY)
            try:
                os.write(handle, _padded(mark))
            finally:
                os.close(handle)

    def _place(self, file_id: bytes) -> Path:
        return self._state / "marks" / f"{file_id.hex()}.json"


def _padded(mark: Mark) -> bytes:
    """A mark's bytes, of one length, so that a newer one covers an older one."""
    return msgspec.json.encode(mark).ljust(MARK_BYTES)


def has_other_names(path: Path) -> bool:
    """Whether the file has hard links. SQLite keeps a log beside each name; two names lose each other's commits."""
    try:
        found = path.stat()
    except OSError:
        return False
    return S_ISREG(found.st_mode) and found.st_nlink > 1  # a folder's links are its sub-folders


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a lock on a file of this name, among threads and processes; where there are no such locks, does nothing."""
    with path.open("ab") as guard:
        if fcntl is not None:
            fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def still_ours(seen: Mark | None, now: Mark) -> bool:
    """Whether the file is the very one the mark was made for: not a copy, not an older state of it."""
    if seen is None or seen.machine != now.machine or seen.incarnation != now.incarnation:
        return False
    same_file = seen.inode == now.inode and (seen.device == now.device or seen.path == now.path)
    return same_file and seen.events <= now.events


def state_folder() -> Path:
    """The host-local folder for marks: `ANTIPHON_STATE`, else the system's place for such state."""
    chosen = os.environ.get("ANTIPHON_STATE")
    return Path(chosen) if chosen else Path(platformdirs.user_state_dir("antiphon", appauthor=False))


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # Windows cannot open folders; its rename is durable enough
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _machine() -> str:
    parts = [platform.system()]
    for place in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            parts.append(Path(place).read_text().strip())
            break
    else:
        parts.append(_hardware_uuid() or platform.node())
    in_container = Path("/.dockerenv").exists() or Path("/run/.containerenv").exists()
    if in_container or "KUBERNETES_SERVICE_HOST" in os.environ:
        parts.append(platform.node())  # containers of one image share a machine id, never a host name
    return sha256("\0".join(parts).encode()).hexdigest()[:32]


def _hardware_uuid() -> str | None:
    if platform.system() != "Darwin":
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(
            ["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        ).stdout
        for line in found.splitlines():
            if "IOPlatformUUID" in line:
                return line.split('"')[-2]
    return None
