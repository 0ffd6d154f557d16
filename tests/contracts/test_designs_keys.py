"""Every key pattern of the designs, as agents' commands fill it on a real server: what is in it, how long it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import redis

from antiphon import Agent
from antiphon.domains import BUILT_IN
from antiphon.domains.loops import Loops
from antiphon.domains.loops.names import RATED
from antiphon.domains.network.commands import Network
from antiphon.engines.redis.entries import owner_of
from antiphon.engines.redis.live import RedisTopics, missed
from antiphon.engines.redis.presence import ALIVE_MS, RedisPresence
from antiphon.engines.redis.tables import RedisTables
from antiphon.model.event import Scope
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.model.text import entity_text, id_text, parse_entity, parse_id
from antiphon.views.domain import Registry
from servers.places import RedisPlace

pytestmark = pytest.mark.server
MINUTE_MS: Final = 60_000
BOB: Final = b"b" * 32
PATTERNS: Final = {
    "loop:{loop}:state": ("string", HOUR_MS),
    "loop:{loop}:consciousness": ("string", HOUR_MS),
    "loop:{loop}:events": ("list", HOUR_MS),
    "agent:{ada}:state": ("hash", HOUR_MS),
    "agent:{ada}:active": ("string", ALIVE_MS),
    "agent:{bob}:whispers": ("list", HOUR_MS),
    "agent:{bob}:active": ("string", ALIVE_MS),
    "drift:global:index": ("string", HOUR_MS),
    "drift:entity:{loop}:rating": ("string", HOUR_MS),
    "drift:critical:set": ("set", HOUR_MS),
    "events:loop:created": ("stream", DAY_MS),
    "events:blessing:granted": ("stream", DAY_MS),
    "events:cluster:formed": ("stream", DAY_MS),
    "cache:forecast:{loop}": ("string", 5 * MINUTE_MS),
    "cache:rating:{loop}": ("string", MINUTE_MS),
    "cache:guild:{guild}": ("string", 10 * MINUTE_MS),
}
"""Those of the infrastructure guide, in its order, with the types and times that it names, or docs/engines.md does."""


class Filled:
    """What a society's day leaves on a server."""

    def __init__(self, server: RedisPlace, home: Path) -> None:
        self.prefix, self.url = server.prefix("designs"), server.url()
        self.client = redis.Redis.from_url(server.url(), decode_responses=True, encoding_errors="backslashreplace")
        with Agent.create("ada", home=home) as ada:
            self.names = self._live(ada)
            self._follow(ada)

    def _live(self, ada: Agent) -> dict[str, str]:
        loops, network = Loops(ada), Network(ada)
        loop = loops.whisper("map the harbour", tone="calm", consciousness={"depth": 3}).entity or ""
        loops.begin(loop)
        loops.note(loop, "opened", tone="bright")
        loops.forecast(loop, {"tide": "high"})
        loops.bless(loop, "tidal")
        loops.form("harbour", [loop], agents=[ada.id])
        guild = loops.found("elders", members=[id_text(BOB)]).entity or ""
        said = {"entity_id": entity_text(parse_entity(loop)), "rating": "0.9", "level": "critical", "as_of": 5}
        ada.record(RATED, said, scope=Scope.PUBLIC)
        loops.measure()
        network.register()
        network.enlist("ada")
        network.send(id_text(BOB), "the tide is rising")
        presence = RedisPresence(self.url, prefix=self.prefix)
        presence.beat(BOB, doing="thinking")
        presence.close()
        return {"loop": entity_text(parse_entity(loop)), "guild": guild, "ada": ada.id, "bob": id_text(BOB)}

    def _follow(self, ada: Agent) -> None:
        tables = [table.name for table in Registry(BUILT_IN).tables.values() if table.places.caches]
        sink, topics = RedisTables(self.url, prefix=self.prefix), self.topics(ada)
        ada.follow(sink, name="cache", tables=tables).run()
        events = [name for name in PATTERNS if name.startswith("events:")]
        ada.follow_events(topics, name="live", topics=events).run()
        sink.close()
        topics.close()

    def topics(self, ada: Agent) -> RedisTopics:
        streams = [stream for table in ada.replica.registry.tables.values() for stream in table.places.streams]
        return RedisTopics(self.url, prefix=self.prefix, retained_ms={one.topic: one.retention_ms for one in streams})

    def key(self, pattern: str) -> str:
        return self.prefix + pattern.format(**self.names)

    def json(self, pattern: str) -> Any:
        return msgspec.json.decode(self.client.get(self.key(pattern)) or "null")

    def close(self) -> None:
        self.client.close()


