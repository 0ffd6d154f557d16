"""Room `domains` (imports `views` and below): the tables, kinds and folds of wisdom, as data.

Resonance is no number that somebody writes: it is how many agents have acknowledged, each of them once.
"""

from __future__ import annotations

from typing import Final

from antiphon.domains.analyzers import SACRED_WISDOM
from antiphon.domains.shapes import SHARE, by_agent, hashed
from antiphon.domains.wisdom import bodies
from antiphon.model.places import FOREVER, Edge, Node, Places, Relational, Search, Stream, Vectors, Wide
from antiphon.model.table import (
    ANYONE,
    READ_ALL,
    Check,
    Column,
    Derived,
    FullText,
    Index,
    Merge,
    Table,
    Type,
)  # fmt: skip
from antiphon.views.domain import AssertRow, DeleteRow, Domain, Kind, UpdateRow

SHARED: Final = "insight.shared"
EDITED: Final = "insight.edited"
WITHDRAWN: Final = "insight.withdrawn"
ACKNOWLEDGED: Final = "insight.acknowledged"
UNACKNOWLEDGED: Final = "insight.unacknowledged"
FORMED: Final = "crystal.formed"
RELATED: Final = "crystal.related"
CRYSTAL_ACKNOWLEDGED: Final = "crystal.acknowledged"
CRYSTAL_UNACKNOWLEDGED: Final = "crystal.unacknowledged"

VECTOR_SIZE: Final = 384
_TAGS: Final = Check(length_max=64)

INSIGHTS: Final = Table(
    "insights",
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("agent_id", Type.AGENT, nullable=False, doc="who came to see it"),
        Column("content", Type.TEXT, held=True),
        Column("vector", Type.VECTOR, size=VECTOR_SIZE),
        Column("tags", Type.SET, of=Type.TEXT, default=[], check=_TAGS),
        Column("resonance", Type.INTEGER, default=0,
               derived=Derived("count", "insight_acknowledgements", match=("insight_id",))),
        Column("created_at", Type.TIMESTAMP, nullable=False),
        Column("edited_at", Type.TIMESTAMP),
    ),
    indexes=(Index(("created_at",)), Index(("resonance",), descending=True), Index(("agent_id", "created_at"))),
    fulltext=FullText("content", time="created_at", tags="tags"),
    subject="content",
    shared=True,
    access=READ_ALL,
    places=hashed(
        "id",
        vectors=(Vectors("vector"),),
        nodes=(Node("Insight", ("content", "created_at")),),
        edges=(Edge("CONTRIBUTED", "agent_id", "id", "Agent", "Insight"),),
        search=Search(analyzers=(("content", SACRED_WISDOM),)),
        streams=(Stream("wisdom.insights", 10, FOREVER, kinds=(SHARED, EDITED, WITHDRAWN), sealed=True),),
    ),
    doc="What agents have come to see, and let others see.",
)  # fmt: skip

INSIGHT_ACKNOWLEDGEMENTS: Final = by_agent(
    "insight_acknowledgements", "insight_id", "insights.id", doc="To which agents which insight rings true."
)

WISDOM_CRYSTALS: Final = Table(
    "wisdom_crystals",
    key="crystal_id",
    columns=(
        Column("crystal_id", Type.ID, nullable=False),
        Column("formation_time", Type.TIMESTAMP, nullable=False),
        Column("contributing_agents", Type.SET, of=Type.AGENT, default=[]),
        Column("insight_content", Type.TEXT),
        Column("resonance_count", Type.INTEGER, default=0,
               derived=Derived("count", "crystal_acknowledgements", match=("crystal_id",))),
        Column("wisdom_score", Type.REAL, check=SHARE),
        Column("related_crystals", Type.SET, of=Type.ID, default=[], merge=Merge.GROW_SET,
               references="wisdom_crystals.crystal_id"),
        Column("tags", Type.SET, of=Type.TEXT, default=[], check=_TAGS),
    ),
    indexes=(Index(("formation_time",)), Index(("resonance_count",), descending=True)),
    shared=True,
    access=READ_ALL,
    places=hashed(
        "crystal_id",
        wide=Wide(("crystal_id",)),
        nodes=(
            Node(
                "Wisdom", ("insight_content", "formation_time"),
                names=(("crystal_id", "id"), ("insight_content", "content"), ("formation_time", "emergence_time")),
            ),
        ),
        edges=(
            Edge("CRYSTALLIZED", "contributing_agents", "crystal_id", "Agent", "Wisdom"),
            Edge("RELATED_TO", "crystal_id", "related_crystals", "Wisdom", "Wisdom"),
        ),
        search=Search(analyzers=(("insight_content", SACRED_WISDOM),)),
    ),
    doc="What several agents agree on.",
)  # fmt: skip

