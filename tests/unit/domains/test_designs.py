"""Every table and column of the designs is declared under its word, or stands below with what there is instead."""

from typing import Final

import pytest

from antiphon.home import BUILT_IN
from antiphon.model.table import Table
from antiphon.views.domain import Registry

TABLES: Final = Registry(BUILT_IN).tables
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


def shared() -> list[Table]:
    return [table for table in TABLES.values() if table.shared and table.rollup_of is None]


def test_what_agents_share_has_a_place_in_postgres_and_what_is_ones_own_has_none() -> None:
    assert [table.name for table in shared() if table.places.relational is None] == []
    own = [table for table in TABLES.values() if not table.shared and table.rollup_of is None]
    assert [table.name for table in own if table.places.named()] == []
