"""A domain of the tests' own with one table for each sort of row access, rollups, vectors and full text."""

from typing import Any

import msgspec

from antiphon import Agent, AssertRow, Column, Domain, Fleet, FullText, Index, Kind, Table, Type
from antiphon.model.event import Scope
from antiphon.model.places import Places, Vectors
from antiphon.model.table import READ_ALL, READ_OWN, Measure, Rollup, parties

HOUR = 3_600_000


class Said(msgspec.Struct):
    text: str
    no: int = 0
    board: str = "news"
    at: int = 0
    to: bytes | None = None
    vec: list[float] | None = None
    weight: float = 1.0


_COLUMNS = (
    Column("no", Type.INTEGER, nullable=False),
    Column("board", Type.TEXT),
    Column("at", Type.TIMESTAMP),
    Column("text", Type.TEXT),
    Column("weight", Type.REAL),
    Column("vec", Type.VECTOR, size=3),
)
_INDEXES = (
    Index(("board", "at"), descending=True),
    Index(("board", "no")),
    Index(("at",), where=("board", ("news", "old"))),
)
_MEASURES = (Measure("said", "count"), Measure("mean", "mean", "weight"), Measure("most", "max", "weight"))

POSTS = Table(
    "posts",
    key="id",
    columns=(Column("id", Type.ID, nullable=False), *_COLUMNS),
    indexes=_INDEXES,
    fulltext=FullText("text", time="at"),
    subject="text",
    shared=True,
    access=READ_ALL,
    rollups=(Rollup("post_hours", "at", "hour", HOUR, ("board",), _MEASURES),),
    places=Places(vectors=(Vectors("vec", "l2"),)),
)
DIARIES = Table(
    "diaries",
    key=("writer", "no"),
    columns=(Column("writer", Type.AGENT, nullable=False), *_COLUMNS),
    indexes=_INDEXES,
    fulltext=FullText("text", time="at"),
    access=READ_OWN,
    rollups=(
        Rollup("diary_hours", "at", "hour", HOUR, ("board",), _MEASURES),
        Rollup("diary_own_hours", "at", "hour", HOUR, ("writer",), _MEASURES),
    ),
)
LETTERS = Table(
    "mail",
    key="id",
    columns=(Column("id", Type.ID, nullable=False), Column("to", Type.AGENT), *_COLUMNS),
    indexes=(*_INDEXES, Index(("to", "at"))),
    fulltext=FullText("text", time="at"),
    subject="text",
    shared=True,
    access=parties("to"),
    rollups=(Rollup("letter_hours", "at", "hour", HOUR, ("to",), _MEASURES),),
)
_SAME = {name: name for name in ("no", "board", "at", "text", "weight", "vec")}

POOL = Domain(
    "pool",
    kinds=tuple(Kind(name, Said) for name in ("post.said", "diary.said", "letter.said")),
    tables=(POSTS, DIARIES, LETTERS),
    folds={
        "post.said": (AssertRow(POSTS, **_SAME),),
        "diary.said": (AssertRow(DIARIES, writer="@author", **_SAME),),
        "letter.said": (AssertRow(LETTERS, to="to", **_SAME),),
    },
)


def raw(agent: Agent) -> bytes:
    return agent.record_of_agent.agent


def say(agent: Agent, kind: str, text: str, **fields: Any) -> Any:
    scope = Scope.PRIVATE if kind == "diary.said" else Scope.PUBLIC
    return agent.record(kind, Said(text, **fields), scope=scope)


def three(fleet: Fleet) -> tuple[Agent, Agent, Agent]:
    return fleet.add("red"), fleet.add("green"), fleet.add("blue")
