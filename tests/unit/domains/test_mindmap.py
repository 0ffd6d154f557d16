"""Mind maps: a map is its mind's own; what minds agree on is calculated from all that they contributed."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from antiphon import Agent, Conflict, Fleet, InvalidInput, LimitExceeded, NotFound
from antiphon.domains.mindmap import MINDMAP, MindMap, names
from antiphon.home import default_folder
from antiphon.model.event import NEW, Scope
from antiphon.model.limits import JSON_BYTES_MAX
from antiphon.model.text import entity_text, natural_id, parse_entity, parse_id
from antiphon.replica.commit import Batch
from antiphon.views.commands import convert, draft_of
from antiphon.world.clock import ManualClock
from tests.unit.domains.one_file import refuses

NOWHERE = "01890000-0000-7000-8000-000000000000"
NOON = 1_750_000_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def agents(clock: ManualClock) -> Iterator[list[Agent]]:
    with Fleet.create(default_folder(), domains=[MINDMAP], clock=clock) as fleet:
        yield [fleet.add(name) for name in ("ada", "bob", "cyd", "dan")]


def vector(*parts: float) -> list[float]:
    return [*parts, *[0.0] * (names.VECTOR_SIZE - len(parts))]


def rows(agents: list[Agent], table: str) -> list[dict[str, Any]]:
    return [row.values for row in agents[0].replica.tables.all_rows(agents[0].replica.registry.tables[table])]


# -- one's own map ---------------------------------------------------------------------------------------------------


def test_a_node_is_grown_and_changed_by_its_mind(agents: list[Agent], clock: ManualClock) -> None:
    ada = MindMap(agents[0])
    made = ada.grow("tide", label="The tide", type="thought", metadata={"at": ["mill"]}, atp=2.5, network="focus")
    assert ada.find("tide") == {
        "id": parse_entity(made.entity or ""), "user_id": parse_id(agents[0].id), "node_key": "tide",
        "label": "The tide", "type": "thought", "metadata": {"at": ["mill"]},
        "energy": {"ATP": 2.5, "network": "focus"}, "created_at": NOON, "updated_at": NOON,
    }  # fmt: skip
    clock.pass_ms(5)
    ada.change(made.entity or "", label=None, atp=3)
    ada.change(made.entity or "", network="rest", metadata=None)
    found = ada.find("tide", mind=agents[0].id)
    assert found is not None
    assert (found["label"], found["type"], found["metadata"]) == (None, "thought", None)
    assert (found["energy"], found["created_at"], found["updated_at"]) == (
        {"ATP": 3.0, "network": "rest"}, NOON, NOON + 5,
    )  # fmt: skip
    clock.pass_ms(1)
    ada.grow("sea")
    assert (ada.find("sea") or {})["energy"] == {"ATP": 1.0, "network": "default"}
    assert [row["node_key"] for row in ada.nodes()] == ["sea", "tide"]
    assert ada.find("tide", mind=agents[1].id) is None
    assert MindMap(agents[1]).grow("tide").entity != made.entity, "each map has its own keys"


BAD_NODES: list[tuple[dict[str, Any], str]] = [
    ({"node_key": ""}, "nodes.node_key is a word"),
    ({"node_key": 7}, "nodes.node_key is a word"),
    ({"node_key": "k" * 256}, "at most 255 characters, not 256"),
    ({"node_key": "\ud800"}, "lone surrogate"),
    ({"label": 7}, "nodes.label is text"),
    ({"label": "x" * 4_097}, "nodes.label has at most 4,096"),
    ({"type": "x" * 51}, "nodes.type has at most 50"),
    ({"type": " "}, "nodes.type is a word"),
    ({"metadata": ["no"]}, "nodes.metadata is a map"),
    ({"metadata": {1: 2}}, "nodes.metadata is a map"),
    ({"metadata": {"x": object()}}, "nodes.metadata is a map of plain values"),
    ({"metadata": {"x": "y" * JSON_BYTES_MAX}}, "JSON_BYTES_MAX"),
    ({"atp": -0.1}, "ATP is a number from 0 to 1,000"),
    ({"atp": float("nan")}, "ATP is a number from 0 to 1,000"),
    ({"atp": True}, "ATP is a number from 0 to 1,000"),
    ({"network": ""}, "network is a word"),
]


@pytest.mark.parametrize(("said", "words"), BAD_NODES)
def test_bad_nodes_are_refused(agents: list[Agent], said: dict[str, Any], words: str) -> None:
    ada = MindMap(agents[0])
    node = ada.grow("good").entity or ""
    refuses(agents[0], InvalidInput, words, lambda: ada.grow(**{"node_key": "new", **said}))
    if "node_key" not in said:
        refuses(agents[0], InvalidInput, words, lambda: ada.change(node, **said))


def test_others_nodes_and_second_keys_are_refused(agents: list[Agent]) -> None:
    ada, bob = MindMap(agents[0]), MindMap(agents[1])
    node, other = ada.grow("tide").entity or "", bob.grow("sea").entity or ""
    edge = ada.link(node, other).entity or ""
    refuses(agents[0], Conflict, "a node 'tide' already", lambda: ada.grow("tide"))
    acts: list[Callable[[], Any]] = [
        lambda: bob.change(node, label="no"),
        lambda: bob.pulse(node, 1),
        lambda: bob.stream(node, [{"time": 1, "atp_level": 1}]),
        lambda: bob.embed(node, vector(1), "m"),
        lambda: bob.remove(node),
        lambda: bob.link(node, other),
        lambda: bob.found(node),
    ]
    for act in acts:
        refuses(agents[0], InvalidInput, "another mind's map", act)
    refuses(agents[0], NotFound, "drawn no", lambda: bob.unlink(edge))
    refuses(agents[0], NotFound, "nodes: there is no", lambda: ada.change(NOWHERE, label="x"))
    refuses(agents[0], NotFound, "nodes: there is no", lambda: ada.link(node, NOWHERE))
    refuses(agents[0], NotFound, "drawn no", lambda: ada.unlink(NOWHERE))
    refuses(agents[0], NotFound, "there is no 'none'", lambda: ada.thaw("none"))
    refuses(agents[0], InvalidInput, "nothing to change", lambda: ada.change(node))
    refuses(agents[0], InvalidInput, "no id|not an entity id", lambda: ada.change("x", label="y"))
    missing: Any = None
    refuses(agents[0], InvalidInput, "None is not an entity id", lambda: ada.link(node, missing))
    refuses(agents[0], InvalidInput, "points are a list", lambda: ada.stream(node, missing))


def test_pulses_add_and_are_kept_as_points(agents: list[Agent], clock: ManualClock) -> None:
    ada = MindMap(agents[0])
    node = ada.grow("tide").entity or ""
    ada.pulse(node, 0.1, attention=0.5)
    clock.pass_ms(1)
    ada.pulse(node, 0.2)
    clock.pass_ms(1)
    ada.pulse(node, -1.3)
    thawed = ada.thaw("tide")
    assert thawed.node["energy"]["ATP"] == 0.0
    assert [(row["time"], row["atp_level"], row["attention_score"]) for row in thawed.points] == [
        (NOON + 2, Decimal("0.000"), None), (NOON + 1, Decimal("1.300"), None), (NOON, Decimal("1.100"), 0.5),
    ]  # fmt: skip
    assert [row["atp_square"] for row in reversed(thawed.points)] == [Decimal("1.21"), Decimal("1.69"), 0]
    refuses(agents[0], InvalidInput, "would bring the node from 0 to -0.1", lambda: ada.pulse(node, -0.1))
    refuses(agents[0], InvalidInput, "from 0 to 1001", lambda: ada.pulse(node, 1_001))
    refuses(agents[0], InvalidInput, "a pulse is a number", lambda: ada.pulse(node, float("inf")))
    refuses(agents[0], InvalidInput, "attention_score is a number", lambda: ada.pulse(node, 1, attention=-1))
    assert ada.thaw("tide").node["energy"]["ATP"] == 0.0, "a pulse whose point is refused leaves nothing"


BAD_POINTS: list[tuple[dict[str, Any], str]] = [
    ({}, "a point has a time"),
    ({"time": 1, "atp": 2}, "a point has a time"),
    ({"time": 1}, "says nothing"),
    ({"time": "soon", "atp_level": 1}, "soon"),
    ({"time": 1, "atp_level": -1}, "atp_level is a number from 0"),
    ({"time": 1, "atp_level": "NaN"}, "atp_level is a number from 0"),
    ({"time": 1, "atp_level": True}, "atp_level is a number from 0"),
    ({"time": 1, "attention_score": "x"}, "attention_score is a number"),
    ({"time": 1, "resonance_vector": "xx"}, "resonance_vector is a list"),
    ({"time": 1, "resonance_vector": [float("nan")]}, "finite"),
    ({"time": 1, "resonance_vector": [0.5] * 385}, "at most 384"),
]


@pytest.mark.parametrize(("point", "words"), BAD_POINTS)
def test_bad_points_are_refused(agents: list[Agent], point: dict[str, Any], words: str) -> None:
    ada = MindMap(agents[0])
    node = ada.grow("tide").entity or ""
    good = {"time": 2, "atp_level": 1}
    refuses(agents[0], InvalidInput, words, lambda: ada.stream(node, [good, point]))


def test_points_are_kept_twice_one_each_time(agents: list[Agent]) -> None:
    ada = MindMap(agents[0])
    node = ada.grow("tide").entity or ""
    made = ada.stream(node, [{"time": NOON - n, "atp_level": n % 7, "resonance_vector": [n / 3]} for n in range(1_000)])
    ada.stream(node, [{"time": NOON, "attention_score": 0.9}])
    streams, archive = rows(agents, names.STREAMS), rows(agents, names.ARCHIVE)
    assert len(streams) == len(archive) == 1_000
    assert [{name: row[name] for name in row if name != "atp_square"} for row in streams] == archive
    assert next(row for row in archive if row["time"] == NOON)["attention_score"] == 0.9
    refuses(agents[0], LimitExceeded, "POINTS_MAX", lambda: ada.stream(node, []))
    refuses(agents[0], LimitExceeded, "POINTS_MAX", lambda: ada.stream(node, [{"time": 1, "atp_level": 1}] * 1_001))
    refuses(agents[0], InvalidInput, "one time", lambda: ada.stream(node, [{"time": 1, "atp_level": 1}] * 2))
    agents[0].forget(made.event)
    assert len(rows(agents, names.STREAMS)) == len(rows(agents, names.ARCHIVE)) == 1, "forgotten in both places"
    assert [len(ada.thaw("tide", points=n).points) for n in (0, 1)] == [0, 1]
    refuses(agents[0], InvalidInput, "THAWED_POINTS_MAX", lambda: ada.thaw("tide", points=101))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([1.0] * 383, "384 numbers, not 383"),
        ([0.0] * 384, "no direction"),
        (["x"] * 384, "finite numbers"),
        ("x" * 384, "a list of numbers"),
        ([float("inf")] * 384, "finite numbers"),
    ],
)
def test_bad_vectors_are_refused(agents: list[Agent], said: Any, words: str) -> None:
    ada = MindMap(agents[0])
    node = ada.grow("tide").entity or ""
    refuses(agents[0], InvalidInput, words, lambda: ada.embed(node, said, "m"))
    refuses(agents[0], InvalidInput, "model_version", lambda: ada.embed(node, vector(1), "m" * 51))
    ada.embed(node, vector(1), "m")
    ada.embed(node, vector(2), "n")
    assert ada.thaw("tide").embedding == vector(2)
    assert len(rows(agents, names.EMBEDDINGS)) == 1


# -- links -----------------------------------------------------------------------------------------------------------


def test_links_are_as_many_as_drawn_and_one_in_the_graph(agents: list[Agent]) -> None:
    ada, bob = MindMap(agents[0]), MindMap(agents[1])
    one, two = ada.grow("one").entity or "", ada.grow("two").entity or ""
    far = bob.grow("far").entity or ""
    first = ada.link(one, two, metadata={"why": "so"}).entity or ""
    second = ada.link(one, two, relationship_type="feeds", weight=3)
    bob.link(far, two)
    edge = next(row for row in rows(agents, names.EDGES) if row["id"] == parse_entity(first))
    assert (edge["relationship_type"], edge["weight"], edge["metadata"], edge["created_at"]) == (
        "child", 1.0, {"why": "so"}, NOON,
    )  # fmt: skip

    def link() -> tuple[Any, ...]:
        found = next(row for row in rows(agents, names.LINKS) if row["from_node"] == parse_entity(one))
        return found["drawn"], found["weight"], found["relationship_types"], found["minds"]

    me = parse_id(agents[0].id)
    assert link() == (1, 3.0, ["child", "feeds"], [me])
    ada.unlink(first)
    assert link() == (1, 3.0, ["feeds"], [me])
    agents[0].forget(second.event)
    assert link()[:2] == (None, None), "no edge is left: the graph has none either"
    assert [row["user_id"] for row in rows(agents, names.EDGES)] == [parse_id(agents[1].id)]
    for words, how in (("itself", {"to_node": one}), ("weight", {"weight": -1}), ("word", {"relationship_type": ""})):
        refuses(agents[0], InvalidInput, words, lambda how=how: ada.link(one, **{"to_node": two, **how}))  # type: ignore[misc]


def test_a_node_goes_with_its_vector_and_its_minds_links(agents: list[Agent]) -> None:
    ada, bob = MindMap(agents[0]), MindMap(agents[1])
    one, two, far = ada.grow("one").entity or "", ada.grow("two").entity or "", bob.grow("far").entity or ""
    ada.embed(one, vector(1), "m")
    for source, target in ((one, two), (two, one)):
        ada.link(source, target)
    bob.link(far, one)
    before = sum(head.size for head in agents[0].replica.heads())
    ada.remove(one)
    assert sum(head.size for head in agents[0].replica.heads()) == before + 3, "the node, and two links of ada's"
    assert ada.find("one") is None
    assert rows(agents, names.EMBEDDINGS) == []
    assert [row["from_node"] for row in rows(agents, names.EDGES)] == [parse_entity(far)], "bob's link is bob's"
    assert ada.grow("one").entity != one
    assert ada.tree() == []


# -- agreements --------------------------------------------------------------------------------------------------------


@pytest.fixture
def tide(agents: list[Agent]) -> list[str]:
    """A node of each mind under one key; the first three mean much the same."""
    found = []
    for agent, label, said in zip(
        agents, ("Tide", "Flood", "Tide", "Tea"), ((1.0, 0.0), (1.0, 0.5), (1.0, 0.9), (0.0, 0.0, 1.0)), strict=True
    ):
        mind = MindMap(agent)
        made = mind.grow("tide", label=label, metadata={"wet": label != "Tea", "by": agent.name}).entity or ""
        mind.embed(made, vector(*said), "m")
        found.append(made)
    return found


def consensus(agents: list[Agent]) -> dict[str, Any]:
    (found,) = rows(agents, names.CONSENSUS)
    return found


def test_an_agreement_is_calculated_from_all_that_was_contributed(
    agents: list[Agent], tide: list[str], clock: ManualClock
) -> None:
    ada, bob, cyd, dan = map(MindMap, agents)
    agreed = ada.found(tide[0]).entity or ""
    clock.pass_ms(7)
    bob.contribute(agreed, tide[1])
    few = consensus(agents)
    assert (few["contributor_count"], few["resonance_score"], few["consensus_label"]) == (2, 0.0, "Tide")
    dan.contribute(agreed, tide[3])
    assert consensus(agents)["resonance_score"] == 0.0, "three minds, and one means something else"
    cyd.contribute(agreed, tide[2])
    found = consensus(agents)
    assert found["contributors"] == sorted(map(parse_entity, tide))
    assert found["minds"] == sorted(parse_id(agent.id) for agent in agents)
    assert (found["contributor_count"], found["consensus_label"]) == (4, "Tide")
    assert (found["consensus_metadata"], found["last_calculated"]) == ({"wet": True}, NOON + 7)
    assert 0.9 < found["resonance_score"] < 1
    dan.contribute(agreed, tide[3])
    assert consensus(agents)["contributor_count"] == 4, "twice is once"
    dan.leave(agreed)
    assert consensus(agents)["resonance_score"] == found["resonance_score"], "its word changed nothing"
    MindMap(agents[2]).change(tide[2], label="Spring tide")
    MindMap(agents[1]).change(tide[1], label="Spring tide")
    bob.calculate(agreed)
    assert consensus(agents)["consensus_label"] == "Spring tide"
    cyd.leave(agreed)
    assert (consensus(agents)["resonance_score"], consensus(agents)["contributor_count"]) == (0.0, 2)
    refuses(agents[0], NotFound, "has contributed nothing", lambda: cyd.leave(agreed))
    refuses(agents[0], NotFound, "consensus_nodes: there is no", lambda: cyd.contribute(NOWHERE, tide[2]))
    refuses(agents[0], NotFound, "consensus_nodes: there is no", lambda: cyd.calculate(NOWHERE))
    refuses(agents[0], InvalidInput, "another mind's map", lambda: cyd.contribute(agreed, tide[0]))


def test_a_home_has_one_agreement_of_a_key_and_two_homes_are_listed(agents: list[Agent], tide: list[str]) -> None:
    ada, bob = MindMap(agents[0]), MindMap(agents[1])
    ada.found(tide[0])
    refuses(agents[0], Conflict, "node_key", lambda: ada.found(tide[0]))
    ada.found(tide[0], node_key="tide-2")
    bob.found(tide[1])
    (twice,) = agents[2].duplicates(names.CONSENSUS)
    assert "tide" in repr(twice)
    refuses(agents[0], InvalidInput, "at most 255", lambda: ada.found(tide[0], node_key="k" * 256))


def test_vectors_of_the_commonest_model_alone_are_compared(agents: list[Agent], tide: list[str]) -> None:
    minds = [MindMap(agent) for agent in agents]
    agreed = minds[0].found(tide[0]).entity or ""
    for mind, node in zip(minds[1:], tide[1:], strict=True):
        mind.contribute(agreed, node)
    assert consensus(agents)["resonance_score"] > 0.9
    minds[2].embed(tide[2], vector(1), "another model")
    minds[2].calculate(agreed)
    assert consensus(agents)["resonance_score"] == 0.0
    minds[3].embed(tide[3], vector(1), "m")
    minds[3].calculate(agreed)
    assert consensus(agents)["resonance_score"] > 0.9
    minds[1].remove(tide[1])
    minds[1].calculate(agreed)
    assert consensus(agents)["resonance_score"] == 0.0, "a node that is gone says nothing"


def test_too_many_contributors_are_refused(
    agents: list[Agent], tide: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "MEMBERS_MAX", 2)
    minds = [MindMap(agent) for agent in agents]
    agreed = minds[0].found(tide[0]).entity or ""
    minds[1].contribute(agreed, tide[1])
    minds[1].contribute(agreed, tide[1])
    refuses(agents[0], LimitExceeded, "MEMBERS_MAX", lambda: minds[2].contribute(agreed, tide[2]))


def test_a_request_about_nothing_or_for_another_home_is_refused(agents: list[Agent], tide: list[str]) -> None:
    agreed = MindMap(agents[0]).found(tide[0]).entity or ""
    own = agents[1].log_id
    refuses(
        agents[0], Conflict, "names another home",
        lambda: agents[1].request(names.CALCULATE, {}, home=own, entity=agreed),
    )  # fmt: skip
    refuses(
        agents[0], Conflict, "there is no agreement",
        lambda: agents[1].request(names.CALCULATE, {}, home=own, entity=NOWHERE),
    )  # fmt: skip


def test_what_is_said_in_a_circle_stays_in_its_scope(agents: list[Agent]) -> None:
    circle = natural_id("tests/circle", "harbour")
    node = MindMap(agents[0], circle=circle).grow("secret", label="Only for us").entity or ""
    (event,) = agents[0].history(node)
    assert (event.header.scope, event.header.circle) == (Scope.CIRCLE, circle)
    assert entity_text((MindMap(agents[0]).find("secret") or {})["id"]) == node


# -- hostile writers -----------------------------------------------------------------------------------------------


def forge(agent: Agent, kind: str, body: dict[str, Any], entity: bytes | None) -> None:
    """Records an event about any entity, past what an agent's own methods refuse."""
    declared = agent.replica.registry.kind(kind)
    value = convert(declared, body)
    draft = draft_of(declared, value, entity=NEW if entity is None else entity, scope=Scope.PUBLIC)
    agent.replica.commit(Batch(agent.log_id, [draft], [value]))


