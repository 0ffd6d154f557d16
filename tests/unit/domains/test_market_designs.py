"""Every table, column, index, topic and place of the designs for the market is declared, or stands below."""

from typing import Final

import pytest

from antiphon.domains import BUILT_IN
from antiphon.domains.market import MARKET, names
from antiphon.model.places import DAY_MS
from antiphon.model.table import Table, Type
from antiphon.views.domain import Registry

TABLES: Final = Registry([*(one for one in BUILT_IN if one.name != "market"), MARKET]).tables
OURS: Final = {table.name: table for table in MARKET.tables}
DESIGNS: Final = {
    "personas": "id fingerprint name company role industry mbti_type sdi_color big_five communication_style "
    "decision_patterns pain_points linkedin_url company_revenue employee_count technologies_used trust_score "
    "last_interaction interaction_count conversion_probability semantic_embedding behavioral_embedding source "
    "created_at updated_at consciousness_level email_encrypted",
    "food_companies": "id name website headquarters_location sector product_categories certifications annual_revenue "
    "employee_count market_cap growth_rate suppliers customers competitors pain_points technology_stack "
    "decision_makers procurement_cycle budget_season approach_vector priority_score pipeline_value close_probability "
    "last_enriched data_quality_score source_reliability created_at updated_at",
    "food_products": "id company_id name category subcategory ingredients nutritional_info allergens price_per_unit "
    "unit_type market_share fda_approved health_claims regulatory_issues competitor_products substitutes demand_trend "
    "created_at",
    "opportunities": "id name company_id contact_persona_id stage value probability weighted_value created_date "
    "close_date days_in_stage velocity_score owner_agent support_agents competitor_analysis decision_criteria "
    "blockers next_steps source campaign updated_at",
    "revenue_forecast": "id period_start period_end base_case best_case worst_case ml_prediction actual_revenue "
    "confidence_interval model_accuracy created_at",
}
INSTEAD: Final = {
    ("personas", "email_encrypted"): "`email`, which goes to engines as ciphertext under a key that they never see",
    ("opportunities", "days_in_stage"): "it moves with time: `Deals.days_in_stage`, of `stage_since`, when it is read",
}
INDEXES: Final = {
    "personas": [("trust_score",), ("industry",)],
}
EDGES: Final = {
    ("Persona", "WORKS_AT", "Company"): "", ("Persona", "DECIDES_FOR", "Company"): "authority",
    ("Persona", "INFLUENCES", "Persona"): "", ("Company", "SUPPLIES", "Company"): "",
    ("Company", "COMPETES_WITH", "Company"): "", ("Product", "SUBSTITUTES", "Product"): "",
    ("Task", "GENERATES_VALUE", "Company"): "amount",
}  # fmt: skip


@pytest.mark.parametrize("name", DESIGNS)
def test_every_column_of_the_designs_is_there(name: str) -> None:
    absent = {column for table, column in INSTEAD if table == name}
    assert set(DESIGNS[name].split()) - set(TABLES[name].names) == absent


def test_defaults_checks_and_enums_are_the_designs() -> None:
    personas, deals = OURS["personas"], OURS["opportunities"]
    trust, mind = personas.column("trust_score"), personas.column("consciousness_level")
    assert (trust.default, trust.check and (trust.check.least, trust.check.most)) == ("0.5", (0, 1))
    assert (mind.default, mind.check and mind.check.above) == (100, 0)
    assert deals.column("stage").values == (
        "prospecting", "qualification", "proposal", "negotiation", "closed_won", "closed_lost",
    )  # fmt: skip
    assert (deals.column("stage").default, deals.column("probability").default) == ("prospecting", "0.1")
    assert not deals.column("value").nullable
    assert OURS["food_products"].column("demand_trend").values == ("growing", "stable", "declining")
    assert len(set(personas.column("mbti_type").values)) == 16
    derived = deals.column("weighted_value").derived
    assert derived is not None
    assert (derived.function, derived.of) == ("product", ("value", "probability"))


def test_every_index_of_the_designs_is_there() -> None:
    for name, wanted in INDEXES.items():
        found = {index.columns: index for index in OURS[name].indexes}
        assert set(wanted) <= found.keys()
    assert next(index for index in OURS["personas"].indexes if index.columns == ("trust_score",)).descending
    assert OURS["personas"].unique == (("fingerprint",),)


def test_vectors_are_of_the_designs_sizes_and_metrics() -> None:
    table = OURS["personas"]
    found = {(v.column, table.column(v.column).size, v.metric) for v in table.places.vectors}
    assert found == {("semantic_embedding", 1_536, "cosine"), ("behavioral_embedding", 768, "l2")}


def test_the_topic_of_the_designs_is_there() -> None:
    (stream,) = [stream for table in MARKET.tables for stream in table.places.streams]
    assert (stream.topic, stream.partitions, stream.retention_ms) == ("persona.enriched", 3, 90 * DAY_MS)
    assert stream.kinds == (names.PERSONA_ENRICHED,)


def test_every_edge_of_the_designs_has_its_properties() -> None:
    found = {
        (edge.source_label, edge.type, edge.target_label): " ".join(edge.properties)
        for table in MARKET.tables
        for edge in table.places.edges
    }
    assert found == EDGES
    assert {node.label for table in MARKET.tables for node in table.places.nodes} == {"Persona", "Company", "Product"}


def test_partitions_are_by_the_key() -> None:
    """`personas_2025_q4` would need the time in the key: persons are partitioned by the hash of their id instead."""
    for table in MARKET.tables:
        place = table.places.relational
        if not table.shared:
            assert table.places.named() == [], "what is an agent's own has no place"
            continue
        assert place is not None
        assert set(place.hash) <= set(table.key)
        assert place.partitions == 16


def test_what_names_a_person_is_personal_and_in_no_place() -> None:
    personal = {column.name for column in OURS["personas"].columns if column.pii}
    assert personal == {"fingerprint", "name", "email", "phone", "address", "linkedin_url"}
    looked_up = {name for index in OURS["personas"].indexes for name in index.columns} & personal
    assert looked_up == {"fingerprint", "email"}
    assert all(OURS["personas"].column(name).blind for name in looked_up)
    named = {name for _, name in OURS["personas"].places.columns()}
    assert not personal & named
    others = [(t.name, c.name) for t in MARKET.tables for c in t.columns if c.pii and t.name != "personas"]
    assert others == []


def test_shared_tables_fold_nothing_private() -> None:
    own = {table.name for table in MARKET.tables if not table.shared}
    assert own == {names.FEEDS, names.LINKS, names.DELIVERIES, names.SYSTEMS}
    assert all(table.scopes == ("circle", "public") for table in MARKET.tables if table.shared)


def test_what_others_may_change_is_decided_by_a_home() -> None:
    def free(table: Table) -> set[str]:
        kept = {"id", "home", "created_at", "audience", "circle"}
        return {c.name for c in table.columns if c.merge != "decided" and c.derived is None} - kept

    assert {name: free(OURS[name]) for name in ("personas", "food_companies", "food_products")} == {
        "personas": set(), "food_companies": set(), "food_products": set(),
    }  # fmt: skip
    decided = {c.name for c in OURS["opportunities"].columns if c.merge == "decided"}
    assert {"stage", "owner_agent", "support_agents", "closed_on"} <= decided
    assert OURS["food_companies"].column("headquarters_location").type == Type.GEO_POINT


def test_no_check_is_made_of_ciphertext() -> None:
    """Engines have personal columns as ciphertext, of another length: what they must be is checked before."""
    assert [c.name for table in MARKET.tables for c in table.columns if c.pii and c.check is not None] == []
