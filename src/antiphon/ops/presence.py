"""Room `ops` (imports `engines` and below): records what heartbeats came to: one event an agent and period, at most.

Whoever keeps presence for a fleet runs this, beside the server that hears heartbeats, as one of its agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

from antiphon.domains.network import presence
from antiphon.model.errors import InvalidInput
from antiphon.model.event import Scope
from antiphon.model.text import parse_id
from antiphon.views.commands import Recorder

if TYPE_CHECKING:
    from antiphon.engines.redis.beats import Heard

PAGE_AGENTS: Final = 1_000
"""Agents recorded in one commit."""
RUN_AGENTS_MAX: Final = 1_000_000
"""Recorded by one `run`; what is left waits for the next."""


class Keeper(Recorder, Protocol):
    """Who records: an `Agent`."""

    def batch(self) -> AbstractContextManager[Any]:
        """Collects what is recorded, for one commit."""
        ...


class Beats(Protocol):
    """Where heartbeats are counted until they are recorded. All methods raise Unavailable; Conflict where another
    recorder has taken over.
    """

    def claim(self, who: bytes) -> bool:
        """Whether this recorder may take what has ended; others may when it is silent."""
        ...

    def ended(self, who: bytes, *, limit: int) -> list[Heard]:
        """Some of what was heard in the oldest period that has ended, none where none has."""
        ...

    def taken(self, who: bytes, heard: list[Heard]) -> None:
        """Drops what is recorded."""
        ...

    def release(self, who: bytes) -> None:
        """Lets others take over at once."""
        ...


class PresenceRecorder:
    """Records ended periods as an agent's events, for all to see.

    What was recorded and not yet dropped, because either side was killed in between, is found in the table and left
    out: the same period twice counts once.
    """

    def __init__(self, agent: Keeper, beats: Beats) -> None:
        self._agent, self._beats = agent, beats
        self._me = parse_id(agent.id)

    def run(self, *, most: int = RUN_AGENTS_MAX) -> int:
        """Records all that has ended; how many events that took. Nothing while another recorder is at it.

        *Cost*: about 50 µs an agent and period; a commit for PAGE_AGENTS of them.
        """
        if most < 1:
            raise InvalidInput("record one agent or more")
        if not self._beats.claim(self._me):
            return 0
        recorded = seen = 0
        while seen < most:
            page = self._beats.ended(self._me, limit=min(PAGE_AGENTS, most - seen))
            if not page:
                break
            recorded += self._record(page)
            self._beats.taken(self._me, page)
            seen += len(page)
        return recorded

    def release(self) -> None:
        """Lets another recorder begin at once."""
        self._beats.release(self._me)

    def _record(self, page: Sequence[Heard]) -> int:
        rows = self._agent.table(presence.AGENT_PRESENCE.name)
        new = [one for one in page if _is_more(rows.get(self._me, one.agent, one.since_ms), one)]
        with self._agent.batch() as batch:
            for one in new:
                batch.record(presence.ROLLED_UP, _body(one), scope=Scope.PUBLIC)
        return len(new)


def _is_more(row: Any, heard: Heard) -> bool:
    return row is None or bool(heard.beats > row["beats"])


def _body(one: Heard) -> presence.RolledUp:
    return presence.RolledUp(
        agent_id=one.agent,
        since=one.since_ms,
        period=one.period_ms,
        beats=one.beats,
        first_seen=one.first_ms,
        last_seen=one.last_ms,
        up=one.up_ms,
    )
