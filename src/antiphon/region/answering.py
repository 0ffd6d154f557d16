"""Room `region` (imports `replica` and below): requests whose homes are written in a region, decided there.

A decision is about rows that lie in other files than the log it goes to, and nothing is written to two files at once.
So it is made of rows that have caught up with the home's log, and written only if that log has not grown meanwhile:
all decisions of a home are in it. Several are made at once as long as none looks at what another has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from threading import Lock
from typing import Any, Final

import msgspec

from antiphon.log.append import Appended
from antiphon.log.read import stamp_of
from antiphon.log.store import LogHead, LogRole
from antiphon.model import hlc, limits
from antiphon.model.errors import AntiphonError, Conflict, NotFound, Rejected
from antiphon.model.event import HEADER_VERSION, Draft, Event, Header
from antiphon.region.files import RegionLogs, RegionReader, RowFile, file_of, shard_of
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.decide import ROWS_MAX, decision_of, refusal_of
from antiphon.views.batch import RowKey
from antiphon.views.domain import Registry, Write
from antiphon.views.kept import check_together
from antiphon.views.store import OF_ASKED, of_cause

Place = tuple[int, int]
"""(number of a log across files, seq)"""
_ELSEWHERE_MAX: Final = 65_536
"""Requests of which it is kept in memory that their homes are not here, so that they need not be read each time."""


class _Stale(Conflict):
    """What would be read has been changed by a decision of this round, which is not folded yet."""


class _RowsThere:
    """What a decider reads: the rows of all files, as they were before this round."""

    def __init__(self, registry: Registry, files: Sequence[RowFile]) -> None:
        self._registry, self._files = registry, files
        self.written: set[RowKey] = set()

    def _counts(self, table: str) -> bool:
        """Whether a row of a table counts rows that a decision of this round may have changed."""
        changed = {name for name, _ in self.written}
        derived = (column.derived for column in self._registry.table(table).derived)
        return any(one is not None and one.table in changed for one in derived)

    def row(self, table: str, key: bytes) -> Mapping[str, Any] | None:
        """A row by its key, None when there is none."""
        declared = self._registry.table(table)
        if (table, key) in self.written or self._counts(table):
            raise _Stale("a row that was just decided about is read again")
        at = shard_of(declared, key, len(self._files)) if len(self._files) > 1 else 0
        found = self._files[at].tables.row(declared, key)
        return None if found is None else found.values

    def select(self, table: str, **equal: Any) -> list[Mapping[str, Any]]:
        """Rows whose columns have these values, at most ROWS_MAX of a file."""
        if table in {name for name, _ in self.written} or self._counts(table):
            raise _Stale("a row that was just decided about is read again")
        declared = self._registry.table(table)
        found = (row for file in self._files for row in file.tables.select(declared, equal, order="n", limit=ROWS_MAX))
        return [row.values for row in found]


class _Made(msgspec.Struct):
    """A decision that is to be written: to which log, if that has still this size."""

    request: tuple[bytes, int]
    home: bytes
    size: int
    draft: Draft


class Answering:
    """What answers in a region. `catch_up` folds what is new into its files of rows."""

    def __init__(
        self, registry: Registry, log_files: Sequence[Replica], row_files: Sequence[RowFile], logs: RegionLogs,
        reader: RegionReader, catch_up: Callable[[], object],
    ) -> None:  # fmt: skip
        self._registry, self._log_files, self._row_files = registry, log_files, row_files
        self._logs, self._reader, self._catch_up = logs, reader, catch_up
        self._turn = Lock()
        self._elsewhere: dict[Place, tuple[bytes, bytes]] = {}

    def answer(self) -> list[Event]:
        """Decides all that waits and whose home is written here, in the one order; the decisions, refusals too.

        *Cost*: what is new is folded once a round; a round ends at a request about what another has changed in it.
        """
        made: list[Event] = []
        tried: set[tuple[bytes, int]] = set()
        with self._turn:
            while True:
                self._catch_up()
                waiting = self._waiting(tried)
                homes = {home.id: home for _, body in waiting if (home := self._home(body.home)) is not None}
                self._catch_up()  # what is read from now on has all that these homes had decided by then
                round_ = self._round(waiting, homes)
                if not round_:
                    return made
                made += self._write(round_, tried)

    def _waiting(self, tried: Collection[tuple[bytes, int]]) -> list[tuple[Event, Any]]:
        """What has no answer, with its body, in the one order. Drops what needs none any more."""
        heads = {head.no: head for head in self._logs.heads()}
        settled, waiting = list[Place](), list[tuple[Event, Any]]()
        is_here = cache(lambda home: self._home(home) is not None)
        for no, seq in self._row_files[0].mentions.find(OF_ASKED):
            log, home = self._elsewhere.get((no, seq), (b"", b""))
            if home and not is_here(home) and not self._is_answered(log, seq, home):
                continue
            event = self._event(heads[no], seq)
            body = None if event is None else self._body(event)
            if event is None or body is None or self._is_answered(event.log, seq, body.home):
                settled.append((no, seq))
            elif not is_here(body.home) and len(self._elsewhere) < _ELSEWHERE_MAX:
                self._elsewhere[no, seq] = event.log, body.home
            elif (event.log, event.seq) not in tried:
                waiting.append((event, body))
        for place in settled:
            self._elsewhere.pop(place, None)
        for file in self._row_files if settled else ():
            with file.transaction():
                file.mentions.remove([(OF_ASKED, no, seq) for no, seq in settled])
        return sorted(waiting, key=lambda one: (one[0].stamp, one[0].log, one[0].seq))

    def _round(self, waiting: Sequence[tuple[Event, Any]], homes: Mapping[bytes, LogHead]) -> list[_Made]:
        """The next decisions, as far as none hangs on another."""
        rows, made = _RowsThere(self._registry, self._row_files), list[_Made]()
        for event, body in waiting:
            home = homes.get(self._row_files[0].authority.current(body.home))
            if home is None or self._is_behind(home) or self._is_answered(event.log, event.seq, body.home):
                continue
            try:
                made.append(self._decided(event, body, home, rows))
            except _Stale:
                break
        return made

    def _event(self, head: LogHead, seq: int) -> Event | None:
        try:
            return self._reader.event(head, seq)
        except NotFound:
            return None

    def _body(self, event: Event) -> Any:
        kind = self._registry.kinds.get(event.kind)
        if kind is None or event.body is None:
            return None
        try:
            return kind.read(event.body, event.header.kind_version)
        except (Rejected, KeyError):
            return None

    def _is_answered(self, log: bytes, at: int, home: bytes) -> bool:
        first = self._row_files[0]
        found = first.mentions.find(of_cause(log, at))
        return any(first.authority.decides(home, first.head_no(no).id, seq) for no, seq in found)

    def _home(self, named: bytes) -> LogHead | None:
        """The log that decides, where it is written here."""
        log = self._row_files[0].authority.current(named)
        head = self._log_files[file_of(log, len(self._log_files))].logs.head(log)
        return head if head is not None and head.role == LogRole.OWN else None

    def _is_behind(self, home: LogHead) -> bool:
        """Whether some of what a home has written does not count yet: it is not certified, or not due."""
        across = self._logs.head(home.id)
        return across is None or any(file.heard_to(across.no) < home.size for file in self._row_files)

    def _decided(self, event: Event, body: Any, home: LogHead, rows: _RowsThere) -> _Made:
        try:
            answer = decision_of(self._registry, rows, event, body, self._leaf)
        except _Stale:
            raise
        except AntiphonError as error:
            answer = str(error)
        if isinstance(answer, str):
            draft = refusal_of(event, answer, self._leaf)
        else:
            draft, said = answer
            writes = self._writes(draft, said, home)
            broken = self._broken(writes, rows)
            if broken is not None:
                draft = refusal_of(event, broken, self._leaf)
            else:
                rows.written |= {(one.table, one.key) for one in writes}
        return _Made((event.log, event.seq), home.id, home.size, draft)

    def _leaf(self, log: bytes, seq: int) -> bytes:
        head = self._logs.head(log)
        assert head is not None
        return self._reader.leaf(head, seq)

    def _broken(self, writes: Sequence[Write], rows: _RowsThere) -> str | None:
        """What a decision would break of what homes keep true of several rows; None when nothing."""
        for one in writes:
            table = self._registry.tables[one.table]
            written = table.kept_together & one.values.keys()
            row = rows.row(one.table, one.key) if written else None
            if row is not None:
                try:
                    check_together(rows, table, {**row, **one.values}, written)
                except AntiphonError as error:
                    if isinstance(error, _Stale):
                        raise
                    return str(error)
        return None

    def _writes(self, draft: Draft, body: Any, home: LogHead) -> list[Write]:
        """What a decision writes: to which rows does not hang on when it is recorded."""
        header = Header(
            HEADER_VERSION, home.hlc, draft.occurred, draft.kind, draft.kind_version, draft.entity, draft.about,
            draft.scope, draft.circle, draft.refs,
        )  # fmt: skip
        event = Event(home.id, home.size, header, draft.body, home.hlc, home.owner)
        return [one for fold in self._registry.folds.get(draft.kind, ()) for one in fold(event, body)]

    def _write(self, made: Sequence[_Made], tried: set[tuple[bytes, int]]) -> list[Event]:
        """Appends decisions to their logs, each log's in one transaction, unless somebody else has decided there."""
        by_home: dict[bytes, list[_Made]] = {}
        for one in made:
            by_home.setdefault(one.home, []).append(one)
        written: list[Event] = []
        for home, mine in by_home.items():
            file = self._log_files[file_of(home, len(self._log_files))]
            with file.transaction():
                if file.head(home).size != mine[0].size:
                    continue
                file.see_stamp(self._newest_stamp())
                done = [file.append_in_transaction(Batch(home, [one.draft], [None])) for one in mine]
            tried |= {one.request for one in mine}
            written += [_event_of(appended) for appended in done]
        return written

    def _newest_stamp(self) -> int:
        """As in one file: a decision comes after everything that is here, but for what is not due."""
        due = hlc.from_ms(self._log_files[0].clock.now_ms() + limits.CLOCK_AHEAD_MS_MAX)
        return max((head.hlc for head in self._logs.heads() if head.hlc <= due), default=0)


def _event_of(appended: Appended) -> Event:
    head, header, seq = appended.head, appended.headers[0], appended.first
    return Event(head.id, seq, header, appended.bodies[0], stamp_of(head, seq, header.hlc), head.owner)
