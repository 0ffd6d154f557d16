"""The first tasks of an order are those that all tasks, ranked, begin with; and most of the others are never read."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import Fleet, InvalidInput
from antiphon.domains.tasks import Tasks
from antiphon.domains.tasks.board import Best, merged
from antiphon.domains.tasks.ranking import ORDERS, controversy, hot, ordered
from antiphon.home import default_folder
from antiphon.model import limits
from antiphon.model.event import Scope
from antiphon.model.places import HOUR_MS
from antiphon.model.text import parse_entity
from antiphon.views.commands import Range, RowsPage
from antiphon.world.clock import ManualClock

VOTERS = 12
NOW = 1_750_000_000_000


class Page:
    """A page of rows in memory."""

    def __init__(self, rows: list[Mapping[str, Any]], cursor: str | None) -> None:
        self.rows, self.cursor = rows, cursor


class Board:
    """A table of tasks in memory, in index order as `page` promises it; counts the rows that are read."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows, self.read, self.asked = rows, 0, 0

    def page(
        self,
        equal: Mapping[str, Any] | None = None,
        *,
        within: Range | None = None,
        order: Any = (),
        descending: bool = False,
        limit: int = 1_000,
        after: str | None = None,
    ) -> RowsPage:
        assert descending or order == "upvotes"
        columns = ("downvotes", "upvotes", "created_at", "id") if order in ("downvotes", "upvotes") else (
            ("score", "created_at", "id") if "score" in order else ("created_at", "id")
        )  # fmt: skip
        found = [row for row in self.rows if all(row[name] == value for name, value in (equal or {}).items())]
        if within is not None:
            low, high = within.least, within.under
            found = [
                row for row in found
                if (low is None or row[within.column] >= low) and (high is None or row[within.column] < high)
                and (within.above is None or row[within.column] > within.above)
            ]  # fmt: skip
        found.sort(key=lambda row: [row[name] for name in columns], reverse=descending)
        at = int(after or 0)
        part = found[at : at + limit]
        self.asked, self.read = self.asked + 1, self.read + len(part)
        return Page(part, str(at + limit) if at + limit < len(found) else None)

    def get(self, *key: Any) -> None:
        raise NotImplementedError

    def select(self, **how: Any) -> list[Any]:
        raise NotImplementedError

    def every(self, equal: Mapping[str, Any] | None = None, **how: Any) -> Iterator[Any]:
        raise NotImplementedError


def task(n: int, up: int, down: int, age_ms: int, status: str = "open") -> dict[str, Any]:
    return {
        "id": n.to_bytes(16, "big"), "upvotes": up, "downvotes": down, "score": up - down, "created_at": NOW - age_ms,
        "status": status,
    }  # fmt: skip


tasks = st.lists(
    st.tuples(
        st.integers(0, 6), st.integers(0, 6), st.sampled_from([-HOUR_MS, 0, 1, 2, HOUR_MS, 30 * HOUR_MS]),
        st.sampled_from(["open", "claimed", "review"]),
    ),
    max_size=40,
)  # fmt: skip


@given(tasks, st.integers(1, 45), st.sampled_from(sorted(ORDERS)))
def test_the_first_are_those_that_all_ranked_begin_with(made: list[Any], limit: int, order: str) -> None:
    rows = [task(n, up, down, age, status) for n, (up, down, age, status) in enumerate(made)]
    wanted = [row for row in rows if row["status"] in ("open", "claimed")]
    found = Best(Board(rows), order, states=("open", "claimed", "open"), as_of=NOW).first(limit)
    assert found == ordered(wanted, order, as_of=NOW)[:limit]


@pytest.mark.parametrize(("order", "most"), [("hot", 600), ("top", 40), ("new", 40), ("controversial", 600)])
def test_most_of_the_board_is_never_read(order: str, most: int) -> None:
    chance = random.Random(5)
    rows = [
        task(n, int(chance.paretovariate(1.1)), int(chance.paretovariate(2)) - 1, chance.randrange(700 * HOUR_MS))
        for n in range(20_000)
    ]
    board = Board(rows)
    found = Best(board, order, states=("open",), as_of=NOW).first(20)
    assert found == ordered(rows, order, as_of=NOW)[:20]
    assert 20 <= board.read <= most


