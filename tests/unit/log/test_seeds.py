"""Seeds: what is destroyed is nowhere, what is not is unchanged; hostile shapes are refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.log.seeds import Seeds
from antiphon.model.errors import Corrupt
from antiphon.model.limits import BLOCK_LEAVES
from tests.second import reader

LOG, SEED, FIRST = b"L" * 32, b"S" * 32, 3 * BLOCK_LEAVES
WHOLE = Seeds(LOG, FIRST, SEED)
BLINDS, SALTS = WHOLE.span(FIRST, BLOCK_LEAVES)
offsets = st.sets(st.integers(0, BLOCK_LEAVES - 1), max_size=60)


def values(packed: bytes) -> tuple[list[bytes | None], list[bytes | None]]:
    return Seeds(LOG, FIRST, packed).span(FIRST, BLOCK_LEAVES)


def test_every_leaf_has_values_of_its_own() -> None:
    assert len({*BLINDS, *SALTS}) == 2 * BLOCK_LEAVES
    assert reader.blinds_and_salts(SEED, LOG, FIRST) == (BLINDS, SALTS)
    others = [Seeds(b"M" * 32, FIRST, SEED), Seeds(LOG, 0, SEED), Seeds(LOG, FIRST, b"T" * 32)]
    for other in others:
        assert other.span(other.first, 1)[0][0] not in BLINDS
    assert WHOLE.packed() == SEED


@given(offsets, offsets)
def test_destroying_in_any_steps(first: set[int], second: set[int]) -> None:
    seeds = Seeds(LOG, FIRST, SEED)
    for part in (first, second):
        seeds.destroy(FIRST + at for at in part)
        seeds = Seeds(LOG, FIRST, seeds.packed())
    gone = first | second
    packed = seeds.packed()
    blinds, salts = values(packed)
    for at in range(BLOCK_LEAVES):
        assert (blinds[at], salts[at]) == ((None, None) if at in gone else (BLINDS[at], SALTS[at]))
    if gone:
        nodes = reader.expand(b"child", LOG, FIRST, SEED, 32, 32)
        assert SEED not in packed
        for at in gone:
            assert BLINDS[at] not in packed
            assert SALTS[at] not in packed
            assert nodes[at // 32] not in packed
        assert len(packed) < 64 * 1_024
    assert reader.blinds_and_salts(packed, LOG, FIRST) == (blinds, salts)


def test_forgetting_one_costs_about_two_kilobytes() -> None:
    seeds = Seeds(LOG, FIRST, SEED)
    seeds.destroy([FIRST + 5])
    assert 2_000 < len(seeds.packed()) < 2_400


def test_forgetting_nothing_changes_nothing() -> None:
    seeds = Seeds(LOG, FIRST, SEED)
    seeds.destroy([])
    assert seeds.packed() == SEED


@given(st.integers(0, BLOCK_LEAVES), offsets)
def test_what_others_are_given_ends_with_the_leaves_that_are_there(count: int, gone: set[int]) -> None:
    seeds = Seeds(LOG, FIRST, SEED)
    seeds.destroy(FIRST + at for at in gone if at < count)
    given = seeds.shared(count)
    blinds, salts = values(given)
    mine = seeds.span(FIRST, BLOCK_LEAVES)
    assert blinds[:count] == mine[0][:count]
    assert salts[:count] == mine[1][:count]
    assert blinds[count:] == salts[count:] == [None] * (BLOCK_LEAVES - count)
    assert all(value not in given for value in BLINDS[count : count + 40])
    if count < BLOCK_LEAVES:
        assert SEED not in given


@given(st.integers(0, BLOCK_LEAVES), st.integers(0, BLOCK_LEAVES), offsets, offsets)
def test_joining_keeps_ours_and_takes_the_rest(
    held: int, more: int, ours_gone: set[int], theirs_gone: set[int]
) -> None:
    count = min(BLOCK_LEAVES, held + more)
    ours, theirs = Seeds(LOG, FIRST, SEED), Seeds(LOG, FIRST, SEED)
    ours.destroy(FIRST + at for at in ours_gone if at < held)
    theirs.destroy(FIRST + at for at in theirs_gone if at < count)
    mine = Seeds(LOG, FIRST, ours.shared(held))
    blinds, salts = values(mine.joined(Seeds(LOG, FIRST, theirs.shared(count)), held))
    for at in range(count):
        gone = at in (ours_gone if at < held else theirs_gone)
        assert (blinds[at], salts[at]) == ((None, None) if gone else (BLINDS[at], SALTS[at]))


def pack(nodes: object) -> bytes:
    return msgspec.msgpack.encode(nodes)


PAIR = [[None] * 32, [None] * 32]


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc0",
        bytes(31),
        pack([]),
        pack([SEED] * 31),
        pack([SEED] * 33),
        pack([SEED[:31]] * 32),
        pack([SEED] * 31 + [[[None] * 31, [None] * 32]]),
        pack([SEED] * 31 + [[[None] * 32]]),
        pack([SEED] * 31 + [[*PAIR, []]]),
        pack([SEED] * 31 + [[[b"x" * 15] + [None] * 31, [None] * 32]]),
        pack([SEED] * 31 + [[[None] * 32, [b"x" * 17] + [None] * 31]]),
        pack([SEED] * 31 + [7]),
        b"\xdc\x00\x20" + b"\x91" * 32,
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_seeds_of_another_shape_are_refused(packed: bytes) -> None:
    """A salt that is a byte longer, with a body a byte shorter, would open the same leaf: widths are checked."""
    with pytest.raises(Corrupt):
        Seeds(LOG, FIRST, packed)


def test_a_block_starts_at_its_place() -> None:
    with pytest.raises(ValueError, match="multiple"):
        Seeds(LOG, 5, SEED)
