"""Runs, columns and frames: any leaves come back as they were; bytes of another shape are refused."""

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from antiphon.log import block as blocks
from antiphon.log.block import Leaves
from antiphon.log.frames import cut_frames, pack_frames, unpack_frame
from antiphon.model.errors import Corrupt
from antiphon.model.event import Header, State, encode_header
from antiphon.model.limits import BLOCK_LEAVES, FRAME_BODY_BYTES
from antiphon.model.text import EntityIds
from tests.unit.model.test_event import headers

LOG = b"L" * 32
IDS = EntityIds(LOG)
FIRST = 5 * BLOCK_LEAVES


@st.composite
def mixed_leaves(draw: st.DrawFn) -> Leaves:
    found = Leaves(FIRST, [], [])
    states = []
    for at in range(draw(st.integers(1, 20))):
        state = draw(st.sampled_from([0, 0, 0, 0, *State]))
        states.append(state)
        header = draw(headers())
        if draw(st.booleans()):
            header = msgspec.structs.replace(header, entity=IDS.of(header.hlc, FIRST + at))
        found.headers.append(encode_header(header) if state <= State.WITHHELD else None)
        found.bodies.append(draw(st.binary(max_size=40)) if state == State.WHOLE else None)
        if state != State.WHOLE:
            found.hashes[at] = draw(st.binary(min_size=32, max_size=32))
    if any(states) or draw(st.booleans()):
        found.states = bytearray(states)
    return found


def repacked(leaves: Leaves) -> Leaves:
    cuts = cut_frames(leaves.bodies)
    columns = blocks.unpack_columns(blocks.pack_columns(leaves, ids=IDS, frames=cuts))
    bodies: list[bytes | None] = []
    for cut, packed in zip(cuts, pack_frames(leaves.bodies, cuts), strict=True):
        frame = unpack_frame(packed, cut)
        bodies += [frame.body(at) for at in range(cut)]
        with pytest.raises(Corrupt):
            unpack_frame(packed, cut + 1)
    again = blocks.headers_of(columns, first=FIRST, ids=IDS)
    one_by_one = [blocks.header_at(columns, at, first=FIRST, ids=IDS) for at in range(columns.count)]
    assert one_by_one == again
    states = None if columns.states is None else bytearray(columns.states)
    return Leaves(FIRST, blocks.encode_headers(again), bodies, states, dict(columns.hashes or {}))


@given(mixed_leaves())
def test_a_block_comes_back_as_it_was(leaves: Leaves) -> None:
    assert repacked(leaves) == leaves


@given(mixed_leaves())
def test_a_run_comes_back_as_it_was(leaves: Leaves) -> None:
    data = blocks.pack_run(leaves)
    assert blocks.unpack_run(FIRST, len(leaves.headers), data) == leaves
    for wrong in (len(leaves.headers) + 1, len(leaves.headers) - 1, 0):
        with pytest.raises(Corrupt):
            blocks.unpack_run(FIRST, wrong, data)


@given(mixed_leaves(), mixed_leaves())
def test_runs_join(one: Leaves, two: Leaves) -> None:
    base = len(one.headers)
    wanted = [*one.headers, *two.headers], [*one.bodies, *two.bodies]
    states = [one.state(at) for at in range(base)] + [two.state(at) for at in range(len(two.headers))]
    hashes = {**one.hashes, **{base + at: value for at, value in two.hashes.items()}}
    one.extend(two)
    assert (one.headers, one.bodies) == wanted
    assert [one.state(at) for at in range(len(one.headers))] == states
    assert one.hashes == hashes


def full_block(size: int = 300) -> Leaves:
    found = Leaves(FIRST, [], [])
    for at in range(BLOCK_LEAVES):
        hlc = (1_700_000_000_000 + 250 * at << 16) - (10**12 if at > 500 else 0)  # a clock reset in the middle
        occurred = 1_600_000_000_000 + 60_000 * at if at % 3 else None
        head = Header(1, hlc, occurred, "example.said", 1, IDS.of(hlc, FIRST + at), None, 0, None, None)
        found.headers.append(encode_header(head))
        found.bodies.append(b"%d " % at * size)
    return found


def test_a_full_block_with_many_frames_comes_back() -> None:
    leaves = full_block()
    cuts = cut_frames(leaves.bodies)
    assert len(cuts) > 10
    assert sum(cuts) == BLOCK_LEAVES
    assert repacked(leaves) == leaves
    columns = blocks.pack_columns(leaves, ids=IDS, frames=cuts)
    assert len(columns) < sum(map(len, leaves.headers)) / 20


