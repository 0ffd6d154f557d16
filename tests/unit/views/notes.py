"""A domain of the tests' own, by the public way: notes that are pinned once, changed, torn up and written again."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from antiphon import AssertRow, Column, Domain, FullText, Index, Kind, Table, Type, UpdateRow
from antiphon.model.event import Event
from antiphon.model.table import Merge
from antiphon.views.domain import DeleteRow, Op, Write


class Written(msgspec.Struct):
    text: str
    colour: str = "white"


class Changed(msgspec.Struct, omit_defaults=True):
    text: str | UnsetType = UNSET
    colour: str | UnsetType = UNSET


class Pinned(msgspec.Struct):
    where: str


class Torn(msgspec.Struct):
    pass


NOTES = Table(
    "notes",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("at", Type.TIMESTAMP),
        Column("text", Type.TEXT),
        Column("colour", Type.TEXT, merge=Merge.ONCE),
        Column("pinned", Type.TEXT),
        Column("changes", Type.INTEGER, default=0),
    ),
    indexes=(Index(("at",)),),
    fulltext=FullText("text", time="at"),
    subject="text",
)
BOARD = Table(
    "board",
    key="id",
    minted=False,
    columns=(Column("id", Type.ID, nullable=False), Column("place", Type.TEXT, merge=Merge.ONCE)),
)


def pin(event: Event, body: Pinned) -> Iterable[Write]:
    """One event, two tables, and two writes on one row."""
    if event.entity is not None:
        yield Write("notes", event.entity, Op.UPDATE, {"pinned": body.where})
        yield Write("notes", event.entity, Op.UPDATE, {"changes": 1})
        yield Write("board", event.entity, Op.ASSERT, {"id": event.entity, "place": body.where})


def domain(*, version: int = 1, kinds: tuple[Kind, ...] | None = None, **folds: Any) -> Domain:
    return Domain(
        "notes",
        kinds=kinds
        or (
            Kind("note.written", Written),
            Kind("note.changed", Changed),
            Kind("note.pinned", Pinned),
            Kind("note.torn", Torn),
        ),
        tables=(NOTES, BOARD),
        folds={
            "note.written": (AssertRow(NOTES, at="@time", text="text", colour="colour"),),
            "note.changed": (UpdateRow(NOTES, text="text", colour="colour"),),
            "note.pinned": (pin,),
            "note.torn": (DeleteRow(NOTES), DeleteRow(BOARD)),
            **folds,
        },
        version=version,
    )


NOTES_DOMAIN = domain()