def test_nobody_writes_in_anothers_map(agents: list[Agent], tide: list[str]) -> None:
    """Events that no command would make: what is said of another's node stands as its author's word, or not at all."""
    bob = agents[1]
    node = parse_entity(tide[0])

    def crafted(kind: str, body: dict[str, Any], entity: bytes | None = node) -> None:
        forge(bob, kind, body, entity)

    def tried(kind: str, body: dict[str, Any], entity: bytes | None = node) -> None:
        with suppress(InvalidInput):
            crafted(kind, body, entity)

    before = {name: rows(agents, name) for name in (names.NODES, names.CONSENSUS)}
    tried(names.CHANGED, {"label": "mine now"})
    tried(names.REMOVED, {})
    tried(names.GROWN, {"node_key": "tide"})
    tried(names.CHANGED, {"energy": {"ATP": float("nan"), "network": "x"}}, parse_entity(tide[1]))
    tried(names.CHANGED, {"energy": {"ATP": -5.0, "network": "x"}}, parse_entity(tide[1]))
    tried(names.GROWN, {"node_key": "", "label": "no key"}, None)
    tried(names.FOUNDED, {"node_key": ""}, None)
    tried(names.DRAWN, {"from_node": node, "to_node": node}, None)
    tried(names.CALCULATED, {"resonance": 1_000_000, "label": "forged"}, parse_entity(tide[1]))
    assert {name: rows(agents, name) for name in before} == before
    assert rows(agents, names.EDGES) == rows(agents, names.LINKS) == []

    MindMap(agents[0]).stream(tide[0], [{"time": NOON, "atp_level": 1}])
    crafted(names.STREAMED, {"points": [{"time": NOON, "atp_level": "900"}]})
    crafted(names.EMBEDDED, {"vector": vector(0, 0, 1), "model_version": "m"})
    crafted(names.DRAWN, {"from_node": node, "to_node": parse_entity(tide[3])}, None)
    thawed = MindMap(agents[0]).thaw("tide")
    assert (thawed.edges, thawed.embedding, [row["atp_level"] for row in thawed.points]) == ([], vector(1), [1])
    assert [hour.avg_atp for hour in MindMap(agents[0]).evolution(minds=1)] == [1.0]
    assert parse_id(agents[3].id) not in [found.user_id for found in MindMap(agents[0]).similar(tide[0])]


