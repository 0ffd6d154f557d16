"""Room `region` (imports `replica` and below): logs that lie in several files seen as one store, and files of rows.

A log's number across files is its number in its file, times the count of files, plus which file: what it is found
by stays the same however logs grow. A file of rows holds no log: it folds those of all log files and keeps its part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.logs import SqliteLogs
from antiphon.log.read import Hidden, LogReader, Ranges, every_kind
from antiphon.log.store import BlockRow, LogHead, LogRole, RunRow
from antiphon.model.errors import Conflict
from antiphon.model.event import Event
from antiphon.model.table import Table
from antiphon.model.values import key_of, key_values
from antiphon.replica.core import Replica
from antiphon.replica.holds import Place, hidden_by

_SPANS_KEPT = 512


def file_of(log: bytes, files: int) -> int:
    """Which file a log lies in: its id is a hash already."""
    return int.from_bytes(log[:8], "big") % files


def shard_of(table: Table, key: bytes, shards: int) -> int:
    """Which file a row lies in: rows whose shard columns hold the same lie together, whatever their tables."""
    named = dict(zip(table.key, key_values(table, key), strict=True))
    raw = _place_bytes(table, named)
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big") % shards


def _place_bytes(table: Table, named: dict[str, Any]) -> bytes:
    columns = table.shard_columns
    if len(columns) == 1 and isinstance(named[columns[0]], bytes):
        return bytes(named[columns[0]])
    parts = Table("place", key=columns, columns=tuple(table.column(name) for name in columns), minted=False)
    return key_of(parts, named)


class RegionLogs(SqliteLogs):
    """The logs of several files, read as one store. They are written where they lie."""

    def __init__(self, files: Sequence[Replica]) -> None:
        super().__init__(files[0].file)
        self._files = files
        self._known: list[tuple[int, list[LogHead]]] = [(-1, [])] * len(files)

    def changed(self) -> tuple[int, ...]:
        """Numbers that change when a file has."""
        return tuple(replica.file.version() for replica in self._files)

    def heads(self) -> Iterator[LogHead]:
        for at, replica in enumerate(self._files):
            version = replica.file.version()
            if self._known[at][0] != version:
                self._known[at] = version, [self._across(head, at) for head in replica.logs.heads()]
            yield from self._known[at][1]

    def standing(self) -> dict[Place, Ranges]:
        """What rows must leave out, by the erasure that says so: the logs' numbers are those across files."""
        return {
            (place[0] * len(self._files) + at, *place[1:]): ranges
            for at, replica in enumerate(self._files)
            for place, ranges in replica.holds.standing().items()
        }

    def hidden(self) -> Hidden:
        """What nobody is shown; of what is being forgotten too, so that no file of rows folds it meanwhile."""
        standing = self.standing()
        return hidden_by(standing) if standing else {}

    def head(self, log_id: bytes) -> LogHead | None:
        at = file_of(log_id, len(self._files))
        head = self._files[at].logs.head(log_id)
        return None if head is None else self._across(head, at)

    def head_no(self, no: int) -> LogHead | None:
        logs, there = self._there(no)
        head = logs.head_no(there)
        return None if head is None else self._across(head, no % len(self._files))

    def _across(self, head: LogHead, at: int) -> LogHead:
        return msgspec.structs.replace(head, no=head.no * len(self._files) + at, role=LogRole.FOLLOWED)

    def _there(self, no: int) -> tuple[SqliteLogs, int]:
        return self._files[no % len(self._files)].logs, no // len(self._files)

    def save_head(self, head: LogHead) -> None:
        raise Conflict("a log is written in its own file")

    def block(self, no: int, first: int) -> BlockRow | None:
        logs, there = self._there(no)
        return logs.block(there, first)

    def blocks(self, no: int) -> Iterator[tuple[int, int, bytes]]:
        logs, there = self._there(no)
        return logs.blocks(there)

    def save_block(self, no: int, block: BlockRow, frames: Iterable[tuple[int, bytes]] | None) -> None:
        raise Conflict("a log is written in its own file")

    def frame(self, no: int, first: int) -> bytes | None:
        logs, there = self._there(no)
        return logs.frame(there, first)

    def runs(self, no: int, first: int, last: int) -> list[RunRow]:
        logs, there = self._there(no)
        return logs.runs(there, first, last)

    def save_run(self, no: int, run: RunRow) -> None:
        raise Conflict("a log is written in its own file")


class RegionReader(LogReader):
    """Reads events across files; what was decoded for one file of rows serves the others too."""

    def __init__(self, logs: RegionLogs) -> None:
        super().__init__(logs, lambda: hash(logs.changed()), hidden=logs.hidden)
        self._logs = logs
        self._spans: dict[tuple[int, int, int | None, int], list[Event]] = {}
        self._at: tuple[int, ...] = ()

    def events(
        self, head: LogHead, first: int = 0, last: int | None = None, *, whole: Callable[[str], bool] = every_kind
    ) -> Iterator[Event]:
        now = self._logs.changed()
        if now != self._at or len(self._spans) > _SPANS_KEPT:
            self._spans.clear()
            self._at = now
        key = (head.no, first, last, len(head.resets))
        found = self._spans.get(key)
        if found is None:
            found = self._spans[key] = list(super().events(head, first, last))
        return iter(found)


class LogFile(Replica):
    """One file of logs: what is erased in it is for the region to destroy, once no file of rows shows it."""

    holds_rows = False


class RowFile(Replica):
    """One file of rows: a replica that folds logs which lie elsewhere, and keeps the rows of one shard."""

    holds_logs = False

    def __init__(
        self,
        file: SqliteFile,
        *given: Any,
        logs: RegionLogs,
        reading: RegionReader,
        shard: int,
        shards: int,
        **world: Any,
    ) -> None:
        self._region_logs, self._shard, self._shards = logs, shard, shards
        self._seen: tuple[int, ...] = ()
        super().__init__(file, *given, background=False, **world)
        self._write_reader = reading

    def logs_of(self, file: SqliteFile) -> SqliteLogs:
        return self._region_logs

    def hidden(self) -> Hidden:
        return self._region_logs.hidden()

    def standing_erasures(self) -> dict[Place, Ranges]:
        return self._region_logs.standing()

    def is_mine(self, table: Table, key: bytes) -> bool:
        return self._shards == 1 or shard_of(table, key, self._shards) == self._shard

    def refresh_in_transaction(self) -> None:
        super().refresh_in_transaction()
        now = self._region_logs.changed()
        if now == self._seen:
            return
        self._seen = now
        self._heads_by_no = {head.no: head for head in self.logs.heads()}
        self._heads = {head.id: head for head in self._heads_by_no.values()}
        self._cut_all()
        self._moved()

    def pack_some(self, *, blocks_max: int = 16, runs_min: int = 2) -> int:
        return 0  # there are no logs here
