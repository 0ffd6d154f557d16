"""A log written on a real store, for the tests of this folder: one file, a new log whenever one is asked for."""

from pathlib import Path

import msgspec

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.logs import SqliteLogs
from antiphon.identity.signing import SigningKey
from antiphon.identity.statements import log_id_of
from antiphon.log import kinds, rewrite
from antiphon.log.append import Appended, Appender
from antiphon.log.ingest import Part, parts_of
from antiphon.log.loaded import LoadedBlock
from antiphon.log.read import LogReader
from antiphon.log.store import LogHead
from antiphon.log.verify import Verdict, verify_log
from antiphon.model.event import Draft, encode_body
from antiphon.model.limits import BLOCK_LEAVES
from antiphon.model.note import Checkpoint
from antiphon.world.entropy import SeededEntropy

NOW = 1_750_000_000_000
OWNER = b"o" * 32


class Store:
    """A file with logs. Every reader it hands out sees what was written last."""

    def __init__(self, path: Path) -> None:
        self.file = SqliteFile(path, bytes(32), create=True)
        self.logs = SqliteLogs(self.file)
        self.entropy = SeededEntropy(1)
        self.appender = Appender(self.logs, self.entropy)

    def new_log(self) -> "Written":
        key = SigningKey(self.entropy.bytes(32))
        head = LogHead(0, log_id_of(OWNER, key.public), OWNER, key.public)
        with self.file.transaction():
            self.logs.save_head(head)
        return Written(self, head, key)

    def adopted(self, of: LogHead) -> LogHead:
        """An empty head for somebody's log."""
        head = LogHead(0, of.id, of.owner, of.key, 2)
        with self.file.transaction():
            self.logs.save_head(head)
        return head


class Written:
    """One log, and what one does with it."""

    def __init__(self, store: Store, head: LogHead, key: SigningKey) -> None:
        self.store, self.head, self.key = store, head, key
        self.now_ms = NOW

    def append(self, drafts: list[Draft]) -> Appended:
        with self.store.file.transaction():
            done = self.store.appender.append(self.head, drafts, now_ms=self.now_ms, signer=self.key)
        self.head = done.head
        return done

    def say(self, count: int, **fields: object) -> Appended:
        """So many plain events, each with a body of its own."""
        first = self.head.size
        return self.append([Draft("example.said", encode_body(f"event {first + n}"), **fields) for n in range(count)])

    def pack(self) -> int:
        with self.store.file.transaction():
            return sum(
                rewrite.pack_block(self.store.logs, self.head, first)
                for first in range(0, self.head.size, BLOCK_LEAVES)
            )

    def erase(self, seqs: list[int], *, silently: bool = False) -> None:
        if not silently:
            self.append(kinds.erased(sorted(seqs), "asked"))
        with self.store.file.transaction():
            rewrite.erase(self.store.logs, self.head, sorted(seqs))
            self.store.appender.forget_caches()

    @property
    def reader(self) -> LogReader:
        return LogReader(self.store.logs, lambda: 0)

    def hashes(self) -> list[bytes]:
        found: list[bytes] = []
        for first in range(0, self.head.size, BLOCK_LEAVES):
            found += self.reader.hashes(self.head, first)
        return found

    def load(self, first: int) -> Part:
        block = LoadedBlock(self.store.logs, self.head, first)
        return Part(block.leaves(self.store.logs), block.row.seeds)

    def roots(self) -> dict[int, bytes]:
        return {first: root for first, _, root in self.store.logs.blocks(self.head.no) if root}

    def verify(self, *, since: Checkpoint | None = None, load: object = None) -> Verdict:
        chosen = self.load if load is None else load
        return verify_log(self.head, chosen, block_roots=self.roots(), since=since)  # type: ignore[arg-type]

    def parts(self, *, shared: bool = False) -> list[Part]:
        return list(parts_of(self.store.logs, self.reader, self.head, shared=shared))

    def stored_bytes(self) -> bytes:
        """All bytes of this log's rows, decompressed where they are compressed runs; for looking for what is gone."""
        low, high = self.head.no << 40, (self.head.no + 1) << 40
        found = b""
        for sql in (
            "SELECT seeds, root, columns FROM blocks WHERE place>=? AND place<?",
            "SELECT data FROM runs WHERE place>=? AND place<?",
        ):
            for row in self.store.file.reader.execute(sql, (low, high)):
                found += b"".join(value for value in row if value)
        return found


def structural_copy(part: Part) -> Part:
    """An independent copy, to be damaged."""
    leaves = part.leaves
    return Part(
        msgspec.structs.replace(
            leaves,
            headers=list(leaves.headers),
            bodies=list(leaves.bodies),
            states=None if leaves.states is None else bytearray(leaves.states),
            hashes=dict(leaves.hashes),
        ),
        part.seeds,
    )