@pytest.fixture
def filled(valkey: RedisPlace, own_home: Path) -> Iterator[Filled]:
    made = Filled(valkey, own_home)
    yield made
    made.close()


def test_every_key_of_the_designs_is_there_for_as_long_as_they_say(filled: Filled) -> None:
    found = {}
    for pattern, (_, ttl_ms) in PATTERNS.items():
        left = filled.client.pttl(filled.key(pattern))
        found[pattern] = (filled.client.type(filled.key(pattern)), ttl_ms if ttl_ms - 30_000 < left <= ttl_ms else left)
    assert found == PATTERNS


def test_they_hold_what_the_designs_say(filled: Filled) -> None:
    names = filled.names
    assert filled.json("loop:{loop}:state")["emotional_tone"] == "calm"
    assert filled.json("loop:{loop}:consciousness") == {"consciousness_state": {"depth": 3}}
    (event,) = filled.client.lrange(filled.key("loop:{loop}:events"), 0, -1)
    assert msgspec.json.decode(event)["tone"] == "bright"
    state = filled.client.hgetall(filled.key("agent:{ada}:state"))
    assert (state["agent_id"], state["codename"]) == (names["ada"], "ada")
    assert filled.client.get(filled.key("agent:{bob}:active")) == "thinking"
    (whisper,) = filled.client.lrange(filled.key("agent:{bob}:whispers"), 0, -1)
    assert msgspec.json.decode(whisper).keys() == {"message_id", "sender", "sent_at"}
    assert filled.client.smembers(filled.key("drift:critical:set")) == {names["loop"]}
    assert filled.json("drift:entity:{loop}:rating")["level"] == "critical"
    assert filled.json("drift:global:index")["volatility"] is not None
    assert filled.json("cache:rating:{loop}")["entity_id"] == names["loop"]
    assert filled.json("cache:forecast:{loop}")["forecast"] == {"tide": "high"}
    assert filled.json("cache:guild:{guild}")["name"] == "elders"
    for topic in ("events:loop:created", "events:blessing:granted", "events:cluster:formed"):
        ((_, told),) = missed(filled.url, topic, prefix=filled.prefix)
        assert (told.topic, parse_id(id_text(bytes.fromhex(told.author)))) == (topic, parse_id(names["ada"]))


def test_no_other_keys_are_made_of_them(filled: Filled) -> None:
    """But rows, what is kept beside them, and keys of designs besides this one."""
    own = ("row:", "rows:", "gone:", "held:", "until:", "antiphon:", "agents:active")
    designs = {filled.key(pattern) for pattern in PATTERNS}
    names = filled.client.scan_iter(match=f"{filled.prefix}*", count=1_000)
    bare = [name.removeprefix(filled.prefix) for name in names]
    left = [name for name in bare if not name.startswith(own)]
    assert {filled.prefix + name for name in left} == designs


def test_what_is_forgotten_is_in_no_key_though_the_row_itself_was_evicted(valkey: RedisPlace, own_home: Path) -> None:
    prefix = valkey.prefix("forgotten")
    client = redis.Redis.from_url(valkey.url())
    sink = RedisTables(valkey.url(), prefix=prefix)
    with Agent.create("ada", home=own_home) as ada:
        receipt = Network(ada).enlist("xylophonic")
        follower = ada.follow(sink, name="cache", tables=["agents"])
        follower.run()
        assert client.hget(f"{prefix}agent:{ada.id}:state", "codename") == b"xylophonic"
        assert client.delete(f"{prefix}row:agents:".encode() + parse_id(ada.id)) == 1
        ada.forget(event=receipt.event)
        follower.run()
        follower.close()
    state = f"{prefix}agent:{ada.id}:state"
    assert not client.exists(state, owner_of(prefix, state.encode()))
    client.close()
    sink.close()
