"""Migrations of PostgreSQL from two declarations: data survives, readers and writers go on, the way back is open."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from typing import Any

import msgspec
import psycopg
import pytest

from antiphon.domains import BUILT_IN
from antiphon.engines.postgres.migrating import Migration, forgotten
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.model.errors import Conflict, InvalidInput, Unavailable
from antiphon.model.places import Places, Relational
from antiphon.model.table import Check, Column, Index, Table, Type
from antiphon.views.domain import Registry
from antiphon.views.feed import Change, version_of
from servers import Postgres

pytestmark = pytest.mark.server
_schemas = count()
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
        self.url, self.schema, self.epoch = url, f"m{next(_schemas)}", 0
        self.sink = PostgresTables(url, schema=self.schema)

    def feed(self, table: Table, rows: int = 50) -> None:
        """As a follower does: takes the engine over, reads all rows again, sweeps what is older."""
        self.sink.prepare([table])
        known = self.sink.epoch()
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
def world(postgres: Postgres) -> Iterator[World]:
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
    slowest, stopped = [0.0], threading.Event()

    def load() -> None:
        from time import perf_counter

        with psycopg.connect(world.url, autocommit=True) as session:
            while not stopped.is_set():
                began = perf_counter()
                session.execute(f'SELECT count(*) FROM "{world.schema}".things'.encode())
                slowest[0] = max(slowest[0], perf_counter() - began)

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
    assert slowest[0] < 2
    assert world.columns()["new"] == "NO"


def test_a_lock_that_is_held_for_good_ends_in_a_clear_error_and_nothing_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.engines.postgres.migrating.LOCK_MS_MAX", 50)
    monkeypatch.setattr("antiphon.engines.postgres.migrating.TRIES_MAX", 2)
    monkeypatch.setattr("antiphon.engines.postgres.migrating.PAUSE_MS", 1.0)
    world.feed(FIRST)
    with psycopg.connect(world.url) as session:
        session.execute(f'LOCK TABLE "{world.schema}".things IN ACCESS SHARE MODE'.encode())
        with pytest.raises(Unavailable, match="lock"):
            world.migrate(SECOND)
    world.migrate(SECOND)
    world.feed(SECOND)
    assert world.migrate(SECOND) == []


def test_every_built_in_declaration_comes_back_out_of_the_catalogue(world: World) -> None:
    tables = Registry(BUILT_IN).tables
    world.sink.prepare(list(tables.values()))
    with closing(Migration(world.url, tables, schema=world.schema)) as migration:
        kept = {one.name: one.declaration.fingerprint for one in migration._kept()}
        assert kept == {name: table.fingerprint for name, table in tables.items()}
        assert migration.due().steps == []
