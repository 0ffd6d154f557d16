"""Room `ops` (imports `engines` and below): what is wrong with a home or a file, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.file import SqliteFile, network_file_system, rows, translated
from antiphon.engines.sqlite.made import is_made
from antiphon.model.errors import AntiphonError, Unavailable
from antiphon.model.limits import LOG_EVENTS_MAX
from antiphon.model.table import Table
from antiphon.model.text import counted
from antiphon.views.feed import OutboxEntry

SAVE: Final = "save what still verifies with `antiphon export PATH --good`, then restore a backup"
AGAIN: Final = "they can be made again: report how it came to this"
_FEED_PART: Final = 1_024


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
    return ok("permissions", f"{counted(count, 'file')}, readable by the owner alone")


def check_pages(file: SqliteFile) -> Finding:
    """Every page, by SQLite's own check; a page that was changed does not decrypt."""
    try:
        found = file.check_pages()
    except AntiphonError as error:
        return Finding("pages", State.WRONG, str(error), SAVE)
    lines = [line for text in found for line in text.splitlines() if not line.startswith("***")]
    if lines:
        detail = f"damaged, {counted(len(lines), 'problem')} or more; the first: {lines[0]}"
        return Finding("pages", State.WRONG, detail, SAVE)
    return ok("pages", "all sound")


def check_feed(file: SqliteFile, events: int, begin_again: Callable[[], None]) -> Finding:
    """Whether the feed names every event of its epoch, up to the newest of so many; else it is begun anew.

    Call it in a snapshot. It says which rows and events changed, and follows from logs and tables: losing it loses
    nothing, but whoever follows it must read the tables again.
    """
    fault = _feed_fault(file, events)
    if fault is None:
        return ok("feed", "names every event of its epoch")
    if file.read_only:
        return Finding("feed", State.WRONG, fault, "nothing is lost: the next write begins it anew")
    begin_again()
    advice = "nothing is lost, and it was begun anew in a new epoch: whoever follows it reads the tables again"
    return Finding("feed", State.WRONG, fault, advice)


def _feed_fault(file: SqliteFile, events: int) -> str | None:
    at: int | None = None
    epoch = file.reader.execute("SELECT max(version) >> 40 FROM outbox").get or 0
    entries = "SELECT version, entry FROM outbox WHERE version > ? AND version < ? ORDER BY version LIMIT ?"
    last = (epoch << 40) - 1
    # read whole, a part at a time: a cursor that is left half read would hold the snapshot open
    while part := rows(file.reader, entries, (last, (epoch + 1) << 40, _FEED_PART)):
        for version, raw in part:
            reached = version & (LOG_EVENTS_MAX - 1)
            try:
                entry = msgspec.msgpack.decode(raw, type=OutboxEntry)
            except (msgspec.MsgspecError, UnicodeError) as error:
                return f"the entry at event {reached:,} cannot be read: {error}"
            if at is not None and reached - at != (sum(count for _, _, count in entry.spans) or 1):
                return f"entries between event {at:,} and event {reached:,} are missing"
            at = reached
        last = part[-1][0]
    if (at or 0) != events:
        return f"the newest entry is of event {at or 0:,} where there are {events:,}"
    return None


def check_fulltext(
    file: SqliteFile, tables: Iterable[Table], transaction: Callable[[], AbstractContextManager[None]]
) -> Iterator[Finding]:
    """Whether the full-text index says what the rows say. Nothing is changed: the transaction is rolled back."""
    for table in tables:
        if table.fulltext is None or not is_made(file.reader, f"{table.name}_fts"):
            continue
        what = f"full text of {table.name}"
        waiting = fulltext.backlog(file, table)
        try:
            _try_index(file, table, transaction)
        except AntiphonError as error:
            yield Finding(what, State.WRONG, f"the index does not fit its rows: {error}", SAVE)
            continue
        yield ok(what, f"waiting to be indexed: {counted(waiting, 'row')}" if waiting else "in step with its rows")


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


def check_held(held: Iterable[tuple[int, str | None]]) -> Finding:
    """What others have erased that waits out its hold: (how many events, until when) an erasure, the soonest first."""
    listed = list(held)
    if not listed:
        return ok("erasures", "nothing that others have erased is held")
    count = sum(events for events, _ in listed)
    first = listed[0][1]
    when = "once their log is certified" if first is None else f"from {first} on"
    detail = f"{counted(count, 'event')} that others have erased, hidden here; destroyed {when}"
    return Finding("erasures", State.NOTE, detail, "`antiphon stats --json` lists them; a revoked key brings them back")


def check_scrub(settled: Callable[[], bool]) -> Finding:
    """Whether anything forgotten may still stand in the write-ahead log; tries to clear it."""
    try:
        if settled():
            return ok("scrub", "nothing forgotten is left behind")
    except Unavailable as error:
        return Finding("scrub", State.WRONG, str(error), "close the other process, then run this again")
    advice = "close the programs that read this file, then run this again"
    return Finding("scrub", State.WRONG, "something forgotten may still stand in the write-ahead log", advice)
