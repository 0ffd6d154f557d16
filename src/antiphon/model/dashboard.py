"""Room `model` (pure; imports `model` alone): dashboards as data: named figures, each of the rows of one table alone.

Tables that are joined for their figures multiply each other: a row of one is counted as often as there are of the
other. So a figure names one table, and a dashboard is a list of figures, all as of one time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

import msgspec

from antiphon.model.errors import InvalidInput
from antiphon.model.table import Table, Type
from antiphon.model.values import canonical

FIGURES_MAX: Final = 64
"""Figures of one dashboard."""
CONDITIONS_MAX: Final = 8
"""Conditions of one figure."""
AS_OF: Final = "as_of"
"""The column, in engines that keep a dashboard as a view, that says of when its figures are."""
FUNCTIONS: Final = ("count", "sum", "mean", "min", "max", "latest")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NUMBERS: Final = (Type.INTEGER, Type.REAL, Type.DECIMAL)
_EQUAL: Final = (Type.TEXT, Type.ENUM, Type.INTEGER, Type.BOOLEAN)


class Condition(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which rows count: see `equal`, `unlike` and `newer`."""

    column: str
    test: str
    values: tuple[Any, ...] = ()
    ms: int = 0


def equal(column: str, value: Any) -> Condition:
    """Rows whose column has this value; None: that have none."""
    return Condition(column, "equal", (value,))


def unlike(column: str, *values: str) -> Condition:
    """Rows whose column, an enum, has another value than these; a row without a value has no other one."""
    return Condition(column, "unlike", values)


def newer(column: str, ms: int) -> Condition:
    """Rows whose time is less than so long before the time that is asked for, and not after it. *Units*: ms."""
    return Condition(column, "newer", ms=ms)


class Figure(msgspec.Struct, frozen=True, omit_defaults=True):
    """One aggregate over one table: the count of rows, or sum, mean, min or max of a column, without null.

    `latest` is the mean of those rows that are newest by the time column `by`; none of them is after the time asked
    for. `group` is an enum: then there is a figure for each of its values that may count. Means, and reals in sums, are
    exact to millionths, so that they come out the same in every engine.
    """

    name: str
    function: str
    table: str
    column: str = ""
    by: str = ""
    where: tuple[Condition, ...] = ()
    group: str = ""
    doc: str = ""

    @property
    def range(self) -> tuple[str, int | None] | None:
        """The time column by which rows are bounded, and how far back in ms; None where they are not."""
        for condition in self.where:
            if condition.test == "newer":
                return condition.column, condition.ms
        return (self.by, None) if self.by else None

    def values_of(self, table: Table, name: str) -> tuple[str, ...]:
        """The values of an enum that the figure's rows may have."""
        out = {value for one in self.where if one.test == "unlike" and one.column == name for value in one.values}
        kept = [one.values[0] for one in self.where if one.test == "equal" and one.column == name]
        return tuple(v for v in table.column(name).values if v not in out and (not kept or v in kept))


