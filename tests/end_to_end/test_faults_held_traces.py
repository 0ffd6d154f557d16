"""Text that others wrote and erased: once its hold is over it is in no page, frame, letter, feed entry or engine here.

Expected: found while it is held, in the blocks and nowhere that readers look; not found afterwards, whatever else the
file was doing meanwhile: building a generation, feeding followers that refuse, replaying for an audit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from antiphon.engines.memory import MemoryTables
from antiphon.engines.sqlite import pages
from antiphon.engines.sqlite.followers import SqliteFollowers
from antiphon.log import kinds
from antiphon.model import limits
from antiphon.model.errors import Rejected
from antiphon.model.event import Draft, Event, Scope, encode_body
from antiphon.model.table import ANYONE, Column, FullText, Table, Type
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.follow import Follower
from antiphon.replica.hear import hear
from antiphon.replica.replay import Until, replay
from antiphon.views.domain import AssertRow, Domain, Kind, Registry
from antiphon.views.feed import Change, Marks
from tests.simulation.views_world import NEW, Cast, World
from tests.unit.views.every_rule import domain

NEEDLE, WORD = "Quetzalcoatlus over Xochimilco", "xochimilco"
KEY = bytes(range(32))

POSTS = Table(
    "posts", key="id",
    columns=(Column("id", Type.ID), Column("at", Type.TIMESTAMP), Column("text", Type.TEXT, held=True),
             Column("place", Type.TEXT)),
    shared=True, fulltext=FullText("text", time="at"), subject="text",
)  # fmt: skip
WORDS = Table("words", key="word", columns=(Column("word", Type.TEXT),), writers=ANYONE, shared=True)


class _Posted(msgspec.Struct):
    text: str
    place: str | None = None


class _Spoken(msgspec.Struct):
    word: str


def chat(version: int = 1) -> Domain:
    return Domain(
        "chat",
        version=version,
        kinds=(Kind("chat.posted", _Posted), Kind("word.spoken", _Spoken)),
        tables=(POSTS, WORDS),
        folds={
            "chat.posted": (AssertRow(POSTS, id="@entity", at="@time", text="text", place="place"),),
            "word.spoken": (AssertRow(WORDS, word="word"),),
        },
    )


@pytest.fixture
def world(people: Cast) -> Iterator[World]:
    made = World(people, domain, replicas=1)
    reopen(made)
    yield made
    made.close()


def reopen(world: World, version: int = 1) -> Replica:
    path = world.replicas[0].file.path
    world.replicas[0].close()
    registry = Registry([domain(), chat(version)])
    world.replicas[0] = Replica.open(path, KEY, registry, world.cast.ring, clock=world.here, background=False)
    return world.replicas[0]


def places(world: World, text: str = NEEDLE) -> list[str]:
    return pages.find_text(world.replicas[0].file.path, KEY, text.encode(), "aegis")


def gone(world: World) -> None:
    for text in (NEEDLE, WORD, "Quetzalcoatlu"):
        assert places(world, text) == [], text


def fill(world: World, count: int = 300) -> list[Event]:
    """Posts of author 0, among which some are to be forgotten; what is to be is also said in other ways."""
    log = world.cast.logs[0]
    drafts = [
        Draft("chat.posted", encode_body({"text": _text(at), "place": NEEDLE if at % 50 == 7 else "home"}), entity=NEW,
              scope=Scope.PUBLIC)
        for at in range(count)
    ]  # fmt: skip
    world.source.commit(Batch(log, drafts, [None] * count))
    world.write(0, "word.spoken", {"word": NEEDLE}, entity=None)
    made = world.write(0, "thing.made", {"name": NEEDLE, "first": NEEDLE}, entity=NEW)
    world.write(0, "thing.changed", {"name": f"more {NEEDLE}", "labels": [NEEDLE]}, entity=made.entity)
    world.write(0, "thing.changed", {"love": NEEDLE}, entity=made.entity)
    world.write(0, "board.put", {"name": NEEDLE, "title": NEEDLE, "owner": world.cast.agents[0]}, entity=None)
    world.write(0, "thing.made", b"\xa1" + NEEDLE.encode(), entity=NEW)
    found = list(world.source.reader.events(world.source.head(log)))
    return [event for event in found if NEEDLE.encode() in (event.body or b"")]


def _text(at: int) -> str:
    return f"post {at} {NEEDLE} {'and more ' * (at % 30)}" if at % 10 == 3 else f"post {at} {'so it goes ' * (at % 40)}"


def erase(world: World, events: list[Event]) -> None:
    for draft in kinds.erased([event.seq for event in events], "asked"):
        world.write(0, kinds.ERASED, draft.body, entity=None)
    world.deliver_all(0)


def after_the_hold(world: World) -> None:
    world.here.pass_ms(limits.ERASURE_HOLD_MS)
    hear(world.replicas[0])
    assert not world.replicas[0].state.scrub_pending


@pytest.mark.parametrize("packed", [False, True])
def test_found_while_it_is_held_in_the_blocks_alone_and_not_after(world: World, packed: bool) -> None:
    named = fill(world)
    world.deliver_all(0)
    here = world.replicas[0]
    here.tidy()
    assert any("full-text" in place for place in places(world, WORD))
    erase(world, named)
    if packed:
        here.tidy()
    here.file.settle()
    assert places(world)
    assert not any("full-text" in place for place in places(world, WORD))
    after_the_hold(world)
    keys = [place for place in places(world) if "outbox" not in place]
    assert keys == []


def test_keys_in_the_feed_go_when_it_is_trimmed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    named = fill(world)
    world.deliver_all(0)
    erase(world, named)
    after_the_hold(world)
    here = world.replicas[0]
    tables = list(here.registry.tables.values())
    follower = Follower(here, MemoryTables(), "rows", tables)
    while not follower.idle:
        follower.step()
    monkeypatch.setattr(limits, "OUTBOX_COMMITS_MIN", 1)
    for at in range(3):
        world.write(1, "thing.made", {"name": f"later {at}"}, entity=NEW)
        world.deliver_all(0)
        world.here.pass_ms(120_000)
        while not follower.idle or follower.step():
            pass
        follower.save(force=True)
    here.file.settle()
    gone(world)


class _Refusing(MemoryTables):
    """Refuses rows of one table for good."""

    def apply(self, epoch: int, changes: object, *, marks: Marks | None = None) -> None:
        wanted = list(changes)  # type: ignore[call-overload]
        if any(change.table == "words" and change.row is not None for change in wanted):
            raise Rejected("words are refused here")
        super().apply(epoch, wanted, marks=marks)


def test_engines_and_letters_let_go_when_it_is_hidden(world: World) -> None:
    named = fill(world)
    world.deliver_all(0)
    here, engine = world.replicas[0], _Refusing()
    follower = Follower(here, engine, "rows", list(here.registry.tables.values()))
    while not follower.idle:
        follower.step()
    follower.save(force=True)
    letters = SqliteFollowers(here.file).letters("rows", limit=10)
    assert [table for table, _, _ in letters] == ["words"]
    assert NEEDLE in str(rows_of(engine))
    erase(world, named)
    assert SqliteFollowers(here.file).letters("rows", limit=10) == []
    while not follower.idle or follower.step():
        pass
    assert NEEDLE not in str(rows_of(engine))


def rows_of(engine: MemoryTables) -> list[Change]:
    return [change for table in (POSTS, WORDS) for change in engine.rows(table, after=None, limit=1_000)]


def test_a_generation_that_is_being_made_holds_nothing_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    named = fill(world)
    world.deliver_all(0)
    monkeypatch.setattr(limits, "REFOLD_AT_ONCE_EVENTS_MAX", 0)
    monkeypatch.setattr(limits, "REFOLD_SLICE_MS_MAX", 0)
    here = reopen(world, version=2)
    for _ in range(3):
        assert here.generations.step(events_max=60)
    erase(world, named)
    assert here.generations.step(events_max=60)
    after_the_hold(world)
    assert [place for place in places(world) if "outbox" not in place] == []
    while here.generations.step():
        pass
    here.settle_after_erasure()
    assert [place for place in places(world) if "outbox" not in place] == []
    assert here.tables.count(POSTS) == 300 - 30 - 6


def test_a_replay_shows_nothing_that_is_held_and_leaves_no_scratch(world: World, tmp_path: Path) -> None:
    named = fill(world)
    world.deliver_all(0)
    erase(world, named)
    replay(world.replicas[0], tmp_path / "then.db", Until(time_ms=world.here.now_ms() + 1))
    assert NEEDLE.encode() not in (tmp_path / "then.db").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["then.db"]
