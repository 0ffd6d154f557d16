"""Room `replica` (imports all below it): views as of an event or a time, folded into a file of their own, for audit.

The file is plain SQLite, since an auditor has tools of their own: it is noted as a copy, so that `forget` names it.
What was forgotten since is not in it, and who may write is judged by what is known now.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.engines.sqlite.figures import SqliteFigures, SqliteRejections
from antiphon.engines.sqlite.file import SqliteFile
from antiphon.engines.sqlite.mentions import SqliteMentions
from antiphon.engines.sqlite.plain import PlainFile
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.engines.sqlite.tips import SqliteTips
from antiphon.log.read import stamp_of
from antiphon.log.store import LogHead
from antiphon.model.event import Event
from antiphon.model.table import Table
from antiphon.model.text import EntityIds, event_text, id_text
from antiphon.model.times import iso
from antiphon.query.shown import as_plain
from antiphon.replica.core import Replica
from antiphon.replica.forget import note_copy
from antiphon.views.maintain import Views
from antiphon.views.state import FileState

_BATCH: Final = 1_024


class Until(msgspec.Struct, frozen=True):
    """The last event, or the last moment, that counts: all that comes before in the one order counts too."""

    event: Event | None = None
    time_ms: int = 0

    def includes(self, log: bytes, seq: int, stamp: int) -> bool:
        """Whether an event of this place counts."""
        if self.event is None:
            return stamp >> 16 <= self.time_ms
        if log == self.event.log:
            return seq <= self.event.seq
        return (stamp, log, seq) <= (self.event.stamp, self.event.log, self.event.seq)

    def __str__(self) -> str:
        return iso(self.time_ms) if self.event is None else event_text(self.event.log, self.event.seq)


class Replayed(msgspec.Struct):
    """What was folded: events read, rows by table, and whether the copy could be noted."""

    until: str
    events: int
    rows: dict[str, int]
    rejections: int
    noted: bool = True


def replay(
    replica: Replica,
    path: Path,
    until: Until,
    *,
    domains: Collection[str] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Replayed:
    """Folds these domains (None for all) as of then and writes their rows to a new, plain SQLite file at `path`.

    *Cost*: about 100 µs an event, and a scratch file beside `path`, encrypted by a key that is never stored.
    Raises InvalidInput for a domain that there is not, Conflict when there is a file.
    """
    names = (
        set(replica.registry.domains) if domains is None else {replica.registry.domain(name).name for name in domains}
    )
    plain = PlainFile(path)
    try:
        with tempfile.TemporaryDirectory(prefix=".replay-", dir=path.resolve().parent) as folder:
            scratch = SqliteFile(Path(folder) / "rows", replica.entropy.bytes(32), create=True)
            try:
                found = _Replay(replica, scratch, names, until).write(plain, progress)
            finally:
                scratch.close()
        plain.close()
    except BaseException:
        plain.abandon()
        raise
    found.noted = note_copy(replica, str(path), "replay")
    return found


class _Replay:
    """One fold into a scratch file."""

    def __init__(self, replica: Replica, scratch: SqliteFile, domains: set[str], until: Until) -> None:
        self._replica, self._scratch, self._until = replica, scratch, until
        self._heads = {head.no: head for head in replica.folded_heads()}
        self._cut = {no: self._size_then(head) for no, head in self._heads.items()}
        then = {
            no: msgspec.structs.replace(head, resets=[reset for reset in head.resets if reset[0] < self._cut[no]])
            for no, head in self._heads.items()
        }
        self._then = then
        self._tables = SqliteTables(scratch, self._held)
        self._rejections = SqliteRejections(scratch)
        self._views = Views(
            replica.registry,
            self._tables,
            SqliteFigures(scratch, self._tables),
            SqliteMentions(scratch),
            self._rejections,
            lambda: replica.reader,
            lambda: then,
            replica.authority,
            tips=SqliteTips(scratch),
            head_of=lambda log: next((head for head in then.values() if head.id == log), None),
        )
        self._views.live = frozenset(domains)

    def _size_then(self, head: LogHead) -> int:
        """How many events of a log count."""
        first, last = 0, head.size
        while first < last:
            middle = (first + last) // 2
            at = middle
            header = self._replica.reader.header(head, at)
            while header is None and at + 1 < last:  # forgotten ones say nothing; the next one does
                at += 1
                header = self._replica.reader.header(head, at)
            if header is None:
                last = middle
            elif self._until.includes(head.id, at, stamp_of(head, at, header.hlc)):
                first = at + 1
            else:
                last = middle
        return first

    def _held(self, table: str, key: bytes, no: int, seq: int) -> Any:
        return self._views.held_value(self._replica.reader.event(self._then[no], seq), table, key)

    def write(self, plain: PlainFile, progress: Callable[[int], None]) -> Replayed:
        count, state = 0, FileState()
        for no, head in self._then.items():
            for batch in self._batches(head, self._cut[no]):
                with self._scratch.transaction():
                    self._views.fold_events(state, head, EntityIds(head.id), batch)
                count += len(batch)
                progress(len(batch))
        found = Replayed(str(self._until), count, {}, 0)
        for table in self._live_tables():
            columns = ("event", *table.names)
            found.rows[table.name] = plain.add(table.name, columns, self._rows(table))
        refused = list(self._refused())
        found.rejections = plain.add("antiphon_rejections", ("tbl", "key", "event", "rule", "detail"), refused)
        plain.add("antiphon_replay", ("what", "value"), self._facts(found))
        return found

    def _batches(self, head: LogHead, size: int) -> Iterator[list[Event]]:
        batch: list[Event] = []
        for event in self._replica.reader.events(head, 0, size):
            batch.append(event)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        yield batch

    def _live_tables(self) -> list[Table]:
        registry = self._replica.registry
        return [
            table
            for name, table in registry.tables.items()
            if registry.domain_of_table[name] in self._views.live and self._tables.exists(table)
        ]

    def _rows(self, table: Table) -> Iterator[dict[str, Any]]:
        for row in self._tables.all_rows(table):
            event = None if table.rollup_of else event_text(self._heads[row.log].id, row.seq)
            yield {"event": event, **as_plain(table, row.values)}

    def _refused(self) -> Iterator[dict[str, Any]]:
        for table, key, no, seq, rule, detail in self._rejections.list(limit=1 << 62):
            event = event_text(self._heads[no].id, seq)
            yield {"tbl": table, "key": key, "event": event, "rule": rule, "detail": detail}

    def _facts(self, found: Replayed) -> Iterator[dict[str, Any]]:
        yield {"what": "until", "value": found.until}
        yield {"what": "events", "value": found.events}
        for no, head in self._heads.items():
            yield {"what": f"log {id_text(head.id)}", "value": self._cut[no]}
        for name in sorted(self._views.live):
            yield {"what": f"domain {name}", "value": self._replica.registry.fingerprints[name]}
