"""Users with few rights: those that feed without making roles or schemas, and a login that only reads, as one agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from antiphon.engines.postgres.access import ROLES, role_name
from antiphon.engines.postgres.source import PostgresSource
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.model.errors import InvalidInput, Unavailable
from antiphon.model.places import Places, Relational
from antiphon.model.table import Column, Index, Table, Type
from antiphon.query.access import Reader
from antiphon.query.plan import Ask, plan
from antiphon.views.feed import Change, version_of
from servers.places import PostgresPlace, own_name

pytestmark = pytest.mark.server
ME, YOU = bytes([1]) * 32, bytes([2]) * 32
TABLE = Table(
    "diaries",
    key="id",
    columns=(Column("id", Type.ID, nullable=False), Column("at", Type.TIMESTAMP), Column("words", Type.TEXT)),
    indexes=(Index(("at",)),),
    places=Places(relational=Relational(hash=("id",), partitions=4)),
)


def sql(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            session.execute(statement.encode())


def login(postgres: PostgresPlace, *words: str) -> tuple[str, str]:
    """A new user's name and URL."""
    name = own_name("user")
    sql(postgres.url(), f"CREATE ROLE {name} LOGIN PASSWORD 'x' {' '.join(words)}")
    return name, postgres.url(user=name, password="x")


def filled(url: str, schema: str) -> PostgresTables:
    """Ten rows of ME and ten of YOU."""
    sink = PostgresTables(url, schema=schema)
    try:
        sink.prepare([TABLE])
    except InvalidInput:
        sink.close()
        raise
    assert sink.fence(0, 1)
    rows = []
    for n in range(20):
        key = bytes([n]) * 16
        values = {"id": key, "at": n, "words": f"secret {n}"}
        rows.append(Change("diaries", key, version_of(1, 1), values, ME if n < 10 else YOU))
    sink.apply(1, rows)
    return sink


def seen(source: PostgresSource, agent: bytes) -> int:
    part = source.page(plan(TABLE, Ask(order=("at",))), Reader(agent, ()), after=None, limit=50, scanned_max=50)
    return len(part.rows)


# -- who feeds -----------------------------------------------------------------------------------------------------


def test_a_user_who_may_make_no_roles_feeds_and_says_what_is_lacking(postgres: PostgresPlace) -> None:
    schema = own_name("noroles")
    name, url = login(postgres)
    sql(postgres.url(), f"GRANT CREATE ON DATABASE {postgres.database} TO {name}")
    sink = filled(url, schema)
    assert len(sink.rows(TABLE, after=None, limit=50)) == 20
    assert any("may make no roles" in line and f"{schema}_agent" in line for line in sink.lacks)
    source = PostgresSource(url, {TABLE.name: TABLE}, schema=schema)
    with pytest.raises(Unavailable, match="may make no roles"):
        seen(source, ME)
    sql(postgres.url(), *(f"CREATE ROLE {role_name(schema, role)} NOLOGIN" for role in ROLES))
    sink.prepare([TABLE])
    assert not any("roles" in line for line in sink.lacks)
    with pytest.raises(InvalidInput, match="may not do that"):
        seen(source, ME)
    sql(postgres.url(), f"GRANT {role_name(schema, 'agent')} TO {name}")
    assert (seen(source, ME), seen(source, YOU)) == (10, 10)
    source.close()
    sink.close()


def test_a_user_who_may_make_roles_but_is_no_superuser_reads_what_it_feeds(postgres: PostgresPlace) -> None:
    schema = own_name("maker")
    name, url = login(postgres, "CREATEROLE")
    sql(postgres.url(), f"GRANT CREATE ON DATABASE {postgres.database} TO {name}")
    sink = filled(url, schema)
    assert not any("roles" in line for line in sink.lacks)
    source = PostgresSource(url, {TABLE.name: TABLE}, schema=schema)
    assert (seen(source, ME), seen(source, YOU)) == (10, 10)
    source.close()
    sink.close()


def test_a_user_who_may_make_no_schema_is_told_and_feeds_the_one_it_is_given(postgres: PostgresPlace) -> None:
    schema = own_name("given")
    name, url = login(postgres)
    with pytest.raises(InvalidInput, match="permission denied for database"):
        filled(url, schema)
    sql(postgres.url(), f"CREATE SCHEMA {schema} AUTHORIZATION {name}")
    sink = filled(url, schema)
    assert len(sink.rows(TABLE, after=None, limit=50)) == 20
    sink.close()


# -- who reads -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def read(postgres: PostgresPlace) -> Iterator[tuple[str, str]]:
    """A schema that is filled, and the URL of a login that is a member of its role `agent` and nothing else."""
    schema = own_name("readers")
    sink = filled(postgres.url(), schema)
    name, url = login(postgres)
    sql(postgres.url(), f"GRANT {role_name(schema, 'agent')} TO {name}")
    yield schema, url
    sink.close()


