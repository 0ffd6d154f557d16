"""The market's rows are functions of the set of events: in any order, after forgetting, and on every replica."""

from collections.abc import Callable
from contextlib import closing, suppress
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon import AntiphonError
from antiphon.domains.market import MARKET, Market, fields, names
from antiphon.domains.tasks import Tasks
from antiphon.model.text import id_text
from antiphon.replica.core import Replica
from antiphon.replica.decide import answer_requests
from antiphon.world.clock import ManualClock
from tests.unit.domains.any_order import START, Do, acts_of, check_any_order
from tests.unit.domains.two_files import TwoFiles, own_folder, rows_by_key


class World(TwoFiles):
    """The first agent keeps a book to which the third is admitted."""

    def __init__(self) -> None:
        super().__init__(own_folder("market"), clock=ManualClock(START), domains=[MARKET])
        self.markets = [Market(agent, publish_people=n < 2) for n, agent in enumerate(self.agents)]
        self.book = id_text(self.agents[0].log_id)
        self.events: list[tuple[int, str]] = []
        self.things: dict[str, list[str]] = {"company": [], "persona": [], "deal": [], "task": []}
        self.done: dict[str, int] = {}

    def thing(self, sort: str, n: int) -> str:
        listed = self.things[sort]
        return listed[n % len(listed)] if listed else "none"

    def do(self, verb: str, who: int, n: int, later: int) -> None:
        self.clock.pass_ms(later)
        with suppress(AntiphonError):
            found = ACTS[verb](self, self.markets[who], n, who)
            self.done[verb] = self.done.get(verb, 0) + 1
            if getattr(found, "event", None) is not None:
                self.events.append((who, found.event))
            sort = SORTS.get(verb)
            if sort is not None and found.entity not in self.things[sort]:
                self.things[sort].append(found.entity)

    def forget(self, n: int) -> None:
        who, event = self.events[n % len(self.events)] if self.events else (0, "none")
        if event.startswith(id_text(self.agents[who].log_id)):
            self.agents[who].forget(event)


SORTS = {"company": "company", "persona": "persona", "deal": "deal", "task": "task"}
ACTS: dict[str, Callable[[World, Market, int, int], Any]] = {
    "company": lambda w, m, n, who: m.company(
        f"C{n % 3}", at=w.clock.now_ms() - n, employee_count=n, **({"website": f"c{n % 3}.com"} if n > 3 else {})
    ),
    "contribute": lambda w, m, n, who: Market(w.agents[who], book=w.book).company(f"C{n % 3}", employee_count=n),
    "admit": lambda w, m, n, who: w.markets[0].admit(w.agents[1 + n % 3].id),
    "dismiss": lambda w, m, n, who: w.markets[0].dismiss(w.agents[1 + n % 3].id),
    "product": lambda w, m, n, who: m.product(f"P{n % 2}", allergens=[f"a{n}"]),
    "persona": lambda w, m, n, who: m.persona(f"N{n % 3}", trust_score=f"0.{n}", company=f"C{n % 2}"),
    "enrich": lambda w, m, n, who: m.enrich(w.thing("persona", n), role=f"r{n}"),
    "meet": lambda w, m, n, who: m.meet(w.thing("persona", n), success=n % 2 == 0),
    "remove": lambda w, m, n, who: m.remove(w.thing("persona", n)),
    "deal": lambda w, m, n, who: m.opportunity(f"D{n % 4}", 10 * n, probability="0.5", close_date="2027-02-01"),
    "assign": lambda w, m, n, who: m.assign(w.thing("deal", n), w.agents[n % 4].id, support=[w.agents[who].id]),
    "move": lambda w, m, n, who: m.move(w.thing("deal", n), names.STAGES[n % 6]),
    "win": lambda w, m, n, who: m.move(w.thing("deal", n), "closed_won", on=date(2027, 1, 1 + n % 14)),
    "value": lambda w, m, n, who: m.value_task(w.thing("task", n), w.thing("company", n), n),
    "unvalue": lambda w, m, n, who: m.unvalue_task(w.thing("task", n), w.thing("company", n)),
    "task": lambda w, m, n, who: Tasks(m.recorder).create(f"T{n}"),
    "retire": lambda w, m, n, who: m.retire(w.thing("deal", n)),
    "forecast": lambda w, m, n, who: m.forecast("2027-01-01", "2027-12-31" if n % 2 else "2027-01-31"),
    "publish": lambda w, m, n, who: m.publish("f", f"C{n % 3} grows {n}", link=f"http://f/{n % 3}"),
    "note_feed": lambda w, m, n, who: m.note_feed(f"http://f/{n % 2}", etag=str(n)),
    "link": lambda w, m, n, who: m.link("crm", "company", str(n % 3), w.thing("company", n)),
    "deliver": lambda w, m, n, who: m.deliver("crm", f"k{n % 3}"),
    "sent": lambda w, m, n, who: m.note_sent("crm", n),
    "sync": lambda w, m, n, who: w.sync(n),
    "answer": lambda w, m, n, who: answer_requests(w.replicas[n % 2]),
    "forget": lambda w, m, n, who: w.forget(n),
}
VERBS = [*ACTS, "deal", "win", "company", "persona", "sync"]
acts = acts_of(VERBS, who=3, which=7, pauses_ms=(0, 1, 40_000), least=3, most=40)
SHARED = [table for table in MARKET.tables if table.shared]


