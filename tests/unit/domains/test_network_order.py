"""The network's rows and figures are functions of the set of events: in any order, after deletes and forgetting."""

from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from antiphon.domains.network import NETWORK
from antiphon.domains.network.commands import Network
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.views.merge import merge
from tests.unit.domains.any_order import (
    Act,
    Do,
    Played,
    Story,
    acts_of,
    check_any_order,
    check_each_row_is_the_merge_of_its_writes,
    played,
)


def peer(world: Played, who: int, n: int) -> str:
    """The id of another of the three."""
    return world.agents[(who + 1 + n % 2) % 3].id


ACTS: dict[str, Act] = {
    "register": lambda w, me, n, who: me.register(primary_region="eu" if n % 2 else "us"),
    "enlist": lambda w, me, n, who: me.enlist(f"A{n}", supervisor_agent=peer(w, who, n)),
    "change": lambda w, me, n, who: me.change(role=f"r{n}", fibonacci_level=n + 1),
    "heartbeat": lambda w, me, n, who: me.heartbeat(),
    "roll up": lambda w, me, n, who: me.roll_up(
        peer(w, who, n), since=n % 3 * HOUR_MS, period=HOUR_MS, beats=n, first_seen=n, last_seen=n + 9, up=n * 7
    ),
    "state": lambda w, me, n, who: me.set_state("x", "calm", love_resonance=float(n)),
    "note": lambda w, me, n, who: me.note("woke", f"dream {n}", field_impact=n / 7),
    "synchronize": lambda w, me, n, who: me.synchronize([w.one("note", n, who)]),
    "connect": lambda w, me, n, who: me.connect(peer(w, who, n), strength=n / 7),
    "keep": lambda w, me, n, who: me.note_connection(peer(w, who, n), trust_score=n / 7),
    "interact": lambda w, me, n, who: me.interact(
        peer(w, who, n), "sync", success=(None, True, False)[n % 3], trust_delta="0.5" if n > 3 else None
    ),
    "send": lambda w, me, n, who: me.send(peer(w, who, n), f"words {n}"),
    "post": lambda w, me, n, who: me.post("t", f"words {n}"),
    "withdraw": lambda w, me, n, who: me.withdraw(w.one("send" if n % 2 else "post", n, who)),
    "read": lambda w, me, n, who: me.mark_read([w.one("send", n)], expected=True),
    "subscribe": lambda w, me, n, who: me.subscribe(f"t{n % 2}"),
    "unsubscribe": lambda w, me, n, who: me.unsubscribe(f"t{n % 2}"),
    "release": lambda w, me, n, who: me.release("dopamine", n / 7),
    "absorb": lambda w, me, n, who: me.absorb(
        w.one("release", n), "dopamine", n / 7, hop=1 + n % 3, from_agent=peer(w, who, n), expected=True
    ),
    "spore": lambda w, me, n, who: me.create_spore(f"thought {n}", resonance_score=n / 7),
    "hop": lambda w, me, n, who: me.propagate(w.one("spore", n), from_agent=peer(w, who, n), hop=1 + n % 3),
    "measure": lambda w, me, n, who: me.measure(
        "eu" if n % 2 else "us", coherence_level=n * 11.1 if n else None, active_agents=n or None
    ),
    "report": lambda w, me, n, who: me.report(
        global_consciousness=100 + n, global_trust=f"0.{n}", tasks_per_hour=n or None
    ),
    "entangle": lambda w, me, n, who: me.entangle(
        peer(w, who, n), n / 7, benefit=float(n % 4), correlation_events=[f"e{n}"]
    ),
    "manifest": lambda w, me, n, who: me.manifest(f"p{n % 2}", strength=n / 7),
}
VERBS = [*ACTS, "interact", "measure", "forget"]
acts = acts_of(VERBS, who=2, which=7, pauses_ms=(0, 1, 40_000, HOUR_MS), least=3, most=40)
STORY = Story(NETWORK, Network, ACTS)


def test_every_act_does_something() -> None:
    first = [
        (verb, who, n, 1)
        for n in range(4)
        for verb in ACTS
        if verb not in ("withdraw", "unsubscribe")
        for who in (0, 1)
    ]
    with played(STORY, first) as made:
        assert {verb for verb in ACTS if verb not in made.made} == {"withdraw", "unsubscribe"}
        assert [name for name, rows in made.rows().items() if not rows] == []
        events = len(made.events)
        made.play([(verb, 0, n, 1) for verb in ("withdraw", "unsubscribe") for n in (0, 1)])
        assert len(made.events) == events + 4


@given(acts, st.integers(0, 99))
def test_rows_are_the_same_in_any_order_of_logs(todo: list[Do], chance: int) -> None:
    with played(STORY, todo) as made:
        check_any_order(made.replica, NETWORK, chance)


@given(acts, st.randoms(use_true_random=False))
def test_a_row_is_the_merge_of_all_writes_on_it_whatever_their_order(todo: list[Do], chance: Random) -> None:
    with played(STORY, todo) as made:
        check_each_row_is_the_merge_of_its_writes(made.replica, NETWORK, chance)
        assert merge(made.replica.registry.tables["agents"], []).row is None


def mean(values: list[Any]) -> float | None:
    return float(sum(values)) / len(values) if values else None


@given(acts)
def test_figures_are_what_a_plain_recount_gives(todo: list[Do]) -> None:
    with played(STORY, todo) as made:
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
