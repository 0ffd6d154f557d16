"""Room `replica` (imports all below it): exports: plain JSON lines, and archives that carry their proofs.

An archive is zstd over length-framed MessagePack: a head, then for each log its head and its blocks with seeds. It
opens elsewhere as somebody else's logs, read only, with the same roots.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import Annotated, BinaryIO, Final, TypeVar

import msgspec
import zstandard

from antiphon.engines.sqlite.file import translated
from antiphon.log import verify
from antiphon.log.block import pack_run, unpack_run
from antiphon.log.ingest import Home, Homes, Part, ingest, parts_of
from antiphon.log.packed import packed_bytes_max
from antiphon.log.store import LogHead, LogRole
from antiphon.log.tree import HASH_BYTES, Frontier, root_of
from antiphon.model.errors import (
    AntiphonError,
    Corrupt,
    DiskFull,
    InvalidInput,
    NotFound,
    ProtocolViolation,
    Unavailable,
)
from antiphon.model.event import Event, Scope
from antiphon.model.limits import BLOCK_LEAVES, LOG_EVENTS_MAX
from antiphon.model.text import entity_text, event_text, id_text
from antiphon.model.times import iso
from antiphon.replica.core import Replica
from antiphon.replica.hear import hear, take_note

T = TypeVar("T")
ARCHIVE_FORMAT: Final = "antiphon/archive/v1"
HEAD_BYTES_MAX: Final = 8_192
SEEDS_BYTES_MAX: Final = 40_960
BLOCK_REST_BYTES_MAX: Final = SEEDS_BYTES_MAX + 64
"""Of a block's frame, all but the run."""
_READ_BYTES: Final = 1 << 20


class _ArchiveHead(msgspec.Struct, array_like=True):
    antiphon: str
    logs: int


class _LogHead(msgspec.Struct, array_like=True):
    id: bytes
    owner: bytes
    key: bytes
    size: int
    note: bytes
    blocks: int


class _Block(msgspec.Struct, array_like=True):
    first: int
    count: int
    seeds: Annotated[bytes, msgspec.Meta(max_length=SEEDS_BYTES_MAX)]
    run: memoryview


