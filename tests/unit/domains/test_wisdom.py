"""Wisdom: insights that their authors alone change, and resonance that nobody writes: it is who acknowledged."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from antiphon import Agent, Fleet, InvalidInput, LimitExceeded, NotFound
from antiphon.domains.wisdom import INSIGHTS, WISDOM, WISDOM_CRYSTALS, Wisdom
from antiphon.domains.wisdom.declare import VECTOR_SIZE
from antiphon.home import default_folder
from antiphon.model.event import NEW, Draft, Scope, encode_body
from antiphon.model.places import FOREVER
from antiphon.model.table import Table, Type
from antiphon.model.text import parse_entity, parse_id
from antiphon.replica.commit import Batch
from tests.unit.domains.one_file import refuses

NOWHERE = "01890000-0000-7000-8000-000000000000"


@pytest.fixture
def agents() -> Iterator[list[Agent]]:
    with Fleet.create(default_folder()) as fleet:
        yield [fleet.add(name) for name in ("ada", "bob", "cyd")]


def row(agents: list[Agent], table: Table, entity: str | None) -> dict[str, Any] | None:
    found = agents[0].replica.tables.row(table, parse_entity(entity or ""))
    return None if found is None else found.values


def test_resonance_is_how_many_agents_acknowledged(agents: list[Agent]) -> None:
    ada, bob, cyd = map(Wisdom, agents)
    one = ada.share("tides turn twice a day", tags=["sea", "sea", "moon"]).entity or ""
    two = bob.share("gulls follow the boats").entity or ""
    for wise in (ada, bob, cyd, cyd):
        wise.acknowledge(one)
    ada.acknowledge(two)
    assert [(insight["content"], insight["resonance"]) for insight in cyd.insights()] == [
        ("tides turn twice a day", 3),
        ("gulls follow the boats", 1),
    ]
    cyd.unacknowledge(one)
    bob_said = bob.acknowledge(two)
    agents[1].forget(bob_said.event)
    assert [insight["resonance"] for insight in cyd.insights()] == [2, 1]
    found = row(agents, INSIGHTS, one)
    assert found is not None
    assert (found["tags"], found["agent_id"]) == (["moon", "sea"], parse_id(agents[0].id))
    assert [insight["content"] for insight in cyd.insights(order="new", limit=1)] == ["gulls follow the boats"]
    refuses(agents[0], NotFound, "has not acknowledged", lambda: cyd.unacknowledge(one))


def test_an_author_edits_and_withdraws_its_own_insights_alone(agents: list[Agent]) -> None:
    ada, bob = Wisdom(agents[0]), Wisdom(agents[1])
    insight = ada.share("tides turn", vector=[0.5] * VECTOR_SIZE).entity or ""
    ada.edit(insight, content="tides turn twice a day", tags=["sea"])
    found = row(agents, INSIGHTS, insight)
    assert found is not None
    assert (found["content"], found["tags"], found["vector"]) == (
        "tides turn twice a day",
        ["sea"],
        [0.5] * VECTOR_SIZE,
    )
    assert found["edited_at"] >= found["created_at"]
    ada.edit(insight, vector=None)
    refuses(agents[0], InvalidInput, "another agent's", lambda: bob.edit(insight, content="no"))
    refuses(agents[0], InvalidInput, "another agent's", lambda: bob.withdraw(insight))
    refuses(
        agents[0],
        InvalidInput,
        "another agent's",
        lambda: agents[1].record("insight.edited", {"content": "no"}, entity=insight, scope=Scope.PUBLIC),
    )
    ada.withdraw(insight)
    assert row(agents, INSIGHTS, insight) is None


def test_what_is_forgotten_of_an_insight_is_gone(agents: list[Agent]) -> None:
    ada = Wisdom(agents[0])
    source = agents[0].remember("the harbour master said so", user="Zoe")
    insight = ada.share("tides turn", sources=[source.event])
    assert agents[0].recall("tides")
    agents[0].forget(person="Zoe")
    assert row(agents, INSIGHTS, insight.entity) is None
    assert agents[0].recall("tides") == []


def test_crystals_count_their_acknowledgements(agents: list[Agent]) -> None:
    ada, bob, cyd = map(Wisdom, agents)
    names = [agent.id for agent in agents]
    first = ada.crystallize("the sea rises", names, score=0.8, tags=["sea"]).entity or ""
    second = ada.crystallize("the sea falls", names[:2], related=[first]).entity or ""
    for wise in (bob, cyd):
        wise.acknowledge_crystal(first)
    ada.relate(first, [second])
    ada.relate(first, [second, first])
    found = row(agents, WISDOM_CRYSTALS, first)
    assert found is not None
    assert (found["resonance_count"], found["wisdom_score"]) == (2, 0.8)
    assert found["contributing_agents"] == sorted(parse_id(name) for name in names)
    assert found["related_crystals"] == sorted(parse_entity(one) for one in (first, second))
    assert [crystal["crystal_id"] for crystal in bob.crystals()] == [parse_entity(first), parse_entity(second)]
    cyd.unacknowledge_crystal(first)
    assert [crystal["resonance_count"] for crystal in bob.crystals()] == [1, 0]
    refuses(agents[0], InvalidInput, "another agent's|alone", lambda: bob.relate(first, [second]))


@pytest.mark.parametrize(
    ("error", "words", "act"),
    [
        (InvalidInput, "content is empty", lambda wise: wise.share(" ")),
        (InvalidInput, "384 finite", lambda wise: wise.share("x", vector=[1.0] * 383)),
        (InvalidInput, "384 finite", lambda wise: wise.share("x", vector=[math.nan] * 384)),
        (InvalidInput, "list of words", lambda wise: wise.share("x", tags="word")),
        (LimitExceeded, "TAGS_MAX", lambda wise: wise.share("x", tags=[str(n) for n in range(33)])),
        (NotFound, NOWHERE, lambda wise: wise.acknowledge(NOWHERE)),
        (NotFound, NOWHERE, lambda wise: wise.acknowledge_crystal(NOWHERE)),
        (NotFound, NOWHERE, lambda wise: wise.edit(NOWHERE, content="x")),
        (InvalidInput, "needs agents", lambda wise: wise.crystallize("x", [])),
        (InvalidInput, "from 0 to 1", lambda wise: wise.crystallize("x", ["b"], score=1.5)),
        (InvalidInput, "one of the orders", lambda wise: wise.insights(order="best")),
    ],
)
def test_what_does_not_fit_is_refused(
    agents: list[Agent], error: type[Exception], words: str, act: Callable[[Wisdom], Any]
) -> None:
    refuses(agents[0], error, words, lambda: act(Wisdom(agents[0])))


def test_the_declarations_are_the_designs() -> None:
    tables = {table.name: table for table in WISDOM.tables}
    crystal = tables["wisdom_crystals"]
    assert set(crystal.names) == {
        "crystal_id", "formation_time", "contributing_agents", "insight_content", "resonance_count", "wisdom_score",
        "related_crystals", "tags",
    }  # fmt: skip
    records = tables["akashic_records"]
    assert records.key == ("block_height",)
    assert set(records.names) == {
        "block_height", "previous_hash", "timestamp", "wisdom_entries", "contributors", "block_hash"
    }  # fmt: skip
    (stream,) = tables["insights"].places.streams
    assert (stream.topic, stream.partitions, stream.retention_ms) == ("wisdom.insights", 10, FOREVER)
    assert tables["insights"].column("vector").type == Type.VECTOR


def forge(agent: Agent, kind: str, body: dict[str, Any]) -> None:
    """Records what no command would, straight into an agent's log."""
    draft = Draft(kind, encode_body(body), entity=NEW, scope=Scope.PUBLIC)
    agent.replica.commit(Batch(agent.log_id, [draft], [None]))