def test_ranks_fall_as_the_merge_takes_it() -> None:
    """What stretches are opened by: hot falls with age and rises with score; controversy falls away from even votes."""
    scores = [hot(score, 5) for score in range(-2, 3_000)]
    assert scores == sorted(set(scores))
    ages = [hot(7, age) for age in [*range(2_000), *range(10**11, 10**11 + 2_000)]]
    assert ages == sorted(set(ages), reverse=True)
    for against in (1, 2, 3, 50, 4_000):
        away = [controversy(votes, against) for votes in range(against, 5_000)]
        assert away == sorted(away, reverse=True)
        below = [controversy(votes, against) for votes in range(against)]
        assert below == sorted(below)
        assert max([*away, *below], default=0) <= 2 * against


def test_no_chain_is_read_further_than_it_takes() -> None:
    read = []

    def chain(*keys: int) -> Iterator[tuple[tuple[float, ...], Any]]:
        for key in keys:
            read.append(key)
            yield (float(key),), key

    assert next(merged([chain(1, 4, 9), chain(2, 3)])) == 1
    assert sorted(read) == [1, 2, 4]


# -- in a file -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, int]]:
    clock, chance = ManualClock(), random.Random(11)
    names = [f"agent-{at}" for at in range(VOTERS)]
    with Fleet.create(tmp_path_factory.mktemp("board"), clock=clock) as made:
        made.add_all(names)
        now = clock.now_ms()
        with made.batch() as batch:
            for n in range(400):
                at = now - chance.randrange(100) * HOUR_MS
                batch.record(names[n % VOTERS], "task.created", {"title": f"{n}"}, occurred=at, scope=Scope.PUBLIC)
        entities = [one.entity or "" for one in batch.recorded]
        with made.batch() as batch:
            for entity in entities:
                for name in chance.sample(names, chance.randrange(VOTERS)):
                    vote = {"task": parse_entity(entity), "vote": chance.choice((1, 1, -1))}
                    batch.record(name, "task.voted", vote, scope=Scope.PUBLIC)
        for entity in entities[::7]:
            Tasks(made.agent("agent-3")).claim(entity)
        yield made, now


@pytest.mark.parametrize("order", sorted(ORDERS))
@pytest.mark.parametrize("states", [("open",), ("open", "claimed"), ("claimed",), ("complete",)])
def test_a_files_first_page_is_what_all_of_it_ranked_begins_with(
    fleet: tuple[Fleet, int], order: str, states: tuple[str, ...]
) -> None:
    made, now = fleet
    agent = made.agent("agent-5")
    every = [row for state in states for row in agent.table("tasks").every({"status": state})]
    for as_of in (now, now - 50 * HOUR_MS, now + 1_000 * HOUR_MS):
        for limit in (1, 30, 500):
            page = Tasks(agent).list(order=order, status=states, as_of=as_of, limit=limit)
            assert page == ordered(every, order, as_of=as_of)[:limit]


def test_votes_move_a_task_and_show_it_once(fleet: tuple[Fleet, int]) -> None:
    made, now = fleet
    tasks, table = Tasks(made.agent("agent-1")), made.agent("agent-1").table("tasks")
    best = Best(table, "top", states=("open",), as_of=now)
    rows = best._distinct()
    first = [next(rows) for _ in range(3)]
    mover = bytes(first[0]["id"])
    for name in range(VOTERS):  # read already: it goes below what is still to come
        Tasks(made.agent(f"agent-{name}")).vote(_text(mover), -1)
    rest = [row["id"] for row in rows]
    assert mover not in rest
    assert len({*rest}) == len(rest)
    row = tasks.get(_text(mover))
    assert row is not None
    assert row["score"] == row["upvotes"] - row["downvotes"] == -VOTERS


def _text(key: bytes) -> str:
    from antiphon.model.text import entity_text

    return entity_text(key)


def test_a_board_shows_a_number_of_tasks_that_there_can_be(own_home: Any) -> None:
    with Fleet.create(default_folder()) as made:
        tasks = Tasks(made.add("ada"))
        for limit in (0, -1, limits.PAGE_ROWS_MAX + 1, True, 1.5):
            with pytest.raises(InvalidInput, match="PAGE_ROWS_MAX"):
                tasks.list(limit=limit)  # type: ignore[arg-type]
        assert tasks.list() == []
