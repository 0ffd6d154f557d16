"""Room `agent` (imports all below it): what an agent's methods return, and how recall answers from one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

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


class Receipts(Sequence[Recorded]):
    """The receipts of a commit, each written when it is looked at: most of a large batch never are."""

    def __init__(self, appended: Appended) -> None:
        self._log, self._first, self._headers = id_text(appended.head.id), appended.first, appended.headers

    def __len__(self) -> int:
        return len(self._headers)

    @overload
    def __getitem__(self, at: int) -> Recorded: ...
    @overload
    def __getitem__(self, at: slice) -> list[Recorded]: ...
    def __getitem__(self, at: int | slice) -> Recorded | list[Recorded]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        place = range(len(self._headers))[at]
        header = self._headers[place]
        entity = None if header.entity is None else entity_text(header.entity)
        return Recorded(f"{self._log}/{self._first + place}", entity, header.hlc >> 16)

    def __repr__(self) -> str:
        return f"Receipts({list(self)!r})"


def recall_in(replica: Replica, text: SqliteText, question: recalling.Question) -> list[Memory]:
    """Answers from one file. What waits for full text is indexed first; in memory where the file is read only."""
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
                entity_text(values[replica.registry.tables[hit.table].key[0]]),
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
