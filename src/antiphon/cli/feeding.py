"""Room `cli` (imports everything): `engines feed`: keeps the named engines in step with an agent's file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from antiphon.cli import show as out
from antiphon.cli.attached import engine_named, engines_of, is_open
from antiphon.cli.presence import Recording
from antiphon.engines.configured import FILE
from antiphon.engines.urls import sealed_engine_at, shown, tables_for
from antiphon.model import times
from antiphon.model.errors import AntiphonError, InvalidInput, ReadOnly
from antiphon.model.text import counted
from antiphon.replica.feeder import PATIENCE_MS
from antiphon.world.clock import SystemClock, sleep_ms

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.cli.session import Session
    from antiphon.replica.follow import Follower

INTERRUPTED: Final = 130
LINE_MS: Final = 1_000
SCREEN_MS: Final = 250
END_MS: Final = 800
"""How long the end waits for engines that do not answer, all together."""
LAST_MS: Final = 100
"""What each of them has at least."""
_WELL: Final = ("new", "bootstrapping", "following")
SILENT_MS: Final = 1_500
"""Whoever looks is told after so long without an answer that it is waited for."""


def feed(session: Session, name: str | None, *, once: bool, take_over: bool) -> int:
    """Follows until interrupted, or once to the end; 1 where an engine did not get everything."""
    home = session.place()
    if take_over and name is None:
        raise InvalidInput("--take-over takes one engine: `antiphon engines feed NAME --take-over`")
    urls = engines_of(home) if name is None else {name: engine_named(home, name)}
    if not urls:
        raise InvalidInput("no engine is named yet: `antiphon engines add NAME postgresql://…`")
    if is_open(home):
        out.aside(f"others may read {home / FILE}, and it holds a password: chmod 600, or ${{NAME}} in it")
    begins = f"feeding {', '.join(urls)}"
    if once:
        out.begun(begins)
    else:
        out.aside(f"{begins}; ^C ends it, and nothing is lost")
    with session.agent() as agent:
        check_writable(agent)
        return _fed(session, agent, urls, once=once, take_over=take_over)


def check_writable(agent: Agent) -> None:
    """Raises ReadOnly where how far an engine is fed could not be kept: each time, everything would be sent again."""
    if agent.replica.file.read_only:
        raise ReadOnly(
            f"{agent.replica.file.path} can only be read, and how far an engine is fed is kept in it: feed from where "
            "it can be written"
        )


def _fed(session: Session, agent: Agent, urls: Mapping[str, str], *, once: bool, take_over: bool) -> int:
    sinks: list[Any] = []
    followers: list[Follower] = []
    presence = Recording(agent, urls)
    try:
        for one, url in urls.items():
            sinks.append(sealed_engine_at(url, agent.replica.keys, agent.replica.entropy))
            tables = [table.name for table in tables_for(url, agent.replica.registry.tables)]
            followers.append(agent.follow(sinks[-1], name=one, tables=tables, background=not once, take_over=take_over))
        if once:
            presence.turn(urls)
            return _once(session, followers, urls)
        return _on(session, followers, presence)
    finally:
        presence.close()
        _end(followers, sinks)


def _end(followers: list[Follower], sinks: list[Any]) -> None:
    """Ends them all, and waits END_MS for those whose engines do not answer."""
    clock = SystemClock()
    until = clock.monotonic_ms() + END_MS
    for follower in followers:
        follower.close(wait_ms=max(LAST_MS, until - clock.monotonic_ms()))
    for sink in sinks:
        sink.close()


def _once(session: Session, followers: list[Follower], urls: Mapping[str, str]) -> int:
    failed = 0
    for follower in followers:
        error = ""
        try:
            with out.progress(f"delivering to {follower.name}") as advance:
                follower.run(patience_ms=PATIENCE_MS, progress=_Waiting(follower, urls[follower.name], advance).told)
        except AntiphonError as failure:
            failed, error = 1, str(failure).removeprefix(f"{follower.name}: ")
        _delivered(session, follower, error)
    return failed


def _delivered(session: Session, follower: Follower, error: str) -> None:
    letters, lacks = len(follower.letters()), list(getattr(follower.sink, "lacks", ()))
    if session.as_json:
        (line,) = _standing([follower])
        out.emit({**line, "error": error or line["error"], "refused": letters, "lacks": lacks})
        return
    said = f"; it refused {counted(letters, 'row')}" if letters else ""
    if error:
        out.say(f"{follower.name}: {error}", state="wrong")
    else:
        out.say(f"{follower.name} has everything{said}", state="note" if letters else "ok")
    for line in lacks:
        out.aside(f"{follower.name}: {line}")


class _Waiting:
    """Says once an outage, on standard error, that an engine does not answer, and until when it is asked again."""

    def __init__(self, follower: Follower, url: str, advance: Callable[[int], None]) -> None:
        self._follower, self._url, self._advance, self._clock = follower, url, advance, SystemClock()
        self._heard_ms, self._said = self._clock.monotonic_ms(), False

    def told(self, count: int) -> None:
        """To be called after each step."""
        self._advance(count)
        now = self._clock.monotonic_ms()
        if self._follower.state != "retrying":
            self._heard_ms, self._said = now, False
        elif not self._said and now - self._heard_ms >= SILENT_MS:
            self._said = True
            until = times.iso(round(self._clock.now_ms() + PATIENCE_MS - (now - self._heard_ms)))[11:19]
            place = out.one_line(shown(self._url))
            out.aside(f"{self._follower.name}: {place} does not answer; asked again until {until} UTC")


def _on(session: Session, followers: list[Follower], presence: Recording) -> int:
    try:
        if not out.is_terminal() or session.as_json:
            lines = _Lines(as_json=session.as_json)
            while not _ended(followers):
                lines.tell(_standing(followers))
                presence.turn(_going_on(followers))
                sleep_ms(LINE_MS)
            lines.tell(_standing(followers))
            return _said(followers)
        from rich.live import Live

        with Live(console=out.console(), refresh_per_second=4, transient=False) as live:
            while not _ended(followers):
                live.update(_screen(followers))
                presence.turn(_going_on(followers))
                sleep_ms(SCREEN_MS)
            live.update(_screen(followers))
        return _said(followers)
    except KeyboardInterrupt:
        return INTERRUPTED


class _Lines:
    """Prints how followers stand, where something but the time has changed since it was printed."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._told: dict[str, dict[str, Any]] = {}

    def tell(self, lines: list[dict[str, Any]]) -> None:
        """Prints the lines that are news."""
        for line in lines:
            known = {name: value for name, value in line.items() if name != "behind_seconds"}
            if self._told.get(line["name"]) == known:
                continue
            self._told[line["name"]] = known
            print(out.json_line(line) if self._as_json else "\t".join(out.one_line(str(one)) for one in line.values()))
        sys.stdout.flush()


def _ended(followers: list[Follower]) -> bool:
    """Whether none of them goes on: a person has to do something first."""
    return not _going_on(followers)


def _going_on(followers: list[Follower]) -> list[str]:
    return [follower.name for follower in followers if not follower.has_ended]


def _said(followers: list[Follower]) -> int:
    for follower in followers:
        out.say(f"{follower.name}: {follower.error}", state="wrong")
    return 1


def _standing(followers: list[Follower]) -> list[dict[str, Any]]:
    found = []
    for follower in followers:
        lag = follower.lag()
        found.append(
            {
                "name": follower.name,
                "state": follower.state,
                "delivered": follower.delivered,
                "behind": lag.events,
                "behind_seconds": round(lag.seconds, 3),
                "error": follower.error if follower.state not in _WELL else "",
            }
        )
    return found


def _screen(followers: list[Follower]) -> Any:
    from rich.table import Table

    table = Table("name", "state", "delivered", "behind", "seconds", "last error", box=None)
    for line in _standing(followers):
        table.add_row(
            line["name"],
            line["state"],
            f"{line['delivered']:,}",
            f"{line['behind']:,}",
            f"{line['behind_seconds']:,.1f}",
            out.one_line(line["error"]),
        )
    return table
