"""A domain with every merge rule and writers rule, and what its rows must be: a plain reading of `DESIGN.md`.

`expected` shares no code with `views/`: it reads events one by one, in the one order, and is as slow as that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.model.event import Event, Role, Scope
from antiphon.model.table import (
    ANYONE,
    PRINCIPAL,
    Check,
    Column,
    Derived,
    Measure,
    Merge,
    Rollup,
    Table,
    Type,
    owners,
    role,
)  # fmt: skip
from antiphon.model.text import EntityIds
from antiphon.views.domain import AssertRow, DeleteRow, Domain, Kind, UpdateRow

HOUR_MS = 3_600_000

THINGS = Table(
    "things",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("name", Type.TEXT, nullable=False),
        Column("first", Type.TEXT, merge=Merge.ONCE),
        Column("love", Type.INTEGER, default=0),
        Column("prize", Type.TEXT, merge=Merge.HIGHEST, by="love", ceiling=50),
        Column("labels", Type.SET, of=Type.TEXT, merge=Merge.GROW_SET),
        Column("votes", Type.INTEGER, derived=Derived("count", "ballots", match=("thing",))),
        Column("ups", Type.INTEGER, derived=Derived("count", "ballots", match=("thing",), where=(("vote", 1),))),
        Column("weight", Type.DECIMAL, scale=2, derived=Derived("sum", "ballots", "weight", ("thing",))),
        Column("top", Type.DECIMAL, scale=2, derived=Derived("max", "ballots", "weight", ("thing",))),
        Column("voters", Type.SET, of=Type.AGENT, derived=Derived("set", "ballots", "agent", ("thing",))),
        Column("share", Type.REAL, derived=Derived("ratio", of=("ups", "votes"))),
    ),
    subject="name",
    shared=True,
)
BALLOTS = Table(
    "ballots",
    key=("thing", "agent"),
    columns=(
        Column("thing", Type.ID, nullable=False, references="things"),
        Column("agent", Type.AGENT, nullable=False),
        Column("vote", Type.INTEGER, nullable=False, check=Check(among=(-1, 1))),
        Column("weight", Type.DECIMAL, scale=2, precision=6),
        Column("at", Type.TIMESTAMP),
    ),
    shared=True,
    rollups=(
        Rollup(
            "ballots_hourly", "at", "hour", HOUR_MS, group=("vote",),
            measures=(
                Measure("ballots", "count"), Measure("weights", "sum", "weight"), Measure("least", "min", "weight"),
                Measure("most", "max", "weight"), Measure("usual", "mean", "weight"),
            ),
        ),
    ),
)  # fmt: skip
PAIRS = Table(
    "pairs",
    key=("one", "other"),
    columns=(
        Column("one", Type.AGENT, nullable=False),
        Column("other", Type.AGENT, nullable=False),
        Column("terms", Type.TEXT, merge=Merge.MUTUAL, by="benefit"),
        Column("benefit", Type.INTEGER),
    ),
    writers=owners("one", "other"),
    shared=True,
)
JOBS = Table(
    "jobs",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("home", Type.LOG, merge=Merge.ONCE),
        Column("status", Type.ENUM, values=("open", "taken", "done"), default="open", merge=Merge.DECIDED),
        Column("note", Type.TEXT, writers=ANYONE),
        Column("keeper", Type.AGENT),
    ),
    home="home",
    writers=owners("keeper"),
    shared=True,
)
BOARDS = Table(
    "boards",
    key="name",
    columns=(
        Column("name", Type.TEXT, nullable=False),
        Column("title", Type.TEXT, default="untitled"),
        Column("owner", Type.AGENT),
        Column("sealed", Type.BOOLEAN, default=False, writers=owners("owner")),
        Column("tags", Type.SET, of=Type.TEXT, merge=Merge.GROW_SET),
    ),
    writers=ANYONE,
    shared=True,
)
MOTTOS = Table(
    "mottos",
    key="agent",
    columns=(Column("agent", Type.AGENT, nullable=False), Column("motto", Type.TEXT)),
    writers=PRINCIPAL,
    shared=True,
)
ALARMS = Table(
    "alarms",
    key=("agent", "name"),
    columns=(
        Column("agent", Type.AGENT, nullable=False),
        Column("name", Type.TEXT, nullable=False),
        Column("level", Type.INTEGER),
        Column("quiet", Type.BOOLEAN, writers=role("chief", "agent")),
    ),
    writers=role("monitor", "agent"),
    shared=True,
)
NOTICES = Table(
    "notices",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("text", Type.TEXT),
        Column("love", Type.INTEGER, default=0),
        Column("star", Type.TEXT, merge=Merge.HIGHEST, by="love", ceiling=50),
    ),
    writers=role("chief"),
    shared=True,
)
CASES = Table(
    "cases",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("owner", Type.AGENT),
        Column("text", Type.TEXT),
    ),
    writers=role("monitor", "owner"),
    shared=True,
)
DIARY = Table("diary", key="id", columns=(Column("id", Type.ID, nullable=False), Column("text", Type.TEXT)))
TABLES = (THINGS, BALLOTS, PAIRS, JOBS, BOARDS, MOTTOS, ALARMS, NOTICES, CASES, DIARY)


class Body(msgspec.Struct, omit_defaults=True):
    """Any body of this domain: a liar may put what he likes into a field."""

    name: Any | UnsetType = UNSET
    first: Any | UnsetType = UNSET
    love: Any | UnsetType = UNSET
    prize: Any | UnsetType = UNSET
    labels: Any | UnsetType = UNSET
    thing: Any | UnsetType = UNSET
    agent: Any | UnsetType = UNSET
    vote: Any | UnsetType = UNSET
    weight: Any | UnsetType = UNSET
    one: Any | UnsetType = UNSET
    other: Any | UnsetType = UNSET
    terms: Any | UnsetType = UNSET
    benefit: Any | UnsetType = UNSET
    home: Any | UnsetType = UNSET
    status: Any | UnsetType = UNSET
    note: Any | UnsetType = UNSET
    keeper: Any | UnsetType = UNSET
    title: Any | UnsetType = UNSET
    owner: Any | UnsetType = UNSET
    sealed: Any | UnsetType = UNSET
    tags: Any | UnsetType = UNSET
    motto: Any | UnsetType = UNSET
    text: Any | UnsetType = UNSET
    level: Any | UnsetType = UNSET
    quiet: Any | UnsetType = UNSET
    star: Any | UnsetType = UNSET


class Made(msgspec.Struct):
    name: str | None
    first: str | None = None


class Cast(msgspec.Struct):
    thing: bytes
    agent: bytes
    vote: int
    weight: str | None = None


class Said(msgspec.Struct):
    one: bytes
    other: bytes
    terms: str | None
    benefit: int


class Given(msgspec.Struct):
    home: bytes | None
    keeper: bytes | None = None


class Put(msgspec.Struct):
    name: str
    title: str | None
    owner: bytes | None


class Believed(msgspec.Struct):
    agent: bytes
    motto: str | None


class Wrote(msgspec.Struct):
    text: str


class Raised(msgspec.Struct):
    agent: bytes
    name: str
    level: int | None


class Posted(msgspec.Struct):
    text: str | None


class Opened(msgspec.Struct):
    owner: bytes | None
    text: str | None


ASSERTS: Mapping[str, tuple[Table, type, dict[str, str]]] = {
    "thing.made": (THINGS, Made, {"id": "@entity", "name": "name", "first": "first"}),
    "ballot.cast": (
        BALLOTS, Cast, {"thing": "thing", "agent": "agent", "vote": "vote", "weight": "weight", "at": "@time"},
    ),
    "pair.said": (PAIRS, Said, {"one": "one", "other": "other", "terms": "terms", "benefit": "benefit"}),
    "job.given": (JOBS, Given, {"id": "@entity", "home": "home", "keeper": "keeper"}),
    "board.put": (BOARDS, Put, {"name": "name", "title": "title", "owner": "owner"}),
    "motto.said": (MOTTOS, Believed, {"agent": "agent", "motto": "motto"}),
    "alarm.raised": (ALARMS, Raised, {"agent": "agent", "name": "name", "level": "level"}),
    "notice.posted": (NOTICES, Posted, {"id": "@entity", "text": "text"}),
    "case.opened": (CASES, Opened, {"id": "@entity", "owner": "owner", "text": "text"}),
    "diary.wrote": (DIARY, Wrote, {"id": "@entity", "text": "text"}),
}  # fmt: skip
UPDATES: Mapping[str, tuple[Table, dict[str, str] | None, tuple[str, ...]]] = {
    "thing.changed": (THINGS, None, ("name", "first", "love", "prize", "labels")),
    "ballot.changed": (BALLOTS, {"thing": "thing", "agent": "agent"}, ("vote", "weight")),
    "job.changed": (JOBS, None, ("status", "note", "keeper", "home")),
    "board.changed": (BOARDS, {"name": "name"}, ("title", "owner", "sealed", "tags")),
    "motto.changed": (MOTTOS, {"agent": "agent"}, ("motto",)),
    "alarm.changed": (ALARMS, {"agent": "agent", "name": "name"}, ("level", "quiet")),
    "notice.changed": (NOTICES, None, ("text", "love", "star")),
    "case.changed": (CASES, None, ("owner", "text")),
}
DELETES: Mapping[str, tuple[Table, dict[str, str] | None]] = {
    "thing.gone": (THINGS, None),
    "ballot.gone": (BALLOTS, {"thing": "thing", "agent": "agent"}),
    "board.gone": (BOARDS, {"name": "name"}),
    "job.gone": (JOBS, None),
    "alarm.gone": (ALARMS, {"agent": "agent", "name": "name"}),
    "case.gone": (CASES, None),
}


def domain(*, version: int = 1) -> Domain:
    folds: dict[str, Any] = {kind: (AssertRow(table, **said),) for kind, (table, _, said) in ASSERTS.items()}
    folds |= {
        kind: (UpdateRow(table, key, **{name: name for name in names}),)
        for kind, (table, key, names) in UPDATES.items()
    }
    folds |= {kind: (DeleteRow(table, key),) for kind, (table, key) in DELETES.items()}
    bodies = {kind: body for kind, (_, body, _) in ASSERTS.items()}
    kinds = tuple(Kind(kind, bodies.get(kind, Body)) for kind in folds)
    return Domain("every_rule", kinds, TABLES, folds, version=version)


# -- what must be ----------------------------------------------------------------------------------------------------


class Known(msgspec.Struct):
    """What a principal granted, and what is accepted of each log (None: all)."""

    principal: bytes
    agent: bytes
    role: str
    tables: list[str] | None
    ceiling: int | None
    leaf: bytes
    ended: dict[bytes, int] | None = None


class World(msgspec.Struct):
    """Who belongs to whom, what was granted (by log and seq), and whom the file trusts."""

    owner_of: Callable[[bytes], bytes | None]
    grants: Mapping[tuple[bytes, int], Known] = {}
    trusted: frozenset[bytes] = frozenset()

    def held(self, table: Table, author: bytes | None, say: Say) -> list[tuple[Known, Callable[[bytes | None], bool]]]:
        """The grants that an event may go by in a table, each with: whether it is of the principal of an agent."""
        found = []
        for log, seq, leaf in say.cited:
            known = self.grants.get((log, seq))
            if known is None or known.agent != say.author or known.leaf != leaf:
                continue
            if known.tables is not None and table.name not in known.tables:
                continue
            if known.ended is not None and say.order[2] >= known.ended.get(say.order[1], 0):
                continue
            found.append((known, lambda agent, by=known.principal: agent is not None and self.owner_of(agent) == by))
        return found

    def ceiling(self, table: Table, column: Column, author: bytes | None, say: Say) -> int:
        """The most that an event may declare for a column."""
        nobodys = table.writers.rule == "role" or not (
            table.minted or any(table.column(name).type == Type.AGENT for name in table.key)
        )
        caps = [
            known.ceiling
            for known, of in self.held(table, author, say)
            if known.ceiling is not None and (known.principal in self.trusted if nobodys else of(author))
        ]
        return max(caps, default=column.ceiling)


class Say(msgspec.Struct):
    """What one event says of one row."""

    order: tuple[int, bytes, int]
    author: bytes
    what: str
    values: dict[str, Any]
    made: bool
    named: dict[bytes, int]
    cited: tuple[tuple[bytes, int, bytes], ...] = ()


class Rows(msgspec.Struct):
    """Rows by table and key (as a tuple of values): values by column and the event they speak by; and refusals."""

    rows: dict[str, dict[tuple[Any, ...], tuple[dict[str, Any], tuple[bytes, int]]]]
    refused: set[tuple[str, tuple[Any, ...], bytes, int, str]]
    unread: set[tuple[bytes, int]]


def expected(
    events: Iterable[Event],
    world: World,
    *,
    resets: Mapping[bytes, list[tuple[int, int]]],
    foreign: bool,
) -> Rows:
    """The rows that these events make."""
    by_row: dict[tuple[str, tuple[Any, ...]], list[Say]] = {}
    unread: set[tuple[bytes, int]] = set()
    for event in events:
        try:
            found = _read(event, resets.get(event.log, []))
        except _Unfit:
            unread.add((event.log, event.seq))
            continue
        if found is None:
            continue
        table, key, say = found
        if event.header.scope == Scope.PRIVATE if table.shared else foreign:
            continue
        by_row.setdefault((table.name, key), []).append(say)
    result = Rows({table.name: {} for table in TABLES}, set(), unread)
    tables = {table.name: table for table in TABLES}
    for (name, key), says in by_row.items():
        row, refused = row_of(tables[name], key, sorted(says, key=lambda say: say.order), world)
        result.refused |= {(name, key, log, seq, rule) for log, seq, rule in refused}
        if row is not None:
            result.rows[name][key] = row
    _count(result)
    return result


class _Unfit(Exception):
    pass


class _Bad(Exception):
    pass


def _read(event: Event, resets: list[tuple[int, int]]) -> tuple[Table, tuple[Any, ...], Say] | None:
    kind, header = event.kind, event.header
    stamp = min([header.hlc, *(hlc for seq, hlc in resets if seq > event.seq)])
    at = header.occurred if header.occurred is not None else header.hlc >> 16
    made = event.entity is not None and event.entity == EntityIds(event.log).of(header.hlc, event.seq)
    special = {"@entity": event.entity, "@time": at}
    named: dict[bytes, int] = {}
    if kind in ASSERTS:
        table, shape, said = ASSERTS[kind]
        body = _body(event, shape)
        values = {name: special[of] if of[0] == "@" else body[of] for name, of in said.items()}
        key = tuple(_key_part(table, name, values[name]) for name in table.key)
        what = "assert"
    elif kind in UPDATES:
        table, by, names = UPDATES[kind]
        body = _body(event, Body)
        key = _key(table, by, event, body)
        if key is None:
            return None
        values = {name: body[name] for name in names if name in body}
        what = "update"
    elif kind in DELETES:
        table, by = DELETES[kind]
        key = _key(table, by, event, _body(event, Body))
        if key is None:
            return None
        values, what = {}, "delete"
        for ref in header.refs or ():
            if ref.role == Role.TARGET:
                named[ref.log] = max(ref.seq, named.get(ref.log, -1))
        named[event.log] = max(event.seq, named.get(event.log, -1))
    else:
        return None
    cited = tuple((ref.log, ref.seq, ref.leaf) for ref in header.refs or () if ref.role == Role.CAUSE)
    return table, key, Say((stamp, event.log, event.seq), event.author, what, values, made, named, cited)


def _body(event: Event, shape: type) -> dict[str, Any]:
    try:
        read = msgspec.msgpack.decode(event.body or b"", type=shape)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise _Unfit from error
    found = {name: getattr(read, name) for name in shape.__struct_fields__}  # type: ignore[attr-defined]
    return {name: value for name, value in found.items() if value is not UNSET}


def _key(table: Table, by: dict[str, str] | None, event: Event, body: dict[str, Any]) -> tuple[Any, ...] | None:
    if by is None:
        return None if event.entity is None else (event.entity,)
    return tuple(_key_part(table, name, body.get(of, UNSET)) for name, of in by.items())


def _key_part(table: Table, name: str, value: Any) -> Any:
    widths = {Type.ID: 16, Type.AGENT: 32}
    kind = table.column(name).type
    if kind == Type.TEXT and isinstance(value, str):
        return value
    if kind in widths and isinstance(value, bytes) and len(value) == widths[kind]:
        return value
    raise _Unfit


def _value(column: Column, value: Any) -> Any:
    """A value in its one form."""
    if value is None:
        if not column.nullable:
            raise _Bad
        return None
    match column.type:
        case Type.TEXT:
            good = isinstance(value, str)
        case Type.ENUM:
            good = isinstance(value, str) and value in column.values
        case Type.BOOLEAN:
            good = isinstance(value, bool)
        case Type.INTEGER | Type.TIMESTAMP:
            good = type(value) is int and abs(value) < 1 << 63
            good = good and (column.check is None or value in column.check.among)
        case Type.LOG | Type.AGENT:
            good = isinstance(value, bytes) and len(value) == 32
        case Type.ID:
            good = isinstance(value, bytes) and len(value) == 16
        case Type.SET:
            good = isinstance(value, list) and all(isinstance(item, str) for item in value)
            value = sorted(set(value)) if good else value
        case Type.DECIMAL:
            return _decimal(column, value)
        case _:
            raise AssertionError(column.type)
    if not good:
        raise _Bad
    return value


def _decimal(column: Column, value: Any) -> Decimal:
    try:
        exact = Decimal(value)
    except (ArithmeticError, TypeError, ValueError):
        raise _Bad from None
    if (
        not exact.is_finite()
        or exact != round(exact, column.scale)
        or abs(exact) >= 10 ** (column.precision - column.scale)
    ):
        raise _Bad
    return exact


def row_of(
    table: Table, key: tuple[Any, ...], says: list[Say], world: World
) -> tuple[tuple[dict[str, Any], tuple[bytes, int]] | None, list[tuple[bytes, int, str]]]:
    author = next(
        (part for name, part in zip(table.key, key, strict=True) if table.column(name).type == Type.AGENT), None
    )
    if author is None:
        makers = [say for say in says if say.what == "assert" and (say.made or not table.minted)]
        if not makers:
            return None, []
        author = makers[0].author
    gone: dict[bytes, int] = {}
    refused: list[tuple[bytes, int, str]] = []
    standing: list[Say] = []  # what was allowed so far, whatever is deleted later: deletes are judged by that
    for say in says:
        fault = _fault(table, key, author, say, standing, world)
        if say.what == "delete":
            if fault is not None:
                refused.append((say.order[1], say.order[2], fault))
                continue
            for log, seq in say.named.items():
                gone[log] = max(seq, gone.get(log, -1))
        elif fault is None:
            standing.append(say)
    left: list[Say] = []
    for say in says:
        if say.what == "delete":
            continue
        fault = _fault(table, key, author, say, left, world)
        if fault is not None:
            refused.append((say.order[1], say.order[2], fault))
        elif say.order[2] > gone.get(say.order[1], -1):
            left.append(say)
    asserted = [say for say in left if say.what == "assert"]
    if not asserted:
        return None, refused
    values = _state(table, author, left, world)
    row = {column.name: values.get(column.name, column.default) for column in table.columns}
    speaks = asserted[0]
    if table.subject is not None:
        speaks = [say for say in left if table.subject in say.values][-1]
    return (row, (speaks.order[1], speaks.order[2])), refused


def _fault(
    table: Table,
    key: tuple[Any, ...],
    author: bytes,
    say: Say,
    before: list[Say],
    world: World,
) -> str | None:
    """Which rule forbids this, by what counts of what was said before it; None when it counts."""
    owner_of, state = world.owner_of, _state(table, author, before, world)
    alive = any(other.what == "assert" for other in before)
    if say.what == "assert" and table.minted and not say.made:
        return "minted"
    try:
        for name, value in say.values.items():
            _value(table.column(name), value)
    except _Bad:
        return "value"
    needed = {c.name for c in table.columns if not c.nullable and c.default is None and c.derived is None}
    if say.what == "assert" and not needed <= set(say.values):
        return "value"
    home = state.get("home")
    decides = home is not None and say.order[1] == home

    def granted(rule: Any) -> bool:
        owner: Any = None
        for name in rule.columns:
            if name in table.key:
                owner = dict(zip(table.key, key, strict=True))[name]
            elif alive:
                owner = state.get(name)
            else:
                owner = say.values.get(name) if say.what == "assert" else None
        return any(
            known.role == rule.name and (of(owner) if rule.columns else known.principal in world.trusted)
            for known, of in world.held(table, author, say)
        )

    def may(rule: Any) -> bool:
        if rule.rule == "role":
            return granted(rule)
        if rule.rule == "anyone" or say.author == author:
            return True
        if rule.rule == "principal":
            return owner_of(say.author) is not None and owner_of(say.author) == owner_of(author)
        named = dict(zip(table.key, key, strict=True))
        return any(named.get(name, state.get(name)) == say.author for name in rule.columns)

    decided = {column.name for column in table.columns if column.merge == Merge.DECIDED}
    of_row = say.what != "update" or any(table.column(name).writers is None for name in say.values) or not say.values
    if of_row and not may(table.writers) and not (decides and set(say.values) <= decided):
        return "role" if table.writers.rule == "role" else "writers"
    for name in say.values:
        column = table.column(name)
        if name in decided:
            deciding = home or say.values.get("home")
            if deciding is None or say.order[1] != deciding:
                return "home"
        elif column.writers is not None and not (may(column.writers) or (decides and set(say.values) <= decided)):
            return "role" if column.writers.rule == "role" else "writers"
    return None


def _state(table: Table, author: bytes, says: list[Say], world: World) -> dict[str, Any]:
    """Each column by its rule, from what counts, in order."""
    state: dict[str, Any] = {}
    for column in table.columns:
        said = [(say, _value(column, say.values[column.name])) for say in says if column.name in say.values]
        if not said:
            continue
        match column.merge:
            case Merge.ONCE:
                state[column.name] = said[0][1]
            case Merge.GROW_SET:
                state[column.name] = sorted({item for _, value in said for item in value or ()})
            case Merge.HIGHEST:
                worth = [
                    (min(say.values.get(column.by or "") or 0, world.ceiling(table, column, author, say)), value)
                    for say, value in said
                ]
                best = max(number for number, _ in worth)
                state[column.name] = [value for number, value in worth if number == best][-1]
            case Merge.MUTUAL:
                state[column.name] = _mutual(column, said)
            case _:
                state[column.name] = said[-1][1]
    return state


def _mutual(column: Column, said: list[tuple[Say, Any]]) -> Any:
    worth: dict[Any, dict[bytes, int]] = {}
    for say, value in said:
        worth.setdefault(value, {})[say.author] = say.values.get(column.by or "") or 0
    best = max(sum(benefits.values()) for benefits in worth.values())
    return [value for _, value in said if sum(worth[value].values()) == best][-1]


def _count(result: Rows) -> None:
    """Derived columns and rollups, from the rows."""
    ballots = [row for row, _ in result.rows["ballots"].values()]
    for (thing,), (row, _) in result.rows["things"].items():
        mine = [ballot for ballot in ballots if ballot["thing"] == thing]
        weights = [ballot["weight"] for ballot in mine if ballot["weight"] is not None]
        row["votes"] = len(mine)
        row["ups"] = sum(ballot["vote"] == 1 for ballot in mine)
        row["weight"] = sum(weights, Decimal(0))
        row["top"] = max(weights, default=None)
        row["voters"] = sorted({ballot["agent"] for ballot in mine})
        row["share"] = row["ups"] / row["votes"] if mine else None
    result.rows["ballots_hourly"] = hourly = {}
    for ballot in ballots:
        hour = ballot["at"] - ballot["at"] % HOUR_MS
        hourly.setdefault((hour, ballot["vote"]), []).append(ballot["weight"])
    for (hour, vote), all_weights in list(hourly.items()):
        weights = [weight for weight in all_weights if weight is not None]
        total = sum(weights, Decimal(0))
        hourly[hour, vote] = (
            {
                "hour": hour, "vote": vote, "rows": len(all_weights), "ballots": len(all_weights), "weights": total,
                "least": min(weights, default=None), "most": max(weights, default=None), "usual_sum": total,
                "usual_count": len(weights), "usual": float(total / len(weights)) if weights else None,
            },
            (b"", 0),
        )  # fmt: skip
