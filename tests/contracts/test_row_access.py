"""Row access in PostgreSQL: what each role sees of rows by chance is what `query/access.py` says, no more, no less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from random import Random
from typing import Any

import psycopg
import pytest

from antiphon.domains import BUILT_IN
from antiphon.engines.postgres import ddl
from antiphon.engines.postgres.access import conditions, role_name
from antiphon.engines.postgres.migrating import Migration
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.model.errors import InvalidInput
from antiphon.model.places import DAY_MS, Places, Relational, Series
from antiphon.model.table import ANYONE, READ_ALL, Column, Table, Type, parties
from antiphon.model.values import key_of
from antiphon.query.access import Reader, seen_by
from antiphon.views.domain import Registry
from antiphon.views.feed import Change, version_of
from servers.places import PostgresPlace, own_name
from tests.contracts.random_rows import row as random_row

pytestmark = pytest.mark.server
SERIES = (
    Column("time", Type.TIMESTAMP, nullable=False),
    Column("id", Type.TEXT, nullable=False),
    Column("words", Type.TEXT),
    Column("peer", Type.AGENT),
)
BY_DAY = Places(series=Series("time", DAY_MS))
OWN_TABLES = [
    Table("moods", key=("time", "id"), columns=SERIES, minted=False, places=BY_DAY),
    Table("dealings", key=("time", "id"), columns=SERIES, minted=False, access=parties("peer"), shared=True,
          writers=ANYONE,
          places=Places(relational=Relational(by_time="time", every_ms=2 * DAY_MS), series=Series("time"))),
    Table("moods_a_day", key=("time", "id"), columns=SERIES, minted=False, rollup_of="moods", places=BY_DAY),
    Table("noises", key=("time", "id"), columns=SERIES, minted=False, access=READ_ALL, shared=True, writers=ANYONE,
          places=BY_DAY),
]  # fmt: skip
"""Series: of one's own, of two parties, summed, and of everybody."""
TABLES = {**Registry(BUILT_IN).tables, **{table.name: table for table in OWN_TABLES}}
AGENTS = [bytes([n]) * 32 for n in range(1, 5)]
SCHEMA = own_name("access")


@pytest.fixture(scope="module")
def filled(postgres: PostgresPlace) -> Iterator[dict[str, dict[bytes, Change]]]:
    """Rows of every table, by four authors, naming the four of them in columns of agents."""
    chance = Random(7)
    sink = PostgresTables(postgres.url(), schema=SCHEMA)
    sink.prepare(list(TABLES.values()))
    assert sink.fence(0, 1)
    rows: dict[str, dict[bytes, Change]] = {}
    for name, table in TABLES.items():
        for _ in range(40):
            _, values = random_row(table, chance)
            for column in table.columns:
                if column.type == Type.AGENT and values[column.name] is not None:
                    values[column.name] = chance.choice(AGENTS)
            key = key_of(table, values)
            rows.setdefault(name, {})[key] = Change(name, key, version_of(1, 1), values, chance.choice(AGENTS))
        sink.apply(1, list(rows[name].values()))
    yield rows
    sink.close()


def seen(postgres: PostgresPlace, role: str, table: Table, agent: bytes | None) -> set[Any] | None:
    """The keys that a role reads; None where it may not ask at all."""
    listed = ", ".join(f'"{name}"' for name in table.key)
    with psycopg.connect(postgres.url()) as session:
        session.execute(f'SET LOCAL ROLE "{role_name(SCHEMA, role)}"'.encode())
        if agent is not None:
            session.execute("SELECT set_config('antiphon.agent', %s, true)", (agent.hex(),))
        try:
            found = session.execute(f'SELECT {listed} FROM "{SCHEMA}"."{table.name}"'.encode()).fetchall()
        except psycopg.errors.InsufficientPrivilege:
            return None
    return {repr(row) for row in found}


@pytest.mark.parametrize("name", TABLES)
def test_each_role_sees_what_is_declared(
    postgres: PostgresPlace, filled: dict[str, dict[bytes, Change]], name: str
) -> None:
    table = TABLES[name]
    rows = list(filled[name].values())
    every = seen(postgres, "architect", table, None)
    assert every is not None
    assert len(every) == len(rows)
    for agent in (*AGENTS, bytes(32)):
        try:
            rule = seen_by(Reader(agent, ()), table, TABLES)
        except InvalidInput:
            assert seen(postgres, "agent", table, agent) is None
            continue
        own = [one for one in rows if rule.holds(agent, -1, one.row or {}) or (not rule.all and one.author == agent)]
        if table.rollup_of is not None and not rule.all:
            own = [one for one in rows if rule.holds(agent, -1, one.row or {})]
        found = seen(postgres, "agent", table, agent)
        assert found is not None
        assert len(found) == len(own)
        assert found <= every
    nobody = seen(postgres, "agent", table, None)
    public = seen(postgres, "public", table, None)
    if nobody is not None:
        assert len(nobody) == len(public or ()), "an agent that does not say who it is sees what everybody sees"


