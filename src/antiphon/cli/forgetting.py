"""Room `cli` (imports everything): `forget`: what would go, the question, and place by place what went."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli import show as out
from antiphon.cli.asking import confirmed
from antiphon.cli.reading import summary
from antiphon.cli.session import Session, event_id, verb
from antiphon.model import errors
from antiphon.model.text import counted

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.model.event import Event
    from antiphon.replica.forget import Forgotten

SHOWN_MAX: Final = 8
PLACE_MAX: Final = 36
_SIGNS: Final = {"done": "ok", "pending": "note", "cannot": "wrong", "kept": "note", "held": "note"}


@verb("forget", short_help="Erase events for good; the rest stays provable.")
@click.argument("events", nargs=-1, metavar="[EVENT]...")
@click.option("--entity", metavar="ID", help="Everything about this entity.")
@click.option("--person", metavar="NAME", help="Everything that concerns this person.")
@click.option("--older-than", metavar="AGE", help="Everything that happened longer ago than this: 90d, 2y.")
@click.option("--requests", is_flag=True, help="List what others asked to be forgotten; with --yes, forget it.")
@click.option(
    "--reason",
    type=click.Choice(["asked", "person", "expired", "mistake", "legal"]),
    help="The code that the log keeps (no text).",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def forget(
    session: Session,
    *,
    events: tuple[str, ...],
    entity: str | None,
    person: str | None,
    older_than: str | None,
    requests: bool,
    reason: str | None,
    yes: bool,
) -> int:
    """Erases events for good: from log, views, indexes, free pages and write-ahead log, with what was derived from
    them. Every older checkpoint, and every proof of the rest, still verifies. Says place by place what was done; in a
    pipe how many were forgotten, how many derived ones with them, then state, place and detail, tab separated.

    Asks first; in a pipe it needs --yes. Exit code 1 when there is nothing to forget.

    \b
      antiphon forget 12
      antiphon forget --person Grace --yes --json
      antiphon forget --older-than 2y
      antiphon forget --requests
    """
    given = [bool(events) and not requests, entity is not None, person is not None, older_than is not None, requests]
    if sum(given) != 1:
        raise click.UsageError(
            "name what to forget, in one way: EVENT…, --entity, --person, --older-than or --requests",
            click.get_current_context(),
        )
    with session.agent(writes=True) as agent:
        if requests:
            listed = _requests(agent, events)
            if not yes and not _can_ask(session):
                return _list_requests(session, agent, listed)
            if not listed:
                return _list_requests(session, agent, listed)
            events = tuple(dict.fromkeys(item["event"] for item in listed))
        events = tuple(event_id(agent, event) for event in events)
        if not yes and not _agreed(session, _targets(agent, events, entity, person, older_than)):
            out.aside("Nothing was forgotten.")
            return 1
        with out.progress("forgetting"):
            done = agent.forget(events, entity=entity, person=person, older_than=older_than, reason=reason)
    _show_done(session, done)
    return 0


def _requests(agent: Agent, only: tuple[str, ...]) -> list[dict[str, str]]:
    listed = agent.forget_requests()
    return [item for item in listed if not only or item["event"] in only or item["event"].split("/")[1] in only]


def _list_requests(session: Session, agent: Agent, listed: list[dict[str, str]]) -> int:
    if session.as_json:
        out.emit_list(listed)
    elif not listed:
        out.say("Nobody has asked for anything to be forgotten.")
    else:
        for item in listed:
            text = out.one_line(summary(agent.event(item["event"])), most=200)
            print(f"{item['event']}\t{item['time']}\t{item['kind']}\t{text}")
    return 0


def _can_ask(session: Session) -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty() and not session.as_json


def _targets(
    agent: Agent, events: tuple[str, ...], entity: str | None, person: str | None, older_than: str | None
) -> list[Event]:
    """What would be erased, what is derived from it left aside. Raises NotFound when there is nothing."""
    from antiphon.model import times

    found: list[Event] = [agent.event(event) for event in events]
    if entity is not None:
        found += agent.history(entity)
    if person is not None:
        places = sorted(agent._about(person))
        found += [agent.replica.reader.event(agent.replica.head_no(no), seq) for no, seq in places]
    if older_than is not None:
        old = agent._older(agent.replica.clock.now_ms() - times.age_ms(older_than))
        found += [agent.replica.reader.event(agent.replica.head_no(no), seq) for no, seq in sorted(old)]
    if not found:
        raise errors.NotFound("there is nothing to forget: no event matches")
    return found


def _agreed(session: Session, targets: list[Event]) -> bool:
    if not _can_ask(session):
        raise errors.InvalidInput("forgetting cannot be undone: say --yes where nobody can be asked")
    screen = out.console(error=True)
    for event in targets[:SHOWN_MAX]:
        screen.print(
            out.styled(
                (f"{event.seq:>8,}  ", "cyan"), out.one_line(summary(event) or event.kind, most=screen.width - 12)
            )
        )
    if len(targets) > SHOWN_MAX:
        screen.print(out.styled((f"{'':>8}  and {len(targets) - SHOWN_MAX:,} more", "dim")))
    count = "this event" if len(targets) == 1 else f"these {counted(len(targets), 'event')}"
    question = f"Forget {count}, and what was derived from them? It cannot be undone."
    return confirmed(question)


def _show_done(session: Session, done: Forgotten) -> None:
    said: dict[str, Any] = {
        "events": done.events,
        "derived": done.derived,
        "complete": done.complete,
        "places": [{"name": place.name, "state": place.state, "detail": place.detail} for place in done.places],
    }
    if session.as_json:
        out.emit(said)
        return
    derived = f", and {len(done.derived):,} derived from them" if done.derived else ""
    if not out.is_terminal():
        print(f"forgotten\t{len(done.events)}\nderived\t{len(done.derived)}")
        for place in done.places:
            print(out.clean(f"{place.state}\t{place.name}\t{place.detail}"))
        return
    from rich.table import Table

    out.say(f"{counted(len(done.events), 'event')} forgotten{derived}.", state="ok" if done.complete else "note")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold", max_width=PLACE_MAX)
    grid.add_column(overflow="fold", style="dim")
    for place in done.places:
        sign, colour = out.mark(_SIGNS[place.state])
        grid.add_row(out.styled(("  " + sign, colour)), place.name, out.clean(place.detail))
    out.console().print(grid)
