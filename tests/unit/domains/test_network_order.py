"""The network's rows and figures are functions of the set of events: in any order, after deletes and forgetting."""

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
from antiphon.domains.network import NETWORK
from antiphon.domains.network.commands import Network
from antiphon.model.event import Event
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.model.text import EntityIds
from antiphon.views.merge import merge
from antiphon.world.clock import ManualClock

START = 1_800_000_000_000
NAMES = ("ada", "bob", "cyd")
_homes = count()


class Played:
    """Three agents that have done what was drawn; a refused command leaves nothing."""

    def __init__(self, fleet: Fleet, clock: ManualClock) -> None:
        self.fleet, self.replica = fleet, fleet.replica
        self.agents: list[Agent] = [fleet.agent(name) for name in NAMES]
        self.networks = [Network(agent) for agent in self.agents]
        self.clock = clock
        self.made: dict[str, list[tuple[int, str]]] = {}
        self.events: list[tuple[int, str]] = []

    def play(self, todo: list[tuple[str, int, int, int]]) -> None:
        for verb, who, which, later in todo:
            self.clock.pass_ms(later)
            with suppress(AntiphonError):
                found = self._act(verb, who, which)
                if found is not None:
                    self.events.append((who, found.event))
                    self.made.setdefault(verb, []).append((who, found.entity or ""))

    def one(self, verb: str, which: int, who: int | None = None) -> str:
        listed = [entity for maker, entity in self.made.get(verb, []) if who in (None, maker)]
        return listed[which % len(listed)] if listed else "none"

    def _act(self, verb: str, who: int, n: int) -> Any:
        if verb == "forget":
            mine = [event for maker, event in self.events if maker == who]
            self.agents[who].forget(mine[n % len(mine)] if mine else "none")
            return None
        peer = self.agents[(who + 1 + n % 2) % 3].id
        return ACTS[verb](self, self.networks[who], n, peer, who)

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of the domain, without the numbers that only this file gives them."""
        found = {}
        for name, table in self.replica.registry.tables.items():
            if self.replica.registry.domain_of_table[name] == NETWORK.name:
                stored = self.replica.tables.all_rows(table)
                found[name] = sorted((repr(row.values), row.log, row.seq) for row in stored)
        return found

    def of(self, table: str) -> list[dict[str, Any]]:
        return [row.values for row in self.replica.tables.all_rows(self.replica.registry.tables[table])]

    def network_events(self) -> dict[int, list[Event]]:
        kinds = {kind.name for kind in NETWORK.kinds}
        return {
            head.no: [event for event in self.replica.reader.events(head) if event.kind in kinds]
            for head in self.replica.heads()
        }

    def fold_in(self, order: list[int]) -> None:
        """Folds everything again, event by event: the next one of each log named in turn."""
        left = {no: iter(events) for no, events in self.network_events().items()}
        heads = {head.no: head for head in self.replica.heads()}
        views, state = self.replica.views, self.replica.state
        with self.replica.transaction():
            views.refold(state, NETWORK.name, [])
            self.replica.file.writer.execute("DROP TABLE IF EXISTS mentions")
            self.replica.mentions.forget_caches()
            for no in order:
                event = next(left[no])
                views.fold_events(state, heads[no], EntityIds(heads[no].id), [event])


Act = Callable[[Played, Network, int, str, int], Any]
ACTS: dict[str, Act] = {
    "register": lambda w, me, n, peer, who: me.register(primary_region="eu" if n % 2 else "us"),
    "enlist": lambda w, me, n, peer, who: me.enlist(f"A{n}", supervisor_agent=peer),
    "change": lambda w, me, n, peer, who: me.change(role=f"r{n}", fibonacci_level=n + 1),
    "heartbeat": lambda w, me, n, peer, who: me.heartbeat(),
    "state": lambda w, me, n, peer, who: me.set_state("x", "calm", love_resonance=float(n)),
    "note": lambda w, me, n, peer, who: me.note("woke", f"dream {n}", field_impact=n / 7),
    "synchronize": lambda w, me, n, peer, who: me.synchronize([w.one("note", n, who)]),
    "connect": lambda w, me, n, peer, who: me.connect(peer, strength=n / 7),
    "keep": lambda w, me, n, peer, who: me.note_connection(peer, trust_score=n / 7),
    "interact": lambda w, me, n, peer, who: me.interact(
        peer, "sync", success=(None, True, False)[n % 3], trust_delta="0.5" if n > 3 else None
    ),
    "send": lambda w, me, n, peer, who: me.send(peer, f"words {n}"),
    "post": lambda w, me, n, peer, who: me.post("t", f"words {n}"),
    "withdraw": lambda w, me, n, peer, who: me.withdraw(w.one("send" if n % 2 else "post", n, who)),
    "read": lambda w, me, n, peer, who: me.mark_read([w.one("send", n)], expected=True),
    "subscribe": lambda w, me, n, peer, who: me.subscribe(f"t{n % 2}"),
    "unsubscribe": lambda w, me, n, peer, who: me.unsubscribe(f"t{n % 2}"),
    "release": lambda w, me, n, peer, who: me.release("dopamine", n / 7),
    "absorb": lambda w, me, n, peer, who: me.absorb(
        w.one("release", n), "dopamine", n / 7, hop=1 + n % 3, from_agent=peer, expected=True
    ),
    "spore": lambda w, me, n, peer, who: me.create_spore(f"thought {n}", resonance_score=n / 7),
    "hop": lambda w, me, n, peer, who: me.propagate(w.one("spore", n), from_agent=peer, hop=1 + n % 3),
    "measure": lambda w, me, n, peer, who: me.measure(
        "eu" if n % 2 else "us", coherence_level=n * 11.1 if n else None, active_agents=n or None
    ),
    "report": lambda w, me, n, peer, who: me.report(
        global_consciousness=100 + n, global_trust=f"0.{n}", tasks_per_hour=n or None
    ),
    "entangle": lambda w, me, n, peer, who: me.entangle(
        peer, n / 7, benefit=float(n % 4), correlation_events=[f"e{n}"]
    ),
    "manifest": lambda w, me, n, peer, who: me.manifest(f"p{n % 2}", strength=n / 7),
}
VERBS = [*ACTS, "interact", "measure", "forget"]
acts = st.lists(
    st.tuples(st.sampled_from(VERBS), st.integers(0, 2), st.integers(0, 7), st.sampled_from([0, 1, 40_000, HOUR_MS])),
    min_size=3,
    max_size=40,
)


@contextmanager
def played(todo: list[Any]) -> Iterator[Played]:
    clock = ManualClock(START)
    with Fleet.create(Path(os.environ["ANTIPHON_HOME"]) / str(next(_homes)), clock=clock) as fleet:
        fleet.add_all(NAMES)
        made = Played(fleet, clock)
        made.play(todo)
        yield made


def test_every_act_does_something() -> None:
    first = [
        (verb, who, n, 1)
        for n in range(4)
        for verb in ACTS
        if verb not in ("withdraw", "unsubscribe")
        for who in (0, 1)
    ]
    with played(first) as made:
        assert {verb for verb in ACTS if verb not in made.made} == {"withdraw", "unsubscribe"}
        assert [name for name, rows in made.rows().items() if not rows] == []
        events = len(made.events)
        made.play([(verb, 0, n, 1) for verb in ("withdraw", "unsubscribe") for n in (0, 1)])
        assert len(made.events) == events + 4


@given(acts, st.integers(0, 99))
def test_rows_are_the_same_in_any_order_of_logs(todo: list[Any], chance: int) -> None:
    with played(todo) as made:
        before = made.rows()
        order = [no for no, events in made.network_events().items() for _ in events]
        Random(chance).shuffle(order)
        made.fold_in(order)
        assert made.rows() == before


@given(acts, st.randoms(use_true_random=False))
def test_a_row_is_the_merge_of_all_writes_on_it_whatever_their_order(todo: list[Any], chance: Any) -> None:
    with played(todo) as made:
        writes: dict[tuple[str, bytes], list[Any]] = {}
        for events in made.network_events().values():
            for event in events:
                for placed in made.replica.views.placed(event):
                    writes.setdefault((placed.write.table, placed.write.key), []).append(placed)
        tables, found = made.replica.registry.tables, 0
        for (name, key), on_row in writes.items():
            table = tables[name]
            chance.shuffle(on_row)
            outcome = made.replica.views.outcome(table, key, on_row)
            stored = made.replica.tables.row(table, key)
            if outcome.row is None:
                assert stored is None
                continue
            assert stored is not None
            found += 1
            for column, value in zip(table.columns, outcome.row.values, strict=True):
                if column.derived is None and not column.held:
                    assert stored.values[column.name] == value
        sources = [name for name in tables if tables[name].rollup_of is None]
        assert found == sum(
            made.replica.tables.count(tables[name])
            for name in sources
            if made.replica.registry.domain_of_table[name] == NETWORK.name
        )
        assert merge(tables["agents"], []).row is None


def mean(values: list[Any]) -> float | None:
    return float(sum(values)) / len(values) if values else None


@given(acts)
def test_figures_are_what_a_plain_recount_gives(todo: list[Any]) -> None:
    with played(todo) as made:
        minutes: dict[Any, list[dict[str, Any]]] = {}
        for row in made.of("field_measurements"):
            minutes.setdefault((row["time"] // 60_000 * 60_000, row["region_id"]), []).append(row)
        assert {(row["minute"], row["region_id"]) for row in made.of("field_coherence_1min")} == set(minutes)
        for row in made.of("field_coherence_1min"):
            rows = minutes[row["minute"], row["region_id"]]
            levels = [one["coherence_level"] for one in rows if one["coherence_level"] is not None]
            usual = mean([round(level * 1_000_000) for level in levels])
            assert row["avg_coherence"] == (None if usual is None else usual / 1_000_000)
            assert (row["rows"], row["peak_coherence"]) == (len(rows), max(levels, default=None))
            assert row["total_agents"] == sum(one["active_agents"] or 0 for one in rows)
        hours: dict[int, list[dict[str, Any]]] = {}
        for row in made.of("consciousness_timeline"):
            hours.setdefault(row["time"] // HOUR_MS * HOUR_MS, []).append(row)
        assert {row["bucket"] for row in made.of("consciousness_hourly")} == set(hours)
        for row in made.of("consciousness_hourly"):
            rows = hours[row["bucket"]]
            assert row["avg_consciousness"] == mean([one["global_consciousness"] for one in rows])
            assert row["peak_consciousness"] == max(one["global_consciousness"] for one in rows)
            assert row["total_tasks"] == sum(one["tasks_per_hour"] or 0 for one in rows)
        rated = made.of("agent_interactions")
        days: dict[Any, list[Any]] = {}
        for one in rated:
            day = one["timestamp"] // DAY_MS * DAY_MS
            days.setdefault((day, one["agent_from"], one["agent_to"]), []).append(one["success"])
        daily = made.of("trust_daily")
        assert {(row["day"], row["agent_from"], row["agent_to"]): row["success_rate_sum"] for row in daily} == {
            key: found.count(True) for key, found in days.items()
        }
        for row in made.of("agents"):
            mine = [one["success"] for one in rated if one["agent_to"] == row["id"]]
            assert (row["times_trusted"], row["times_failed"]) == (mine.count(True), mine.count(False))
            assert row["trust_coefficient"] == (1 + mine.count(True)) / (2 + mine.count(True) + mine.count(False))
        for row in made.of("agent_links"):
            pair = [one for one in rated if (one["agent_from"], one["agent_to"]) == (row["agent_id"], row["peer_id"])]
            assert row["first_contact"] == min((one["timestamp"] for one in pair), default=None)
            assert row["successes"] == sum(one["success"] is True for one in pair)
        for row in made.of("spores"):
            assert row["hop_count"] == sum(one["spore_id"] == row["spore_id"] for one in made.of("spore_hops"))
        for row in made.of("morphic_fields"):
            seen = [one for one in made.of("morphic_manifestations") if one["field_id"] == row["field_id"]]
            assert row["manifestation_count"] == len(seen)
            assert (row["contributing_agents"] or []) == sorted({one["agent_id"] for one in seen})
            assert row["field_strength"] == max((one["strength"] for one in seen), default=None)
