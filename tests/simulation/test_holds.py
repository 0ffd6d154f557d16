"""Erasures that are heard, held, cancelled and carried out, in any order, on replicas that hear at different times.

Each replica is compared with a plain account of it: sets of events, kept beside it. What it does *not* try: files that
break and processes that die (`tests/end_to_end/test_faults_holds.py`).
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest

from antiphon.log import kinds
from antiphon.log.store import LogHead
from antiphon.model import limits
from antiphon.model.event import State
from antiphon.ops.doctor import State as Outcome
from antiphon.ops.refold import check_views
from antiphon.replica import enrol
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.hear import hear
from antiphon.views.domain import Registry
from tests.simulation.test_views import Author
from tests.simulation.views_world import Cast, World, held
from tests.unit.views.every_rule import World as Given
from tests.unit.views.every_rule import domain, expected

KEY = bytes(range(32))
HOUR = 3_600_000


class Account(msgspec.Struct):
    """What one replica knows, as sets."""

    size: dict[bytes, int] = {}
    said: dict[tuple[bytes, int], tuple[int, set[int]]] = {}
    """(log, seq) of an erasing event, to when it was heard of and what it names of what was there."""
    of_principal: dict[bytes, set[int]] = {}
    cut: dict[bytes, int] = {}
    gone: set[tuple[bytes, int]] = set()

    def hidden(self) -> set[tuple[bytes, int]]:
        """What is shown to nobody, destroyed or not."""
        standing = {key: one for key, one in self.said.items() if key[1] < self.cut.get(key[0], 1 << 62)}
        return self.gone | {(log, seq) for (log, _), (_, named) in standing.items() for seq in named}

    def settle(self, now_ms: int) -> None:
        """Carries out what is due."""
        for (log, at), (heard_ms, named) in self.said.items():
            if at < self.cut.get(log, 1 << 62) and now_ms - heard_ms >= limits.ERASURE_HOLD_MS:
                self.gone |= {(log, seq) for seq in named}
        for log, named in self.of_principal.items():
            self.gone |= {(log, seq) for seq in named if seq < self.size.get(log, 0)}


class Story:
    """A world in which some are thieves, and what each replica must have made of it."""

    def __init__(self, people: Cast) -> None:
        self.world = World(people, domain)
        self.author = Author(self.world)
        self.accounts = [Account(), Account()]
        self.erasing: dict[bytes, dict[int, set[int]]] = {log: {} for log in people.logs}
        self.principals: dict[bytes, list[tuple[bytes, set[int]]]] = {home: [] for home in people.homes}
        self.cuts: dict[bytes, list[tuple[bytes, int]]] = {home: [] for home in people.homes}
        self.past: dict[bytes, list[LogHead]] = {log: [] for log in people.logs}

    def home_of(self, who: int) -> bytes:
        return self.world.cast.homes[0 if who < 3 else 1]

    def seqs(self, log: bytes, which: int, count: int) -> list[int]:
        """Some of what a log holds that may be erased."""
        head = self.world.source.head(log)
        found = [e.seq for e in self.world.source.reader.events(head) if e.kind not in kinds.SYSTEM_KINDS]
        return sorted({found[(which * 7 + at) % len(found)] for at in range(count)}) if found else []

    def act(self, verb: str, who: int, what: int, how: int, odd: bool) -> None:
        world = self.world
        log = world.cast.logs[who]
        if verb == "steal erase" and (named := self.seqs(log, what, how + 1)):
            body = kinds.erased(named, "asked")[0].body
            at = world.write(who, kinds.ERASED, body, entity=None).seq
            self.erasing[log][at] = set(named)
        elif verb == "principal" and odd and (named := self.seqs(log, what, 1)):
            world.source.commit(Batch(self.home_of(who), kinds.erased(named, "asked", log=log), [None]))
            self.principals[self.home_of(who)].append((log, set(named)))
        elif verb == "revoke" and self.past[log]:
            head = self.past[log][-1 - (what * 4 + how) % len(self.past[log])]
            enrol.revoke(world.source, self.home_of(who), head)
            self.cuts[self.home_of(who)].append((log, head.size))
        elif verb not in ("steal erase", "principal", "revoke"):
            self.author.act(verb, who, what, how, odd, 1)
        self.past[log].append(world.source.head(log))

    def deliver(self, at: int, log: bytes) -> None:
        world, account = self.world, self.accounts[at]
        now = max(world.here.now_ms(), world.clock.now_ms())
        world.here.set_wall(now)
        world.deliver(at, log)
        size = world.source.head(log).size
        for seq, named in self.erasing.get(log, {}).items():
            account.said.setdefault((log, seq), (now, {one for one in named if (log, one) not in account.gone}))
        account.size[log] = size
        for of, named in self.principals.get(log, []):
            account.of_principal[of] = account.of_principal.get(of, set()) | named
        for of, cut in self.cuts.get(log, []):
            account.cut[of] = min(cut, account.cut.get(of, cut))
        account.settle(now)

    def wait(self, hours: int) -> None:
        self.world.here.pass_ms(hours * HOUR)
        self.world.clock.set_wall(self.world.here.now_ms())

    def restart(self, at: int) -> None:
        world = self.world
        path = world.replicas[at].file.path
        world.replicas[at].close()
        world.replicas[at] = Replica.open(
            path, KEY, Registry([domain()]), world.cast.ring, clock=world.here, background=False
        )
        self.accounts[at].settle(world.here.now_ms())

    def hear(self, at: int) -> None:
        hear(self.world.replicas[at])
        self.accounts[at].settle(self.world.here.now_ms())

    def check(self, at: int) -> None:
        """Rows are those of what is visible by the account; what is gone is gone, what is held is stored."""
        world, account, replica = self.world, self.accounts[at], self.world.replicas[at]
        hidden = account.hidden()
        events, resets = [], {}
        for log in world.cast.logs:
            head, cut = world.source.head(log), account.cut.get(log, 1 << 62)
            resets[log] = [reset for reset in head.resets if reset[0] < cut]
            for event in world.source.reader.events(head):
                place = (log, event.seq)
                state = replica.reader.loaded(replica.head(log), event.seq).state(event.seq)
                assert (state == State.WHOLE) == (place not in account.gone), place
                if event.seq < cut and place not in hidden:
                    events.append(event)
        principals = [world.source.head(home).owner for home in world.cast.homes]
        owner = {agent: principals[0 if at < 3 else 1] for at, agent in enumerate(world.cast.agents)}
        must = expected(events, Given(owner.get, {}, world.trusted), resets=resets, foreign=True)
        assert held(replica) == {name: must.rows.get(name, {}) for name in replica.registry.tables}
        found = check_views(
            replica.registry, replica.tables, replica.mentions, replica.reader, replica.folded_heads(), replica.views,
            domains=replica.views.live,
        )  # fmt: skip
        assert [finding for finding in found if finding.state != Outcome.OK] == []


ACTS = (
    "make", "make", "change", "change", "vote", "vote", "say", "give", "decide", "note", "put", "seal", "tag", "motto",
    "remotto", "drop", "unput", "lie", "spoil", "unread", "steal erase", "steal erase", "steal erase", "principal",
    "revoke",
)  # fmt: skip
STEPS = ("deliver", "deliver", "deliver", "wait", "hear", "refold", "restart")
HOURS = (1, 24, 36, 71, 72, 100)


def told(people: Cast, todo: list[Any]) -> None:
    story = Story(people)
    logs = [*people.homes, *people.logs]
    try:
        for one in todo:
            if len(one) == 5:
                story.act(*one)
            elif one[0] == "deliver" and story.world.source.head(logs[one[2]]).size:
                story.deliver(one[1], logs[one[2]])
            elif one[0] == "wait":
                story.wait(HOURS[one[2]])
            elif one[0] == "hear":
                story.hear(one[1])
            elif one[0] == "refold":
                story.world.replicas[one[1]].refold("every_rule")
            elif one[0] == "restart":
                story.restart(one[1])
        for at in range(2):
            for log in logs:
                if story.world.source.head(log).size:
                    story.deliver(at, log)
            story.hear(at)
        for at in range(2):
            story.check(at)
            story.world.replicas[at].refold("every_rule")
            story.check(at)
    finally:
        story.world.close()


def drawn(chance: Random) -> list[Any]:
    """What happens, act by act."""
    return [
        (chance.choice(ACTS), *(chance.randrange(4) for _ in range(3)), chance.random() < 0.5)
        if chance.random() < 0.66
        else (chance.choice(STEPS), chance.randrange(2), chance.randrange(6))
        for _ in range(chance.randrange(20, 90))
    ]


def some(people: Cast, seed: int, count: int) -> None:
    for number in range(count):
        print(f"story {number}")
        told(people, drawn(Random(f"{seed} {number}")))


def test_each_replica_shows_and_keeps_what_its_account_says(people: Cast, sim_seed: int) -> None:
    some(people, sim_seed, 60)


@pytest.mark.slow
def test_each_replica_does_so_three_thousand_times(people: Cast, sim_seed: int) -> None:
    some(people, 1_000 + sim_seed, 3_000)