class Dashboard(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """Named figures. Raises InvalidInput where one contradicts itself; tables are looked at by `check_dashboard`."""

    name: str
    figures: tuple[Figure, ...]
    doc: str = ""

    def __post_init__(self) -> None:
        fault = next(_faults(self), None)
        if fault:
            raise InvalidInput(f"dashboard {self.name!r}: {fault}", dashboard=self.name)

    @cached_property
    def tables(self) -> tuple[str, ...]:
        """The names of the tables whose rows it counts."""
        return tuple(dict.fromkeys(figure.table for figure in self.figures))

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever anything in the declaration changes."""
        return sha256(msgspec.json.encode(self)).hexdigest()[:16]


def _faults(dashboard: Dashboard) -> Iterator[str]:
    if not _NAME.fullmatch(dashboard.name):
        yield "its name must be lower-case letters, digits and underscores, at most 63"
    if not 0 < len(dashboard.figures) <= FIGURES_MAX:
        yield f"it has {len(dashboard.figures)} figures, not 1 to FIGURES_MAX ({FIGURES_MAX})"
    names = [figure.name for figure in dashboard.figures]
    for figure in dashboard.figures:
        said = f"figure {figure.name!r}"
        if not _NAME.fullmatch(figure.name) or figure.name == AS_OF:
            yield f"{said} has a name that is reserved, or not of lower-case letters, digits and underscores"
        if names.count(figure.name) > 1:
            yield f"{said} is declared twice"
        if figure.function not in FUNCTIONS:
            yield f"{said} is a {figure.function!r}; there are {', '.join(FUNCTIONS)}"
        if (figure.function == "count") == bool(figure.column):
            yield f"{said}: a count is of rows, everything else of a column"
        if (figure.function == "latest") != bool(figure.by):
            yield f"{said}: the latest is by a time, and nothing else is"
        if figure.function == "latest" and figure.group:
            yield f"{said}: the latest has no group"
        if len(figure.where) > CONDITIONS_MAX:
            yield f"{said} has {len(figure.where)} conditions, over CONDITIONS_MAX ({CONDITIONS_MAX})"
        times = {one.column for one in figure.where if one.test == "newer"} | {figure.by} - {""}
        if len(times) > 1 or sum(one.test == "newer" for one in figure.where) > 1:
            yield f"{said} is bounded by time twice, which no index serves"


def check_dashboard(dashboard: Dashboard, tables: Mapping[str, Table]) -> None:
    """Raises InvalidInput, naming the figure, where these tables have not what it asks for."""
    said = f"dashboard {dashboard.name!r}"
    if dashboard.name in tables:
        raise InvalidInput(f"{said} has the name of a table: choose another", dashboard=dashboard.name)
    for figure in dashboard.figures:
        table = tables.get(figure.table)
        where = f"{said}: figure {figure.name!r}"
        if table is None:
            raise InvalidInput(f"{where} is of {figure.table!r}, which is no table", dashboard=dashboard.name)
        fault = next(_joined_faults(figure, table), None)
        if fault:
            raise InvalidInput(f"{where} {fault}", dashboard=dashboard.name, table=table.name)


def _joined_faults(figure: Figure, table: Table) -> Iterator[str]:
    for name in filter(None, (figure.column, figure.by, figure.group, *(one.column for one in figure.where))):
        if name not in table.by_name:
            yield f"is of {table.name}.{name}, which is no column"
            return
        if table.column(name).pii:
            yield f"is of {table.name}.{name}, which is personal data: engines have it sealed"
    wanted = ((figure.column, _NUMBERS, "a number"), (figure.by, (Type.TIMESTAMP,), "a time"),
              (figure.group, (Type.ENUM,), "an enum"))  # fmt: skip
    for name, types, what in wanted:
        if name and table.column(name).type not in types:
            yield f"needs {what}, and {table.name}.{name} is of type {table.column(name).type}"
    for name in filter(None, (figure.by, figure.group, *(one.column for one in figure.where))):
        if not table.column(name).is_stored:
            yield f"is of {table.name}.{name}, which is not kept with the row: rows are not found by it"
    for condition in figure.where:
        yield from _condition_faults(condition, table)


def _condition_faults(condition: Condition, table: Table) -> Iterator[str]:
    column, shown = table.column(condition.column), f"{table.name}.{condition.column}"
    match condition.test:
        case "equal" if len(condition.values) == 1:
            value = condition.values[0]
            if column.type not in _EQUAL and value is not None:
                yield f"compares {shown}, which is of type {column.type}: only text, enums, integers and booleans are"
            elif value is not None or not column.nullable:
                try:
                    canonical(column, value)
                except InvalidInput as error:
                    yield f"asks for a value that is never there: {error}"
        case "unlike":
            if column.type != Type.ENUM:
                yield f"leaves out values of {shown}, which is of type {column.type}, no enum"
            elif not set(condition.values) < set(column.values) or not condition.values:
                yield f"leaves out {', '.join(map(repr, condition.values))} of {shown}: all of it, nothing, or no value"
        case "newer":
            if column.type != Type.TIMESTAMP:
                yield f"bounds {shown}, which is of type {column.type}, by time"
            elif condition.ms <= 0:
                yield f"bounds {shown} by {condition.ms} ms: it must be more than nothing"
        case other:
            yield f"has a condition {other!r} on {shown}; there are equal, unlike and newer"
