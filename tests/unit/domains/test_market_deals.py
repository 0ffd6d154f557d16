"""Deals: who moves them where, what is refused, and what wins come to in forecasts."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from antiphon import Conflict, Fleet, InvalidInput, LimitExceeded, NotFound
from antiphon.domains.market import MARKET, Market, formulas, keys, names
from antiphon.domains.tasks import Tasks
from antiphon.home import default_folder
from antiphon.model.places import DAY_MS
from antiphon.model.text import id_text, parse_entity, parse_id
from antiphon.world.clock import ManualClock
from tests.unit.domains.test_market import NOWHERE, START, Fair, refuses

YEAR = ("2027-01-01", "2027-12-31")
"""START is 2027-01-15."""


@pytest.fixture
def fair() -> Iterator[Fair]:
    clock = ManualClock(START)
    with Fleet.create(default_folder(), clock=clock, domains=[MARKET]) as fleet:
        yield Fair(fleet, clock)


def deal(fair: Fair, stage: str = "prospecting", **how: Any) -> str:
    """A deal of Ada's in some stage, supported by Bob."""
    made = fair.ada.opportunity(f"Oats {fair.events()}", how.pop("value", 1_000), **how).entity
    fair.ada.assign(made, fair.agents["ada"].id, support=[fair.agents["bob"].id])
    if stage != "prospecting":
        fair.ada.move(made, stage)
    return made


def actual(fair: Fair, start: str = YEAR[0], end: str = YEAR[1]) -> Decimal | None:
    row = fair.ada.forecast_of(start, end)
    return None if row is None else row["actual_revenue"]


def test_a_deal_has_its_columns(fair: Fair) -> None:
    company = fair.ada.company("Acme").entity
    made = fair.ada.opportunity("Oats", "1000.50", company_id=company, probability="0.4", close_date="2027-02-01",
                                blockers=["price"], next_steps="call")  # fmt: skip
    row = fair.ada.get(made.entity)
    assert (row["stage"], row["weighted_value"]) == ("prospecting", Decimal("400.20"))
    assert (row["created_date"], row["close_date"]) == (date(2027, 1, 15), date(2027, 2, 1))
    assert row["owner_agent"] == row["created_by"] == parse_id(fair.agents["ada"].id)
    assert fair.ada.opportunity("OATS", company_id=company, probability="0.5").entity == made.entity
    assert fair.ada.get(made.entity)["weighted_value"] == Decimal("500.25")
    assert fair.ada.opportunity("Oats", 1_000, company_id=fair.ada.company("Zeta").entity).what == "added"


def test_a_deal_that_does_not_fit_is_refused(fair: Fair) -> None:
    made = deal(fair)
    refuses(fair, InvalidInput, "needs a value", lambda: fair.ada.opportunity("Tea"))
    refuses(fair, InvalidInput, "less than 0", lambda: fair.ada.opportunity("Tea", -1))
    refuses(fair, InvalidInput, "after the point", lambda: fair.ada.opportunity("Tea", "1.005"))
    refuses(fair, InvalidInput, "more than 1", lambda: fair.ada.change(made, probability=2))
    refuses(fair, InvalidInput, "no field 'stage'", lambda: fair.ada.change(made, stage="closed_won"))
    refuses(fair, InvalidInput, "close_date", lambda: fair.ada.change(made, close_date="soon"))
    refuses(fair, InvalidInput, "another agent's", lambda: fair.bob.change(made, value=1))
    refuses(fair, InvalidInput, "another agent's", lambda: fair.bob.retire(made))
    refuses(fair, NotFound, "no opportunity", lambda: fair.ada.change(NOWHERE, value=1))
    refuses(fair, InvalidInput, "stage is one of", lambda: fair.ada.move(made, "won"))
    refuses(fair, InvalidInput, "closed_on is a day", lambda: fair.ada.move(made, "closed_won", on="soon"))
    refuses(fair, InvalidInput, "list of agents", lambda: fair.ada.assign(made, fair.agents["bob"].id, support="x"))


