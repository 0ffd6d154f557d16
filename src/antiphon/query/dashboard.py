"""Room `query` (imports `knowledge`, `domains`, `views` and below): the figures of a dashboard, by typed reads.

The declaration (`model/dashboard.py`) says what each figure is; here it is read from whatever serves rows. All are of
rows that the reader may see: tasks that are over are read by those who made or did them, so who is to see all of a
fleet's needs a reader that sees all.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, Protocol

import msgspec

from antiphon.domains.dashboards import FEDERATION_DASHBOARD
from antiphon.model.dashboard import Condition, Dashboard, Figure
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.table import Column, Table, Type
from antiphon.model.values import units
from antiphon.query.plan import Ask, Range, plan
from antiphon.query.rows import Rows

DASHBOARD_ROWS_MAX: Final = 1_000_000
"""Rows of one table that are read for one dashboard."""
_MILLION: Final = 1_000_000
_MILLIONTHS: Final = 6


class Reads(Protocol):
    """The rows of tables by name, as one agent may read them: an `Agent`, or `Rows` over any `Source`."""

    def table(self, name: str, /) -> Rows:
        """The rows of one declared table. Raises InvalidInput."""
        ...


class FederationDashboard(msgspec.Struct, frozen=True):
    """How a fleet fares. *Units*: `as_of` in ms since 1970; trust in [0, 1]; money as in the deals.

    `pipeline_value` is what deals are worth, each times its probability, without those that are lost; by stage too.
    """

    as_of: int
    total_agents: int
    avg_trust: float | None
    tasks_24h: int
    pipeline_value: Decimal
    pipeline_by_stage: dict[str, Decimal]
    current_consciousness: float | None


def federation_dashboard(reads: Reads, *, as_of: int) -> FederationDashboard:
    """The figures of FEDERATION_DASHBOARD as of a time; see `figures_of`."""
    return FederationDashboard(as_of, **figures_of(FEDERATION_DASHBOARD, reads, as_of=as_of))


def figures_of(dashboard: Dashboard, reads: Reads, *, as_of: int) -> dict[str, Any]:
    """The figures by name: rows as they are now, those bounded by a time up to `as_of` (ms since 1970).

    Counts are int, sums int or Decimal, means float; of no rows counts and sums are 0, the others None. A figure with
    a group is a map from each of its values. *Cost*: the rows that count are read, 10 µs each, once for all figures of
    the same ones. Raises LimitExceeded over DASHBOARD_ROWS_MAX rows of a table.
    """
    if type(as_of) is not int:
        raise InvalidInput(f"a dashboard is as of a time in whole ms since 1970, not {as_of!r:.60}")
    alike: dict[tuple[Any, ...], list[Figure]] = {}
    for figure in dashboard.figures:
        alike.setdefault((figure.table, figure.where, figure.by), []).append(figure)
    found: dict[str, Any] = {}
    for figures in alike.values():
        found |= _read(figures, reads, as_of)
    return {figure.name: found[figure.name] for figure in dashboard.figures}


def _read(figures: list[Figure], reads: Reads, as_of: int) -> dict[str, Any]:
    """Figures of the same rows, which are read once."""
    first = figures[0]
    source = reads.table(first.table)
    table = source.table
    tallies = {
        figure.name: {
            value: _Tally(figure, table) for value in (figure.values_of(table, figure.group) if figure.group else ("",))
        }
        for figure in figures
    }
    newest = None
    for row in _counted(table.name, _rows(first, source, as_of)):
        if first.by:
            if newest is not None and row[first.by] != newest:
                break
            newest = row[first.by]
        for figure in figures:
            tally = tallies[figure.name].get(row[figure.group] if figure.group else "")
            if tally is not None:
                tally.add(row)
    return {
        figure.name: {value: tally.figure() for value, tally in tallies[figure.name].items()}
        if figure.group
        else tallies[figure.name][""].figure()
        for figure in figures
    }


class _Tally:
    """What rows come to, in whole units: of a decimal its smallest ones, of a real millionths."""

    def __init__(self, figure: Figure, table: Table) -> None:
        self._function = figure.function
        self._column: Column | None = table.column(figure.column) if figure.column else None
        self._count, self._total = 0, 0
        self._least: Any = None
        self._most: Any = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts a row in; without a value where there has to be one, it does not count."""
        if self._column is None:
            self._count += 1
            return
        value = row[self._column.name]
        if value is None:
            return
        self._count += 1
        self._total += _whole(self._column, value)
        self._least = value if self._least is None else min(self._least, value)
        self._most = value if self._most is None else max(self._most, value)

    def figure(self) -> Any:
        """What the declared function is of what was counted."""
        if self._column is None:
            return self._count
        scale = _scale(self._column)
        match self._function:
            case "sum":
                return self._total if self._column.type == Type.INTEGER else Decimal(self._total).scaleb(-scale)
            case "min":
                return self._least
            case "max":
                return self._most
        if not self._count:
            return None
        whole = abs(self._total) * _MILLION // (self._count * 10**scale)  # towards zero, as PostgreSQL's div()
        return (whole if self._total >= 0 else -whole) / _MILLION


