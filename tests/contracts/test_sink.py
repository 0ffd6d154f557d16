"""What every `Sink` and every `EventSink` promises. One factory an engine: add it to ROWS or EVENTS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from random import Random

import pytest

from antiphon.domains import BUILT_IN
from antiphon.engines.memory import MemoryTables, MemoryTopics
from antiphon.engines.sealing import SealedSink
from antiphon.model.errors import Conflict
from antiphon.model.event import Event, Header, Scope
from antiphon.model.table import Column, Table, Type
from antiphon.views.domain import Registry
from antiphon.views.feed import (
    MARK_BITS,
    Change,
    Delivery,
    EngineEmptied,
    EventSink,
    Fence,
    Marks,
    Sink,
    epoch_of,
    offset_of,
    version_of,
)  # fmt: skip
from tests.contracts.engines import OWN_VALKEY, carrier, engine
from tests.contracts.random_rows import ALL_TYPES
from tests.contracts.random_rows import row as random_row

TABLE = Table(
    "things",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("at", Type.TIMESTAMP),
        Column("words", Type.TEXT),
        Column("size", Type.INTEGER),
        Column("tags", Type.LIST, of=Type.TEXT),
    ),
)
OTHER = Table(
    "pairs",
    key=("left", "right"),
    columns=(Column("left", Type.TEXT, nullable=False), Column("right", Type.INTEGER, nullable=False)),
    minted=False,
)

MARK = 3 << MARK_BITS
"""Where an epoch of these tests begins."""
ROWS = (
    "memory",
    "sealed",
    pytest.param("postgres", marks=pytest.mark.server),
    pytest.param("valkey", marks=pytest.mark.server),
    pytest.param("cluster", marks=OWN_VALKEY),
)
EVENTS = (
    "memory",
    pytest.param("valkey", marks=pytest.mark.server),
    pytest.param("cluster", marks=OWN_VALKEY),
)


@pytest.fixture(params=ROWS)
def sink(request: pytest.FixtureRequest) -> Iterator[Sink]:
    with engine(request.param, request) as made:
        made.prepare([TABLE, OTHER])
        assert made.fence(made.kept().epoch, 1)
        yield made


@pytest.fixture(params=EVENTS)
def events(request: pytest.FixtureRequest) -> Iterator[EventSink]:
    with carrier(request.param, request) as made:
        assert made.fence(made.kept().epoch, 1)
        yield made


def key(n: int) -> bytes:
    return n.to_bytes(16, "big")


def row(n: int, offset: int, words: str | None = "w", *, epoch: int = 1) -> Change:
    """Thing n as it is at an offset; gone where it has no words."""
    values = {"id": key(n), "at": offset, "words": words, "size": n, "tags": ["a", "b"]}
    return Change("things", key(n), version_of(epoch, offset), None if words is None else values)


def words(sink: Sink) -> dict[int, str]:
    found = sink.rows(TABLE, after=None, limit=1_000)
    assert len({change.key for change in found}) == len(found)
    return {int.from_bytes(change.key, "big"): change.row["words"] for change in found if change.row is not None}


# -- rows --------------------------------------------------------------------------------------------------------


def test_a_row_comes_back_as_it_went_in_with_its_version(sink: Sink) -> None:
    change = row(1, 5, "grün")
    sink.apply(1, [change])
    assert sink.rows(TABLE, after=None, limit=10) == [change]


def test_preparing_again_keeps_what_is_there(sink: Sink) -> None:
    sink.apply(1, [row(1, 5)])
    sink.prepare([TABLE])
    assert words(sink) == {1: "w"}


def test_the_newest_version_stays_whatever_the_order(sink: Sink) -> None:
    sink.apply(1, [row(1, 7, "new"), row(1, 3, "old")])
    sink.apply(1, [row(1, 6, "older")])
    assert words(sink) == {1: "new"}


def test_the_same_twice_is_the_same_once(sink: Sink) -> None:
    for _ in range(2):
        sink.apply(1, [row(1, 5), row(2, 5)])
    assert words(sink) == {1: "w", 2: "w"}


def test_a_row_that_is_gone_does_not_come_back_by_what_is_late(sink: Sink) -> None:
    sink.apply(1, [row(1, 5)])
    sink.apply(1, [row(1, 9, None)])
    sink.apply(1, [row(1, 5)])
    sink.apply(1, [row(1, 8, "late")])
    assert words(sink) == {}
    sink.apply(1, [row(1, 10, "again")])
    assert words(sink) == {1: "again"}


def test_what_is_gone_before_it_was_there_stays_gone(sink: Sink) -> None:
    sink.apply(1, [row(1, 9, None)])
    sink.apply(1, [row(1, 4)])
    assert words(sink) == {}


def test_an_older_value_under_a_newer_version_wins(sink: Sink) -> None:
    """As it is after forgetting: no stamp of the row's own may decide."""
    sink.apply(1, [row(1, 5, "second")])
    sink.apply(1, [Change("things", key(1), version_of(1, 6), {**(row(1, 2, "first").row or {})})])
    assert words(sink) == {1: "first"}


