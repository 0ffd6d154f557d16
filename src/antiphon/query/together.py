"""Room `query` (imports `knowledge` and below): what a table declares of its rows together, and its rows do not keep.

A home keeps its own rows unique and without circles. Where a table has none, or two homes disagree, nothing is refused:
what is so is found here, by the index that the declaration demands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.model import limits
from antiphon.model.errors import LimitExceeded
from antiphon.model.table import Table, Type
from antiphon.query.access import Reader
from antiphon.query.plan import Ask, Plan, Range, plan, plan_of_values
from antiphon.query.source import Source
from antiphon.views.kept import linked
from antiphon.views.store import StoredRow

_PAGE: Final = 1_000
_LEAST: Final[Mapping[Type, Any]] = {
    Type.ID: bytes(16), Type.PERSON: bytes(16), Type.AGENT: bytes(32), Type.LOG: bytes(32), Type.TEXT: "",
}  # fmt: skip
"""The least value of a type: a range from it has all that are not null."""


class Duplicate(msgspec.Struct, frozen=True):
    """Values of unique columns that `count` rows have; the first of them, in the order in which they were made here."""

    columns: tuple[str, ...]
    values: tuple[Any, ...]
    count: int
    rows: tuple[StoredRow, ...]


class Circle(msgspec.Struct, frozen=True):
    """Rows that a column links in a circle: from each of them, links lead to each."""

    column: str
    rows: tuple[StoredRow, ...]


def duplicates(source: Source, table: Table, reader: Reader, *, limit: int = limits.DUPLICATES_MAX) -> list[Duplicate]:
    """Which unique columns have values that several rows have. *Cost*: the index is read once, 0.1 µs a row."""
    found: list[Duplicate] = []
    for columns in table.unique:
        along = plan_of_values(table, columns)
        for values, count in source.repeated(along, reader, columns, limit=limit - len(found)):
            equal = plan(table, Ask(dict(zip(columns, values, strict=True))))
            found.append(
                Duplicate(columns, values, count, tuple(_rows(source, equal, reader, limits.DUPLICATE_ROWS_MAX)))
            )
        if len(found) >= limit:
            break
    return found


def circles(source: Source, table: Table, reader: Reader) -> list[Circle]:
    """Which rows hang together in circles by acyclic columns. *Cost*: every row that has a link is read.

    Raises LimitExceeded past LINKS_SCANNED_MAX rows.
    """
    return [Circle(name, rows) for name in table.acyclic for rows in _circles(source, table, reader, name)]


def _circles(source: Source, table: Table, reader: Reader, column: str) -> Iterator[tuple[StoredRow, ...]]:
    least = _LEAST.get(table.column(column).type)
    ask = Ask() if least is None else Ask(within=Range(column, least=least))
    most = limits.LINKS_SCANNED_MAX
    found = _rows(source, plan(table, ask), reader, most + 1)
    if len(found) > most:
        raise LimitExceeded(
            "LINKS_SCANNED_MAX", got=len(found), allowed=most, what=f"the number of rows of {table.name!r} with links"
        )
    rows = {row.values[table.key[0]]: row for row in found}
    links = {key: [to for to in linked(row.values[column]) if to in rows] for key, row in rows.items()}
    for ring in rings(links):
        yield tuple(rows[key] for key in ring)


def rings(links: Mapping[Any, Sequence[Any]]) -> list[list[Any]]:
    """The sets of nodes from each of which links lead to each other, in ascending order; one alone if it links itself.

    *Source*: Tarjan, Depth-first search and linear graph algorithms, 1972; without recursion.
    """
    order: dict[Any, int] = {}
    lowest: dict[Any, int] = {}
    stack: list[Any] = []
    on_stack: set[Any] = set()
    found: list[list[Any]] = []
    for root in links:
        if root in order:
            continue
        walk: list[tuple[Any, Iterator[Any]]] = []
        ahead: Any = root
        while True:
            if ahead is not None:
                order[ahead] = lowest[ahead] = len(order)
                stack.append(ahead)
                on_stack.add(ahead)
                walk.append((ahead, iter(links[ahead])))
                ahead = None
            node, rest = walk[-1]
            for to in rest:
                if to not in order:
                    ahead = to
                    break
                if to in on_stack:
                    lowest[node] = min(lowest[node], order[to])
            if ahead is not None:
                continue
            walk.pop()
            if walk:
                before = walk[-1][0]
                lowest[before] = min(lowest[before], lowest[node])
            if lowest[node] == order[node]:
                ring = [stack.pop()]
                while ring[-1] != node:
                    ring.append(stack.pop())
                on_stack.difference_update(ring)
                if len(ring) > 1 or node in links[node]:
                    found.append(sorted(ring))
            if not walk:
                break
    return sorted(found)


def _rows(source: Source, made: Plan, reader: Reader, limit: int) -> list[StoredRow]:
    """The first rows of a plan, read page by page."""
    found: list[StoredRow] = []
    position = None
    while len(found) < limit:
        part = source.page(
            made, reader, after=position, limit=min(_PAGE, limit - len(found)), scanned_max=limits.ROWS_SCANNED_MAX
        )
        found += part.rows
        position = part.end
        if position is None:
            break
    return found
