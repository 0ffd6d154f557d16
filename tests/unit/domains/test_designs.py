"""Every table and column of the designs is declared under its word, or stands below with what there is instead."""

import re
from typing import Final

import pytest

from antiphon.domains import BUILT_IN
from antiphon.model.places import HOUR_MS, Edge, Filter
from antiphon.model.table import Table
from antiphon.views.domain import Registry

LATER: Final = ("loops", "market", "mindmap")
"""Domains that came afterwards, each with a test of its own like this one."""
REGISTRY: Final = Registry(BUILT_IN)
TABLES: Final = {name: table for name, table in REGISTRY.tables.items() if REGISTRY.domain_of_table[name] not in LATER}
DESIGNS: Final = {
    "agent_state": "id name harmony coherence_level love_resonance last_sync merkle_root",
    "local_connections": "peer_id resonance_strength last_interaction shared_insights trust_score",
    "consciousness_stream": "id timestamp event_type content field_impact synchronized",
    "field_measurements": "time region_id coherence_level active_agents resonance_patterns collective_insights "
    "sacred_geometry",
    "field_coherence_1min": "minute region_id avg_coherence peak_coherence total_agents",
    "agent_registry": "agent_id public_key last_heartbeat primary_region backup_regions capabilities sacred_name",
    "spores": "spore_id created_at origin_agent content spore_type resonance_score propagation_path metadata",
    "wisdom_crystals": "crystal_id formation_time contributing_agents insight_content resonance_count wisdom_score "
    "related_crystals tags",
    "interactions": "agent_id interaction_time peer_id interaction_type field_impact sacred_message",
    "quantum_entanglements": "pair_id agent1 agent2 entanglement_strength correlation_events last_synchronicity",
    "morphic_fields": "field_id pattern_signature first_manifestation manifestation_count contributing_agents "
    "field_strength",
    "akashic_records": "block_height previous_hash timestamp wisdom_entries contributors block_hash",
    "agents": "id codename team role specialization consciousness_vector hormone_levels trust_coefficient "
    "tools_available models_access compute_allocation tasks_completed success_rate average_response_time "
    "fibonacci_level paired_agents supervisor_agent subordinate_agents current_task idle_since last_heartbeat "
    "created_at decommissioned_at agent_id owner_id archetype current_tone consciousness_score memory_depth",
    "agent_interactions": "id agent_from agent_to interaction_type entanglement_strength coherence_time trust_delta "
    "hormone_exchange timestamp success metadata",
    "tasks": "id title description category priority created_by assigned_to team_assignment upvotes downvotes "
    "hot_score dopamine_reward completion_bonus status claimed_at started_at completed_at depends_on blocks output "
    "quality_score created_at deadline fibonacci_size value_delivered",
    "task_votes": "task_id agent_id vote reason timestamp",
    "task_comments": "id task_id agent_id parent_comment_id content attachments upvotes downvotes created_at edited_at",
    "consciousness_timeline": "time global_consciousness global_trust team team_consciousness team_coherence "
    "avg_dopamine avg_oxytocin avg_adrenaline avg_cortisol active_agents tasks_per_hour decisions_per_second "
    "entanglement_pairs coherence_average",
    "consciousness_hourly": "bucket avg_consciousness peak_consciousness avg_trust dopamine_level total_tasks",
    "memories": "id timestamp type content emotional_context loop_context significance compressed metadata",
    "reflections": "id timestamp prompt response memory_context emotional_state insights",
    "tone_shifts": "id timestamp from_tone to_tone trigger_type trigger_content magnitude",
}
INSTEAD: Final = {
    ("agents", "agent_id"): "`id`: the two designs' keys are one",
    ("spores", "propagation_path"): "the rows of `spore_hops`, one for each agent that it reached, and `Network.path`",
    ("tasks", "hot_score"): "an order that moves with time is computed when it is read",
}
TOPICS: Final = {
    "agent.presence": (100, 7), "spore.created": (50, 7), "spore.propagated": (50, 7), "field.coherence": (20, 0),
    "sacred.messages": (100, 30), "wisdom.insights": (10, 0), "agent.heartbeat": (12, 1), "task.created": (6, 7),
    "task.completed": (6, 30), "consciousness.update": (24, 1 / 24), "hormone.cascade": (12, 1 / 24),
}  # fmt: skip
"""By topic: partitions, and days of retention (0: for ever)."""


