"""Keys of declared patterns on a real server: whatever comes, however often, and whatever is evicted, none is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
import redis

from antiphon.domains.loops.runtime import DRIFT_INDEX, DRIFT_RATINGS
from antiphon.domains.network.agents import AGENT_REGISTRY
from antiphon.engines.redis import entries
from antiphon.engines.redis.presence import RedisPresence
from antiphon.engines.redis.tables import RedisTables
from antiphon.model.errors import Conflict
from antiphon.model.places import HOUR_MS, Cache, Places
from antiphon.model.table import Column, Table, Type
from antiphon.model.text import entity_text, id_text
from antiphon.model.values import key_of
from antiphon.views.feed import Change, EngineEmptied, offset_of, version_of
from antiphon.world.clock import SystemClock
from servers import Valkey
from servers.places import RedisPlace, own_name
from tests.contracts.engines import OWN_VALKEY

pytestmark = pytest.mark.server
LEVELS, OWNERS, ENTITIES = ("calm", "unsteady", "critical"), ("ada", "bob"), ("x", "y", "z")
ALARMS = Table(
    "alarms",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("level", Type.ENUM, values=LEVELS),
        Column("owner", Type.TEXT),
        Column("entity", Type.TEXT),
        Column("at", Type.TIMESTAMP),
    ),
    places=Places(
        caches=(
            Cache("alarm:{id}:state", ("level", "owner")),
            Cache("alarm:{id}:loud", (), HOUR_MS, "flag", where=("level", ("critical", "unsteady"))),
            Cache("alarms:critical", ("entity",), HOUR_MS, "set", where=("level", "critical")),
            Cache("alarms:of:{owner}", ("entity",), HOUR_MS, "set"),
            Cache("owner:{owner}:list", ("id", "level"), HOUR_MS, "list"),
            Cache("owner:{owner}:last", ("id", "at"), HOUR_MS, "hash", latest="at"),
            Cache("alarms:last", ("id", "at"), latest="at"),
        )
    ),
)


class Kept:
    """A sink under a prefix of its own, and what is in its keys."""

    def __init__(self, server: RedisPlace, prefix: str, **how: Any) -> None:
        self.prefix = prefix
        self.client = redis.Redis.from_url(server.url(), decode_responses=True, encoding_errors="backslashreplace")
        self.raw = redis.Redis.from_url(server.url())
        self.sink = RedisTables(server.url(), prefix=prefix, **how)
        self.sink.prepare([ALARMS, DRIFT_RATINGS, DRIFT_INDEX, AGENT_REGISTRY])
        assert self.sink.fence(self.sink.kept().epoch, 1)

    def names(self) -> list[str]:
        return sorted(self.client.scan_iter(match=f"{self.prefix}*", count=1_000))

    def raw_names(self) -> list[bytes]:
        return sorted(self.raw.scan_iter(match=f"{self.prefix}*", count=1_000))

    def evict(self, *names: str) -> int:
        return int(self.client.delete(*(self.prefix + name for name in names)))

    def members(self, name: str) -> set[str]:
        return set(self.client.smembers(self.prefix + name))

    def items(self, name: str) -> list[Any]:
        return [msgspec.json.decode(item) for item in self.client.lrange(self.prefix + name, 0, -1)]

    def json(self, name: str) -> Any:
        raw = self.client.get(self.prefix + name)
        return None if raw is None else msgspec.json.decode(raw)

    def hash(self, name: str) -> dict[str, str]:
        return dict(self.client.hgetall(self.prefix + name))

    def close(self) -> None:
        self.sink.close()
        self.client.close()
        self.raw.close()


@pytest.fixture(params=("valkey", pytest.param("cluster", marks=OWN_VALKEY)))
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    made = Kept(request.getfixturevalue(request.param), f"{{{own_name('patterns')}}}:")
    yield made
    made.close()


def key(n: int) -> bytes:
    return n.to_bytes(16, "big")


def alarm(n: int, offset: int, level: str | None = "critical", owner: str | None = "ada", **more: Any) -> Change:
    """Alarm n as it is at an offset; gone where it has no level."""
    entity = more.pop("entity", ENTITIES[n % 3])
    values = {"id": key(n), "level": level, "owner": owner, "entity": entity, "at": more.pop("at", offset)}
    epoch = more.pop("epoch", 1)
    assert not more
    return Change("alarms", key(n), version_of(epoch, offset), None if level is None else values)


def name_of(n: int) -> str:
    return entity_text(key(n))


# -- conditions, constant keys, changes ----------------------------------------------------------------------------


def test_a_set_with_a_condition_has_what_meets_it_and_nobody_else(kept: Kept) -> None:
    kept.sink.apply(1, [alarm(1, 1), alarm(2, 1, "calm"), alarm(3, 1, "unsteady")])
    assert kept.members("alarms:critical") == {"y"}
    assert kept.client.exists(f"{kept.prefix}alarm:{name_of(2)}:loud") == 0
    kept.sink.apply(1, [alarm(1, 2, "calm"), alarm(2, 2, "critical")])
    assert kept.members("alarms:critical") == {"z"}
    kept.sink.apply(1, [alarm(2, 3, None)])
    assert kept.members("alarms:critical") == set()
    assert not kept.client.exists(f"{kept.prefix}alarm:{name_of(2)}:loud", f"{kept.prefix}alarm:{name_of(2)}:state")


def test_the_designs_set_of_the_critical_is_one_key(kept: Kept) -> None:
    """`drift:critical:set`, without a set of the calm beside it; what two agents say of one entity counts once each."""

    def rated(entity: str, rater: bytes, level: str, offset: int, as_of: int) -> Change:
        row = dict.fromkeys(DRIFT_RATINGS.names) | {
            "entity_id": entity, "rated_by": rater, "rating": "0.9", "level": level, "as_of": as_of,
        }  # fmt: skip
        return Change("drift_ratings", key_of(DRIFT_RATINGS, row), version_of(1, offset), row)

    ada, bob = b"a" * 32, b"b" * 32
    kept.sink.apply(1, [rated("loop-1", ada, "critical", 1, 10), rated("loop-1", bob, "critical", 2, 20)])
    kept.sink.apply(1, [rated("loop-2", ada, "calm", 3, 10)])
    assert kept.members("drift:critical:set") == {"loop-1"}
    assert not [name for name in kept.names() if "calm" in name]
    kept.sink.apply(1, [rated("loop-1", ada, "calm", 4, 11)])
    assert kept.members("drift:critical:set") == {"loop-1"}, "bob says so still"
    assert kept.json("drift:entity:loop-1:rating")["as_of"] == kept.json("cache:rating:loop-1")["as_of"]
    assert kept.json("drift:entity:loop-1:rating")["level"] == "critical", "bob's word is the later one"
    kept.sink.apply(1, [rated("loop-1", bob, "unsteady", 5, 21)])
    assert kept.members("drift:critical:set") == set()
    assert 0 < kept.client.pttl(f"{kept.prefix}drift:entity:loop-1:rating") <= HOUR_MS
    assert 0 < kept.client.pttl(f"{kept.prefix}cache:rating:loop-1") <= 60_000


def test_the_global_index_is_what_was_measured_last_whatever_the_order(kept: Kept) -> None:
    def measured(by: bytes, offset: int, as_of: int) -> Change:
        row = dict.fromkeys(DRIFT_INDEX.names) | {
            "scope": "global", "measured_by": by, "volatility": f"0.{offset}", "as_of": as_of,
        }  # fmt: skip
        return Change("drift_index", key_of(DRIFT_INDEX, row), version_of(1, offset), row)

    later, earlier = measured(b"a" * 32, 1, 2_000), measured(b"b" * 32, 2, 1_000)
    for order in ([later, earlier], [earlier, later]):
        kept.sink.apply(1, order)
        assert kept.json("drift:global:index")["volatility"] == "0.1"


def test_a_row_that_moves_to_another_key_leaves_the_old_one(kept: Kept) -> None:
    kept.sink.apply(1, [alarm(1, 1), alarm(4, 1)])
    kept.sink.apply(1, [alarm(1, 2, owner="bob")])
    assert (kept.members("alarms:of:ada"), kept.members("alarms:of:bob")) == ({"y"}, {"y"})
    assert [item["id"] for item in kept.items("owner:ada:list")] == [name_of(4)]
    assert [item["id"] for item in kept.items("owner:bob:list")] == [name_of(1)]
    assert kept.hash("owner:bob:last")["id"] == name_of(1)
    kept.sink.apply(1, [alarm(1, 3, owner=None)])
    assert kept.members("alarms:of:bob") == set()
    assert kept.items("owner:bob:list") == []
    assert kept.hash("owner:bob:last") == {}


def test_an_item_that_stays_the_same_keeps_its_place_and_comes_once(kept: Kept) -> None:
    kept.sink.apply(1, [alarm(1, 1), alarm(2, 2), alarm(3, 3)])
    kept.sink.apply(1, [alarm(1, 4, at=99)])
    assert [item["id"] for item in kept.items("owner:ada:list")] == [name_of(3), name_of(2), name_of(1)]


def test_what_a_shared_key_told_is_never_told_again_by_an_earlier_row(kept: Kept) -> None:
    """The owner goes: who is next nobody here knows, so the key is missing until something as late comes."""
    kept.sink.apply(1, [alarm(1, 1, at=50), alarm(2, 1, at=40)])
    assert kept.json("alarms:last")["id"] == name_of(1)
    kept.sink.apply(1, [alarm(1, 2, None)])
    assert kept.json("alarms:last") is None
    kept.sink.apply(1, [alarm(3, 3, at=45)])
    assert kept.json("alarms:last") is None
    kept.sink.apply(1, [alarm(2, 4, at=51)])
    assert kept.json("alarms:last")["id"] == name_of(2)
    kept.sink.apply(1, [alarm(2, 5, at=10)])
    assert kept.json("alarms:last") is None, "another may be later than it now is"


# -- eviction, flushing, the fence ---------------------------------------------------------------------------------


def test_the_old_membership_goes_though_the_row_was_evicted(kept: Kept) -> None:
    kept.sink.apply(1, [alarm(1, 1)])
    assert kept.client.delete(kept.prefix.encode() + b"row:alarms:" + key(1)) == 1
    kept.sink.apply(1, [alarm(1, 2, "calm", "bob")])
    assert kept.members("alarms:critical") == set()
    assert (kept.members("alarms:of:ada"), kept.items("owner:ada:list"), kept.hash("owner:ada:last")) == (set(), [], {})
    kept.client.delete(kept.prefix.encode() + b"row:alarms:" + key(1))
    kept.sink.apply(1, [alarm(1, 3, None)])
    assert [name for name in kept.names() if ":state" in name or ("bob" in name and not name.endswith(":of"))] == []


def test_an_evicted_row_delivered_again_is_in_a_list_once_and_an_older_image_changes_nothing(kept: Kept) -> None:
    kept.sink.apply(1, [alarm(1, 5)])
    for again in (alarm(1, 5), alarm(1, 3, "calm", "bob")):
        kept.client.delete(kept.prefix.encode() + b"row:alarms:" + key(1))
        kept.sink.apply(1, [again])
        assert [item["id"] for item in kept.items("owner:ada:list")] == [name_of(1)]
        assert kept.members("alarms:critical") == {"y"}
        assert kept.items("owner:bob:list") == []


@pytest.mark.parametrize("lost", ["held:alarms", "until:alarms"])
def test_where_it_is_lost_which_keys_rows_are_in_all_of_them_begin_again(kept: Kept, lost: str) -> None:
    kept.sink.apply(1, [alarm(1, 1), alarm(2, 1, owner="bob")])
    assert kept.evict(lost) == 1
    kept.sink.apply(1, [alarm(1, 2, "calm", "bob")])
    assert kept.members("alarms:critical") == set()
    assert kept.members("alarms:of:ada") == set()
    assert kept.members("alarms:of:bob") == {"y"}, "what the others had there is missing, and never wrong"
    kept.sink.apply(1, [alarm(2, 3)])
    assert kept.members("alarms:critical") == {"z"}


def test_a_fenced_feeder_changes_no_key(kept: Kept) -> None:
    kept.sink.apply(1, [alarm(1, 1)])
    assert kept.sink.fence(1, 2)
    kept.evict("held:alarms")
    before = {name: kept.raw.dump(name) for name in kept.raw_names()}
    for refused in (
        lambda: kept.sink.apply(1, [alarm(1, 2, "calm", "bob")]),
        lambda: kept.sink.sweep(1, ALARMS, 2),
        lambda: kept.sink.pulse(1),
    ):
        with pytest.raises(Conflict):
            refused()
    assert {name: kept.raw.dump(name) for name in kept.raw_names()} == before
    assert kept.members("alarms:critical") == {"y"}


def test_a_flushed_server_is_told_so_and_filled_again(valkey: RedisPlace) -> None:
    kept = Kept(valkey, valkey.prefix("flushed"))
    kept.sink.apply(1, [alarm(1, 1), alarm(2, 1, owner="bob")])
    for name in kept.raw_names():
        kept.raw.delete(name)
    with pytest.raises(EngineEmptied):
        kept.sink.apply(1, [alarm(1, 2, "calm")])
    assert kept.sink.fence(0, 2)
    kept.sink.apply(2, [alarm(1, 2, "calm", epoch=2), alarm(2, 1, owner="bob", epoch=2)])
    assert kept.members("alarms:critical") == {"z"}
    assert [item["id"] for item in kept.items("owner:bob:list")] == [name_of(2)]
    kept.close()


def test_a_sweep_takes_memberships_of_rows_that_were_evicted(kept: Kept) -> None:
    kept.sink.apply(1, [alarm(1, 1), alarm(2, 1)])
    kept.client.delete(kept.prefix.encode() + b"row:alarms:" + key(1))
    kept.evict("rows:alarms")
    assert kept.sink.fence(1, 2)
    kept.sink.apply(2, [alarm(2, 1, epoch=2)])
    kept.sink.sweep(2, ALARMS, 2)
    assert kept.members("alarms:critical") == {"z"}
    assert [item["id"] for item in kept.items("owner:ada:list")] == [name_of(2)]


# -- whatever comes ------------------------------------------------------------------------------------------------


def expected(newest: dict[int, Change]) -> list[dict[str, Any]]:
    return [dict(change.row) for change in newest.values() if change.row is not None]


def wrong(kept: Kept, newest: dict[int, Change]) -> list[str]:
    """The keys that say what is not so."""
    rows, found = expected(newest), []
    if not kept.members("alarms:critical") <= {row["entity"] for row in rows if row["level"] == "critical"}:
        found.append("alarms:critical")
    last = kept.json("alarms:last")
    if last is not None and last["id"] not in {entity_text(row["id"]) for row in rows}:
        found.append("alarms:last")
    for owner in OWNERS:
        own = [row for row in rows if row["owner"] == owner]
        if not kept.members(f"alarms:of:{owner}") <= {row["entity"] for row in own}:
            found.append(f"alarms:of:{owner}")
        items = [(item["id"], item["level"]) for item in kept.items(f"owner:{owner}:list")]
        if len(set(items)) < len(items) or not set(items) <= {(entity_text(r["id"]), r["level"]) for r in own}:
            found.append(f"owner:{owner}:list")
        told = kept.hash(f"owner:{owner}:last")
        if told and told["id"] not in {entity_text(row["id"]) for row in own}:
            found.append(f"owner:{owner}:last")
    for row in (dict(change.row or {}, n=n) for n, change in newest.items()):
        state = kept.json(f"alarm:{name_of(row['n'])}:state")
        if state is not None and (state["level"], state.get("owner")) != (row.get("level"), row.get("owner")):
            found.append(f"alarm {row['n']}")
    return found


def missing(kept: Kept, newest: dict[int, Change]) -> list[str]:
    """What is not told, though it is so."""
    rows, found = expected(newest), []
    if kept.members("alarms:critical") != {row["entity"] for row in rows if row["level"] == "critical"}:
        found.append("alarms:critical")
    for owner in OWNERS:
        own = [row for row in rows if row["owner"] == owner]
        if kept.members(f"alarms:of:{owner}") != {row["entity"] for row in own}:
            found.append(f"alarms:of:{owner}")
        if {item["id"] for item in kept.items(f"owner:{owner}:list")} != {entity_text(row["id"]) for row in own}:
            found.append(f"owner:{owner}:list")
    return found


def random_alarm(chance: Random, offset: int) -> tuple[int, Change]:
    n = chance.randrange(5)
    level, owner = chance.choice((*LEVELS, None)), chance.choice((*OWNERS, None))
    return n, alarm(n, offset, level, owner, entity=chance.choice(ENTITIES), at=chance.randrange(100))


@pytest.mark.parametrize("seed", range(25))
def test_in_any_order_and_with_duplicates_keys_say_what_rows_say(kept: Kept, seed: int) -> None:
    chance = Random(seed)
    made = [random_alarm(chance, offset) for offset in range(1, 40)]
    made += chance.sample(made, 15)
    chance.shuffle(made)
    newest: dict[int, Change] = {}
    while made:
        some, made = made[: chance.randrange(1, 6)], made[5:]
        for n, change in some:
            if n not in newest or newest[n].version < change.version:
                newest[n] = change
        kept.sink.apply(1, [change for _, change in some])
        assert wrong(kept, newest) == []
        assert missing(kept, newest) == []


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_evicted_no_key_is_wrong(kept: Kept, seed: int) -> None:
    """Rows, sets, lists and what is kept beside them go one by one; rows come in order, some twice, as they do then."""
    chance = Random(seed)
    newest: dict[int, Change] = {}
    for offset in range(1, 60):
        n, change = random_alarm(chance, offset)
        newest[n] = change
        again = [newest[m] for m in chance.sample(sorted(newest), min(2, len(newest)))]
        kept.sink.apply(1, [*again, change])
        assert wrong(kept, newest) == [], offset
        names = [name for name in kept.raw_names() if not name.endswith(b"fence")]
        for name in chance.sample(names, min(chance.randrange(3), len(names))):
            kept.raw.delete(name)


@pytest.mark.needs("own valkey")
def test_a_server_that_evicts_by_itself_tells_nothing_that_is_not_so() -> None:
    """Three thousand rows that change, in room for a part of them; the fence itself may go, as a follower knows."""
    with Valkey(memory_bytes_max=3 << 20, append_only=False) as server:
        kept, chance, newest, epoch = Kept(server, "small:"), Random(3), {}, 1

        def send(made: list[Change]) -> None:
            nonlocal epoch
            some = made
            while True:
                try:
                    kept.sink.apply(epoch, some)
                    if some is not made:
                        kept.sink.sweep(epoch, ALARMS, epoch)
                    return
                except EngineEmptied:
                    epoch += 1
                    assert kept.sink.fence(0, epoch)
                    for n, change in newest.items():
                        version = version_of(epoch, offset_of(change.version))
                        newest[n] = msgspec.structs.replace(change, version=version)
                    some = [*newest.values()]

        for offset in range(1, 120):
            some = []
            for n in chance.sample(range(3_000), 100):
                level, owner = chance.choice((*LEVELS, None)), chance.choice((*OWNERS, None))
                newest[n] = alarm(n, offset, level, owner, entity=chance.choice(ENTITIES), epoch=epoch)
                some.append(newest[n])
            send(some)
        assert int(kept.client.info("stats")["evicted_keys"]) > 1_000
        assert wrong(kept, newest) == []
        kept.close()


# -- how long ------------------------------------------------------------------------------------------------------


def lasting(kept: Kept, name: str | bytes) -> int:
    raw = kept.prefix.encode() + (name.encode() if isinstance(name, str) else name)
    return int(kept.client.pttl(raw))


def test_what_is_hot_lasts_an_hour_what_is_warm_a_day_and_reading_makes_neither_longer(kept: Kept) -> None:
    """By the server's own count."""
    kept.sink.apply(1, [alarm(1, 1)])
    hot = [f"alarm:{name_of(1)}:state", "alarms:critical", "alarms:of:ada", "owner:ada:list", "owner:ada:last"]
    for name in hot:
        assert HOUR_MS - 60_000 < lasting(kept, name) <= HOUR_MS
    row = b"row:alarms:" + key(1)
    assert 24 * HOUR_MS - 60_000 < lasting(kept, row) <= 24 * HOUR_MS == entries.WARM_MS
    for name in (*(kept.prefix + name for name in hot), kept.prefix.encode() + row):
        kept.client.pexpire(name, 5_000)
    assert [change.key for change in kept.sink.rows(ALARMS, after=None, limit=5)] == [key(1)]
    assert all(lasting(kept, name) <= 5_000 for name in (*hot, row))
    kept.sink.apply(1, [alarm(1, 1)])
    assert all(lasting(kept, name) <= 5_000 for name in (*hot, row)), "the same image again is no write"
    kept.sink.apply(1, [alarm(1, 2)])
    assert all(lasting(kept, name) > HOUR_MS - 60_000 for name in hot)
    assert lasting(kept, row) > 24 * HOUR_MS - 60_000