@pytest.mark.parametrize("inherits", ["INHERIT", "NOINHERIT"])
def test_a_login_that_owns_nothing_reads_as_the_agent_it_names(
    postgres: PostgresPlace, read: tuple[str, str], inherits: str
) -> None:
    name, url = login(postgres)
    sql(postgres.url(), f"GRANT {role_name(read[0], 'agent')} TO {name} WITH INHERIT {inherits == 'INHERIT'!s}")
    source = PostgresSource(url, {TABLE.name: TABLE}, schema=read[0])
    assert (seen(source, ME), seen(source, YOU), seen(source, bytes(32))) == (10, 10, 0)
    assert source.row(TABLE, bytes([3]) * 16, Reader(ME, ())) is not None
    assert source.row(TABLE, bytes([3]) * 16, Reader(YOU, ())) is None
    with pytest.raises(Unavailable, match="nobody has fed"):
        source.find(TABLE, bytes([3]) * 16, Reader(ME, ()))
    pulsing = PostgresTables(postgres.url(), schema=read[0])
    pulsing.pulse(1)
    pulsing.close()
    found = source.find(TABLE, bytes([3]) * 16, Reader(ME, ()))
    assert found is not None
    assert found.author == ME
    sql(postgres.url(), f"UPDATE {read[0]}._fence SET pulse = NULL")
    source.close()


def as_me(url: str, *statements: str) -> list[Any]:
    """What the last statement gives to one who has said that it is ME."""
    with psycopg.connect(url) as session:
        session.execute("SELECT set_config('antiphon.agent', %s, true)", (ME.hex(),))
        for statement in statements:
            done = session.execute(statement.encode())
        return done.fetchall() if done.description is not None else []


REFUSED = (
    "SET ROLE {schema}_architect",
    "SET ROLE {schema}_monitor",
    'SET ROLE "{owner}"',
    "SET row_security = off; SELECT * FROM {schema}.diaries",
    "ALTER TABLE {schema}.diaries DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE {schema}.diaries OWNER TO CURRENT_USER",
    "CREATE POLICY mine ON {schema}.diaries USING (true)",
    "CREATE FUNCTION {schema}.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SELECT * FROM {schema}.diaries_0",
    "SELECT * FROM {schema}._gone",
    "SELECT epoch FROM {schema}._fence",
    "UPDATE {schema}._fence SET pulse = now()",
    "SELECT nextval('{schema}.diaries_numbers')",
    "UPDATE {schema}.diaries SET words = 'x'",
    "COPY {schema}.diaries TO PROGRAM 'cat'",
    "LOCK TABLE {schema}.diaries",
    "SELECT stavalues1 FROM pg_statistic",
)


@pytest.mark.parametrize("statement", REFUSED)
def test_a_reader_s_login_may_do_nothing_else(postgres: PostgresPlace, read: tuple[str, str], statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        as_me(read[1], *statement.format(schema=read[0], owner=postgres.user).split("; "))


def test_a_reader_s_own_functions_are_not_shown_others_rows(postgres: PostgresPlace, read: tuple[str, str]) -> None:
    """Neither a condition that is cheap and prints what it is given, nor the planner's statistics."""
    schema, url = read
    sql(postgres.url(), f"ANALYZE {schema}.diaries")
    heard: list[str] = []
    with psycopg.connect(url) as session:
        session.add_notice_handler(lambda said: heard.append(said.message_primary or ""))
        session.execute("SELECT set_config('antiphon.agent', %s, true)", (ME.hex(),))
        session.execute(
            "CREATE FUNCTION pg_temp.tell(words text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS "
            "$$ BEGIN RAISE NOTICE '%', words; RETURN true; END $$"
        )
        session.execute(f"SELECT * FROM {schema}.diaries WHERE pg_temp.tell(words)".encode())
    assert sorted(heard) == sorted(f"secret {n}" for n in range(10))
    assert as_me(url, f"SELECT * FROM pg_stats WHERE schemaname = '{schema}'") == []
    assert as_me(url, f"SELECT count(*) FROM {schema}.diaries") == [(10,)]


def test_one_that_says_it_is_another_agent_reads_as_that_one(read: tuple[str, str]) -> None:
    """What the setting does not protect from, as docs/engines.md says."""
    schema, url = read
    asked = f"SELECT count(*) FROM {schema}.diaries"
    assert as_me(url, f"SELECT set_config('antiphon.agent', '{YOU.hex()}', true)", asked) == [(10,)]
    assert as_me(url, "SELECT set_config('antiphon.agent', '', true)", asked) == [(0,)]
