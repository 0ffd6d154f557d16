"""The benchmark of reads through the whole path runs at a tiny size, and its figures can be true."""

from __future__ import annotations

import pytest

from bench.figures import Size
from bench.reads import SHOWN, _zipf, mixed
from servers import Postgres
from tests.contracts.engines import OWN_BOTH

pytestmark = [*OWN_BOTH]


def test_each_place_has_a_rate_and_the_times_of_what_it_answered() -> None:
    with Postgres() as store:
        found = {one.name.split(": ", 1)[1]: one for one in mixed(store, Size(rounds=1, scale=0.1))}
    rates = {name: found[f"hit rate of {shown}"] for name, shown in SHOWN.items()}
    assert all(0 <= (one.value or 0) <= 1 for one in rates.values())
    asked = {name: one.runs["asked"] for name, one in rates.items()}
    assert 2_000 == asked["process"] > asked["file"] > asked["cache"] > asked["store"] > 0
    assert all(one.runs["failures"] == 0 for one in rates.values())
    assert rates["store"].value == 1
    assert (rates["cache"].met is not None, rates["file"].met) == (True, None)
    assert (found["one from Valkey, median"].value or 0) <= (found["one from Valkey, p99"].value or 0)
    assert (found["one from the process, median"].value or 1) < (found["one from PostgreSQL, median"].value or 0)


@pytest.mark.parametrize("count", [10, 200])
def test_the_most_popular_are_read_as_often_as_the_law_says(count: int) -> None:
    keys = [str(n) for n in range(count)]
    picks = _zipf(keys, 20_000)
    often = sorted((picks.count(key) for key in keys), reverse=True)
    total = sum(1 / n for n in range(1, count + 1))
    assert often[0] == pytest.approx(20_000 / total, rel=0.1)
    assert often[1] == pytest.approx(often[0] / 2, rel=0.15)
    assert picks == _zipf(keys, 20_000)
