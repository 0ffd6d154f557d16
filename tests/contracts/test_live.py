"""Presence and live events on a real server: who is there, who no longer is, and what is told to those who listen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from antiphon import Agent
from antiphon.domains.network.commands import Network
from antiphon.engines.redis.live import RedisTopics, Told, listen, missed
from antiphon.engines.redis.presence import RedisPresence
from antiphon.model.errors import InvalidInput, Unavailable
from antiphon.model.text import id_text
from servers.places import RedisPlace
from servers.process import free_port
from servers.proxy import WITHIN_S, until

pytestmark = pytest.mark.server
ALIVE_MS = 5_000
ADA, BOB = b"a" * 32, b"b" * 32


@pytest.fixture
def prefix(valkey: RedisPlace) -> str:
    return valkey.prefix("live")


@pytest.fixture
def presence(valkey: RedisPlace, prefix: str) -> Iterator[RedisPresence]:
    made = RedisPresence(valkey.url(), prefix=prefix, alive_ms=ALIVE_MS)
    yield made
    made.close()


def test_an_agent_is_there_until_it_is_silent_or_leaves(
    presence: RedisPresence, valkey: RedisPlace, prefix: str
) -> None:
    presence.beat(ADA, doing="thinking")
    presence.beat(BOB)
    assert {one.agent for one in presence.there()} == {ADA, BOB}
    assert all(0 <= one.ago_ms < ALIVE_MS for one in presence.there())
    client = redis.Redis.from_url(valkey.url())
    assert client.get(f"{prefix}agent:{id_text(ADA)}:active") == b"thinking"
    client.close()
    presence.leave(BOB)
    assert [one.agent for one in presence.there()] == [ADA]
    until(lambda: presence.there() == [], what="silence")
    assert not presence.is_there(ADA)
    presence.beat(ADA)
    assert presence.is_there(ADA)


def test_a_server_that_is_not_there_is_said_so() -> None:
    away = RedisPresence(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(Unavailable):
        away.beat(ADA)
    with pytest.raises(Unavailable):
        next(listen(f"redis://127.0.0.1:{free_port()}/0", ["x"]))
    with pytest.raises(InvalidInput):
        RedisPresence("http://x")
    with pytest.raises(InvalidInput):
        RedisPresence("redis://x", alive_ms=0)
    away.close()


def test_a_message_is_told_without_its_words_and_can_be_caught_up_with(
    valkey: RedisPlace, prefix: str, own_home: Path
) -> None:
    heard: list[Told] = []
    stop = threading.Event()
    ready = threading.Event()

    def hear() -> None:
        for one in listen(valkey.url(), ["sacred.messages"], prefix=prefix, silence_s=0.05):
            ready.set()
            if one is not None:
                heard.append(one)
            if stop.is_set():
                return

    listener = threading.Thread(target=hear)
    listener.start()
    assert ready.wait(WITHIN_S)
    topics = RedisTopics(valkey.url(), prefix=prefix)
    with Agent.create("ada", home=own_home) as ada:
        follower = ada.follow_events(topics, name="live", topics=["sacred.messages"])
        for n in range(3):
            Network(ada).send(id_text(bytes([n]) * 32), f"a secret word {n}")
        follower.run()
        until(lambda: len(heard) == 3, what="hearing")
        follower.close()
    stop.set()
    listener.join(WITHIN_S)
    assert [one.topic for one in heard] == ["sacred.messages"] * 3
    assert len({one.id for one in heard}) == 3
    kept = missed(valkey.url(), "sacred.messages", prefix=prefix)
    assert [one for _, one in kept] == heard
    assert [one for _, one in missed(valkey.url(), "sacred.messages", after=kept[0][0], prefix=prefix)] == heard[1:]
    client = redis.Redis.from_url(valkey.url())
    assert b"secret" not in repr(client.xrange(f"{prefix}events:sacred:messages")).encode()
    assert client.pttl(f"{prefix}events:sacred:messages") > 0
    client.close()
    topics.close()
