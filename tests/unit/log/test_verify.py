"""Full verification finds one flipped bit anywhere, a rollback, and what is gone without anybody saying so."""

from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.identity.signing import SigningKey
from antiphon.log import checkpoint, kinds
from antiphon.log.ingest import Part
from antiphon.log.leaf import body_hash
from antiphon.log.tree import Frontier
from antiphon.log.verify import verify_log
from antiphon.model.errors import Corrupt
from antiphon.model.event import Draft, State, encode_body
from antiphon.model.limits import BLOCK_LEAVES, BODY_BYTES_MAX
from antiphon.model.note import Checkpoint
from tests.unit.log.written import Store, Written, structural_copy


@pytest.fixture(scope="module")
def big(store: Store) -> Written:
    """Two full blocks and a tail, with something erased in the first and in the last."""
    log = store.new_log()
    log.say(700, occurred=5)
    log.say(1_500)
    log.erase([3, 4, 700, 2_100])
    log.pack()
    log.say(7)
    assert log.verify().ok
    return log


def damaged(log: Written, first: int, change: Callable[[Part], None]) -> Callable[[int], Part]:
    def load(at: int) -> Part:
        part = structural_copy(log.load(at))
        if at == first:
            change(part)
        return part

    return load


def flip(raw: bytes, bit: int) -> bytes:
    bit %= 8 * len(raw)
    return raw[: bit // 8] + bytes([raw[bit // 8] ^ 1 << bit % 8]) + raw[bit // 8 + 1 :]


@settings(max_examples=60)
@given(st.integers(0, 2_200), st.sampled_from(["header", "body", "hash", "seeds", "state"]), st.integers(0, 100_000))
def test_one_flipped_bit_is_found_in_its_block(big: Written, seq: int, where: str, bit: int) -> None:
    first = seq - seq % BLOCK_LEAVES
    at = seq - first

    def change(part: Part) -> None:
        leaves = part.leaves
        gone = leaves.headers[at] is None
        if where == "seeds":
            part.seeds = flip(part.seeds, bit)
        elif where == "state":
            leaves.states = leaves.states or bytearray(len(leaves.headers))
            leaves.states[at] = 0 if gone else State.ERASED
        elif gone:
            leaves.hashes[at] = flip(leaves.hashes[at], bit)
        elif where == "header":
            leaves.headers[at] = flip(leaves.headers[at], bit)
        else:
            leaves.bodies[at] = flip(leaves.bodies[at], bit)

    verdict = big.verify(load=damaged(big, first, change))
    if where == "seeds" and verdict.ok:  # a bit of what no held leaf needs: an unwritten leaf's values, or a nil's
        before, after = big.load(first), damaged(big, first, change)(first)
        assert before.seeds != after.seeds
        assert first == 2 * BLOCK_LEAVES
        return
    assert not verdict.ok
    assert verdict.first_bad is not None
    low, high = verdict.first_bad
    assert low <= seq < high


def test_every_bit_of_a_small_log_counts(store: Store) -> None:
    log = store.new_log()
    log.say(2)
    part = log.load(0)
    for at in range(2):
        for name in ("headers", "bodies"):
            raw = getattr(part.leaves, name)[at]
            for bit in range(8 * len(raw)):

                def change(part: Part, name: str = name, at: int = at, bit: int = bit) -> None:
                    values = getattr(part.leaves, name)
                    values[at] = flip(values[at], bit)

                assert not log.verify(load=damaged(log, 0, change)).ok
    for bit in range(256):

        def spoil(part: Part, bit: int = bit) -> None:
            part.seeds = flip(part.seeds, bit)

        assert not log.verify(load=damaged(log, 0, spoil)).ok


@pytest.mark.parametrize("what", ["drop", "add", "swap"])
def test_leaves_missing_added_or_swapped(big: Written, what: str) -> None:
    def change(part: Part) -> None:
        for values in (part.leaves.headers, part.leaves.bodies):
            if what == "drop":
                del values[-1]
            elif what == "add":
                values.append(values[-1])
            else:
                values[10], values[11] = values[11], values[10]

    verdict = big.verify(load=damaged(big, 1_024, change))
    assert not verdict.ok
    assert verdict.first_bad == (1_024, 2_048)


def test_a_block_that_cannot_be_read_is_the_bad_one(big: Written) -> None:
    def load(first: int) -> Part:
        if first == 1_024:
            raise Corrupt("torn")
        return big.load(first)

    verdict = big.verify(load=load)
    assert (verdict.ok, verdict.first_bad, verdict.reason) == (False, (1_024, 2_048), "torn")


def test_a_stored_root_that_differs_is_found(big: Written) -> None:
    roots = {**big.roots(), 0: bytes(32)}
    verdict = verify_log(big.head, big.load, block_roots=roots)
    assert verdict.first_bad == (0, 1_024)


def changed(log: Written, **changes: object) -> tuple[bool, str]:
    verdict = verify_log(msgspec.structs.replace(log.head, **changes), log.load, block_roots=log.roots())
    return verdict.ok, verdict.reason


def test_the_head_has_to_fit(big: Written) -> None:
    head = big.head
    assert changed(big) == (True, "")
    assert changed(big, note=b"") == (False, "the log has no checkpoint")
    assert not changed(big, note=flip(head.note, 1_000))[0]
    assert "another one's" in changed(big, frontier=flip(head.frontier, 9))[1]
    assert "does not follow" in changed(big, owner=bytes(32))[1]
    assert not changed(big, id=bytes(32))[0]
    assert "does not follow" in changed(big, key=SigningKey(bytes(32)).public)[1]
    assert not changed(big, size=head.size - 1, frontier=b"")[0]
    lying = checkpoint.sign(Checkpoint(head.id, head.size, bytes(32)), big.key)
    assert "do not add up" in changed(big, note=lying)[1]
    short = checkpoint.sign(Checkpoint(head.id, head.size - 1, Frontier(head.size, head.frontier).root()), big.key)
    assert "do not add up" in changed(big, note=short)[1]


def test_an_empty_log_is_well(store: Store) -> None:
    verdict = store.new_log().verify()
    assert verdict.ok
    assert verdict.root == Frontier().root()


# -- since -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 1_023, 1_024, 1_025, 2_048, 2_050])
def test_a_checkpoint_seen_before_still_fits(big: Written, size: int) -> None:
    frontier = Frontier()
    frontier.extend(big.hashes()[:size], keep_level=-1)
    assert big.verify(since=Checkpoint(big.head.id, size, frontier.root())).ok
    rewritten = big.verify(since=Checkpoint(big.head.id, size, bytes(32)))
    assert not rewritten.ok
    assert "rewritten" in rewritten.reason


def test_a_rollback_is_found(big: Written) -> None:
    verdict = big.verify(since=Checkpoint(big.head.id, big.head.size + 1, bytes(32)))
    assert not verdict.ok
    assert "shorter" in verdict.reason
    assert verdict.first_bad == (big.head.size, big.head.size + 1)


# -- who said that it is gone ------------------------------------------------------------------------------------------


def test_gone_without_a_word_is_found(store: Store) -> None:
    log = store.new_log()
    log.say(10)
    log.erase([4, 5])
    log.erase([7], silently=True)
    verdict = log.verify()
    assert (verdict.ok, verdict.first_bad) == (False, (7, 8))
    assert "no event of the log erases it" in verdict.reason


@pytest.mark.parametrize("state", [State.ERASED, State.PRUNED, State.HIDDEN])
def test_a_hash_alone_proves_nothing_whatever_it_is_called(store: Store, state: State) -> None:
    log = store.new_log()
    log.say(3)
    leaf = log.hashes()[1]
    verdict = log.verify(load=damaged(log, 0, lambda part: part.leaves.forget(1, leaf, state)))
    assert (verdict.ok, verdict.first_bad) == (False, (1, 2))


def test_a_withheld_leaf_proves_itself(store: Store) -> None:
    log = store.new_log()
    log.say(3)
    _, salt = log.reader.loaded(log.head, 1).seeds.of(1)

    def withhold(part: Part) -> None:
        part.leaves.states = bytearray([0, State.WITHHELD, 0])
        part.leaves.hashes[1] = body_hash(salt, part.leaves.bodies[1])
        part.leaves.bodies[1] = None

    verdict = log.verify(load=damaged(log, 0, withhold))
    assert verdict.ok
    assert (verdict.held, verdict.gone) == (2, 0)


@pytest.mark.parametrize(
    ("ranges", "ok"),
    [
        ([(4, 6)], True),
        ([(0, 10)], True),
        ([(5, 6), (4, 5)], True),
        ([(4, 5)], False),
        ([(5, 6)], False),
        ([(4, 4)], False),
        ([(6, 4)], False),
        ([(0, 4), (6, 9)], False),
    ],
)
def test_what_was_erased_must_be_covered(store: Store, ranges: list[tuple[int, int]], ok: bool) -> None:
    log = store.new_log()
    log.say(10)
    log.append([Draft(kinds.ERASED, encode_body(kinds.Erased(ranges, "asked")))])
    log.erase([4, 5], silently=True)
    assert log.verify().ok is ok


def test_another_logs_erasing_event_covers_nothing_unless_the_principal_says_so(store: Store) -> None:
    log = store.new_log()
    log.say(10)
    log.append(kinds.erased([4], "asked", log=bytes(32)))
    log.erase([4], silently=True)
    assert not log.verify().ok
    spoken = verify_log(log.head, log.load, block_roots=log.roots(), erased_by_principal=[(4, 5)])
    assert spoken.ok


def test_an_erasing_event_that_cannot_be_read(store: Store) -> None:
    log = store.new_log()
    log.append([Draft(kinds.ERASED, b"\x91" * 2_000)])
    verdict = log.verify()
    assert not verdict.ok
    assert "cannot be read" in verdict.reason


def test_stamps_that_go_back_are_found(store: Store) -> None:
    log = store.new_log()
    log.say(2)
    log.head.hlc = 5
    log.now_ms = 1
    log.say(1)
    verdict = log.verify()
    assert not verdict.ok
    assert "before the one it follows" in verdict.reason


def test_a_body_over_its_limit_is_found(store: Store) -> None:
    log = store.new_log()
    log.append([Draft("example.said", bytes(BODY_BYTES_MAX + 1))])
    assert "BODY_BYTES_MAX" in log.verify().reason
    log = store.new_log()
    log.append([Draft("example.said", bytes(BODY_BYTES_MAX))])
    assert log.verify().ok


@pytest.mark.parametrize("seqs", [[], [3], [1, 2, 3], [1, 3, 5, 6], list(range(100))])
def test_ranges(seqs: list[int]) -> None:
    ranges = kinds.ranges_of(seqs)
    assert [seq for first, last in ranges for seq in range(first, last)] == seqs
    assert all(a[1] < b[0] for a, b in pairwise(ranges))


def test_many_ranges_take_several_events() -> None:
    drafts = kinds.erased(list(range(0, 4 * kinds.RANGES_PER_EVENT_MAX, 2)), "asked")
    assert len(drafts) == 2
    assert all(len(draft.body) <= BODY_BYTES_MAX for draft in drafts)