def test_rows_come_in_pages_by_key(sink: Sink) -> None:
    sink.apply(1, [row(n, 5) for n in (5, 1, 4, 2, 3)])
    sink.apply(1, [row(3, 6, None)])
    pages, after = [], None
    while page := sink.rows(TABLE, after=after, limit=2):
        pages.append([int.from_bytes(change.key, "big") for change in page])
        after = page[-1].key
    assert pages == [[1, 2], [4, 5]]
    assert sink.rows(OTHER, after=None, limit=5) == []


def test_tables_are_apart(sink: Sink) -> None:
    sink.apply(1, [Change("pairs", b"\x92\xa1a\x01", version_of(1, 4), {"left": "a", "right": 1}), row(1, 4)])
    assert words(sink) == {1: "w"}
    assert [change.row for change in sink.rows(OTHER, after=None, limit=5)] == [{"left": "a", "right": 1}]


def test_an_older_epoch_is_fenced_off(sink: Sink) -> None:
    sink.apply(1, [row(1, 5)])
    assert sink.fence(1, 4)
    assert sink.kept().epoch == 4
    for refused in (
        lambda: sink.apply(1, [row(1, 900), row(2, 900)]),
        lambda: sink.sweep(1, TABLE, 9),
        lambda: sink.trim(1, TABLE, version_of(9, 0)),
    ):
        with pytest.raises(Conflict):
            refused()
    assert words(sink) == {1: "w"}
    sink.apply(4, [row(1, 2, "taken over", epoch=4)])
    assert words(sink) == {1: "taken over"}


def test_the_fence_is_raised_by_who_knows_it_and_never_lowered(sink: Sink) -> None:
    assert not sink.fence(0, 5)
    assert not sink.fence(1, 1)
    assert sink.fence(1, 3)
    assert not sink.fence(1, 4)
    assert not sink.fence(3, 2)
    assert sink.kept().epoch == 3


def test_the_fence_says_whose_it_is_and_what_it_replaced(sink: Sink) -> None:
    first = sink.kept()
    assert first == Fence(1)
    assert sink.fence(1, 3, mark=MARK, owner=b"file") == first
    assert sink.kept() == Fence(3, MARK, b"file")
    assert sink.fence(1, 9, mark=7, owner=b"other") is None
    assert sink.fence(3, 4, mark=1, owner=b"other") == Fence(3, MARK, b"file")
    assert sink.kept() == Fence(4, 1, b"other")


def test_the_mark_moves_with_what_is_taken_and_with_nothing_else(sink: Sink) -> None:
    assert sink.fence(1, 2, mark=MARK, owner=b"file")
    sink.apply(2, [row(n, 5, epoch=2) for n in range(600)], marks=Marks(MARK, MARK + 1))
    assert sink.kept() == Fence(2, MARK + 1, b"file")
    sink.sweep(2, TABLE, 2, marks=Marks(MARK + 1, MARK + 2))
    assert sink.kept() == Fence(2, MARK + 2, b"file")
    sink.pulse(2, marks=Marks(MARK + 1, MARK + 3))
    sink.trim(2, TABLE, version_of(2, 0), marks=Marks(MARK + 1, MARK + 3))
    assert sink.kept() == Fence(2, MARK + 2, b"file")
    assert len(words(sink)) == 600


