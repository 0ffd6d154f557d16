"""Views of another version: columns added in place, tables folded again beside the old ones, and swapped."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon import Agent, AssertRow, Column, Domain, Fleet, Kind, Table, Type
from antiphon.model import limits
from antiphon.model.errors import Unavailable
from antiphon.model.event import Event
from antiphon.model.table import ANYONE, Derived, Index, Measure, Merge, Rollup
from antiphon.model.text import parse_entity
from antiphon.replica.core import Replica
from antiphon.views.domain import DeleteRow, Op, UpdateRow, Write
from antiphon.views.generations import Made, added_columns
from antiphon.world.clock import sleep_ms
from tests.unit.views.notes import NOTES, Changed, Torn, Written


class Tagged(msgspec.Struct):
    text: str
    colour: str = "white"
    mood: str | None = None


PER_COLOUR = Rollup(
    "notes_by_minute",
    time="at",
    bucket="minute",
    bucket_ms=60_000,
    group=("colour",),
    measures=(Measure("notes_there", "count"),),
)
VOTES = Table(
    "topic_votes",
    key=("topic", "voter"),
    columns=(
        Column("topic", Type.TEXT, nullable=False),
        Column("voter", Type.AGENT, nullable=False),
        Column("weight", Type.INTEGER, default=1),
    ),
)
TOPICS = Table(
    "topics",
    key="topic",
    columns=(
        Column("topic", Type.TEXT, nullable=False),
        Column("votes", Type.INTEGER, default=0, derived=Derived("count", "topic_votes", match=("topic",))),
        Column("weight", Type.INTEGER, default=0, derived=Derived("sum", "topic_votes", "weight", ("topic",))),
    ),
    writers=ANYONE,
)


def notes_table(*more: Column, **changes: Any) -> Table:
    return msgspec.structs.replace(NOTES, columns=(*NOTES.columns, *more), **changes)


def notes_domain(
    table: Table = NOTES, *, version: int = 1, loud: bool = False, body: type = Written, **fields: str
) -> Domain:
    def shout(event: Event, value: Any) -> Iterable[Write]:
        yield Write("notes", event.entity or b"", Op.UPDATE, {"text": value.text.upper()})

    return Domain(
        "notes",
        kinds=(Kind("note.written", body), Kind("note.changed", Changed), Kind("note.torn", Torn)),
        tables=(table,),
        folds={
            "note.written": (
                AssertRow(table, at="@time", text="text", colour="colour", **fields), *((shout,) if loud else ()),
            ),
            "note.changed": (UpdateRow(table, text="text", colour="colour"),),
            "note.torn": (DeleteRow(table),),
        },
        version=version,
    )  # fmt: skip


def opened(*domains: Domain, create: bool = False) -> Agent:
    return Agent.open("ada", create=create, domains=domains)


def shown(replica: Replica, *tables: str) -> list[Any]:
    """What tables hold, but for the rows' numbers."""
    found = []
    for name in tables or ("notes",):
        table = replica.registry.tables[name]
        rows = [(row.log, row.seq, row.values) for row in replica.tables.all_rows(table)]
        found.append(sorted(rows, key=lambda row: (row[0], row[1], str(row[2]))))
    return found


def refolded(agent: Agent, domain: str = "notes", *tables: str) -> list[Any]:
    agent.replica.refold(domain)
    return shown(agent.replica, *tables)