CRYSTAL_ACKNOWLEDGEMENTS: Final = by_agent(
    "crystal_acknowledgements", "crystal_id", "wisdom_crystals.crystal_id",
    doc="To which agents which crystal rings true.",
)  # fmt: skip

AKASHIC_RECORDS: Final = Table(
    "akashic_records",
    key="block_height",
    columns=(
        Column("block_height", Type.INTEGER, nullable=False),
        Column("previous_hash", Type.TEXT, nullable=False),
        Column("timestamp", Type.TIMESTAMP, nullable=False),
        Column("wisdom_entries", Type.JSON, nullable=False, default=[]),
        Column("contributors", Type.LIST, of=Type.TEXT, nullable=False, default=[]),
        Column("block_hash", Type.TEXT, nullable=False),
    ),
    indexes=(Index(("timestamp",)),),
    writers=ANYONE,
    shared=True,
    access=READ_ALL,
    places=Places(relational=Relational(), wide=Wide(("block_height",))),
    doc="The ledger's entries; no event writes them: a region's ledger fills its own.",
)

_BY_ME: Final = {"insight_id": "insight", "agent_id": "@author"}
_CRYSTAL_BY_ME: Final = {"crystal_id": "crystal", "agent_id": "@author"}

WISDOM: Final = Domain(
    "wisdom",
    kinds=(
        Kind(SHARED, bodies.Shared), Kind(EDITED, bodies.Edited), Kind(WITHDRAWN, bodies.Withdrawn),
        Kind(ACKNOWLEDGED, bodies.Acknowledged), Kind(UNACKNOWLEDGED, bodies.Acknowledged),
        Kind(FORMED, bodies.Formed), Kind(RELATED, bodies.Related),
        Kind(CRYSTAL_ACKNOWLEDGED, bodies.CrystalAcknowledged),
        Kind(CRYSTAL_UNACKNOWLEDGED, bodies.CrystalAcknowledged),
    ),
    tables=(INSIGHTS, INSIGHT_ACKNOWLEDGEMENTS, WISDOM_CRYSTALS, CRYSTAL_ACKNOWLEDGEMENTS, AKASHIC_RECORDS),
    folds={
        SHARED: (AssertRow(INSIGHTS, agent_id="@author", content="content", vector="vector", tags="tags",
                           created_at="@time"),),
        EDITED: (UpdateRow(INSIGHTS, content="content", vector="vector", tags="tags", edited_at="@time"),),
        WITHDRAWN: (DeleteRow(INSIGHTS),),
        ACKNOWLEDGED: (AssertRow(INSIGHT_ACKNOWLEDGEMENTS, **_BY_ME, timestamp="@time"),),
        UNACKNOWLEDGED: (DeleteRow(INSIGHT_ACKNOWLEDGEMENTS, _BY_ME),),
        FORMED: (AssertRow(WISDOM_CRYSTALS, formation_time="@time", contributing_agents="agents",
                           insight_content="content", wisdom_score="score", related_crystals="related", tags="tags"),),
        RELATED: (UpdateRow(WISDOM_CRYSTALS, related_crystals="crystals"),),
        CRYSTAL_ACKNOWLEDGED: (AssertRow(CRYSTAL_ACKNOWLEDGEMENTS, **_CRYSTAL_BY_ME, timestamp="@time"),),
        CRYSTAL_UNACKNOWLEDGED: (DeleteRow(CRYSTAL_ACKNOWLEDGEMENTS, _CRYSTAL_BY_ME),),
    },
)  # fmt: skip
