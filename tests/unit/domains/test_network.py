"""The network's tables: each by the command that fills it, who may not write there, and what does not fit."""

import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Fleet, InvalidInput, NotFound
from antiphon.domains.network import NETWORK, bodies
from antiphon.domains.network.commands import Network
from antiphon.domains.network.ids import circle_of, field_id, pair_of
from antiphon.model.errors import AntiphonError
from antiphon.model.event import NEW, Draft, Scope, encode_body
from antiphon.model.places import DAY_MS
from antiphon.model.table import Table
from antiphon.model.text import parse_entity
from antiphon.model.values import canonical, key_of
from antiphon.replica.commit import Batch
from antiphon.views.domain import Op, Registry, Write
from antiphon.views.merge import Placed, merge
from antiphon.world.clock import ManualClock

NOWHERE = "00000000-0000-7000-8000-000000000000"
START = 1_800_000_000_000
TABLES = {table.name: table for table in NETWORK.tables}


class Three:
    """Three agents of one file, and their networks. `a`, `b`, `c` are their ids as bytes."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.fleet = Fleet.create(Path(os.environ["ANTIPHON_HOME"]), clock=self.clock)
        self.fleet.add_all(["ada", "bob", "cyd"])
        self.agents: list[Agent] = [self.fleet.agent(name) for name in ("ada", "bob", "cyd")]
        self.ada, self.bob, self.cyd = (Network(agent) for agent in self.agents)
        self.a, self.b, self.c = (network.me for network in (self.ada, self.bob, self.cyd))
        self.ids = [agent.id for agent in self.agents]

    def rows(self, table: str, agent: int = 0) -> list[dict[str, Any]]:
        return [dict(row) for row in self.agents[agent].table(table).every()]

    def only(self, table: str, agent: int = 0) -> dict[str, Any]:
        (row,) = self.rows(table, agent)
        return row


@pytest.fixture
def three() -> Iterator[Three]:
    made = Three()
    yield made
    made.fleet.close()


# -- each table, by a command ----------------------------------------------------------------------------------------


def test_who_is_there(three: Three) -> None:
    three.ada.register(primary_region="eu", backup_regions=["us", "ap"], capabilities={"tools": 3}, sacred_name="A")
    three.clock.pass_ms(60_000)
    three.ada.heartbeat()
    assert three.only("agent_registry", 1) == {
        "agent_id": three.a, "public_key": three.ids[0], "last_heartbeat": three.clock.now_ms(), "primary_region": "eu",
        "backup_regions": ["us", "ap"], "capabilities": {"tools": 3}, "sacred_name": "A",
    }  # fmt: skip


def test_a_profile_is_made_changed_and_closed(three: Three) -> None:
    three.ada.enlist("Alpha-7", team="iota", archetype="oracle", subordinate_agents=[three.ids[2], three.ids[1]])
    row = three.only("agents", 2)
    assert (row["codename"], row["team"], row["role"], row["archetype"]) == ("Alpha-7", "iota", "agent", "oracle")
    assert row["subordinate_agents"] == sorted([three.b, three.c])
    assert row["hormone_levels"] == bodies.HORMONES
    assert (row["fibonacci_level"], row["tasks_completed"], row["trust_coefficient"]) == (1, 0, 0.5)
    assert (row["created_at"], row["decommissioned_at"]) == (START, None)
    three.ada.change(team=None, success_rate="0.25", consciousness_score="9.99", supervisor_agent=three.ids[1])
    three.ada.heartbeat()
    three.ada.decommission()
    row = three.only("agents", 1)
    assert (row["team"], row["success_rate"], row["consciousness_score"]) == (None, Decimal("0.25"), Decimal("9.99"))
    assert (row["codename"], row["supervisor_agent"]) == ("Alpha-7", three.b)
    assert row["last_heartbeat"] == row["decommissioned_at"] == START


def test_what_an_agent_keeps_for_itself_others_do_not_see(three: Three) -> None:
    three.ada.set_state("ada", "oracle", coherence_level=80.0)
    three.ada.note_connection(three.ids[1], resonance_strength=0.25, trust_score=0.75)
    first, second = three.ada.note("woke", "a dream", field_impact=0.5), three.ada.note("slept")
    state = three.only("agent_state")
    assert (state["name"], state["coherence_level"], state["love_resonance"]) == ("ada", 80.0, 50.0)
    assert three.only("local_connections")["last_interaction"] is None
    three.clock.pass_ms(5)
    three.ada.interact(three.ids[1], "sync")
    assert three.only("local_connections") == {
        "agent_id": three.a, "peer_id": three.b, "resonance_strength": 0.25, "last_interaction": START + 5,
        "shared_insights": 0, "trust_score": 0.75,
    }  # fmt: skip
    assert [row["content"] for row in three.ada.waiting()] == ["a dream", None]
    assert first.entity
    three.ada.synchronize([first.entity])
    assert [row["event_type"] for row in three.ada.waiting()] == ["slept"]
    assert second.entity
    for table in ("agent_state", "local_connections", "consciousness_stream"):
        assert three.rows(table, 1) == []
    scopes = {event.kind: event.header.scope for event in three.agents[0].log()}
    assert {kind for kind, scope in scopes.items() if scope == Scope.PRIVATE} == {
        "state.set", "connection.noted", "stream.noted", "stream.synchronized",
    }  # fmt: skip


def test_interactions_move_trust_and_links(three: Three) -> None:
    three.bob.enlist("B")
    three.ada.connect(three.ids[1], strength=0.75)
    three.ada.interact(
        three.ids[1], "collaboration", success=True, field_impact=0.5, sacred_message="hello", trust_delta="0.1",
        hormone_exchange={"oxytocin": 0.5}, coherence_time=1_000, metadata={"k": [1]},
    )  # fmt: skip
    three.clock.pass_ms(2)
    three.ada.interact(three.ids[1], "delegation", success=True)
    three.ada.interact(three.ids[1], "sync")
    three.cyd.interact(three.ids[1], "delegation", success=False)
    told = three.rows("interactions")
    assert [(row["interaction_type"], row["sacred_message"]) for row in told] == [
        ("collaboration", "hello"), ("sync", None),
    ], "what happens with one peer within a millisecond is one line; the whole is in agent_interactions"  # fmt: skip
    assert len(three.rows("interactions", 1)) == 3, "the peer reads it"
    first = next(row for row in three.rows("agent_interactions", 2) if row["trust_delta"] is not None)
    assert (first["agent_from"], first["agent_to"], first["trust_delta"]) == (three.a, three.b, Decimal("0.1"))
    assert (first["hormone_exchange"], first["coherence_time"]) == ({"oxytocin": 0.5}, 1_000)
    link = three.only("agent_links", 2)
    assert (link["strength"], link["first_contact"], link["successes"], link["failures"]) == (0.75, START, 2, 0)
    assert link["score"] == 0.75
    profile = three.only("agents")
    assert (profile["times_trusted"], profile["times_failed"], profile["trust_coefficient"]) == (2, 1, 0.6)
    days = {(row["agent_from"], row["day"]): row for row in three.rows("trust_daily")}
    mine = days[three.a, START - START % DAY_MS]
    assert (mine["rows"], mine["success_rate_sum"], mine["success_rate_count"]) == (3, 2, 2)
    assert mine["trust_delta_sum"] == Decimal("0.1")
    assert three.ada.trust(three.ids[1], as_of=three.clock.now_ms()) == 0.75
    assert three.cyd.trust(three.ids[1], as_of=three.clock.now_ms()) == pytest.approx(1 / 3, abs=1e-6)
    assert three.ada.trust(three.ids[1], as_of=START + 30 * DAY_MS) == pytest.approx(2 / 3, abs=1e-6)


def test_messages_go_to_one_agent_or_to_a_topic(three: Three) -> None:
    sent = three.ada.send(three.ids[1], "meet at the ford", metadata={"urgent": True})
    three.clock.pass_ms(10)
    answer = three.bob.send(three.ids[0], "at noon", reply_to=sent.entity)
    three.cyd.subscribe("weather")
    posted = three.ada.post("weather", "rain by noon")
    assert three.rows("messages", 2) == [], "it is between two"
    assert three.agents[2].table("messages").get(parse_entity(sent.entity or "")) is None
    assert [(row["content"], row["read_at"]) for row in three.bob.inbox()] == [("meet at the ford", None)]
    (reply,) = three.ada.inbox()
    assert (reply["content"], reply["reply_to"]) == ("at noon", parse_entity(sent.entity or ""))
    assert [row["content"] for row in three.cyd.inbox()] == ["rain by noon"]
    scopes = {
        (event.kind, event.header.scope, event.header.circle) for agent in three.agents[:2] for event in agent.log()
    }
    circle = circle_of(three.a, three.b)
    assert scopes == {("message.sent", Scope.CIRCLE, circle), ("message.posted", Scope.PUBLIC, None)}
    assert circle == circle_of(three.b, three.a) != circle_of(three.a, three.c)
    three.clock.pass_ms(10)
    assert posted.entity
    three.cyd.mark_read([posted.entity])
    assert three.cyd.inbox() == []
    assert [row["read_at"] for row in three.cyd.inbox(unread=False)] == [START + 20]
    assert three.only("message_reads", 2)["read_at"] == START + 20
    assert three.rows("message_reads", 0) == []
    three.cyd.unsubscribe("weather")
    assert three.cyd.inbox(unread=False) == three.rows("topic_subscriptions", 2) == []
    assert answer.entity
    three.bob.withdraw(answer.entity)
    three.ada.withdraw(posted.entity)
    assert three.ada.inbox() == three.rows("topic_messages", 1) == []


def test_an_inbox_shows_the_newest_of_all_its_sources(three: Three) -> None:
    three.cyd.subscribe("x")
    for at in range(6):
        three.clock.pass_ms(1)
        (three.ada.send(three.ids[2], f"m{at}") if at % 2 else three.bob.post("x", f"m{at}"))
    three.cyd.post("x", "my own")
    assert [row["content"] for row in three.cyd.inbox(limit=4)] == ["m5", "m4", "m3", "m2"]
    assert [hit.text for hit in three.agents[0].recall("m3")] == ["m3"], "messages are found by their words"


def test_hormones_reach_agents_and_fade(three: Three) -> None:
    three.ada.connect(three.ids[1])
    three.bob.connect(three.ids[2])
    now = three.clock.now_ms()
    reached = three.ada.cascade(0.8, as_of=now)
    assert reached == {three.ids[0]: (0, 0.8), three.ids[1]: (1, 0.4), three.ids[2]: (2, 0.2)}
    cascade = three.ada.release("dopamine", 0.8)
    assert cascade.entity
    three.bob.absorb(cascade.entity, "dopamine", 0.4, hop=1, from_agent=three.ids[0])
    rows = {row["agent_id"]: row for row in three.rows("hormones", 2)}
    assert (rows[three.a]["hop"], rows[three.a]["from_agent"], rows[three.a]["intensity"]) == (0, None, 0.8)
    assert (rows[three.b]["hop"], rows[three.b]["from_agent"], rows[three.b]["intensity"]) == (1, three.a, 0.4)
    assert {row["cascade_id"] for row in rows.values()} == {parse_entity(cascade.entity)}
    assert three.bob.hormone_level("dopamine", as_of=now) == 1.4
    assert three.bob.hormone_level("dopamine", as_of=now + 3_600_000) == 1.2
    assert three.bob.hormone_level("dopamine", as_of=now - 1) == 1.0
    three.bob.enlist("B", hormone_levels={"dopamine": 2.0})
    assert three.bob.hormone_level("dopamine", as_of=now) == 2.4
    assert three.cyd.hormone_level("cortisol", as_of=now) == 0.3


def test_spores_travel_and_their_path_follows(three: Three) -> None:
    spore = three.ada.create_spore("the river rises at night", resonance_score=0.5, metadata={"lang": "en"})
    assert spore.entity
    three.cyd.propagate(spore.entity, from_agent=three.ids[1], hop=2)
    three.clock.pass_ms(1)
    three.bob.propagate(spore.entity, from_agent=three.ids[0], resonance=0.25)
    row = three.only("spores", 1)
    assert (row["content"], row["origin_agent"], row["created_at"]) == ("the river rises at night", three.a, START)
    assert (row["spore_type"], row["metadata"], row["hop_count"]) == ("insight", {"lang": "en"}, 2)
    assert three.ada.path(spore.entity) == three.ids
    assert sorted(row["hop"] for row in three.rows("spore_hops")) == [1, 2]


def test_fields_are_measured_and_rolled_up_by_the_minute(three: Three) -> None:
    minute = START - START % 60_000
    patterns = [{"harmony_pair": "calm-keen", "strength": 0.5}]
    shape = {"type": "Point", "coordinates": [4.5, 51.0]}
    three.ada.measure(
        "eu", coherence_level=70, active_agents=3, resonance_patterns=patterns, collective_insights=["rain"],
        sacred_geometry=shape, occurred=minute,
    )  # fmt: skip
    three.bob.measure("eu", coherence_level=90.5, active_agents=4, occurred=minute)
    three.bob.measure("eu", coherence_level=10.0, occurred=minute + 60_000)
    three.bob.measure("us", active_agents=1, occurred=minute)
    mine = next(row for row in three.rows("field_measurements") if row["measured_by"] == three.a)
    assert (mine["resonance_patterns"], mine["collective_insights"], mine["sacred_geometry"]) == (
        patterns, ["rain"], shape,
    )  # fmt: skip
    found = three.agents[2].table("field_measurements").rollup("field_coherence_1min")
    shown = {
        (row["minute"], row["region_id"]): (row["avg_coherence"], row["peak_coherence"], row["total_agents"])
        for row in found
    }
    assert shown == {
        (minute, "eu"): (80.25, 90.5, 7), (minute + 60_000, "eu"): (10.0, 10.0, 0), (minute, "us"): (None, None, 1),
    }  # fmt: skip


def test_the_fleets_state_is_reported_and_rolled_up_by_the_hour(three: Three) -> None:
    hour = START - START % 3_600_000
    three.ada.report(
        global_consciousness="105.75", global_trust="0.5", avg_dopamine="1.1", tasks_per_hour=4, occurred=hour
    )
    three.ada.report(global_consciousness=100, global_trust=1, team="iota", tasks_per_hour=6, occurred=hour + 1)
    assert {row["team"] for row in three.rows("consciousness_timeline", 1)} == {"all", "iota"}
    row = three.only("consciousness_hourly", 2)
    assert (row["bucket"], row["avg_consciousness"], row["peak_consciousness"]) == (hour, 102.875, Decimal("105.75"))
    assert (row["avg_trust"], row["dopamine_level"], row["total_tasks"]) == (0.75, 1.1, 10)


def test_of_two_that_are_entangled_what_is_worth_more_to_both_counts(three: Three) -> None:
    three.bob.entangle(three.ids[0], 0.5, benefit=20, correlation_events=["e1"])
    three.ada.entangle(three.ids[1], 0.75, benefit=10, correlation_events=["e2"])
    one, other, pair = pair_of(three.b, three.a)
    row = three.only("quantum_entanglements", 2)
    assert (row["agent1"], row["agent2"], row["pair_id"]) == (one, other, pair)
    assert (row["entanglement_strength"], row["correlation_events"]) == (0.5, ["e1", "e2"])
    three.ada.entangle(three.ids[1], 0.75, benefit=25)
    assert three.only("quantum_entanglements")["entanglement_strength"] == 0.75


def test_a_pattern_that_recurs_is_one_field(three: Three) -> None:
    three.ada.manifest("spiral", strength=0.25, occurred=START - 5)
    three.bob.manifest("spiral", strength=0.75, detail="in the snow")
    three.bob.manifest("spiral", strength=0.5, occurred=START + 1)
    assert three.only("morphic_fields", 2) == {
        "field_id": field_id("spiral"), "pattern_signature": "spiral", "first_manifestation": START - 5,
        "manifestation_count": 3, "contributing_agents": sorted([three.a, three.b]), "field_strength": 0.75,
    }  # fmt: skip
    assert len(three.rows("morphic_manifestations", 2)) == 3


def test_resonance_and_coherence_are_of_what_agents_share(three: Three) -> None:
    now = three.clock.now_ms()
    for network in (three.ada, three.bob, three.cyd):
        network.register(primary_region="eu")
    three.ada.create_spore("the river rises at night")
    three.bob.post("weather", "The RIVER rises at night")
    three.cyd.create_spore("stock prices fell")
    three.cyd.send(three.ids[0], "the river rises at night")
    assert three.ada.resonance(three.ids[0], three.ids[1]) == 1.0
    assert three.ada.resonance(three.ids[0], three.ids[2]) == 0.0, "what was said to one is not shared"
    assert three.ada.coherence(as_of=now) is None
    three.ada.connect(three.ids[1])
    three.ada.connect(three.ids[2])
    three.ada.interact(three.ids[1], "sync", success=True)
    trusted = three.ada.trust(three.ids[1], as_of=now)
    assert three.ada.coherence(as_of=now) == pytest.approx(100 * trusted / (trusted + 0.5), abs=1e-4)
    three.bob.connect(three.ids[0])
    assert three.bob.coherence(as_of=now) == three.cyd.coherence(three.ids[1], as_of=now) == 100.0
    both = three.cyd.field_coherence("eu", as_of=now)
    assert both == pytest.approx((100 + (three.ada.coherence(as_of=now) or 0)) / 2, abs=1e-4)
    assert three.cyd.field_coherence("eu", as_of=now + 2 * DAY_MS) is None, "nobody has shown itself since"


def test_drift_compares_the_last_day_with_the_last_thirty(three: Three) -> None:
    assert three.ada.drift(as_of=START) == 0.0
    three.ada.note("tired")
    three.clock.pass_ms(31 * DAY_MS)
    for _ in range(3):
        noted = three.ada.note("calm")
    three.ada.synchronize([noted.entity or ""])
    assert three.ada.drift(as_of=three.clock.now_ms()) == 0.0, "what is older does not count"
    three.clock.pass_ms(2 * DAY_MS)
    assert three.ada.drift(as_of=three.clock.now_ms()) == 0.0, "nothing was noted lately"
    three.ada.note("angry")
    assert three.ada.drift(as_of=three.clock.now_ms()) == pytest.approx(0.740807, abs=2e-6)
    assert three.bob.drift(as_of=three.clock.now_ms()) == 0.0


# -- who may not write -----------------------------------------------------------------------------------------------


def sample(table: Table, agent: bytes) -> dict[str, Any]:
    """A row of this agent's."""
    values: dict[str, Any] = {}
    for column in table.columns:
        if column.derived is None and (column.name in table.required or column.name in table.key):
            plain = {"agent": b"\x7f" * 32, "id": bytes(16), "text": "x", "real": 0.5, "decimal": "0.5"}
            values[column.name] = canonical(column, plain.get(str(column.type), 5))
    if table.agent_in_key is not None:
        values[table.agent_in_key] = agent
    return values


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"morphic_fields"}))
def test_nobody_writes_a_row_that_is_anothers(name: str) -> None:
    table, owner, thief = TABLES[name], b"\1" * 32, b"\2" * 32
    values = sample(table, owner)
    key = key_of(table, values)
    named = None if table.agent_in_key is None else owner

    def placed(stamp: int, author: bytes, op: Op, said: dict[str, Any]) -> Placed:
        return Placed(stamp, author, stamp, Write(name, key, op, said), 0, author, author == owner)

    other = next(c for c in table.columns if c.name not in table.key and c.derived is None and c.type != "agent")
    changed = {other.name: sample(table, owner).get(other.name)}
    row = merge(table, [placed(1, owner, Op.ASSERT, values)], named=named).row
    assert row is not None
    for op, said in ((Op.UPDATE, changed), (Op.DELETE, {}), (Op.ASSERT, values)):
        for when in (0, 2):
            outcome = merge(table, [placed(1, owner, Op.ASSERT, values), placed(when, thief, op, said)], named=named)
            assert outcome.row == row
            assert [(one.log, one.rule) for one in outcome.refused] == [
                (thief, "minted" if table.minted and op == Op.ASSERT else "writers")
            ]


