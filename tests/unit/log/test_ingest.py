"""Taking in somebody's log: what does not fit together is refused, and what they erased is told."""

from collections.abc import Callable, Iterator

import msgspec
import pytest

from antiphon.log.append import Appender
from antiphon.log.ingest import Part, Said, ingest
from antiphon.log.store import LogHead
from antiphon.log.verify import verify_log
from antiphon.model.errors import ProtocolViolation
from antiphon.model.event import State
from antiphon.model.limits import BLOCK_LEAVES
from tests.unit.log.written import Store, Written, structural_copy


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = Store(tmp_path_factory.mktemp("other") / "other.antiphon")
    yield made
    made.file.close()


class Follower:
    """A store that follows a log."""

    def __init__(self, store: Store, log: Written) -> None:
        self.store, self.log = store, log
        self.head = store.adopted(log.head)
        self.said: Said = []

    def take(self, parts: list[Part] | None = None, note: bytes | None = None) -> LogHead:
        if parts is None:
            keep = self.head.size - self.head.size % BLOCK_LEAVES
            parts = [part for part in self.log.parts(shared=True) if part.leaves.first >= keep]
        with self.store.file.transaction():
            self.head = ingest(self.store.logs, self.head, parts, note or self.log.head.note, self.said)
        return self.head

    def seen(self) -> Written:
        view = Written(self.store, self.head, self.log.key)
        view.store.appender = Appender(self.store.logs, self.store.entropy)
        return view


def test_a_log_followed_in_steps_is_the_same(log: Written, other: Store) -> None:
    follower = Follower(other, log)
    for count in (1, 5, 26, 990, 3, 1_100, 1):
        log.say(count)
        follower.take()
        assert (follower.head.size, follower.head.frontier) == (log.head.size, log.head.frontier)
        view = follower.seen()
        assert view.verify().ok
        assert view.hashes() == log.hashes()
    assert view.reader.opening(follower.head, 1_500) == log.reader.opening(log.head, 1_500)
    assert follower.take().size == log.head.size


def test_resets_come_along(log: Written, other: Store) -> None:
    log.say(1)
    log.now_ms += 10**9
    log.say(1)
    log.now_ms -= 10**9
    log.say(1)
    follower = Follower(other, log)
    assert follower.take().resets == log.head.resets != []


def test_what_the_author_erased_stays_until_somebody_destroys_it_and_is_told(log: Written, other: Store) -> None:
    follower = Follower(other, log)
    log.say(10)
    follower.take()
    log.erase([3, 4])
    log.say(2)
    follower.take()
    view = follower.seen()
    assert view.verify().ok
    assert [view.reader.event(view.head, seq).seq for seq in (3, 4)] == [3, 4]
    assert follower.said == [(10, [(3, 5)])]


def test_what_nobody_said_was_erased_stays_here(log: Written, other: Store) -> None:
    follower = Follower(other, log)
    log.say(10)
    follower.take()
    log.erase([3], silently=True)
    log.say(2)
    follower.take()
    view = follower.seen()
    assert view.reader.event(view.head, 3).seq == 3
    assert view.verify().ok


def refuse(follower: Follower, change: Callable[[list[Part]], None], *, match: str | None = None) -> None:
    parts = [structural_copy(part) for part in follower.log.parts(shared=True)]
    change(parts)
    before = follower.head.size
    with pytest.raises(ProtocolViolation, match=match):
        follower.take(parts)
    stored = follower.store.logs.head(follower.head.id)
    assert stored is not None
    assert stored.size == before
    assert [run.first for run in follower.store.logs.runs(stored.no, before, 1 << 30)] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts.pop(),
        lambda parts: parts.pop(0),
        lambda parts: parts.reverse(),
        lambda parts: parts[0].leaves.headers.pop(),
        lambda parts: parts[1].leaves.headers.__setitem__(0, b"x"),
        lambda parts: parts[1].leaves.bodies.__setitem__(0, b"x"),
        lambda parts: parts[1].leaves.bodies.__setitem__(0, bytes(262_145)),
        lambda parts: parts[1].leaves.bodies.__setitem__(0, None),
        lambda parts: setattr(parts[1], "seeds", b"s" * 32),
        lambda parts: setattr(parts[1], "seeds", b"s" * 31),
        lambda parts: setattr(parts[1], "seeds", b"\xc0"),
        lambda parts: setattr(parts[1].leaves, "first", 5),
        lambda parts: setattr(parts[1].leaves, "first", 1 << 39),
        lambda parts: setattr(parts[1].leaves, "first", -1_024),
        lambda parts: parts[1].leaves.forget(0, bytes(32), State.ERASED),
        lambda parts: parts[1].leaves.forget(0, bytes(31), State.ERASED),
    ],
)
def test_parts_that_do_not_fit_are_refused(log: Written, other: Store, change: Callable[[list[Part]], None]) -> None:
    log.say(1_100)
    follower = Follower(other, log)
    refuse(follower, change)
    follower.take()
    assert follower.seen().verify().ok


def test_a_note_of_less_or_more_is_refused(log: Written, other: Store) -> None:
    log.say(3)
    early = log.head.note
    log.say(3)
    follower = Follower(other, log)
    with pytest.raises(ProtocolViolation, match="another root"):
        follower.take(note=early)
    assert follower.take().size == 6


def test_another_history_behind_what_is_here_is_refused(log: Written, other: Store) -> None:
    """The sender's version of leaves that are here already must be ours: it could bring seeds that undo them."""
    log.say(5)
    follower = Follower(other, log)
    follower.take()
    log.say(2)
    refuse(follower, lambda parts: parts[0].leaves.bodies.__setitem__(0, b"other"), match="not the one that is here")
    follower.take()
    assert follower.seen().verify().ok


@pytest.mark.parametrize("field", ["id", "owner", "key"])
def test_an_id_that_does_not_follow_is_refused(log: Written, other: Store, field: str) -> None:
    """Else anybody could bring a log of his own under the id of another's."""
    log.say(3)
    head = msgspec.structs.replace(log.head, **{field: b"x" * 32})
    with pytest.raises(ProtocolViolation, match="does not follow"), other.file.transaction():
        ingest(other.logs, other.adopted(head), log.parts(), log.head.note)


def test_a_shared_tail_grows_on(log: Written, other: Store) -> None:
    """What others are given of an open block ends with its last leaf, and still joins what comes later."""
    follower = Follower(other, log)
    log.say(40)
    follower.take()
    given = other.logs.block(follower.head.no, 0).seeds
    assert log.load(0).seeds not in given
    log.say(BLOCK_LEAVES)
    follower.take()
    assert other.logs.block(follower.head.no, 0).seeds == log.load(0).seeds
    assert verify_log(follower.head, follower.seen().load, block_roots=follower.seen().roots()).ok


def test_stamps_that_go_back_are_refused(log: Written, other: Store) -> None:
    log.say(2)
    log.head.hlc, log.now_ms = 5, 1
    log.say(1)
    with pytest.raises(ProtocolViolation, match="before the one it follows"):
        Follower(other, log).take()
