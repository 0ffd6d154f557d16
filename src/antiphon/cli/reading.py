"""Room `cli` (imports everything): finding again: `recall`, `show`, `history`, `log`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, current, event_id, moment, verb
from antiphon.model import errors
from antiphon.model.limits import LOG_EVENTS_MAX

if TYPE_CHECKING:
    from rich.text import Text

    from antiphon.agent import Agent, Memory
    from antiphon.model.event import Event

SCREENFUL: Final = 30


@verb("recall", short_help="Find memories by what they say.")
@click.argument("query", nargs=-1, required=True)
@click.option("-n", "--limit", type=click.IntRange(1, 1_000), default=10, show_default=True, help="At most so many.")
@click.option("--since", metavar="TIME", help="Not before: 2026-11-21, 2026-11-21T09:30:00Z, or an age like 7d.")
@click.option("--until", metavar="TIME", help="Before this time.")
@click.option("--kind", multiple=True, help="Only this table (memories, reflections) or type; may be repeated.")
@click.option("--namespace", help="Only this namespace.")
@click.option("--below", metavar="NAMESPACE", help="This dotted namespace and those that go on from it.")
@click.option("--user", metavar="NAME", help="Only what concerns this person.")
@click.option("--entity", metavar="ID", help="Only this entity.")
def recall(
    session: Session,
    *,
    query: tuple[str, ...],
    limit: int,
    since: str | None,
    until: str | None,
    kind: tuple[str, ...],
    namespace: str | None,
    below: str | None,
    user: str | None,
    entity: str | None,
) -> int:
    """Finds memories by what they say: best first, by relevance, recency and significance.

    In a pipe: score, time, author, event and text, tab separated. Exit code 1 when nothing is found.

    \b
      antiphon recall "what does Grace drink?"
      antiphon recall '"green tea"' --since 30d --user Grace
      antiphon recall invoices --json | jq -r '.[0].event'
    """
    with session.agent() as agent:
        found = agent.recall(
            " ".join(query), limit=limit, since=moment(since), until=moment(until), kind=kind, namespace=namespace,
            below=below, user=user, entity=entity,
        )  # fmt: skip
        if session.as_json:
            out.emit_list(found)
        elif out.is_terminal():
            _show_hits(found, agent, query)
        else:
            for hit in found:
                print(f"{hit.score:.2f}\t{hit.time}\t{hit.author}\t{hit.event}\t{out.one_line(hit.text)}")
    return 0 if found else 1


def _show_hits(found: list[Memory], agent: Agent, query: tuple[str, ...]) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    if not found:
        out.say(f"{agent.name} remembers nothing about that.")
        return
    words = [word.strip('"?!.,;:') for part in query for word in part.split()]
    screen = out.console()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="dim")
    grid.add_column(overflow="fold")
    for at, hit in enumerate(found, 1):
        text = Text(_clipped(hit.text), style="dim" if hit.superseded_by else "")
        text.highlight_words([word for word in words if len(word) > 2], "bold cyan", case_sensitive=False)
        facts = [hit.author, out.short_time(hit.time), _place(hit.event, agent), f"{hit.score:.2f}"]
        if hit.type not in ("memory", hit.table):
            facts.append(hit.type)
        if hit.namespace:
            facts.append(f"in {hit.namespace}")
        if hit.superseded_by:
            facts.append("corrected since")
        grid.add_row(str(at), text)
        grid.add_row("", Text(out.clean("  ·  ".join(fact for fact in facts if fact)), style="dim"))
    screen.print(Padding(grid, (0, 0, 0, 1)))


def _clipped(text: str, *, lines: int = 6, most: int = 600) -> str:
    """Enough of a text to know it again."""
    kept = out.clean(text).strip().splitlines()
    joined = "\n".join(kept[:lines])
    return joined if len(kept) <= lines and len(joined) <= most else joined[:most].rstrip() + " …"


def _place(event: str, agent: Agent) -> str:
    """An event's number, which is enough to name it where it stands in this agent's own log; else its whole id."""
    from antiphon.model.text import id_text

    log, _, seq = event.partition("/")
    return f"event {seq}" if log == id_text(current(agent).id) else event


@verb("show", short_help="Show one event: what it says and where it stands.")
@click.argument("event")
def show(session: Session, *, event: str) -> int:
    """Shows one event: its place in the log, its header and its body.

    EVENT is an event id, or the number of an event in the agent's own log.

    \b
      antiphon show 12
      antiphon show bafk…/12 --json
    """
    with session.agent() as agent:
        found = agent.event(event_id(agent, event))
        shown = described(agent, found)
        head = agent.replica.head(found.log)
        leaf = agent.replica.reader.leaf(head, found.seq)
        if session.as_json:
            out.emit(
                {**shown, "author": _author(agent, head.no), "seq": found.seq, "size": head.size, "leaf": leaf.hex()}
            )
            return 0
        body = shown.pop("body")
        refs = [f"{ref['role']} {ref['event']}" for ref in shown.pop("refs")]
        out.fields(
            [
                ("event", shown["event"]),
                (
                    "place",
                    f"number {found.seq:,} in the log of {_author(agent, head.no)}, which has {head.size:,} events",
                ),
                ("recorded", shown["recorded"]),
                ("occurred", shown["occurred"]),
                ("kind", f"{shown['kind']} (version {shown['kind_version']})"),
                ("entity", shown["entity"]),
                ("about", ", ".join(shown["about_names"] or shown["about"])),
                ("scope", shown["scope"]),
                ("refs", ", ".join(refs)),
                ("leaf hash", leaf.hex()),
            ],
            indent=0,
        )
        _show_body(body)
    return 0


def _show_body(body: Any) -> None:
    import msgspec

    if out.is_terminal():
        print()
    if not isinstance(body, dict):
        out.fields([("body", msgspec.json.encode(body).decode())], indent=0)
        return
    plain = [
        (name, value if isinstance(value, str) else msgspec.json.encode(value).decode()) for name, value in body.items()
    ]
    out.fields(plain, indent=0)


def _author(agent: Agent, no: int) -> str:
    return agent.replica.author_names([no]).get(no, "somebody else")


def described(agent: Agent, event: Event) -> dict[str, Any]:
    """An event as plain JSON values, people with their names where these are known."""
    from antiphon.domains.memory import PEOPLE
    from antiphon.replica.archive import as_json

    rows = [agent.replica.tables.row(PEOPLE, person) for person in event.header.about or ()]
    names = [str(row.values["label"]) for row in rows if row is not None]
    return {**as_json(event), "about_names": names}


@verb("history", short_help="Show how an entity came to be what it is.")
@click.argument("entity")
def history(session: Session, *, entity: str) -> int:
    """Shows everything recorded about an entity, in order. An event id stands for the entity it is about.

    \b
      antiphon history 01a2b3c4-0000-7000-8000-000000000001
      antiphon history 12
    """
    with session.agent() as agent:
        if "-" not in entity:
            from antiphon.model.text import entity_text

            event = agent.event(event_id(agent, entity))
            if event.entity is None:
                raise errors.NotFound(f"event {entity} is about no entity")
            entity = entity_text(event.entity)
        events = agent.history(entity)
        if session.as_json:
            out.emit_list(described(agent, event) for event in events)
        elif events and out.is_terminal():
            _show_events(events)
        elif events:
            _print_events(events)
        else:
            raise errors.NotFound(f"nothing is recorded about {entity}")
    return 0 if events else 1


@verb("log", short_help="List the events of the log, in order.")
@click.option(
    "--after",
    type=click.IntRange(-1, LOG_EVENTS_MAX),
    metavar="SEQ",
    help="Begin behind this event; -1 is the beginning.",
)
@click.option(
    "-n", "--limit", type=click.IntRange(1, LOG_EVENTS_MAX), help="So many: the first behind --after, else the newest."
)
@click.option("--kind", multiple=True, help="Only this kind, or all below it (memory); may be repeated.")
def log(session: Session, *, after: int | None, limit: int | None, kind: tuple[str, ...]) -> int:
    """Lists the events of the agent's own log, in order.

    Without --after and --limit: on a terminal the newest 30, in a pipe and as JSON all of them. In a pipe: event,
    time, kind and a summary, tab separated.

    \b
      antiphon log
      antiphon log --limit 5 --kind memory
      antiphon log --after -1 --json
    """
    with session.agent() as agent:
        person = out.is_terminal() and not session.as_json
        if limit is None and after is None and person:
            limit = SCREENFUL
        events = _chosen(agent, after, limit, kind)
        if session.as_json:
            out.emit_list(described(agent, event) for event in events)
            return 0
        if not person:
            _print_events(events)
            return 0
        listed = list(events)
        if not listed:
            out.say("No such events.")
            return 0
        _show_events(listed)
        if after is None and listed[0].seq > 0 and not kind:
            out.aside(f"{listed[0].seq:,} earlier: antiphon log --after -1")
    return 0


def _chosen(agent: Agent, after: int | None, limit: int | None, kind: tuple[str, ...]) -> Iterable[Event]:
    """From the agent's current log behind `after`; without it from all its logs, those of earlier copies first."""
    reader, now = agent.replica.reader, current(agent)
    past = [head for head in agent.replica.heads_of(now.owner) if head.no != now.no and head.size]

    def wanted(events: Iterable[Event]) -> Iterator[Event]:
        if not kind:
            return iter(events)
        return (e for e in events if any(e.kind == name or e.kind.startswith(f"{name}.") for name in kind))

    if after is not None:
        return islice(wanted(reader.events(now, after + 1)), limit)
    if limit is not None and not kind and now.size >= limit:
        return deque(reader.events(now, now.size - limit))
    everything = wanted(event for head in (*past, now) for event in reader.events(head))
    return everything if limit is None else deque(everything, maxlen=limit)


