"""Room `cli` (imports everything): `engines reads`: what was found where, of all that readers asked for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from antiphon.cli import show as out
from antiphon.cli.attached import engine_named
from antiphon.engines.urls import reads_at

if TYPE_CHECKING:
    from antiphon.cli.session import Session

HOURS: Final = (1, 24)
HIT_RATE_LEAST: Final = 0.8
"""What the design asks of a cache; below it the terminal says so."""


def show_reads(session: Session, name: str) -> int:
    """Shows reads by place, of this hour and of the last day, and what the server itself counts."""
    with contextlib.closing(reads_at(engine_named(session.place(), name))) as reads:
        found = {hours: reads.found(hours=hours) for hours in HOURS}
        server = reads.server()
    lines: list[dict[str, Any]] = [
        {
            "hours": hours, "place": one.name, "asked": one.asked, "hits": one.hits, "misses": one.misses,
            "stale": one.stale, "failures": one.failures, "hit_rate": round(one.hit_rate, 4),
        }
        for hours, some in found.items()
        for one in some
    ]  # fmt: skip
    if session.as_json:
        counts = {name: getattr(server, name) for name in server.__struct_fields__}
        out.emit({"reads": lines, "server": {**counts, "hit_rate": round(server.hit_rate, 4)}})
        return 0
    if not lines:
        out.aside(f"nobody has read through {name} in the last {HOURS[-1]} hours: `agent.reach([…])` does")
    elif out.is_terminal():
        titles = ("hours", "place", "asked", "hits", "misses", "stale", "failures", "hit rate")
        rows = [[_said(value) for value in line.values()] for line in lines]
        out.table(titles, rows, right=(0, 2, 3, 4, 5, 6, 7))
    else:
        for line in lines:
            print("\t".join(map(str, line.values())))
    cache = next((line for line in lines if line["place"] == "cache"), None)
    if cache is not None and cache["hit_rate"] < HIT_RATE_LEAST:
        out.aside(f"less than {HIT_RATE_LEAST:.0%} of what the cache was asked for was there: is it too small, or fed?")
    out.aside(f"the server by itself: {server.hit_rate:.1%} of lookups found, {server.evicted_keys:,} keys evicted")
    return 0


def _said(value: Any) -> str:
    return f"{value:.1%}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