@pytest.mark.parametrize("was", names.STAGES)
def test_each_stage_lets_these_agents_do_this_and_nobody_else(fair: Fair, was: str) -> None:
    for stage in names.STAGES:
        for name, market in (("ada", fair.ada), ("bob", fair.bob), ("cyd", fair.cyd)):
            made = deal(fair, was)
            open_both = was in names.OPEN and stage in names.OPEN
            may = stage != was and (name == "ada" or (name == "bob" and open_both))
            if may and (was in names.OPEN or stage in names.OPEN):
                market.move(made, stage)
                assert fair.ada.get(made)["stage"] == stage
            else:
                refuses(fair, Conflict, "opportunity", lambda: market.move(made, stage))  # noqa: B023
                assert fair.ada.get(made)["stage"] == was


def test_the_owner_closes_it_and_gives_it_away(fair: Fair) -> None:
    made = deal(fair)
    refuses(fair, Conflict, "given away", lambda: fair.bob.assign(made, fair.agents["bob"].id))
    fair.ada.assign(made, fair.agents["cyd"].id)
    row = fair.ada.get(made)
    assert (row["owner_agent"], row["support_agents"]) == (parse_id(fair.agents["cyd"].id), [])
    fair.cyd.move(made, "closed_lost")
    assert fair.ada.get(made)["closed_on"] == date(2027, 1, 15)
    refuses(fair, Conflict, "open it again first", lambda: fair.cyd.move(made, "closed_won"))


def test_a_deal_of_another_home_is_decided_there(fair: Fair) -> None:
    made = Market(fair.agents["bob"], book=fair.book).opportunity("Rye", 5).entity
    row = fair.ada.get(made)
    assert (row["home"], row["owner_agent"], row["stage_since"]) == (fair.agents["ada"].log_id, None, None)
    fair.bob.move(made, "closed_won")
    fair.ada.forecast(*YEAR)
    fair.bob.forecast(*YEAR)
    assert actual(fair) == 5, "a book's word counts for its own"
    assert fair.bob.forecast_of(*YEAR)["actual_revenue"] == 0
    assert id_text(row["home"]) == fair.book


def test_days_and_velocity(fair: Fair) -> None:
    made = deal(fair)
    fair.clock.pass_ms(10 * DAY_MS)
    fair.ada.move(made, "proposal")
    assert fair.ada.get(made)["velocity_score"] == Decimal("6")
    fair.clock.pass_ms(3 * DAY_MS + 5)
    assert fair.ada.days_in_stage(made) == 3
    assert fair.ada.days_in_stage(made, as_of=START) == 0
    refuses(fair, Conflict, "was moved to proposal later", lambda: fair.ada.move(made, "negotiation", at=START))
    fair.ada.move(made, "negotiation", at=START + 11 * DAY_MS)
    assert fair.ada.days_in_stage(made) == 2


# -- forecasts ---------------------------------------------------------------------------------------------------


def test_actuals_are_filled_as_deals_close(fair: Fair) -> None:
    fair.ada.forecast(*YEAR)
    assert actual(fair) == 0
    one, two = deal(fair, "negotiation"), deal(fair, "closed_won", value="20.50")
    assert actual(fair) == Decimal("20.50")
    fair.ada.move(one, "closed_won", on="2027-01-03")
    assert actual(fair) == Decimal("1020.50")
    fair.ada.forecast("2027-01-01", "2027-01-31")
    fair.ada.forecast("2027-02-01", "2027-02-28")
    fair.ada.forecast("2026-12-28", "2027-01-03")
    assert actual(fair, "2027-01-01", "2027-01-31") == Decimal("1020.50")
    assert actual(fair, "2027-02-01", "2027-02-28") == 0
    assert actual(fair, "2026-12-28", "2027-01-03") == 1_000, "the week that ends on that day"
    fair.ada.move(one, "proposal")
    assert actual(fair) == Decimal("20.50")
    fair.ada.move(one, "closed_won", on="2026-12-31")
    assert actual(fair) == Decimal("20.50"), "it is another year's"
    refuses(fair, InvalidInput, "open it again first", lambda: fair.ada.change(two, value=9))
    refuses(fair, InvalidInput, "open it again first", lambda: fair.ada.retire(two))
    fair.ada.move(two, "prospecting")
    fair.ada.retire(two)
    assert (fair.ada.get(two), actual(fair)) == (None, 0)
    new = deal(fair)
    refuses(fair, Conflict, "has not come yet", lambda: fair.ada.move(new, "closed_won", on="2027-01-16"))
    refuses(fair, Conflict, "only what is closed", lambda: fair.ada.move(new, "proposal", on="2027-01-01"))


