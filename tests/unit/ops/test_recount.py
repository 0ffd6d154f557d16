"""Figures that are not what counting rows makes are found, each of them, wherever they stand."""

from typing import Any

import msgspec
import pytest

from antiphon import Agent, AssertRow, Column, Domain, Kind, Table, Type
from antiphon.model.event import Scope
from antiphon.model.table import ANYONE, READ_ALL, Derived, Measure, Rollup
from antiphon.ops import recount
from antiphon.ops.doctor import State
from antiphon.ops.refold import check_views
from antiphon.views.domain import DeleteRow

READINGS = Table(
    "readings",
    key=("place", "reader", "number"),
    columns=(
        Column("place", Type.TEXT, nullable=False),
        Column("reader", Type.AGENT, nullable=False),
        Column("number", Type.INTEGER, nullable=False),
        Column("time", Type.TIMESTAMP),
        Column("heat", Type.REAL),
        Column("price", Type.DECIMAL, scale=2),
        Column("word", Type.TEXT),
    ),
    shared=True,
    access=READ_ALL,
    rollups=(
        Rollup(
            "readings_by_minute",
            time="time",
            bucket="minute",
            bucket_ms=60_000,
            group=("place",),
            measures=(
                Measure("mean_heat", "mean", "heat"),
                Measure("least", "min", "heat"),
                Measure("most", "max", "price"),
                Measure("price", "sum", "price"),
                Measure("readings", "count"),
            ),
        ),
    ),
)
SPOTS = Table(
    "spots",
    key="place",
    columns=(
        Column("place", Type.TEXT, nullable=False),
        Column("count", Type.INTEGER, derived=Derived("count", "readings", match=("place",)), default=0),
        Column("total", Type.DECIMAL, scale=2, derived=Derived("sum", "readings", "price", ("place",)), default=0),
        Column("hottest", Type.REAL, derived=Derived("max", "readings", "heat", ("place",))),
        Column("words", Type.SET, of=Type.TEXT, derived=Derived("set", "readings", "word", ("place",))),
    ),
    writers=ANYONE,
    shared=True,
)


class Read(msgspec.Struct):
    place: str
    number: int
    time: int | None
    heat: float | None
    price: str | None
    word: str | None


class Taken(msgspec.Struct):
    place: str
    number: int


class Found(msgspec.Struct):
    place: str


PLACES = Domain(
    "places",
    kinds=(Kind("place.read", Read), Kind("place.unread", Taken), Kind("place.found", Found)),
    tables=(READINGS, SPOTS),
    folds={
        "place.read": (
            AssertRow(
                READINGS, place="place", reader="@author", number="number", time="time", heat="heat", price="price",
                word="word",
            ),
        ),
        "place.unread": (DeleteRow(READINGS, {"place": "place", "reader": "@author", "number": "number"}),),
        "place.found": (AssertRow(SPOTS, place="place"),),
    },
)  # fmt: skip


@pytest.fixture
def agent() -> Any:
    with Agent.open("ada", create=True, domains=[PLACES]) as made:
        for at in range(40):
            body = {
                "place": f"p{at % 3}", "number": at, "time": None if at == 7 else 1_000_000 + 9_000 * at,
                "heat": None if at % 11 == 0 else at / 7, "price": None if at % 5 == 0 else f"{at}.25",
                "word": f"w{at % 4}",
            }  # fmt: skip
            made.record("place.read", body, scope=Scope.PUBLIC)
        for at in range(2):
            made.record("place.found", {"place": f"p{at}"}, scope=Scope.PUBLIC)
        made.record("place.unread", {"place": "p0", "number": 39}, scope=Scope.PUBLIC)
        yield made


def faults(agent: Agent) -> list[str]:
    replica = agent.replica
    found = check_views(
        replica.registry, replica.tables, replica.mentions, replica.reader, replica.heads(), replica.views
    )
    return [finding.detail for finding in found if finding.state == State.WRONG]


def test_figures_that_were_kept_in_step_are_right(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(agent) == []
    monkeypatch.setattr(recount, "BUCKETS_MAX", 2)
    assert faults(agent) == [], "in parts, too"


@pytest.mark.parametrize(
    ("column", "value"), [("count", 1), ("total", 100), ("hottest", 9.5), ("hottest", None), ("words", '["w0"]')]
)
def test_a_wrong_derived_column_is_found(agent: Agent, column: str, value: Any) -> None:
    with agent.replica.transaction():
        agent.replica.file.writer.execute(f'UPDATE spots SET "{column}"=? WHERE place=?', (value, "p1"))
    (fault,) = faults(agent)
    assert fault.startswith("the row in spots of event")
    assert fault.endswith(f"has wrong figures: {column}")


@pytest.mark.parametrize("parts", [200_000, 2])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE readings_by_minute SET rows=rows+1 WHERE n=3", "a wrong rows"),
        ("UPDATE readings_by_minute SET mean_heat_sum=mean_heat_sum+1 WHERE n=3", "a wrong mean_heat_sum"),
        ("UPDATE readings_by_minute SET mean_heat_count=0 WHERE n=3", "a wrong mean_heat_count"),
        ("UPDATE readings_by_minute SET least=-1 WHERE n=3", "a wrong least"),
        ("UPDATE readings_by_minute SET most=NULL WHERE n=3", "a wrong most"),
        ("UPDATE readings_by_minute SET price=price-1 WHERE n=3", "a wrong price"),
        ("UPDATE readings_by_minute SET readings=9 WHERE n=3", "a wrong readings"),
        ("DELETE FROM readings_by_minute WHERE n=3", "lacks 1 of its rows"),
        ("UPDATE readings_by_minute SET minute=minute+1 WHERE n=3", "where readings has none"),
    ],
)
def test_a_wrong_rollup_is_found(
    agent: Agent, change: str, said: str, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recount, "BUCKETS_MAX", parts)
    with agent.replica.transaction():
        agent.replica.file.writer.execute(change)
    (fault,) = faults(agent)
    assert fault.startswith("readings_by_minute")
    assert said in fault