def forge(three: Three, agent: int, kind: str, body: Any, entity: bytes = NEW) -> None:
    """Records what no command would, straight into an agent's log."""
    log = three.agents[agent].log_id
    draft = Draft(kind, encode_body(body), entity=entity, scope=Scope.PUBLIC)
    three.fleet.replica.commit(Batch(log, [draft], [None]))


def test_a_sender_cannot_be_forged(three: Three) -> None:
    sent = three.ada.send(three.ids[1], "I owe you nothing")
    forge(three, 2, "message.sent", {"recipient": three.b, "content": "I owe you all", "sender": three.a})
    assert {row["content"]: row["sender"] for row in three.bob.inbox()} == {
        "I owe you nothing": three.a, "I owe you all": three.c,
    }  # fmt: skip
    mine = parse_entity(sent.entity or "")
    with pytest.raises(InvalidInput, match="only the event that made an id can make its row"):
        forge(three, 2, "message.sent", {"recipient": three.b, "content": "I owe you all"}, mine)
    with pytest.raises(InvalidInput, match="written by its author alone"):
        forge(three, 1, "message.withdrawn", {}, mine)
    with pytest.raises(InvalidInput, match="sender and recipient are the same"):
        forge(three, 1, "message.sent", {"recipient": three.b, "content": "a note"})
    with pytest.raises(InvalidInput, match="another agent's"):
        three.bob.withdraw(sent.entity or "")


