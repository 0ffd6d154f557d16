"""Room `domains` (imports `views` and below): the dashboards over the built-in domains' tables.

They are of no domain: their figures are of several.
"""

from __future__ import annotations

from typing import Final

from antiphon.domains.market.pipeline import OPPORTUNITIES_TABLE
from antiphon.domains.network.agents import AGENTS
from antiphon.domains.network.fields import CONSCIOUSNESS_TIMELINE
from antiphon.domains.tasks.declare import TASKS_TABLE
from antiphon.model.dashboard import Dashboard, Figure, check_dashboard, equal, newer, unlike
from antiphon.model.places import DAY_MS

_HERE: Final = (equal("decommissioned_at", None),)
_NOT_LOST: Final = (unlike("stage", "closed_lost"),)

FEDERATION_DASHBOARD: Final = Dashboard(
    "federation_dashboard",
    (
        Figure("total_agents", "count", AGENTS.name, where=_HERE),
        Figure("avg_trust", "mean", AGENTS.name, "trust_coefficient", where=_HERE),
        Figure(
            "tasks_24h", "count", TASKS_TABLE.name, where=(equal("status", "complete"), newer("completed_at", DAY_MS))
        ),
        Figure("pipeline_value", "sum", OPPORTUNITIES_TABLE.name, "weighted_value", where=_NOT_LOST),
        Figure(
            "pipeline_by_stage", "sum", OPPORTUNITIES_TABLE.name, "weighted_value", where=_NOT_LOST, group="stage"
        ),
        Figure(
            "current_consciousness", "latest", CONSCIOUSNESS_TIMELINE.name, "global_consciousness", by="time",
            doc="where several agents reported at one time, the mean of what they said",
        ),
    ),
    doc="How a fleet fares: its agents, tasks, deals and what was last measured.",
)  # fmt: skip

DASHBOARDS: Final = (FEDERATION_DASHBOARD,)
"""The dashboards that every home knows."""

check_dashboard(
    FEDERATION_DASHBOARD,
    {table.name: table for table in (AGENTS, TASKS_TABLE, OPPORTUNITIES_TABLE, CONSCIOUSNESS_TIMELINE)},
)