def write_some(agent: Agent, count: int = 40) -> list[Any]:
    """Notes, some changed, some torn up."""
    made = []
    for at in range(count):
        colour = "red" if at % 3 else "blue"
        made.append(agent.record("note.written", {"text": f"amber number{at}", "colour": colour}))
        if at % 4 == 0:
            agent.record("note.changed", {"text": f"birch number{at}"}, entity=made[-1].entity)
        if at % 7 == 0:
            agent.record("note.torn", {}, entity=made[-1].entity)
    return made


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as large, and nothing is done at open."""
    monkeypatch.setattr(limits, "REFOLD_AT_ONCE_EVENTS_MAX", 0)
    monkeypatch.setattr(limits, "REFOLD_SLICE_MS_MAX", 0)
    monkeypatch.setattr("antiphon.replica.keep.Keeper.wake", lambda self: None)


# -- columns that need no refold -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        Column("mood", Type.TEXT),
        Column("mood", Type.TEXT, nullable=False, default="calm"),
        Column("mood", Type.BOOLEAN, nullable=False, default=True),
        Column("mood", Type.BYTES, default=b"\x00'"),
        Column("mood", Type.JSON),
    ],
)
def test_a_column_with_a_default_is_added_without_reading_an_event(
    column: Column, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(notes_domain(), create=True) as agent:
        write_some(agent)
        epoch = agent.replica.state.epoch
    with monkeypatch.context() as patched:
        patched.setattr(Replica, "refold", None)
        with opened(notes_domain(notes_table(column))) as agent:
            assert agent.replica.state.epoch > epoch, "whoever follows the feed reads the tables again"
            rows = shown(agent.replica)
            assert {row[2]["mood"] for row in rows[0]} == {column.default}
            agent.record("note.written", {"text": "later", "colour": "red"})
    with opened(notes_domain(notes_table(column))) as agent:
        rows = shown(agent.replica)
        assert rows == refolded(agent)
        assert [hit.text for hit in agent.recall("later")] == ["later"]


def test_a_column_in_the_middle_is_read_from_where_it_stands() -> None:
    with opened(notes_domain(), create=True) as agent:
        write_some(agent, 5)
    columns = (*NOTES.columns[:2], Column("mood", Type.TEXT), *NOTES.columns[2:])
    with opened(notes_domain(msgspec.structs.replace(NOTES, columns=columns))) as agent:
        agent.record("note.changed", {"colour": "green"}, entity=agent.record("note.written", {"text": "x"}).entity)
        assert shown(agent.replica) == refolded(agent)


def test_a_file_that_is_only_read_has_what_was_added_at_its_default() -> None:
    with opened(notes_domain(), create=True) as agent:
        write_some(agent, 5)
    for column in (MOOD, CALM, Column("pinned", Type.INTEGER, default=3)):
        others = tuple(one for one in NOTES.columns if one.name != column.name)
        domain = notes_domain(msgspec.structs.replace(NOTES, columns=(others[0], column, *others[1:])))
        with Agent.open("ada", domains=[domain], read_only=True) as agent:
            assert {row[2][column.name] for row in shown(agent.replica)[0]} == {column.default}
            assert [hit.text for hit in agent.recall("number1")] == ["amber number1"]


def folded_of(domain: Domain) -> str:
    return domain.fingerprint


def asked(old: Domain, new: Domain) -> Any:
    made = {table.name: Made.of(table) for table in old.tables}
    return added_columns(new, folded_of(old), lambda table: made.get(table.name))


MOOD = Column("mood", Type.TEXT)
CALM = Column("mood", Type.TEXT, default="calm")


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (notes_domain(notes_table(MOOD), version=2), "another version"),
        (notes_domain(notes_table(Column("mood", Type.TEXT, nullable=False))), "required"),
        (notes_domain(notes_table(MOOD, indexes=(Index(("mood",)),))), "an index over it"),
        (notes_domain(notes_table(MOOD, fulltext=None)), "something else changed too"),
        (notes_domain(notes_table(MOOD), mood="@author"), "old events know it"),
        (notes_domain(notes_table(MOOD), mood="text"), "old bodies say it"),
        (
            notes_domain(notes_table(Column("mood", Type.TEXT, default="calm")), body=Tagged, mood="mood"),
            "other default",
        ),
        (notes_domain(msgspec.structs.replace(NOTES, columns=NOTES.columns[:-1])), "a column went"),
        (
            notes_domain(notes_table(MOOD), body=Written).__class__("notes", kinds=(), tables=(notes_table(MOOD),)),
            "kinds",
        ),
    ],
)
def test_what_is_more_than_new_columns_is_folded_again(new: Domain, why: str) -> None:
    assert asked(notes_domain(), new) is None, why


def test_a_new_field_that_old_bodies_lack_is_no_more_than_a_column() -> None:
    new = notes_domain(notes_table(MOOD), body=Tagged, mood="mood")
    assert [column.name for _, columns in asked(notes_domain(), new) for column in columns] == ["mood"]
    assert asked(notes_domain(), notes_domain()) == []
    assert added_columns(new, folded_of(notes_domain()), lambda table: None) is None, "nobody knows what was there"


# -- a generation beside the old -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("large")
def test_readers_have_the_old_rows_until_the_new_ones_are_whole() -> None:
    with opened(notes_domain(), create=True) as agent:
        write_some(agent)
        before, epoch = shown(agent.replica), agent.replica.state.epoch
    with opened(notes_domain(version=2, loud=True)) as agent:
        replica = agent.replica
        assert "notes" not in replica.views.live
        steps = 0
        while replica.generations.all():
            assert shown(replica) == before
            assert [hit.text for hit in agent.recall("number9")] == ["amber number9"]
            replica.generations.step(events_max=7)
            steps += 1
        assert steps > 5
        assert "notes" in replica.views.live
        assert replica.state.epoch > epoch
        assert replica.backlog() == 0, "full text came with it"
        assert [hit.text for hit in agent.recall("number9")] == ["AMBER NUMBER9"]
        after = shown(replica)
        assert after != before
        agent.record("note.written", {"text": "later"})
        assert replica.generations.is_busy(), "what was put away is still to be cleared"
        assert shown(replica) == refolded(agent), "and is in nobody's way"
        replica.generations.run()
        names = {name for (name,) in replica.file.reader.execute("SELECT name FROM sqlite_schema WHERE type='table'")}
        assert not {name for name in names if "__g" in name}
        rows = shown(replica)
        assert rows == refolded(agent)
        assert [hit.text for hit in agent.recall("later")] == ["LATER"]


@pytest.mark.usefixtures("large")
def test_a_table_of_another_shape_reads_as_what_it_has_until_the_swap() -> None:
    with opened(notes_domain(), create=True) as agent:
        write_some(agent, 10)
    columns = [c for c in NOTES.columns if c.name not in ("pinned", "colour")]
    colour = Column("colour", Type.LIST, of=Type.TEXT)
    table = msgspec.structs.replace(NOTES, columns=(columns[0], MOOD, *columns[1:], colour), indexes=())

    def listed(event: Event, body: Written) -> Iterable[Write]:
        yield Write("notes", event.entity or b"", Op.UPDATE, {"colour": [body.colour]})

    fold = AssertRow(table, at="@time", text="text", mood="colour")
    kinds = notes_domain().kinds
    new = Domain("notes", kinds, (table,), {"note.written": (fold, listed), "note.torn": (DeleteRow(table),)})
    with opened(new) as agent:
        (rows,) = shown(agent.replica)
        assert len(rows) == 8
        assert {(row[2]["mood"], row[2]["colour"], "pinned" in row[2]) for row in rows} == {(None, None, False)}
        assert [hit.text for hit in agent.recall("number9")] == ["amber number9"]
        agent.replica.generations.run()
        assert {(row[2]["mood"], *row[2]["colour"]) for row in shown(agent.replica)[0]} == {
            ("red", "red"), ("blue", "blue"),
        }  # fmt: skip
        assert shown(agent.replica) == refolded(agent)
    with opened(notes_domain()) as agent:  # and back
        agent.replica.generations.run()
        assert shown(agent.replica) == refolded(agent)


@pytest.mark.usefixtures("large")
def test_what_is_appended_meanwhile_is_in_the_new_generation() -> None:
    with opened(notes_domain(), create=True) as agent:
        made = write_some(agent, 12)
    with opened(notes_domain(version=2, loud=True)) as agent:
        before = shown(agent.replica)
        for at in range(20):
            agent.replica.generations.step(events_max=3)
            if at < 6:
                agent.record("note.written", {"text": f"meanwhile number{100 + at}"})
                agent.record("note.changed", {"colour": "green"}, entity=made[at + 1].entity)
                assert shown(agent.replica) == before
        agent.replica.generations.run()
        assert [hit.text for hit in agent.recall("number103")] == ["MEANWHILE NUMBER103"]
        assert shown(agent.replica) == refolded(agent)
    with opened(notes_domain(version=2, loud=True)) as agent:
        assert "notes" in agent.replica.views.live, "nothing is behind"


@pytest.mark.usefixtures("large")
def test_any_process_goes_on_where_another_stopped() -> None:
    with opened(notes_domain(), create=True) as agent:
        write_some(agent, 30)
    folded = [0]
    for _ in range(4):
        with opened(notes_domain(version=2, loud=True)) as agent:
            agent.replica.generations.step(events_max=5)
            folded.append(agent.replica.generations.all()["notes"].folded)
    assert folded == [0, 5, 10, 15, 20]
    with opened(notes_domain(version=2, loud=True)) as one, opened(notes_domain(version=2, loud=True)) as other:
        while one.replica.generations.step(events_max=5) | other.replica.generations.step(events_max=5):
            pass
        for agent in (one, other):
            agent.record("note.written", {"text": "later"})
            assert "notes" in agent.replica.views.live
        assert shown(one.replica) == shown(other.replica) == refolded(one)


@pytest.mark.usefixtures("large")
def test_older_code_keeps_its_tables_until_the_swap_and_writes_none_after_it() -> None:
    with opened(notes_domain(), create=True) as agent:
        write_some(agent, 9)
    new = notes_domain(version=2, loud=True)
    with opened(new) as later, opened(notes_domain()) as older:
        later.replica.generations.step(events_max=4)
        older.record("note.written", {"text": "by older code"})
        assert "by older code" in str(shown(older.replica))
        later.replica.generations.run()
        assert "BY OLDER CODE" in str(shown(later.replica))
        older.record("note.written", {"text": "once more"})
        assert "notes" not in older.replica.views.live
    with opened(new) as later:
        later.replica.generations.run()
        assert "ONCE MORE" in str(shown(later.replica))
        assert shown(later.replica) == refolded(later)


@pytest.mark.usefixtures("large")
def test_what_is_forgotten_meanwhile_is_in_no_generation() -> None:
    with opened(notes_domain(), create=True) as agent:
        made = write_some(agent, 20)
        secret = agent.record("note.written", {"text": "zanzibar", "colour": "red"})
        changed = agent.record("note.changed", {"text": "zanzibar too"}, entity=made[1].entity)
        write_some(agent, 40)
    with opened(notes_domain(version=2, loud=True)) as agent:
        while agent.replica.generations.all()["notes"].folded < 36:
            agent.replica.generations.step(events_max=9)
        assert "ZANZIBAR" in str(agent.replica.file.writer.execute("SELECT text FROM notes__g1").fetchall())
        agent.forget([secret.event, changed.event])
        for name in ("notes__g1", "notes"):
            there = agent.replica.file.writer.execute("SELECT 1 FROM sqlite_schema WHERE name=?", (name,)).get
            said = agent.replica.file.writer.execute(f"SELECT * FROM {name}").fetchall() if there else []
            assert "zanzibar" not in str(said).lower()
        assert agent.replica.generations.all()["notes"].folded >= 36, "it goes on from where it was"
        agent.replica.generations.run()
        rows = shown(agent.replica)
        assert "AMBER NUMBER1" in {row[2]["text"] for row in rows[0]}, "what was changed is as it was written"
        assert "zanzibar" not in str(rows).lower()
        assert agent.recall("zanzibar") == []
        assert shown(agent.replica) == refolded(agent)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("folds_the_same", [True, False])
def test_readers_keep_the_old_rows_less_what_is_forgotten_meanwhile(folds_the_same: bool) -> None:
    """Also where the new code would make nothing of those events: then what the old one noted of them says which."""
    with opened(notes_domain(), create=True) as agent:
        made = write_some(agent, 20)
        secret = agent.record("note.written", {"text": "zanzibar", "colour": "red"})
        changed = agent.record("note.changed", {"text": "zanzibar too"}, entity=made[1].entity)
        before = shown(agent.replica)[0]
    domain = notes_domain(version=2, loud=True)
    if not folds_the_same:
        domain = msgspec.structs.replace(domain, folds={})
    with opened(domain) as agent:
        agent.replica.generations.step(events_max=9)
        agent.forget([secret.event, changed.event])
        assert agent.replica.generations.all(), "it is made still"
        assert shown(agent.replica)[0] == [row for row in before if "zanzibar" not in row[2]["text"]]
        assert len(before) - len(shown(agent.replica)[0]) == 2
        assert agent.replica.file.writer.execute("SELECT text FROM notes WHERE text GLOB '*zanzibar*'").get is None
        agent.replica.generations.run()
        assert len(shown(agent.replica)[0]) == (len(before) - 1 if folds_the_same else 0)
        assert shown(agent.replica) == refolded(agent)


@pytest.mark.usefixtures("large")
def test_what_is_forgotten_after_the_swap_is_not_in_what_was_put_away() -> None:
    with opened(notes_domain(), create=True) as agent:
        secret = agent.record("note.written", {"text": "zanzibar"})
        write_some(agent, 5)
    with opened(notes_domain(version=2)) as agent:
        while agent.replica.generations.all():
            agent.replica.generations.step()
        assert agent.replica.generations.is_busy()
        agent.forget(secret.event)
        assert not agent.replica.generations.is_busy()
        names = {name for (name,) in agent.replica.file.reader.execute("SELECT name FROM sqlite_schema")}
        assert not {name for name in names if "__g" in name and "__g1_" not in name}


@pytest.mark.usefixtures("large")
def test_a_clock_that_was_put_right_begins_it_anew() -> None:
    with opened(notes_domain(), create=True) as agent:
        made = write_some(agent, 9)
        ahead = Shifted(agent.replica.clock, 400_000_000)
        agent.replica.clock = ahead
        agent.record("note.changed", {"text": "from the future"}, entity=made[1].entity)
        agent.record("note.written", {"text": "future"})
    with opened(notes_domain(version=2, loud=True)) as agent:
        while agent.replica.generations.all()["notes"].folded < 14:
            agent.replica.generations.step(events_max=2)
        agent.record("note.changed", {"text": "from now"}, entity=made[1].entity)
        assert agent.replica.generations.all()["notes"].folded == 0
        agent.replica.generations.run()
        assert "from now" in str(shown(agent.replica))
        assert shown(agent.replica) == refolded(agent)


class Shifted:
    """A clock that is ahead of another."""

    def __init__(self, clock: Any, by_ms: int) -> None:
        self._clock, self._by_ms = clock, by_ms

    def now_ms(self) -> int:
        return int(self._clock.now_ms()) + self._by_ms

    def monotonic_ms(self) -> float:
        return float(self._clock.monotonic_ms())


class Painted(msgspec.Struct):
    note: bytes
    colour: str


def painted_domain(version: int) -> Domain:
    columns = tuple(msgspec.structs.replace(column, merge=Merge.LAST_WRITE) for column in NOTES.columns)
    base = notes_domain(msgspec.structs.replace(NOTES, columns=columns, writers=ANYONE), version=version)

    def paint(event: Event, body: Painted) -> Iterable[Write]:
        yield Write("notes", body.note, Op.UPDATE, {"colour": body.colour})

    kinds = (*base.kinds, Kind("note.painted", Painted))
    return msgspec.structs.replace(base, kinds=kinds, folds={**base.folds, "note.painted": (paint,)})


@pytest.mark.usefixtures("large")
def test_a_log_may_write_to_rows_that_a_later_one_made(tmp_path: Path) -> None:
    """Logs are folded one after another: what is mentioned of a row makes it before its own event comes."""
    with Fleet.create(tmp_path / "fleet", domains=[painted_domain(1)]) as fleet:
        bob, ada = fleet.add("bob"), fleet.add("ada")
        for at in range(5):
            note = ada.record("note.written", {"text": f"amber {at}"})
            sleep_ms(2)  # within one millisecond the order of two logs is that of their ids
            bob.record("note.painted", {"note": parse_entity(note.entity or ""), "colour": "green"})
        before = shown(fleet.replica)
        assert [row[2]["colour"] for row in before[0]] == ["green"] * 5
    with Fleet.open(tmp_path / "fleet", domains=[painted_domain(2)]) as fleet:
        fleet.replica.generations.run()
        assert not fleet.replica.generations.all()
        assert shown(fleet.replica) == before


@pytest.mark.usefixtures("large")
def test_a_process_that_knows_no_notes_forgets_them_in_every_generation() -> None:
    with opened(notes_domain(), create=True) as agent:
        secret = [agent.record("note.written", {"text": f"zanzibar{at}"}) for at in range(5)][2]
    with opened(notes_domain(version=2)) as agent:
        agent.replica.generations.step(events_max=4)
    with opened() as plain:
        plain.forget([secret.event])
        names = [name for (name,) in plain.replica.file.reader.execute("SELECT name FROM sqlite_schema")]
        assert not [name for name in names if name.startswith("notes")]
        assert not plain.replica.generations.all()
    with opened(notes_domain(version=2)) as agent:
        agent.replica.generations.run()
        assert [row[2]["text"] for row in shown(agent.replica)[0]] == [f"zanzibar{at}" for at in (0, 1, 3, 4)]


# -- figures, and what other domains derive --------------------------------------------------------------------------


def counted_domain(version: int) -> Domain:
    table = notes_table(rollups=(PER_COLOUR,), writers=NOTES.writers)
    return notes_domain(table, version=version)


class Voted(msgspec.Struct):
    topic: str
    weight: int = 1


class Opened(msgspec.Struct):
    topic: str


def votes_domain(version: int = 1) -> Domain:
    fold = AssertRow(VOTES, topic="topic", voter="@author", weight="weight")
    return Domain("votes", (Kind("topic.voted", Voted),), (VOTES,), {"topic.voted": (fold,)}, version)


def topics_domain(version: int = 1) -> Domain:
    fold = AssertRow(TOPICS, topic="topic")
    return Domain("topics", (Kind("topic.opened", Opened),), (TOPICS,), {"topic.opened": (fold,)}, version)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize(("votes", "topics"), [(2, 1), (1, 2), (2, 2)])
def test_what_domains_derive_from_each_other_is_counted_again_at_the_swap(votes: int, topics: int) -> None:
    def vote(agent: Agent, topic: int, weight: int) -> None:
        agent.record("topic.voted", {"topic": f"t{topic}", "weight": weight})

    with opened(votes_domain(), topics_domain(), create=True) as agent:
        for at in range(6):
            agent.record("topic.opened", {"topic": f"t{at}"})
            vote(agent, at // 2, at)
        before = shown(agent.replica, "topics")
        assert [row[2]["weight"] for row in before[0]] == [1, 3, 5, 0, 0, 0]
    with opened(votes_domain(votes), topics_domain(topics)) as agent:
        agent.replica.generations.step(events_max=5)
        vote(agent, 0, 100)
        vote(agent, 5, 7)
        agent.replica.generations.run()
        after = shown(agent.replica, "topics")
        assert [row[2]["weight"] for row in after[0]] == [100, 3, 5, 0, 0, 7]
        assert [row[2]["votes"] for row in after[0]] == [1, 1, 1, 0, 0, 1]
        assert after == refolded(agent, "votes", "topics") == refolded(agent, "topics", "topics")


@pytest.mark.usefixtures("large")
def test_rollups_are_made_with_the_tables_they_are_of() -> None:
    with opened(counted_domain(1), create=True) as agent:
        write_some(agent)
        before = shown(agent.replica, "notes_by_minute")
        assert sum(row[2]["notes_there"] for row in before[0]) == 34
    with opened(counted_domain(2)) as agent:
        agent.replica.generations.step(events_max=5)
        assert shown(agent.replica, "notes_by_minute") == before
        agent.replica.generations.run()
        assert shown(agent.replica, "notes_by_minute") == before == refolded(agent, "notes", "notes_by_minute")


# -- killed, and under load ------------------------------------------------------------------------------------------

_BUILDER = """
import sys
from antiphon.model import limits
limits.REFOLD_AT_ONCE_EVENTS_MAX = 0
limits.REFOLD_SLICE_MS_MAX = 0
from tests.unit.views.test_generations import notes_domain, opened
with opened(notes_domain(version=2, loud=True)) as agent:
    print("begun", flush=True)
    while agent.replica.generations.step(events_max=1):
        print(agent.replica.generations.all()["notes"].folded, flush=True)
