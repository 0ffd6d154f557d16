"""Room `cli` (imports everything): `engines presence`: records what heartbeats came to, hour by hour."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from antiphon.cli import show as out
from antiphon.cli.attached import engine_named
from antiphon.domains.network.presence import AGENT_PRESENCE
from antiphon.engines.urls import beats_at, hears
from antiphon.model.errors import AntiphonError, Conflict, Unavailable
from antiphon.model.text import counted
from antiphon.ops.presence import PresenceRecorder
from antiphon.world.clock import SystemClock, sleep_ms

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.cli.session import Session

EVERY_MS: Final = 30_000
"""How often it looks whether a period has ended; less than another recorder waits before it takes over."""
INTERRUPTED: Final = 130


class Recording:
    """Records for an agent what the engines have heard that it feeds. What is wrong with one, its feeder says."""

    def __init__(self, agent: Agent, urls: Mapping[str, str]) -> None:
        heard = AGENT_PRESENCE.name in agent.replica.registry.tables
        self._beats = {name: beats_at(url) for name, url in urls.items() if heard and hears(url)}
        self._recorders = {name: PresenceRecorder(agent, beats) for name, beats in self._beats.items()}
        self._clock = SystemClock()
        self._looked_ms: float | None = None
        self._claimed: set[str] = set()

    def turn(self, names: Collection[str]) -> int:
        """Records what these engines have heard and has ended, every EVERY_MS; how many events that took."""
        now = self._clock.monotonic_ms()
        if self._looked_ms is not None and now - self._looked_ms < EVERY_MS:
            return 0
        self._looked_ms, recorded = now, 0
        for name in self._recorders.keys() & set(names):
            with contextlib.suppress(AntiphonError):
                recorded += self._recorders[name].run()
                self._claimed.add(name)
        return recorded

    def close(self) -> None:
        """Lets others take over, and ends the connections."""
        for name in self._claimed:
            _release(self._recorders[name])
        for beats in self._beats.values():
            beats.close()


def keep_presence(session: Session, agent: Agent, name: str, *, once: bool) -> int:
    """Records ended periods once, or until interrupted; 1 where the server could not be asked."""
    with contextlib.closing(beats_at(engine_named(session.place(), name))) as beats:
        recorder = PresenceRecorder(agent, beats)
        if not once:
            out.aside(f"{agent.name} records what {name} has heard, when an hour is over; ^C ends it")
        try:
            while True:
                recorded = _recorded(session, recorder, name)
                if once:
                    _release(recorder)
                    return int(recorded is None)
                sleep_ms(EVERY_MS)
        except KeyboardInterrupt:
            _release(recorder)
            return INTERRUPTED


def _recorded(session: Session, recorder: PresenceRecorder, name: str) -> int | None:
    """How many events that took; None where it was not possible now."""
    try:
        recorded = recorder.run()
    except (Unavailable, Conflict) as error:
        out.say(f"{name}: {error}", state="wrong")
        return None
    if session.as_json:
        out.emit({"recorded": recorded})
    elif recorded:
        out.say(f"{counted(recorded, 'agent')} and hour recorded", state="ok")
    return recorded


def _release(recorder: PresenceRecorder) -> None:
    """Where the server is away, others wait for CLAIM_MS instead."""
    with contextlib.suppress(AntiphonError):
        recorder.release()
