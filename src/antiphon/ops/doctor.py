"""Room `ops` (imports `engines` and below): what is wrong with a home or a file, and what to do about it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.file import SqliteFile, network_file_system, translated
from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.log.kinds import ERASURE_REQUESTED
from antiphon.log.read import LogReader
from antiphon.log.store import LogHead, LogRole
from antiphon.model.errors import AntiphonError, Unavailable
from antiphon.model.event import Event, Role
from antiphon.model.table import Column, Table, Type
from antiphon.model.text import EntityIds, event_text
from antiphon.views.domain import Op, Registry
from antiphon.views.merge import Merged, Placed, merge
from antiphon.views.store import OF_REQUESTS, MentionStore, StoredRow, TableStore, of_entity, of_person, of_source

_SAVE: Final = "save what still verifies with `antiphon export PATH --good`, then restore a backup"
_AGAIN: Final = "they can be made again: report how it came to this"
FOLDED_EVENTS_MAX: Final = 200_000
"""Larger logs are not folded again by `doctor`."""
_EXISTS: Final = "SELECT 1 FROM sqlite_schema WHERE name=?"


class State(StrEnum):
    """How a check came out."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """One check: what was looked at, how it is, and (where it is not well) what to do."""

    what: str
    state: State
    detail: str
    advice: str = ""


def ok(what: str, detail: str) -> Finding:
    """A check that came out well."""
    return Finding(what, State.OK, detail)


def check_folder(home: Path) -> Iterator[Finding]:
    """The folder itself: where it is, and whether anybody else can read its secrets."""
    kind = network_file_system(home)
    if kind is not None:
        advice = "move it to a local disk: locks can fail there"
        yield Finding("folder", State.WRONG, f"{home} is on a network file system ({kind})", advice)
    else:
        yield ok("folder", f"{home} is on a local disk")
    files = (path for path in (*home.glob("*"), *home.glob("agents/*")) if path.is_file())
    secrets = [path for path in files if path.name in ("key", "keys", "recovery-key.txt") or ".antiphon" in path.name]
    yield check_private(secrets)
    if (home / "recovery-key.txt").exists():
        advice = f"print {home / 'recovery-key.txt'} or move it to another device, then delete it here"
        yield Finding("recovery key", State.NOTE, "it still lies beside what it protects", advice)


def check_private(paths: Iterable[Path]) -> Finding:
    """Whether only the owner can read these files."""
    if os.name != "posix":
        return ok("permissions", "not checked on this system")
    open_ones = []
    count = 0
    for path in paths:
        try:
            mode = path.stat().st_mode & 0o777
        except FileNotFoundError:  # another process has just closed the file, and its write-ahead log is gone
            continue
        count += 1
        if mode & 0o077:
            open_ones.append(f"{path} ({mode:03o})")
    if open_ones:
        first = open_ones[0].rpartition(" (")[0]
        more = f" and {len(open_ones) - 1} more" if len(open_ones) > 1 else ""
        return Finding("permissions", State.WRONG, f"others can read {open_ones[0]}{more}", f"chmod 600 {first}")
    return ok("permissions", f"{count} files, readable by their owner alone")


def check_pages(file: SqliteFile) -> Finding:
    """Every page, by SQLite's own check; a page that was changed does not decrypt."""
    try:
        found = file.check_pages()
    except AntiphonError as error:
        return Finding("pages", State.WRONG, str(error), _SAVE)
    lines = [line for text in found for line in text.splitlines() if not line.startswith("***")]
    if lines:
        detail = f"damaged, {len(lines)} problems or more; the first: {lines[0]}"
        return Finding("pages", State.WRONG, detail, _SAVE)
    return ok("pages", "all sound")