"""


def test_a_builder_that_is_killed_loses_one_batch(large: None) -> None:
    with opened(notes_domain(), create=True) as agent:
        write_some(agent, 60)
        total = agent.verify().size
    root = Path(__file__).resolve().parents[3]
    reached, kills = 0, 0
    while reached < total * 3 // 4:
        process = subprocess.Popen(
            [sys.executable, "-c", _BUILDER], cwd=root, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        lines = [int(process.stdout.readline()) for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL)
        lines += [int(line) for line in process.stdout.read().split("\n") if line.endswith(tuple("0123456789"))][:-1]
        process.wait()
        process.stdout.close()
        assert lines[0] == reached + 1
        with opened(notes_domain(version=2, loud=True)) as agent:
            reached = agent.replica.generations.all()["notes"].folded
            assert reached >= max(lines)
        kills += 1
    with opened(notes_domain(version=2, loud=True)) as agent:
        agent.replica.generations.run()
        assert shown(agent.replica) == refolded(agent)
    assert kills >= 2


def test_a_view_rebuilt_under_load_has_the_rows_of_a_fresh_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFOLD_AT_ONCE_EVENTS_MAX", 0)
    monkeypatch.setattr(limits, "REFOLD_BATCH_EVENTS", 16)
    monkeypatch.setattr("antiphon.replica.keep.IDLE_MS", 5)
    with opened(notes_domain(), create=True) as agent:
        made = write_some(agent, 100)
    with Agent.open("ada", domains=[notes_domain(version=2, loud=True)], background=True) as agent:
        stop = threading.Event()
        seen: list[bool] = []

        def write(who: int) -> None:
            at = 0
            while not stop.is_set():
                agent.record("note.written", {"text": f"load {who} {at}"})
                agent.record("note.changed", {"colour": f"c{at}"}, entity=made[1 + at % 3].entity)
                at += 1

        def read() -> None:
            while not stop.is_set():
                with agent.replica.file.snapshot():
                    texts = [row[2]["text"] for row in shown(agent.replica)[0]]
                seen.append(any(text.isupper() for text in texts))
                assert not any(text.isupper() for text in texts) or all(t.isupper() or "birch" in t for t in texts)

        threads = [threading.Thread(target=write, args=(who,)) for who in range(2)] + [threading.Thread(target=read)]
        for thread in threads:
            thread.start()
        until = time.monotonic() + 60
        while agent.replica.generations.all() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join()
        assert not agent.replica.generations.all()
        assert seen == sorted(seen), "first the old rows, then the new ones"
        agent.record("note.written", {"text": "last"})
        assert shown(agent.replica) == refolded(agent)


ACTS = st.lists(
    st.tuples(st.sampled_from(["write", "change", "tear", "forget", "step", "open"]), st.integers(0, 9)), max_size=40
)


@pytest.mark.usefixtures("large")
@settings(max_examples=max(25, settings.default.max_examples // 4))
@given(acts=ACTS, size=st.integers(1, 9))
def test_after_the_swap_rows_are_those_of_a_refold(
    acts: list[tuple[str, int]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    made: list[Any] = []
    version = 1
    agent = Agent.open("ada", home=home, create=True, domains=[notes_domain()])
    try:
        for act, which in [*acts, ("open", 0)]:
            if act == "write" or (act in ("change", "tear", "forget") and not made):
                made.append(agent.record("note.written", {"text": f"amber {which}"}))
            elif act == "change":
                agent.record("note.changed", {"colour": f"c{which}"}, entity=made[which % len(made)].entity)
            elif act == "tear":
                agent.record("note.torn", {}, entity=made[which % len(made)].entity)
            elif act == "forget":
                agent.forget([made.pop(which % len(made)).event])
            elif act == "step":
                agent.replica.generations.step(events_max=size)
            else:
                agent.close()
                version += 1
                domains = [notes_domain(version=version, loud=version % 2 == 0)]
                agent = Agent.open("ada", home=home, domains=domains)
        agent.replica.generations.run()
        assert shown(agent.replica) == refolded(agent)
    finally:
        agent.close()


# -- what else a swap carries ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("large")
def test_rejections_go_with_their_generation() -> None:
    def strict(event: Event, body: Written) -> Iterable[Write]:
        if body.text == "bad":
            raise ValueError("no bad ones")
        return ()

    def checked(version: int, *folds: Any) -> Domain:
        base = notes_domain(version=version)
        return msgspec.structs.replace(
            base, folds={**base.folds, "note.written": (*base.folds["note.written"], *folds)}
        )

    with opened(checked(1), create=True) as agent:
        for text in ("good", "bad", "better", "best"):
            agent.record("note.written", {"text": text})
    with opened(checked(2, strict)) as agent:
        while agent.replica.generations.all()["notes"].folded < 3:
            agent.replica.generations.step(events_max=1)
        assert agent.replica.rejections.list() == []
        agent.replica.generations.run()
        assert [(rule, "no bad ones" in detail) for *_, rule, detail in agent.replica.rejections.list()] == [
            ("body", True)
        ]
        assert len(shown(agent.replica)[0]) == 3
    with opened(checked(3)) as agent:
        agent.replica.generations.run()
        assert agent.replica.rejections.list() == []
        assert len(shown(agent.replica)[0]) == 4


@pytest.mark.usefixtures("large")
def test_what_stops_it_is_kept_for_people_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(notes_domain(), create=True) as agent:
        write_some(agent, 9)
    with opened(notes_domain(version=2)) as agent:
        with monkeypatch.context() as patched:

            def full(*_: Any) -> None:
                raise Unavailable("the disk is full")

            patched.setattr("antiphon.views.maintain.Views.fold_events", full)
            with pytest.raises(Unavailable):
                agent.replica.generations.step()
        assert agent.replica.generations.all()["notes"].fault == "the disk is full"
        agent.replica.generations.run()
        assert shown(agent.replica) == refolded(agent)


def test_small_files_are_folded_again_when_they_are_opened() -> None:
    with opened(notes_domain(), create=True) as agent:
        write_some(agent, 9)
    with opened(notes_domain(version=2, loud=True)) as agent:
        assert not agent.replica.generations.all()
        assert "NUMBER6" in str(shown(agent.replica))


def test_a_large_file_is_folded_for_so_long_at_each_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFOLD_AT_ONCE_EVENTS_MAX", 0)
    with opened(notes_domain(), create=True) as agent:
        write_some(agent, 9)
    with Agent.open("ada", domains=[notes_domain(version=2, loud=True)], background=False) as agent:
        assert not agent.replica.generations.all()
        assert "NUMBER6" in str(shown(agent.replica))
