"""Real servers that die, hang, fill up, are emptied and fail over while a fleet writes: in the end the same rows."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent
from antiphon.engines.postgres.tables import PostgresTables
from antiphon.engines.redis.tables import RedisTables
from antiphon.model.errors import Conflict
from antiphon.replica.follow import Follower
from antiphon.views.feed import Change, Sink
from servers import Postgres, Proxy, Valkey
from servers.disk import NoSmallDisk, small_disk
from servers.proxy import WITHIN_S, until
from tests.contracts.engines import KINDS
from tests.unit.views.notes import NOTES_DOMAIN, Changed, Written

pytestmark = pytest.mark.server
SILENCE_S = 4.0
"""After so long a server hangs, in the tests of that."""
WRITES_S_MAX = 60.0
"""Of two dozen commits, each of which would be held up for SILENCE_S at least."""
SINGLE = 5
"""Commits of one event each that come behind every batch."""


class Writer:
    """An agent that writes notes, and the follower that feeds an engine from its file."""

    def __init__(self, home: Path) -> None:
        self.agent = Agent.create("ada", home=home, domains=[NOTES_DOMAIN])
        self.ids: list[Any] = []

    def write(self, count: int, *, more: str = "") -> None:
        with self.agent.batch():
            self.ids += [self.agent.record("note.written", Written(f"note {n} {more}")).entity for n in range(count)]
            for entity in self.ids[-count // 10 :]:
                self.agent.record("note.changed", Changed(colour="red", text="changed"), entity=entity)
        for entity in self.ids[-SINGLE:]:
            self.agent.record("note.changed", Changed(text="changed again"), entity=entity)

    def follow(self, sink: Sink, name: str = "rows") -> Follower:
        return self.agent.follow(sink, name=name, tables=["notes", "board"], background=True)


@pytest.fixture
def writer(own_home: Path) -> Iterator[Writer]:
    made = Writer(own_home)
    yield made
    made.agent.close()


def settled(writer: Writer, follower: Follower, *, within_s: float = 2 * WITHIN_S) -> None:
    """Waits until everything is delivered; then engine and file agree, row by row."""
    until(
        lambda: follower.state == "following" and follower.lag().events == 0 and follower.idle,
        within_s=within_s,
        what=f"delivery ({follower.state}: {follower.error})",
    )
    assert follower.check() == []
    assert follower.letters() == []


@contextmanager
def served(kind: str, *, silence_s: float = WITHIN_S, **how: Any) -> Iterator[tuple[Any, Proxy, Callable[[], Any]]]:
    """A server of its own, a proxy before it, and what makes an engine that goes through the proxy."""
    with Postgres(**how) if kind == "postgres" else Valkey(**how) as server, Proxy(server.port) as proxy:
        made: list[Any] = []

        def engine() -> Any:
            url = server.url(port=proxy.port)
            if kind == "postgres":
                made.append(PostgresTables(url, silence_s_max=silence_s))
            else:
                made.append(RedisTables(url, answer_s_max=silence_s))
            return made[-1]

        yield server, proxy, engine
        for one in made:
            one.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_killed_in_the_middle_and_started_again_has_every_row(kind: str, writer: Writer) -> None:
    with served(kind) as (server, _, engine):
        writer.write(2_000)
        follower = writer.follow(engine())
        for _ in range(3):
            until(lambda: follower.delivered > 0, what="the first rows")
            server.kill()
            writer.write(300)
            until(lambda: follower.state == "retrying", what="noticing")
            server.start()
        settled(writer, follower)
        follower.close()


@pytest.mark.parametrize("kind", KINDS)
def test_connections_cut_again_and_again(kind: str, writer: Writer) -> None:
    with served(kind) as (_, proxy, engine):
        writer.write(2_000)
        proxy.cut_after = 100_000
        follower = writer.follow(engine())
        until(lambda: proxy.connections > 3, what="some cuts")
        writer.write(500)
        proxy.cut_after = None
        settled(writer, follower)
        follower.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_hangs_costs_the_writer_nothing_and_is_noticed(kind: str, writer: Writer) -> None:
    with served(kind, silence_s=SILENCE_S) as (server, _, engine):
        writer.write(100)
        follower = writer.follow(engine())
        settled(writer, follower)
        server.hang()
        try:
            began = time.monotonic()
            for _ in range(4):
                writer.write(50)
            assert time.monotonic() - began < WRITES_S_MAX, "writes waited for the engine"
            until(lambda: follower.state == "retrying", what="noticing")
        finally:
            server.wake()
        settled(writer, follower)
        follower.close()


@pytest.mark.parametrize("kind", KINDS)
def test_of_two_feeders_the_later_one_feeds(kind: str, writer: Writer) -> None:
    with served(kind) as (_, _, engine):
        writer.write(200)
        first = writer.follow(engine())
        settled(writer, first)
        second = writer.follow(engine(), name="taking over")
        settled(writer, second)
        writer.write(50)
        until(lambda: first.state == "fenced", what="the fence")
        with pytest.raises(Conflict):
            first.step()
        settled(writer, second)
        first.close()
        second.close()


@pytest.mark.needs("own valkey")
def test_a_valkey_that_is_emptied_fills_again(writer: Writer) -> None:
    with served("valkey") as (server, _, engine):
        import redis

        writer.write(500)
        follower = writer.follow(engine())
        settled(writer, follower)
        client = redis.Redis.from_url(server.url())
        client.flushall()
        writer.write(10)
        settled(writer, follower)
        notes = writer.agent.replica.registry.table("notes")
        assert len(engine_rows(follower, notes)) == len(writer.ids)
        client.close()
        follower.close()


def engine_rows(follower: Follower, table: Any) -> list[Change]:
    return follower._sink.rows(table, after=None, limit=100_000)


@pytest.mark.needs("own valkey")
def test_a_valkey_that_evicts_keeps_no_wrong_row(writer: Writer) -> None:
    with served("valkey", memory_bytes_max=3 << 20, append_only=False) as (_, _, engine):
        writer.write(4_000, more="long " * 100)
        follower = writer.follow(engine())
        until(lambda: follower.state == "following" and follower.lag().events == 0, what="delivery")
        writer.write(200)
        settled(writer, follower)
        notes = writer.agent.replica.registry.table("notes")
        assert len(engine_rows(follower, notes)) < len(writer.ids), "nothing was evicted"
        follower.close()


@pytest.mark.needs("own postgres")
def test_postgres_fails_over_to_its_standby(writer: Writer) -> None:
    with served("postgres") as (primary, proxy, engine):
        writer.write(500)
        follower = writer.follow(engine())
        settled(writer, follower)
        standby = primary.standby()
        try:
            writer.write(300)
            primary.kill()
            standby.promote()
            proxy.retarget(standby.port)
            writer.write(300)
            settled(writer, follower)
        finally:
            standby.remove()
        follower.close()


@pytest.fixture
def small() -> Iterator[Path]:
    """A disk that a PostgreSQL just fits on."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(small_disk(160 << 20))
        except NoSmallDisk as error:
            pytest.skip(f"no disk can be filled: {error}")
        yield folder


