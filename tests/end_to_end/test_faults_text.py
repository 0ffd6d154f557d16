"""Hard text and hard sizes: NULs, surrogates, emoji, right-to-left, events and commits over their limits.

Expected: what is valid Unicode comes back byte for byte by every way out and in; what is not is refused with advice;
what is too large names its limit; what was refused leaves no trace.
"""

# ruff: noqa: PT012  # a batch is a block

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from antiphon import Agent
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.event import decode_body
from antiphon.replica import archive
from tests.faults.world import check_sound, texts

HARD = {
    "nul": "before\0after zebra",
    "only a nul": "\0",
    "emoji": "a party 🎉👩‍👩‍👧‍👦🏳️‍🌈 zebra",
    "right to left": "שלום עולם مرحبا بالعالم zebra",
    "marks": "z\u0327\u0335e\u0301 bra zebra",
    "bidi controls": "\u202egnirts desrever\u202c zebra",
    "separators": "line\u2028paragraph\u2029end zebra",
    "not characters": "\ufffe\uffff\U0010ffff zebra",
    "byte order mark": "\ufeffzebra",
    "controls": "".join(map(chr, range(1, 32))) + "zebra",
    "quotes": "'; DROP TABLE memories; -- \" zebra",
    "chinese": "汉字漢字 zebra",
    "long word": "z" * 20_000,
    "spaces": "   zebra   ",
}


def _check(agent: Agent, entities: dict[str, str]) -> None:
    held = set(texts(agent).values())
    found = {hit.text for hit in agent.recall("zebra", limit=100)}
    for name, entity in entities.items():
        text = HARD[name]
        row = agent.get(entity)
        assert row is not None, name
        assert (row["content"], row["emotional_context"]) == (text, text), name
        assert (row["tags"], row["metadata"]) == ([text[:60]], {text[:60]: text[:60]}), name
        assert text in held, name
        assert agent.pseudonym(text), name
        assert ("zebra" in text) <= (text in found), name


def test_round_trip(own_home: Path) -> None:
    with Agent.create("ada", home=own_home / "home") as agent:
        entities: dict[str, str] = {}
        for name, text in HARD.items():
            tags, metadata = [text[:60]], {text[:60]: text[:60]}
            made = agent.remember(text, user=text, tags=tags, metadata=metadata, emotional_context=text)
            agent.reflect(text, text)
            entities[name] = made.entity or ""
        _check(agent, entities)
        agent.replica.tidy()
        _check(agent, entities)
        agent.export(own_home / "out.jsonl")
        agent.export(own_home / "out.archive")
        check_sound(agent.replica)
    with Agent.open("ada", home=own_home / "home") as agent:
        _check(agent, entities)
        assert agent.verify().ok
    bodies = [json.loads(line)["body"] for line in (own_home / "out.jsonl").read_bytes().split(b"\n") if line]
    assert set(HARD.values()) <= {body.get("text") for body in bodies}
    assert all(verdict.ok for verdict in archive.verify_archive(own_home / "out.archive"))
    with Agent.create("eve", home=own_home / "home") as reader:
        for head in archive.adopt_archive(reader.replica, own_home / "out.archive"):
            bodies = [
                decode_body(event.body or b"") for event in reader.replica.reader.events(reader.replica.head(head.id))
            ]
            taken = {body.get("text") for body in bodies if isinstance(body, dict)}
        assert set(HARD.values()) <= taken


@pytest.mark.parametrize("bad", ["\ud800", "ab\udfffcd", "\udcff" * 3, "ok \ud83d then \ude00 apart"])
def test_lone_surrogates_are_refused(own_home: Path, bad: str) -> None:
    with Agent.create("ada", home=own_home / "home") as agent:
        agent.remember("good")
        before = texts(agent)
        for attempt in (
            lambda: agent.remember(bad),
            lambda: agent.remember("x", user=bad),
            lambda: agent.remember("x", tags=[bad]),
            lambda: agent.remember("x", namespace=bad),
            lambda: agent.remember("x", metadata={"k": bad}),
            lambda: agent.remember("x", metadata={bad: 1}),
            lambda: agent.reflect(bad),
            lambda: agent.shift_tone(bad),
            lambda: agent.record("memory.remembered", {"text": bad}),
            lambda: agent.record("memory.remembered", {"text": "x"}, about=[bad]),
        ):
            with pytest.raises(InvalidInput) as caught:
                attempt()
            assert str(caught.value)
            str(caught.value).encode()  # the message itself can be shown
        assert texts(agent) == before
        for query in (bad, f"{bad} zebra"):
            try:
                agent.recall(query)
            except InvalidInput:
                continue
        check_sound(agent.replica)


def test_an_event_over_the_limit(own_home: Path) -> None:
    with Agent.create("ada", home=own_home / "home") as agent:
        agent.remember("good")
        before = texts(agent)
        for attempt in (
            lambda: agent.remember("x" * (limits.BODY_BYTES_MAX + 1)),
            lambda: agent.reflect("x", "y" * limits.BODY_BYTES_MAX),
            lambda: agent.record("memory.remembered", {"text": "é" * (limits.BODY_BYTES_MAX // 2)}),
        ):
            with pytest.raises(LimitExceeded, match="BODY_BYTES_MAX"):
                attempt()
        with pytest.raises(InvalidInput), agent.batch() as batch:
            batch.remember("this one is good, but its batch is not")
            batch.remember("x" * (limits.BODY_BYTES_MAX + 1))
        assert texts(agent) == before
        largest = "x" * (limits.BODY_BYTES_MAX - 64)
        made = agent.remember(largest)
        assert agent.event(made.event).body
        assert (agent.get(made.entity or "") or {})["content"] == largest
        check_sound(agent.replica)


def test_a_commit_over_the_limit(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Agent.create("ada", home=own_home / "home") as agent:
        agent.remember("good")
        before = texts(agent)
        monkeypatch.setattr(limits, "COMMIT_EVENTS_MAX", 100)
        with pytest.raises(LimitExceeded, match="COMMIT_EVENTS_MAX") as caught, agent.batch() as batch:
            for number in range(101):
                batch.remember(f"note {number}")
        assert caught.value.context["got"] == 101
        assert texts(agent) == before
        with agent.batch() as batch:
            for number in range(100):
                batch.remember(f"note {number}")
        assert len(texts(agent)) == len(before) + 100
        assert agent.verify().ok


def test_a_header_over_the_limit(own_home: Path) -> None:
    with Agent.create("ada", home=own_home / "home") as agent:
        made = [agent.remember(f"source {number}").event for number in range(limits.REFS_PER_EVENT_MAX + 1)]
        before = texts(agent)
        with pytest.raises(InvalidInput):
            agent.remember("from too many", sources=made)
        assert texts(agent) == before
        agent.remember("from as many as may be", sources=made[: limits.REFS_PER_EVENT_MAX // 2])
        with pytest.raises(InvalidInput):
            agent.record("memory.remembered", {"text": "x"}, about=[f"person {n}" for n in range(65)])
        assert msgspec.msgpack.encode(len(texts(agent)))
        check_sound(agent.replica)