def test_a_profile_is_its_agents_alone(three: Three) -> None:
    three.ada.enlist("Alpha-7")
    three.bob.change(role="traitor", codename="Alpha-7")
    forge(three, 1, "agent.changed", {"id": three.a, "role": "traitor"})
    assert [(row["id"], row["role"]) for row in three.rows("agents")] == [(three.a, "agent")]


def test_no_agent_raises_the_trust_in_itself(three: Three) -> None:
    three.ada.enlist("A")
    with pytest.raises(InvalidInput, match="itself"):
        three.ada.interact(three.ids[0], "praise", success=True)
    with pytest.raises(InvalidInput, match="agent_id and peer_id are the same"):
        forge(three, 0, "agent.interacted", {"peer": three.a, "interaction_type": "praise", "success": True})
    with pytest.raises(InvalidInput, match="entangled with itself"):
        forge(three, 0, "agent.entangled", {"peer": three.a, "entanglement_strength": 1.0})
    forge(three, 0, "agent.changed", {"trust_coefficient": 1.0, "times_trusted": 9})
    with pytest.raises(InvalidInput, match="no trust_coefficient to say"):
        three.ada.change(trust_coefficient=1.0)
    forge(three, 0, "agent.interacted", {"peer": three.b, "agent_from": three.b, "agent_to": three.a, "success": True,
                                         "interaction_type": "praise"})  # fmt: skip
    assert three.only("agents")["trust_coefficient"] == 0.5
    assert three.bob.trust(three.ids[0], as_of=START) == 0.5


