"""Room `replica` (imports all below it): exports: plain JSON lines, and archives that carry their proofs.

An archive is zstd over length-framed MessagePack: a head, then for each log its head and its blocks with seeds. It
opens elsewhere as somebody else's logs, read only, with the same roots.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec
import zstandard

from antiphon.engines.sqlite.file import translated
from antiphon.identity.signing import decode_statement
from antiphon.log import kinds, verify
from antiphon.log.block import pack_run, unpack_run
from antiphon.log.ingest import Part, ingest, parts_of
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
from antiphon.model.event import Event, Scope, decode_body, decode_header
from antiphon.model.limits import BLOCK_LEAVES
from antiphon.model.text import entity_text, event_text, id_text
from antiphon.model.times import iso
from antiphon.replica.core import Replica

T = TypeVar("T")
ARCHIVE_FORMAT: Final = "antiphon/archive/v1"
FRAME_BYTES_MAX: Final = 1 << 29


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
    seeds: bytes
    run: bytes


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
                    _put(out, _Block(leaves.first, len(leaves.headers), part.seeds, pack_run(leaves)))
                    count += len(leaves.headers)
    return count


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("xb")
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


def _frames(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as source:
            while True:
                size = source.read(4)
                if not size:
                    return
                wanted = int.from_bytes(size, "big")
                if len(size) < 4 or wanted > FRAME_BYTES_MAX:
                    raise ProtocolViolation(f"{path} is cut short or not an archive")
                raw = b""
                while len(raw) < wanted:
                    more = source.read(wanted - len(raw))
                    if not more:
                        raise ProtocolViolation(f"{path} is cut short")
                    raw += more
                yield raw
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except zstandard.ZstdError as error:
        raise ProtocolViolation(f"{path} is not an archive: {error}") from None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from None


def read_archive(path: Path) -> Iterator[tuple[LogHead, Iterator[Part]]]:
    """Each log of an archive with its parts, unverified; take all parts before the next log."""
    frames = _frames(path)

    def take(shape: type[T]) -> T:
        try:
            return msgspec.msgpack.decode(next(frames), type=shape)
        except StopIteration:
            raise ProtocolViolation(f"{path} is cut short") from None
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
            raise ProtocolViolation(f"{path} is not an archive: {error}") from None

    head = take(_ArchiveHead)
    if head.antiphon != ARCHIVE_FORMAT:
        raise ProtocolViolation(f"{path} is an archive of another format: {head.antiphon[:40]!r}")
    for _ in range(head.logs):
        log = take(_LogHead)

        def parts(log: _LogHead = log) -> Iterator[Part]:
            for _ in range(log.blocks):
                block = take(_Block)
                yield Part(unpack_run(block.first, block.count, block.run), block.seeds)

        yield LogHead(0, log.id, log.owner, log.key, LogRole.FOREIGN, log.size, note=log.note), parts()


class _Spoken:
    """What the principals' logs of an archive, which come first in it, erase in logs that are not written any more."""

    def __init__(self) -> None:
        self._principal_of: dict[bytes, bytes] = {}
        self._ranges: dict[tuple[bytes, bytes], list[tuple[int, int]]] = {}

    def hear(self, head: LogHead, part: Part) -> None:
        """Takes note of the agents and erasures in a part of a log, if it is a principal's."""
        for raw, body in zip(part.leaves.headers, part.leaves.bodies, strict=True):
            if raw is None or body is None:
                continue
            kind = decode_header(raw).kind
            if kind == kinds.AGENT_INCEPTED:
                self._principal_of[decode_statement(body).id] = head.owner
            elif kind == kinds.ERASED:
                said = kinds.read_erased(body, part.leaves.first)
                if said.log is not None:
                    self._ranges.setdefault((head.owner, said.log), []).extend(said.ranges)

    def of(self, head: LogHead) -> list[tuple[int, int]]:
        """What the principal of a log's agent erased in it."""
        return self._ranges.get((self._principal_of.get(head.owner, b""), head.id), [])


def verify_archive(path: Path) -> list[verify.Verdict]:
    """Verifies every log of an archive from the file alone."""
    verdicts: list[verify.Verdict] = []
    spoken = _Spoken()
    for head, parts in read_archive(path):
        waiting = iter(parts)

        def load(first: int, waiting: Iterator[Part] = waiting) -> Part:
            part = next(waiting, None)
            if part is None or part.leaves.first != first:
                raise Corrupt(f"the block of events from {first} is missing")
            spoken.hear(head, part)  # noqa: B023  # called before the next head
            return part

        verdicts.append(verify.verify_log(head, load, block_roots={}, erased_by_principal=spoken.of(head)))
        for _ in waiting:
            pass
    return verdicts


def adopt_archive(replica: Replica, path: Path) -> list[LogHead]:
    """Takes the logs of an archive into a file as somebody else's, verified; those already here grow or stay."""
    taken: list[LogHead] = []
    with replica.transaction():
        for head, parts in read_archive(path):
            known = replica.logs.head(head.id)
            if known is not None and (known.role != LogRole.FOREIGN or known.size >= head.size):
                for _ in parts:
                    pass
                continue
            start = known
            if start is None:
                start = LogHead(0, head.id, head.owner, head.key, LogRole.FOREIGN)
                replica.logs.save_head(start)
            keep = start.size - start.size % BLOCK_LEAVES
            taken.append(ingest(replica.logs, start, (part for part in parts if part.leaves.first >= keep), head.note))
    replica.forget_caches()
    return taken


def as_json(event: Event) -> dict[str, object]:
    """An event as plain JSON values; bytes in hexadecimal."""
    header = event.header
    try:
        body = decode_body(event.body) if event.body else None
    except (msgspec.DecodeError, UnicodeError):
        body = None if event.body is None else event.body.hex()
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
        "body": plain(body),
    }


def plain(value: object) -> object:
    """A decoded body with bytes in hexadecimal, for JSON."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


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
