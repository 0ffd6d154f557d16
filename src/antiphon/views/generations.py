"""Room `views` (imports `log` and below): generations of a domain's tables: what a new version of a view asks for.

A domain that has changed is folded again. Where all that changed is that tables have more columns, which hold their
defaults for every event there is, the columns are added; else a new generation of its tables is made beside the old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from antiphon.model.declared import GENERATION
from antiphon.model.errors import InvalidInput
from antiphon.model.table import Column, Table
from antiphon.views.domain import AssertRow, Domain, Kind, OnlyWith, UpdateRow


class Made(msgspec.Struct, frozen=True):
    """How a table in the file was declared when it was made: its shape, and its columns with their types."""

    shape: str
    columns: tuple[tuple[str, str], ...]

    @staticmethod
    def of(table: Table) -> Made:
        """What to keep of a declaration."""
        return Made(table.shape, tuple((column.name, str(column.type)) for column in table.columns))


class Building(msgspec.Struct):
    """A generation that is being made, as kept with each batch: how far each log is folded, and what that has left.

    `cursors` are by log number: the next seq. `tables` are the names that it will have in the end.
    """

    fingerprint: str
    number: int
    tables: tuple[str, ...]
    cursors: dict[int, int] = {}
    next_row: dict[str, int] = {}
    orphans: set[str] = set()
    fault: str = ""
    """Why it goes on no further, until it does."""

    @property
    def folded(self) -> int:
        """Events folded so far."""
        return sum(self.cursors.values())


def name_in(table: str, generation: int) -> str:
    """What a table is called in a generation that is not in use yet."""
    return f"{table}{GENERATION}{generation}"


def name_of(table: str) -> str:
    """The declared name of a table, whatever generation the name is of."""
    return table.partition(GENERATION)[0]


def added_columns(
    domain: Domain, folded: str, made: Callable[[Table], Made | None]
) -> list[tuple[Table, tuple[Column, ...]]] | None:
    """The columns that a domain's tables lack where nothing else has changed since `folded`; None where more has.

    Kinds must be the same, since an upcaster may change any value of an old body. A fold that is a function is taken
    at its word: who lets one write the new column for old events raises the domain's version, as for any new fold.
    """
    version, *parts = folded.split("/")
    kinds = [part for part in parts if "=" in part]
    if int(version) != domain.version or kinds != [f"{kind.name}={kind.version}" for kind in domain.kinds]:
        return None
    found = []
    shapes = [part for part in parts if "=" not in part]
    if len(shapes) != len(domain.tables):
        return None
    for table, shape in zip(domain.tables, shapes, strict=True):
        if table.shape == shape:
            continue
        kept = made(table)
        columns = None if kept is None or kept.shape != shape else _added(table, kept)
        if columns is None or not all(_holds_default(domain, table, column) for column in columns):
            return None
        found.append((table, columns))
    return found


def _added(table: Table, made: Made) -> tuple[Column, ...] | None:
    """The columns that a table has got since it was made, where nothing else differs and none is required."""
    known = {name for name, _ in made.columns}
    new = tuple(column for column in table.columns if column.name not in known)
    for column in new:
        if column.derived is not None or (not column.nullable and column.default is None):
            return None
    try:
        before = msgspec.structs.replace(table, columns=tuple(c for c in table.columns if c.name in known))
    except InvalidInput:  # an index, a rollup or a rule speaks of a new column
        return None
    return new if new and before.shape == made.shape else None


def _holds_default(domain: Domain, table: Table, column: Column) -> bool:
    """Whether every event there is, which knows nothing of the column, would leave its default there."""
    kinds = {kind.name: kind for kind in domain.kinds}
    return all(
        _leaves(kinds[name], fold, table, column) for name, folds in domain.folds.items() for fold in _unwrapped(folds)
    )


def _unwrapped(folds: Iterable[Any]) -> Iterable[Any]:
    for fold in folds:
        yield fold.fold if isinstance(fold, OnlyWith) else fold


def _leaves(kind: Kind, fold: Any, table: Table, column: Column) -> bool:
    if isinstance(fold, AssertRow):
        source, silent = fold.sources.get(column.name), column.default
    elif isinstance(fold, UpdateRow):
        source, silent = fold.columns.get(column.name), msgspec.UNSET
    else:
        return True
    if fold.table.name != table.name or source is None:
        return True
    if source[0] == "@":
        return False
    return bool(_absent(kind, source) == silent)


def _absent(kind: Kind, field: str) -> Any:
    """What a body holds in a field that was not said; the kind itself, which equals nothing, where it must be said."""
    for one in msgspec.structs.fields(kind.body):
        if one.name == field:
            if one.default is not msgspec.NODEFAULT:
                return one.default
            return kind if one.default_factory is msgspec.NODEFAULT else one.default_factory()
    return kind
