"""Wrong URLs, passwords, versions, tables and values: each a state and a line for a person, and no row is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import redis
from click.testing import CliRunner, Result

from antiphon import Agent, AssertRow, Column, Domain, Index, Kind, Table, Type
from antiphon.cli import main
from antiphon.domains.tasks.commands import Tasks
from antiphon.engines.postgres.migrating import Migration
from antiphon.engines.postgres.source import PostgresSource
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.redis.connection import translated
from antiphon.engines.redis.source import RedisRows
from antiphon.engines.redis.tables import RedisTables
from antiphon.engines.urls import engine_at
from antiphon.model.errors import Corrupt, InvalidInput, Unavailable
from antiphon.model.places import Cache, Places, Relational
from antiphon.query.access import Reader
from antiphon.views.feed import Change, version_of
from antiphon.world.clock import ManualClock
from servers import Postgres, Pretender, Valkey
from servers.places import PostgresPlace, RedisPlace, aimed, own_name
from tests.contracts.engines import PATIENCE_MS

pytestmark = pytest.mark.server


class Odd(msgspec.Struct, omit_defaults=True):
    text: str = ""
    tree: Any = None
    words: list[str] = []
    at: int = 0
    long: int = 0
    size: int = 0
    label: str = ""


ODD = Table(
    "oddities",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("text", Type.TEXT),
        Column("tree", Type.JSON),
        Column("words", Type.LIST, of=Type.TEXT),
        Column("at", Type.TIMESTAMP),
        Column("long", Type.DURATION),
        Column("size", Type.INTEGER, nullable=False),
        Column("label", Type.TEXT),
    ),
    indexes=(Index(("label",)), Index(("at",))),
    places=Places(relational=Relational(), caches=(Cache("odd:{id}"),)),
)
ODD_DOMAIN = Domain(
    "odd",
    kinds=(Kind("odd.said", Odd),),
    tables=(ODD,),
    folds={"odd.said": (AssertRow(ODD, text="text", tree="tree", words="words", at="at", long="long", size="size",
                                  label="label"),)},
)  # fmt: skip


@pytest.fixture
def ada(own_home: Path) -> Iterator[Agent]:
    with Agent.create("ada", home=own_home / "home", domains=[ODD_DOMAIN]) as agent:
        yield agent


@pytest.fixture(scope="module")
def kept(postgres: PostgresPlace) -> str:
    """The URL of a database that is filled again and again: tables are made once."""
    return postgres.url(postgres.make_database("kept"))


@pytest.fixture
def database(postgres: PostgresPlace) -> str:
    """The URL of a database of its own."""
    return postgres.url(postgres.make_database("bad"))


def sql(url: str, *statements: str) -> list[Any]:
    """What the last of these gives."""
    with psycopg.connect(url, autocommit=True) as session:
        for statement in statements:
            done = session.execute(statement.encode())
        return done.fetchall() if done.description is not None else []


def run(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == code, result.output
    return result


# -- where to ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:pa%ss@host/db", "postgresql://host:port/db", "postgresql://host:99999/db",
        "postgresql://host/db?colour=red", "postgresql://[::1/db", "mysql://host/db", "store", "redis://host:port/0",
        "redis://:pa-ss@host:99999/0", "redis://host/0?colour=red", "redis://[::1/0",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused_when_it_is_named_and_not_repeated(ada: Agent, url: str) -> None:
    said = run("engines", "add", "store", url, code=2).output
    assert "pa%ss" not in said
    assert "pa-ss" not in said
    assert len(said.strip().splitlines()) <= 2
    assert json.loads(run("engines", "--json").stdout) == []


WRONG = {
    "password": ("{postgres_password}", "password"),
    "user": ("{postgres_user}", "password"),
    "database": ("{postgres_database}", "does not exist"),
    "version": ("{postgres_14}", "PostgreSQL 16 or newer is needed"),
    "tls": ("{postgres_tls}", "SSL"),
    "redis password": ("{redis_password}", "refuses this user or password"),
    "redis number": ("{redis_number}", "no Redis with such a database"),
    "redis version": ("{redis_5}", "Redis 6.2 or newer is needed"),
}


ASKING = {  # what the server must be like to refuse
    "password": "postgres password",
    "user": "postgres password",
    "tls": "postgres without tls",
    "redis password": "redis password",
}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.needs(*([ASKING[what]] if what in ASKING else []))) for what in WRONG]
)
def test_a_wrong_server_stops_the_feeder_with_one_line_until_it_is_mended(
    what: str, own_home: Path, postgres: PostgresPlace, kept: str, valkey: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Agent.create("ada") as agent, Pretender("postgresql", "14.9") as old, Pretender("redis", "5.0.14") as older:
        entity = Tasks(agent).create("a task").entity
        wrong, said = WRONG[what]
        urls = {
            "postgres_tls": aimed(kept, query="sslmode=require"),
            "postgres_database": postgres.url(own_name("nowhere")),
            "postgres_user": postgres.url(user=own_name("nobody"), password="x"),
            "postgres_password": postgres.url(password="wrong-word"),
            "postgres_14": old.url(), "redis_password": valkey.url(password="wrong-word"),
            "redis_number": valkey.url(999), "redis_5": older.url(),
        }  # fmt: skip
        name = "cache" if what.startswith("redis") else "store"
        monkeypatch.setenv("WHERE", wrong.format(**urls))
        run("engines", "add", name, "${WHERE}")
        for how in (["--once"], []):
            failed = run("engines", "feed", name, *how, code=1).output
            said_at_once = f"feeding {name}; ^C"
            lines = [line for line in failed.splitlines() if line.strip() and "\t" not in line]
            (line,) = [line for line in lines if not line.startswith(said_at_once)]
            assert said in line
            assert "wrong-word" not in failed
            (one,) = json.loads(run("engines", "--json").stdout)
            assert (one["name"], one["state"], one["letters"]) == (name, "stopped", 0)
            assert said in one["error"]
        assert agent.table("tasks").get(entity) is not None
        assert agent.verify().ok
        monkeypatch.setenv("WHERE", kept if name == "store" else valkey.url(prefix=valkey.prefix("bad")))
        run("engines", "feed", name, "--once", "--take-over")  # which another test's file has fed
        (one,) = json.loads(run("engines", "--json").stdout)
        assert (one["state"], one["behind"], one["error"]) == ("following", 0, "")
        run("engines", "check", name)


@pytest.mark.parametrize("url", ["postgresql://127.0.0.1:1/db", "redis://127.0.0.1:1/0", "redis://no.such.invalid/0"])
def test_a_server_that_is_not_there_is_asked_again(ada: Agent, url: str) -> None:
    sink = PostgresTables(url) if url.startswith("postgres") else RedisTables(url)
    follower = ada.follow(sink, name="store", tables=["oddities"])
    with pytest.raises(Unavailable, match="did not answer"):
        follower.run(patience_ms=200)
    (one,) = ada.followers()
    assert one.state == "retrying"
    assert one.error
    sink.close()


# -- what the server lacks -----------------------------------------------------------------------------------------


def fed(agent: Agent, sink: Any, name: str = "store") -> Any:
    """All its rows are delivered and compared."""
    follower = agent.follow(sink, name=name, tables=["oddities"])
    follower.run(patience_ms=PATIENCE_MS)
    assert follower.check() == []
    return follower


@pytest.mark.needs("own postgres")
def test_a_server_whose_extensions_are_not_loaded_keeps_rows_and_says_so(ada: Agent) -> None:
    ada.record("odd.said", Odd(text="one"))
    with Postgres(preload=()) as server:
        sink = PostgresTables(server.url())
        fed(ada, sink)
        assert sink.lacks == ["the extension timescaledb is not to be had"]
        sink.close()


@pytest.mark.needs("timescaledb", "vector")
def test_a_user_who_may_make_no_extension_keeps_rows_and_is_told(ada: Agent, postgres: PostgresPlace) -> None:
    name, user = postgres.make_database("plain"), own_name("plain")
    sql(postgres.url(), f"CREATE ROLE {user} LOGIN PASSWORD 'x'")
    sql(postgres.url(name), f"CREATE SCHEMA antiphon AUTHORIZATION {user}")
    ada.record("odd.said", Odd(text="one"))
    sink = PostgresTables(postgres.url(name, user=user, password="x"))
    fed(ada, sink)
    assert [line.split(" is ")[0] for line in sink.lacks[:2]] == ["the extension vector", "the extension timescaledb"]
    sink.close()


# -- what somebody altered -----------------------------------------------------------------------------------------

ALTERED = {
    "column dropped": ("ALTER TABLE antiphon.oddities DROP COLUMN text", "column text is not there"),
    "column renamed": ("ALTER TABLE antiphon.oddities RENAME size TO big", "column size is not there"),
    "type changed": ("ALTER TABLE antiphon.oddities ALTER size TYPE text", "column size is text, not bigint"),
    "made narrow": (
        "ALTER TABLE antiphon.oddities ALTER text TYPE varchar(2) USING left(text, 2)",
        "column text is character varying(2)",
    ),
    "column added": (
        "ALTER TABLE antiphon.oddities ADD extra int NOT NULL DEFAULT 1; "
        "ALTER TABLE antiphon.oddities ALTER extra DROP DEFAULT",
        "column extra is not declared",
    ),
    "key dropped": ("ALTER TABLE antiphon.oddities DROP COLUMN id CASCADE", "column id is not there"),
    "version dropped": ("ALTER TABLE antiphon.oddities DROP COLUMN _version", "column _version is not there"),
    "table dropped": ("DROP TABLE antiphon.oddities CASCADE", "the table is not there"),
}


@pytest.mark.parametrize("how", ALTERED)
@pytest.mark.parametrize("running", [True, False], ids=["while feeding", "between"])
def test_a_table_altered_by_hand_stops_the_feeder_and_migrate_mends_it(
    ada: Agent, database: str, how: str, running: bool
) -> None:
    entities = [ada.record("odd.said", Odd(text=f"text {n}", size=n)).entity for n in range(3)]
    sink = PostgresTables(database)
    follower = fed(ada, sink)
    statement, said = ALTERED[how]
    sql(database, statement)
    entities.append(ada.record("odd.said", Odd(text="while it was altered", size=7)).entity)
    if not running or how == "type changed":  # a number fits into text: only looking at the table tells
        follower.close()
        sink.close()
        sink = PostgresTables(database)
        follower = ada.follow(sink, name="store", tables=["oddities"])
    with pytest.raises(Corrupt, match="altered the table 'oddities'"):
        follower.run(patience_ms=PATIENCE_MS)
    (one,) = ada.followers()
    assert (one.state, one.letters) == ("stopped", 0)
    assert said in one.error
    follower.close()
    sink.close()
    migration = Migration(database, {"oddities": ODD})
    migration.run(migration.due().steps)
    sink = PostgresTables(database)
    follower = fed(ada, sink)
    migration.run(migration.due().steps)
    assert (migration.due().steps, migration.due().waiting) == ([], [])
    assert follower.letters() == []
    assert len(sink.rows(ODD, after=None, limit=10)) == len(entities)
    listed = sql(database, "SELECT attname FROM pg_attribute WHERE attrelid = 'antiphon.oddities'::regclass AND "
                           "attnotnull AND attname = 'size'")  # fmt: skip
    assert listed == [("size",)]
    assert sql(database, "SELECT relrowsecurity FROM pg_class WHERE oid = 'antiphon.oddities'::regclass") == [(True,)]
    migration.close()
    sink.close()


def test_what_was_altered_is_seen_within_a_minute_though_rows_still_fit(ada: Agent, database: str) -> None:
    ada.record("odd.said", Odd(size=1))
    sink = PostgresTables(database)
    follower = fed(ada, sink)
    sql(database, "ALTER TABLE antiphon.oddities ALTER size TYPE text")
    with pytest.raises(Corrupt, match="column size is text"):
        sink.retire(follower._record.epoch, [ODD])
    sink.close()


def test_a_schema_dropped_by_hand_is_filled_again(ada: Agent, database: str) -> None:
    ada.record("odd.said", Odd(text="one"))
    sink = PostgresTables(database)
    follower = fed(ada, sink)
    sql(database, "DROP SCHEMA antiphon CASCADE")
    ada.record("odd.said", Odd(text="two"))
    with pytest.raises(Corrupt, match="_fence"):
        follower.run(patience_ms=PATIENCE_MS)
    follower.close()
    fed(ada, sink)
    assert len(sink.rows(ODD, after=None, limit=10)) == 2
    sink.close()


# -- clocks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off_ms", [-400 * 86_400_000, 400 * 86_400_000])
def test_ages_are_by_the_server_s_clock(own_home: Path, database: str, valkey: RedisPlace, off_ms: int) -> None:
    clock = ManualClock(1_760_000_000_000 + off_ms)
    with Agent.create("ada", home=own_home / "home", domains=[ODD_DOMAIN], clock=clock) as agent:
        key = agent.record("odd.said", Odd(text="one")).entity
        prefix = valkey.prefix("clock")
        sinks: list[Any] = [PostgresTables(database), RedisTables(valkey.url(), prefix=prefix)]
        tables = {"oddities": ODD}
        places: list[Any] = [PostgresSource(database, tables), RedisRows(valkey.url(), tables, prefix=prefix)]
        for sink, place in zip(sinks, places, strict=True):
            follower = fed(agent, sink, type(sink).__name__)
            assert follower.lag().seconds == 0
            (raw,) = [change.key for change in sink.rows(ODD, after=None, limit=2)]
            found = place.find(ODD, raw, Reader(agent.record_of_agent.agent, ()))
            assert key is not None
            assert found is not None
            assert 0 <= found.age_ms < 60_000
            place.close()
            sink.close()


# -- values --------------------------------------------------------------------------------------------------------

YEAR_300_000_MS = 9_404_000_000_000_000
UNHELD = {
    "column text": Odd(text="a\0b"),
    "column tree": Odd(tree={"a": ["x\0"]}),
    "column words": Odd(words=["fine", "\0"]),
    "column at": Odd(at=YEAR_300_000_MS),
    "column long": Odd(long=1 << 62),
    "index row requires": Odd(label="".join(map(chr, range(0x4E00, 0x4E00 + 4_000)))),
}
HELD = (Odd(text="\\u0000"), Odd(tree={"a": "\\u0000"}), Odd(words=["\\0"]), Odd(at=-1), Odd(size=(1 << 63) - 1))


def test_values_that_postgres_cannot_hold_are_letters_and_all_others_arrive(ada: Agent, database: str) -> None:
    with ada.batch():
        refused = {what: ada.record("odd.said", odd).entity for what, odd in UNHELD.items()}
        for n in range(300):
            ada.record("odd.said", msgspec.structs.replace(HELD[n % len(HELD)], label=str(n)))
    sink = PostgresTables(database)
    follower = ada.follow(sink, name="store", tables=["oddities"])
    follower.run(patience_ms=PATIENCE_MS)
    letters = {key: reason for _, key, reason in follower.letters()}
    keys = {what: bytes(ada.table("oddities").get(entity)["id"]) for what, entity in refused.items()}
    assert letters.keys() == set(keys.values())
    for what, key in keys.items():
        assert what in letters[key]
    assert all("a\0b" not in reason for reason in letters.values())
    assert len(sink.rows(ODD, after=None, limit=1_000)) == 300
    assert {difference.key for difference in follower.check()} == set(keys.values())
    (one,) = ada.followers()
    assert (one.state, one.letters, one.behind) == ("following", len(UNHELD), 0)
    for entity in refused.values():
        ada.forget(entity=entity)
    follower.run(patience_ms=PATIENCE_MS)
    assert (follower.letters(), follower.check()) == ([], [])
    assert ada.verify().ok
    sink.close()


def test_redis_holds_them_all(ada: Agent, valkey: RedisPlace) -> None:
    with ada.batch():
        for odd in (*UNHELD.values(), *HELD):
            ada.record("odd.said", odd)
    sink = RedisTables(valkey.url(), prefix=valkey.prefix("odd"))
    assert fed(ada, sink).letters() == []
    assert len(sink.rows(ODD, after=None, limit=100)) == len(UNHELD) + len(HELD)
    sink.close()


def test_a_key_that_was_never_held_needs_no_grave(postgres: PostgresPlace) -> None:
    from antiphon.model.values import key_of

    table = Table("named", key="name", columns=(Column("name", Type.TEXT, nullable=False),), minted=False)
    sink = PostgresTables(postgres.url(), schema=own_name("never"))
    sink.prepare([table])
    assert sink.fence(0, 1)
    sink.apply(1, [Change("named", key_of(table, {"name": "a\0"}), version_of(1, 1), None)])
    assert sink.rows(table, after=None, limit=1) == []
    sink.close()


def test_a_reader_without_rights_is_told(postgres: PostgresPlace, database: str) -> None:
    user = own_name("guest")
    sql(postgres.url(), f"CREATE ROLE {user} LOGIN PASSWORD 'x'")
    sink = PostgresTables(database)
    sink.prepare([ODD])
    source = PostgresSource(aimed(database, user=user, password="x"), {"oddities": ODD})
    with pytest.raises(InvalidInput, match="may not do that"):
        source.row(ODD, bytes(16), Reader(bytes(32), ()))
    source.close()
    sink.close()


@pytest.mark.needs("own valkey")
def test_keys_of_a_cluster_that_are_elsewhere_are_told_apart_from_those_that_nobody_has() -> None:
    with Valkey(slots=(0, 8_000)) as half:
        for tag, served in (("{b}", True), ("{a}", False)):  # of the slots 3300 and 15495
            sink = engine_at(f"{half.url()}?prefix={tag}:")
            sink.prepare([ODD])
            if served:
                assert sink.fence(sink.kept().epoch, 1)
            else:
                with pytest.raises(Unavailable, match="slot"):
                    sink.kept()
            sink.close()
    moved = translated(redis.exceptions.MovedError("15495 10.0.0.7:6379"), "redis://:pa-ss@10.0.0.6/0")
    assert isinstance(moved, InvalidInput)
    assert "10.0.0.7:6379" in str(moved)
    assert "?prefix={fleet}:" in str(moved)
    assert "pa-ss" not in str(moved)


@pytest.mark.needs("own valkey")
def test_a_replica_that_takes_no_writes_is_asked_again() -> None:
    with Valkey() as replica:
        client = redis.Redis.from_url(replica.url())
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        sink = RedisTables(replica.url())
        with pytest.raises(Unavailable):
            sink.fence(0, 1)
        client.close()
        sink.close()
