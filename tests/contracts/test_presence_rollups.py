"""What heartbeats came to: counted on a real server, recorded once an agent and period, whatever is killed between."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from antiphon import Agent, Conflict, InvalidInput, Unavailable
from antiphon.cli import main
from antiphon.domains.network.presence import ROLLED_UP
from antiphon.engines.redis import beats as beats_module
from antiphon.engines.redis.beats import PERIOD_MS, Heard, RedisBeats
from antiphon.engines.redis.presence import RedisPresence
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.model.text import id_text, parse_id
from antiphon.ops import presence as presence_module
from antiphon.ops.presence import PresenceRecorder
from antiphon.world.clock import ManualClock, SystemClock
from servers import Valkey
from servers.places import RedisPlace
from servers.proxy import until
from tests.contracts.engines import OWN_VALKEY

pytestmark = pytest.mark.server
ADA, BOB, CAT = b"a" * 32, b"b" * 32, b"c" * 32
PERIOD, ALIVE = 1_200, 900  # long enough that a machine busy with others is no silence


class Hearing:
    """Heartbeats by short periods, under a prefix of their own."""

    def __init__(
        self, server: RedisPlace | Valkey, *, prefix: str = "", period_ms: int = PERIOD, alive_ms: int = ALIVE
    ) -> None:
        self.prefix = server.prefix("beats") if isinstance(server, RedisPlace) else prefix
        how: dict[str, Any] = {"prefix": self.prefix, "period_ms": period_ms, "alive_ms": alive_ms}
        self.presence, self.beats = RedisPresence(server.url(), **how), RedisBeats(server.url(), **how)
        self.period_ms, self.alive_ms = period_ms, alive_ms

    def over(self) -> None:
        """Waits until what was heard until now can get no longer."""
        time.sleep((2 * self.period_ms + self.alive_ms) / 1_000 - time.time() % (self.period_ms / 1_000) + 0.05)

    def all(self, who: bytes = ADA) -> list[Heard]:
        assert self.beats.claim(who)
        found: list[Heard] = []
        while page := self.beats.ended(who, limit=1_000):
            found += page
            self.beats.taken(who, page)
        return found

    def close(self) -> None:
        self.presence.close()
        self.beats.close()


@pytest.fixture
def hearing(valkey: RedisPlace) -> Iterator[Hearing]:
    made = Hearing(valkey)
    yield made
    made.close()


@pytest.fixture(params=("valkey", pytest.param("cluster", marks=OWN_VALKEY)))
def anywhere(request: pytest.FixtureRequest) -> Iterator[Hearing]:
    made = Hearing(request.getfixturevalue(request.param))
    yield made
    made.close()


@pytest.fixture
def keeper(own_home: Path) -> Iterator[Agent]:
    with Agent.create("keeper", home=own_home) as made:
        yield made


def rolled(agent: Agent) -> int:
    """How many events there are of this."""
    return sum(event.kind == ROLLED_UP for event in agent.log())


def rows(agent: Agent) -> list[dict[str, Any]]:
    table = agent.table("agent_presence")
    return sorted(
        (dict(row) for who in (ADA, BOB, CAT) for row in table.select(order="since", agent_id=who)),
        key=lambda row: (row["agent_id"], row["since"]),
    )


# -- counting ------------------------------------------------------------------------------------------------------


def test_time_between_heartbeats_is_counted_in_the_period_that_it_lies_in(anywhere: Hearing) -> None:
    """Over the ends of periods nothing is lost and nothing counted twice."""
    stop = time.monotonic() + 3.4 * PERIOD / 1_000
    sent = 0
    while time.monotonic() < stop:
        anywhere.presence.beat(ADA)
        sent += 1
        time.sleep(0.03)
    anywhere.over()
    found = anywhere.all()
    assert len(found) >= 3
    assert sum(one.beats for one in found) == sent
    assert sum(one.up_ms for one in found) == found[-1].last_ms - found[0].first_ms
    assert all(one.up_ms == PERIOD for one in found[1:-1])
    assert all(one.since_ms % PERIOD == 0 and one.period_ms == PERIOD for one in found)
    assert all(one.since_ms <= one.first_ms <= one.last_ms < one.since_ms + PERIOD for one in found)


def test_silence_is_no_time_that_an_agent_was_there(hearing: Hearing) -> None:
    hearing.presence.beat(BOB)
    time.sleep((ALIVE + 80) / 1_000)
    hearing.presence.beat(BOB)
    hearing.over()
    found = hearing.all()
    assert (sum(one.beats for one in found), sum(one.up_ms for one in found)) == (2, 0)


def test_leaving_ends_the_time_and_is_no_heartbeat(hearing: Hearing) -> None:
    time.sleep(PERIOD / 1_000 - time.time() % (PERIOD / 1_000) + 0.02)
    hearing.presence.beat(BOB)
    time.sleep(0.05)
    hearing.presence.leave(BOB)
    assert not hearing.presence.is_there(BOB)
    hearing.presence.leave(CAT)
    hearing.over()
    (one,) = hearing.all()
    assert (one.agent, one.beats) == (BOB, 1)
    assert 40 <= one.up_ms == one.last_ms - one.first_ms < ALIVE


def test_a_period_that_can_get_longer_is_not_recorded(hearing: Hearing) -> None:
    hearing.presence.beat(ADA)
    assert hearing.all() == []
    hearing.over()
    assert [one.agent for one in hearing.all()] == [ADA]


def test_agents_beyond_the_limit_are_there_and_not_counted(valkey: RedisPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats_module, "HEARD_MAX", 2)
    hearing = Hearing(valkey, period_ms=2_000)
    time.sleep(2 - time.time() % 2 + 0.05)
    for agent in (ADA, BOB, CAT, ADA):
        hearing.presence.beat(agent)
    assert hearing.presence.is_there(CAT)
    hearing.over()
    assert {one.agent: one.beats for one in hearing.all()} == {ADA: 2, BOB: 1}
    hearing.close()


def test_what_makes_no_sense_is_refused(valkey: RedisPlace) -> None:
    for wrong in ({"period_ms": 99, "alive_ms": 50}, {"period_ms": 1_000, "alive_ms": 1_001}):
        with pytest.raises(InvalidInput, match="counted by periods of 100 ms or more, and no shorter than"):
            RedisPresence(valkey.url(), **wrong)
        with pytest.raises(InvalidInput, match="counted by periods"):
            RedisBeats(valkey.url(), **wrong)


# -- recording -----------------------------------------------------------------------------------------------------


def test_one_event_an_agent_and_period_by_the_servers_clock(hearing: Hearing, own_home: Path) -> None:
    """The recorder's own clock is 20 years behind: it says when this was recorded, and nothing else."""
    clock = ManualClock(SystemClock().now_ms() - 20 * 365 * DAY_MS)
    with Agent.create("keeper", home=own_home, clock=clock) as keeper:
        before = SystemClock().now_ms()
        for agent in (ADA, BOB, ADA):
            hearing.presence.beat(agent)
        hearing.over()
        assert PresenceRecorder(keeper, hearing.beats).run() == rolled(keeper) >= 2
        found = rows(keeper)
        assert {row["agent_id"]: row["beats"] for row in found}.keys() == {ADA, BOB}
        assert sum(row["beats"] for row in found) == 3
        assert all(before - 1_000 < row["first_seen"] <= row["last_seen"] < before + 2_000 for row in found)
        assert all(row["recorded_by"] == parse_id(keeper.id) for row in found)
        assert PresenceRecorder(keeper, hearing.beats).run() == 0


