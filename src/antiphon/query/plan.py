"""Room `query` (imports `knowledge` and below): which declared index serves a question; what none serves is refused.

An index serves equal values of its first columns, then one range or one order over those that follow, read in either
direction. A partial index serves questions whose equal values imply its condition. Conditions on further columns are
tested on the rows that the index yields. Ties are broken by the order in which rows were made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

from antiphon.model.errors import InvalidInput
from antiphon.model.table import Index, Table, Type
from antiphon.model.text import parse_entity, parse_id
from antiphon.model.values import canonical
from antiphon.views.commands import Range as Range  # noqa: PLC0414  # users of this room import it from here

MADE: Final = "n"
"""As an order: that in which the rows were made here."""
KEY: Final = "key"
_NO_ORDER: Final = frozenset(
    {Type.JSON, Type.LIST, Type.SET, Type.MAP, Type.VECTOR, Type.GEO_POINT, Type.GEO_SHAPE}
)  # fmt: skip


class Ask(msgspec.Struct, frozen=True):
    """A question about the rows of a table. `below` is (text column, dotted name): that name and those under it."""

    equal: Mapping[str, Any] = {}
    within: Range | None = None
    below: tuple[str, str] | None = None
    order: tuple[str, ...] = ()
    descending: bool = False


class Term(msgspec.Struct, frozen=True):
    """A condition on one column: = > >= < <=, null, some (not null), or below (a dotted name)."""

    column: str
    op: str
    value: Any = None


class Path(msgspec.Struct, frozen=True):
    """A way to rows in order: an index, the key, or the order of making. *Shapes*: parts are (column, descending)."""

    name: str
    parts: tuple[tuple[str, bool], ...]
    index: Index | None = None

    def __str__(self) -> str:
        if self.name == MADE:
            return "the order of making (n)"
        shown = ", ".join(name for name, _ in self.parts)
        text = f"the key ({shown})" if self.name == KEY else f"({shown})"
        if self.index is not None and self.index.descending:
            text += " descending"
        if self.index is not None and self.index.where is not None:
            column, value = self.index.where
            text += f" where {column} is {' or '.join(map(repr, value)) if isinstance(value, tuple) else repr(value)}"
        return text


class Plan(msgspec.Struct, frozen=True):
    """How a question is answered: one stretch of a path, in order, and what each of its rows is tested for.

    *Shapes*: `order` has (column, descending) for what is left of the path; `n` breaks ties, descending where
    `backward`.
    """

    table: Table
    path: Path
    served: tuple[Term, ...]
    bounds: tuple[Term, ...]
    order: tuple[tuple[str, bool], ...]
    backward: bool
    tests: tuple[Term, ...]
    digest: bytes


class Stretch(msgspec.Struct, frozen=True):
    """One stretch of the path: what holds on it, after which n it begins, and the order of what varies on it."""

    tests: tuple[Term, ...]
    order: tuple[tuple[str, bool], ...]
    after: int | None = None


_IDS: Final[dict[Type, Callable[[str], bytes]]] = {
    Type.ID: parse_entity,
    Type.PERSON: parse_entity,
    Type.AGENT: parse_id,
    Type.LOG: parse_id,
}


def paths(table: Table) -> Iterator[Path]:
    """Every way to a table's rows."""
    yield Path(KEY, tuple((name, False) for name in table.key))
    for index in table.indexes:
        parts = [(name, index.descending) for name in index.columns] + [(name, False) for name in index.include]
        yield Path("index", tuple(parts), index)
    yield Path(MADE, ())


def value_in(table: Table, name: str, value: Any) -> Any:
    """A value as it stands in the column; ids as bytes or as text. Raises InvalidInput, naming table and column."""
    column = table.column(name)
    if value is None and (name in table.key or not column.nullable):
        raise InvalidInput(f"table {table.name!r}: {name!r} is never null", table=table.name, column=name)
    if not column.is_stored or column.type in _NO_ORDER:
        why = "is not kept with the row" if not column.is_stored else f"is of type {column.type}"
        raise InvalidInput(
            f"table {table.name!r}: {name!r} {why}, so rows cannot be found by it", table=table.name, column=name
        )
    if column.check is not None:  # what the column may hold; anything of its type may be asked for
        column = msgspec.structs.replace(column, check=None)
    try:
        if isinstance(value, str) and column.type in _IDS:
            value = _IDS[column.type](value)
        return canonical(column, value)
    except InvalidInput as error:
        raise InvalidInput(f"table {table.name!r}: {error}", table=table.name, column=name) from None


