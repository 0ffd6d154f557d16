"""Room `agent` (imports all below it): what an agent's methods return, and how recall answers from one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.engines.sqlite.search import SqliteText
from antiphon.knowledge import recall as recalling
from antiphon.log.append import Appended
from antiphon.model import times
from antiphon.model.note import Checkpoint
from antiphon.model.text import entity_text, event_text, id_text
from antiphon.replica import prove
from antiphon.replica.core import Replica


class Recorded(msgspec.Struct, frozen=True):
    """What was recorded: the event, the entity it is about (None when none), and when. *Units*: ms since 1970."""

    event: str
    entity: str | None
    recorded_ms: int


class Memory(msgspec.Struct, frozen=True):
    """One answer of `recall`, best first; `event` can be proved."""

    event: str
    author: str
    time: str
    text: str
    score: float
    entity: str
    table: str
    type: str
    namespace: str
    significance: float | None
    superseded_by: str | None


def receipts(appended: Appended) -> list[Recorded]:
    """A receipt for each appended event."""
    log = id_text(appended.head.id)
    return [
        Recorded(
            f"{log}/{appended.first + at}",
            None if header.entity is None else entity_text(header.entity),
            header.hlc >> 16,
        )
        for at, header in enumerate(appended.headers)
    ]


def recall_in(replica: Replica, text: SqliteText, question: recalling.Question) -> list[Memory]:
    """Drains the full-text backlog, then answers from one file."""
    if not replica.file.read_only:
        while replica.index_backlog():
            pass
    tables = list(replica.registry.tables.values())
    with replica.file.snapshot():
        hits = recalling.recall(text, tables, question, now_ms=replica.clock.now_ms())
        names = replica.author_names(sorted({hit.row.log for hit in hits}))
    found = []
    for hit in hits:
        values: Mapping[str, Any] = hit.row.values
        newer, weight = values.get("superseded_by"), values.get("significance")
        found.append(
            Memory(
                event_text(replica.head_no(hit.row.log).id, hit.row.seq),
                names.get(hit.row.log, ""),
                times.iso(hit.time_ms),
                hit.text,
                round(hit.score, 4),
                entity_text(values[replica.registry.tables[hit.table].key]),
                hit.table,
                values.get("type") or hit.table,
                values.get("namespace") or "",
                weight if isinstance(weight, int | float) else None,
                entity_text(newer) if isinstance(newer, bytes) else None,
            )
        )
    return found


def parse_checkpoint(note: bytes) -> Checkpoint:
    """The checkpoint in a note, unverified, for showing."""
    return prove.peek(note)
