"""Room `domains` (imports `views` and below): the tables, kinds and folds of items, as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from antiphon.domains.items import bodies
from antiphon.model.event import Event
from antiphon.model.table import Column, FullText, Index, Merge, Table, Type
from antiphon.views.domain import AssertRow, DeleteRow, Domain, Kind, Op, Write

PUT: Final = "item.put"
DELETED: Final = "item.deleted"
SECRET_MADE: Final = "item.secret_made"

ITEMS_TABLE: Final = Table(
    "items",
    key="id",
    minted=False,
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("namespace", Type.TEXT, nullable=False, doc="labels joined by dots"),
        Column("key", Type.TEXT, nullable=False),
        Column("value", Type.JSON),
        Column("text", Type.TEXT, doc="what full text finds"),
        Column("created_at", Type.TIMESTAMP, merge=Merge.ONCE),
        Column("updated_at", Type.TIMESTAMP),
    ),
    indexes=(Index(("namespace", "key")), Index(("created_at",))),
    fulltext=FullText("text", time="updated_at"),
    subject="value",
    doc="JSON values by namespace and key.",
)

ITEM_SECRETS: Final = Table(
    "item_secrets",
    key="id",
    minted=False,
    columns=(Column("id", Type.ID, nullable=False), Column("secret", Type.BYTES, merge=Merge.ONCE)),
    doc="What is mixed into the ids of items; one row an agent.",
)


def _put(event: Event, body: bodies.Put) -> Iterable[Write]:
    """The row of the event's entity, with the times when it was recorded."""
    if event.entity is not None:
        now = event.header.hlc >> 16
        values = {
            "id": event.entity, "namespace": ".".join(body.namespace), "key": body.key, "value": body.value,
            "text": body.text, "created_at": now, "updated_at": now,
        }  # fmt: skip
        yield Write(ITEMS_TABLE.name, event.entity, Op.ASSERT, values)


ITEMS: Final = Domain(
    "items",
    kinds=(Kind(PUT, bodies.Put), Kind(DELETED, bodies.Deleted), Kind(SECRET_MADE, bodies.SecretMade)),
    tables=(ITEMS_TABLE, ITEM_SECRETS),
    folds={
        PUT: (_put,),
        DELETED: (DeleteRow(ITEMS_TABLE),),
        SECRET_MADE: (AssertRow(ITEM_SECRETS, secret="secret"),),
    },
)
