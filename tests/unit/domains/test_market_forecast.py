"""Actuals of forecasts: filled as deals close, whichever order deals, wins and forecasts come in."""

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon import AntiphonError, Fleet
from antiphon.domains.market import MARKET, Market, keys, names
from antiphon.engines.sqlite.figures import SqliteFigures
from antiphon.home import default_folder
from antiphon.model.text import parse_entity
from antiphon.world.clock import ManualClock

TODAY = date(2027, 1, 15)
"""The clock's day."""
START = 1_800_000_000_000
PERIODS = [(start, end) for day in (TODAY, TODAY - timedelta(40)) for start, end in keys.periods_of(day)]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("forecast"), st.integers(0, len(PERIODS) - 1), st.just(0)),
        st.tuples(st.sampled_from(("won", "lost", "open", "value")), st.integers(0, 3), st.integers(0, 60)),
        st.tuples(st.just("forget"), st.integers(0, 30), st.just(0)),
    ),
    max_size=40,
)


@pytest.fixture
def fleet() -> Iterator[tuple[Fleet, ManualClock]]:
    clock = ManualClock(START)
    with Fleet.create(default_folder(), clock=clock, domains=[MARKET]) as made:
        yield made, clock


numbers = iter(range(1_000_000))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.randoms(use_true_random=False))
def test_actuals_are_what_was_won_in_any_order(
    fleet: tuple[Fleet, ManualClock], todo: list[tuple[str, int, int]], chance: Random
) -> None:
    made, clock = fleet
    agent = made.add(f"a{next(numbers)}")
    market = Market(agent)
    deals = [market.opportunity(f"D{n}", 10 * (n + 1)).entity for n in range(4)]
    moves: list[str] = []
    todo = [*todo, *(("forecast", n, 0) for n in range(len(PERIODS)))]
    if chance.random() < 0.5:
        chance.shuffle(todo)
    for act, n, days in todo:
        clock.pass_ms(1)
        try:
            if act == "forecast":
                market.forecast(*PERIODS[n])
            elif act == "forget" and moves:
                agent.forget(moves.pop(n % len(moves)))
            elif act == "value":
                market.change(deals[n], value=days)
            elif act in ("won", "lost"):
                moves.append(market.move(deals[n], f"closed_{act}", on=TODAY - timedelta(days)).event)
            elif act == "open":
                moves.append(market.move(deals[n], names.OPEN[n]).event)
        except AntiphonError:
            continue
    won = {}
    for row in agent.table(names.ACTUALS).every({}):
        if row["decided_by"] == agent.replica.logs.head(agent.log_id).owner:  # type: ignore[union-attr]
            won.setdefault(row["forecast_id"], {})[row["opportunity_id"]] = (row["amount"], row["closed_on"])
    for start, end in PERIODS:
        forecast = market.forecast_of(start, end)
        assert forecast is not None
        counted = won.get(forecast["id"], {})
        assert forecast["actual_revenue"] == sum((amount for amount, _ in counted.values()), Decimal(0))
        assert all(start <= on <= end for _, on in counted.values())
        if not any(act == "forget" for act, _, _ in todo):
            assert counted == _won_now(market, deals, start, end)


def _won_now(market: Market, deals: list[str], start: date, end: date) -> dict[bytes, tuple[Decimal, date]]:
    """By the deals themselves: what is won now, and when."""
    found: dict[bytes, Any] = {}
    for deal in deals:
        row = market.get(deal)
        assert row is not None
        if row["stage"] == names.WON and start <= row["closed_on"] <= end:
            found[parse_entity(deal)] = (row["value"], row["closed_on"])
    return found


def test_a_win_costs_the_same_however_many_there_are(fleet: tuple[Fleet, ManualClock]) -> None:
    """The sum moves by differences: no win reads the others of its period again."""
    made, clock = fleet
    agent = made.add("counting")
    market = Market(agent)
    asked: list[str] = []
    real = SqliteFigures.aggregate

    def counted(self: Any, table: Any, function: str, *rest: Any) -> Any:
        asked.append(f"{function} {table.name}")
        return real(self, table, function, *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(SqliteFigures, "aggregate", counted)
        market.forecast("2027-01-01", "2027-12-31")
        for number in range(30):
            clock.pass_ms(1)
            market.move(market.opportunity(f"D{number}", 5).entity, "closed_won")
            if number == 0:
                asked.clear()
    assert [one for one in asked if one == f"sum {names.ACTUALS}"] == []
    found = market.forecast_of("2027-01-01", "2027-12-31")
    assert found is not None
    assert found["actual_revenue"] == 150