def test_an_attempt_of_which_nothing_was_heard_may_have_arrived_or_not(sink: Sink) -> None:
    assert sink.fence(1, 2, mark=MARK)
    sink.apply(2, [row(1, 5, epoch=2)], marks=Marks(MARK, MARK + 1))
    for _ in range(2):  # the same twice is the same once
        sink.apply(2, [row(1, 6, "new", epoch=2)], marks=Marks(MARK, MARK + 4))
    assert sink.kept().mark == MARK + 4
    with pytest.raises(Conflict):  # an attempt that was on its way for long
        sink.apply(2, [row(1, 9, "late", epoch=2)], marks=Marks(MARK, MARK + 2))
    assert words(sink) == {1: "new"}


def test_an_engine_that_is_older_than_its_feeder_knows_says_so_and_takes_nothing(sink: Sink) -> None:
    assert sink.fence(1, 2, mark=MARK)
    sink.apply(2, [row(1, 5, epoch=2)], marks=Marks(MARK, MARK + 1))
    ahead = Marks(MARK + 3, MARK + 4)
    for refused in (
        lambda: sink.apply(2, [row(2, 9, epoch=2)], marks=ahead),
        lambda: sink.apply(3, [row(2, 9, epoch=3)], marks=ahead),
        lambda: sink.sweep(2, TABLE, 9, marks=ahead),
        lambda: sink.trim(2, TABLE, version_of(9, 0), marks=ahead),
        lambda: sink.pulse(2, marks=ahead),
        lambda: sink.pulse(3, marks=ahead),
    ):
        with pytest.raises(EngineEmptied):
            refused()
    with pytest.raises(Conflict):  # one who raised the same epoch in another past
        sink.apply(2, [row(2, 9, epoch=2)], marks=Marks(2 * MARK, 2 * MARK + 1))
    assert words(sink) == {1: "w"}
    assert sink.kept() == Fence(2, MARK + 1)


def test_a_table_that_is_followed_no_more_is_swept_unprepared_or_not_there(sink: Sink) -> None:
    sink.apply(1, [row(1, 5), row(2, 5, None)])
    unknown = Table("never_made", key="id", columns=(Column("id", Type.ID, nullable=False),))
    assert sink.sweep(1, unknown, 2) == 0
    for former in ("_plans", "_tables"):  # as in a process that never prepared it; memory has its rows there
        if not isinstance(sink, MemoryTables | SealedSink):
            getattr(sink, former, {}).pop("things", None)
    assert sink.sweep(1, TABLE, 2) == 1
    assert words(sink) == {}