class Dies:
    """Beats whose recorder is killed after it has recorded, before it says so."""

    def __init__(self, beats: RedisBeats) -> None:
        self._beats = beats

    def claim(self, who: bytes) -> bool:
        return self._beats.claim(who)

    def ended(self, who: bytes, *, limit: int) -> list[Heard]:
        return self._beats.ended(who, limit=limit)

    def taken(self, who: bytes, heard: Sequence[Heard]) -> None:
        raise Unavailable("killed here")

    def release(self, who: bytes) -> None:
        self._beats.release(who)


def test_the_same_period_twice_counts_once(hearing: Hearing, own_home: Path) -> None:
    with Agent.create("keeper", home=own_home) as keeper:
        for agent in (ADA, BOB):
            hearing.presence.beat(agent)
        hearing.over()
        with pytest.raises(Unavailable):
            PresenceRecorder(keeper, Dies(hearing.beats)).run()
        first, recorded = rows(keeper), rolled(keeper)
        assert len(first) == recorded == 2
    with Agent.open("keeper", home=own_home) as keeper:
        assert PresenceRecorder(keeper, hearing.beats).run() == 0
        assert (rows(keeper), rolled(keeper)) == (first, recorded)
        assert PresenceRecorder(keeper, hearing.beats).run() == 0