def test_what_a_task_brings_is_counted_once(fair: Fair) -> None:
    task = Tasks(fair.agents["ada"]).create("Call the bakery").entity or ""
    acme = fair.ada.company("Acme").entity
    fair.ada.value_task(task, acme, 10_000)
    fair.bob.value_task(task, acme, "9999.5")
    (row,) = fair.rows(names.GENERATED)
    assert (row["amount"], row["said"]) == (Decimal(10_000), 1), "two words about one value do not add up"
    fair.ada.value_task(task, acme, 3)
    assert fair.rows(names.GENERATED)[0]["amount"] == Decimal("9999.50")
    fair.ada.unvalue_task(task, acme)
    fair.bob.unvalue_task(task, acme)
    (row,) = fair.rows(names.GENERATED)
    assert (row["amount"], row["said"]) == (None, None), "no edge is left in the graph"
    refuses(fair, NotFound, "has not said", lambda: fair.bob.unvalue_task(task, acme))
    refuses(fair, NotFound, "tasks: there is no", lambda: fair.ada.value_task(NOWHERE, acme, 1))
    refuses(fair, NotFound, "food_companies: there is no", lambda: fair.ada.value_task(task, NOWHERE, 1))
    refuses(fair, InvalidInput, "from 0 on", lambda: fair.ada.value_task(task, acme, -1))


def test_a_win_that_is_forgotten_does_not_count(fair: Fair) -> None:
    fair.ada.forecast(*YEAR)
    made = deal(fair, "closed_won")
    assert actual(fair) == 1_000
    won = [event for event in fair.agents["ada"].log() if event.kind == names.MOVED]
    fair.agents["ada"].forget([event.seq for event in won])
    assert (actual(fair), fair.ada.get(made)["stage"]) == (0, "prospecting")


def test_a_forecast_is_of_the_open_deals_that_close_then(fair: Fair) -> None:
    for at in range(20):
        fair.ada.opportunity(f"d{at}", 100 * (at + 1), probability="0.5", close_date="2027-03-01")
    fair.ada.opportunity("next year", 10**6, probability=1, close_date="2028-01-01")
    fair.bob.opportunity("bob's", 10**6, probability=1, close_date="2027-03-01")
    deal(fair, "closed_won", close_date="2027-03-01")
    cases = fair.ada.predict(*YEAR)
    assert cases.deals == 20
    assert cases.worst < cases.base < cases.best <= 21_000
    assert abs(cases.base - 10_500) < 400
    fair.ada.forecast(*YEAR, ml_prediction="12.5")
    row = fair.ada.forecast_of(*YEAR)
    assert (row["base_case"], row["best_case"], row["worst_case"]) == (cases.base, cases.best, cases.worst)
    assert row["confidence_interval"]["p10"] == str(cases.worst)
    fair.ada.rate_forecast(*YEAR)
    again = fair.ada.forecast_of(*YEAR)
    assert again["model_accuracy"] == formulas.accuracy(cases.base, Decimal(1_000))
    assert (again["id"], again["ml_prediction"]) == (row["id"], Decimal("12.50"))
    refuses(fair, NotFound, "no forecast", lambda: fair.ada.rate_forecast("2028-01-01", "2028-12-31"))


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2027-01-01", "2027-01-30", "is no period"), ("2027-01-02", "2027-12-31", "is no period"),
        ("2027-12-31", "2027-01-01", "ends before it begins"), ("soon", "2027-01-01", "is a day like"),
    ],
)  # fmt: skip
def test_what_is_no_period_is_refused(fair: Fair, start: str, end: str, words: str) -> None:
    refuses(fair, InvalidInput, words, lambda: fair.ada.forecast(start, end))


