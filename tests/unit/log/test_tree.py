"""The tree against RFC 6962 written out naively: roots, frontiers, proofs of every size, and wrong proofs."""

from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.log.tree import (
    EMPTY_ROOT,
    Frontier,
    check_consistency,
    consistency_path,
    inclusion_path,
    root_from_inclusion,
    root_of,
)
from antiphon.model.errors import ProtocolViolation

SIZE_MAX = 70
LEAVES = [sha256(b"\0%d" % n).digest() for n in range(5_000)]


@cache
def naive(first: int, last: int) -> bytes:
    """MTH of RFC 6962, section 2.1."""
    if first == last:
        return sha256(b"").digest()
    if last - first == 1:
        return LEAVES[first]
    k = 1
    while k * 2 < last - first:
        k *= 2
    return sha256(b"\1" + naive(first, first + k) + naive(first + k, last)).digest()


def naive_path(m: int, first: int, last: int) -> list[bytes]:
    """PATH of section 2.1.1."""
    if last - first == 1:
        return []
    k = 1
    while k * 2 < last - first:
        k *= 2
    if m < k:
        return [*naive_path(m, first, first + k), naive(first + k, last)]
    return [*naive_path(m - k, first + k, last), naive(first, first + k)]


def naive_proof(m: int, first: int, last: int, whole: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    n = last - first
    if m == n:
        return [] if whole else [naive(first, last)]
    k = 1
    while k * 2 < n:
        k *= 2
    if m <= k:
        return [*naive_proof(m, first, first + k, whole), naive(first + k, last)]
    return [*naive_proof(m - k, first + k, last, False), naive(first, first + k)]


def test_roots_of_every_size() -> None:
    assert EMPTY_ROOT == naive(0, 0) == root_of([])
    for size in range(SIZE_MAX + 1):
        assert root_of(LEAVES[:size]) == naive(0, size)


@pytest.mark.parametrize("size", [1_023, 1_024, 1_025, 2_047, 4_097])
def test_roots_of_large_trees(size: int) -> None:
    assert root_of(LEAVES[:size]) == naive(0, size)


def test_inclusion_of_every_leaf_in_every_tree() -> None:
    for size in range(1, SIZE_MAX + 1):
        for index in range(size):
            path = inclusion_path(index, size, naive)
            assert path == naive_path(index, 0, size)
            assert root_from_inclusion(LEAVES[index], index, size, path) == naive(0, size)


def test_consistency_of_every_pair() -> None:
    for new in range(1, SIZE_MAX + 1):
        for old in range(1, new + 1):
            path = consistency_path(old, new, naive)
            assert path == naive_proof(old, 0, new)
            assert holds(old, new, path)


def holds(old: int, new: int, path: list[bytes], old_root: bytes | None = None, new_root: bytes | None = None) -> bool:
    return check_consistency(
        old=old, old_root=old_root or naive(0, old), new=new, new_root=new_root or naive(0, new), path=path
    )


@given(st.integers(1, 5_000), st.data())
def test_large_inclusion_and_consistency(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, naive)
    assert path == naive_path(index, 0, size)
    assert root_from_inclusion(LEAVES[index], index, size, path) == naive(0, size)
    assert consistency_path(index + 1, size, naive) == naive_proof(index + 1, 0, size)
    assert holds(index + 1, size, consistency_path(index + 1, size, naive))


@given(st.integers(2, SIZE_MAX), st.data())
def test_wrong_inclusion_proofs_lead_elsewhere(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, naive)
    root = naive(0, size)
    assert not leads(LEAVES[size], index, size, path, root)
    assert not leads(LEAVES[index], index, size, path[:-1], root)
    assert not leads(LEAVES[index], index, size, [*path, path[-1]], root)
    assert not leads(LEAVES[index], index, size, [bytes(32), *path[1:]], root)
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index))
    assert not leads(LEAVES[index], other, size, path, root)
    for outside in (-1, size, size + 1):
        assert not leads(LEAVES[index], outside, size, path, root)


def leads(leaf: bytes, index: int, size: int, path: list[bytes], root: bytes) -> bool:
    try:
        return root_from_inclusion(leaf, index, size, path) == root
    except ProtocolViolation:
        return False


def test_a_path_needs_exactly_its_length() -> None:
    path = inclusion_path(3, 8, naive)
    for wrong in (path[:-1], [*path, bytes(32)], []):
        with pytest.raises(ProtocolViolation, match="too"):
            root_from_inclusion(LEAVES[3], 3, 8, wrong)
    with pytest.raises(ProtocolViolation, match="too long"):
        root_from_inclusion(LEAVES[0], 0, 1, [bytes(32)])


def test_wrong_consistency_proofs_do_not_hold() -> None:
    for new in range(2, 34):
        for old in range(1, new):
            path = consistency_path(old, new, naive)
            assert not holds(old, new, path, old_root=bytes(32))
            assert not holds(old, new, path, new_root=bytes(32))
            assert not holds(old, new, path[:-1])
            assert not holds(old, new, [*path, bytes(32)])
            for at in range(len(path)):
                assert not holds(old, new, [*path[:at], bytes(32), *path[at + 1 :]])


def test_consistency_at_the_edges() -> None:
    assert holds(0, 0, [])
    assert holds(0, 5, [])
    assert holds(5, 5, [])
    assert not holds(0, 5, [bytes(32)])
    assert not holds(5, 5, [bytes(32)])
    assert not holds(0, 5, [], old_root=bytes(32))
    assert not check_consistency(old=5, old_root=naive(0, 5), new=5, new_root=naive(0, 6), path=[])
    assert not check_consistency(old=6, old_root=naive(0, 6), new=5, new_root=naive(0, 5), path=[])
    assert not check_consistency(old=3, old_root=naive(0, 3), new=5, new_root=naive(0, 5), path=[])
    for old, new in ((0, 1), (2, 1), (-1, 1)):
        with pytest.raises(ProtocolViolation):
            consistency_path(old, new, naive)


@given(st.lists(st.integers(0, 700), max_size=8), st.integers(-1, 10))
def test_a_frontier_grows_the_same_in_any_steps(steps: list[int], level: int) -> None:
    grown, at, kept = Frontier(), 0, []
    for wanted in steps:
        step = min(wanted, len(LEAVES) - at)
        kept += grown.extend(LEAVES[at : at + step], keep_level=level)
        at += step
        grown = Frontier(grown.size, grown.packed())
    assert (grown.size, grown.root()) == (at, naive(0, at))
    assert len(grown.packed()) == 32 * at.bit_count()
    if level >= 0:
        span = 1 << level
        assert kept == [naive(first, first + span) for first in range(0, at - at % span, span)]


def test_a_copy_of_a_frontier_is_independent() -> None:
    one = Frontier()
    one.extend(LEAVES[:5], keep_level=-1)
    two = one.copy()
    two.extend(LEAVES[5:9], keep_level=-1)
    assert (one.root(), two.root()) == (naive(0, 5), naive(0, 9))


@pytest.mark.parametrize(("size", "packed"), [(0, b"x"), (1, b""), (3, bytes(32)), (3, bytes(96)), (1, bytes(31))])
def test_a_frontier_that_does_not_fit_its_size(size: int, packed: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        Frontier(size, packed)