def test_many_agents_are_recorded_page_by_page(
    hearing: Hearing, keeper: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "PAGE_AGENTS", 20)
    agents = [n.to_bytes(32, "big") for n in range(700)]
    for agent in agents:
        hearing.presence.beat(agent)
    hearing.over()
    recorder = PresenceRecorder(keeper, hearing.beats)
    first = recorder.run(most=50)
    assert 50 <= first < 700, "a run ends, and the next goes on"
    recorder.run()
    table = keeper.table("agent_presence")
    assert all(sum(row["beats"] for row in table.select(order="since", agent_id=agent)) == 1 for agent in agents)
    assert rolled(keeper) == 700
    with pytest.raises(InvalidInput):
        recorder.run(most=0)


def test_of_two_recorders_one_records(hearing: Hearing, keeper: Agent, own_home: Path) -> None:
    with Agent.create("other", home=own_home) as other:
        ours, theirs = PresenceRecorder(keeper, hearing.beats), PresenceRecorder(other, hearing.beats)
        assert ours.run() == 0
        hearing.presence.beat(ADA)
        hearing.over()
        assert theirs.run() == 0, "ours has said so lately"
        ours.release()
        assert theirs.run() == 1
        me = parse_id(keeper.id)
        with pytest.raises(Conflict, match=r"another recorder at 127.0.0.1"):
            hearing.beats.ended(me, limit=10)
        with pytest.raises(Conflict):
            hearing.beats.taken(me, [Heard(ADA, 0, PERIOD, 1, 0, 0, 0)])
        hearing.beats.taken(me, [])
        ours.release()
        assert not hearing.beats.claim(me), "nobody ends another's claim"


@pytest.mark.needs("own valkey")
def test_a_server_that_is_killed_goes_on_counting_where_it_was(keeper: Agent) -> None:
    with Valkey() as server:
        hearing = Hearing(server, prefix="beats:", period_ms=4_000)
        recorder = PresenceRecorder(keeper, hearing.beats)
        hearing.presence.beat(ADA)
        time.sleep(1.5)  # what a server has on disk is a second old
        server.kill()
        with pytest.raises(Unavailable):
            hearing.presence.beat(ADA)
        with pytest.raises(Unavailable):
            recorder.run()
        server.start()
        hearing.presence.beat(ADA)
        hearing.over()
        recorder.run()
        assert sum(row["beats"] for row in rows(keeper)) == 2
        hearing.presence.beat(BOB)
        client = redis.Redis.from_url(server.url())
        client.flushall()
        client.close()
        until(lambda: recorder.run() == 0, what="an emptied server")
        assert {row["agent_id"] for row in rows(keeper)} == {ADA}
        hearing.close()


def test_days_are_summed_for_each_agent(hearing: Hearing, keeper: Agent) -> None:
    for _ in range(3):
        hearing.presence.beat(ADA)
        time.sleep(0.05)
    hearing.over()
    PresenceRecorder(keeper, hearing.beats).run()
    days = keeper.table("agent_presence_daily").select(limit=10)
    assert sum(day["beats"] for day in days) == 3
    assert sum(day["up"] for day in days) == sum(row["up"] for row in rows(keeper)) > 0