def check_rows(
    registry: Registry, tables: SqliteTables, reader: LogReader, heads: Iterable[LogHead]
) -> Iterator[Finding]:
    """Whether each table has as many rows as its events assert. *Cost*: reads every event once."""
    keys: dict[str, set[bytes]] = {name: set() for name in registry.tables}
    gone: dict[str, set[bytes]] = {name: set() for name in registry.tables}
    try:
        for head in heads:
            if head.role != LogRole.FOREIGN:
                for event in reader.events(head):
                    _count(registry, event, keys, gone)
        for name, table in registry.tables.items():
            expected, found = len(keys[name] - gone[name]), tables.count(table)
            if expected != found:
                detail = f"{name} has {found:,} rows where its events make {expected:,}"
                yield Finding("rows", State.WRONG, detail, _AGAIN)
                return
    except AntiphonError as error:
        yield Finding("rows", State.WRONG, str(error), _SAVE)
        return
    counts = {name.replace("_", " "): tables.count(table) for name, table in registry.tables.items()}
    yield ok("rows", ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none yet")


def _count(registry: Registry, event: Event, keys: dict[str, set[bytes]], gone: dict[str, set[bytes]]) -> None:
    kind = registry.kinds.get(event.kind)
    if kind is None or event.body is None or event.header.kind_version > kind.version:
        return
    value = kind.read(event.body, event.header.kind_version)
    for fold in registry.folds.get(event.kind, ()):
        for write in fold(event, value):
            if write.op == Op.ASSERT:
                keys[write.table].add(write.key)
            elif write.op == Op.DELETE:
                gone[write.table].add(write.key)


def check_folds(
    registry: Registry,
    tables: TableStore,
    mentions: MentionStore,
    reader: LogReader,
    heads: Iterable[LogHead],
    *,
    domains: Iterable[str] | None = None,
) -> Finding:
    """Whether every row, and what mentions it, is what the events make when they are folded again, in memory.

    Call it in a snapshot where others may write; `domains` are those that are folded here, None for all.
    *Cost*: reads every event twice and every row once, about 60 µs an event; skipped over FOLDED_EVENTS_MAX events.
    """
    own = [head for head in heads if head.role != LogRole.FOREIGN]
    count = sum(head.size for head in own)
    if count > FOLDED_EVENTS_MAX:
        return Finding("views", State.NOTE, f"not folded again: {count:,} events are over {FOLDED_EVENTS_MAX:,}")
    live = set(registry.domains) if domains is None else set(domains)
    again = _Again(registry, tables, mentions, {name for name, of in registry.domain_of_table.items() if of in live})
    try:
        fault = again.fault(own, reader)
    except AntiphonError as error:
        return Finding("views", State.WRONG, str(error), _SAVE)
    if fault is not None:
        return Finding("views", State.WRONG, fault, _AGAIN)
    return ok("views", f"{again.rows:,} rows and {again.mentioned:,} mentions are what their events make")


class _Again:
    """Folds events again without writing, and compares. Rows of one event are compared as it comes by."""

    def __init__(self, registry: Registry, tables: TableStore, mentions: MentionStore, live: set[str]) -> None:
        self._registry, self._tables, self._mentions, self._live = registry, tables, mentions, live
        self._numbers: dict[bytes, int] = {}
        self._changed: set[bytes] = set()
        self._wanted: dict[bytes, set[tuple[int, int]]] = {}
        self.rows = 0
        self.mentioned = 0

    def fault(self, heads: list[LogHead], reader: LogReader) -> str | None:
        """The first difference, in words; None when there is none."""
        self._numbers = {head.id: head.no for head in heads}
        once: set[tuple[str, bytes]] = set()
        often: dict[tuple[str, bytes], list[Placed]] = {}
        for head in heads:
            ids = EntityIds(head.id)
            for event in reader.events(head):
                created = event.entity is not None and event.entity == ids.of(event.header.hlc, event.seq)
                for placed in self._writes(event):
                    key = (placed.write.table, placed.write.key)
                    if key in once or placed.write.op != Op.ASSERT:
                        often.setdefault(key, [])
                    once.add(key)
                    if not (created and placed.write.key == event.entity):
                        self._changed.add(placed.write.key)
        del once
        for head in heads:
            ids = EntityIds(head.id)
            for event in reader.events(head):
                created = event.entity is not None and event.entity == ids.of(event.header.hlc, event.seq)
                fault: str | None = None
                self._want(event)
                for placed in self._writes(event):
                    if not created or placed.write.key in self._changed:
                        self._wanted.setdefault(of_entity(placed.write.key), set()).add((head.no, event.seq))
                    known = often.get((placed.write.table, placed.write.key))
                    if known is not None:
                        known.append(placed)
                    else:
                        fault = fault or self._row_fault(placed.write.table, placed.write.key, [placed])
                if fault is not None:
                    return fault
        faults = (self._row_fault(name, key, writes) for (name, key), writes in often.items())
        return next((fault for fault in faults if fault is not None), None) or self._mentions_fault(heads)

    def _writes(self, event: Event) -> Iterator[Placed]:
        kind = self._registry.kinds.get(event.kind)
        if kind is None or event.body is None or event.header.kind_version > kind.version:
            return
        value = kind.read(event.body, event.header.kind_version)
        folds = self._registry.folds.get(event.kind, ())
        for at, write in enumerate(write for fold in folds for write in fold(event, value)):
            if write.table in self._live:
                yield Placed(event.stamp, event.log, event.seq, write, at)

    def _row_fault(self, name: str, key: bytes, writes: list[Placed]) -> str | None:
        table = self._registry.tables[name]
        merged, row = merge(table, writes), self._tables.row(table, key)
        place = event_text(writes[-1].log, writes[-1].seq)
        if merged is None:
            return None if row is None else f"{name} has a row that event {place} leaves none of"
        if row is None:
            return f"{name} lacks the row that event {place} makes"
        self.rows += 1
        other = self._differing(table, merged, row)
        return (
            f"the row in {name} of event {place} differs from what was recorded: {', '.join(other)}" if other else None
        )

    def _differing(self, table: Table, merged: Merged, row: StoredRow) -> list[str]:
        if (row.log, row.seq) != (self._numbers[merged.log], merged.seq):
            return ["the event that it speaks by"]
        pairs = zip(table.columns, merged.values, strict=True)
        return [column.name for column, value in pairs if not _same(column, value, row.values[column.name])]

    def _want(self, event: Event) -> None:
        """Notes the mentions that an event's header alone calls for."""
        header = event.header
        wanted = [of_person(person) for person in header.about or ()]
        wanted += [of_source(ref.log, ref.seq) for ref in header.refs or () if ref.role == Role.SOURCE]
        if header.kind == ERASURE_REQUESTED:
            wanted.append(OF_REQUESTS)
        for what in wanted:
            self._wanted.setdefault(what, set()).add((self._numbers[event.log], event.seq))

    def _mentions_fault(self, heads: list[LogHead]) -> str | None:
        for what, places in self._wanted.items():
            missing = places.difference(self._mentions.find(what))
            if missing:
                no, seq = min(missing)
                log = next(head.id for head in heads if head.no == no)
                return f"of what event {event_text(log, seq)} mentions, {_MENTIONED[what[0]]} is not noted"
            self.mentioned += len(places)
        return None


_MENTIONED: Final = {1: "an entity", 2: "a person", 3: "a source", 4: "that it asks for something to be forgotten"}


def _same(column: Column, made: Any, stored: Any) -> bool:
    """Whether a stored value is what an engine makes of this one."""
    if column.type == Type.JSON and made is not None:
        made = msgspec.json.decode(msgspec.json.encode(made))
    if isinstance(made, float) and math.isnan(made):
        made = None  # what is no number is stored as nothing
    if made == stored:
        return True
    if made is None or stored is None:
        return False
    return str(int(made) if isinstance(made, bool) else made) == str(
        int(stored) if isinstance(stored, bool) else stored
    )


def check_fulltext(
    file: SqliteFile, tables: Iterable[Table], transaction: Callable[[], AbstractContextManager[None]]
) -> Iterator[Finding]:
    """Whether the full-text index says what the rows say. Nothing is changed: the transaction is rolled back."""
    for table in tables:
        if table.fulltext is None or file.reader.execute(_EXISTS, (f"{table.name}_fts",)).get is None:
            continue
        what = f"full text of {table.name}"
        waiting = fulltext.backlog(file, table)
        try:
            _try_index(file, table, transaction)
        except AntiphonError as error:
            yield Finding(what, State.WRONG, f"the index does not fit its rows: {error}", _SAVE)
            continue
        yield ok(what, f"{waiting:,} rows wait to be indexed" if waiting else "in step with its rows")


class _Undo(Exception):
    """Leaves a transaction without a trace."""


def _try_index(file: SqliteFile, table: Table, transaction: Callable[[], AbstractContextManager[None]]) -> None:
    """Raises Corrupt or Unavailable when the index is not sound. Rows of a backlog are indexed first, then undone."""
    try:
        with transaction():
            while fulltext.catch_up(file, table, rows_max=4_096):
                pass
            with translated(file.path):
                name = f'"{table.name}_fts"'
                file.writer.execute(f"INSERT INTO {name}({name}, rank) VALUES('integrity-check', 1)")
            raise _Undo
    except _Undo:
        return


def check_clock(ahead_ms: int, limit_ms: int) -> Finding:
    """Whether the newest event is stamped later than it is now."""
    if ahead_ms <= limit_ms:
        return ok("clock", "not behind the newest event")
    hours = ahead_ms / 3_600_000
    return Finding(
        "clock",
        State.WRONG,
        f"the newest event is stamped {hours:,.1f} hours ahead of this machine's clock",
        "set the clock right; the next write then records a clock.reset",
    )


def check_scrub(settled: Callable[[], bool]) -> Finding:
    """Whether anything forgotten may still stand in the write-ahead log; tries to clear it."""
    try:
        if settled():
            return ok("scrub", "nothing forgotten is left behind")
    except Unavailable as error:
        return Finding("scrub", State.WRONG, str(error), "close the other process, then run this again")
    advice = "close the programs that read this file, then run this again"
    return Finding("scrub", State.WRONG, "something forgotten may still stand in the write-ahead log", advice)
