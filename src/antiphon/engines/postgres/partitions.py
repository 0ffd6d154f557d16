"""Room `engines` (imports all below it): partitions by time: made before rows need them, dropped when too old.

A statement that names no time locks every partition and index of its table, and a server's table of locks is finite.
So a table has as many periods as a part of it can hold, those about the present; rows of all others lie in its default
partition, which costs nothing but pruning. A hypertable has none: rows for which there is no room are refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import msgspec
import psycopg

from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.connection import Session
from antiphon.model.errors import Rejected
from antiphon.model.table import Table
from antiphon.views.feed import Change
from antiphon.world.clock import Clock

PERIODS_MAX: Final = 4_096
"""Partitions or chunks of one table, however many locks the server has."""
LOCKS_SHARE: Final = 4
"""One statement over all of a table may take one part in so many of the server's locks."""
PAST_SHARE: Final = 0.75
"""Of the periods that there may be, as many are before the present at most: so there is room for those that come."""
AHEAD_SHARE: Final = 0.125
NEW_PERIODS_MAX: Final = 32
"""How many periods one transaction makes: each of them locks a table and its indexes until it ends."""
AHEAD: Final = 1
"""How many periods after the present one have their partition already."""
DROP_LOCK_MS_MAX: Final = 500
"""Whoever reads a table longer than this keeps its past for a minute more: readers that come meanwhile wait too."""
CLOCK_BACK_MS_MAX: Final = 60_000
"""A clock may be set back so far; further, and what was dropped too early is asked for again."""


class Past(msgspec.Struct):
    """What `retire` found: before which time nothing is kept, by table; how many partitions or chunks it dropped; and
    the tables of which rows have to come again, since a clock had been ahead.
    """

    horizons: dict[str, int]
    dropped: int
    early: list[str]