def test_a_home_alone_says_what_its_minds_agree_on(agents: list[Agent], tide: list[str]) -> None:
    ada, bob, dan = MindMap(agents[0]), MindMap(agents[1]), MindMap(agents[3])
    agreed = ada.found(tide[0]).entity or ""
    before = consensus(agents)
    with suppress(InvalidInput):
        forge(agents[1], names.CALCULATED, {"resonance": 1_000_000, "label": "forged"}, parse_entity(agreed))
    assert consensus(agents) == before
    agents[3].record(
        names.CONTRIBUTED, {"consensus": parse_entity(agreed), "node": parse_entity(tide[1])}, scope=Scope.PUBLIC
    )
    bob.contribute(agreed, tide[1])
    found = consensus(agents)
    assert found["contributor_count"] == 3, "a word is a word: it is counted, by its author"
    assert found["resonance_score"] == 0.0, "and weighs nothing where the node is another's"
    dan.leave(agreed)
    assert consensus(agents)["contributor_count"] == 2


def test_words_about_anothers_node_count_nowhere(agents: list[Agent], tide: list[str]) -> None:
    ada, bob, _, dan = map(MindMap, agents)
    tea, flood = parse_entity(tide[3]), parse_entity(tide[1])
    forge(agents[1], names.EMBEDDED, {"vector": vector(1), "model_version": "m"}, tea)
    assert tea not in [found.node_id for found in ada.similar(tide[0])]
    agreed = ada.found(tide[0]).entity or ""
    bob.contribute(agreed, tide[1])
    dan.contribute(agreed, tide[3])
    assert consensus(agents)["resonance_score"] == 0.0, "what bob says of dan's tea is not what it means"
    bob.leave(agreed)
    dan.leave(agreed)
    MindMap(agents[2]).contribute(agreed, tide[2])
    agents[3].record(names.CONTRIBUTED, {"consensus": parse_entity(agreed), "node": flood}, scope=Scope.PUBLIC)
    dan.calculate(agreed)
    assert (consensus(agents)["contributor_count"], consensus(agents)["resonance_score"]) == (3, 0.0)
    bob.contribute(agreed, tide[1])
    bob.stream(tide[1], [{"time": NOON, "atp_level": 2}])
    forge(agents[3], names.STREAMED, {"points": [{"time": NOON, "atp_level": "900"}]}, flood)
    (history,) = ada.histories(points=1)
    assert history.points == ((NOON, 2.0),)


@pytest.mark.parametrize("atp", [float("nan"), float("inf"), -1.0, 1_001.0])
def test_a_node_with_an_energy_out_of_range_is_none(agents: list[Agent], atp: float) -> None:
    with suppress(InvalidInput):
        agents[0].record(
            names.GROWN, {"node_key": "x", "energy": {"ATP": atp, "network": "default"}}, scope=Scope.PUBLIC
        )
    assert rows(agents, names.NODES) == []
