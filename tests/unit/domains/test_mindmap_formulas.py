"""Similarity, agreement and spread are exact: the same for any order, and what floating point says to six digits."""

import math
import statistics
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.domains.mindmap import names
from antiphon.domains.mindmap.formulas import Member, agreed, decayed, merged, most_said, similarity, spread, whole

vectors = st.lists(st.floats(-5, 5, allow_nan=False), min_size=4, max_size=4)


def whole_of(*numbers: float) -> tuple[int, ...]:
    found = whole(numbers)
    assert found is not None
    return found


@given(vectors, vectors)
def test_similarity_is_the_cosine_cut_at_zero(one: list[float], other: list[float]) -> None:
    ours, theirs = whole(one), whole(other)
    if ours is None or theirs is None:
        assert not any(one) or not any(other)
        return
    usual = (
        math.sumprod(one, other) if hasattr(math, "sumprod") else sum(a * b for a, b in zip(one, other, strict=True))
    )
    size = math.hypot(*one) * math.hypot(*other)
    if size:
        assert abs(similarity(ours, theirs) / 1e6 - max(0.0, usual / size)) < 1e-4
    assert similarity(ours, theirs) == similarity(theirs, ours)
    assert similarity(ours, ours) in (999_999, 1_000_000)


def test_a_vector_without_direction_has_no_whole_form() -> None:
    assert whole([0.0, -0.0]) is None
    assert whole([]) is None
    assert whole([5e-324, 0.0]) == whole([1.0, 0.0])


members = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from([(1.0, 0.0, 0.0), (1.0, 0.4, 0.0), (0.9, 0.0, 0.4), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)]),
        st.sampled_from([None, "tide", "flood", "tea"]),
        st.sampled_from([None, {"wet": True}, {"wet": True, "at": [1]}, {"wet": False}]),
    ),
    max_size=9,
)


@given(members, st.randoms(use_true_random=False))
def test_an_agreement_does_not_depend_on_the_order_of_its_members(said: list[tuple[int, ...]], chance: Random) -> None:
    made = [Member(bytes([mind]), whole_of(*vector), label, metadata) for mind, vector, label, metadata in said]  # type: ignore[misc]
    found = agreed(made)
    chance.shuffle(made)
    again = agreed(made)
    assert (again.resonance, again.label, again.metadata) == (found.resonance, found.label, found.metadata)
    assert (len({member.mind for member in found.members}) >= names.MINDS_MIN) == bool(found.resonance)
    assert not found.resonance or names.THRESHOLD <= found.resonance <= 1_000_000


def test_one_mind_many_times_is_one() -> None:
    alike = [Member(b"a", whole_of(1.0), "x", None)] * 9
    assert agreed(alike).resonance == 0
    assert agreed([]).resonance == 0


def test_what_most_say_is_said() -> None:
    assert most_said(["b", "a", None, None, None]) == "a"
    assert most_said([None]) is None
    said = [Member(b"a", whole_of(1.0), None, metadata) for metadata in ({"x": 1, "y": 2}, {"x": 1}, {"y": 3}, None)]
    assert merged(said) is None, "half is not more than half"
    assert merged(said[:3]) == {"x": 1}
    large = [Member(b"a", whole_of(1.0), None, {"a": "x" * 40_000, "b": "y" * 40_000})]
    assert list(merged(large) or ()) == ["a"], "as many keys as a row can hold"


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=40))
def test_spread_is_mean_and_deviation_of_a_sample(levels: list[int]) -> None:
    mean, deviation = spread(sum(levels), sum(level * level for level in levels), len(levels))
    assert mean == sum(levels) * 1_000 // len(levels)
    if len(levels) == 1:
        assert deviation is None
    else:
        assert deviation == pytest.approx(statistics.stdev(levels) * 1_000, abs=2)


def test_resonance_decays_by_a_tenth_a_level() -> None:
    assert [decayed(1_000_000), decayed(decayed(1_000_000)), decayed(1)] == [900_000, 810_000, 0]