def _scale(column: Column) -> int:
    return {Type.INTEGER: 0, Type.REAL: _MILLIONTHS}.get(column.type, column.scale)


def _whole(column: Column, value: Any) -> int:
    """A value in whole units. A real is rounded as it is printed, half away from zero: any engine can do the same."""
    if column.type == Type.REAL:
        return int(Decimal(repr(value)).scaleb(_MILLIONTHS).to_integral_value(ROUND_HALF_UP))
    return units(value, column.scale) if column.type == Type.DECIMAL else int(value)


# -- which rows --------------------------------------------------------------------------------------------------


def _rows(figure: Figure, source: Rows, as_of: int) -> Iterator[Mapping[str, Any]]:
    """The rows that count; of the latest, from the newest on. What an enum leaves out is several questions."""
    bound = figure.range
    within = None
    if bound is not None:
        within = Range(bound[0], above=None if bound[1] is None else as_of - bound[1], most=as_of)
    fixed = {one.column: one.values[0] for one in figure.where if one.test == "equal"}
    spread = [one for one in figure.where if one.test == "unlike" and one.column not in fixed]
    kept = {one.column: figure.values_of(source.table, one.column) for one in spread}
    if any(_contradicts(figure, one, fixed) for one in figure.where):
        return
    asked = [{**fixed, **dict(zip(kept, values, strict=True))} for values in itertools.product(*kept.values())]
    if figure.by:
        every = [source.every(equal, within=within, order=figure.by, descending=True) for equal in asked]
        yield from heapq.merge(*every, key=lambda row: -row[figure.by])
        return
    for equal in asked:
        yield from source.every(equal, within=within, order=_order(source.table, equal, within))


def _contradicts(figure: Figure, condition: Condition, fixed: Mapping[str, Any]) -> bool:
    """Whether no row can be as this condition and an equal value say."""
    at = condition.column
    if condition.test == "equal":
        return bool(fixed[at] != condition.values[0])
    found: bool = condition.test == "unlike" and at in fixed and fixed[at] in (None, *condition.values)
    return found


def _order(table: Table, equal: Mapping[str, Any], within: Range | None) -> tuple[str, ...]:
    """The order in which an index leaves least to be tested: no figure depends on it. The key's serves anything."""
    orders: list[tuple[str, ...]] = [()]
    for index in table.indexes:
        orders += [(name,) for name in index.columns if name not in equal][:1]
    orders.append(tuple(table.key[:1]))
    best: tuple[tuple[int, int], tuple[str, ...]] | None = None
    for order in dict.fromkeys(orders):
        try:
            made = plan(table, Ask(equal, within, None, order))
        except InvalidInput:
            continue
        partial = made.path.index is not None and made.path.index.where is not None
        rank = len(made.served) + len(made.bounds) + partial, -len(made.tests)
        if best is None or rank > best[0]:
            best = rank, order
    assert best is not None, "the order of a key serves any question"
    return best[1]


def _counted(table: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for count, row in enumerate(rows, 1):
        if count > DASHBOARD_ROWS_MAX:
            raise LimitExceeded(
                "DASHBOARD_ROWS_MAX",
                got=count,
                allowed=DASHBOARD_ROWS_MAX,
                what=f"the number of rows of {table!r}",
            )
        yield row
