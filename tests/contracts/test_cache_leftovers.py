"""What a cache keeps beside rows: nothing of what is forgotten, whatever was evicted; what others put there goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from antiphon import Agent, AssertRow, Domain, Kind
from antiphon.domains.loops.runtime import DRIFT_RATINGS
from antiphon.domains.network.agents import AGENT_REGISTRY
from antiphon.engines.redis import tables as tables_module
from antiphon.engines.redis.entries import owner_of
from antiphon.engines.redis.live import RedisTopics
from antiphon.engines.redis.presence import RedisPresence
from antiphon.engines.redis.tables import RedisTables
from antiphon.engines.sealing import SealedSink
from antiphon.engines.urls import tables_for
from antiphon.model.event import Scope
from antiphon.model.places import HOUR_MS, Cache, Places, Stream
from antiphon.model.table import Column, Table, Type
from antiphon.model.text import id_text
from antiphon.model.values import key_of
from antiphon.replica import follow
from antiphon.views.feed import Change, EngineEmptied, version_of
from servers.places import RedisPlace, own_name
from tests.contracts.engines import OWN_VALKEY, seals

pytestmark = pytest.mark.server
WORD = "xylophonic"
SECRETS = Table(
    "secrets",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("owner", Type.TEXT),
        Column("word", Type.TEXT),
        Column("at", Type.TIMESTAMP),
    ),
    places=Places(
        caches=(
            Cache("secret:{id}:state", ("word",)),
            Cache("secret:{id}:fields", ("word", "owner"), shape="hash"),
            Cache("secret:{id}:there", shape="flag"),
            Cache("secret:of:{owner}:words", ("word",), HOUR_MS, "set"),
            Cache("secret:of:{owner}:list", ("id", "word"), HOUR_MS, "list"),
            Cache("secret:of:{owner}:last", ("id", "word"), HOUR_MS, "hash", latest="at"),
            Cache("secret:last:word", ("word",), latest="at"),
            Cache("word:{word}:seen", shape="flag", latest="at"),
        ),
        streams=(Stream("secrets.written", 1, HOUR_MS, ("secret.written",)),),
    ),
)
SHAPES = {"string", "hash", "set", "list"}


class Written(msgspec.Struct):
    word: str
    owner: str
    at: int = 1


DOMAIN = Domain(
    "secrets",
    kinds=(Kind("secret.written", Written),),
    tables=(SECRETS,),
    folds={"secret.written": (AssertRow(SECRETS, word="word", owner="owner", at="at"),)},
)


class Server:
    """A prefix of a server, and all that is under it."""

    def __init__(self, place: RedisPlace, prefix: str) -> None:
        self.url, self.prefix = place.url(), prefix
        self.client = redis.Redis.from_url(place.url())

    def names(self, part: str = "") -> list[bytes]:
        return [name for name in self.client.scan_iter(match=f"{self.prefix}*", count=1_000) if part.encode() in name]

    def evict(self, part: str) -> int:
        return sum(int(self.client.delete(name)) for name in self.names(part) if not name.endswith(b"antiphon:fence"))

    def holding(self, word: str = WORD) -> list[bytes]:
        """The keys with a word in name or content."""
        return [name for name in self.names() if word.encode() in name or word.encode() in self._content(name)]

    def _content(self, name: bytes) -> bytes:
        client, found = self.client, b""
        kind = client.type(name)
        match kind:
            case b"string":
                found = client.get(name) or b""
            case b"hash":
                found = repr(client.hgetall(name)).encode()
            case b"set":
                found = repr(client.smembers(name)).encode()
            case b"list":
                found = repr(client.lrange(name, 0, -1)).encode()
            case b"zset":
                found = repr(client.zrange(name, 0, -1)).encode()
            case b"stream":
                found = repr(client.xrange(name)).encode()
            case _:
                raise LookupError(kind)
        return found


@pytest.fixture(params=("valkey", pytest.param("cluster", marks=OWN_VALKEY)))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(request.getfixturevalue(request.param), f"{{{own_name('left')}}}:")
    yield made
    made.client.close()


def sink_at(server: Server, *tables: Table, **how: Any) -> RedisTables:
    made = RedisTables(server.url, prefix=server.prefix, **how)
    made.prepare(tables or [SECRETS])
    assert made.fence(made.kept().epoch, made.kept().epoch + 1)
    return made


def key(n: int) -> bytes:
    return n.to_bytes(16, "big")


def secret(n: int, offset: int, word: str | None = WORD, *, owner: str = "ada", epoch: int = 1) -> Change:
    row = {"id": key(n), "word": word, "owner": owner, "at": offset}
    return Change("secrets", key(n), version_of(epoch, offset), None if word is None else row)


LOST = {
    "nothing": (),
    "the row": ("row:secrets:",),
    "the list of rows": ("rows:secrets",),
    "the row and its list": ("row:secrets:", "rows:secrets"),
    "whose keys are": ("antiphon:of:",),
    "the row and whose keys are": ("row:secrets:", "antiphon:of:"),
    "which keys rows are in": ("held:secrets",),
    "until when": ("until:secrets",),
    "all but the keys": ("row:secrets:", "rows:secrets", "antiphon:of:", "held:secrets", "until:secrets"),
}


@pytest.mark.parametrize("lost", LOST)
def test_of_a_row_that_goes_nothing_stays_in_any_key(server: Server, lost: str) -> None:
    sink = sink_at(server)
    sink.apply(1, [secret(1, 5, owner=f"{WORD}s"), secret(2, 4, "another", owner=f"{WORD}s"), secret(3, 3, "third")])
    assert {server.client.type(name).decode() for name in server.holding()} >= SHAPES
    for part in LOST[lost]:
        assert server.evict(part) > 0
    sink.apply(1, [secret(2, 6, "another"), secret(1, 7, None)])
    assert server.holding() == []
    assert server.holding("third"), "the others are not taken out for it"
    sink.close()


@pytest.mark.parametrize("lost", LOST)
def test_nor_of_a_row_that_went_while_nobody_fed(server: Server, lost: str) -> None:
    sink = sink_at(server)
    sink.apply(1, [secret(1, 5)])
    for part in LOST[lost]:
        assert server.evict(part) > 0
    sink.close()
    again = sink_at(server)
    again.apply(2, [secret(2, 5, "another", epoch=2)])
    again.sweep(2, SECRETS, 2)
    left = server.holding()
    if "the list" in lost or lost == "all but the keys":  # only the list says that the row was there
        left = [name for name in left if b"secret:00000000" not in name and b"row:secrets" not in name]
    assert left == []
    again.close()


def test_nor_of_one_that_is_cold(server: Server) -> None:
    """Its string has ended before its keys have, which is so by declared times alone where a test says so."""
    sink = sink_at(server, warm_ms=300)
    sink.apply(1, [secret(1, 5)])
    time.sleep(0.4)
    assert server.names("row:secrets:") == []
    sink.trim(1, SECRETS, version_of(1, 1))
    sink.close()
    again = sink_at(server, warm_ms=300)
    again.sweep(2, SECRETS, 2)
    assert server.holding() == []
    again.close()


def test_words_in_the_keys_of_rows_go_with_their_tombstones(server: Server) -> None:
    """Keys of rows are what an engine knows them by, so tombstones have them, and nothing else."""

    def rated(offset: int, *, gone: bool = False) -> Change:
        row = dict.fromkeys(DRIFT_RATINGS.names) | {
            "entity_id": WORD, "rated_by": b"a" * 32, "rating": "0.9", "level": "critical", "as_of": 5,
        }  # fmt: skip
        return Change("drift_ratings", key_of(DRIFT_RATINGS, row), version_of(1, offset), None if gone else row)

    sink = sink_at(server, DRIFT_RATINGS)
    sink.apply(1, [rated(1)])
    assert len(server.holding()) > 5
    sink.apply(1, [rated(2, gone=True)])
    assert all(b"row:drift_ratings" in name or b"gone:drift_ratings" in name for name in server.holding())
    sink.trim(1, DRIFT_RATINGS, version_of(1, 3))
    assert server.holding() == []
    sink.close()


def test_what_an_agent_forgets_is_nowhere_and_what_is_left_is_named(valkey: RedisPlace, own_home: Path) -> None:
    server = Server(valkey, valkey.prefix("agent"))
    with Agent.create("ada", home=own_home, domains=[DOMAIN]) as ada:
        topics = RedisTopics(server.url, prefix=server.prefix)
        live = ada.follow_events(topics, name="live", topics=["secrets.written"])
        sink = SealedSink(RedisTables(server.url, prefix=server.prefix), seals())
        follower = ada.follow(sink, name="cache", tables=["secrets"])
        made = ada.record("secret.written", Written(WORD, "ada"))
        ada.record("secret.written", Written("another", "bob"))
        for one in (follower, live):
            one.run()
        assert server.names("events:secrets:written")
        assert follower.check() == []
        assert server.evict("row:secrets:") == 2
        ada.forget(entity=made.entity)
        assert [(one.table, one.how) for one in follower.check()] == [("secrets", "extra")], "still in its keys"
        assert server.evict("held:") == 1
        assert [one.how for one in follower.check()] == ["extra"], "in keys of its own"
        follower.run()
        assert server.holding() == []
        assert follower.check() == []
        live.close()
        follower.close()
        topics.close()


# -- what is evicted comes again ------------------------------------------------------------------------------------


def scans(server: Server) -> int:
    stats: Any = server.client.info("commandstats")
    return int(stats.get("cmdstat_scan", {}).get("calls", 0))


def test_members_that_were_lost_come_again_by_themselves(
    valkey: RedisPlace, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "TRIM_EVERY_MS", 0.0)
    server = Server(valkey, valkey.prefix("lost"))
    words = f"{server.prefix}secret:of:ada:words"
    with Agent.create("ada", home=own_home, domains=[DOMAIN]) as ada:
        sink = SealedSink(RedisTables(server.url, prefix=server.prefix), seals())
        follower = ada.follow(sink, name="cache", tables=["secrets"])
        for word in ("one", "two"):
            ada.record("secret.written", Written(word, "ada"))
        follower.run()
        assert not sink.lost()
        assert server.evict("held:secrets") == 1
        ada.record("secret.written", Written("three", "ada"))
        epoch = sink.kept().epoch
        follower.run()
        assert server.client.smembers(words) == {b"one", b"two", b"three"}
        assert sink.kept().epoch == epoch + 1
        assert not sink.lost()
        server.evict("until:secrets")
        ada.record("secret.written", Written("four", "ada"))
        follower.run()
        assert server.client.smembers(words) == {b"four"}, "not again at once: the server may be too small"
        assert sink.lost()
        follower.close()
        again = ada.follow(sink, name="cache", tables=["secrets"])
        again.run()
        assert server.client.smembers(words) == {b"one", b"two", b"three", b"four"}, "it is kept where it was lost"
        again.close()


def test_what_is_lost_while_nobody_feeds_comes_again_too(
    valkey: RedisPlace, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(valkey, valkey.prefix("asleep"))
    with Agent.create("ada", home=own_home, domains=[DOMAIN]) as ada:
        sink = RedisTables(server.url, prefix=server.prefix)
        ada.record("secret.written", Written("one", "ada"))
        first = ada.follow(sink, name="cache", tables=["secrets"])
        first.run()
        first.close()
        server.evict("held:secrets")
        monkeypatch.setattr(follow, "TRIM_EVERY_MS", 0.0)
        follower = ada.follow(sink, name="cache", tables=["secrets"])
        follower.run()
        assert server.client.smembers(f"{server.prefix}secret:of:ada:words") == {b"one"}
        assert not sink.lost()
        follower.close()


def test_a_first_write_looks_for_nothing(server: Server) -> None:
    """Keys are looked for once, when the fence is made, for all tables; not again by another feeder."""
    sink = sink_at(server, SECRETS, AGENT_REGISTRY)
    before = scans(server)
    sink.apply(1, [secret(1, 5)])
    sink.close()
    sink_at(server).close()
    assert scans(server) == before


# -- what others put there -------------------------------------------------------------------------------------------


def test_an_agent_that_rates_odd_things_stops_no_feeder(valkey: RedisPlace, own_home: Path) -> None:
    server = Server(valkey, valkey.prefix("odd"))
    with Agent.create("ada", home=own_home) as ada:
        tables = [table.name for table in tables_for("redis://x", ada.replica.registry.tables)]
        follower = ada.follow(RedisTables(server.url, prefix=server.prefix), name="cache", tables=tables)
        for entity in ("x", "x:of", "x", "x:rating", "{x}", "x\ny", "%3A", ":", "row:agents:x"):
            said = {"entity_id": entity, "entity_type": "loop", "rating": "0.5", "level": "critical", "as_of": 1}
            ada.record("drift.rated", said, scope=Scope.PUBLIC)
            follower.run()
        assert (follower.state, follower.letters(), follower.check()) == ("following", [], [])
        assert server.client.exists(f"{server.prefix}drift:entity:x%3Aof:rating") == 1
        follower.close()


def test_what_is_of_another_type_under_a_name_of_ours_goes(server: Server) -> None:
    sink = sink_at(server)
    sink.apply(1, [secret(1, 1), secret(2, 1, "another")])
    mine = [name for name in server.names() if not name.endswith(b"fence")]
    assert len(mine) > 15
    for at, name in enumerate(mine):
        for squat in (_as_string, _as_list):
            server.client.delete(name)
            squat(server, name)
            sink.rows(SECRETS, after=None, limit=5)
            sink.trim(1, SECRETS, version_of(1, 1))
            sink.lost()
            list(sink.beside(SECRETS))
            sink.apply(1, [secret(1, 2 * at + 2, f"word{at}"), secret(2, 2 * at + 2, None)])
            sink.apply(1, [secret(2, 2 * at + 3, "back")])
            sink.pulse(1)
            sink.sweep(1, SECRETS, 1)
            if squat is _as_list:
                server.client.delete(name)
    sink.apply(1, [secret(1, 1_000, "last"), secret(2, 1_000, "end")])
    assert server.client.smembers(f"{server.prefix}secret:of:ada:words") == {b"last", b"end"}
    assert [change.row for change in sink.rows(SECRETS, after=None, limit=5)] == [
        secret(1, 1_000, "last").row, secret(2, 1_000, "end").row,
    ]  # fmt: skip
    sink.close()


def test_so_does_what_is_where_a_topic_is_told(valkey: RedisPlace, own_home: Path) -> None:
    server = Server(valkey, valkey.prefix("topic"))
    stream = f"{server.prefix}events:secrets:written"
    server.client.set(stream, "nobody's")
    with Agent.create("ada", home=own_home, domains=[DOMAIN]) as ada:
        topics = RedisTopics(server.url, prefix=server.prefix)
        ada.record("secret.written", Written("one", "ada"))
        follower = ada.follow_events(topics, name="live", topics=["secrets.written"])
        follower.run()
        assert server.client.xlen(stream) == 1
        follower.close()
        topics.close()


def _as_string(server: Server, name: bytes) -> None:
    server.client.set(name, "nobody's")


def _as_list(server: Server, name: bytes) -> None:
    server.client.rpush(name, "nobody's")


# -- who is there ----------------------------------------------------------------------------------------------------


def test_rows_say_nothing_of_who_is_there(server: Server) -> None:
    agent = b"\7" * 32

    def registered(offset: int, heard: int | None) -> Change:
        row = dict.fromkeys(AGENT_REGISTRY.names) | {"agent_id": agent, "public_key": "k", "last_heartbeat": heard}
        return Change("agent_registry", agent, version_of(1, offset), row)

    sink, presence = sink_at(server, AGENT_REGISTRY), RedisPresence(server.url, prefix=server.prefix)
    seconds: Any = server.client.time()
    flag = f"{server.prefix}agent:{id_text(agent)}:active"
    sink.apply(1, [registered(1, 1_500_000_000_000)])
    assert not server.client.exists(flag)
    sink.apply(1, [registered(2, seconds[0] * 1_000)])
    assert server.client.exists(flag), "the log's own heartbeat, for whoever reads the key"
    assert (presence.is_there(agent), presence.there()) == (False, [])
    presence.beat(agent)
    server.client.delete(owner_of(server.prefix, flag.encode()))
    sink.apply(1, [Change("agent_registry", agent, version_of(1, 3), None)])
    assert presence.is_there(agent)
    assert [one.agent for one in presence.there()] == [agent]
    presence.leave(agent)
    assert not presence.is_there(agent)
    sink.close()
    presence.close()


# -- the list of rows ------------------------------------------------------------------------------------------------


def listed(server: Server) -> int:
    return int(server.client.zcard(f"{server.prefix}rows:secrets"))


def test_the_list_of_rows_gets_shorter_as_rows_get_cold(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    brief = [msgspec.structs.replace(cache, ttl_ms=300) for cache in SECRETS.places.caches]
    table = msgspec.structs.replace(SECRETS, places=Places(caches=tuple(brief)))
    sink = sink_at(server, table, warm_ms=300)
    sink.apply(1, [secret(n, n, f"w{n}") for n in range(1, 4_001)])
    time.sleep(0.5)
    sink.apply(1, [secret(n, 5_000, "late") for n in range(2_000, 2_100)])
    monkeypatch.setattr(tables_module, "TIDIED_ROWS", 2 * 1_024)
    sizes = [listed(server)]
    for _ in range(4):
        sink.apply(1, [secret(n, 5_000 + len(sizes), "late") for n in range(2_000, 2_100)])
        sink.trim(1, table, version_of(1, 1))
        sizes.append(listed(server))
    assert sizes[:2] == [4_000, 4_000 - 2 * 1_024 + 49], "a part each time"
    assert sizes[-1] == 100
    assert len(sink.rows(table, after=None, limit=1_000)) == 100
    sink.close()


def test_an_evicted_row_stays_listed_while_its_keys_tell_it(server: Server) -> None:
    sink = sink_at(server)
    sink.apply(1, [secret(1, 1), secret(2, 1, "another")])
    server.evict("row:secrets:")
    sink.trim(1, SECRETS, version_of(1, 1))
    assert listed(server) == 2
    assert server.client.exists(*server.names(":state")) == 2, "what is read often stays"
    assert set().union(*sink.beside(SECRETS)) == {key(1), key(2)}
    for part in (":state", ":fields", ":there", ":last:word"):
        server.evict(part)
    sink.trim(1, SECRETS, version_of(1, 1))
    assert listed(server) == 0
    sink.close()


def test_a_fenced_feeder_tidies_nothing(server: Server) -> None:
    sink = sink_at(server)
    sink.apply(1, [secret(1, 1)])
    sink_at(server).close()
    server.evict("row:secrets:")
    server.evict(":state")
    with pytest.raises(Exception, match="fed under epoch 2"):
        sink.trim(1, SECRETS, version_of(1, 1))
    assert listed(server) == 1
    server.client.delete(f"{server.prefix}antiphon:fence")
    with pytest.raises(EngineEmptied):
        sink.trim(1, SECRETS, version_of(1, 1))
    sink.close()
