"""Trust, hormones, resonance, coherence and drift: exact, whatever the order, and as the formulas on paper say."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import InvalidInput
from antiphon.domains.network import formulas
from antiphon.domains.network.formulas import MILLION, ONE

days = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 9), st.integers(0, 9)), max_size=8)
counts = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 1_000), max_size=5)
profiles = st.dictionaries(st.integers(0, 9), st.integers(0, 50), max_size=8)


def test_a_half_life_halves() -> None:
    assert [formulas.weight(age, 30) for age in (-1, 0, 30, 60, 30 * 31, 30 * 99)] == [0, ONE, ONE // 2, ONE // 4, 0, 0]


@given(st.integers(0, 3_000), st.integers(1, 500))
def test_a_weight_is_a_power_of_two_within_a_step(age: int, half_life: int) -> None:
    exact = ONE * 2 ** -(age / half_life)
    assert exact - 1 <= formulas.weight(age, half_life) <= exact * 2 ** (1 / formulas.STEPS) + 1
    assert formulas.weight(age + 1, half_life) <= formulas.weight(age, half_life)


@given(days, st.integers(0, 500), st.randoms(use_true_random=False))
def test_trust_is_the_beta_mean_in_any_order(found: list[Any], as_of: int, chance: Any) -> None:
    good = sum(s * 2 ** -((as_of - day) / 30) for day, s, _ in found if day <= as_of)
    bad = sum(f * 2 ** -((as_of - day) / 30) for day, _, f in found if day <= as_of)
    trusted = formulas.trust(found, as_of=as_of)
    assert trusted == pytest.approx(MILLION * (1 + good) / (2 + good + bad), abs=2)
    chance.shuffle(found)
    assert formulas.trust(found, as_of=as_of) == trusted


def test_trust_knows_nothing_rises_falls_and_comes_back_to_the_middle() -> None:
    assert formulas.trust([], as_of=9) == 500_000
    assert formulas.trust([(9, 1, 0)], as_of=9) == 666_666
    assert formulas.trust([(9, 0, 1)], as_of=9) == 333_333
    assert formulas.trust([(10, 5, 0)], as_of=9) == 500_000, "what comes later does not count"
    assert formulas.trust([(0, 1_000, 0)], as_of=10_000) == 500_000


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**7)), max_size=8), st.randoms(use_true_random=False))
def test_a_hormones_level_is_a_sum_in_any_order(reached: list[Any], chance: Any) -> None:
    now = 5 * 10**7
    level = formulas.hormone_level(MILLION, reached, as_of=now, half_life_ms=10**7)
    exact = MILLION + sum(much * 2 ** -((now - at) / 10**7) for at, much in reached if at <= now)
    assert exact - 2 * len(reached) - 1 <= level <= exact * 2 ** (1 / formulas.STEPS) + 1
    chance.shuffle(reached)
    assert formulas.hormone_level(MILLION, reached, as_of=now, half_life_ms=10**7) == level


def test_a_cascade_weakens_by_trust_and_ends_after_three_hops() -> None:
    a, b, c, d, e = (bytes([at]) * 32 for at in range(5))
    half = 500_000
    chain = {a: {b: half}, b: {c: half, a: MILLION}, c: {d: half}, d: {e: MILLION}}
    assert formulas.cascade(chain, a, 8 * MILLION) == {
        a: (0, 8 * MILLION), b: (1, 4 * MILLION), c: (2, 2 * MILLION), d: (3, MILLION),
    }  # fmt: skip
    shorter = {a: {b: half, c: 100_000}, b: {c: half}}
    assert formulas.cascade(shorter, a, MILLION)[c] == (2, 250_000), "the stronger path counts"


@given(profiles, profiles)
def test_resonance_is_the_cosine(ours: dict[int, int], theirs: dict[int, int]) -> None:
    found = formulas.resonance(ours, theirs)
    norm = math.sqrt(sum(n * n for n in ours.values()) * sum(n * n for n in theirs.values()))
    dot = sum(n * theirs.get(at, 0) for at, n in ours.items())
    assert found == formulas.resonance(theirs, ours)
    assert found == pytest.approx(MILLION * dot / norm if norm else 0, abs=1.5)
    assert 0 <= found <= MILLION


@given(st.permutations(["the river rises", "at NIGHT", "by the old mill"]))
def test_a_profile_is_of_terms_whatever_their_order_or_case(texts: list[str]) -> None:
    once = formulas.profile(["The river RISES at night by the old mill"])
    assert formulas.profile(texts) == once
    assert formulas.resonance(once, formulas.profile(texts)) == MILLION
    assert formulas.resonance(once, formulas.profile(["stock prices fell"])) == 0


def test_coherence_is_weighed_by_trust() -> None:
    assert formulas.coherence([]) is None
    assert formulas.coherence([(0, MILLION)]) is None
    assert formulas.coherence([(900_000, MILLION), (100_000, 0)]) == 90 * MILLION
    assert formulas.field_coherence([]) is None
    assert formulas.field_coherence([(1, None)]) is None
    assert formulas.field_coherence([(1, 90 * MILLION), (1, None), (2, 30 * MILLION)]) == 50 * MILLION


@given(counts, counts)
def test_drift_is_the_jensen_shannon_distance(ours: dict[str, int], theirs: dict[str, int]) -> None:
    found = formulas.drift(ours, theirs)
    assert found == formulas.drift(dict(reversed(ours.items())), theirs) == formulas.drift(theirs, ours)
    mine, yours = sum(ours.values()), sum(theirs.values())
    if not mine or not yours:
        assert found == 0
        return
    p = {name: n / mine for name, n in ours.items() if n}
    q = {name: n / yours for name, n in theirs.items() if n}
    mean = {name: (p.get(name, 0) + q.get(name, 0)) / 2 for name in p | q}
    exact = sum(part[name] * math.log2(part[name] / mean[name]) / 2 for part in (p, q) for name in part)
    assert (found / MILLION) ** 2 == pytest.approx(max(0, exact), abs=3e-6)


def test_drift_of_the_same_is_none_and_of_strangers_whole() -> None:
    assert formulas.drift({"a": 3, "b": 6}, {"a": 1, "b": 2}) == 0
    assert formulas.drift({"a": 3}, {"b": 1}) == MILLION
    with pytest.raises(InvalidInput, match="below zero"):
        formulas.drift({"a": -1}, {"a": 1})
