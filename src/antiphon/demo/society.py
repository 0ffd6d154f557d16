"""Room `demo` (imports everything below it): the people of the corpus as a network: who meets, trusts, agrees.

Each says for itself what it saw of the other; all that is shown is read from the tables that these events fold to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.demo.corpus import Meeting, Message
from antiphon.domains.network import formulas
from antiphon.domains.tasks.commands import Tasks
from antiphon.fleet import Fleet
from antiphon.model.errors import AntiphonError, Conflict
from antiphon.model.event import Scope
from antiphon.model.places import DAY_MS
from antiphon.model.text import parse_id
from antiphon.world.clock import sleep_ms

REGION: Final = "chitchat"
WELL: Final = 6
"""From this rating on, of 10, a conversation counts as gone well."""
SHOWN: Final = 5
_COMMIT_MEETINGS: Final = 512
_PAUSE_MS: Final = 20
_LOOK_MS: Final = 100
_BARS: Final = "▁▂▃▄▅▆▇█"


class Pair(msgspec.Struct):
    """Two who talk. *Units*: trust and resonance in [0, 1]; `trust` is what the first has in the second."""

    one: str
    other: str
    meetings: int
    trust: float
    resonance: float


class Society(msgspec.Struct):
    """What the demo shows of the network. *Units*: seconds; coherence from 0 to 100."""

    events: int = 0
    seconds: float = 0.0
    rows: dict[str, int] = {}
    pairs: list[Pair] = []
    minutes: int = 0
    days: list[tuple[int, float]] = []
    coherence: float = 0.0
    claimed: str = ""
    conflict: str = ""
    votes: str = ""
    rejected: str = ""
    rebuilt_rows: int = 0
    rebuilt_s: float = 0.0
    rebuilt_beside: int = 0
    rebuilt_same: bool = False

    @property
    def bars(self) -> str:
        """The days' coherence as a line of bars."""
        low, high = min(level for _, level in self.days), max(level for _, level in self.days)
        steps = len(_BARS) - 1
        return "".join(_BARS[round(steps * (level - low) / (high - low or 1))] for _, level in self.days)


def meet(fleet: Fleet, meetings: Sequence[Meeting], advance: Callable[[int], None]) -> int:
    """Records every conversation as each of the two saw it, and how coherent the field was then; how many events."""
    people = sorted({person for meeting in meetings for person in meeting.people})
    ids = {person: fleet.agent(person).id for person in people}
    with fleet.batch() as batch:
        for person in people:
            registered = {"public_key": ids[person], "primary_region": REGION}
            batch.record(person, "agent.registered", registered, scope=Scope.PUBLIC)
    count = len(people)
    for at in range(0, len(meetings), _COMMIT_MEETINGS):
        part = meetings[at : at + _COMMIT_MEETINGS]
        with fleet.batch() as batch:
            for meeting in part:
                for person, kind, body in _seen(meeting, ids):
                    batch.record(person, kind, body, occurred=meeting.ended_ms, scope=Scope.PUBLIC)
                    count += 1
        advance(len(part))
    return count


def _seen(meeting: Meeting, ids: Mapping[str, str]) -> list[tuple[str, str, dict[str, Any]]]:
    """(who, kind, body) of what two people record of a conversation."""
    said: list[tuple[str, str, dict[str, Any]]] = []
    strength = min(meeting.turns) / max(meeting.turns)
    rating = meeting.rating
    for person, peer in (meeting.people, meeting.people[::-1]):
        named = parse_id(ids[peer])
        said.append((person, "agent.connected", {"peer": named, "strength": strength}))
        met: dict[str, Any] = {"peer": named, "interaction_type": "conversation"}
        if rating is not None:
            met |= {"success": rating >= WELL, "field_impact": rating / 10}
        said.append((person, "agent.interacted", met))
    if rating is not None:
        measured = {"region_id": REGION, "coherence_level": 10 * rating, "active_agents": 2}
        said.append((meeting.people[0], "field.measured", measured))
    return said


def look(fleet: Fleet, meetings: Sequence[Meeting], messages: Sequence[Message]) -> Society:
    """What the tables say of the network, at the end of the last conversation."""
    replica = fleet.replica
    found = Society()
    for name in ("agent_registry", "agent_links", "agent_interactions", "trust_daily", "field_coherence_1min"):
        found.rows[name] = replica.tables.count(replica.registry.tables[name])
    as_of = meetings[-1].ended_ms // DAY_MS
    names = {parse_id(fleet.agent(name).id): name for name in {one for meeting in meetings for one in meeting.people}}
    trusted = _trust(_all(fleet, "trust_daily"), as_of)
    met = {key: days for key, (days, _) in trusted.items()}
    closest = sorted(met, key=lambda key: (-met[key], key))
    for one, other in closest:
        if len(found.pairs) == SHOWN:
            break
        if one < other:
            texts = {person: [m.text for m in messages if m.person == names[person]] for person in (one, other)}
            alike = formulas.resonance(formulas.profile(texts[one]), formulas.profile(texts[other]))
            found.pairs.append(
                Pair(
                    names[one], names[other], met[one, other], trusted[one, other][1] / formulas.MILLION,
                    alike / formulas.MILLION,
                )
            )  # fmt: skip
    _coherence(found, _all(fleet, "field_coherence_1min"))
    return found


