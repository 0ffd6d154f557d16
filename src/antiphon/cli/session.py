"""Room `cli` (imports everything): what every verb shares: `--agent`, `--home`, `--json`, and how to open an agent."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from antiphon.cli import show as out
from antiphon.cli.plugged import own_domains
from antiphon.model import errors

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.home import Home
    from antiphon.log.store import LogHead

F = TypeVar("F", bound=Callable[..., Any])
_AGE: Final = re.compile(r"\d+(\.\d+)?\s*(ms|s|m|h|d|w|y)")
RUNS_BEFORE_PACKING: Final = 16


class Session:
    """The global options, and the agent that they choose."""

    def __init__(self, agent: str | None, home: Path | None, as_json: bool) -> None:
        self.agent_name = agent
        self.folder = home
        self.as_json = as_json
        self._typed: str | None = None

    def home(self, *, background: bool = False) -> Home:
        """The home, its key ring open. A missing one is wrong use. On a terminal a passphrase is asked for.

        With `background`, its agents pack and index beside their work: for what runs long.
        """
        from antiphon.home import Home

        with wrong_use():
            return Home.open(self.folder, passphrase=self.passphrase(), background=background, domains=own_domains())

    def place(self) -> Path:
        """Where the home is, whether it exists or not."""
        from antiphon.home import default_folder

        return self.folder if self.folder is not None else default_folder()

    def passphrase(self) -> str | None:
        """The passphrase, typed, where this home opens by one that no variable holds."""
        if os.environ.get("ANTIPHON_PASSPHRASE") or not sys.stdin.isatty():
            return None
        with contextlib.suppress(OSError):
            with (self.place() / "keys").open("rb") as file:
                if b'"argon2id"' not in file.readline():
                    return None
            if self._typed is None:
                self._typed = click.prompt("Passphrase", hide_input=True, err=True)
            return self._typed
        return None

    def choose(self, home: Home, names: list[str]) -> str:
        """The agent's name: as given, else the only one. Raises InvalidInput, listing what there is."""
        if self.agent_name is not None:
            return self.agent_name
        if len(names) == 1:
            return names[0]
        if not names:
            raise errors.InvalidInput(f"there is no agent in {home.folder} yet: make one with `antiphon init NAME`")
        listed = ", ".join(names[:12]) + (f" and {len(names) - 12:,} more" if len(names) > 12 else "")
        raise errors.InvalidInput(f"which agent? Say `-a NAME` or set ANTIPHON_AGENT; there are {listed}")

    @contextlib.contextmanager
    def agent(self, *, writes: bool = False, salvage: bool = False, background: bool = False) -> Iterator[Agent]:
        """The chosen agent, open. What only reads opens it read only where it cannot be written (or, with `salvage`,
        where it is damaged); what `writes` packs many loose commits in the end.
        """
        from antiphon.engines.sqlite.file import translated

        home = self.home(background=background)
        with contextlib.ExitStack() as stack:
            stack.callback(home.close)
            fleet_file = home.folder / "fleet.antiphon"
            if fleet_file.exists() and not home.names():
                from antiphon.fleet import Fleet

                fleet = stack.enter_context(
                    Fleet.open(home.folder, passphrase=self.passphrase(), domains=own_domains())
                )
                with wrong_use():
                    found = fleet.agent(self.choose(home, fleet.names()))
                with translated(fleet_file):
                    yield found
                return
            name = self.choose(home, home.names())
            with wrong_use():
                agent = _opened(home, name, writes=writes, salvage=salvage)
            stack.callback(agent.replica.close)
            with translated(agent.replica.file.path):
                yield agent
                if agent.began_log:
                    out.aside(
                        f"{name} began a log of its own here: its keys were revoked, this home is a copy or was "
                        "restored, or ANTIPHON_STATE was lost; `antiphon doctor` says more"
                    )
                if writes and not agent.replica.file.read_only:
                    with contextlib.suppress(errors.Unavailable):
                        agent.replica.pack_some(runs_min=RUNS_BEFORE_PACKING)


def current(agent: Agent) -> LogHead:
    """The log that this agent writes; in a copy that has written nothing yet, the one it was copied from."""
    from antiphon.log.store import LogRole

    heads = agent.replica.heads_of(agent.record_of_agent.agent)
    own = [head for head in heads if head.role == LogRole.OWN]
    past = sorted((head for head in heads if head.role == LogRole.PAST), key=lambda head: head.hlc)
    if not own and not past:
        raise errors.NotFound(f"{agent.name} has no log here")
    return (own or past)[-1]


def event_id(agent: Agent, event: str) -> str:
    """A whole event id, from itself or from a number in the agent's current log."""
    from antiphon.model.text import event_text, parse_seq

    if not (event.isascii() and event.isdigit()):
        return event
    return event_text(current(agent).id, parse_seq(event))


def _opened(home: Home, name: str, *, writes: bool, salvage: bool) -> Agent:
    from antiphon.agent import Agent

    def principal() -> Any:
        return home.principal() if home.principal_path.exists() else None

    again: tuple[type[Exception], ...] = () if writes else (errors.ReadOnly,)
    if salvage:
        again = (*again, errors.Corrupt, errors.Unavailable, errors.Rejected, errors.NotFound)
    try:
        replica, record = home.open_agent(name)
    except again as first:
        try:
            replica, record = home.open_agent(name, read_only=True)
        except errors.AntiphonError:
            raise first from None
    return Agent(replica, record, principal=principal)


@contextlib.contextmanager
def wrong_use() -> Iterator[None]:
    """Makes a home or agent that is not there wrong use (2), so that 1 always means that the answer is no."""
    try:
        yield
    except (errors.NotFound, errors.Conflict) as error:
        error.context["exit"] = 2
        raise


def verb(name: str, **settings: Any) -> Callable[[F], click.Command]:
    """A command that gets the session as its first argument; what it returns is the exit code.

    It takes the global options too, behind the verb: what is said there counts more than what was said before it.
    """

    def make(function: F) -> click.Command:
        @functools.wraps(function)
        def run(of_agent: str | None, in_home: Path | None, as_json: bool, **given: Any) -> Any:
            session = click.get_current_context().find_object(Session)
            assert session is not None
            session.agent_name = of_agent or session.agent_name
            session.folder = in_home or session.folder
            session.as_json = session.as_json or as_json
            out.speak_json(on=session.as_json)
            return function(session, **given)

        wrapped: Callable[..., Any] = run
        for option in (
            click.option("--json", "as_json", is_flag=True, help="Answer in JSON."),
            click.option("--home", "in_home", type=click.Path(path_type=Path), metavar="FOLDER", help="In this home."),
            click.option("-a", "--agent", "of_agent", metavar="NAME", help="Which agent."),
        ):
            wrapped = option(wrapped)
        return click.command(name, click.Command, **settings)(wrapped)

    return make


def moment(text: str | None, *, future: bool = False) -> str | int | None:
    """A time as typed: ISO 8601, or an age like 7d counted back from now (on from now with `future`)."""
    if text is None or not _AGE.fullmatch(text.strip()):
        return text
    from antiphon.model import times
    from antiphon.world.clock import SystemClock

    age = times.age_ms(text)
    now = SystemClock().now_ms()
    return now + age if future else now - age
