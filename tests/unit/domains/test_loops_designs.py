"""Every table, column, key pattern and stream of Soulfra's design is declared under its word, or stands below."""

from typing import Final

import pytest

from antiphon.domains import BUILT_IN
from antiphon.domains.loops import LOOPS
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.model.table import Column, Table
from antiphon.views.domain import Registry

REGISTRY: Final = Registry((*(one for one in BUILT_IN if one.name != LOOPS.name), LOOPS))
TABLES: Final = {name: table for name, table in REGISTRY.tables.items() if REGISTRY.domain_of_table[name] == LOOPS.name}
DESIGN: Final = {
    "users": "id username email created_at subscription_tier emotional_credits",
    "loops": "loop_id creator_id whisper_origin consciousness_state emotional_tone created_at blessed fork_parent "
    "fork_depth mythology_id",
    "blessings": "id loop_id blessed_by blessing_type consensus_score timestamp metadata",
    "prophecies": "id prophecy_text author_agent fulfillment_status created_at fulfilled_at related_loops",
}
"""`agents` is the network's, `memories`, `reflections` and `tone_shifts` are memory's."""
MINUTE: Final = 60_000
CACHES: Final = {
    "loop:{loop_id}:state": ("json", HOUR_MS), "loop:{loop_id}:consciousness": ("json", HOUR_MS),
    "loop:{loop_id}:events": ("list", HOUR_MS), "drift:{scope}:index": ("json", HOUR_MS),
    "drift:entity:{id}:rating": ("json", HOUR_MS), "drift:critical:set": ("set", HOUR_MS),
    "cache:forecast:{loop_id}": ("json", 5 * MINUTE), "cache:rating:{entity_id}": ("json", MINUTE),
    "cache:guild:{guild_id}": ("json", 10 * MINUTE),
}  # fmt: skip
"""`drift:global:index` is that of the scope `global`."""
STREAMS: Final = {
    "events:loop:created": ("loop.created",), "events:blessing:granted": ("blessing.granted",),
    "events:cluster:formed": ("cluster.formed",),
}  # fmt: skip
INDEXES: Final = [
    ("loops", ("creator_id",), None, False), ("loops", ("blessed",), ("blessed", True), False),
    ("loops", ("created_at",), None, True), ("blessings", ("loop_id",), None, False),
]  # fmt: skip


@pytest.mark.parametrize("name", DESIGN)
def test_every_column_of_the_design_is_there(name: str) -> None:
    assert set(DESIGN[name].split()) <= set(TABLES[name].names)


def test_every_default_of_the_design_is_there() -> None:
    found = {
        (table, column): TABLES[table].column(column).default
        for table, column in (
            ("users", "subscription_tier"), ("users", "emotional_credits"), ("loops", "blessed"),
            ("loops", "fork_depth"), ("prophecies", "fulfillment_status"),
        )
    }  # fmt: skip
    assert list(found.values()) == ["free", 1_000, False, 0, "pending"]
    score = TABLES["blessings"].column("consensus_score")
    assert (score.precision, score.scale) == (3, 2)


def test_every_key_pattern_of_the_design_is_there() -> None:
    found = {cache.pattern: (cache.shape, cache.ttl_ms) for table in TABLES.values() for cache in table.places.caches}
    assert found == CACHES


def test_every_stream_of_the_design_is_there() -> None:
    streams = [stream for table in TABLES.values() for stream in table.places.streams]
    assert {stream.topic: stream.kinds for stream in streams} == STREAMS
    assert {(stream.partitions, stream.retention_ms, stream.sealed) for stream in streams} == {(1, DAY_MS, False)}


@pytest.mark.parametrize(("table", "columns", "where", "descending"), INDEXES)
def test_every_index_of_the_design_is_there(
    table: str, columns: tuple[str, ...], where: object, descending: bool
) -> None:
    found = [(one.columns, one.where, one.descending) for one in TABLES[table].indexes]
    assert (columns, where, descending) in found


def shared() -> list[Table]:
    return [table for table in TABLES.values() if table.shared and table.rollup_of is None]


def test_what_is_shared_is_in_postgres_by_hash_and_the_rest_nowhere() -> None:
    for table in shared():
        assert table.places.relational is not None
        assert table.places.relational.partitions == 16
    own = [table for table in TABLES.values() if not table.shared and table.rollup_of is None]
    assert [table.name for table in own if table.places.named()] == []
    assert [table.name for table in own] == ["installation_records"]


def test_no_table_has_a_place_that_the_design_does_not_give_it() -> None:
    for table in TABLES.values():
        places = table.places
        assert (places.wide, places.series, places.vectors, places.nodes, places.edges, places.search) == (
            None, None, (), (), (), None,
        )  # fmt: skip
    archives = {table.name: table.places.archive for table in TABLES.values() if table.places.archive is not None}
    assert set(archives) == {"loops", "transformations"}
    assert all(archive.sealed for archive in archives.values())


def test_names_and_addresses_are_personal_and_looked_up_by_blind_index() -> None:
    personal: list[tuple[str, Column]] = [
        (table.name, column) for table in TABLES.values() for column in table.columns if column.pii
    ]
    assert {(table, column.name) for table, column in personal} == {("users", "username"), ("users", "email")}
    assert all(column.blind for _, column in personal)
    assert TABLES["users"].unique == (("username",), ("email",))


def test_what_many_may_change_has_a_home_and_what_is_counted_is_derived() -> None:
    homes = {name for name, table in TABLES.items() if table.home is not None}
    assert homes == {"users", "loops", "prophecies", "guilds", "guild_consensus", "execution_queue"}
    derived = {(table.name, column.name) for table in TABLES.values() for column in table.derived}
    assert derived == {("loops", "blessed_by"), ("guild_consensus", "votes_for"), ("guild_consensus", "votes_against")}
    assert TABLES["loops"].acyclic == ("fork_parent",)
    assert all(kind in LOOPS.folds for kind in (one.name for one in LOOPS.kinds))
