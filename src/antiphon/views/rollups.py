"""Room `views` (imports `log` and below): rollups: which table one is, and what a row adds to it.

Sums are integers (reals in millionths), so that they come out the same in whatever order rows came, and a row that
goes takes out exactly what it put in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from antiphon.model.table import Column, Derived, Index, Measure, Rollup, Table, Type
from antiphon.model.values import units

MILLIONTHS: Final = 1_000_000
ROWS: Final = "rows"
"""The column that says how many rows a bucket has."""


def rollup_table(source: Table, rollup: Rollup) -> Table:
    """The table of a rollup: bucket and group as key, exact sums and counts, and the measures."""
    columns = [Column(rollup.bucket, Type.TIMESTAMP, nullable=False)]
    grouped = [source.column(name) for name in rollup.group]  # rows without one of them are in no bucket
    columns += [Column(of.name, of.type, nullable=False, values=of.values) for of in grouped]
    columns.append(Column(ROWS, Type.INTEGER, default=0, doc="rows in the bucket"))
    for measure in rollup.measures:
        columns += _columns(source, measure)
    group = tuple(rollup.group)
    return Table(
        rollup.name,
        key=(rollup.bucket, *group),
        columns=tuple(columns),
        indexes=(Index((*group, rollup.bucket)),) if group else (),
        minted=False,
        shared=source.shared,
        scopes=source.scopes,
        access=source.access,
        rollup_of=source.name,
        doc=f"{rollup.name.replace('_', ' ')}: {source.name} by {rollup.bucket}",
    )


def _columns(source: Table, measure: Measure) -> list[Column]:
    name, function = measure.name, measure.function
    if function == "count":
        return [Column(name, Type.INTEGER, default=0)]
    of = source.column(measure.column)
    if function in ("min", "max"):
        return [Column(name, of.type, precision=of.precision, scale=of.scale)]
    if function == "sum":
        return [_sum(name, of)]
    sums, counts = _sum(f"{name}_sum", of), Column(f"{name}_count", Type.INTEGER, default=0)
    return [sums, counts, Column(name, Type.REAL, derived=Derived("ratio", of=(sums.name, counts.name)))]


def _sum(name: str, of: Column) -> Column:
    if of.type in (Type.REAL, Type.DECIMAL):
        return Column(name, Type.DECIMAL, default=0, scale=of.scale if of.type == Type.DECIMAL else 6, doc="exact")
    return Column(name, Type.INTEGER, default=0, doc="exact")


def whole(column: Column, value: Any) -> int:
    """A value as the integer that is summed: a real in millionths, a decimal in its smallest units."""
    if isinstance(value, Decimal):
        return units(value, column.scale)
    return round(value * MILLIONTHS) if column.type == Type.REAL else int(value)


def within_64_bits(total: int) -> int:
    """A sum as 64 bits hold it. Past them it wraps around: what is taken out again still leaves what was there, so it
    stays a function of the rows, and no row can make a sum that cannot be kept.
    """
    return (total + (1 << 63)) % (1 << 64) - (1 << 63)


def bucket_of(rollup: Rollup, row: Mapping[str, Any]) -> int:
    """The start of the bucket that a row is in."""
    time: int = row[rollup.time]
    return time - time % rollup.bucket_ms


def merged_rollups(source: Table, table: Table, parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One bucket from what several files have of it."""
    if len(parts) == 1:
        return parts[0]
    rollup = next(one for one in source.rollups if one.name == table.name)
    picks = {measure.name: measure.function for measure in rollup.measures if measure.function in ("min", "max")}
    found = dict(parts[0])
    for column in table.columns:
        if column.name in table.key or column.derived is not None:
            continue
        said = [part[column.name] for part in parts if part[column.name] is not None]
        if column.name in picks:
            pick = min if picks[column.name] == "min" else max
            found[column.name] = pick(said) if said else None
        else:
            found[column.name] = sum(said)
    for column in table.columns:
        if column.derived is not None:
            one, other = (found[name] for name in column.derived.of)
            found[column.name] = float(Decimal(one) / Decimal(other)) if one is not None and other else None
    return found