def test_of_many_who_raise_the_fence_at_once_one_does(sink: Sink) -> None:
    won: list[int] = []
    barrier = threading.Barrier(8)

    def race(epoch: int) -> None:
        barrier.wait()
        if sink.fence(1, epoch):
            won.append(epoch)

    threads = [threading.Thread(target=race, args=(epoch,)) for epoch in range(2, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [sink.kept().epoch]


def test_a_sweep_removes_what_is_of_older_epochs_and_nothing_else(sink: Sink) -> None:
    sink.apply(1, [row(1, 50), row(2, 50), row(3, 50, None)])
    assert sink.fence(1, 2)
    sink.apply(2, [row(2, 4, "new", epoch=2), row(4, 4, epoch=2)])
    assert sink.sweep(2, TABLE, 2) == 1
    assert words(sink) == {2: "new", 4: "w"}
    assert sink.sweep(2, TABLE, 2) == 0


def test_trimming_removes_old_tombstones_and_no_row(sink: Sink) -> None:
    sink.apply(1, [row(1, 5, None), row(2, 5), row(3, 9, None)])
    assert sink.trim(1, TABLE, version_of(1, 9)) == 1
    assert words(sink) == {2: "w"}
    sink.apply(1, [row(3, 8)])
    assert words(sink) == {2: "w"}, "the newer tombstone is there still"
    assert sink.trim(1, TABLE, version_of(1, 10)) == 1


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_in_whatever_order_the_newest_is_left(sink: Sink, seed: int) -> None:
    chance = Random(seed)
    changes = [
        row(chance.randrange(6), offset, None if chance.random() < 0.3 else f"at {offset}") for offset in range(1, 40)
    ]
    newest = {change.key: change for change in changes}
    changes += chance.sample(changes, 20)
    chance.shuffle(changes)
    while changes:
        size = chance.randrange(1, 8)
        batch, changes = changes[:size], changes[size:]
        sink.apply(1, batch)
    left = {change.key: change for change in sink.rows(TABLE, after=None, limit=100)}
    assert left == {key: change for key, change in newest.items() if change.row is not None}


DECLARED = [ALL_TYPES, *Registry(BUILT_IN).tables.values()]


@pytest.mark.parametrize("table", DECLARED, ids=[table.name for table in DECLARED])
def test_rows_of_every_declared_table_come_back_as_they_went_in(sink: Sink, table: Table) -> None:
    """Every type of column, null too; what an engine cannot hold it refuses by name, and keeps the rest."""
    chance = Random(table.name)
    rows = dict(random_row(table, chance) for _ in range(40))
    sink.prepare([table])
    sink.apply(1, [Change(table.name, key, version_of(1, 5), values, b"a" * 32) for key, values in rows.items()])
    found = {change.key: change for change in sink.rows(table, after=None, limit=100)}
    assert found.keys() == rows.keys()
    for key, values in rows.items():
        assert found[key].row == values
        assert found[key].author == b"a" * 32
    assert sum(1 for _ in in_pages(sink, table, 7)) == len(rows)


def in_pages(sink: Sink, table: Table, size: int) -> Iterator[Change]:
    after = None
    while page := sink.rows(table, after=after, limit=size):
        yield from page
        after = page[-1].key


# -- events ------------------------------------------------------------------------------------------------------


def delivery(n: int) -> Delivery:
    header = Header(1, n << 16, None, "thing.done", 1, None, None, Scope.PRIVATE, None, None)
    return Delivery("things.done", f"x/{n}", b"k", Event(bytes(32), n, header, b"body", n << 16, bytes(32)))


def test_events_are_taken_under_the_epoch_alone(events: EventSink) -> None:
    events.deliver(1, [delivery(1), delivery(2)])
    assert events.fence(1, 2)
    with pytest.raises(Conflict):
        events.deliver(1, [delivery(3)])
    events.deliver(2, [delivery(3)])


def test_the_mark_moves_with_events_too(events: EventSink) -> None:
    assert events.fence(1, 2, mark=MARK, owner=b"file") == Fence(1)
    events.deliver(2, [delivery(n) for n in range(600)], marks=Marks(MARK, MARK + 1))
    assert events.kept() == Fence(2, MARK + 1, b"file")
    with pytest.raises(EngineEmptied):
        events.deliver(2, [delivery(1)], marks=Marks(MARK + 2, MARK + 3))
    with pytest.raises(EngineEmptied):
        events.deliver(3, [delivery(1)])


def test_events_in_memory_keep_their_order() -> None:
    topics = MemoryTopics()
    topics.fence(0, 1)
    topics.deliver(1, [delivery(2), delivery(1)])
    topics.deliver(1, [delivery(1)])
    assert [one.id for one in topics.topics["things.done"]] == ["x/2", "x/1", "x/1"]


# -- versions ----------------------------------------------------------------------------------------------------


def test_a_later_epoch_is_newer_than_any_offset_before_it() -> None:
    assert version_of(3, 0) > version_of(2, (1 << 40) - 1)
    assert (epoch_of(version_of(3, 7)), offset_of(version_of(3, 7))) == (3, 7)
    assert version_of((1 << 23) - 1, (1 << 40) - 1) == (1 << 63) - 1
