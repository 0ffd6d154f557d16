"""A log on a real store: appended in any steps, packed at any time, any of it erased; the root never changes."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.log import checkpoint, rewrite
from antiphon.log.read import stamp_of
from antiphon.model import hlc, limits
from antiphon.model.errors import LimitExceeded, NotFound
from antiphon.model.event import NEW, Draft, State, encode_body, encode_header
from antiphon.model.limits import BLOCK_LEAVES
from tests.second import reader as second
from tests.unit.log.test_tree import LEAVES
from tests.unit.log.written import NOW, Store, Written


def root(leaves: list[bytes]) -> bytes:
    return second.root(leaves)


def test_every_commit_signs_the_root_of_everything_so_far(log: Written) -> None:
    for count in (1, 2, 30, 31, 1, 1_000):
        log.say(count)
        signed = checkpoint.verify(log.head.note, log.key.public, log_id=log.head.id)
        assert (signed.size, signed.root) == (log.head.size, root(log.hashes()))
    assert log.verify().ok


def test_leaves_are_those_of_the_protocol(log: Written) -> None:
    log.say(3, entity=NEW, occurred=-5)
    block = log.load(0)
    blinds, salts = second.blinds_and_salts(block.seeds, log.head.id, 0)
    for seq, leaf in enumerate(log.hashes()):
        event, blind, salt = log.reader.opening(log.head, seq)
        assert (blind, salt) == (blinds[seq], salts[seq])
        raw = encode_header(event.header)
        inner = sha256(b"\2" + salt + event.body).digest()
        assert leaf == sha256(b"\0" + blind + raw + inner).digest() == log.reader.leaf(log.head, seq)
        assert event.entity == second.entity_id(log.head.id, event.header.hlc, seq)


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=6),
    st.sets(st.integers(0, 1_500), max_size=30),
    st.lists(st.sampled_from(["pack", "erase", "say"]), min_size=2, max_size=5),
)
def test_packing_and_erasing_leave_every_root(
    store: Store, sizes: list[int], chosen: set[int], steps: list[str]
) -> None:
    log = store.new_log()
    for count in sizes:
        log.say(count, entity=NEW)
    leaves = log.hashes()
    gone: set[int] = set()
    parts = [sorted(chosen)[::2], sorted(chosen)[1::2]]
    for step in steps:
        if step == "pack":
            log.pack()
        elif step == "say":
            log.say(3)
        elif parts:
            wanted = [seq for seq in parts.pop() if seq < sum(sizes)]
            if wanted:
                log.erase(wanted)
                gone |= set(wanted)
        now = log.hashes()
        assert now[: len(leaves)] == leaves
        leaves = now
    verdict = log.verify()
    assert verdict.ok, verdict.reason
    assert (verdict.gone, verdict.held) == (len(gone), log.head.size - len(gone))
    for seq in range(sum(sizes)):
        loaded = log.reader.loaded(log.head, seq)
        assert loaded.state(seq) == (State.ERASED if seq in gone else State.WHOLE)
        assert loaded.seeds.of(seq) == (None, None) if seq in gone else None not in loaded.seeds.of(seq)
    held = [event.seq for event in log.reader.events(log.head) if event.seq < sum(sizes)]
    assert held == [seq for seq in range(sum(sizes)) if seq not in gone]


def test_what_is_erased_is_in_no_stored_bytes(store: Store) -> None:
    log = store.new_log()
    secret, kept = b"the-secret-text", b"the-kept-text"
    log.append([Draft("example.said", encode_body(text.decode())) for text in (secret, kept)])
    stored = log.stored_bytes()
    assert secret in stored
    seeds = log.load(0).seeds
    blind, salt = log.reader.loaded(log.head, 0).seeds.of(0)
    log.erase([0])
    stored = log.stored_bytes()
    assert kept in stored
    for gone in (secret, seeds, blind, salt, second.expand(b"child", log.head.id, 0, seeds, 32, 32)[0]):
        assert gone not in stored


def test_erasing_reads_as_not_found_and_its_neighbours_still_open(log: Written) -> None:
    log.say(5)
    log.erase([1, 3])
    for seq in (1, 3):
        with pytest.raises(NotFound, match="forgotten"):
            log.reader.event(log.head, seq)
        with pytest.raises(NotFound):
            log.reader.opening(log.head, seq)
        assert log.reader.header(log.head, seq) is None
    for seq in (0, 2, 4):
        assert log.reader.opening(log.head, seq)[0].body == encode_body(f"event {seq}")
    for seq in (-1, 6, 10**9):
        with pytest.raises(NotFound, match="there is no event"):
            log.reader.event(log.head, seq)


def test_erasing_twice_is_erasing_once(log: Written) -> None:
    log.say(5)
    log.erase([2])
    before = log.hashes()
    log.erase([2], silently=True)
    assert log.hashes() == before
    assert log.verify().ok


def test_events_written_after_an_erasure_in_the_same_block_open(log: Written) -> None:
    log.say(5)
    log.erase([0, 4])
    log.say(60)
    assert log.verify().ok
    assert log.reader.opening(log.head, 30)[0].seq == 30


def test_packing_what_is_packed_does_nothing(log: Written) -> None:
    log.say(10)
    assert log.pack() == 1
    assert log.pack() == 0
    with log.store.file.transaction():
        assert not rewrite.pack_block(log.store.logs, log.head, 0)


# -- stamps ----------------------------------------------------------------------------------------------------------


def test_stamps_are_consecutive_and_never_go_back(log: Written) -> None:
    log.say(3)
    log.now_ms = NOW - 3_600_000  # set back an hour: less than that was ahead is not known to be wrong
    log.now_ms = NOW - 1_000
    log.say(3)
    stamps = [event.header.hlc for event in log.reader.events(log.head)]
    assert stamps == list(range(hlc.from_ms(NOW), hlc.from_ms(NOW) + 6))


def test_a_clock_that_ran_ahead_is_put_right(log: Written) -> None:
    year = 31_557_600_000
    log.say(1)
    log.now_ms = NOW + year
    log.say(2)
    log.now_ms = NOW + 1_000
    done = log.say(2)
    assert done.system == 1
    events = list(log.reader.events(log.head))
    assert [event.kind for event in events] == ["example.said"] * 3 + ["clock.reset"] + ["example.said"] * 2
    assert log.head.resets == [(3, hlc.from_ms(NOW + 1_000))]
    assert [event.stamp for event in events] == sorted(event.stamp for event in events)
    assert events[1].stamp == events[2].stamp == hlc.from_ms(NOW + 1_000) < events[1].header.hlc
    assert events[0].stamp == hlc.from_ms(NOW)
    assert log.verify().ok


def test_a_little_ahead_is_waited_out(log: Written) -> None:
    log.now_ms = NOW + limits.CLOCK_AHEAD_MS_MAX
    log.say(1)
    log.now_ms = NOW
    assert log.say(1).system == 0
    log.now_ms = NOW - 1
    assert log.say(1).system == 1


def test_a_stamp_is_the_least_of_later_resets(log: Written) -> None:
    log.head.resets = [(10, 500), (20, 300), (30, 900)]
    assert stamp_of(log.head, 5, 1_000) == 300
    assert stamp_of(log.head, 10, 400) == 300
    assert stamp_of(log.head, 20, 1_000) == 900
    assert stamp_of(log.head, 30, 1_000) == 1_000
    assert stamp_of(log.head, 5, 100) == 100


# -- limits ----------------------------------------------------------------------------------------------------------


def test_a_commit_over_its_limit_stores_nothing(log: Written) -> None:
    draft = Draft("example.said", b"")
    with pytest.raises(LimitExceeded) as raised:
        log.append([draft] * (limits.COMMIT_EVENTS_MAX + 1))
    assert raised.value.context["limit"] == "COMMIT_EVENTS_MAX"
    with pytest.raises(LimitExceeded) as raised:
        log.append([draft, Draft("k" * 5_000, b"")])
    assert raised.value.context["limit"] == "HEADER_BYTES_MAX"
    assert log.head.size == 0
    assert log.say(1).first == 0


# -- finding entities ------------------------------------------------------------------------------------------------


def test_every_entity_is_found_by_its_id_alone(log: Written) -> None:
    year = 31_557_600_000
    made: dict[bytes, int] = {}

    def say(count: int) -> None:
        done = log.say(count, entity=NEW)
        made.update({header.entity: done.first + at for at, header in enumerate(done.headers) if header.entity})

    say(5)
    log.now_ms += 7
    say(1_200)
    log.now_ms += year
    say(4)
    log.now_ms -= year
    say(3)
    log.say(2)
    log.now_ms += 50
    say(9)
    log.pack()
    say(2)
    for entity, seq in made.items():
        assert log.reader.find_entity(log.head, entity) == seq
    for stranger in (bytes(16), b"\xff" * 16, next(iter(made))[:6] + bytes(10)):
        assert log.reader.find_entity(log.head, stranger) is None
    gone = [seq for seq in made.values() if seq % 3 == 0]
    log.erase(gone)
    for entity, seq in made.items():
        assert log.reader.find_entity(log.head, entity) == (None if seq in gone else seq)


def test_subtrees_from_stored_roots_are_those_of_the_leaves(log: Written) -> None:
    log.say(2 * BLOCK_LEAVES + 100)
    leaves = log.hashes()
    find = log.reader.subtree(log.head)
    for first, last in ((0, 1_024), (0, 2_048), (1_024, 2_048), (2_048, 2_148), (0, 2_148), (64, 96), (2_112, 2_148)):
        assert find(first, last) == root(leaves[first:last])
    assert len(set(LEAVES)) == len(LEAVES)


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 700), st.booleans()), min_size=1, max_size=5),
    st.sets(st.integers(0, 1_500), max_size=20),
    st.tuples(st.integers(0, 1_600), st.integers(0, 1_600)),
)
def test_a_part_of_a_log_reads_as_the_whole_does(
    store: Store, steps: list[tuple[int, bool]], chosen: set[int], span: tuple[int, int]
) -> None:
    log = store.new_log()
    for count, packed in steps:
        log.say(count, entity=NEW)
        if packed:
            log.pack()
    gone = sorted(seq for seq in chosen if seq < log.head.size)
    if gone:
        log.erase(gone)
    one_by_one = [log.reader.event(log.head, seq) for seq in range(log.head.size) if seq not in gone]
    assert list(log.reader.events(log.head)) == one_by_one
    first, last = span
    wanted = [event for event in one_by_one if first <= event.seq < last]
    assert list(log.reader.events(log.head, first, last)) == wanted
    headers = list(log.reader.events(log.head, first, last, whole=lambda kind: kind == "log.erased"))
    assert [(one.seq, one.header) for one in headers] == [(one.seq, one.header) for one in wanted]
    assert all(one.body in (None, event.body) for one, event in zip(headers, wanted, strict=True))


def test_what_is_packed_beside_writers_is_stored_only_where_nothing_was_taken_away(log: Written) -> None:
    logs = log.store.logs
    log.say(40)
    before = log.hashes()
    ready = rewrite.pack(logs, log.head, 0)
    assert ready is not None
    log.say(3)  # what comes behind may come
    with log.store.file.transaction():
        assert rewrite.save_packed(logs, log.head, ready)
        assert not rewrite.save_packed(logs, log.head, ready), "it is packed already"
    assert log.hashes()[:40] == before
    assert len(list(log.reader.events(log.head))) == 43
    again = rewrite.pack(logs, log.head, 0)
    assert again is not None
    log.erase([5, 41])
    with log.store.file.transaction():
        assert not rewrite.save_packed(logs, log.head, again), "it would bring back what was erased"
    assert [event.seq for event in log.reader.events(log.head)] == [at for at in range(44) if at not in (5, 41)]
    assert log.verify().ok


def test_a_block_that_was_completed_meanwhile_keeps_its_root(log: Written) -> None:
    log.say(BLOCK_LEAVES - 10)
    ready = rewrite.pack(log.store.logs, log.head, 0)
    assert ready is not None
    log.say(20)
    roots = log.roots()
    with log.store.file.transaction():
        assert rewrite.save_packed(log.store.logs, log.head, ready)
    assert log.roots() == roots
    assert list(roots) == [0]