def test_nobody_marks_anothers_stream_or_tells_where_a_spore_went(three: Three) -> None:
    noted, spore = three.ada.note("woke"), three.ada.create_spore("x y z")
    with pytest.raises(NotFound, match="consciousness_stream"):
        three.bob.synchronize([noted.entity or ""])
    with pytest.raises(InvalidInput, match="written by its author alone"):
        three.agents[1].record("stream.synchronized", {"entries": [parse_entity(noted.entity or "")]})
    key = parse_entity(spore.entity or "")
    forge(three, 1, "spore.propagated", {"spore_id": key, "agent_id": three.c, "from_agent": three.a})
    assert [row["agent_id"] for row in three.rows("spore_hops")] == [three.b]
    forge(three, 1, "pattern.named", {"pattern_signature": "spiral", "field_id": key})
    assert three.only("morphic_fields")["field_id"] == field_id("spiral")


def test_private_events_that_would_change_nothing_are_refused(three: Three) -> None:
    with pytest.raises(InvalidInput, match="topic_messages folds circle and public events alone"):
        three.agents[0].record("message.posted", {"topic": "t", "content": "to myself"})
    assert three.rows("topic_messages") == []


def test_what_is_not_here_is_marked_and_absorbed_only_where_it_is_expected(three: Three) -> None:
    """A slip in an id would be recorded for good; who knows that something comes later says so."""
    before = sum(len(list(agent.log())) for agent in three.agents)
    with pytest.raises(NotFound, match=r"no message .* expected=True"):
        three.ada.mark_read([NOWHERE])
    with pytest.raises(NotFound, match=r"nothing is here of a cascade .* expected=True"):
        three.bob.absorb(NOWHERE, "dopamine", 0.4, hop=1, from_agent=three.ids[0])
    sent = three.ada.send(three.ids[1], "for Bob alone").entity or ""
    with pytest.raises(NotFound, match="not for this agent to see"):
        three.cyd.mark_read([sent])
    assert sum(len(list(agent.log())) for agent in three.agents) == before + 1
    three.cyd.mark_read([NOWHERE, sent], expected=True)
    three.bob.mark_read(sent)
    three.bob.absorb(NOWHERE, "dopamine", 0.4, hop=1, from_agent=three.ids[0], expected=True)
    three.cyd.absorb(NOWHERE, "dopamine", 0.2, hop=2, from_agent=three.ids[1])
    assert (len(three.rows("message_reads", 2)), len(three.rows("hormones", 0))) == (2, 2)


