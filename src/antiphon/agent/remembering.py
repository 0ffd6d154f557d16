"""Room `agent` (imports all below it): what an agent records: memories, reflections, events of any declared kind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from antiphon.agent.answers import Recorded
from antiphon.agent.reading import Reading
from antiphon.agent.writing import Writing
from antiphon.domains.memory import MEMORIES, commands
from antiphon.model import times
from antiphon.model.event import Role, Scope
from antiphon.model.text import parse_entity
from antiphon.model.times import Time
from antiphon.views.store import StoredRow


class Remembering(Reading):
    """How an agent records."""

    def remember(
        self,
        text: str,
        *,
        type: str = "memory",
        significance: float = 0.5,
        namespace: str = "",
        user: str | None = None,
        tags: Sequence[str] | None = None,
        emotional_context: str | None = None,
        loop_context: str | None = None,
        metadata: dict[str, Any] | None = None,
        expires: Time | None = None,
        occurred: Time | None = None,
        supersedes: str | None = None,
        sources: Sequence[str] = (),
    ) -> Recorded:
        """A memory, on disk when this returns. `user` is a person's name (kept as a pseudonym); `supersedes` the
        entity of the memory that this corrects; `sources` the events it was derived from (forgotten with them).
        """
        with self.batch() as batch:
            batch.remember(
                text, type=type, significance=significance, namespace=namespace, user=user, tags=tags,
                emotional_context=emotional_context, loop_context=loop_context, metadata=metadata, expires=expires,
                occurred=occurred, supersedes=supersedes, sources=sources,
            )  # fmt: skip
        return batch.recorded[-1]

    def update(self, memory: str, **changes: Any) -> Recorded:
        """New values for some fields of a memory (text, type, significance, namespace, tags, metadata, expires, …)."""
        key = parse_entity(memory)
        row = self._row(key)
        if "expires" in changes and changes["expires"] is not None:
            changes["expires"] = times.to_ms(changes["expires"])
        return self._commit([commands.update(key, user=row.values["user"], changes=changes)])[0]

    def supersede(self, memory: str, text: str, **fields: Any) -> Recorded:
        """A correction: a new memory that ranks above the old one, which stays in history.

        Type, namespace and user are the old one's where they are not given.
        """
        old = self._row(parse_entity(memory)).values
        same = {"type": old["type"], "namespace": old["namespace"] or ""}
        return self.remember(text, supersedes=memory, **{**same, **fields})

    def reflect(
        self,
        prompt: str,
        response: str | None = None,
        *,
        memory_context: str | None = None,
        emotional_state: str | None = None,
        insights: str | None = None,
        occurred: Time | None = None,
        sources: Sequence[str] = (),
    ) -> Recorded:
        """A reflection: a question the agent put to itself, and what came of it."""
        drafted = commands.reflect(
            prompt, response, memory_context=memory_context, emotional_state=emotional_state, insights=insights,
            occurred=None if occurred is None else times.to_ms(occurred), refs=self._source_refs(sources),
        )  # fmt: skip
        return self._commit([drafted])[0]

    def shift_tone(
        self,
        to_tone: str,
        *,
        from_tone: str | None = None,
        trigger_type: str | None = None,
        trigger_content: str | None = None,
        magnitude: float | None = None,
        occurred: Time | None = None,
    ) -> Recorded:
        """A move from one emotional tone to another."""
        drafted = commands.shift_tone(
            to_tone, from_tone=from_tone, trigger_type=trigger_type, trigger_content=trigger_content,
            magnitude=magnitude, occurred=None if occurred is None else times.to_ms(occurred),
        )  # fmt: skip
        return self._commit([drafted])[0]

    def record(
        self,
        kind: str,
        body: Any,
        *,
        entity: str | None = None,
        occurred: Time | None = None,
        about: Sequence[str] = (),
        sources: Sequence[str] = (),
        scope: Scope = Scope.PRIVATE,
        circle: bytes | None = None,
    ) -> Recorded:
        """An event of one of the declared kinds; about an existing entity, or (without one) about a new one.

        `circle` (16 bytes) says for whom an event of that scope is; `about` are people's names, kept as pseudonyms.
        Raises InvalidInput when the body does not fit its kind.
        """
        with self.batch() as batch:
            batch.record(
                kind, body, entity=entity, occurred=occurred, about=about, sources=sources, scope=scope, circle=circle
            )
        return batch.recorded[-1]

    @contextlib.contextmanager
    def batch(self) -> Iterator[Writing]:
        """Collects commands; commits them together (one checkpoint, one wait for the disk) when the block ends."""
        writing = Writing(self)
        yield writing
        writing.recorded = self._commit(writing.drafted)

    def compress(
        self, *, older_than: str = "30d", significance_max: float = 0.3, namespace: str | None = None
    ) -> list[Recorded]:
        """Folds old, insignificant memories into summaries by rule, up to 64 each; summaries name their sources."""
        before = self.replica.clock.now_ms() - times.age_ms(older_than)
        made: list[Recorded] = []
        for group in self._compressible(before, significance_max, namespace):
            refs = tuple(self._ref(Role.SOURCE, row.log, row.seq) for row in group)
            made += self._commit([commands.summarize(group, refs)])
        return made

    def _compressible(self, before: int, most: float, namespace: str | None) -> Iterator[list[StoredRow]]:
        equal: dict[str, Any] = {"compressed": 0}
        if namespace is not None:
            equal["namespace"] = namespace
        rows = self.replica.tables.select(
            MEMORIES, equal, order="timestamp", limit=1_000_000, logs=[head.no for head in self._heads()]
        )
        groups: dict[tuple[Any, ...], list[StoredRow]] = {}
        for row in rows:
            values = row.values
            fits = (
                values["timestamp"] < before and (values["significance"] or 0) <= most and values["type"] != "summary"
            )
            if fits and values["superseded_by"] is None and values["expires_at"] is None:
                groups.setdefault((values["namespace"], values["user"]), []).append(row)
        step = commands.SUMMARY_SOURCES_MAX
        for group in groups.values():
            for at in range(0, len(group), step):
                if len(group[at : at + step]) > 1:
                    yield group[at : at + step]
