"""Room `cli` (imports everything): `requests` and `homes`: what waits for a decision, who decides, and moving that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from antiphon.cli import show as out
from antiphon.cli.asking import confirmed
from antiphon.cli.session import Session, verb
from antiphon.model import errors
from antiphon.model.text import counted, id_text

if TYPE_CHECKING:
    from antiphon.agent import Agent


@verb("requests", short_help="See what waits for a decision, and decide it.")
@click.argument("action", type=click.Choice(["list", "answer", "refuse"]), default="list")
@click.argument("ids", metavar="[REQUEST]...", nargs=-1)
@click.option("--reason", metavar="TEXT", help="Why a request is refused; whoever asked reads it.")
def requests(session: Session, *, action: str, ids: tuple[str, ...], reason: str | None) -> int:
    """Lists what waits for a decision (claims, states, dependencies, all that a table leaves to its home): what was
    asked of this agent, where its log is the home, and what it asked of others.

    `answer` decides what waits here, or the requests named, in the one order and by the rules of their domain: a second
    claim of a task is refused by itself. `refuse` refuses those named, whatever the rules say. What is asked in the
    file of its home is decided at once and never waits.

    \b
      antiphon requests
      antiphon requests answer
      antiphon requests refuse LOG/17 --reason "the harbour is closed"
    """
    if action != "refuse" and reason is not None:
        raise click.UsageError("`--reason` goes with `refuse`")
    if action == "refuse" and not (ids and reason is not None):
        raise click.UsageError("say which, and why: `antiphon requests refuse REQUEST --reason TEXT`")
    if action == "list":
        if ids:
            raise click.UsageError("`antiphon requests` lists all; did you mean `answer` or `refuse`?")
        with session.agent() as agent:
            return _listed(session, agent)
    with session.agent(writes=True) as agent:
        made = agent.answer_requests(*ids, refuse=reason)
        shown = [_decision(agent, event) for event in made]
    if session.as_json:
        out.emit_list(shown)
    elif not shown:
        out.say("nothing waits here for a decision", state="ok")
    else:
        for one in shown:
            why = f": {one['reason']}" if one["reason"] else ""
            print(out.one_line(f"{one['event']}  {one['kind']}  {one['entity'] or ''}{why}"))
        out.aside(counted(len(shown), "decision"))
    return 0


def _listed(session: Session, agent: Agent) -> int:
    import msgspec

    found = [msgspec.to_builtins(one) for one in agent.requests()]
    if session.as_json:
        out.emit_list(found)
        return 0
    if not found:
        out.say("nothing waits for a decision", state="ok")
        return 0
    rows = [
        (one["request"], one["kind"], one["entity"] or "", one["time"], "here" if one["here"] else f"at {one['home']}")
        for one in found
    ]
    if out.is_terminal():
        out.table(("request", "what", "of", "asked", "decided"), rows)
    else:
        for row in rows:
            print("\t".join(row))
    here = sum(one["here"] for one in found)
    if here:
        out.aside(f"{counted(here, 'request')} to decide here: `antiphon requests answer`")
    return 0


def _decision(agent: Agent, event: Any) -> dict[str, Any]:
    """A decision, in words."""
    from antiphon.log.kinds import REQUEST_REFUSED
    from antiphon.model.event import Role, decode_body
    from antiphon.model.text import entity_text, event_text

    cause = next(ref for ref in event.header.refs if ref.role == Role.CAUSE)
    refused = event.kind == REQUEST_REFUSED
    return {
        "event": event_text(event.log, event.seq),
        "request": event_text(cause.log, cause.seq),
        "kind": event.kind,
        "entity": None if event.entity is None else entity_text(event.entity),
        "granted": not refused,
        "reason": decode_body(event.body)["reason"] if refused and event.body else None,
    }


@verb("homes", short_help="See which logs decide about rows here, and move a home.")
@click.argument("action", type=click.Choice(["list", "move"]), default="list")
@click.argument("source", metavar="[LOG]", required=False)
@click.option("--to", "target", metavar="LOG", help="The log that decides from now on (this agent's own by default).")
@click.option("--size", type=click.IntRange(0), help="Of what it decided, so many events of its log stand (all here).")
@click.option("--yes", is_flag=True, help="Do not ask.")
def homes(session: Session, *, action: str, source: str | None, target: str | None, size: int | None, yes: bool) -> int:
    """Lists the homes that rows here name: the logs whose decisions they take, who decides for each now, and for how
    many rows.

    `move` lets another log decide from now on: because the home's machine is lost, or its agent is to go. Both are logs
    of agents of this principal; an agent of this home may be given by its name. What was decided stands, or (`--size`)
    what is in so many events of the old log; the rest is void, and what it had answered is asked again. A log that gave
    a home up never has it again. This home's agents hear of it at once, others with the principal's log.

    \b
      antiphon homes
      antiphon -a bob homes move ada
      antiphon homes move LOG --to LOG --size 120
    """
    if action == "list":
        if source or target or size is not None:
            raise click.UsageError("`antiphon homes` lists all; did you mean `antiphon homes move LOG`?")
        with session.agent() as agent:
            return _homes(session, agent)
    if source is None:
        raise click.UsageError("which home? `antiphon homes move LOG`; `antiphon homes` lists them")
    if not yes:
        if not sys.stdin.isatty():
            raise errors.InvalidInput("nobody is there to ask: say --yes to move the home, which is for good")
        if not confirmed(f"{source} will never decide again what it gives up now. Move its home?"):
            out.aside("Nothing was changed.")
            return 1
    home = session.home()
    try:
        if home.names():
            moved = home.move_home(session.choose(home, home.names()), source, target, size=size)
        else:  # a fleet in one file
            with session.agent(writes=True) as agent:
                moved = agent.move_home(source, target, size=size)
    finally:
        home.close()
    said = {"source": id_text(moved.source), "size": moved.size, "target": id_text(moved.target)}
    if session.as_json:
        out.emit(said)
        return 0
    out.say(f"{said['target']} decides now for {said['source']}, whose first {moved.size:,} events stand", state="ok")
    out.aside("what waits for its answer: `antiphon requests answer`")
    return 0


def _homes(session: Session, agent: Agent) -> int:
    import msgspec

    found = [msgspec.to_builtins(one) for one in agent.homes()]
    if session.as_json:
        out.emit_list(found)
        return 0
    if not found:
        out.say("no row here names a home", state="ok")
        return 0
    names = _names(session, agent, {one["agent"] for one in found})
    rows = [
        (
            one["home"], "the same" if one["decides"] == one["home"] else one["decides"],
            names.get(one["agent"], one["agent"] or "(not here)"), "yes" if one["here"] else "no",
            ", ".join(f"{count:,} {table}" for table, count in one["rows"].items()),
        )
        for one in found
    ]  # fmt: skip
    if out.is_terminal():
        out.table(("home", "decides now", "agent", "here", "rows"), rows)
    else:
        for row in rows:
            print("\t".join(row))
    return 0


def _names(session: Session, agent: Agent, wanted: set[str]) -> dict[str, str]:
    from antiphon.cli.known import known_names

    home = session.home()
    try:
        return known_names(agent.replica, wanted - {""}, home)
    finally:
        home.close()
