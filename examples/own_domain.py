"""A domain of your own: support tickets. Events are recorded for good; rows are what they add up to."""

import tempfile
from typing import Literal

import msgspec

from antiphon import Agent, AssertRow, Column, Domain, FullText, Index, Kind, Table, Type, UpdateRow


# 1. Kinds of event: what can happen. A body is a msgspec structure; what does not fit it is refused.
class Opened(msgspec.Struct):
    subject: str
    priority: int = 3


class Changed(msgspec.Struct, omit_defaults=True):  # only what is given is written; UNSET leaves a column alone
    status: Literal["open", "waiting", "closed"] | msgspec.UnsetType = msgspec.UNSET
    answer: str | msgspec.UnsetType | None = msgspec.UNSET


# 2. Tables: data, from which the engine makes columns, indexes and full text. The key is the event's entity.
TICKETS = Table(
    "tickets",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("opened", Type.TIMESTAMP, nullable=False),
        Column("subject", Type.TEXT),
        Column("priority", Type.INTEGER),
        Column("status", Type.TEXT, default="open"),
        Column("answer", Type.TEXT),
    ),
    indexes=(Index(("status", "priority")),),
    fulltext=FullText("subject", time="opened", tags="answer"),
)

# 3. Folds: how events become rows. Yours may be any pure function (event, body) -> writes; these two are ready made.
SUPPORT = Domain(
    "support",
    kinds=(Kind("ticket.opened", Opened), Kind("ticket.changed", Changed)),
    tables=(TICKETS,),
    folds={
        "ticket.opened": (AssertRow(TICKETS, opened="@time", subject="subject", priority="priority"),),
        "ticket.changed": (UpdateRow(TICKETS, status="status", answer="answer"),),
    },
)

with tempfile.TemporaryDirectory() as folder, Agent.create("desk", home=folder, domains=[SUPPORT]) as desk:
    ticket = desk.record("ticket.opened", {"subject": "The export stops at 4 GB", "priority": 1}, about=["Bob"])
    desk.record("ticket.opened", Opened("How do I change my key?"))
    desk.record("ticket.changed", {"status": "closed", "answer": "Fixed in 1.2"}, entity=ticket.entity)

    row = desk.get(ticket.entity)  # the row: what all events on it add up to
    print(row["subject"], "->", row["status"], "-", row["answer"])
    print("found:", [hit.text for hit in desk.recall("exports", kind="tickets")])
    print("history:", [event.kind for event in desk.history(ticket.entity)], "verified:", desk.verify().ok)
    desk.forget(person="Bob")  # forgetting works for your kinds too: the row goes with its events
    print("after forgetting Bob:", desk.get(ticket.entity), [hit.text for hit in desk.recall("export key")])
