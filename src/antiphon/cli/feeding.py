"""Room `cli` (imports everything): `engines feed`: keeps the named engines in step with an agent's file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from antiphon.cli import show as out
from antiphon.cli.attached import engine_named, engines_of
from antiphon.engines.urls import sealed_engine_at, tables_for
from antiphon.model.errors import AntiphonError, InvalidInput
from antiphon.model.text import counted

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.cli.session import Session
    from antiphon.replica.follow import Follower

INTERRUPTED: Final = 130
LINE_MS: Final = 1_000
SCREEN_MS: Final = 250


def feed(session: Session, agent: Agent, name: str | None, *, once: bool) -> int:
    """Follows until interrupted, or once to the end; 1 where an engine did not get everything."""
    home = session.place()
    urls = engines_of(home) if name is None else {name: engine_named(home, name)}
    if not urls:
        raise InvalidInput("no engine is named yet: `antiphon engines add NAME postgresql://…`")
    sinks: list[Any] = []
    followers: list[Follower] = []
    try:
        for one, url in urls.items():
            sinks.append(sealed_engine_at(url, agent.replica.keys, agent.replica.entropy))
            tables = [table.name for table in tables_for(url, agent.replica.registry.tables)]
            followers.append(agent.follow(sinks[-1], name=one, tables=tables, background=not once))
        return _once(session, followers) if once else _on(session, agent, followers)
    finally:
        for follower in followers:
            follower.close()
        for sink in sinks:
            sink.close()


def _once(session: Session, followers: list[Follower]) -> int:
    failed = 0
    for follower in followers:
        try:
            with out.progress(f"delivering to {follower.name}") as advance:
                follower.run(progress=advance)
        except AntiphonError as error:
            failed = 1
            said = str(error).removeprefix(f"{follower.name}: ")
            out.say(f"{follower.name}: {said}", state="wrong")
        else:
            letters = len(follower.letters())
            said = f"; it refused {counted(letters, 'row')}" if letters else ""
            out.say(f"{follower.name} has everything{said}", state="note" if letters else "ok")
        for line in getattr(follower.sink, "lacks", ()):
            out.aside(f"{follower.name}: {line}")
    return failed


def _on(session: Session, agent: Agent, followers: list[Follower]) -> int:
    from antiphon.world.clock import sleep_ms

    try:
        if not out.is_terminal() or session.as_json:
            while not _ended(followers):
                for line in _standing(followers):
                    if session.as_json:
                        out.emit(line)
                    else:
                        print("\t".join(map(str, line.values())), flush=True)
                sleep_ms(LINE_MS)
            return _said(followers)
        from rich.live import Live

        out.aside(f"feeding from {agent.name}; ^C ends it, and nothing is lost")
        with Live(console=out.console(), refresh_per_second=4, transient=False) as live:
            while not _ended(followers):
                live.update(_screen(followers))
                sleep_ms(SCREEN_MS)
            live.update(_screen(followers))
        return _said(followers)
    except KeyboardInterrupt:
        return INTERRUPTED


def _ended(followers: list[Follower]) -> bool:
    """Whether none of them goes on: a person has to do something first."""
    return all(follower.has_ended for follower in followers)


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
                "error": follower.error,
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