class Partitions:
    """The partitions by time of one schema's tables, as far as this process knows."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, set[int]] = {}

    def needed(self, table: Table, dialect: ddl.Dialect, changes: Iterable[Change]) -> list[int]:
        """The periods of these rows that may not have a partition or chunk yet."""
        series = ddl.series_of(table, dialect)
        span = ddl.ranged(table, dialect) if series is None else ddl.Span(series.time, series.chunk_ms)
        if span is None:
            return []
        by, every = span
        asked = {change.row[by] // every for change in changes if change.row is not None and change.row[by] is not None}
        return sorted(asked - self._known.get(table.name, set()))

    def make(self, session: Session, table: Table, dialect: ddl.Dialect, periods: Iterable[int]) -> None:
        """Makes those that are about the present and have none, or sees that a hypertable has room for them. `keep`
        them once the transaction is committed. Raises Rejected where a hypertable has not.
        """
        most = periods_max(session, table, dialect)
        if ddl.series_of(table, dialect) is not None:
            _has_room(session, table, dialect, set(periods), most)
            return
        span = ddl.ranged(table, dialect)
        assert span is not None
        rows = session.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = %s::regclass",
            (f"{ddl.quoted(dialect.schema)}.{ddl.quoted(table.name)}",),
        ).fetchall()
        have = {row[0] for row in rows}
        now = self._now_ms(session) // span.every_ms
        for period in periods:
            about = now - PAST_SHARE * most <= period <= now + max(AHEAD, AHEAD_SHARE * most)
            if not about or len(have) >= most or ddl.period_name(table, period) in have:
                continue
            try:
                with session.transaction():
                    session.execute(ddl.period_sql(table, period, dialect))
                have.add(ddl.period_name(table, period))
            except psycopg.errors.CheckViolation:
                continue  # its first rows came when there were too many partitions, and lie in the default one

    def keep(self, table: Table, periods: Iterable[int]) -> None:
        """Remembers what a transaction that is committed has made."""
        self._known.setdefault(table.name, set()).update(periods)

    def _now_ms(self, session: Session) -> int:
        """The earlier of two clocks, the server's and this machine's: one that is ahead drops nothing by itself."""
        return min(_now_ms(session), self._clock.now_ms())

    # -- what is past, and what comes ----------------------------------------------------------------------------

    def horizon(self, session: Session, table: Table, dialect: ddl.Dialect) -> int | None:
        """Before which time nothing of the table is kept: the end of a partition."""
        by = ddl.retained(table, dialect)
        if by is None or table.retention is None:
            return None
        kept = horizons(session, dialect.schema).get(table.name)
        cutoff = self._now_ms(session) - table.retention.keep_ms
        if kept is not None and kept - CLOCK_BACK_MS_MAX <= cutoff < kept:
            return kept
        return cutoff // by.every_ms * by.every_ms

    def retire(self, session: Session, tables: Sequence[tuple[Table, ddl.Dialect]]) -> Past:
        """Makes partitions ahead and drops those that are wholly past.

        A table that somebody reads for longer than DROP_LOCK_MS_MAX is left for the next time.
        """
        found = Past({}, 0, [])
        before = horizons(session, tables[0][1].schema) if tables else {}
        for table, dialect in tables:
            span = ddl.ranged(table, dialect)
            horizon, kept = self.horizon(session, table, dialect), before.get(table.name)
            if horizon is not None:
                found.horizons[table.name] = horizon
            if kept is not None and (horizon is None or horizon < kept):
                found.early.append(table.name)
            with contextlib.suppress(psycopg.errors.LockNotAvailable), session.transaction():
                session.execute(f"SET LOCAL lock_timeout = {DROP_LOCK_MS_MAX}")
                if span is not None:
                    now = self._now_ms(session) // span.every_ms
                    self.make(session, table, dialect, range(now, now + AHEAD + 1))
                if horizon is not None:
                    found.dropped += _dropped(session, table, dialect, horizon)
            if horizon != kept:
                _keep_horizon(session, dialect.schema, table.name, horizon)
        return found


def portions(periods: Sequence[int]) -> Iterator[list[int]]:
    """Periods, as many at a time as one transaction makes."""
    every = iter(periods)
    while some := list(islice(every, NEW_PERIODS_MAX)):
        yield some


def periods_max(session: Session, table: Table, dialect: ddl.Dialect) -> int:
    """How many partitions or chunks a table may have: a statement over all of them locks each with its indexes."""
    row = session.execute(
        "SELECT current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int + "
        "current_setting('max_prepared_transactions')::int)"
    ).fetchone()
    assert row is not None
    each = 2 + len(ddl.indexes_sql(table, dialect))  # itself and its key's index
    return min(PERIODS_MAX, max(NEW_PERIODS_MAX, int(row[0]) // LOCKS_SHARE // each))


def _has_room(session: Session, table: Table, dialect: ddl.Dialect, periods: set[int], most: int) -> None:
    place = ddl.series_of(table, dialect)
    assert place is not None
    rows = session.execute(
        "SELECT (extract(epoch FROM range_start) * 1000)::bigint FROM timescaledb_information.chunks "
        "WHERE hypertable_schema = %s AND hypertable_name = %s",
        (dialect.schema, table.name),
    ).fetchall()
    more = periods - {int(start) // place.chunk_ms for (start,) in rows}
    if more and len(rows) + len(more) > most:
        raise Rejected(
            f"the hypertable {table.name} has {len(rows):,} chunks, and no more than {most:,} may be locked at once: "
            "raise max_locks_per_transaction in that PostgreSQL"
        )


def _now_ms(session: Session) -> int:
    row = session.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").fetchone()
    assert row is not None
    return int(row[0])


def horizons(session: Session, schema: str) -> Mapping[str, int]:
    """Before which time rows were dropped, by table."""
    if session.execute("SELECT to_regclass(%s)", (f"{ddl.quoted(schema)}._past",)).fetchone() == (None,):
        return {}
    rows = session.execute(f"SELECT name, horizon FROM {ddl.quoted(schema)}._past").fetchall()
    return {str(name): int(horizon) for name, horizon in rows}


def _keep_horizon(session: Session, schema: str, name: str, horizon: int | None) -> None:
    of = f"{ddl.quoted(schema)}._past"
    if horizon is None:
        session.execute(f"DELETE FROM {of} WHERE name = %s", (name,))
        return
    session.execute(
        f"INSERT INTO {of} (name, horizon) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET horizon = EXCLUDED.horizon",
        (name, horizon),
    )


def _dropped(session: Session, table: Table, dialect: ddl.Dialect, horizon: int) -> int:
    schema, name = ddl.quoted(dialect.schema), f"{ddl.quoted(dialect.schema)}.{ddl.quoted(table.name)}"
    end = f"timestamptz 'epoch' + INTERVAL '{horizon} ms'"
    span = ddl.ranged(table, dialect)
    if span is None:
        return len(session.execute(f"SELECT drop_chunks({ddl.literal(name)}, older_than => {end})").fetchall())
    past = session.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass "
        f"AND substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''([^'']+)''\\)')::timestamptz <= {end} "
        "ORDER BY c.relname LIMIT %s",
        (name, NEW_PERIODS_MAX),
    ).fetchall()
    for (partition,) in past:
        session.execute(f"DROP TABLE {schema}.{ddl.quoted(partition)}")
    default = ddl.quoted(ddl.named(table.name, "default"))
    session.execute(f"DELETE FROM {schema}.{default} WHERE {ddl.quoted(span.column)} < {end}")
    return len(past)
