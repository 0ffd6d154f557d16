"""Room `views` (imports `log` and below): figures: derived columns and rollups, kept in step with the rows they count.

Counts and sums move by exact differences; least, most and sets are asked for again where a row that went could have
been the one. A commit collects its differences here and applies them once, at its end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

from antiphon.model.table import Column, Rollup, Table, Type
from antiphon.model.values import from_units, key_of
from antiphon.views.domain import Registry, empty_of
from antiphon.views.rollups import ROWS, bucket_of, whole
from antiphon.views.store import TableStore

RowKey = tuple[str, bytes]
Row = Mapping[str, Any]


class FigureStore(Protocol):
    """What keeping figures asks of the engine that has the rows. Inside its transaction."""

    def change(self, table: Table, key: bytes, *, add: Mapping[str, int], put: Mapping[str, Any]) -> bool:
        """Adds to some columns of a row and sets others; False when there is no such row.

        What is added is in stored units: of a decimal its smallest ones.
        """
        ...

    def aggregate(
        self, table: Table, function: str, column: str, equal: Mapping[str, Any], within: tuple[str, int, int] | None
    ) -> Any:
        """Count, sum, min, max or set of a column over rows with these values (and a time in [from, to)).

        A sum is in stored units (`views/rollups.py:whole`), so that it is exact.
        """
        ...

    def has(self, table: Table, column: str, equal: Mapping[str, Any]) -> bool:
        """Whether a row has these values, and (where a column is named) one there. *Cost*: of one row of an index."""
        ...

    def fill(self, table: Table, column: Column, value: Any) -> None:
        """Puts one value into a column of every row."""
        ...


class Figures:
    """The differences that one commit makes."""

    def __init__(self, registry: Registry, tables: TableStore, store: FigureStore) -> None:
        self._registry = registry
        self._tables = tables
        self._store = store
        self._added: dict[RowKey, dict[str, int]] = {}
        self._again: dict[RowKey, set[str]] = {}
        self._rolled: dict[RowKey, dict[str, int]] = {}
        self._extremes: dict[RowKey, dict[str, list[Any]]] = {}
        self._lost: dict[RowKey, Row] = {}
        self._seen: dict[RowKey, Row] = {}

    def counts(self, table: Table) -> bool:
        """Whether anything is counted over this table's rows."""
        return bool(table.rollups) or table.name in self._registry.sources

    def clear(self) -> None:
        """Drops what a transaction that failed has collected."""
        for kept in (self._added, self._again, self._rolled, self._extremes, self._lost, self._seen):
            kept.clear()

    def changed(self, table: Table, old: Row | None, new: Row | None) -> None:
        """Notes that a row of a counted table came, went or changed."""
        for row, sign in ((old, -1), (new, 1)):
            if row is None:
                continue
            for target, column in self._registry.sources.get(table.name, ()):
                self._derive(target, column, table, row, sign)
            for rollup in table.rollups:
                self._roll(table, rollup, row, sign)

    def _derive(self, target: Table, column: Column, source: Table, row: Row, sign: int) -> None:
        derived = column.derived
        assert derived is not None
        if any(row[name] != value for name, value in derived.where) or any(row[name] is None for name in derived.match):
            return
        key = (target.name, key_of(target, dict(zip(target.key, (row[m] for m in derived.match), strict=True))))
        if derived.function == "count":
            added = self._added.setdefault(key, {})
            added[column.name] = added.get(column.name, 0) + sign
        elif row[derived.column] is not None and derived.function == "sum":
            added = self._added.setdefault(key, {})
            by = sign * whole(source.column(derived.column), row[derived.column])
            added[column.name] = added.get(column.name, 0) + by
        elif row[derived.column] is not None:
            self._again.setdefault(key, set()).add(column.name)

    def _roll(self, source: Table, rollup: Rollup, row: Row, sign: int) -> None:
        if row[rollup.time] is None or any(row[name] is None for name in rollup.group):
            return
        parts = {rollup.bucket: bucket_of(rollup, row), **{name: row[name] for name in rollup.group}}
        key = (rollup.name, key_of(self._registry.tables[rollup.name], parts))
        self._seen[key] = parts
        rolled = self._rolled.setdefault(key, {})
        rolled[ROWS] = rolled.get(ROWS, 0) + sign
        for measure in rollup.measures:
            if measure.function == "count":
                rolled[measure.name] = rolled.get(measure.name, 0) + sign
                continue
            value = row[measure.column]
            if value is None:
                continue
            if measure.function in ("min", "max"):
                if sign < 0:
                    self._lost[key] = parts
                self._extremes.setdefault(key, {}).setdefault(measure.name, []).append(value)
                continue
            name = measure.name if measure.function == "sum" else f"{measure.name}_sum"
            rolled[name] = rolled.get(name, 0) + sign * whole(source.column(measure.column), value)
            if measure.function == "mean":
                count = f"{measure.name}_count"
                rolled[count] = rolled.get(count, 0) + sign

    def of_new_row(self, table: Table, key_values: Iterable[Any]) -> dict[str, Any]:
        """The derived columns of a row, asked of the rows that are there."""
        values = list(key_values)
        key = (table.name, key_of(table, dict(zip(table.key, values, strict=True))))
        for waiting in (self._added, self._again):  # what is asked has these already
            waiting.pop(key, None)
        return self.counted(table, values)

    def counted(self, table: Table, key_values: list[Any]) -> dict[str, Any]:
        """The derived columns of a row as a count of the rows that are there makes them."""
        return {column.name: self._ask(column, key_values) for column in table.derived}

    def counts_any(self, table: Table, key_values: Iterable[Any]) -> bool:
        """Whether rows are there that a row of this key counts, or would count. None of them is added up."""
        values = list(key_values)
        for column in table.derived:
            derived = column.derived
            assert derived is not None
            equal = {**dict(zip(derived.match, values, strict=True)), **dict(derived.where)}
            of = "" if derived.function == "count" else derived.column
            if self._store.has(self._registry.tables[derived.table], of, equal):
                return True
        return False

    def _ask(self, column: Column, key_values: list[Any]) -> Any:
        derived = column.derived
        assert derived is not None
        source = self._registry.tables[derived.table]
        equal = {**dict(zip(derived.match, key_values, strict=True)), **dict(derived.where)}
        found = self._store.aggregate(source, derived.function, derived.column, equal, None)
        if derived.function == "sum" and column.type == Type.DECIMAL:
            return from_units(column, found)
        return found

    def restart(self, sources: Collection[str]) -> None:
        """Empties what other tables derive from these, whose rows were dropped and will come again."""
        for name in sources:
            for target, column in self._registry.sources.get(name, ()):
                if target.name not in sources:
                    self._store.fill(target, column, empty_of(column))

    def apply(self, next_row: dict[str, int], key_values: Any) -> tuple[set[RowKey], set[RowKey]]:
        """Applies what was collected: the rows that changed, and those that are not there to count in.

        `key_values` is (table, key) -> the key's values.
        """
        touched: set[RowKey] = set()
        missing: set[RowKey] = set()
        for key in self._added.keys() | self._again.keys():
            table = self._registry.tables[key[0]]
            add = {name: by for name, by in self._added.get(key, {}).items() if by}
            again = self._again.get(key, ())
            values = list(key_values(table, key[1])) if again else []
            put = {name: self._ask(table.column(name), values) for name in again}
            if not add and not put:
                continue
            if self._store.change(table, key[1], add=add, put=put):
                touched.add(key)
            else:
                missing.add(key)
        for key, rolled in self._rolled.items():
            touched.add(key)
            self._apply_rollup(key, rolled, next_row)
        self.clear()
        return touched, missing

    def _apply_rollup(self, key: RowKey, rolled: dict[str, int], next_row: dict[str, int]) -> None:
        table = self._registry.tables[key[0]]
        source = self._registry.tables[table.rollup_of or ""]
        rollup = next(one for one in source.rollups if one.name == table.name)
        old = self._tables.row(table, key[1])
        rows = (0 if old is None else old.values[ROWS]) + rolled[ROWS]
        if rows <= 0:
            self._tables.replace(table, key[1], None)
            return
        put: dict[str, Any] = {}
        for measure in rollup.measures:
            if measure.function not in ("min", "max"):
                continue
            if key in self._lost:
                parts = self._lost[key]
                start = parts[rollup.bucket]
                equal = {name: parts[name] for name in rollup.group}
                within = (rollup.time, start, start + rollup.bucket_ms)
                put[measure.name] = self._store.aggregate(source, measure.function, measure.column, equal, within)
                continue
            found = list(self._extremes.get(key, {}).get(measure.name, ()))
            if old is not None and old.values[measure.name] is not None:
                found.append(old.values[measure.name])
            pick = min if measure.function == "min" else max
            put[measure.name] = pick(found) if found else None
        if old is None:
            n = next_row.get(table.name, 1)
            next_row[table.name] = n + 1
            parts = self._seen[key]
            empty = tuple(parts.get(c.name, c.default) for c in table.columns)
            self._tables.insert(table, [(n, 0, 0, *empty)])
        self._store.change(table, key[1], add=rolled, put=put)
