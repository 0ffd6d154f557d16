"""Room `engines` (imports all below it): partitions by time: made before rows need them, dropped when too old."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Final

import psycopg

from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.connection import Session
from antiphon.model.table import Table
from antiphon.views.feed import Change

PERIODS_MAX: Final = 4_096
"""Partitions of one table. Rows of further periods go to its default partition, which costs nothing but pruning."""
AHEAD: Final = 1
"""How many periods after the present one have their partition already."""
DROP_LOCK_MS_MAX: Final = 500
"""Whoever reads a table longer than this keeps its past for a minute more: readers that come meanwhile wait too."""


class Partitions:
    """The partitions by time of one schema's tables, as far as this process knows."""

    def __init__(self) -> None:
        self._known: dict[str, set[int]] = {}

    def needed(self, table: Table, dialect: ddl.Dialect, changes: Iterable[Change]) -> list[int]:
        """The periods of these rows that may not have a partition yet."""
        place = ddl.ranged(table, dialect)
        if place is None or place.by_time is None:
            return []
        by, every = place.by_time, place.every_ms
        asked = {change.row[by] // every for change in changes if change.row is not None and change.row[by] is not None}
        return sorted(asked - self._known.get(table.name, set()))

    def make(self, session: Session, table: Table, dialect: ddl.Dialect, periods: list[int]) -> None:
        """Makes them, in the transaction that writes their rows. `keep` them once it is committed."""
        rows = session.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = %s::regclass",
            (f"{ddl.quoted(dialect.schema)}.{ddl.quoted(table.name)}",),
        ).fetchall()
        have = {row[0] for row in rows}
        for period in periods:
            if len(have) >= PERIODS_MAX or ddl.period_name(table, period) in have:
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

    # -- what is past, and what comes ----------------------------------------------------------------------------

    def horizon(self, session: Session, table: Table, dialect: ddl.Dialect) -> int | None:
        """Before which time nothing of the table is kept, by the server's clock: the end of a partition."""
        by = ddl.retained(table, dialect)
        if by is None or table.retention is None:
            return None
        return (_now_ms(session) - table.retention.keep_ms) // by[1] * by[1]

    def retire(self, session: Session, tables: Sequence[Table], dialect: ddl.Dialect) -> tuple[dict[str, int], int]:
        """Makes partitions ahead and drops those that are wholly past: the horizons by table, and how many it dropped.

        A table that somebody reads for longer than DROP_LOCK_MS_MAX is left for the next time.
        """
        horizons: dict[str, int] = {}
        dropped = 0
        for table in tables:
            place = ddl.ranged(table, dialect)
            horizon = self.horizon(session, table, dialect)
            if horizon is not None:
                horizons[table.name] = horizon
            with contextlib.suppress(psycopg.errors.LockNotAvailable), session.transaction():
                session.execute(f"SET LOCAL lock_timeout = {DROP_LOCK_MS_MAX}")
                if place is not None and place.by_time is not None:
                    now = _now_ms(session) // place.every_ms
                    self.make(session, table, dialect, list(range(now, now + AHEAD + 1)))
                if horizon is not None:
                    dropped += _dropped(session, table, dialect, horizon)
        return horizons, dropped


def _now_ms(session: Session) -> int:
    row = session.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").fetchone()
    assert row is not None
    return int(row[0])


def _dropped(session: Session, table: Table, dialect: ddl.Dialect, horizon: int) -> int:
    schema, name = ddl.quoted(dialect.schema), f"{ddl.quoted(dialect.schema)}.{ddl.quoted(table.name)}"
    end = f"timestamptz 'epoch' + INTERVAL '{horizon / 1000:.3f} s'"
    if ddl.ranged(table, dialect) is None:
        return len(session.execute(f"SELECT drop_chunks({ddl.literal(name)}, older_than => {end})").fetchall())
    past = session.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass "
        f"AND substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''([^'']+)''\\)')::timestamptz <= {end}",
        (name,),
    ).fetchall()
    for (partition,) in past:
        session.execute(f"DROP TABLE {schema}.{ddl.quoted(partition)}")
    place = table.places.relational
    assert place is not None
    assert place.by_time is not None
    default = ddl.quoted(ddl.named(table.name, "default"))
    session.execute(f"DELETE FROM {schema}.{default} WHERE {ddl.quoted(place.by_time)} < {end}")
    return len(past)
