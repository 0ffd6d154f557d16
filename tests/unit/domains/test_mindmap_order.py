"""Mind maps' rows and figures are functions of the set of events: in any order, after deletes and forgetting."""

import os
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon import Fleet
from antiphon.domains.mindmap import MINDMAP, MindMap, names
from antiphon.domains.mindmap.queries import hourly_evolution
from antiphon.model.places import HOUR_MS
from antiphon.replica.decide import answer_requests
from antiphon.replica.homes import take_in_all
from antiphon.world.clock import ManualClock
from tests.unit.domains.any_order import (
    START,
    Act,
    Do,
    Played,
    Story,
    acts_of,
    check_any_order,
    check_each_row_is_the_merge_of_its_writes,
    played,
)


def meaning(n: int) -> list[float]:
    return [1.0, n / 10, *[0.0] * 382] if n < 6 else [0.0, 0.0, 1.0, *[0.0] * 381]


ACTS: dict[str, Act] = {
    "grow": lambda w, me, n, who: me.grow(f"key-{n % 3}", label=f"label {n}", metadata={"n": n % 2}),
    "change": lambda w, me, n, who: me.change(w.one("grow", n, who), label=f"again {n}", atp=n),
    "remove": lambda w, me, n, who: me.remove(w.one("grow", n, who)),
    "pulse": lambda w, me, n, who: me.pulse(w.one("grow", n, who), n / 7),
    "stream": lambda w, me, n, who: me.stream(
        w.one("grow", n, who),
        [{"time": START + k * HOUR_MS // 2, "atp_level": n + k / 8 or None, "attention_score": k} for k in range(n)],
    ),
    "embed": lambda w, me, n, who: me.embed(w.one("grow", n, who), meaning(n), f"model {n // 7}"),
    "link": lambda w, me, n, who: me.link(
        w.one("grow", n, who), w.one("grow", n // 2), relationship_type=f"type {n % 2}", weight=n / 3
    ),
    "unlink": lambda w, me, n, who: me.unlink(w.one("link", n, who)),
    "found": lambda w, me, n, who: me.found(w.one("grow", n, who)),
    "contribute": lambda w, me, n, who: me.contribute(w.one("found", n), w.one("grow", n, who)),
    "leave": lambda w, me, n, who: me.leave(w.one("found", n)),
    "calculate": lambda w, me, n, who: me.calculate(w.one("found", n)),
}  # fmt: skip
VERBS = [*ACTS, "grow", "grow", "embed", "link", "contribute", "forget"]
acts = acts_of(VERBS, who=2, which=7, pauses_ms=(0, 1, 40_000, HOUR_MS), least=5, most=40)
STORY = Story(MINDMAP, MindMap, ACTS)
LATER = ("unlink", "leave", "remove")


def test_every_act_does_something() -> None:
    verbs = [verb for verb in ACTS if verb not in LATER]
    with played(STORY, [(verb, who, n, 1) for verb in verbs for n in range(3, 6) for who in range(3)]) as made:
        assert set(made.made) == set(verbs)
        assert [name for name, rows in made.rows().items() if not rows] == []
        assert max(row["resonance_score"] for row in made.of(names.CONSENSUS)) > 0.9
        made.clock.pass_ms(HOUR_MS)
        assert len(hourly_evolution(made.agents[0], as_of=made.clock.now_ms(), minds=3)) > 3
        check_evolution(made)
        made.play([(verb, who, 3, 1) for verb in LATER for who in range(3)])
        assert set(made.made) == set(ACTS)


QUICK = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=25)


@QUICK
@given(acts, st.integers(0, 99))
def test_rows_are_the_same_in_any_order_of_logs(todo: list[Do], chance: int) -> None:
    with played(STORY, todo) as made:
        check_any_order(made.replica, MINDMAP, chance)


@QUICK
@given(acts, st.randoms(use_true_random=False))
def test_a_row_is_the_merge_of_all_writes_on_it_whatever_their_order(todo: list[Do], chance: Random) -> None:
    with played(STORY, todo) as made:
        check_each_row_is_the_merge_of_its_writes(made.replica, MINDMAP, chance)


@QUICK
@given(acts)
def test_figures_are_what_a_plain_recount_gives(todo: list[Do]) -> None:
    with played(STORY, todo) as made:
        edges = made.of(names.EDGES)
        for row in made.of(names.LINKS):
            mine = [one for one in edges if (one["from_node"], one["to_node"]) == (row["from_node"], row["to_node"])]
            assert row["drawn"] == (1 if mine else None)
            assert row["weight"] == max((one["weight"] for one in mine), default=None)
            assert (row["relationship_types"] or []) == sorted({one["relationship_type"] for one in mine})
            assert (row["minds"] or []) == sorted({one["user_id"] for one in mine})
        said = made.of(names.CONTRIBUTIONS)
        for row in made.of(names.CONSENSUS):
            mine = [one for one in said if one["consensus_id"] == row["id"]]
            assert row["contributor_count"] == len(mine)
            assert (row["contributors"] or []) == sorted({one["node_id"] for one in mine})
            assert (row["minds"] or []) == sorted({one["user_id"] for one in mine})
        plain = [{name: row[name] for name in row if name != "atp_square"} for row in made.of(names.STREAMS)]
        assert sorted(map(repr, plain)) == sorted(map(repr, made.of(names.ARCHIVE)))
        check_evolution(made)


def check_evolution(made: Played) -> None:
    nodes = {row["id"]: row for row in made.of(names.NODES)}
    by_hour: dict[tuple[int, str], list[dict[str, Any]]] = {}
    last = made.clock.now_ms() // HOUR_MS * HOUR_MS
    for row in made.of(names.STREAMS):
        hour, node = row["time"] // HOUR_MS * HOUR_MS, nodes.get(row["node_id"])
        if node is not None and last - 23 * HOUR_MS <= hour <= last:
            by_hour.setdefault((hour, node["node_key"]), []).append(row)
    found = hourly_evolution(made.agents[0], as_of=made.clock.now_ms(), minds=2)
    usual = {}
    for at, rows in by_hour.items():
        minds, levels = (
            {row["user_id"] for row in rows},
            [row["atp_level"] for row in rows if row["atp_level"] is not None],
        )
        if len(minds) >= 2 and levels:
            usual[at] = len(minds), int(sum(levels) * 1_000_000 // len(levels)) / 1_000_000
    assert {(one.hour, one.node_key): (one.active_minds, one.avg_atp) for one in found} == usual
    assert found == sorted(found, key=lambda one: (-one.hour, -one.avg_atp, one.node_key))


def test_maps_of_two_files_agree_wherever_the_home_is() -> None:
    clock, folder = ManualClock(START), Path(os.environ["ANTIPHON_HOME"])
    with (
        Fleet.create(folder / "here", clock=clock, domains=[MINDMAP]) as here,
        Fleet.create(folder / "there", clock=clock, domains=[MINDMAP]) as there,
    ):
        minds = [MindMap(here.add("ada")), MindMap(here.add("bob")), MindMap(there.add("cyd"))]
        nodes = [mind.grow("tide", label="Tide").entity or "" for mind in minds]
        for n, mind in enumerate(minds):
            mind.embed(nodes[n], meaning(n), "m")
        agreed = minds[0].found(nodes[0]).entity or ""
        minds[1].contribute(agreed, nodes[1])

        def exchange() -> None:
            take_in_all(here.replica, there.replica)
            take_in_all(there.replica, here.replica)

        def stand(fleet: Fleet) -> tuple[int, bool]:
            (row,) = fleet.replica.tables.all_rows(fleet.replica.registry.tables[names.CONSENSUS])
            return row.values["contributor_count"], row.values["resonance_score"] > 0.9

        exchange()
        waiting = minds[2].contribute(agreed, nodes[2])
        assert stand(there) == (3, False), "its word is there; what it comes to is for the home to say"
        exchange()
        answer_requests(here.replica)
        exchange()
        assert waiting.wait(0).event
        assert stand(here) == stand(there) == (3, True)
        rows = [
            {
                table.name: sorted(repr(row.values) for row in fleet.replica.tables.all_rows(table))
                for table in MINDMAP.tables
            }
            for fleet in (here, there)
        ]
        assert rows[0] == rows[1]