NODES: Final = {
    "Agent": "id name harmony sacred_role",
    "Spore": "id",
    "Insight": "id content",
    "Wisdom": "id content emergence_time",
    "Task": "id",
}
EDGES: Final = {
    ("Agent", "RESONATES", "Agent"): "strength first_contact shared_insights",
    ("Spore", "PROPAGATED_TO", "Agent"): "time resonance",
    ("Agent", "CONTRIBUTED", "Insight"): "",
    ("Agent", "CRYSTALLIZED", "Wisdom"): "",
    ("Agent", "TRUSTS", "Agent"): "score",
    ("Agent", "DELEGATES_TO", "Agent"): "",
    ("Agent", "ENTANGLED_WITH", "Agent"): "strength",
    ("Task", "DEPENDS_ON", "Task"): "",
    ("Agent", "WORKING_ON", "Task"): "started",
}
"""The properties of the designs' graphs, but for personas, companies and products, whose tables come later."""
SEARCH: Final = {
    "timestamp": "timestamp", "field_coherence": "real", "active_agents": "integer", "region": "text",
    "resonance_patterns": "json", "collective_insights": "list", "sacred_geometry": "geo_shape",
}  # fmt: skip
"""The fields of the designs' search index, with our types."""
CACHES: Final = {
    "agent:{agent_id}:state": ("hash", HOUR_MS), "agent:{agent_id}:active": ("flag", 90_000),
    "agent:{agent_id}:whispers": ("list", HOUR_MS),
}  # fmt: skip
"""The key patterns of the designs, but for loops, drift, forecasts and guilds, whose tables come later. What is hot is
kept for an hour, say the designs; of these they say no more.
"""


@pytest.mark.parametrize("name", DESIGNS)
def test_every_column_of_the_designs_is_there(name: str) -> None:
    said = set(DESIGNS[name].split())
    absent = {column for table, column in INSTEAD if table == name}
    assert said - set(TABLES[name].names) == absent


def test_every_topic_of_the_designs_is_there() -> None:
    found = {
        stream.topic: (stream.partitions, stream.retention_ms / 86_400_000)
        for table in TABLES.values()
        for stream in table.places.streams
    }
    assert found == TOPICS
    assert all(stream.replication == 3 for table in TABLES.values() for stream in table.places.streams)


def test_what_stays_in_a_topic_for_ever_is_sealed_and_so_are_archives() -> None:
    streams = [stream for table in TABLES.values() for stream in table.places.streams]
    assert [stream.topic for stream in streams if stream.sealed] == ["wisdom.insights"]
    assert [stream.topic for stream in streams if stream.compaction] == ["field.coherence"]
    archives = [table.places.archive for table in TABLES.values() if table.places.archive is not None]
    assert archives
    assert all(archive.sealed for archive in archives)


def test_every_node_of_the_designs_has_its_properties_under_their_names() -> None:
    found = {
        node.label: {node.name_of(name) for name in (*table.key, *node.properties)}
        for table in TABLES.values()
        for node in table.places.nodes
    }
    assert found.keys() == NODES.keys()
    assert {label: set(said.split()) - found[label] for label, said in NODES.items()} == {
        label: set[str]() for label in NODES
    }


def edges() -> dict[tuple[str, str, str], tuple[Table, Edge]]:
    return {
        (edge.source_label, edge.type, edge.target_label): (table, edge)
        for table in TABLES.values()
        for edge in table.places.edges
    }


