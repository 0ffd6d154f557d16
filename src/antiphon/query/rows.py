"""Room `query` (imports `knowledge`, `domains`, `views` and below): reading the rows of one declared table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from antiphon.model.table import Table
from antiphon.views.store import StoredRow, TableStore

ROWS: Final = 1_000


class Rows:
    """The rows of one table that the events of some logs made."""

    def __init__(self, store: TableStore, table: Table, logs: Callable[[], Sequence[int]]) -> None:
        self._store, self._table, self._logs = store, table, logs

    def __repr__(self) -> str:
        return f"Rows({self._table.name!r})"

    def select(
        self,
        *,
        order: str = "n",
        descending: bool = False,
        limit: int = ROWS,
        below: tuple[str, str] | None = None,
        **equal: Any,
    ) -> list[dict[str, Any]]:
        """Rows whose columns have these values, each as a map from column to value.

        `n` orders by when a row was made here; `below` is (text column, dotted name): that name and those under it.
        """
        found = self._store.select(
            self._table, equal, order=order, descending=descending, limit=limit, logs=self._logs(), below=below
        )
        return [row.values for row in found]

    def row(self, key: bytes) -> dict[str, Any] | None:
        """The row of an entity id, None when there is none."""
        found: StoredRow | None = self._store.row(self._table, key)
        return None if found is None or found.log not in self._logs() else found.values

    def distinct(self, column: str) -> list[Any]:
        """The different values of a column, in ascending order."""
        return self._store.distinct(self._table, column, logs=self._logs())
