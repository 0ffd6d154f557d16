"""The market's rows are functions of the set of events: in any order, after forgetting, and on every replica."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from decimal import Decimal
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon import Agent, AntiphonError, Fleet
from antiphon.domains.market import MARKET, Market, fields, names
from antiphon.home import Home
from antiphon.log.ingest import parts_of
from antiphon.model.event import Event
from antiphon.model.text import EntityIds, id_text
from antiphon.replica.core import Replica
from antiphon.replica.decide import answer_requests
from antiphon.replica.hear import receive
from antiphon.replica.homes import take_in, take_in_all
from antiphon.world.clock import ManualClock

START = 1_800_000_000_000
_homes = count()


class World:
    """Two files with two agents each; the first keeps a book to which the third is admitted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, ManualClock(START)
        self.fleets = [
            Fleet.create(folder / str(at), clock=self.clock, domains=[MARKET]) for at in range(2)
        ]  # fmt: skip
        self.agents: list[Agent] = [fleet.add(f"{name}{at}") for at, fleet in enumerate(self.fleets) for name in "ab"]
        self.markets = [Market(agent) for agent in self.agents]
        self.book = id_text(self.agents[0].log_id)
        self.events: list[tuple[int, str]] = []
        self.things: dict[str, list[str]] = {"company": [], "persona": [], "deal": []}
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

    def sync(self, n: int) -> None:
        take_in_all(self.fleets[n % 2].replica, self.fleets[1 - n % 2].replica)

    def forget(self, n: int) -> None:
        who, event = self.events[n % len(self.events)] if self.events else (0, "none")
        if event.startswith(id_text(self.agents[who].log_id)):
            self.agents[who].forget(event)

    def settle(self) -> None:
        one, two = (fleet.replica for fleet in self.fleets)
        for _ in range(8):
            moved = take_in_all(one, two) + take_in_all(two, one)
            if not moved + len(answer_requests(one)) + len(answer_requests(two)):
                return
        raise AssertionError("they never settle")


SORTS = {"company": "company", "persona": "persona", "deal": "deal"}
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
    "retire": lambda w, m, n, who: m.retire(w.thing("deal", n)),
    "forecast": lambda w, m, n, who: m.forecast("2027-01-01", "2027-12-31" if n % 2 else "2027-01-31"),
    "publish": lambda w, m, n, who: m.publish("f", f"C{n % 3} grows {n}", link=f"http://f/{n % 3}"),
    "note_feed": lambda w, m, n, who: m.note_feed(f"http://f/{n % 2}", etag=str(n)),
    "link": lambda w, m, n, who: m.link("crm", "company", str(n % 3), w.thing("company", n)),
    "deliver": lambda w, m, n, who: m.deliver("crm", f"k{n % 3}"),
    "sent": lambda w, m, n, who: m.note_sent("crm", n),
    "sync": lambda w, m, n, who: w.sync(n),
    "answer": lambda w, m, n, who: answer_requests(w.fleets[n % 2].replica),
    "forget": lambda w, m, n, who: w.forget(n),
}
VERBS = [*ACTS, "deal", "win", "company", "persona", "sync"]
acts = st.lists(
    st.tuples(st.sampled_from(VERBS), st.integers(0, 3), st.integers(0, 7), st.sampled_from([0, 1, 40_000])),
    min_size=3,
    max_size=40,
)


@contextmanager
def world() -> Iterator[World]:
    made = World(Path(os.environ["ANTIPHON_HOME"]) / f"market-{next(_homes)}")
    try:
        yield made
    finally:
        for fleet in made.fleets:
            fleet.close()


def rows_of(replica: Replica, *, own: bool = True) -> dict[str, list[Any]]:
    """The rows by table; without `own`, of those that replicas share."""
    found = {}
    for table in MARKET.tables:
        if not table.shared and not own:
            continue
        rows = replica.tables.select(table, {}, order="n", limit=100_000)
        found[table.name] = sorted((row.values for row in rows), key=lambda row: [row[name] for name in table.key])
    return found


