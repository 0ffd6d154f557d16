"""Through pgbouncer, which hands a server's session to another client after each transaction: nothing is noticed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from antiphon import Agent
from antiphon.engines.postgres.migrating import Migration
from antiphon.engines.postgres.source import PostgresSource
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.query.access import Reader
from antiphon.query.plan import Ask, plan
from servers import Pgbouncer
from servers.places import PostgresPlace
from servers.proxy import WITHIN_S, until
from tests.contracts.engines import OWN_POSTGRES, PATIENCE_MS
from tests.unit.views.notes import BOARD, NOTES, NOTES_DOMAIN, Changed, Pinned, Written

pytestmark = [*OWN_POSTGRES]
TABLES = {"notes": NOTES, "board": BOARD}


@pytest.fixture
def urls(postgres: PostgresPlace) -> Iterator[tuple[str, str]]:
    """The URL of a database through the pooler, and past it."""
    name = postgres.make_database("pooled")
    with Pgbouncer(postgres.port) as pooler:
        yield postgres.url(name, port=pooler.port), postgres.url(name)


def test_feeding_and_reading_by_many_clients_of_few_sessions(own_home: Path, urls: tuple[str, str]) -> None:
    pooled, direct = urls
    with Agent.create("ada", home=own_home / "home", domains=[NOTES_DOMAIN]) as agent:
        sink = PostgresTables(pooled)
        follower = agent.follow(sink, name="rows", tables=list(TABLES), background=True)
        reader = Reader(agent.record_of_agent.agent, ())
        stop, failures, seen = threading.Event(), [], []

        def read() -> None:
            source = PostgresSource(pooled, TABLES)
            while not stop.is_set():
                try:
                    asked = plan(NOTES, Ask(order=("at",)))
                    part = source.page(asked, reader, after=None, limit=20, scanned_max=100)
                    assert source.page(asked, Reader(b"x" * 32, ()), after=None, limit=5, scanned_max=9).rows == []
                    seen.append(len(part.rows))
                except Exception as error:  # noqa: BLE001  # told by the thread that waits
                    failures.append(error)
                    break
            source.close()

        until(lambda: follower.state == "following", what="the tables")
        threads = [threading.Thread(target=read) for _ in range(6)]  # twice as many as there are sessions
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                with agent.batch():
                    notes = [agent.record("note.written", Written(f"note {n}")).entity for n in range(100)]
                    for entity in notes[:20]:
                        agent.record("note.changed", Changed(text="changed"), entity=entity)
                        agent.record("note.pinned", Pinned("wall"), entity=entity)
                    agent.record("note.torn", {}, entity=notes[0])
            follower.close()
            follower.run(patience_ms=PATIENCE_MS)
        finally:
            stop.set()
            for thread in threads:
                thread.join(WITHIN_S)
        assert failures == []
        assert max(seen) == 20
        assert follower.check() == []
        with psycopg.connect(direct) as session:
            assert session.execute("SELECT count(*) FROM antiphon.notes").fetchone() == (990,)
        sink.close()


def test_a_migration_leaves_no_setting_behind(urls: tuple[str, str]) -> None:
    pooled, direct = urls
    with psycopg.connect(pooled, autocommit=True) as session:
        before = session.execute("SHOW lock_timeout").fetchone()
    sink = PostgresTables(pooled)
    sink.prepare([NOTES])
    with psycopg.connect(direct, autocommit=True) as session:
        session.execute("ALTER TABLE antiphon.notes DROP COLUMN pinned")
    migration = Migration(pooled, TABLES)
    migration.run(migration.due().steps)
    migration.close()
    sink.close()
    for _ in range(6):
        with psycopg.connect(pooled, autocommit=True) as session:
            assert session.execute("SHOW lock_timeout").fetchone() == before
            assert session.execute("SHOW role").fetchone() == ("none",)
