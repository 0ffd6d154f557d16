"""The rows of loops are functions of the set of events: in any order of logs, after deletes and forgetting."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from antiphon import Agent, AntiphonError, Fleet
from antiphon.domains.loops import LOOPS, Loops, names
from antiphon.model.event import Event, Scope
from antiphon.model.text import EntityIds, entity_text, parse_id
from antiphon.world.clock import ManualClock

NAMES = ("ada", "bob", "cyd")
DAY = 86_400_000
_homes = count()


class Played:
    """Three agents that have done what was drawn; a refused command leaves nothing."""

    def __init__(self, fleet: Fleet, clock: ManualClock) -> None:
        self.fleet, self.replica, self.clock = fleet, fleet.replica, clock
        self.agents: list[Agent] = [fleet.agent(name) for name in NAMES]
        self.loops = [Loops(agent) for agent in self.agents]
        self.made: dict[str, list[tuple[int, str]]] = {}
        self.events: list[tuple[int, str]] = []

    def play(self, todo: list[tuple[str, int, int, int]]) -> None:
        for verb, who, which, later in todo:
            self.clock.pass_ms(later)
            with suppress(AntiphonError):
                if verb == "forget":
                    mine = [event for maker, event in self.events if maker == who]
                    self.agents[who].forget(mine[which % len(mine)] if mine else "none")
                    continue
                found = ACTS[verb](self, self.loops[who], which, who)
                for one in found if isinstance(found, list) else [found]:
                    self.events.append((who, one.event))
                    self.made.setdefault(verb, []).append((who, one.entity or ""))

    def one(self, verb: str, which: int) -> str:
        listed = [entity for _, entity in self.made.get(verb, [])]
        return listed[which % len(listed)] if listed else "none"

    def sanctify(self, me: Loops, which: int) -> Any:
        """A loop about which a guild has decided, if there is one."""
        passed = [row for row in self.of("guild_consensus") if row["status"] == "passed"]
        chosen = passed[which % len(passed)] if passed else {"loop_id": bytes(16), "id": bytes(16)}
        return me.sanctify(entity_text(chosen["loop_id"]), entity_text(chosen["id"]))

    def rows(self) -> dict[str, list[Any]]:
        """All rows of the domain, without the numbers that only this file gives them."""
        found = {}
        for name, table in self.replica.registry.tables.items():
            if self.replica.registry.domain_of_table[name] == LOOPS.name:
                stored = self.replica.tables.all_rows(table)
                found[name] = sorted((repr(row.values), row.log, row.seq) for row in stored)
        return found

    def of(self, table: str) -> list[dict[str, Any]]:
        return [row.values for row in self.replica.tables.all_rows(self.replica.registry.tables[table])]

    def events_of_loops(self) -> dict[int, list[Event]]:
        kinds = {kind.name for kind in LOOPS.kinds}
        return {
            head.no: [event for event in self.replica.reader.events(head) if event.kind in kinds]
            for head in self.replica.heads()
        }

    def fold_in(self, order: list[int]) -> None:
        """Folds everything again, event by event: the next one of each log named in turn."""
        left = {no: iter(events) for no, events in self.events_of_loops().items()}
        heads = {head.no: head for head in self.replica.heads()}
        views, state = self.replica.views, self.replica.state
        with self.replica.transaction():
            views.refold(state, LOOPS.name, [])
            self.replica.file.writer.execute("DROP TABLE IF EXISTS mentions")
            self.replica.mentions.forget_caches()
            for no in order:
                views.fold_events(state, heads[no], EntityIds(heads[no].id), [next(left[no])])


Act = Callable[[Played, Loops, int, int], Any]


def told(world: Played, who: int, kind: str, body: dict[str, Any], entity: str | None = None) -> Any:
    return world.agents[who].record(kind, body, entity=entity, scope=Scope.PUBLIC)


ACTS: dict[str, Act] = {
    "register": lambda w, me, n, who: me.register_user(f"u{n}", f"u{n}@x", agents=[w.agents[n % 3].id]),
    "change": lambda w, me, n, who: me.change_user(w.one("register", n), subscription_tier=f"t{n}"),
    "credit": lambda w, me, n, who: me.credit(w.one("register", n), n + 1),
    "spend": lambda w, me, n, who: me.spend(w.one("register", n), 10 * n + 1),
    "whisper": lambda w, me, n, who: me.whisper(f"words {n}", tone="calm"),
    "fork": lambda w, me, n, who: me.whisper(f"fork {n}", fork_of=w.one("whisper" if n % 2 else "fork", n)),
    "begin": lambda w, me, n, who: me.begin(w.one("whisper", n)),
    "begin fork": lambda w, me, n, who: me.begin(w.one("fork", n)),
    "feel": lambda w, me, n, who: me.feel(w.one("whisper", n), emotional_tone=f"tone {n}"),
    "archive": lambda w, me, n, who: me.archive(w.one("whisper", n)),
    "note": lambda w, me, n, who: me.note(w.one("whisper", n), "said", tone="wild" if n % 2 else "calm"),
    "forecast": lambda w, me, n, who: me.forecast(w.one("whisper", n), {"n": n}),
    "bless": lambda w, me, n, who: me.bless(w.one("whisper", n), "light"),
    "unbless": lambda w, me, n, who: me.unbless(w.one("whisper", n)),
    "prophesy": lambda w, me, n, who: me.prophesy(f"p {n}", loops=[w.one("whisper", n)]),
    "judge": lambda w, me, n, who: me.judge(w.one("prophesy", n), fulfilled=n % 2 == 0),
    "found": lambda w, me, n, who: me.found(f"g{n}", quorum=1 + n % 2, is_open=True),
    "join": lambda w, me, n, who: me.join(w.one("found", n)),
    "leave": lambda w, me, n, who: me.dismiss(w.one("found", n)),
    "ask": lambda w, me, n, who: me.ask(w.one("found", n), f"q {n}", loop=w.one("whisper", n)),
    "vote": lambda w, me, n, who: me.vote(w.one("ask", n), n % 3 - 1),
    "unvote": lambda w, me, n, who: me.unvote(w.one("ask", n)),
    "close": lambda w, me, n, who: me.close(w.one("ask", n)),
    "sanctify": lambda w, me, n, who: w.sanctify(me, n),
    "form": lambda w, me, n, who: me.form(f"c{n}", [w.one("whisper", n)]),
    "rename": lambda w, me, n, who: me.change_cluster(w.one("form", n), name=f"r{n}"),
    "dissolve": lambda w, me, n, who: me.dissolve(w.one("form", n)),
    "tell": lambda w, me, n, who: me.tell(f"t{n}", f"once {n}", loop=w.one("whisper", n)),
    "retell": lambda w, me, n, who: me.retell(w.one("tell", n), content=f"again {n}"),
    "rate": lambda w, me, n, who: me.rate(w.one("whisper", n)),
    "measure": lambda w, me, n, who: me.measure(),
    "queue": lambda w, me, n, who: me.queue(w.one("whisper", n), priority=n + 1),
    "take": lambda w, me, n, who: me.take(w.one("queue", n)),
    "release": lambda w, me, n, who: me.release(w.one("queue", n)),
    "finish": lambda w, me, n, who: me.finish(w.one("queue", n), result={"n": n}),
    "transform": lambda w, me, n, who: me.transform(w.one("whisper", n), "tone", before=n, after=n + 1),
    "bring": lambda w, me, n, who: told(w, who, names.LOOP_BROUGHT, {"columns": {"whisper_origin": f"old {n}",
                                                                                   "state": "archive"}}),
    "follow": lambda w, me, n, who: told(w, who, names.LOOP_FOLLOWED, {"columns": {"emotional_tone": f"n{n}"}},
                                         w.one("bring", n)),
    "strange": lambda w, me, n, who: told(w, who, names.JUDGED, {"status": "failed"}, None),
}  # fmt: skip
VERBS = [*ACTS, "whisper", "begin", "begin", "found", "join", "ask", "vote", "vote", "close", "queue", "take", "forget"]
acts = st.lists(
    st.tuples(st.sampled_from(VERBS), st.integers(0, 2), st.integers(0, 5), st.sampled_from([0, 1, 40_000, DAY])),
    min_size=3,
    max_size=50,
)


@contextmanager
def played(todo: list[Any]) -> Iterator[Played]:
    clock = ManualClock(1_800_000_000_000)
    folder = Path(os.environ["ANTIPHON_HOME"]) / f"loops-{next(_homes)}"
    with Fleet.create(folder, clock=clock, domains=[LOOPS]) as fleet:
        fleet.add_all(NAMES)
        made = Played(fleet, clock)
        made.play(todo)
        yield made


def test_every_act_does_something() -> None:
    chance = Random(3)
    todo = [(chance.choice(VERBS), chance.randrange(3), chance.randrange(6), 1) for _ in range(1_500)]
    with played(todo) as made:
        assert {verb for verb in ACTS if verb not in made.made} == set()
        assert [name for name, rows in made.rows().items() if not rows] == ["installation_records"]


@given(acts, st.integers(0, 99))
def test_rows_are_the_same_in_any_order_of_logs(todo: list[Any], chance: int) -> None:
    with played(todo) as made:
        before = made.rows()
        order = [no for no, events in made.events_of_loops().items() for _ in events]
        Random(chance).shuffle(order)
        made.fold_in(order)
        assert made.rows() == before


@given(acts)
def test_what_decisions_keep_true(todo: list[Any]) -> None:
    """Where no decision was forgotten: depths follow parents, credits are never below none, votes are sets."""
    with played([act for act in todo if act[0] not in ("forget", "strange")]) as made:
        depths = {row["loop_id"]: row["fork_depth"] for row in made.of("loops")}
        for row in made.of("loops"):
            assert row["fork_depth"] == (0 if row["fork_parent"] is None else depths[row["fork_parent"]] + 1)
            blessings = {one["blessed_by"] for one in made.of("blessings") if one["loop_id"] == row["loop_id"]}
            assert (row["blessed_by"] or []) == sorted(blessings)
        assert all(row["emotional_credits"] >= 0 for row in made.of("users"))
        agents = {parse_id(agent.id) for agent in made.agents}
        for row in made.of("guild_consensus"):
            votes = [one for one in made.of("guild_votes") if one["consensus_id"] == row["id"]]
            assert len({one["agent_id"] for one in votes}) == len(votes)
            assert row["votes_for"] == sum(one["vote"] == 1 for one in votes)
            assert set(row["voters"] or []) <= agents
        for row in made.of("loop_tones_daily"):
            same = [
                one for one in made.of("loop_events") if (one["loop_id"], one["tone"]) == (row["loop_id"], row["tone"])
            ]
            assert row["times"] == sum(one["time"] // DAY * DAY == row["day"] for one in same)
