"""Room `demo` (imports everything below it): what the people of the corpus come to see, and what they agree on.

An insight is something said that the other of the conversation agreed with in their next words, which acknowledges it;
or that somebody likes a thing. A crystal is a thing that three or more say they like.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from antiphon.demo.corpus import Liking, Opinion
from antiphon.domains.wisdom import Wisdom
from antiphon.domains.wisdom.declare import ACKNOWLEDGED, CRYSTAL_ACKNOWLEDGED, FORMED, SHARED
from antiphon.fleet import Fleet
from antiphon.model import limits
from antiphon.model.event import Scope
from antiphon.model.text import parse_entity, parse_id

QUORUM: Final = 3
SAID: Final = 4
AGREED: Final = 6

Said = tuple[str, str, dict[str, Any], int]
"""(who, kind, body, when)"""


class Agreed(msgspec.Struct):
    """A crystal as its row has it; `score` is the share, of those who spoke of the thing, that like it."""

    text: str
    agents: int
    acknowledged: int
    score: float


class Seen(msgspec.Struct):
    """What the demo shows of wisdom. *Units*: seconds. *Shapes*: `said` is (who, what, the other, the answer)."""

    events: int = 0
    seconds: float = 0.0
    insights: int = 0
    people: int = 0
    acknowledged: int = 0
    crystals: int = 0
    said: list[tuple[str, str, str, str]] = []
    agreed: list[Agreed] = []


def see(fleet: Fleet, opinions: Sequence[Opinion], likings: Sequence[Liking]) -> int:
    """Shares what was said, acknowledges it for those who agreed, and forms crystals; how many events."""
    insights: list[Said] = [(one.person, SHARED, {"content": one.text}, one.said_ms) for one in opinions]
    liked = [one for one in likings if one.likes]
    insights += [(one.person, SHARED, {"content": one.text, "tags": [one.thing]}, one.said_ms) for one in liked]
    keys = _record(fleet, insights)
    agreeing: list[Said] = [
        (one.other, ACKNOWLEDGED, {"insight": key}, one.said_ms) for one, key in zip(opinions, keys, strict=False)
    ]
    _record(fleet, agreeing)
    crystals, members = _crystals(fleet, likings)
    keys = _record(fleet, crystals)
    ringing: list[Said] = [
        (person, CRYSTAL_ACKNOWLEDGED, {"crystal": key}, formed[3])
        for formed, key, people in zip(crystals, keys, members, strict=True)
        for person in people
    ]
    _record(fleet, ringing)
    return len(insights) + len(agreeing) + len(crystals) + len(ringing)


def _crystals(fleet: Fleet, likings: Sequence[Liking]) -> tuple[list[Said], list[list[str]]]:
    """The things that at least QUORUM people like, formed by whoever said so first; and the others of each."""
    spoken: dict[str, dict[str, Liking]] = {}
    for one in likings:
        spoken.setdefault(one.thing, {}).setdefault(one.person, one)
    found, members = list[Said](), list[list[str]]()
    for thing, by_person in spoken.items():
        liked = [one for one in by_person.values() if one.likes]
        if len(liked) < QUORUM:
            continue
        first, *others = (one.person for one in liked)
        text = min((one.text for one in liked), key=lambda text: (len(text), text))
        agents = [parse_id(fleet.agent(one.person).id) for one in liked]
        body = {"content": text, "agents": agents, "score": len(liked) / len(by_person), "tags": [thing]}
        found.append((first, FORMED, body, liked[QUORUM - 1].said_ms))
        members.append(others)
    return found, members


def _record(fleet: Fleet, said: Sequence[Said]) -> list[bytes]:
    """Records it all in one commit; the entities, in the order given. A commit has them by agent."""
    by_person: dict[str, list[int]] = {}
    with fleet.batch() as batch:
        for at, (person, kind, body, when) in enumerate(said):
            by_person.setdefault(person, []).append(at)
            batch.record(person, kind, body, occurred=when, scope=Scope.PUBLIC)
    places = [at for listed in by_person.values() for at in listed]
    made = {at: one.entity for at, one in zip(places, batch.recorded, strict=True)}
    return [parse_entity(made[at] or "") for at in range(len(said))]


def look(fleet: Fleet, opinions: Sequence[Opinion], person: str) -> Seen:
    """What one agent reads of all this in the shared tables."""
    agent = fleet.agent(person)
    wisdom, found = Wisdom(agent), Seen()
    names = {record.agent: record.name for record in fleet.agents_by_id().values()}
    insights = wisdom.insights(order="new", limit=limits.PAGE_ROWS_MAX)
    found.insights, found.people = len(insights), len({row["agent_id"] for row in insights})
    found.acknowledged = sum(row["resonance"] for row in insights)
    answers = {(one.person, one.text): one for one in opinions}
    rung = [row for row in insights if row["resonance"] and row["content"]]
    for row in rung[:: max(1, len(rung) // SAID)][:SAID]:
        (other, *_) = agent.table("insight_acknowledgements").select(insight_id=row["id"])
        who = names[row["agent_id"]]
        found.said.append((who, row["content"], names[other["agent_id"]], answers[who, row["content"]].answer))
    crystals = wisdom.crystals(limit=limits.PAGE_ROWS_MAX)
    found.crystals = len(crystals)
    found.agreed = [
        Agreed(
            row["insight_content"], len(row["contributing_agents"]), row["resonance_count"], row["wisdom_score"]
        )
        for row in crystals[:AGREED]
    ]  # fmt: skip
    return found