def brief(ttl_ms: int, **more: Any) -> Table:
    """Alarms whose keys last for so long."""
    caches = [msgspec.structs.replace(cache, ttl_ms=ttl_ms, **more) for cache in ALARMS.places.caches]
    return msgspec.structs.replace(ALARMS, places=Places(caches=tuple(caches)))


def test_each_member_and_item_leaves_by_its_own_row_though_others_keep_coming(kept: Kept) -> None:
    kept.sink.prepare([brief(2_000)])
    kept.sink.apply(1, [alarm(1, 1)])
    for offset in range(2, 6):
        time.sleep(0.7)
        kept.sink.apply(1, [alarm(2, offset)])
    assert kept.members("alarms:critical") == {"z"}
    assert [item["id"] for item in kept.items("owner:ada:list")] == [name_of(2)]
    assert kept.client.get(f"{kept.prefix}alarm:{name_of(1)}:state") is None
    assert {change.key for change in kept.sink.rows(ALARMS, after=None, limit=5)} == {key(1), key(2)}, "warm still"
    time.sleep(2.1)
    kept.sink.pulse(1)
    left = [name for name in kept.names() if "alarms:of" in name or "owner:" in name or "critical" in name]
    assert left == []
    assert kept.client.hgetall(f"{kept.prefix}held:alarms") == {"": "0"}, "nothing is written down for what has ended"


