"""A row is a function of the set of writes on it: order and duplicates change nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.model import limits
from antiphon.model.table import AUTHOR, Column, Merge, Table, Type
from antiphon.views.domain import Op, Write
from antiphon.views.merge import Merged, Placed, merge, union

TABLE = Table(
    "notes",
    key="id",
    minted=False,
    writers=AUTHOR,
    columns=(
        Column("id", Type.ID),
        Column("text", Type.TEXT),
        Column("first", Type.TEXT, merge=Merge.ONCE),
        Column("size", Type.INTEGER, default=3),
    ),
    subject="text",
)
KEY = bytes(16)


def placed(stamp: int, op: Op, at: int = 0, log: bytes = b"a" * 32, **values: Any) -> Placed:
    return Placed(stamp, log, stamp, Write("notes", KEY, op, values), at)


def row(*writes: Placed) -> tuple[Any, ...] | None:
    merged = merge(TABLE, writes).row
    return None if merged is None else merged.values


values = st.fixed_dictionaries(
    {},
    optional={
        "text": st.none() | st.sampled_from("abc"),
        "first": st.none() | st.sampled_from("xyz"),
        "size": st.integers(0, 3),
    },
)
events = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from([b"a" * 32, b"b" * 32]), st.sampled_from(list(Op)), values),
    unique_by=lambda one: one[:2],
    max_size=8,
)


@given(events, st.randoms(use_true_random=False), st.integers(0, 3))
def test_order_and_duplicates_change_nothing(found: list[Any], chance: Any, again: int) -> None:
    writes = [Placed(stamp, log, stamp, Write("notes", KEY, op, given)) for stamp, log, op, given in found]
    expected = merge(TABLE, writes)
    shuffled = [*writes, *writes[:again]]
    chance.shuffle(shuffled)
    assert merge(TABLE, shuffled) == expected


@given(events)
def test_it_is_what_a_plain_reading_in_order_gives(found: list[Any]) -> None:
    held: dict[str, Any] = {}
    alive = False
    in_order = sorted(found, key=lambda one: one[:2])
    for at, (_, log, op, wrote) in enumerate(in_order):
        if op == Op.DELETE or any(other[1:3] == (log, Op.DELETE) for other in in_order[at:]):
            continue  # a delete takes what its own log wrote before it
        alive = alive or op == Op.ASSERT
        held.update({name: value for name, value in wrote.items() if name != "first" or "first" not in held})
    expected = (held.get("id"), held.get("text"), held.get("first"), held.get("size", 3)) if alive else None
    assert row(*(Placed(s, log, s, Write("notes", KEY, op, given)) for s, log, op, given in found)) == expected


def test_nothing_without_an_assertion() -> None:
    assert row() is None
    assert row(placed(1, Op.UPDATE, text="x")) is None


def test_an_update_that_came_first_counts() -> None:
    assert row(placed(2, Op.ASSERT, text="new"), placed(1, Op.UPDATE, size=9)) == (None, "new", None, 9)


def test_absent_is_no_write_and_none_is_one() -> None:
    first = placed(1, Op.ASSERT, text="x", size=1)
    assert row(first, placed(2, Op.UPDATE, size=2)) == (None, "x", None, 2)
    assert row(first, placed(2, Op.UPDATE, text=None)) == (None, None, None, 1)


def test_once_keeps_the_first() -> None:
    assert row(placed(3, Op.UPDATE, first="late"), placed(1, Op.ASSERT, first="early")) == (None, None, "early", 3)


def test_only_a_new_assertion_brings_a_deleted_row_back() -> None:
    gone = (placed(1, Op.ASSERT, text="x", first="f"), placed(2, Op.DELETE))
    assert row(*gone) is None
    assert row(*gone, placed(3, Op.UPDATE, text="y")) is None
    assert row(*gone, placed(4, Op.ASSERT, first="g")) == (None, None, "g", 3)


def test_all_writes_of_one_event_count_in_its_own_order() -> None:
    both = (placed(1, Op.ASSERT, 0, text="x"), placed(1, Op.UPDATE, 1, text="y", size=7))
    assert row(*both) == row(*reversed(both)) == row(*both, *both) == (None, "y", None, 7)


@given(st.permutations([range(3_000), range(5_000, 9_000), range(2_000, 6_000), range(-9, 0)]))
def test_a_set_that_many_add_to_keeps_its_limit_in_any_order(parts: list[range]) -> None:
    found: list[Any] = []
    for part in parts:
        found = union(found, list(part))
    assert found == list(range(-9, limits.ITEMS_MAX - 9))


@pytest.mark.parametrize(("text", "spoken"), [("new", 2), (None, 2)])
def test_a_row_speaks_by_what_last_wrote_its_subject(text: str | None, spoken: int) -> None:
    merged = merge(
        TABLE, [placed(1, Op.ASSERT, text="x"), placed(2, Op.UPDATE, text=text), placed(3, Op.UPDATE, size=1)]
    ).row
    assert isinstance(merged, Merged)
    assert merged.seq == spoken
