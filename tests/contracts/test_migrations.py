"""Migrations of PostgreSQL from two declarations: data survives, readers and writers go on, the way back is open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from antiphon import Agent, AssertRow, Domain, Kind
from antiphon.domains import BUILT_IN
from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.migrate import Step
from antiphon.engines.postgres.migrating import Migration, forgotten
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.model.errors import Conflict, InvalidInput, Rejected, Unavailable
from antiphon.model.places import Places, Relational
from antiphon.model.table import Check, Column, Index, Table, Type
from antiphon.views.domain import Registry
from antiphon.views.feed import Change, version_of
from servers.places import PostgresPlace, own_name
from tests.contracts.engines import PATIENCE_MS, held

pytestmark = pytest.mark.server
HELD_UP_S_MAX = 5
"""A reader waits for no lock as long: that is told from a machine that is merely busy."""
FIRST = Table(
    "things",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("words", Type.TEXT, nullable=False),
        Column("size", Type.INTEGER, check=Check(least=0)),
        Column("old", Type.TEXT, nullable=False, default="x"),
    ),
    indexes=(Index(("words",)),),
    places=Places(relational=Relational()),
)


def with_columns(table: Table, *columns: Column, **changes: Any) -> Table:
    return msgspec.structs.replace(table, columns=columns, **changes)


class World:
    """A table made from one declaration, its rows, and the feeder that would fill it again."""

    def __init__(self, url: str) -> None:
        self.url, self.schema, self.epoch = url, own_name("m"), 0
        self.sink = PostgresTables(url, schema=self.schema)

    def feed(self, table: Table, rows: int = 50) -> None:
        """As a follower does: takes the engine over, reads all rows again, sweeps what is older."""
        self.sink.prepare([table])
        known = self.sink.kept().epoch
        self.epoch = known + 1
        assert self.sink.fence(known, self.epoch)
        self.sink.apply(self.epoch, [self.row(table, n) for n in range(rows)])
        self.sink.sweep(self.epoch, table, self.epoch)

    def row(self, table: Table, n: int) -> Change:
        values: dict[str, Any] = {"id": n.to_bytes(16, "big"), "words": f"w{n}", "size": n, "old": "o", "new": n * 2}
        values = {
            name: str(values[name]) if table.column(name).type == Type.TEXT else values[name] for name in table.names
        }
        return Change(table.name, values["id"], version_of(self.epoch, n + 1), values)

    def migrate(self, table: Table) -> list[str]:
        """Runs what is due; what is waited for."""
        with closing(Migration(self.url, {table.name: table}, schema=self.schema)) as migration:
            due = migration.due()
            migration.run(due.steps)
            return due.waiting

    def columns(self) -> dict[str, str]:
        with psycopg.connect(self.url) as session:
            return dict(
                session.execute(
                    "SELECT column_name::text, is_nullable::text FROM information_schema.columns "
                    "WHERE table_schema = %s AND table_name = 'things'",
                    (self.schema,),
                ).fetchall()
            )


@pytest.fixture
def world(postgres: PostgresPlace) -> Iterator[World]:
    made = World(postgres.url())
    yield made
    made.sink.close()


SECOND = with_columns(
    FIRST,
    *FIRST.columns[:2],
    Column("size", Type.TEXT),
    Column("new", Type.INTEGER, nullable=False, check=Check(least=0)),
    indexes=(Index(("new",)), Index(("words",))),
)


def test_a_changed_table_is_refused_until_it_is_migrated(world: World) -> None:
    world.feed(FIRST)
    with pytest.raises(InvalidInput, match="migrate"):
        world.sink.prepare([SECOND])


def test_add_refill_constrain_drop(world: World) -> None:
    world.feed(FIRST)
    assert world.migrate(SECOND) == []
    assert {"new", "old", "size"} <= set(world.columns())
    with pytest.raises(Conflict):
        world.sink.apply(world.epoch, [])  # the fence was raised: whoever feeds begins again
    assert len(world.migrate(SECOND)) == 1, "not filled yet"
    assert world.columns()["new"] == "YES"
    world.feed(SECOND)
    assert world.migrate(SECOND) == []
    assert world.columns()["new"] == "NO"
    with pytest.raises(Exception, match="new"):
        world.sink.apply(
            world.epoch, [msgspec.structs.replace(world.row(SECOND, 1), row={"id": bytes(16), "words": "w"})]
        )
    migration = Migration(world.url, {"things": SECOND}, schema=world.schema)
    due = migration.due()
    assert not due.steps
    assert len(due.leftover) == 2
    migration.run([*due.leftover, forgotten(world.schema)])
    assert "old" not in world.columns()
    assert migration.due().leftover == []
    migration.close()
    world.feed(SECOND)
    assert len(world.sink.rows(SECOND, after=None, limit=100)) == 50


def test_the_way_back_is_open_until_the_drop(world: World) -> None:
    world.feed(FIRST)
    world.migrate(SECOND)
    world.feed(SECOND)
    world.migrate(SECOND)
    world.migrate(FIRST)
    world.feed(FIRST)
    assert world.migrate(FIRST) == []
    found = world.sink.rows(FIRST, after=None, limit=100)
    assert [change.row for change in found] == [world.row(FIRST, n).row for n in range(50)]


def test_another_key_or_other_partitions_make_the_table_anew(world: World) -> None:
    world.feed(FIRST)
    split = msgspec.structs.replace(FIRST, places=Places(relational=Relational(hash=("id",), partitions=4)))
    world.migrate(split)
    world.feed(split)
    world.migrate(split)
    assert len(world.sink.rows(split, after=None, limit=100)) == 50
    back = msgspec.structs.replace(FIRST, doc="again in one piece")
    world.migrate(back)
    world.feed(back)
    assert len(world.sink.rows(back, after=None, limit=100)) == 50


def test_a_table_under_load_is_migrated_without_holding_anybody_up(world: World) -> None:
    world.feed(FIRST, 500)
    read, stopped, held_up = [0], threading.Event(), []

    def load() -> None:
        with psycopg.connect(world.url, autocommit=True) as session:
            session.execute(f"SET lock_timeout = '{HELD_UP_S_MAX}s'".encode())
            while not stopped.is_set():
                try:
                    session.execute(f'SELECT count(*) FROM "{world.schema}".things'.encode())
                    read[0] += 1
                except psycopg.errors.LockNotAvailable as error:
                    held_up.append(error)
                    return

    readers = [threading.Thread(target=load) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        world.migrate(SECOND)
        world.feed(SECOND, 500)
        world.migrate(SECOND)
    finally:
        stopped.set()
        for reader in readers:
            reader.join()
    assert held_up == []
    assert read[0] > 0
    assert world.columns()["new"] == "NO"


def test_a_lock_that_is_held_for_good_ends_in_a_clear_error_and_nothing_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.feed(FIRST)
    with psycopg.connect(world.url) as session, monkeypatch.context() as patience:
        patience.setattr("antiphon.engines.postgres.migrating.LOCK_MS_MAX", 50)
        patience.setattr("antiphon.engines.postgres.migrating.TRIES_MAX", 2)
        patience.setattr("antiphon.engines.postgres.migrating.PAUSE_MS", 1.0)
        session.execute(f'LOCK TABLE "{world.schema}".things IN ACCESS SHARE MODE'.encode())
        with pytest.raises(Unavailable, match="lock"):
            world.migrate(SECOND)
    world.migrate(SECOND)
    world.feed(SECOND)
    assert world.migrate(SECOND) == []


SPLIT = msgspec.structs.replace(FIRST, places=Places(relational=Relational(hash=("id",), partitions=4)))


class Killed(Exception):
    """As kill -9 between two steps."""


@pytest.mark.parametrize("wanted", [SECOND, SPLIT], ids=["columns", "partitions"])
def test_a_migration_that_is_killed_behind_any_step_goes_on_with_the_next(
    postgres: PostgresPlace, wanted: Table
) -> None:
    killed = at = 0
    while killed == at:
        at += 1
        killed = 0
        with closing(World(postgres.url()).sink) as sink:
            world = World(postgres.url())
            world.sink, world.schema = sink, sink._schema
            world.feed(FIRST)
            taken = [0]

            def count(step: Step, taken: list[int] = taken, at: int = at) -> None:
                taken[0] += 1
                if taken[0] > at:
                    taken[0] = -1_000
                    raise Killed

            for _ in range(5):
                with closing(Migration(world.url, {"things": wanted}, schema=world.schema)) as migration:
                    due = migration.due()
                    if not due.steps and not due.waiting:
                        break
                    assert not [line for line in due.waiting if "not as it was declared" in line]
                    try:
                        migration.run(due.steps, progress=count)
                    except Killed:
                        killed = at
                world.feed(wanted)
            else:
                pytest.fail(f"killed behind step {at}: it never ends")
            found = world.sink.rows(wanted, after=None, limit=100)
            assert [change.row for change in found] == [
                msgspec.structs.asdict(world.row(wanted, n))["row"] for n in range(50)
            ]
            if wanted is SECOND:
                assert world.columns()["new"] == "NO"
                with pytest.raises(Rejected):
                    world.sink.apply(
                        world.epoch, [Change("things", bytes(16), version_of(world.epoch, 9), {"id": bytes(16)})]
                    )
            assert (len(partitions(world)), valid(world)) == (4 if wanted is SPLIT else 0, True)
    assert at > 5 or wanted is SPLIT, "that one is a single transaction"


def partitions(world: World) -> list[str]:
    with psycopg.connect(world.url) as session:
        return [
            name
            for (name,) in session.execute(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(%s)",
                (f'"{world.schema}".things',),
            )
        ]


def valid(world: World) -> bool:
    """Whether every index and check of the table holds."""
    with psycopg.connect(world.url) as session:
        row = session.execute(
            "SELECT (SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = to_regclass(%(of)s)) AND coalesce("
            "(SELECT bool_and(convalidated) FROM pg_constraint WHERE conrelid = to_regclass(%(of)s)), true)",
            {"of": f'"{world.schema}".things'},
        ).fetchone()
    return row == (True,)


def test_an_index_whose_making_was_killed_is_made_again(world: World) -> None:
    world.feed(FIRST)
    indexed = msgspec.structs.replace(FIRST, indexes=(*FIRST.indexes, Index(("size",))))
    with psycopg.connect(world.url, autocommit=True) as session:
        made = next(sql for sql in ddl.indexes_sql(indexed, ddl.Dialect(schema=world.schema)) if "size" in sql)
        session.execute(made.encode())
        session.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)",
            (f'"{world.schema}".things_size_idx',),
        )
    assert not valid(world)
    assert world.migrate(indexed) == []
    assert valid(world)


@pytest.mark.parametrize("wanted", [SECOND, SPLIT], ids=["columns", "partitions"])
def test_of_two_migrations_at_once_one_says_that_the_other_is_at_work(world: World, wanted: Table) -> None:
    world.feed(FIRST)
    with (
        closing(Migration(world.url, {"things": wanted}, schema=world.schema)) as one,
        closing(Migration(world.url, {"things": wanted}, schema=world.schema)) as other,
    ):
        steps, same = one.due().steps, other.due().steps

        def meanwhile(step: Step) -> None:
            with pytest.raises(Conflict, match=r"another migration of the schema .* is at work"):
                other.run(same)

        one.run(steps, progress=meanwhile)
        with pytest.raises(Conflict, match="another migration has changed it meanwhile"):
            other.run(same)
        other.run(other.due().steps)
    world.feed(wanted)
    assert world.migrate(wanted) == []
    assert len(world.sink.rows(wanted, after=None, limit=100)) == 50


def test_what_was_altered_by_hand_twice_is_put_aside_twice_and_dropped(world: World) -> None:
    world.feed(FIRST)
    for _ in range(2):
        with psycopg.connect(world.url, autocommit=True) as session:
            session.execute(f'ALTER TABLE "{world.schema}".things RENAME COLUMN _version TO other'.encode())
        assert world.migrate(FIRST) == []
        world.feed(FIRST)
        assert world.migrate(FIRST) == []
    with closing(Migration(world.url, {"things": FIRST}, schema=world.schema)) as migration:
        assert len(migration.due().leftover) == 2
        migration.run([*migration.due().leftover, forgotten(world.schema)])
        assert migration.due().leftover == []
    assert len(world.sink.rows(FIRST, after=None, limit=100)) == 50


def test_every_built_in_declaration_comes_back_out_of_the_catalogue(world: World) -> None:
    tables = Registry(BUILT_IN).tables
    world.sink.prepare(list(tables.values()))
    with closing(Migration(world.url, tables, schema=world.schema)) as migration:
        kept = {one.name: one.declaration.fingerprint for one in migration._kept()}
        assert kept == {name: table.fingerprint for name, table in tables.items()}
        assert migration.due().steps == []


# -- forgetting --------------------------------------------------------------------------------------------------


class Wrote(msgspec.Struct):
    text: str
    more: str = "m"


def memos(parts: int, *, more: bool = True) -> Domain:
    columns = (Column("id", Type.ID, nullable=False), Column("text", Type.TEXT), Column("more", Type.TEXT))
    of = Table(
        "memos",
        key="id",
        columns=columns if more else columns[:2],
        places=Places(relational=Relational(hash=("id",), partitions=parts)),
    )
    fold = AssertRow(of, text="text", more="more") if more else AssertRow(of, text="text")
    return Domain("memos", (Kind("memo.written", Wrote),), (of,), {"memo.written": (fold,)})


@pytest.mark.parametrize("later", [memos(8), memos(4, more=False)], ids=["partitions", "columns"])
def test_what_was_put_aside_goes_when_something_is_forgotten(
    own_home: Path, postgres: PostgresPlace, later: Domain
) -> None:
    """Of rows that changed, too: a column that is declared no more is reached by no change."""
    url = postgres.url(postgres.make_database("aside"))

    def fed(agent: Agent) -> None:
        with closing(PostgresTables(url)) as sink:
            follower = agent.follow(sink, name="rows", tables=["memos"])
            follower.run(patience_ms=PATIENCE_MS)
            follower.step()
            assert follower.check() == []
            follower.close()

    def leftover() -> int:
        with closing(Migration(url, {"memos": later.tables[0]})) as migration:
            due = migration.due()
            migration.run(due.steps)
            return len(due.leftover)

    with Agent.create("ada", home=own_home / "home", domains=[memos(4)]) as agent:
        agent.record("memo.written", Wrote("kept", "xylophonic"))
        second = agent.record("memo.written", Wrote("quizzical", "m")).entity
        fed(agent)
    with Agent.open("ada", home=own_home / "home", domains=[later]) as agent:
        leftover()
        fed(agent)
        leftover()
        assert leftover() == 1, "it stays until the drop"
        assert "xylophonic" in held(url)
        fed(agent)
        assert leftover() == 1
        assert second is not None
        agent.forget(entity=second)
        fed(agent)
        assert leftover() == 0
        assert ("xylophonic" in held(url)) == ("more" in later.tables[0].names), "of a column that is no more"
        assert "quizzical" not in held(url)


def test_what_somebody_uses_stays_put_aside_and_is_said(world: World) -> None:
    world.feed(FIRST)
    world.migrate(SPLIT)
    world.feed(SPLIT)
    with psycopg.connect(world.url, autocommit=True) as session:
        (aside,) = session.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r' AND "
            "starts_with(relname, '_former_')",
            (world.schema,),
        ).fetchall()
        session.execute(f'CREATE VIEW "{world.schema}".mine AS SELECT words FROM {aside[0]}'.encode())
        world.sink.forgotten(world.epoch, 1)
        assert [line for line in world.sink.lacks if "could not be dropped" in line]
        session.execute(f'DROP VIEW "{world.schema}".mine'.encode())
        world.sink.retire(world.epoch, [SPLIT])
    assert [line for line in world.sink.lacks if "could not be dropped" in line] == []
    with closing(Migration(world.url, {"things": SPLIT}, schema=world.schema)) as migration:
        assert migration.due().leftover == []
