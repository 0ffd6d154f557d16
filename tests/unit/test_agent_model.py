"""The public API against plain dicts: an agent knows all that it acknowledged and nothing forgotten."""

import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from antiphon import Agent, NotFound, verify_proof
from antiphon.model.text import parse_id
from antiphon.world.clock import ManualClock
from tests.unit.views.notes import NOTES_DOMAIN

WORDS = [f"word{chr(97 + at)}" for at in range(12)]
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(" ".join)
_numbers = count()


class AgentMachine(RuleBasedStateMachine):
    """The model: texts by entity; of each event its entity and the events it was derived from."""

    memories = Bundle("memories")
    notes = Bundle("notes")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(os.environ["ANTIPHON_HOME"]) / f"m{next(_numbers)}"
        self.clock = ManualClock()
        self.agent = Agent.create("ada", home=self.folder, domains=[NOTES_DOMAIN], clock=self.clock)
        self.principal = parse_id(self.agent.principal)
        self.writes: list[tuple[str, str, dict[str, Any]]] = []  # (event, entity, what it wrote), in order
        self.sources: dict[str, tuple[str, ...]] = {}
        self.gone: set[str] = set()
        self.proofs: list[tuple[bytes, str]] = []
        self.checkpoint: bytes | None = None
        self.size = 0

    # -- the model ---------------------------------------------------------------------------------------------------

    def wrote(self, event: str, entity: str, **values: Any) -> None:
        self.writes.append((event, entity, values))

    def rows(self) -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for event, entity, values in self.writes:
            if event not in self.gone and ("new" in values or entity in rows):
                rows.setdefault(entity, {}).update(values)
        return rows

    def live_events(self) -> list[str]:
        return sorted({event for event, _, _ in self.writes} - self.gone, key=lambda event: int(event.split("/")[1]))

    def erase(self, events: set[str]) -> None:
        while True:
            self.gone |= events
            events = {event for event, of in self.sources.items() if event not in self.gone and set(of) & self.gone}
            if not events:
                return

    # -- what is done --------------------------------------------------------------------------------------------------

    @rule(target=memories, text=words, weight=st.floats(0, 1), data=st.data())
    def remember(self, text: str, weight: float, data: Any) -> str:
        live = self.live_events()
        sources = tuple(data.draw(st.lists(st.sampled_from(live), max_size=2, unique=True))) if live else ()
        made = self.agent.remember(text, significance=weight, sources=sources)
        assert made.entity
        self.size += 1
        self.sources[made.event] = sources
        self.wrote(made.event, made.entity, text=text, new=True)
        return made.entity

    @rule(target=memories, texts=st.lists(words, min_size=1, max_size=5), many=st.sampled_from([1, 1, 40]))
    def batch(self, texts: list[str], many: int) -> Any:
        with self.agent.batch() as batch:
            for text in texts * many:
                batch.remember(text)
        for made, text in zip(batch.recorded, texts * many, strict=True):
            self.wrote(made.event, made.entity or "", text=text, new=True)
        self.size += len(texts) * many
        return multiple(*(made.entity or "" for made in batch.recorded[: len(texts)]))

    @rule(memory=memories, text=words)
    def update(self, memory: str, text: str) -> None:
        if memory not in self.rows():
            with pytest.raises(NotFound):
                self.agent.update(memory, text=text)
            return
        made = self.agent.update(memory, text=text)
        self.size += 1
        self.wrote(made.event, memory, text=text)

    @rule(target=memories, memory=memories, text=words)
    def supersede(self, memory: str, text: str) -> Any:
        if memory not in self.rows():
            with pytest.raises(NotFound):
                self.agent.supersede(memory, text)
            return multiple()
        made = self.agent.supersede(memory, text)
        assert made.entity
        self.size += 1
        self.wrote(made.event, made.entity, text=text, new=True)
        self.wrote(made.event, memory, newer=made.entity)
        return made.entity

    @rule(target=notes, text=words)
    def note(self, text: str) -> str:
        made = self.agent.record("note.written", {"text": text})
        assert made.entity
        self.size += 1
        self.wrote(made.event, made.entity, text=text, new=True)
        return made.entity

    @rule(note=notes, text=words)
    def change(self, note: str, text: str) -> None:
        made = self.agent.record("note.changed", {"text": text}, entity=note)
        self.size += 1
        self.wrote(made.event, note, text=text)

    @rule(data=st.data(), many=st.integers(1, 3))
    def forget(self, data: Any, many: int) -> None:
        live = self.live_events()
        if not live:
            return
        events = data.draw(st.lists(st.sampled_from(live), min_size=1, max_size=many, unique=True))
        outcome = self.agent.forget(events)
        self.size += 1
        before = set(self.gone)
        self.erase(set(events))
        assert {*outcome.events, *outcome.derived} == self.gone - before
        with pytest.raises(NotFound):
            self.agent.forget(events[0])

    @rule(memory=consumes(memories))
    def forget_entity(self, memory: str) -> None:
        events = {event for event, entity, _ in self.writes if entity == memory} - self.gone
        if not events:
            with pytest.raises(NotFound):
                self.agent.forget(entity=memory)
            return
        self.agent.forget(entity=memory)
        self.size += 1
        self.erase(events)
        assert self.agent.history(memory) == []

    @rule()
    def take_checkpoint(self) -> None:
        if self.size:
            if self.checkpoint is not None:
                assert self.agent.verify(since=self.checkpoint).ok
            self.checkpoint = self.agent.checkpoint()

    @rule(data=st.data())
    def prove(self, data: Any) -> None:
        live = self.live_events()
        if live:
            event = data.draw(st.sampled_from(live))
            self.proofs.append((self.agent.prove(event), event))

    @rule()
    def reopen(self) -> None:
        self.agent.close()
        self.agent = Agent.open("ada", home=self.folder, domains=[NOTES_DOMAIN], clock=self.clock)

    @rule()
    def tidy(self) -> None:
        self.agent.replica.tidy()

    @rule(name=st.sampled_from(["memory", "notes"]))
    def refold(self, name: str) -> None:
        self.agent.replica.refold(name)

    @rule(ms=st.sampled_from([1, 60_000, -3_600_000, 400 * 86_400_000, -400 * 86_400_000]))
    def time_passes(self, ms: int) -> None:
        self.clock.pass_ms(ms)

    # -- what always holds ---------------------------------------------------------------------------------------

    @invariant()
    def it_knows_what_was_acknowledged_and_nothing_forgotten(self) -> None:
        rows = self.rows()
        for entity in {entity for _, entity, _ in self.writes[-8:]}:
            row, got = rows.get(entity), self.agent.get(entity)
            assert (got is None) == (row is None)
            if row is not None and got is not None:
                assert got.get("content", got.get("text")) == row["text"]
            events = {event for event, of, _ in self.writes if of == entity} - self.gone
            assert len(self.agent.history(entity)) == len(events)
        word = WORDS[len(self.writes) % len(WORDS)]
        expected = {entity for entity, row in rows.items() if word in row["text"].split()}
        found = {hit.entity for hit in self.agent.recall(word, limit=1_000)}
        assert expected <= found
        assert all(rows[entity].get("newer") in (None, *self.dead(rows)) for entity in found - expected)

    def dead(self, rows: dict[str, Any]) -> set[str]:
        return {values["newer"] for _, _, values in self.writes if "newer" in values} - rows.keys()

    @invariant()
    def sizes_add_up_and_everything_verifies(self) -> None:
        verdict = self.agent.verify()
        assert verdict.ok, verdict.reason
        resets = self.agent.stats()["logs"][0]["clock_resets"]
        assert verdict.size == self.size + resets
        assert verdict.gone == len(self.gone)
        assert verdict.held + verdict.gone == verdict.size
        assert self.agent.stats()["events"] == verdict.size

    @invariant()
    def old_and_new_proofs_hold(self) -> None:
        for proof, event in self.proofs[-2:]:
            proven = verify_proof(proof, principal=self.principal)
            assert event.endswith(f"/{proven.seq}")
        for event in self.live_events()[-1:]:
            assert verify_proof(self.agent.prove(event), principal=self.principal).size == self.agent.verify().size

    def teardown(self) -> None:
        if hasattr(self, "agent"):
            self.agent.close()
            shutil.rmtree(self.folder)


AgentMachine.TestCase.settings = settings(max_examples=8, stateful_step_count=16)
test_the_api_is_what_plain_dicts_say = AgentMachine.TestCase


@pytest.mark.slow
class TestLonger(AgentMachine.TestCase):  # type: ignore[misc, valid-type]
    """The same, many more and longer runs."""

    settings = settings(max_examples=150, stateful_step_count=50)
