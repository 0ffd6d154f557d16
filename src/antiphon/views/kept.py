"""Room `views` (imports `log` and below): what a home keeps true of its rows together: unique columns, no circles.

Only commands and decisions made here are held to it: what comes from elsewhere was decided there, and two homes that
disagree are both in the rows, and listed (`query/together.py`). A home keeps its own rows: of others' it cannot know.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from antiphon.model import limits
from antiphon.model.errors import Conflict, LimitExceeded
from antiphon.model.printed import key_text
from antiphon.model.table import Table
from antiphon.model.values import key_of
from antiphon.views.domain import Registry, Rows
from antiphon.views.store import TableStore

OTHERS_MAX = 2
"""Of the rows that have the same values one can be the row itself, so the second is another."""


class RowsOf:
    """What is looked at in one file; see `Rows`."""

    def __init__(self, registry: Registry, tables: TableStore) -> None:
        self._registry, self._tables = registry, tables

    def row(self, table: str, key: bytes) -> Mapping[str, Any] | None:
        found = self._tables.row(self._registry.tables[table], key)
        return None if found is None else found.values

    def select(self, table: str, **equal: Any) -> list[Mapping[str, Any]]:
        found = self._tables.select(self._registry.tables[table], equal, order="n", limit=OTHERS_MAX)
        return [row.values for row in found]


def check_together(rows: Rows, table: Table, row: Mapping[str, Any], written: Collection[str]) -> None:
    """Raises Conflict where a row, of which these columns were written, is one too many, or closes a circle."""
    for columns in table.unique:
        if not set(columns).isdisjoint(written):
            _check_unique(rows, table, row, columns)
    for column in table.acyclic:
        if column in written:
            _check_circles(rows, table, row, column)


def _check_unique(rows: Rows, table: Table, row: Mapping[str, Any], columns: Sequence[str]) -> None:
    values = {name: row[name] for name in columns}
    if any(value is None for value in values.values()):
        return
    assert table.home is not None
    for other in rows.select(table.name, **values, **{table.home: row[table.home]}):
        if any(other[name] != row[name] for name in table.key):
            said = ", ".join(f"{name} {value!r:.80}" for name, value in values.items())
            raise Conflict(
                f"{table.name}: {said} is taken by {key_text(table, other)}, and their home gives it to one alone",
                table=table.name,
            )


def _check_circles(rows: Rows, table: Table, row: Mapping[str, Any], column: str) -> None:
    """Follows the links from a row: they must not lead back to it."""
    mine = row[table.key[0]]
    ahead = linked(row[column])
    seen = set(ahead)
    while ahead:
        at = ahead.pop()
        if at == mine:
            raise Conflict(
                f"{table.name}: {column} would lead from {key_text(table, row)} back to itself", table=table.name
            )
        found = rows.row(table.name, key_of(table, {table.key[0]: at}))
        more = [] if found is None else [one for one in linked(found[column]) if one not in seen]
        seen.update(more)
        ahead += more
        if len(seen) > limits.DEPENDENCY_WALK_MAX:
            raise LimitExceeded(
                "DEPENDENCY_WALK_MAX", got=len(seen), allowed=limits.DEPENDENCY_WALK_MAX,
                what=f"the number of rows of {table.name} that hang together by {column}",
            )  # fmt: skip


def linked(value: Any) -> list[Any]:
    """The keys that a column of links names."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