# -- what does not fit -----------------------------------------------------------------------------------------------

Say = Callable[[Three], Any]
WRONG: dict[str, tuple[Say, str]] = {
    "an id that is none": (lambda t: t.ada.connect("bob"), "not an id"),
    "a team": (lambda t: t.ada.enlist("A", team="omega"), r"agent\.enlisted .*\$\.team"),
    "an empty codename": (lambda t: t.ada.enlist(""), r"\$\.codename"),
    "an unknown column": (lambda t: t.ada.enlist("A", colour="red"), "no colour to say"),
    "nothing": (lambda t: t.ada.change(), "nothing to change"),
    "a score of ten": (lambda t: t.ada.enlist("A", consciousness_score="10.00"), "consciousness_score"),
    "a rate over one": (lambda t: t.ada.change(success_rate="1.5"), "success_rate.*more than 1"),
    "love without end": (lambda t: t.ada.set_state("a", "b", love_resonance=101.0), r"\$\.love_resonance"),
    "an impact": (lambda t: t.ada.note("woke", field_impact=2.0), r"\$\.field_impact"),
    "a strength": (lambda t: t.ada.connect(t.ids[1], strength=-0.1), r"\$\.strength"),
    "a delta": (lambda t: t.ada.interact(t.ids[1], "x", trust_delta="2"), "trust_delta.*more than 1"),
    "too many digits": (lambda t: t.ada.interact(t.ids[1], "x", trust_delta="0.1234567"), "trust_delta.*6 digits"),
    "no words": (lambda t: t.ada.send(t.ids[1], ""), r"\$\.content"),
    "a long topic": (lambda t: t.ada.post("t" * 300, "x"), r"\$\.topic"),
    "a fourth hop": (
        lambda t: t.bob.absorb(NOWHERE, "d", 1.0, hop=4, from_agent=t.ids[0], expected=True),
        r"\$\.hop",
    ),
    "an endless hormone": (lambda t: t.ada.release("d", float("inf")), r"\$\.intensity|intensity"),
    "a resonance": (lambda t: t.ada.create_spore("x", resonance_score=1.5), r"\$\.resonance_score"),
    "metadata of numbers": (lambda t: t.ada.create_spore("x", metadata={"a": 1}), r"\$\.metadata"),
    "coherence": (lambda t: t.ada.measure("eu", coherence_level=100.5), r"\$\.coherence_level"),
    "not a number": (lambda t: t.ada.measure("eu", coherence_level=float("nan")), "coherence_level"),
    "agents below none": (lambda t: t.ada.measure("eu", active_agents=-1), r"\$\.active_agents"),
    "a shape": (lambda t: t.ada.measure("eu", sacred_geometry={"type": "Blob"}), "sacred_geometry.*GeoJSON"),
    "half a report": (lambda t: t.ada.report(global_trust=1), "global_consciousness"),
    "too conscious": (lambda t: t.ada.report(global_trust=1, global_consciousness=201), "global_consciousness.*200"),
    "benefit": (lambda t: t.ada.entangle(t.ids[1], 0.5, benefit=101), r"\$\.benefit"),
    "a lone surrogate": (lambda t: t.ada.post("t", "\ud800"), "surrogate"),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(WRONG))
