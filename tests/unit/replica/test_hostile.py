"""What a peer may send to be in the way: sums past 64 bits, bodies of endless depth, words about others' people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Conflict, Fleet, NotFound
from antiphon.cli.views import may_read
from antiphon.domains.network import NETWORK
from antiphon.domains.network.commands import Network
from antiphon.domains.tasks import TASKS
from antiphon.domains.tasks.commands import Tasks
from antiphon.domains.wisdom.commands import Wisdom
from antiphon.log import kinds
from antiphon.log.store import LogRole
from antiphon.model.event import Draft, Scope, encode_body
from antiphon.ops.recount import rollup_fault
from antiphon.replica.commit import Batch
from antiphon.replica.decide import answer_requests
from antiphon.replica.hear import hear
from antiphon.world.clock import ManualClock
from tests.simulation.views_world import NEW, Cast, World, held, opened, refused

MOST = (1 << 63) - 1


@pytest.fixture
def world(people: Cast) -> Iterator[World]:
    made = World(people, lambda: NETWORK, replicas=0)
    made.replicas += [opened(people, people.target, [NETWORK, TASKS], made.here) for _ in range(2)]
    yield made
    made.close()


def measured(world: World, active: int) -> None:
    world.write(0, "field.measured", {"region_id": "r", "coherence_level": 50.0, "active_agents": active}, entity=NEW)
    world.clock.pass_ms(5)


def total(world: World, at: int) -> Any:
    ((row, _),) = held(world.replicas[at])["field_coherence_1min"].values()
    return row["total_agents"]


def test_a_sum_past_64_bits_stops_nobody_and_what_goes_leaves_what_was(world: World) -> None:
    measured(world, 7)
    for _ in range(3):
        measured(world, MOST)
        world.deliver_all(0)  # one by one here, all at once there
    world.deliver_all(1)
    assert total(world, 0) == total(world, 1) == (7 + 3 * MOST + (1 << 63)) % (1 << 64) - (1 << 63)
    for replica in world.replicas:
        assert rollup_fault(replica.registry, replica.tables, "field_coherence_1min") is None
    for _ in range(3):
        world.erase(0, 1)
        world.deliver_all(0)
    assert total(world, 0) == 7
    world.replicas[1].refold("network")
    world.deliver_all(1)
    assert held(world.replicas[0]) == held(world.replicas[1])


def test_a_request_of_endless_depth_holds_nobody_up(world: World) -> None:
    deep = b"\x82\xa4home\xc4\x20" + world.cast.logs[0] + b"\xa1z" + b"\x91" * 200_000 + b"\x01"
    event = world.write(1, "task.claim", deep, entity=bytes(16))
    world.deliver_all(0)
    assert answer_requests(world.replicas[0]) == []
    assert refused(world.replicas[0])[1] == {(event.log, event.seq)}


def test_nobody_can_be_in_the_way_of_forgetting(own_home: Path, people: Cast) -> None:
    with Agent.create("ada", home=own_home, clock=ManualClock(1_700_000_010_000)) as ada:
        ada.remember("Bob likes tea", user="Bob")
        bob = ada.pseudonym("Bob")
        assert bob is not None
        world = World(people, lambda: NETWORK, replicas=0)
        world.replicas.append(ada.replica)
        asked = encode_body(kinds.ErasureRequested([(ada.log_id, 0), (ada.log_id, 1 << 62), (b"x", -1)], "asked"))
        about = Draft("message.posted", encode_body({"topic": "t", "content": "Bob"}), entity=NEW, about=(bob,))
        drafts = [about, Draft(kinds.ERASURE_REQUESTED, asked), Draft(kinds.ERASURE_REQUESTED, b"\xc1")]
        for draft in drafts:
            draft.scope = Scope.PUBLIC
            world.source.commit(Batch(people.logs[0], [draft], [None]))
        world.deliver_all(0)
        hear(ada.replica)
        assert people.logs[0] in {head.id for head in ada.replica.heads() if head.role == LogRole.FOLLOWED}
        assert ada.forget_requests() == []
        assert len(ada.forget(person="Bob").events) == 2
        assert ada.pseudonym("Bob") is None
        world.replicas.clear()
        world.close()


def test_a_fault_in_what_is_not_folded_here_is_listed_by_nobody_in_any_order(world: World) -> None:
    me = {"peer": world.cast.agents[0]}
    world.write(0, "connection.noted", me, entity=None)  # of a table that folds nothing of others' logs
    world.write(0, "agent.connected", me, entity=None)
    world.deliver_all(0)
    talk = {"peer": world.cast.agents[2], "interaction_type": "talk"}
    world.write(1, "agent.interacted", talk, entity=NEW)  # counted in a row of that table which is not there
    world.deliver_all(0)
    world.deliver(1, world.cast.homes[0])
    world.deliver(1, world.cast.logs[1])
    world.deliver_all(1)
    first, second = (refused(replica)[1] for replica in world.replicas)
    assert first == second
    assert [seq for _, seq in first] == [1]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.create(tmp_path / "fleet") as made:
        yield made


def test_one_of_several_events_of_a_row_is_forgotten_where_tables_have_keys_of_their_own(fleet: Fleet) -> None:
    ada, bea = fleet.add("ada"), fleet.add("bea")
    Network(ada).interact(bea.id, "talk", success=True)  # a row whose key is no entity
    wisdom = Wisdom(ada)
    made = wisdom.share("water finds a way")
    edited = wisdom.edit(made.entity or "", content="water finds its way")
    done = ada.forget(edited.event)
    assert done.events == [edited.event]
    assert (ada.get(made.entity or "") or {})["content"] == "water finds a way"


def test_a_refusal_is_forgotten_with_its_request(fleet: Fleet) -> None:
    ada, bea = fleet.add("ada"), fleet.add("bea")
    board, asking = Tasks(ada), Tasks(bea)
    task = board.create("Survey the harbour").entity or ""
    asking.claim(task)
    with pytest.raises(Conflict):
        asking.submit(task, output="a secret")  # it has not been started; nothing is recorded
    home, log = ada.log_id, bea.log_id
    body = {"home": home, "output": "a secret"}
    row = ada.get(task)
    assert row is not None
    asked = Draft("task.submit", encode_body(body), entity=row["id"], scope=Scope.PUBLIC)
    made = fleet.replica.commit(Batch(log, [asked], [None]))
    (answer,) = answer_requests(fleet.replica)
    assert answer.kind == kinds.REQUEST_REFUSED
    done = bea.forget(made.first)
    assert [event.rpartition("/")[2] for event in done.derived] == [str(answer.seq)]
    with pytest.raises(NotFound):
        fleet.replica.event(home, answer.seq)


def test_what_is_said_of_another_agents_private_event_is_not_for_all(fleet: Fleet) -> None:
    ada, bea = fleet.add("ada"), fleet.add("bea")
    hers = bea.remember("a secret")
    shared = Network(bea).post("harbour", "the tide turns")
    (no,) = (head.no for head in fleet.replica.heads() if head.id == bea.log_id)
    private, public = (int(event.rpartition("/")[2]) for event in (hers.event, shared.event))
    assert [may_read(ada, no, private), may_read(ada, no, public), may_read(bea, no, private)] == [False, True, True]