def test_an_agent_changes_its_own_profile_and_votes_for_itself_alone(agents: list[Agent]) -> None:
    """Whose row it is follows from whose log it is; a body that names another agent changes nothing."""
    from antiphon.domains.tasks import TASK_VOTES, Tasks

    ada, bob = (parse_id(agent.id) for agent in agents[:2])
    agents[0].record("agent.enlisted", {"codename": "Alpha-7", "role": "scout"}, scope=Scope.PUBLIC)
    agents[1].record("agent.enlisted", {"codename": "Zeta", "role": "scout"}, scope=Scope.PUBLIC)
    forge(agents[1], "agent.changed", {"codename": "Mallory", "id": ada, "agent": ada})
    task = parse_entity(Tasks(agents[0]).create("x").entity or "")
    body = {"task": task, "vote": 1, "agent_id": ada, "agent": ada}
    with pytest.raises(InvalidInput, match=r"task\.voted has no field 'agent_id'; it has task, vote, reason"):
        agents[1].record("task.voted", body, scope=Scope.PUBLIC)
    forge(agents[1], "task.voted", body)
    tables = agents[0].replica.tables
    profiles = tables.select(agents[0].replica.registry.table("agents"), {}, order="n")
    assert {found.values["id"]: found.values["codename"] for found in profiles} == {ada: "Alpha-7", bob: "Mallory"}
    assert [found.values["agent_id"] for found in tables.select(TASK_VOTES, {}, order="n")] == [bob]