def test_a_row_leaves_when_it_is_cold(valkey: RedisPlace) -> None:
    kept = Kept(valkey, valkey.prefix("cold"), warm_ms=2_000)
    kept.sink.apply(1, [alarm(1, 1)])
    assert len(kept.sink.rows(ALARMS, after=None, limit=5)) == 1
    time.sleep(2.1)
    assert kept.sink.rows(ALARMS, after=None, limit=5) == []
    kept.close()


def test_who_was_heard_long_ago_is_not_active_because_the_server_is_filled_again(kept: Kept) -> None:
    """A flag that lasts from a time in the row; the server's clock counts."""
    now = SystemClock().now_ms()
    lately, long_ago, never = b"l" * 32, b"o" * 32, b"n" * 32

    def registered(agent: bytes, heard: int | None, offset: int = 1) -> Change:
        row = dict.fromkeys(AGENT_REGISTRY.names) | {"agent_id": agent, "public_key": "k", "last_heartbeat": heard}
        return Change("agent_registry", agent, version_of(1, offset), row)

    kept.sink.apply(1, [registered(lately, now - 30_000), registered(long_ago, now - 91_000), registered(never, None)])
    flags = [f"agent:{id_text(agent)}:active" for agent in (lately, long_ago, never)]
    assert [kept.client.exists(kept.prefix + flag) for flag in flags] == [1, 0, 0]
    assert 30_000 < lasting(kept, flags[0]) <= 60_000
    presence = RedisPresence(str(kept.sink._url), prefix=kept.prefix)
    presence.beat(long_ago, doing="thinking")
    kept.sink.apply(1, [registered(long_ago, now - 80_000, 2), registered(lately, None, 2)])
    assert kept.client.get(kept.prefix + flags[1]) == "thinking", "its own heartbeat lasts longer"
    assert not kept.client.exists(kept.prefix + flags[0])
    kept.sink.apply(1, [Change("agent_registry", long_ago, version_of(1, 3), None)])
    assert presence.is_there(long_ago), "what a row says is not what the agent says"
    presence.close()


# -- limits --------------------------------------------------------------------------------------------------------


def test_lists_and_sets_are_no_longer_than_they_may_be(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.engines.redis.tables._MOST", ("3", "2"))
    kept.sink.apply(1, [alarm(n, n, entity=f"e{n}") for n in range(1, 7)])
    assert [item["id"] for item in kept.items("owner:ada:list")] == [name_of(n) for n in (6, 5, 4)]
    assert kept.members("alarms:critical") == {"e1", "e2"}
    kept.sink.apply(1, [alarm(1, 10, "calm", entity="e1"), alarm(5, 11, entity="e5")])
    assert kept.members("alarms:critical") == {"e2", "e5"}