def test_what_does_not_fit_is_refused_and_nothing_recorded(three: Three, what: str) -> None:
    say, words = WRONG[what]
    before = sum(len(list(agent.log())) for agent in three.agents)
    with pytest.raises(AntiphonError, match=words) as refused:
        say(three)
    assert isinstance(refused.value, InvalidInput)
    assert sum(len(list(agent.log())) for agent in three.agents) == before


# -- the declarations ------------------------------------------------------------------------------------------------

STREAMS = {
    "agent.presence": 100, "agent.heartbeat": 12, "spore.created": 50, "spore.propagated": 50, "field.coherence": 20,
    "sacred.messages": 100, "consciousness.update": 24, "hormone.cascade": 12,
}  # fmt: skip


def test_the_streams_are_those_of_the_designs() -> None:
    streams = {stream.topic: stream for table in NETWORK.tables for stream in table.places.streams}
    assert {topic: stream.partitions for topic, stream in streams.items()} == STREAMS
    assert {stream.replication for stream in streams.values()} == {3}
    kinds = {kind.name for kind in NETWORK.kinds}
    assert all(set(stream.kinds) <= kinds for stream in streams.values())
    assert streams["sacred.messages"].retention_ms == 30 * DAY_MS
    assert streams["field.coherence"].compaction


