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
from antiphon.model.text import counted

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
    from antiphon.model.event import Role

    with session.agent() as agent:
        found = agent.event(event_id(agent, event))
        shown = described(agent, found)
        head = agent.replica.head(found.log)
        leaf, size = agent.replica.reader.leaf(head, found.seq), counted(head.size, "event")
        if session.as_json:
            out.emit(
                {**shown, "author": _author(agent, head.no), "seq": found.seq, "size": head.size, "leaf": leaf.hex()}
            )
            return 0
        body = shown.pop("body")
        roles = {int(role): role.name.lower() for role in Role}
        refs = [f"{roles.get(ref['role'], ref['role'])} {ref['event']}" for ref in shown.pop("refs")]
        out.fields(
            [
                ("event", shown["event"]),
                ("place", f"number {found.seq:,} in the log of {_author(agent, head.no)}, which has {size}"),
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

    replica = agent.replica
    rows = [replica.tables.row(PEOPLE, person) for person in event.header.about or ()]
    named = [replica.reader.event(replica.head_no(row.log), row.seq) for row in rows if row is not None]
    return {**as_json(event), "about_names": [str(name.decoded()["label"]) for name in named]}


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
@click.option("--all", "everything", is_flag=True, help="Housekeeping too: keys, clocks, secrets of the log's own.")
def log(session: Session, *, after: int | None, limit: int | None, kind: tuple[str, ...], everything: bool) -> int:
    """Lists the events of the agent's own log, in order.

    Without --after and --limit: on a terminal the newest 30, in a pipe and as JSON all of them. In a pipe: event,
    time, kind and a summary, tab separated. Events that only keep the log going are left out, in JSON too, unless
    --all or a --kind asks for them; what was forgotten leaves a gap in the numbers.

    \b
      antiphon log
      antiphon log --limit 5 --kind memory
      antiphon log --after -1 --all --json
    """
    with session.agent() as agent:
        person = out.is_terminal() and not session.as_json
        if limit is None and after is None and person:
            limit = SCREENFUL
        chosen = _Chosen(agent, kind, everything=everything)
        events = chosen.behind(after, limit) if after is not None else chosen.newest(limit)
        if session.as_json:
            out.emit_list(described(agent, event) for event in events)
            return 0
        if not person:
            _print_events(events)
            return 0
        listed = list(events)
        if listed:
            _show_events(listed)
        else:
            out.say("No such events.")
        if chosen.earlier and not kind:
            out.aside("There are earlier ones: antiphon log --after -1")
        if chosen.hidden:
            out.aside(f"{counted(chosen.hidden, 'housekeeping event')} not shown: antiphon log --all")
    return 0


class _Chosen:
    """Which events of an agent `log` lists. `hidden` counts those passed over as housekeeping, among the listed ones;
    `earlier` says that more stand before them.
    """

    def __init__(self, agent: Agent, kinds: tuple[str, ...], *, everything: bool) -> None:
        from antiphon.domains.items.declare import SECRET_MADE
        from antiphon.log.kinds import CLOCK_RESET, STATEMENT_KINDS

        self._reader, self._now = agent.replica.reader, current(agent)
        self._past = [head for head in agent.replica.heads_of(self._now.owner) if head.no != self._now.no and head.size]
        self._kinds = kinds
        self._left_out = frozenset() if everything or kinds else STATEMENT_KINDS | {CLOCK_RESET, SECRET_MADE}
        self.hidden = 0
        self.earlier = False

    def behind(self, after: int, limit: int | None) -> Iterator[Event]:
        """The first ones of the agent's current log behind `after`."""
        return islice(self._wanted(self._reader.events(self._now, after + 1)), limit)

    def newest(self, limit: int | None) -> Iterable[Event]:
        """The newest of all its logs, those of earlier copies first. *Cost*: a filter by kind reads every event."""
        everything = (event for head in (*self._past, self._now) for event in self._reader.events(head))
        if limit is None:
            return self._wanted(everything)
        size, window = self._now.size, 2 * limit
        while not self._kinds and window < size:
            found = self._last(self._reader.events(self._now, size - window), limit)
            if len(found) == limit:
                self.earlier = True
                return found
            window *= 4
        return self._last(everything, limit)

    def _last(self, events: Iterable[Event], limit: int) -> list[Event]:
        shown: deque[tuple[int, Event]] = deque(maxlen=limit + 1)
        passed: list[int] = []
        for at, event in enumerate(events):
            if event.kind in self._left_out:
                passed.append(at)
            elif self._fits(event):
                shown.append((at, event))
        self.earlier = len(shown) > limit
        if self.earlier:
            shown.popleft()
        self.hidden = sum(at > shown[0][0] for at in passed) if self.earlier else len(passed)
        return [event for _, event in shown]

    def _wanted(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            if event.kind in self._left_out:
                self.hidden += 1
            elif self._fits(event):
                yield event

    def _fits(self, event: Event) -> bool:
        return not self._kinds or any(event.kind == kind or event.kind.startswith(f"{kind}.") for kind in self._kinds)


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
        return counted(len(event.body), "byte") if body == event.body.hex() else body
    if not isinstance(body, dict):
        return msgspec.json.encode(body).decode()
    for name in ("text", "response", "prompt", "to_tone", "label", "reason"):
        if isinstance(body.get(name), str):
            return str(body[name])
    return msgspec.json.encode(body).decode()