def test_forged_moves_count_for_nobody_else(fair: Fair) -> None:
    fair.ada.forecast(*YEAR)
    made = deal(fair)
    body = {"stage": "closed_won", "since": START, "amount": "1000000", "on": "2027-01-15"}
    with pytest.raises(InvalidInput, match=r"home|author"):
        fair.forge("bob", names.MOVED, body, parse_entity(made))
    with pytest.raises(InvalidInput, match=r"home|author"):
        fair.forge("bob", names.ASSIGNED, {"owner": parse_id(fair.agents["bob"].id)}, parse_entity(made))
    assert (fair.ada.get(made)["stage"], actual(fair), fair.rows(names.ACTUALS)) == ("prospecting", 0, [])


def test_the_pipeline_is_read_by_stage_and_value(fair: Fair) -> None:
    for value in (5, 50, 20):
        deal(fair, value=value)
    deal(fair, "proposal", value=7)
    assert [int(row["value"]) for row in fair.bob.pipeline("prospecting", min_value=6)] == [50, 20]
    assert [int(row["value"]) for row in fair.bob.pipeline()] == [50, 20, 5, 7]
    with pytest.raises(InvalidInput, match="stage is one of"):
        next(iter(fair.bob.pipeline("won")))
    with pytest.raises(InvalidInput, match="value is a number"):
        next(iter(fair.bob.pipeline(min_value="much")))


# -- formulas ----------------------------------------------------------------------------------------------------


def test_a_simulation_is_the_same_in_any_order() -> None:
    deals = [(bytes([at]) * 16, Decimal(at), Decimal("0.3")) for at in range(1, 40)]
    cases = formulas.simulated(deals)
    shuffled = [*deals, deals[3]]
    Random(3).shuffle(shuffled)
    assert formulas.simulated(shuffled) == cases


def test_certain_and_impossible_deals_are_so_in_every_run() -> None:
    sure = formulas.simulated([(b"a", Decimal("2.50"), Decimal(1)), (b"b", Decimal(9), Decimal(0))])
    assert sure.base == sure.best == sure.worst == Decimal("2.50")
    assert formulas.simulated([]).base == 0
    with pytest.raises(LimitExceeded, match="SIMULATED_DEALS_MAX"):
        formulas.simulated(
            (at.to_bytes(4, "big"), Decimal(1), Decimal(0)) for at in range(names.SIMULATED_DEALS_MAX + 1)
        )


def test_figures() -> None:
    assert (
        formulas.accuracy(Decimal(100), Decimal(50)) == Decimal("0.5") == formulas.accuracy(Decimal(50), Decimal(100))
    )
    assert formulas.accuracy(Decimal(0), Decimal(0)) == 1
    with pytest.raises(InvalidInput, match="below zero"):
        formulas.accuracy(Decimal(-1), Decimal(0))
    assert formulas.velocity(3, 0) == 90
    assert formulas.days(5, 0) == 0


@pytest.mark.parametrize("day", [date(2024, 2, 29), date(2026, 12, 31), date(2027, 1, 1), date.min, date.max])
def test_a_day_is_in_four_periods(day: date) -> None:
    found = keys.periods_of(day)
    assert len(found) == len(names.PERIODS)
    for start, end in found:
        assert start <= day <= end
        keys.check_period(start, end)


def test_periods_are_told_apart_by_kinds_that_share_days() -> None:
    assert keys.periods_of(date(2026, 5, 6)) == (
        (date(2026, 5, 4), date(2026, 5, 10)), (date(2026, 5, 1), date(2026, 5, 31)),
        (date(2026, 4, 1), date(2026, 6, 30)), (date(2026, 1, 1), date(2026, 12, 31)),
    )  # fmt: skip