@pytest.mark.parametrize("role", ["architect", "agent", "monitor", "public"])
def test_no_role_writes_nor_sees_the_engine_s_own_tables(
    postgres: PostgresPlace, filled: dict[str, dict[bytes, Change]], role: str
) -> None:
    refused = [f'INSERT INTO "{SCHEMA}"."agents" (id) VALUES (NULL)', f'DELETE FROM "{SCHEMA}"."tasks"']
    refused += [f'SELECT * FROM "{SCHEMA}"."{own}"' for own in ("_gone", "_fence", "_tables")]
    for statement in refused:
        with psycopg.connect(postgres.url()) as session:
            session.execute(f'SET LOCAL ROLE "{role_name(SCHEMA, role)}"'.encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement.encode())


@pytest.mark.parametrize("role", ["architect", "agent", "monitor", "public"])
def test_partitions_and_chunks_are_no_way_around_a_policy(
    postgres: PostgresPlace, filled: dict[str, dict[bytes, Change]], role: str
) -> None:
    below = under(postgres, SCHEMA)
    assert {"messages", "interactions", "moods", "dealings", "moods_a_day"} <= below.keys()
    for name, children in below.items():
        everybody = conditions(TABLES[name], TABLES)[role] == "TRUE"
        for child in children:
            assert everybody or not reads(postgres, role, child), f"{role} reads {child} of {name}"


def under(postgres: PostgresPlace, schema: str) -> dict[str, list[str]]:
    """By table, all that lies under it: partitions, and chunks in TimescaleDB's own schema."""
    with psycopg.connect(postgres.url()) as session:
        found = session.execute(
            "WITH RECURSIVE down AS (SELECT relname::text AS name, oid FROM pg_class WHERE relnamespace = "
            "to_regnamespace(%s) UNION ALL SELECT down.name, inhrelid FROM pg_inherits JOIN down ON inhparent = "
            "down.oid) SELECT name, array_agg(oid::regclass::text) FROM down WHERE oid NOT IN (SELECT oid FROM "
            "pg_class WHERE relnamespace = to_regnamespace(%s) AND relname = name) GROUP BY name",
            (schema, schema),
        ).fetchall()
    return {name: children for name, children in found if name in TABLES}


def reads(postgres: PostgresPlace, role: str, relation: str) -> bool:
    with psycopg.connect(postgres.url()) as session:
        session.execute(f'SET LOCAL ROLE "{role_name(SCHEMA, role)}"'.encode())
        try:
            session.execute(f"SELECT FROM {relation}".encode())
        except psycopg.errors.InsufficientPrivilege:
            return False
    return True


@pytest.mark.needs("timescaledb")
def test_a_hypertable_of_before_is_taken_from_readers_until_it_is_made_anew(
    postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, moods = postgres.url(postgres.make_database("exposed")), OWN_TABLES[0]
    with monkeypatch.context() as before:  # as versions did that made a hypertable of each series
        before.setattr(ddl, "series_of", lambda table, dialect: table.places.series if dialect.series else None)
        with closing(PostgresTables(url)) as sink:
            sink.prepare([moods])
            assert sink.fence(0, 1)
            sink.apply(1, [mood(1)])

    def by_chunks() -> bool:
        with psycopg.connect(url) as session:
            (chunk,) = session.execute("SELECT show_chunks('antiphon.moods')::text").fetchall()
            session.execute("SET LOCAL ROLE antiphon_agent")
            try:
                return bool(session.execute(f"SELECT FROM {chunk[0]}".encode()).fetchall())
            except psycopg.errors.InsufficientPrivilege:
                return False

    assert by_chunks()
    with closing(PostgresTables(url)) as sink, closing(Migration(url, {"moods": moods})) as migration:
        sink.prepare([moods])
        assert not by_chunks()
        assert [line for line in sink.lacks if "moods" in line and "migrate" in line]
        sink.apply(1, [mood(2)])
        assert len(sink.rows(moods, after=None, limit=10)) == 2, "feeding goes on"
        migration.run(migration.due().steps)
        sink.prepare([moods])
        assert sink.fence(2, 3)
        sink.apply(3, [mood(1, epoch=3), mood(2, epoch=3)])
        migration.run(migration.due().steps)
        assert migration.due().steps == []
        assert [line for line in sink.lacks if "moods" in line] == []
    with psycopg.connect(url) as session:
        session.execute("SET LOCAL ROLE antiphon_agent")
        session.execute("SELECT set_config('antiphon.agent', %s, true)", (AGENTS[0].hex(),))
        assert session.execute("SELECT id FROM antiphon.moods").fetchall() == [("1",)]
    with psycopg.connect(url) as session:
        aside = [name for (name,) in session.execute("SELECT show_chunks(oid)::text FROM pg_class WHERE relname LIKE "
                                                     "'\\_former\\_moods%' AND relkind = 'r'").fetchall()]  # fmt: skip
        assert aside
        session.execute("SET LOCAL ROLE antiphon_agent")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(f"SELECT FROM {aside[0]}".encode())


def mood(n: int, *, epoch: int = 1) -> Change:
    row = {"time": n * DAY_MS, "id": str(n), "words": "w"}
    return Change("moods", key_of(OWN_TABLES[0], row), version_of(epoch, n), row, AGENTS[n - 1])
