"""Room `cli` (imports everything): `replay`: the tables as they were, in a file for audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from antiphon.cli import show as out
from antiphon.cli.keeping import NOT_NOTED
from antiphon.cli.session import Session, event_id, verb
from antiphon.model.text import counted

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.replica.replay import Until


@verb("replay", short_help="Fold the tables as of an event or a time, into a file for audit.")
@click.option("--until", "then", required=True, metavar="EVENT|TIME", help="The last event, or moment, that counts.")
@click.option("--domain", "domains", multiple=True, metavar="NAME", help="Fold this domain alone (may be repeated).")
@click.option("-o", "--output", "path", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="A new SQLite file.")  # fmt: skip
def replay(session: Session, *, then: str, domains: Sequence[str], path: Path) -> int:
    """Folds every table as it was after an event, or at a time (by when events were recorded), and writes the rows to a
    new SQLite file. It is NOT encrypted, so that any tool can read it; `forget` names it as a copy out of reach.

    What was forgotten since is not in it.

    \b
      antiphon replay --until 2026-03-01T12:00:00Z -o march.db
      antiphon replay --until 1041 --domain memory -o then.db
      sqlite3 then.db "select content from memories"
    """
    import msgspec

    from antiphon.replica.replay import replay as fold

    with session.agent() as agent:
        until = _until(agent, then)
        total = sum(head.size for head in agent.replica.generations.heads())
        with out.progress("folding", total) as advance:
            done = fold(agent.replica, path, until, domains=domains or None, progress=advance)
    if session.as_json:
        out.emit({"file": str(path), **msgspec.structs.asdict(done)})
        return 0
    rows = ", ".join(f"{name} {count:,}" for name, count in done.rows.items() if count) or "no rows"
    out.say(f"{path}: {counted(done.events, 'event')} until {done.until}; {rows}", state="ok")
    if not done.noted:
        out.aside(NOT_NOTED)
    out.aside("It is not encrypted: keep it where only you can read it, and delete it when you are done.")
    return 0


def _until(agent: Agent, said: str) -> Until:
    from antiphon.model import times
    from antiphon.model.text import parse_event
    from antiphon.replica.replay import Until

    if "/" in said or (said.isascii() and said.isdigit()):
        log, seq = parse_event(event_id(agent, said))
        return Until(event=agent.replica.event(log, seq))
    return Until(time_ms=times.to_ms(said))
