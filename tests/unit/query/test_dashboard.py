"""The dashboard's figures are each of their own table: nothing is counted as often as there is of something else."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from antiphon import Agent, Fleet, InvalidInput, LimitExceeded
from antiphon.domains import BUILT_IN
from antiphon.domains.market import MARKET, Market
from antiphon.domains.network.commands import Network
from antiphon.domains.tasks import Tasks
from antiphon.home import default_folder
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.query import dashboard
from antiphon.query.dashboard import federation_dashboard, figures_of
from antiphon.world.clock import ManualClock
from tests.contracts.gauges import EVERYTHING, GAUGING, gauged, plainly

NOW = 1_750_000_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def agents(clock: ManualClock) -> Iterator[list[Agent]]:
    own = [domain for domain in (MARKET,) if domain not in BUILT_IN]
    with Fleet.create(default_folder(), domains=own, clock=clock) as fleet:
        yield [fleet.add(name) for name in ("ada", "bob", "cyd", "dan")]


def test_of_nothing_there_is_nothing(agents: list[Agent]) -> None:
    found = federation_dashboard(agents[0], as_of=NOW)
    assert (found.total_agents, found.avg_trust, found.tasks_24h) == (0, None, 0)
    assert (found.pipeline_value, found.current_consciousness) == (0, None)
    assert set(found.pipeline_by_stage) == {"prospecting", "qualification", "proposal", "negotiation", "closed_won"}


def test_every_figure_is_of_its_own_table(agents: list[Agent], clock: ManualClock) -> None:
    ada, bob, cyd, dan = map(Network, agents)
    for name, network in zip("ABCD", (ada, bob, cyd, dan), strict=True):
        network.enlist(name)
    dan.decommission()
    for success in (True, True, False):
        ada.interact(agents[1].id, "sync", success=success)
    board, worker = Tasks(agents[0]), Tasks(agents[1])
    for n in range(5):
        task = board.create(f"task {n}").entity or ""
        worker.claim(task)
        worker.start(task)
        worker.submit(task)
        if n:
            board.complete(task)
        clock.pass_ms(DAY_MS // 2 if n == 2 else 1)
    market = Market(agents[0])
    for n, (value, probability) in enumerate((("100", "0.5"), ("10.50", "0.1"), ("7", "1"))):
        market.opportunity(f"deal {n}", value, probability=probability)
    for level, back in ((90, 5), (120, 1), (30, -9)):
        ada.report(global_consciousness=level, global_trust="0.5", occurred=clock.now_ms() - back)
    bob.report(global_consciousness=125, global_trust="0.5", team="iota", occurred=clock.now_ms() - 1)
    now = clock.now_ms()
    found = federation_dashboard(agents[0], as_of=now)
    assert found.total_agents == 3
    assert found.avg_trust == (500_000 + 600_000 + 500_000) // 3 / 1e6
    assert found.tasks_24h == 4
    assert found.pipeline_value == Decimal("58.05")
    assert {stage: value for stage, value in found.pipeline_by_stage.items() if value} == {
        "prospecting": Decimal("58.05")
    }
    assert found.current_consciousness == 122.5
    later = federation_dashboard(agents[0], as_of=now + DAY_MS // 2 + 1)
    assert (later.tasks_24h, later.current_consciousness) == (2, 30.0)
    assert federation_dashboard(agents[0], as_of=NOW - 1).tasks_24h == 0
    assert federation_dashboard(agents[2], as_of=now).tasks_24h == 0, "what is over is for those whom it concerned"


def test_a_lost_deal_is_worth_nothing(agents: list[Agent]) -> None:
    market = Market(agents[0])
    won, lost = (market.opportunity(name, "100", probability="0.5").entity or "" for name in "wl")
    for deal, stage in ((won, "closed_won"), (lost, "closed_lost")):
        market.move(deal, stage)
    found = federation_dashboard(agents[0], as_of=NOW)
    assert found.pipeline_by_stage["closed_won"] == found.pipeline_value > 0


def test_what_makes_no_sense_or_is_too_much_is_refused(agents: list[Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    bad: Any = "now"
    with pytest.raises(InvalidInput, match="as of a time"):
        federation_dashboard(agents[0], as_of=bad)
    for name, agent in zip("AB", agents[:2], strict=True):
        Network(agent).enlist(name)
    monkeypatch.setattr(dashboard, "DASHBOARD_ROWS_MAX", 1)
    with pytest.raises(LimitExceeded, match="DASHBOARD_ROWS_MAX"):
        federation_dashboard(agents[0], as_of=NOW)


@pytest.mark.parametrize("seed", range(4))
def test_any_figure_is_what_it_says(own_home: Path, seed: int) -> None:
    """In the file; tests/contracts/test_dashboards.py says the same of servers and their views."""
    with Agent.create("ada", home=own_home / "home", domains=[GAUGING]) as ada:
        gauged(ada, Random(seed), NOW)
        rows = list(ada.table("gauges").every(order="n"))
        for dashboard in EVERYTHING:
            for as_of in (NOW, NOW - HOUR_MS, NOW + 2 * DAY_MS):
                wanted = {figure.name: plainly(figure, rows, as_of) for figure in dashboard.figures}
                assert figures_of(dashboard, ada, as_of=as_of) == wanted, dashboard.name


def test_rows_that_several_figures_count_are_read_once(agents: list[Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    counted = dashboard._counted
    monkeypatch.setattr(dashboard, "_counted", lambda table, rows: read.append(table) or counted(table, rows))
    federation_dashboard(agents[0], as_of=NOW)
    assert sorted(read) == ["agents", "consciousness_timeline", "opportunities", "tasks"]