def key_of_parts(table: Table, given: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """The key's values, by position or by name. Raises InvalidInput when some are missing, or too many, or wrong."""
    if len(given) > len(table.key) or (given and named):
        raise InvalidInput(_key_wanted(table), table=table.name)
    parts = dict(zip(table.key, given, strict=False)) if given else dict(named)
    if set(parts) != set(table.key):
        raise InvalidInput(_key_wanted(table), table=table.name)
    return {name: value_in(table, name, parts[name]) for name in table.key}


def _key_wanted(table: Table) -> str:
    return f"table {table.name!r}: a row is named by its whole key, {', '.join(table.key)}"


def plan(table: Table, ask: Ask) -> Plan:
    """The best way to an answer. Raises InvalidInput when no index serves it, naming those there are."""
    ask = _checked(table, ask)
    found = [plan for path in paths(table) if (plan := _along(table, path, ask)) is not None]
    if not found:
        raise InvalidInput(_refusal(table, ask), table=table.name, columns=", ".join(_asked(ask)))
    return max(found, key=lambda one: (len(one.served), len(one.bounds), -len(one.tests), one.path.name == KEY))


def plan_of_values(table: Table, columns: tuple[str, ...]) -> Plan:
    """The way along an index over all rows that begins with these columns: for values that are compared, not shown."""
    for path in paths(table):
        whole = path.index is None or path.index.where is None
        if whole and tuple(name for name, _ in path.parts[: len(columns)]) == columns:
            return Plan(table, path, (), (), path.parts, False, (), b"")
    raise InvalidInput(
        f"table {table.name!r}: no index over all rows begins with {', '.join(columns)}", table=table.name
    )


def _checked(table: Table, ask: Ask) -> Ask:
    equal = {name: value_in(table, name, value) for name, value in sorted(ask.equal.items())}
    within = ask.within
    if within is not None:
        ends = {
            name: value_in(table, within.column, value)
            for name in ("least", "above", "most", "under")
            if (value := getattr(within, name)) is not None
        }
        if not ends or len(ends) > 2 or {"least", "above"} <= set(ends) or {"most", "under"} <= set(ends):
            raise InvalidInput(
                f"a range over {within.column!r} has one beginning (least or above), one end (most or under), or both",
                table=table.name,
                column=within.column,
            )
        within = Range(within.column, **ends)
    if ask.below is not None:
        name, text = ask.below
        if table.column(name).type != Type.TEXT:
            raise InvalidInput(f"table {table.name!r}: {name!r} holds no dotted names, it is no text", column=name)
        ask = msgspec.structs.replace(ask, below=(name, value_in(table, name, text)))
    for name in ask.order:
        if name != MADE and name not in table.names:
            there = "; ".join(str(path) for path in paths(table))
            raise InvalidInput(
                f"table {table.name!r} has no column {name!r} to order by; its orders are {there}",
                table=table.name, column=name,
            )  # fmt: skip
    ordered = [*ask.order, *(() if within is None else (within.column,)), *(() if ask.below is None else ask.below[:1])]
    for name in ordered:
        if name != MADE and table.column(name).pii:
            raise InvalidInput(
                f"table {table.name!r}: {name!r} is personal data: it has no order, and is found by equality alone",
                table=table.name, column=name,
            )  # fmt: skip
    for name in ask.order:
        if name != MADE and (table.column(name).type in _NO_ORDER or not table.column(name).is_stored):
            raise InvalidInput(f"table {table.name!r}: rows have no order by {name!r}", table=table.name, column=name)
    return msgspec.structs.replace(ask, equal=equal, within=within)


def _along(table: Table, path: Path, ask: Ask) -> Plan | None:
    """The plan that follows this path, None when it does not serve the question."""
    where = None if path.index is None else path.index.where
    if where is not None and not _implied(table, path.index, ask.equal):
        return None
    fixed = 0
    while fixed < len(path.parts) and path.parts[fixed][0] in ask.equal:
        fixed += 1
    rest = path.parts[fixed:]
    if where is not None and where[0] in dict(rest):  # all its rows have one value there: SQLite would sort them
        return None
    wanted = [name for name in ask.order if name not in ask.equal]
    backward = (rest[0][1] if rest else False) != ask.descending
    if not _in_order(rest, wanted, backward=backward, descending=ask.descending):
        return None
    served = [name for name, _ in path.parts[:fixed]]
    bounds = _bounds(ask, rest[0][0]) if rest else ()
    tests = _tests(ask, served, bounds)
    if path.name == MADE and tests:
        return None
    if not served and not bounds and not (wanted and wanted != [MADE]) and path.name != MADE:
        return None
    return Plan(
        table,
        path,
        tuple(_equal(name, ask.equal[name]) for name in served),
        bounds,
        tuple((name, desc != backward) for name, desc in rest),
        backward,
        tests,
        _digest(table, path, ask),
    )


def _implied(table: Table, index: Index | None, equal: Mapping[str, Any]) -> bool:
    assert index is not None
    assert index.where is not None
    name = index.where[0]
    return name in equal and equal[name] in [canonical(table.column(name), value) for value in index.accepted]


def _in_order(rest: tuple[tuple[str, bool], ...], wanted: list[str], *, backward: bool, descending: bool) -> bool:
    """Whether the rest of a path yields rows in the order that is wanted."""
    if wanted == [MADE]:
        return not rest
    names = [(name, desc != backward) for name, desc in rest[: len(wanted)]]
    return names == [(name, descending) for name in wanted]


def _bounds(ask: Ask, name: str) -> tuple[Term, ...]:
    """What the column right behind the equal ones is bounded by."""
    if ask.within is not None and ask.within.column == name:
        return tuple(_range_tests(ask.within))
    if ask.below is not None and ask.below[0] == name:
        return Term(name, ">=", ask.below[1]), Term(name, "<", ask.below[1] + "/")
    return ()


def _range_tests(within: Range) -> Iterator[Term]:
    for name, op in (("least", ">="), ("above", ">"), ("most", "<="), ("under", "<")):
        value = getattr(within, name)
        if value is not None:
            yield Term(within.column, op, value)


def _tests(ask: Ask, served: Iterable[str], bounds: tuple[Term, ...]) -> tuple[Term, ...]:
    """What is left to be tested row by row. Between a name and those under it, others may stand in order."""
    left = [_equal(name, value) for name, value in ask.equal.items() if name not in served]
    if ask.within is not None and tuple(_range_tests(ask.within)) != bounds:
        left += _range_tests(ask.within)
    if ask.below is not None:
        left.append(Term(ask.below[0], "below", ask.below[1]))
    return tuple(left)


def _equal(name: str, value: Any) -> Term:
    return Term(name, "null") if value is None else Term(name, "=", value)


def _digest(table: Table, path: Path, ask: Ask) -> bytes:
    """What a cursor is bound to: the same question, in the same order, of the same table."""
    return sha256(msgspec.msgpack.encode([table.name, table.fingerprint, path, ask])).digest()[:8]


def _asked(ask: Ask) -> list[str]:
    names = [*ask.equal, *((ask.within.column,) if ask.within else ()), *((ask.below[0],) if ask.below else ())]
    return [*names, *ask.order]


def _refusal(table: Table, ask: Ask) -> str:
    said = [f"{name} = …" for name in ask.equal]
    said += [f"a range of {ask.within.column}"] if ask.within else []
    said += [f"names below one in {ask.below[0]}"] if ask.below else []
    by = f" in the order of {', '.join(ask.order)}{' descending' if ask.descending else ''}" if ask.order else ""
    there = "; ".join(str(path) for path in paths(table))
    return (
        f"table {table.name!r}: no index serves {' and '.join(said) or 'all rows'}{by}. There are {there}. Give equal "
        "values for an index's first columns, a range or an order of the next; or declare an index"
    )


# -- pages -------------------------------------------------------------------------------------------------------


class Position(msgspec.Struct, frozen=True):
    """Where a page ended: the values of the plan's order, and n.

    Where it ended at a row that its reader may not see, they are sealed: only the engine can tell.
    """

    values: tuple[Any, ...] = ()
    n: int = 0
    sealed: bytes = b""


def stretches(plan: Plan, after: Position | None) -> list[Stretch]:
    """The stretches of the path that hold the rows behind a position, in order; each is one search of the index."""
    if after is None:
        return [Stretch((*plan.served, *plan.bounds), plan.order)]
    found: list[Stretch] = []
    for depth in range(len(plan.order), -1, -1):
        held = (*plan.served, *(_equal(plan.order[at][0], after.values[at]) for at in range(depth)))
        if depth == len(plan.order):
            found.append(Stretch(held, (), after.n))
            continue
        name, descending = plan.order[depth]
        ends = plan.bounds if depth == 0 else ()
        free = plan.table.column(name).nullable and name not in plan.table.key
        for tests in _beyond(name, after.values[depth], ends, nullable=free, descending=descending):
            varies = plan.order[depth + 1 :] if tests[0].op == "null" else plan.order[depth:]
            found.append(Stretch((*held, *tests), varies))
    return found


def _beyond(
    name: str, value: Any, bounds: tuple[Term, ...], *, nullable: bool, descending: bool
) -> Iterator[tuple[Term, ...]]:
    """What comes after a value of a column: nulls are first upwards, last downwards."""
    if not descending:
        kept = tuple(test for test in bounds if test.op in ("<", "<="))
        yield (Term(name, "some") if value is None else Term(name, ">", value), *kept)
        return
    if value is None:
        return
    kept = tuple(test for test in bounds if test.op in (">", ">="))
    yield (Term(name, "<", value), *kept)
    if nullable and not bounds:
        yield (Term(name, "null"),)


def meets(test: Term, value: Any) -> bool:
    """Whether a value is as the test says."""
    match test.op:
        case "null":
            return value is None
        case "some":
            return value is not None
        case "below":
            return isinstance(value, str) and (value == test.value or value.startswith(test.value + "."))
        case "=":
            return bool(value == test.value)
    if value is None:
        return False
    return bool(
        {">": value > test.value, ">=": value >= test.value, "<": value < test.value, "<=": value <= test.value}[
            test.op
        ]
    )