def _print_events(events: Iterable[Event]) -> None:
    from antiphon.model.text import event_text
    from antiphon.model.times import iso

    for event in events:
        place, time = event_text(event.log, event.seq), iso(event.header.hlc >> 16)
        print(f"{place}\t{time}\t{event.kind}\t{out.one_line(summary(event), most=200)}")


def _show_events(events: list[Event]) -> None:
    from antiphon.model.text import event_text
    from antiphon.model.times import iso

    rows: list[list[str | Text]] = []
    for event in events:
        when = event.header.hlc >> 16 if event.header.occurred is None else event.header.occurred
        said = out.styled(out.one_line(summary(event), most=300))
        place = str(event.seq) if event.log == events[-1].log else event_text(event.log, event.seq)
        number, time = out.styled((place, "cyan")), out.styled((out.short_time(iso(when)), "dim"))
        rows.append([number, time, event.kind, said])
    out.table(("", "when", "kind", ""), rows, right=(0,))


def summary(event: Event) -> str:
    """What an event says, in a few words."""
    import msgspec

    from antiphon.log import kinds

    if event.kind in kinds.STATEMENT_KINDS or event.body is None:
        return ""
    body = event.plain()
    if isinstance(body, str):
        return f"{len(event.body):,} bytes" if body == event.body.hex() else body
    if not isinstance(body, dict):
        return msgspec.json.encode(body).decode()
    for name in ("text", "response", "prompt", "to_tone", "label", "reason"):
        if isinstance(body.get(name), str):
            return str(body[name])
    return msgspec.json.encode(body).decode()