def write_archive(replica: Replica, heads: Iterable[LogHead], path: Path) -> int:
    """Writes whole logs with everything needed to verify them; how many leaves."""
    chosen = [head for head in heads if head.size]
    count = 0
    with _new_file(path) as file, zstandard.ZstdCompressor(level=9).stream_writer(file) as out:
        _put(out, _ArchiveHead(ARCHIVE_FORMAT, len(chosen)))
        for listed in chosen:
            with replica.file.snapshot():
                head = replica.head(listed.id)
                blocks = -(-head.size // BLOCK_LEAVES)
                _put(out, _LogHead(head.id, head.owner, head.key, head.size, head.note, blocks))
                for part in parts_of(replica.logs, replica.reader, head, shared=True):
                    leaves = part.leaves
                    _put(out, _Block(leaves.first, len(leaves.headers), part.seeds, memoryview(pack_run(leaves))))
                    count += len(leaves.headers)
    return count


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        file = os.fdopen(handle, "wb")
    except FileExistsError:
        raise InvalidInput(f"{path} exists already: choose another name") from None
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from None
    try:
        with file:
            yield file
    except OSError as error:
        kind = DiskFull if error.errno == ENOSPC else Unavailable
        raise kind(f"cannot write {path}: {error.strerror}; what there is of it is not whole: delete it") from None


def _put(out: zstandard.ZstdCompressionWriter, value: msgspec.Struct) -> None:
    raw = msgspec.msgpack.encode(value)
    out.write(len(raw).to_bytes(4, "big") + raw)


class _Frames:
    """The frames of an archive, one by one, none longer than its reader allows."""

    def __init__(self, path: Path, source: BinaryIO | zstandard.ZstdDecompressionReader) -> None:
        self._path = path
        self._source = source
        self._taken = 0

    def take(self, shape: type[T], most: int) -> T:
        """The next frame. *Cost*: what really comes, however much it claims to be. Raises ProtocolViolation."""
        try:
            size = int.from_bytes(self._read(4), "big")
            if size > most:
                raise ProtocolViolation(f"{self._path} is not an archive: a frame of {size:,} bytes")
            return msgspec.msgpack.decode(self._read(size), type=shape)
        except zstandard.ZstdError as error:
            raise ProtocolViolation(f"{self._path} is not an archive: {error}") from None
        except OSError as error:
            raise Unavailable(f"cannot read {self._path}: {error.strerror}") from None
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
            raise ProtocolViolation(f"{self._path} is not an archive: {error}") from None

    def end(self) -> None:
        """Raises ProtocolViolation, naming the place, when anything follows the last frame."""
        try:
            more = bool(self._source.read(1))
        except zstandard.ZstdError:  # what follows is not even compressed
            more = True
        except OSError as error:
            raise Unavailable(f"cannot read {self._path}: {error.strerror}") from None
        if more:
            raise ProtocolViolation(
                f"{self._path} is not an archive: something follows its last log, at byte {self._taken:,} of what it "
                "inflates to"
            )

    def _read(self, wanted: int) -> bytearray:
        raw = bytearray()
        while len(raw) < wanted:
            more = self._source.read(min(wanted - len(raw), _READ_BYTES))
            if not more:
                raise ProtocolViolation(f"{self._path} is cut short")
            raw += more
        self._taken += wanted
        return raw


@contextmanager
def _archive_file(path: Path) -> Iterator[_Frames]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from None
    with file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as source:
        yield _Frames(path, source)


def read_archive(path: Path) -> Iterator[tuple[LogHead, Iterator[Part]]]:
    """Each log of an archive with its parts, unverified; take all parts before the next log.

    Raises ProtocolViolation, behind the last log too when anything follows it.
    """
    with _archive_file(path) as frames:
        head = frames.take(_ArchiveHead, HEAD_BYTES_MAX)
        if head.antiphon != ARCHIVE_FORMAT:
            raise ProtocolViolation(f"{path} is an archive of another format: {head.antiphon[:40]!r}")
        for _ in range(head.logs):
            log = frames.take(_LogHead, HEAD_BYTES_MAX)
            if not 0 <= log.size <= LOG_EVENTS_MAX or log.blocks != -(-log.size // BLOCK_LEAVES):
                raise ProtocolViolation(f"{path} is not an archive: {log.size:,} events in {log.blocks:,} blocks")
            head_of_log = LogHead(0, log.id, log.owner, log.key, LogRole.FOREIGN, log.size, note=log.note)
            yield head_of_log, _parts(frames, log)
        frames.end()


def _parts(frames: _Frames, log: _LogHead) -> Iterator[Part]:
    for first in range(0, log.size, BLOCK_LEAVES):
        leaves = min(BLOCK_LEAVES, log.size - first)
        block = frames.take(_Block, BLOCK_REST_BYTES_MAX + packed_bytes_max(leaves))
        yield Part(unpack_run(block.first, block.count, block.run), block.seeds)


def verify_archive(path: Path) -> list[verify.Verdict]:
    """Verifies every log of an archive from the file alone."""
    verdicts: list[verify.Verdict] = []
    homes = Homes()
    for head, parts in read_archive(path):
        waiting = iter(parts)
        home = Home(head)

        def load(first: int, waiting: Iterator[Part] = waiting) -> Part:
            part = next(waiting, None)
            if part is None or part.leaves.first != first:
                raise Corrupt(f"the block of events from {first} is missing")
            home.hear(part.leaves)  # noqa: B023  # called before the next head
            return part

        said = (found for heard in (homes,) for found in heard.erases_in(head))  # asked only if it must have spoken
        verdicts.append(verify.verify_log(head, load, block_roots={}, erased_by_principal=said))
        if verdicts[-1].ok:
            homes.add(home)
        for _ in waiting:
            pass
    return verdicts


def adopt_archive(replica: Replica, path: Path, *, of: bytes | None = None) -> list[LogHead]:
    """Takes the logs of an archive (all, or `of` one owner) into a file as somebody else's, verified; those already
    here grow or stay.
    """
    taken: list[LogHead] = []
    with replica.transaction():
        for head, parts in read_archive(path):
            known = replica.logs.head(head.id)
            here = known is not None and (known.role != LogRole.FOREIGN or known.size >= head.size)
            if here or head.owner != (of or head.owner):
                for _ in parts:
                    pass
                continue
            start = known
            if start is None:
                start = LogHead(0, head.id, head.owner, head.key, LogRole.FOREIGN)
                replica.logs.save_head(start)
            first, said = start.size, list[tuple[int, list[tuple[int, int]]]]()
            keep = first - first % BLOCK_LEAVES
            rest = (part for part in parts if part.leaves.first >= keep)
            taken.append(ingest(replica.logs, start, rest, head.note, said))
            take_note(replica, taken[-1], said, first)
    replica.forget_caches()
    hear(replica)
    return [replica.head(head.id) for head in taken]


def as_json(event: Event) -> dict[str, object]:
    """An event as plain JSON values; bytes in hexadecimal."""
    header = event.header
    return {
        "event": event_text(event.log, event.seq),
        "recorded": iso(header.hlc >> 16),
        "occurred": None if header.occurred is None else iso(header.occurred),
        "hlc": str(header.hlc),
        "kind": header.kind,
        "kind_version": header.kind_version,
        "entity": None if header.entity is None else entity_text(header.entity),
        "about": [person.hex() for person in header.about or ()],
        "scope": Scope(header.scope).name.lower(),
        "refs": [{"role": ref.role, "event": event_text(ref.log, ref.seq)} for ref in header.refs or ()],
        "body": event.plain(),
    }


class Damaged(msgspec.Struct, frozen=True):
    """A block that an export left out: its log, its first and last seq, and what is wrong with it."""

    log: str
    first: int
    last: int
    reason: str


def write_json_lines(
    replica: Replica, heads: Iterable[LogHead], path: Path, *, damage: list[Damaged] | None = None
) -> int:
    """Writes events as JSON lines, log by log; how many. Every block is hashed again before it is written.

    Without `damage` raises Corrupt at the first bad block; with it, leaves bad blocks out and lists them there.
    """
    count = 0
    with _new_file(path) as file:
        for head in heads:
            for first in range(0, head.size, BLOCK_LEAVES):
                last = min(first + BLOCK_LEAVES, head.size)
                try:
                    lines = _checked_lines(replica, head, first, last)
                except AntiphonError as error:
                    if damage is None:
                        raise
                    damage.append(Damaged(id_text(head.id), first, last - 1, str(error)))
                    continue
                file.write(b"".join(line + b"\n" for line in lines))
                count += len(lines)
    return count


def _checked_lines(replica: Replica, head: LogHead, first: int, last: int) -> list[bytes]:
    """The events of one block as JSON, once the block has proved to be the one that was written."""
    with translated(replica.file.path):
        block = replica.logs.block(head.no, first)
        root = b"" if block is None else block.root
        if not root:  # the open block: its subtrees are the low end of the frontier
            rest = head.size % BLOCK_LEAVES
            root = Frontier(rest, head.frontier[: HASH_BYTES * rest.bit_count()]).root()
        if root_of(replica.reader.hashes(head, first)[: last - first]) != root:
            raise Corrupt(f"events {first} to {last - 1} do not hash to the root they had when they were written")
        return [msgspec.json.encode(as_json(event)) for event in replica.reader.events(head, first, last)]