@given(st.lists(st.none() | st.binary(max_size=9_000), max_size=40))
def test_frames_hold_every_leaf_once_and_are_equally_full(bodies: list[bytes | None]) -> None:
    cuts = cut_frames(bodies)
    assert sum(cuts) == len(bodies)
    assert all(cut > 0 for cut in cuts)
    total = sum(len(body or b"") for body in bodies)
    assert total == 0 or len(cuts) <= total // FRAME_BODY_BYTES + 2


LIKE = [msgspec.msgpack.encode({"text": f"note {n}", "user": None}) for n in range(20)]
BODIES = st.one_of(st.none(), st.sampled_from(LIKE), st.binary(max_size=30), st.sampled_from([b"\xc0", b"", b"\xc1"]))


@given(st.lists(BODIES, min_size=1, max_size=12))
def test_bodies_of_any_kind_come_back(bodies: list[bytes | None]) -> None:
    frame = unpack_frame(pack_frames(bodies, [len(bodies)])[0], len(bodies))
    assert [frame.body(at) for at in range(len(bodies))] == bodies


@given(st.lists(st.integers(-(1 << 63) + 1, (1 << 63) - 1), max_size=20))
def test_integers_come_back_in_the_least_width(values: list[int]) -> None:
    packed = blocks.pack_ints(values)
    assert list(blocks.unpack_ints(packed)) == values
    assert len(packed) == 1 + packed[0] * len(values)
    assert packed[0] == 1 or max(map(abs, values)) >= 1 << 4 * packed[0] - 1


@given(mixed_leaves(), st.data())
def test_damaged_runs_are_refused_or_of_their_count(leaves: Leaves, data: st.DataObject) -> None:
    raw = bytearray(blocks.pack_run(leaves))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    count = len(leaves.headers)
    try:
        found = blocks.unpack_run(FIRST, count, bytes(raw))
    except Corrupt:
        return
    assert len(found.headers) == len(found.bodies) == count
    assert all(0 <= found.state(at) <= max(State) for at in range(count))


@given(mixed_leaves(), st.data())
def test_damaged_columns_are_refused_or_can_be_read(leaves: Leaves, data: st.DataObject) -> None:
    """Whatever they say then, the hashes will not fit; what must not happen is another exception."""
    packed = blocks.pack_columns(leaves, ids=IDS, frames=cut_frames(leaves.bodies))
    raw = bytearray(zstandard.ZstdDecompressor().decompress(packed[1:]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        columns = blocks.unpack_columns(b"\0" + bytes(raw))
        found = blocks.encode_headers(blocks.headers_of(columns, first=FIRST, ids=IDS))
    except Corrupt:
        return
    assert len(found) == columns.count


@given(st.binary(max_size=100), st.integers(0, 5))
def test_any_bytes_are_refused_as_a_frame(raw: bytes, count: int) -> None:
    try:
        frame = unpack_frame(b"\0" + raw, count)
    except Corrupt:
        return
    assert all(isinstance(frame.body(at), bytes | None) for at in range(count))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x02abc",
        b"\x01",
        b"\x01not zstd",
        b"\0" + b"\x91" * 10_000,
        b"\0\x94\x90\x90\xc0\x80\xc1",
        b"\0\xdd\xff\xff\xff\xff",
        b"\x01" + zstandard.ZstdCompressor().compress(b"\x94\x90\x90\xc0\x80") + b"more",
        b"\x01" + zstandard.ZstdCompressor().compress(b"\x94\x90\x90\xc0\x80")[:-1],
    ],
)
def test_hostile_runs_are_refused(raw: bytes) -> None:
    with pytest.raises(Corrupt):
        blocks.unpack_run(0, 1, raw)


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = b"\x01" + zstandard.ZstdCompressor(level=19).compress(bytes(50_000_000))
    assert len(bomb) < 10_000
    with pytest.raises(Corrupt, match="larger than any can be"):
        blocks.unpack_run(0, 3, bomb)
    claims = bytearray(zstandard.ZstdCompressor().compress(b"x" * 70_000))
    assert zstandard.frame_content_size(bytes(claims)) == 70_000
    claims[5:9] = b"\xff\xff\xff\x7f"
    with pytest.raises(Corrupt):
        blocks.unpack_run(0, 1, b"\x01" + bytes(claims))


@pytest.mark.parametrize("states", [b"", b"\0\0", b"\x05", b"\xff"])
def test_states_that_are_not_the_leaves(states: bytes) -> None:
    with pytest.raises(Corrupt, match="states"):
        blocks.unpack_run(0, 1, b"\0" + msgspec.msgpack.encode([[None], [None], states, {}]))