def market_events(replica: Replica) -> dict[int, list[Event]]:
    kinds = {kind.name for kind in MARKET.kinds}
    return {
        head.no: [event for event in replica.reader.events(head) if event.kind in kinds] for head in replica.heads()
    }


def listener(made: World, chance: Random) -> Replica:
    """A file that hears every log, in a random order, and some of them twice."""
    home = Home.open(made.folder / "ear", create=True, clock=made.clock, domains=[MARKET])
    replica = home.create_file(made.folder / "ear.antiphon")
    places = [(fleet.replica, head.id) for fleet in made.fleets for head in fleet.replica.heads() if head.size]
    chance.shuffle(places)
    for source, log in places + chance.sample(places, len(places) // 2):
        if take_in(source, log, replica) == 0:
            head = source.head(log)
            receive(replica, head, parts_of(source.logs, source.reader, head), head.note)
    return replica


@settings(deadline=None, max_examples=30)
@given(acts, st.randoms(use_true_random=False))
def test_replicas_agree_whatever_happens(todo: list[tuple[str, int, int, int]], chance: Random) -> None:
    with world() as made:
        for act in todo:
            made.do(*act)
        made.settle()
        one, two = (rows_of(fleet.replica, own=False) for fleet in made.fleets)
        whole = rows_of(made.fleets[0].replica)
        assert one == two
        ear = listener(made, chance)
        try:
            assert rows_of(ear, own=False) == one
        finally:
            ear.close()
        made.fleets[0].replica.refold(MARKET.name)
        assert rows_of(made.fleets[0].replica) == whole
        check(one)


@settings(deadline=None, max_examples=30)
@given(acts, st.integers(0, 99))
def test_rows_are_the_same_in_any_order_of_logs(todo: list[tuple[str, int, int, int]], seed: int) -> None:
    with world() as made:
        for act in todo:
            made.do(*act)
        made.settle()
        replica = made.fleets[0].replica
        before = rows_of(replica)
        events = market_events(replica)
        order = [no for no, listed in events.items() for _ in listed]
        Random(seed).shuffle(order)
        left, heads = {no: iter(listed) for no, listed in events.items()}, {h.no: h for h in replica.heads()}
        with replica.transaction():
            replica.views.refold(replica.state, MARKET.name, [])
            replica.file.writer.execute("DROP TABLE IF EXISTS mentions")
            replica.mentions.forget_caches()
            for no in order:
                replica.views.fold_events(replica.state, heads[no], EntityIds(heads[no].id), [next(left[no])])
        assert rows_of(replica) == before


def check(rows: dict[str, list[Any]]) -> None:
    """What derived columns promise, by a plain recount."""
    for row in rows[names.FORECASTS]:
        mine = [one for one in rows[names.ACTUALS] if one["forecast_id"] == row["id"]]
        assert row["actual_revenue"] == sum((one["amount"] for one in mine), Decimal(0))
        assert all(one["decided_by"] == row["agent_id"] for one in mine)
    for row in rows[names.PERSONAS]:
        met = [one["time"] for one in rows[names.INTERACTIONS] if one["persona_id"] == row["id"]]
        assert (row["interaction_count"], row["last_interaction"]) == (len(met), max(met, default=None))
    for row in rows[names.OPPORTUNITIES]:
        assert row["weighted_value"] == (row["value"] * row["probability"]).quantize(Decimal("0.01"))


def test_the_world_does_what_it_says() -> None:
    """The acts above are not all refused: some of each kind get through."""
    chance = Random(1)
    with world() as made:
        for _ in range(600):
            made.do(chance.choice(VERBS), chance.randrange(4), chance.randrange(8), 1)
        assert set(made.done) == set(ACTS)
        made.markets[0].admit(made.agents[2].id)
        made.settle()
        found = rows_of(made.fleets[0].replica)
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
