"""Ranges of seqs as sets, and holds as they are kept."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.log.read import Ranges, covers
from antiphon.replica.holds import Hold, HoldStore, common, joined, without

spans = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 9)).map(lambda one: (one[0], one[0] + one[1])), max_size=8
)


def seqs(ranges: Ranges) -> set[int]:
    return {seq for first, last in ranges for seq in range(first, last)}


def tidy(ranges: Ranges) -> bool:
    return all(first < last for first, last in ranges) and all(a[1] <= b[0] for a, b in zip(ranges, ranges[1:]))  # noqa: B905, RUF007


@given(spans, spans)
def test_ranges_are_sets(one: Ranges, other: Ranges) -> None:
    left, right = joined(one), joined(other)
    assert seqs(left) == seqs(one)
    assert seqs(common(left, right)) == seqs(one) & seqs(other)
    assert seqs(without(left, right)) == seqs(one) - seqs(other)
    assert all(map(tidy, (left, common(left, right), without(left, right))))
    assert {seq for seq in range(60) if covers(left, seq)} == seqs(one)


def test_what_was_rolled_back_hides_nothing(tmp_path: Path) -> None:
    file = SqliteFile(tmp_path / "f", bytes(32), create=True)
    store, other = HoldStore(file), HoldStore(file)
    with contextlib.suppress(RuntimeError), file.transaction():
        store.put((1, "", 5), Hold(0, [(1, 3)]))
        assert store.hidden() == {1: [(1, 3)]}
        raise RuntimeError
    store.forget_caches()
    assert store.hidden() == {}
    with file.transaction():
        store.put((1, "", 5), Hold(0, [(1, 3)]))
        store.put((1, "", 6), Hold(0, [(2, 4)]))
        store.put((1, "", 7), Hold(0, [(8, 9)], void=True))
        store.put((2, "forget-asked", 1), Hold(0, [(0, 1)]))
    for one in (store, other):
        assert one.hidden() == {1: [(1, 4)]}
        assert set(one.standing()) == {(1, "", 5), (1, "", 6), (2, "forget-asked", 1)}
    with file.transaction():
        other.drop((1, "", 5))
    assert store.hidden() == {1: [(2, 4)]}
    file.close()
