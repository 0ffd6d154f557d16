"""Room `domains` (imports `views` and below): what is left of heartbeats in the log: a row an agent and hour.

Heartbeats themselves are in no log: whoever keeps presence for a fleet hears them, and records what they came to.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from antiphon.domains.network.bodies import AgentId, Count
from antiphon.model.places import DAY_MS, Places, Relational
from antiphon.model.table import READ_ALL, Check, Column, Index, Measure, Retention, Rollup, Table, Type

ROLLED_UP: Final = "presence.rolled_up"
KEPT_MS: Final = 90 * DAY_MS
"""How long hours are kept in engines that drop what is past; days are kept."""
_COUNT: Final = Check(least=0)


class RolledUp(msgspec.Struct):
    """How present an agent was in a period, as whoever keeps presence has heard it.

    *Units*: ms; times since 1970 UTC by the clock of the server that heard it.
    """

    agent_id: AgentId
    since: int
    period: Annotated[int, Meta(gt=0)]
    beats: Count
    first_seen: int
    last_seen: int
    up: Count


AGENT_PRESENCE: Final = Table(
    "agent_presence",
    key=("recorded_by", "agent_id", "since"),
    columns=(
        Column("recorded_by", Type.AGENT, nullable=False, doc="who keeps presence there"),
        Column("agent_id", Type.AGENT, nullable=False),
        Column("since", Type.TIMESTAMP, nullable=False, doc="when the period began"),
        Column("period", Type.DURATION, nullable=False, check=_COUNT),
        Column("beats", Type.INTEGER, nullable=False, check=_COUNT),
        Column("first_seen", Type.TIMESTAMP, nullable=False),
        Column("last_seen", Type.TIMESTAMP, nullable=False),
        Column("up", Type.DURATION, nullable=False, check=_COUNT,
               doc="time between heartbeats that were close enough for the agent to count as there"),
    ),
    indexes=(Index(("agent_id", "since")), Index(("since",), time_block=True)),
    shared=True,
    access=READ_ALL,
    retention=Retention("since", KEPT_MS),
    rollups=(
        Rollup(
            "agent_presence_daily",
            time="since",
            bucket="day",
            bucket_ms=DAY_MS,
            group=("recorded_by", "agent_id"),
            measures=(
                Measure("beats", "sum", "beats"), Measure("up", "sum", "up"),
                Measure("first_seen", "min", "first_seen"), Measure("last_seen", "max", "last_seen"),
            ),
        ),
    ),
    places=Places(relational=Relational(by_time="since", every_ms=7 * DAY_MS)),
    doc="When agents were there, hour by hour, as those say who keep presence; two of them may say it of one hour.",
)  # fmt: skip