# -- the command line ----------------------------------------------------------------------------------------------


def test_the_command_records_what_has_ended(valkey: RedisPlace, own_home: Path) -> None:
    prefix = valkey.prefix("beats")
    with Agent.create("keeper"):
        pass

    def run(*args: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, args)
        assert result.exit_code == code, result.output
        return result.stdout

    run("engines", "add", "cache", valkey.url(prefix=prefix))
    presence = RedisPresence(valkey.url(), prefix=prefix)
    presence.beat(ADA)
    assert json.loads(run("engines", "presence", "cache", "--once", "--json")) == {"recorded": 0}
    client = redis.Redis.from_url(valkey.url())
    number = SystemClock().now_ms() // HOUR_MS
    lead = f"{prefix}antiphon:beats:{PERIOD_MS}"
    assert 6 * DAY_MS < client.pttl(f"{lead}:{number}") <= 7 * DAY_MS
    since = (number - 3) * HOUR_MS
    client.hset(f"{lead}:{number - 3}", id_text(BOB), f"7:{since + 5}:{since + 180_005}:180000")
    client.zadd(lead, {str(number - 3): number - 3})
    assert "1 agent and hour recorded" in run("engines", "presence", "cache", "--once")
    assert client.exists(f"{lead}:{number - 3}", f"{lead}:claim") == 0
    with Agent.open("keeper") as keeper:
        (row,) = rows(keeper)
    assert (row["agent_id"], row["since"], row["beats"], row["up"]) == (BOB, since, 7, 180_000)
    client.hset(f"{lead}:{number - 2}", id_text(CAT), f"3:{since + 5}:{since + 180_005}:60000")
    client.zadd(lead, {str(number - 2): number - 2})
    assert "cache has everything" in run("engines", "feed", "cache", "--once"), "whoever feeds records too"
    assert client.exists(f"{lead}:{number - 2}", f"{lead}:claim") == 0
    with Agent.open("keeper") as keeper:
        assert {row["agent_id"] for row in rows(keeper)} == {BOB, CAT}
    client.close()
    presence.close()
    run("engines", "add", "store", "postgresql://x@127.0.0.1:1/x")
    assert "in Redis or Valkey" in CliRunner().invoke(main, ["engines", "presence", "store", "--once"]).output
    run("engines", "presence", code=2)
    away = CliRunner().invoke(main, ["engines", "add", "away", "redis://127.0.0.1:1/0"])
    assert away.exit_code == 0
    run("engines", "presence", "away", "--once", code=1)


def test_until_interrupted_it_records_what_ends_and_lets_go(
    valkey: RedisPlace, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, looks = valkey.prefix("beats"), []
    lead = f"{prefix}antiphon:beats:{PERIOD_MS}"
    client = redis.Redis.from_url(valkey.url())
    with Agent.create("keeper"):
        pass
    assert CliRunner().invoke(main, ["engines", "add", "cache", valkey.url(prefix=prefix)]).exit_code == 0

    def next_look(ms: float) -> None:
        looks.append(client.get(f"{lead}:claim"))
        since = len(looks) * HOUR_MS
        client.hset(f"{lead}:{len(looks)}", id_text(BOB), f"1:{since}:{since}:0")
        client.zadd(lead, {str(len(looks)): len(looks)})
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("antiphon.cli.presence.sleep_ms", next_look)
    ended = CliRunner().invoke(main, ["engines", "presence", "cache"])
    assert ended.exit_code == 130
    assert looks[0] == looks[2] is not None, "between two looks nobody else takes over"
    assert client.exists(f"{lead}:claim") == 0
    with Agent.open("keeper") as keeper:
        assert [row["since"] for row in rows(keeper)] == [HOUR_MS, 2 * HOUR_MS]
    client.close()