def test_the_domain_stands_alone() -> None:
    registry = Registry([NETWORK])
    assert {"field_coherence_1min", "consciousness_hourly", "trust_daily"} <= registry.tables.keys()
    assert all(kind.name in registry.folds for kind in NETWORK.kinds)


def test_what_is_said_of_nothing_is_refused(three: Three) -> None:
    ghost, spoken = three.ada.note("woke").entity or "", three.ada.send(three.ids[1], "at noon").entity or ""
    before = sum(len(list(agent.log())) for agent in three.agents)
    for say, words in (
        (lambda: three.bob.send(three.ids[0], "yes", reply_to=ghost), "messages.reply_to"),
        (lambda: three.cyd.send(three.ids[0], "yes", reply_to=spoken), "messages.reply_to"),
        (lambda: three.bob.post("t", "yes", reply_to=spoken), "topic_messages.reply_to"),
        (lambda: three.bob.propagate(ghost, from_agent=three.ids[0]), "spore_hops.spore_id"),
        (lambda: three.ada.synchronize([spoken]), "consciousness_stream.id"),
        (lambda: three.ada.withdraw(ghost), "topic_messages.message_id"),
    ):
        with pytest.raises(NotFound, match=words):
            say()
    assert sum(len(list(agent.log())) for agent in three.agents) == before
    three.ada.withdraw(spoken)
    with pytest.raises(NotFound):
        three.ada.withdraw(spoken)


def test_a_profile_begins_with_a_heartbeat(three: Three) -> None:
    three.ada.enlist("Alpha-7")
    row = three.only("agents")
    assert row["last_heartbeat"] == row["created_at"] == START
