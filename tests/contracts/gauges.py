"""A table of which figures of every sort are made, dashboards with all of them, and what each is, word by word."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import msgspec

from antiphon import Agent, AssertRow, Column, Domain, Index, Kind, Table, Type
from antiphon.model.dashboard import Dashboard, Figure, equal, newer, unlike
from antiphon.model.places import DAY_MS, HOUR_MS, Places, Relational

STATES = ("new", "open", "won", "lost")


class Gauge(msgspec.Struct):
    size: int | None
    share: float | None
    price: str | None
    state: str | None
    is_open: bool
    label: str
    at: int
    seen: int | None


GAUGES = Table(
    "gauges",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("size", Type.INTEGER),
        Column("share", Type.REAL),
        Column("price", Type.DECIMAL, scale=2),
        Column("state", Type.ENUM, values=STATES),
        Column("is_open", Type.BOOLEAN, nullable=False),
        Column("label", Type.TEXT, nullable=False),
        Column("at", Type.TIMESTAMP, nullable=False),
        Column("seen", Type.TIMESTAMP),
    ),
    indexes=(Index(("state", "at")), Index(("seen",)), Index(("label", "at")), Index(("at",))),
    places=Places(relational=Relational(hash=("id",), partitions=4)),
)
GAUGING = Domain(
    "gauging",
    kinds=(Kind("gauge.read", Gauge),),
    tables=(GAUGES,),
    folds={"gauge.read": (AssertRow(GAUGES, **{name: name for name in GAUGES.names[1:]}),)},
)
WHERES = (
    (),
    (equal("is_open", True), unlike("state", "lost", "new")),
    (equal("state", None),),
    (equal("label", "it's"), newer("at", HOUR_MS)),
    (unlike("state", "won"), newer("seen", 10 * HOUR_MS)),
    (equal("size", 3),),
)
OF = (("count", ""), *((f, c) for f in ("sum", "mean", "min", "max") for c in ("size", "share", "price")))
EVERYTHING = [
    Dashboard(
        f"every_{n}_{group or 'one'}",
        tuple(
            Figure(f"{function}_{column or 'rows'}", function, "gauges", column, where=where, group=group)
            for function, column in OF
        ),
    )
    for n, where in enumerate(WHERES)
    for group in ("", "state")
]
EVERYTHING += [
    Dashboard(
        f"newest_{n}",
        tuple(Figure(f"newest_{column}", "latest", "gauges", column, by=by, where=where)
              for column in ("size", "share", "price")),
    )
    for n, (by, where) in enumerate((("at", ()), ("seen", (unlike("state", "won"),)), ("at", (newer("at", HOUR_MS),)),
                                     ("at", (equal("label", "nowhere"),))))
]  # fmt: skip


def plainly(figure: Figure, rows: list[Any], as_of: int) -> Any:
    """What a figure is, word by word."""

    def meets(row: Any) -> bool:
        for one in figure.where:
            value = row[one.column]
            if one.test == "equal" and value != one.values[0]:
                return False
            if one.test == "unlike" and (value is None or value in one.values):
                return False
            if one.test == "newer" and (value is None or not as_of - one.ms < value <= as_of):
                return False
        return True

    kept = [row for row in rows if meets(row)]
    if figure.by:
        kept = [row for row in kept if row[figure.by] is not None and row[figure.by] <= as_of]
        kept = [row for row in kept if row[figure.by] == max(one[figure.by] for one in kept)]
    if figure.group:
        groups = {state: [row for row in kept if row["state"] == state] for state in figure.values_of(GAUGES, "state")}
        return {state: _aggregate(figure, found) for state, found in groups.items()}
    return _aggregate(figure, kept)


def _aggregate(figure: Figure, rows: list[Any]) -> Any:
    if figure.function == "count":
        return len(rows)
    values = [row[figure.column] for row in rows if row[figure.column] is not None]
    if figure.function in ("min", "max"):
        return {"min": min, "max": max}[figure.function](values, default=None)
    exact = [Fraction(repr(value) if isinstance(value, float) else value) for value in values]
    whole = [Fraction(int(abs(v) * 10**6 + Fraction(1, 2)) * (1 if v >= 0 else -1), 10**6) for v in exact]
    total = sum(whole, Fraction(0))
    if figure.function == "sum":
        return total
    return int(total * 10**6 / len(whole)) / 10**6 if whole else None


def gauged(agent: Agent, chance: Random, now: int) -> None:
    """Rows of every sort: some alike, some without values, some of the future."""
    for _ in range(120):
        at = now - chance.choice((0, 1, 5, 20, 3_000)) * HOUR_MS // 5
        said = Gauge(
            chance.choice((None, 3, -7, 1 << 40)), chance.choice((None, 0.1, -2.5, 1e15 / 3, 5e-7, -1.5e-6)),
            chance.choice((None, "0.01", "-19.99", "1000")), chance.choice((None, *STATES)), chance.random() < 0.5,
            chance.choice(("it's", "b")), at, chance.choice((None, at, now + DAY_MS)),
        )  # fmt: skip
        agent.record("gauge.read", said)