def rebuild(
    fleet: Fleet, found: Society, before: dict[str, list[str]], person: str, progress: Callable[[int, int], None]
) -> None:
    """Makes the network's tables anew beside the old ones while somebody goes on writing, and compares the rows;
    `progress` is told how many events are folded again, of how many.
    """
    clock, generations = fleet.replica.clock, fleet.replica.generations
    agent, done = fleet.agent(person), threading.Event()

    def go_on() -> None:
        while not done.is_set():
            agent.remember(f"thought {found.rebuilt_beside} while the tables were made anew")
            found.rebuilt_beside += 1
            sleep_ms(_PAUSE_MS)

    start = clock.monotonic_ms()
    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        while not generations.run(ms_max=_LOOK_MS):
            every = sum(head.size for head in generations.heads())
            folded = sum(building.folded for building in generations.all().values())
            progress(folded if generations.all() else every, every)
    finally:
        done.set()
        writer.join()
    found.rebuilt_s = (clock.monotonic_ms() - start) / 1000
    after = rows_of(fleet)
    found.rebuilt_rows = sum(map(len, after.values()))
    found.rebuilt_same = after == before


def rows_of(fleet: Fleet) -> dict[str, list[str]]:
    """All rows of the network's tables, whatever their numbers."""
    owner = fleet.replica.registry.domain_of_table
    return {name: sorted(map(repr, _all(fleet, name))) for name in owner if owner[name] == "network"}


def _all(fleet: Fleet, table: str) -> list[dict[str, Any]]:
    replica = fleet.replica
    rows = replica.tables.select(replica.registry.tables[table], {}, order="n", limit=1_000_000)
    return [row.values for row in rows]


def _trust(rows: list[dict[str, Any]], as_of: int) -> dict[tuple[bytes, bytes], tuple[int, int]]:
    """By pair: how often they met, and the trust of the first in the second, in millionths."""
    days: dict[tuple[bytes, bytes], list[tuple[int, int, int]]] = {}
    times: dict[tuple[bytes, bytes], int] = {}
    for row in rows:
        pair = (row["agent_from"], row["agent_to"])
        good, rated = int(row["success_rate_sum"]), row["success_rate_count"]
        days.setdefault(pair, []).append((row["day"] // DAY_MS, good, rated - good))
        times[pair] = times.get(pair, 0) + row["rows"]
    return {pair: (times[pair], formulas.trust(days[pair], as_of=as_of)) for pair in days}


def _coherence(found: Society, rows: list[dict[str, Any]]) -> None:
    by_day: dict[int, list[float]] = {}
    for row in rows:
        by_day.setdefault(row["minute"] // DAY_MS, []).append(row["avg_coherence"])
    levels = [(day, sum(values) / len(values)) for day, values in sorted(by_day.items())]
    busiest = sorted(levels, key=lambda item: -len(by_day[item[0]]))[:32]
    found.minutes, found.days = len(rows), sorted(busiest)
    every = [level for values in by_day.values() for level in values]
    found.coherence = sum(every) / len(every)


def work(fleet: Fleet, found: Society, people: Sequence[str]) -> None:
    """A task that two claim at the same moment, a vote, and a write that nobody may do."""
    owner, one, other = (fleet.agent(name) for name in people[:3])
    task = Tasks(owner).create("find the best pizza topping", category="data_mining", reward=2)
    assert task.entity is not None
    entity = task.entity
    together, outcome = threading.Barrier(2), dict[str, str]()

    def claim(name: str) -> None:
        together.wait()
        try:
            Tasks(fleet.agent(name)).claim(entity)
            outcome[name] = ""
        except Conflict as error:
            outcome[name] = str(error)

    threads = [threading.Thread(target=claim, args=(name,)) for name in people[1:3]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.claimed = next(name for name, refused in outcome.items() if not refused)
    found.conflict = next(f"{name}: {refused}" for name, refused in outcome.items() if refused)
    for agent, vote in ((owner, 1), (one, 1), (other, -1)):
        Tasks(agent).vote(entity, vote)
    row = owner.table("tasks").get(task.entity)
    assert row is not None
    found.votes = f"{row['upvotes']} for, {row['downvotes']} against"
    try:
        other.record("task.retired", {}, entity=entity, scope=Scope.PUBLIC)
    except AntiphonError as error:
        found.rejected = str(error)
