"""Room `domains` (imports `views` and below): memory's tables, kinds and folds, as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from antiphon.domains.memory import bodies
from antiphon.model.event import Event
from antiphon.model.table import ANYONE, Column, FullText, Index, Table, Type
from antiphon.model.text import name_key
from antiphon.views.domain import AssertRow, Domain, Kind, OnlyWith, Op, UpdateRow, Write

REMEMBERED: Final = "memory.remembered"
UPDATED: Final = "memory.updated"
SUMMARIZED: Final = "memory.summarized"
REFLECTED: Final = "reflection.made"
TONE_SHIFTED: Final = "tone.shifted"
PERSON_NAMED: Final = "person.named"

MEMORIES: Final = Table(
    "memories",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("timestamp", Type.TIMESTAMP, nullable=False),
        Column("type", Type.TEXT, nullable=False),
        Column("content", Type.TEXT, held=True),
        Column("emotional_context", Type.TEXT),
        Column("loop_context", Type.TEXT),
        Column("significance", Type.REAL, default=0.5),
        Column("metadata", Type.JSON),
        Column("namespace", Type.TEXT),
        Column("user", Type.ID),
        Column("tags", Type.JSON),
        Column("expires_at", Type.TIMESTAMP),
        Column("compressed", Type.BOOLEAN, default=False),
        Column("superseded_by", Type.ID),
    ),
    indexes=(
        Index(("timestamp",)),
        Index(("type",)),
        Index(("significance",), where=("compressed", False)),
    ),
    fulltext=FullText("content", time="timestamp", tags="tags"),
    subject="content",
    doc="What an agent remembers.",
)

REFLECTIONS: Final = Table(
    "reflections",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("timestamp", Type.TIMESTAMP, nullable=False),
        Column("prompt", Type.TEXT, nullable=False),
        Column("response", Type.TEXT),
        Column("memory_context", Type.TEXT),
        Column("emotional_state", Type.TEXT),
        Column("insights", Type.TEXT),
    ),
    indexes=(Index(("timestamp",)),),
    fulltext=FullText("response", time="timestamp", tags="prompt"),
    subject="response",
    doc="Questions an agent put to itself, and the answers.",
)

TONE_SHIFTS: Final = Table(
    "tone_shifts",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("timestamp", Type.TIMESTAMP, nullable=False),
        Column("from_tone", Type.TEXT),
        Column("to_tone", Type.TEXT),
        Column("trigger_type", Type.TEXT),
        Column("trigger_content", Type.TEXT),
        Column("magnitude", Type.REAL),
    ),
    indexes=(Index(("timestamp",)),),
    doc="How an agent's emotional tone moved.",
)

PEOPLE: Final = Table(
    "people",
    key="id",
    columns=(Column("id", Type.PERSON, nullable=False), Column("label", Type.TEXT, pii=True, blind=True)),
    writers=ANYONE,
    indexes=(Index(("label",)),),
    doc="Random pseudonyms, and the names behind them as `name_key` makes them (the event has what was typed); never "
    "leaves the file.",
)

_MEMORY_COLUMNS: Final = {
    "timestamp": "@time", "type": "type", "content": "text", "emotional_context": "emotional_context",
    "loop_context": "loop_context", "significance": "significance", "metadata": "metadata", "namespace": "namespace",
    "user": "user", "tags": "tags", "expires_at": "expires",
}  # fmt: skip


def _supersede(event: Event, body: bodies.Remembered) -> Iterable[Write]:
    """What was corrected points at its correction."""
    if body.supersedes is not None:
        yield Write(MEMORIES.name, body.supersedes, Op.UPDATE, {"superseded_by": event.entity})


def _compress(event: Event, body: bodies.Summarized) -> Iterable[Write]:
    """What was folded into a summary is marked so."""
    for source in body.sources:
        yield Write(MEMORIES.name, source, Op.UPDATE, {"compressed": True})


def _name(event: Event, body: bodies.PersonNamed) -> Iterable[Write]:
    if event.entity is not None:
        yield Write(PEOPLE.name, event.entity, Op.ASSERT, {"id": event.entity, "label": name_key(body.label)})


def _folds() -> dict[str, tuple[Any, ...]]:
    changes = {
        name: field for name, field in _MEMORY_COLUMNS.items() if field != "@time" and name not in ("user",)
    }  # fmt: skip
    return {
        REMEMBERED: (AssertRow(MEMORIES, **_MEMORY_COLUMNS), OnlyWith("supersedes", _supersede)),
        UPDATED: (UpdateRow(MEMORIES, **changes),),
        SUMMARIZED: (AssertRow(MEMORIES, **_MEMORY_COLUMNS), _compress),
        REFLECTED: (
            AssertRow(
                REFLECTIONS, timestamp="@time", prompt="prompt", response="response",
                memory_context="memory_context", emotional_state="emotional_state", insights="insights",
            ),
        ),
        TONE_SHIFTED: (
            AssertRow(
                TONE_SHIFTS, timestamp="@time", from_tone="from_tone", to_tone="to_tone",
                trigger_type="trigger_type", trigger_content="trigger_content", magnitude="magnitude",
            ),
        ),
        PERSON_NAMED: (_name,),
    }  # fmt: skip


MEMORY: Final = Domain(
    "memory",
    kinds=(
        Kind(REMEMBERED, bodies.Remembered),
        Kind(UPDATED, bodies.Updated),
        Kind(SUMMARIZED, bodies.Summarized),
        Kind(REFLECTED, bodies.Reflected),
        Kind(TONE_SHIFTED, bodies.ToneShifted),
        Kind(PERSON_NAMED, bodies.PersonNamed),
    ),
    tables=(MEMORIES, REFLECTIONS, TONE_SHIFTS, PEOPLE),
    folds=_folds(),
    version=2,
)