@pytest.mark.needs("own postgres")
def test_a_full_disk_under_postgres_passes_when_there_is_room_again(writer: Writer, small: Path) -> None:
    filler = small / "filler"
    with served("postgres", folder=small) as (_, _, engine):
        writer.write(100)
        follower = writer.follow(engine())
        settled(writer, follower)
        with filler.open("wb") as out:
            try:
                while True:
                    out.write(bytes(1 << 16))
                    out.flush()
            except OSError:
                pass
        writer.write(1_500, more="long " * 100)
        until(lambda: "the disk is full" in follower.error, what="noticing")
        until(lambda: "the disk is full" in writer.agent.followers()[0].error, what="saying so")
        (standing,) = writer.agent.followers()
        assert (standing.state, standing.letters) == ("retrying", 0)
        filler.unlink()
        settled(writer, follower)
        follower.close()


@pytest.mark.parametrize("kind", KINDS)
def test_forgotten_words_are_nowhere_in_the_engine(kind: str, writer: Writer) -> None:
    with served(kind) as (server, _, engine):
        writer.write(50)
        secret = writer.agent.record("note.written", Written("the word xylophonic")).entity
        follower = writer.follow(engine())
        settled(writer, follower)
        assert "xylophonic" in everything(kind, server)
        writer.agent.forget(entity=secret)
        settled(writer, follower)
        assert "xylophonic" not in everything(kind, server)
        follower.close()


def everything(kind: str, server: Any) -> str:
    """What a server would tell anybody who may read all of it."""
    if kind == "postgres":
        return str(server.dump())
    import redis

    client = redis.Redis.from_url(server.url())
    found = []
    for name in client.scan_iter(count=1_000):
        kind_of = client.type(name)
        if kind_of == b"string":
            found.append(client.get(name))
        elif kind_of == b"hash":
            found.append(client.hgetall(name))
        elif kind_of == b"list":
            found.append(client.lrange(name, 0, -1))
        else:
            found.append(client.zrange(name, 0, -1))
    client.close()
    return repr(found)


@pytest.mark.needs("own postgres", "own valkey")
def test_writers_go_on_while_two_engines_follow(writer: Writer) -> None:
    with served("postgres") as (_, _, relational), served("valkey") as (_, _, cache):
        followers = [writer.follow(relational(), "relational"), writer.follow(cache(), "cache")]
        done = threading.Event()

        def write() -> None:
            for _ in range(10):
                writer.write(100)
            done.set()

        thread = threading.Thread(target=write)
        thread.start()
        thread.join(2 * WITHIN_S)
        assert done.is_set()
        for follower in followers:
            settled(writer, follower)
            follower.close()
