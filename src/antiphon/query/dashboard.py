"""Room `query` (imports `knowledge`, `domains`, `views` and below): how a fleet fares, in a handful of figures.

The design joins agents, tasks, deals and measurements with each other, which counts each as often as there are of the
others. Here each figure is of its own table alone, and all are of rows that the reader may see: tasks that are over are
read by those who made or did them, so who is to see all of a fleet's needs a reader that sees all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, Protocol

import msgspec

from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.places import DAY_MS
from antiphon.query.plan import Range
from antiphon.query.rows import Rows

DASHBOARD_ROWS_MAX: Final = 1_000_000
"""Rows of one table that are read for one dashboard."""
LOST: Final = "closed_lost"
_MILLION: Final = 1_000_000


class Reads(Protocol):
    """The rows of tables by name, as one agent may read them: an `Agent`, or `Rows` over any `Source`."""

    def table(self, name: str, /) -> Rows:
        """The rows of one declared table. Raises InvalidInput."""
        ...


class Dashboard(msgspec.Struct, frozen=True):
    """How a fleet fares. *Units*: `as_of` in ms since 1970; trust in [0, 1]; money as in the deals.

    `pipeline_value` is what deals are worth, each times its probability, without those that are lost; by stage too.
    """

    as_of: int
    total_agents: int
    avg_trust: float | None
    tasks_24h: int
    pipeline_value: Decimal
    pipeline_by_stage: dict[str, Decimal]
    current_consciousness: float | None


def federation_dashboard(reads: Reads, *, as_of: int) -> Dashboard:
    """The figures as of a time: agents and deals as they are now, tasks and measurements up to then.

    *Cost*: the agents that are there, all tasks that are complete and all deals are read, 10 µs each. Raises
    LimitExceeded over DASHBOARD_ROWS_MAX rows of a table.
    """
    if type(as_of) is not int:
        raise InvalidInput(f"a dashboard is as of a time in whole ms since 1970, not {as_of!r:.60}")
    count, trust = _agents(reads)
    by_stage = _pipeline(reads)
    return Dashboard(
        as_of, count, trust, _tasks(reads, as_of), sum(by_stage.values(), Decimal(0)), by_stage, _measured(reads, as_of)
    )


def _agents(reads: Reads) -> tuple[int, float | None]:
    """How many agents are not decommissioned, and the mean of how far each is trusted: exact, by integers."""
    rows = reads.table("agents").every({"decommissioned_at": None}, order="last_heartbeat")
    shares = [
        _MILLION * (1 + row["times_trusted"]) // (2 + row["times_trusted"] + row["times_failed"])
        for row in _counted("agents", rows)
    ]
    return len(shares), sum(shares) // len(shares) / _MILLION if shares else None


def _tasks(reads: Reads, as_of: int) -> int:
    """How many tasks were completed in the 24 hours before."""
    within = Range("completed_at", above=as_of - DAY_MS, most=as_of)
    rows = reads.table("tasks").every({"status": "complete"}, within=within)
    return sum(1 for _ in _counted("tasks", rows))


def _pipeline(reads: Reads) -> dict[str, Decimal]:
    """What the deals of each stage are worth, but those that are lost."""
    deals = reads.table("opportunities")
    found = {}
    for stage in deals.table.column("stage").values:
        if stage != LOST:
            rows = _counted("opportunities", deals.every({"stage": stage}))
            found[stage] = sum((row["weighted_value"] or Decimal(0) for row in rows), Decimal(0))
    return found


def _measured(reads: Reads, as_of: int) -> float | None:
    """The newest consciousness that was reported; where several agents did at one time, the mean of what they said."""
    newest: list[Decimal] = []
    at = None
    timeline = reads.table("consciousness_timeline")
    rows = timeline.every(within=Range("time", most=as_of), order="time", descending=True)
    for row in _counted("consciousness_timeline", rows):
        if at is not None and row["time"] != at:
            break
        at = row["time"]
        newest.append(row["global_consciousness"])
    return float(sum(newest) / len(newest)) if newest else None


def _counted(table: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for count, row in enumerate(rows, 1):
        if count > DASHBOARD_ROWS_MAX:
            raise LimitExceeded(
                "DASHBOARD_ROWS_MAX", got=count, allowed=DASHBOARD_ROWS_MAX, what=f"the number of rows of {table!r}"
            )
        yield row