def rows_of(replica: Replica) -> dict[str, list[dict[str, Any]]]:
    return rows_by_key(replica, MARKET.tables)


@settings(deadline=None, max_examples=30)
@given(acts, st.randoms(use_true_random=False))
def test_replicas_agree_whatever_happens(todo: list[Do], chance: Random) -> None:
    with closing(World()) as made:
        for act in todo:
            made.do(*act)
        made.settle()
        one, two = (rows_by_key(replica, SHARED) for replica in made.replicas)
        whole = rows_of(made.replicas[0])
        assert one == two
        with made.listener(chance) as ear:
            assert rows_by_key(ear, SHARED) == one
        made.replicas[0].refold(MARKET.name)
        assert rows_of(made.replicas[0]) == whole
        check(one)


@settings(deadline=None, max_examples=30)
@given(acts, st.integers(0, 99))
def test_rows_are_the_same_in_any_order_of_logs(todo: list[Do], seed: int) -> None:
    with closing(World()) as made:
        for act in todo:
            made.do(*act)
        made.settle()
        check_any_order(made.replicas[0], MARKET, seed)


def check(rows: dict[str, list[Any]]) -> None:
    """What derived columns promise, by a plain recount."""
    for row in rows[names.FORECASTS]:
        mine = [one for one in rows[names.ACTUALS] if one["forecast_id"] == row["id"]]
        assert row["actual_revenue"] == sum((one["amount"] for one in mine), Decimal(0))
        assert all(one["decided_by"] == row["agent_id"] for one in mine)
    for row in rows[names.PERSONAS]:
        met = [one["time"] for one in rows[names.INTERACTIONS] if one["persona_id"] == row["id"]]
        assert (row["interaction_count"], row["last_interaction"]) == (len(met), max(met, default=None))
    said: dict[tuple[bytes, bytes], list[Decimal]] = {}
    for row in rows[names.VALUES]:
        said.setdefault((row["task_id"], row["company_id"]), []).append(row["amount"])
    for row in rows[names.GENERATED]:
        amounts = said.get((row["task_id"], row["company_id"]), [])
        assert (row["amount"], row["said"]) == (max(amounts, default=None), 1 if amounts else None)
    for row in rows[names.OPPORTUNITIES]:
        assert row["weighted_value"] == (row["value"] * row["probability"]).quantize(Decimal("0.01"))


def test_the_world_does_what_it_says() -> None:
    """The acts above are not all refused: some of each kind get through."""
    chance = Random(1)
    with closing(World()) as made:
        for _ in range(600):
            made.do(chance.choice(VERBS), chance.randrange(4), chance.randrange(8), 1)
        assert set(made.done) == set(ACTS)
        made.markets[0].admit(made.agents[2].id)
        made.settle()
        found = rows_of(made.replicas[0])
        assert [name for name, rows in found.items() if not rows] == []
        check(found)


values = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=6)


@given(values, st.randoms(use_true_random=False))
def test_which_value_counts_does_not_hang_on_the_order(said: list[tuple[int, int]], chance: Random) -> None:
    def after(order: list[tuple[int, int]]) -> tuple[Any, Any]:
        row: dict[str, Any] = {"employee_count": None, "field_times": {}}
        for at, value in order:
            found = fields.taken(names.COMPANIES, row, {"employee_count": value}, at)
            row = {**row, **found.changes, "field_times": found.times}
        return row["employee_count"], row["field_times"]

    whole = after(said)
    shuffled = list(said)
    chance.shuffle(shuffled)
    assert after(shuffled)[0] == whole[0] == max((at, value) for at, value in said)[1]