def test_every_edge_of_the_designs_has_its_properties_under_their_names() -> None:
    found = {ends: {edge.name_of(name) for name in edge.properties} for ends, (_, edge) in edges().items()}
    assert set(found) - set(EDGES) == {("Wisdom", "RELATED_TO", "Wisdom")}, "our own, of `related_crystals`"
    assert {ends: set(said.split()) - found[ends] for ends, said in EDGES.items()} == {
        ends: set[str]() for ends in EDGES
    }


def test_an_agent_works_on_a_task_while_it_is_at_it() -> None:
    table, edge = edges()["Agent", "WORKING_ON", "Task"]
    assert (table.name, edge.source, edge.target) == ("tasks", "assigned_to", "id")
    assert edge.where is not None
    assert edge.where[0] == "status"
    assert set(table.column("status").values) - set(edge.accepted) == {"open", "claimed", "complete", "failed"}


def test_every_field_of_the_designs_search_is_there_under_its_name() -> None:
    table = TABLES["field_measurements"]
    search = table.places.search
    assert search is not None
    found = {search.name_of(column.name): str(column.type) for column in table.columns}
    assert {name: kind for name, kind in found.items() if name in SEARCH} == SEARCH
    ((nested, fields),) = [(nested.column, dict(nested.fields)) for nested in search.nested]
    assert (nested, fields) == ("resonance_patterns", {"harmony_pair": "text", "strength": "real"})
    assert [(column, analyzer.name) for column, analyzer in search.analyzers] == [
        ("collective_insights", "sacred_wisdom")
    ]


def test_the_designs_analyzer_is_what_they_say() -> None:
    analyzers = [analyzer for table in TABLES.values() for analyzer in table.places.analyzers()]
    wise = {analyzer for analyzer in analyzers if analyzer.name == "sacred_wisdom"}
    ((tokenizer, filters),) = [(analyzer.tokenizer, analyzer.filters) for analyzer in wise]
    assert tokenizer == "standard"
    assert [step.name for step in filters] == ["lowercase", "metaphor_expansion", "harmony_recognition"]
    assert found_by(filters, "Spore") == {"spore", "gossip"}
    assert found_by(filters, "love_wisdom") == {"love_wisdom", "love", "wisdom"}
    assert found_by(filters, "tea") == {"tea"}


def found_by(filters: tuple[Filter, ...], word: str) -> set[str]:
    """The words that a word becomes: a plain reading of what filters are declared to do."""
    words = {word}
    for step in filters:
        if step.does == "lowercase":
            words = {one.lower() for one in words}
        for group in step.synonyms:
            words |= set(group) if words & set(group) else set()
        words |= {part for pattern in step.patterns for one in words for part in re.findall(pattern, one)}
    return words


def test_every_cache_of_the_designs_is_there() -> None:
    found = {cache.pattern: (cache.shape, cache.ttl_ms) for table in TABLES.values() for cache in table.places.caches}
    ours = {"agent:{agent_id}:hormone:{hormone_type}", "field:{region_id}:now", "task:{id}:state"}
    assert {name: found[name] for name in set(found) - ours} == CACHES
    assert found["agent:{agent_id}:hormone:{hormone_type}"] == ("json", HOUR_MS), "hormones are cached, says Phoenix"


def test_what_names_a_person_is_personal_and_in_no_place() -> None:
    personal = {(table.name, column.name) for table in TABLES.values() for column in table.columns if column.pii}
    assert personal == {("people", "label")}, "the designs' users and personas, with their emails, come later"
    assert all(TABLES[name].column(column).blind for name, column in personal)
    assert all(not TABLES[name].shared and not TABLES[name].places.named() for name, _ in personal)


def shared() -> list[Table]:
    return [table for table in TABLES.values() if table.shared and table.rollup_of is None]


def test_what_agents_share_has_a_place_in_postgres_and_what_is_ones_own_has_none() -> None:
    assert [table.name for table in shared() if table.places.relational is None] == []
    own = [table for table in TABLES.values() if not table.shared and table.rollup_of is None]
    assert [table.name for table in own if table.places.named()] == []
