"""Row access in PostgreSQL: what each role sees of rows by chance is what `query/access.py` says, no more, no less."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import psycopg
import pytest

from antiphon.domains import BUILT_IN
from antiphon.engines.postgres.access import role_name
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.model.errors import InvalidInput
from antiphon.model.table import Table, Type
from antiphon.model.values import key_of
from antiphon.query.access import Reader, seen_by
from antiphon.views.domain import Registry
from antiphon.views.feed import Change, version_of
from servers import Postgres
from tests.contracts.random_rows import row as random_row

pytestmark = pytest.mark.server
TABLES = Registry(BUILT_IN).tables
AGENTS = [bytes([n]) * 32 for n in range(1, 5)]
SCHEMA = "access"


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> Iterator[dict[str, dict[bytes, Change]]]:
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


def seen(postgres: Postgres, role: str, table: Table, agent: bytes | None) -> set[Any] | None:
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
def test_each_role_sees_what_is_declared(postgres: Postgres, filled: dict[str, dict[bytes, Change]], name: str) -> None:
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
    postgres: Postgres, filled: dict[str, dict[bytes, Change]], role: str
) -> None:
    refused = [f'INSERT INTO "{SCHEMA}"."agents" (id) VALUES (NULL)', f'DELETE FROM "{SCHEMA}"."tasks"']
    refused += [f'SELECT * FROM "{SCHEMA}"."{own}"' for own in ("_gone", "_fence", "_tables")]
    for statement in refused:
        with psycopg.connect(postgres.url()) as session:
            session.execute(f'SET LOCAL ROLE "{role_name(SCHEMA, role)}"'.encode())
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement.encode())


def test_partitions_are_no_way_around_a_policy(postgres: Postgres, filled: dict[str, dict[bytes, Change]]) -> None:
    with psycopg.connect(postgres.url()) as session:
        session.execute(f'SET LOCAL ROLE "{role_name(SCHEMA, "agent")}"'.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(f'SELECT * FROM "{SCHEMA}"."messages_0"'.encode())
