"""Room `ops` (imports `engines` and below): whether figures say what the rows they count say: each counted again.

Rows themselves are compared with their events in `refold.py`. Nothing is written, and memory is bounded: of a rollup
with more than BUCKETS_MAX buckets so many parts are counted one after another as that takes.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from typing import Any, Final

from antiphon.engines.sqlite.tables import SqliteTables
from antiphon.model.table import Column, Rollup, Table, Type
from antiphon.model.values import from_units, key_of
from antiphon.views.domain import Registry
from antiphon.views.figures import Figures
from antiphon.views.rollups import ROWS, bucket_of, whole, within_64_bits
from antiphon.views.store import StoredRow

BUCKETS_MAX: Final = 200_000
"""Buckets of a rollup counted at a time: about 1 kB each."""


def derived_fault(figures: Figures, table: Table, row: StoredRow, live: Collection[str]) -> list[str]:
    """The derived columns of a row that are not what a count of the rows of `live` tables makes. *Cost*: 20 µs each."""
    if not table.derived:
        return []
    counted = figures.counted(table, [row.values[name] for name in table.key])
    wrong = (table.column(name) for name, value in counted.items() if value != row.values[name])
    return [column.name for column in wrong if column.derived is not None and column.derived.table in live]


def rollup_fault(registry: Registry, tables: SqliteTables, name: str) -> str | None:
    """The first difference between a rollup and the rows it is of, in words. *Cost*: 10 µs a row of its source."""
    table = registry.tables[name]
    source = registry.tables[table.rollup_of or ""]
    rollup = next(one for one in source.rollups if one.name == name)
    parts = 1
    while True:
        try:
            found = (_fault_in(tables, source, table, rollup, part, parts) for part in range(parts))
            return next((fault for fault in found if fault is not None), None)
        except _TooMany:
            parts *= 2


class _TooMany(Exception):
    """A part has more buckets than are counted at a time."""


def _fault_in(tables: SqliteTables, source: Table, table: Table, rollup: Rollup, part: int, parts: int) -> str | None:
    wanted = _counted(tables, source, table, rollup, part, parts)
    for row in tables.all_rows(table):
        key = key_of(table, row.values)
        if zlib.crc32(key) % parts != part:
            continue
        expected = wanted.pop(key, None)
        where = ", ".join(str(row.values[name]) for name in table.key)
        if expected is None:
            return f"{table.name} has a row for {where}, where {source.name} has none"
        for name, value in expected.items():
            if row.values[name] != value:
                return f"{table.name} has a wrong {name} for {where}: {row.values[name]}, counted {value}"
    return f"{table.name} lacks {len(wanted):,} of its rows" if wanted else None


def _counted(
    tables: SqliteTables, source: Table, table: Table, rollup: Rollup, part: int, parts: int
) -> dict[bytes, dict[str, Any]]:
    """The rows that a rollup should have, by key: what it counts and sums."""
    sums: dict[bytes, dict[str, Any]] = {}
    for row in tables.all_rows(source):
        values = row.values
        if values[rollup.time] is None or any(values[name] is None for name in rollup.group):
            continue
        key = key_of(table, {rollup.bucket: bucket_of(rollup, values), **{name: values[name] for name in rollup.group}})
        if zlib.crc32(key) % parts != part:
            continue
        found = sums.get(key)
        if found is None:
            if len(sums) >= BUCKETS_MAX:
                raise _TooMany
            found = sums[key] = {column.name: column.default for column in table.columns if _is_measured(column, table)}
        _add(found, source, rollup, values)
    for found in sums.values():
        for name, value in found.items():
            column = table.column(name)
            if column.type == Type.DECIMAL and isinstance(value, int):
                found[name] = from_units(column, value)
    return sums


def _is_measured(column: Column, table: Table) -> bool:
    return column.name not in table.key and column.derived is None


def _add(found: dict[str, Any], source: Table, rollup: Rollup, values: Mapping[str, Any]) -> None:
    found[ROWS] += 1
    for measure in rollup.measures:
        if measure.function == "count":
            found[measure.name] += 1
            continue
        value = values[measure.column]
        if value is None:
            continue
        if measure.function in ("min", "max"):
            pick = min if measure.function == "min" else max
            known = found[measure.name]
            found[measure.name] = value if known is None else pick(known, value)
            continue
        mean = measure.function == "mean"
        name = f"{measure.name}_sum" if mean else measure.name
        found[name] = within_64_bits(found[name] + whole(source.column(measure.column), value))
        if mean:
            found[f"{measure.name}_count"] += 1
