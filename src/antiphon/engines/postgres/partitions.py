"""Room `engines` (imports all below it): partitions by time: made before rows need them, dropped when too old."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import psycopg

from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.connection import Session
from antiphon.model.table import Table
from antiphon.views.feed import Change

PERIODS_MAX: Final = 4_096
"""Partitions of one table. Rows of further periods go to its default partition, which costs nothing but pruning."""


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
