"""Room `cli` (imports everything): `views` and `rejections`: how the tables stand, and what did not count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, verb
from antiphon.model.text import counted, entity_text, event_text, id_text

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.agent.listing import Listed

REJECTIONS_MAX: Final = 1_000_000
"""So many are looked through for those that the agent may read."""


@verb("views", short_help="Show which version the tables are of, and what is behind.")
@click.option("--finish", is_flag=True, help="First fold whatever is behind, however long it takes.")
def views(session: Session, *, finish: bool) -> int:
    """Shows, for each domain, whether its tables are of this version, how far a new version is built, how many events
    are not in the rows yet, and rows and bytes of each table. Exit code 1 when something is behind.

    \b
      antiphon views
      antiphon views --finish
      antiphon views --json | jq '.[] | {domain, state, behind}'
    """
    import msgspec

    from antiphon.replica.states import held_erasures, view_states

    with session.agent(writes=finish) as agent:
        if finish:
            _finish(agent)
        states = view_states(agent.replica)
        held = sum(one.events for one in held_erasures(agent.replica))
    code = 0 if all(state.behind == 0 for state in states) else 1
    if session.as_json:
        out.emit([msgspec.structs.asdict(state) | {"tables": [*map(msgspec.structs.asdict, state.tables)]}
                  for state in states])  # fmt: skip
        return code
    rows = []
    for state in states:
        version = "?" if state.version is None else str(state.version)
        said = state.state + (f", {counted(state.behind, 'event')} behind" if state.behind else "")
        rows.append((state.domain, "", version, "", "", said))
        for table in (table for table in state.tables if table.bytes or table.building_bytes):
            more = f"{out.size(table.building_bytes)} being built" if table.building_bytes else ""
            rows.append(("", table.table, table.fingerprint[:8], f"{table.rows:,}", out.size(table.bytes), more))
    if out.is_terminal():
        out.table(("domain", "table", "version", "rows", "bytes", "state"), rows, right=(3, 4))
    else:
        for row in rows:
            print("\t".join(row))
    if held:
        out.aside(f"{counted(held, 'event')} that others have erased are in no row: `antiphon stats` says until when")
    return code


def _finish(agent: Agent) -> None:
    replica = agent.replica
    if replica.file.read_only:
        return
    total = sum(head.size for head in replica.generations.heads()) * max(1, len(replica.generations.all()))
    with out.progress("folding", total) as advance:
        done = 0
        while replica.generations.step():
            folded = sum(building.folded for building in replica.generations.all().values())
            advance(max(0, folded - done))
            done = folded


@verb("rejections", short_help="List writes that did not count: whose event, and which rule.")
@click.option("--table", metavar="NAME", help="Of this table alone.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="How many.")
def rejections(session: Session, *, table: str | None, limit: int) -> int:
    """Lists what events said that does not count: a write by somebody who may not, a body that does not fit, a row that
    lacks what its table requires. The events stay in their logs.

    Rules in brackets are of rows that do count, though together they break what their table declares and no home keeps:
    [unique] values that another row has too, [acyclic] links that lead in a circle.

    \b
      antiphon rejections
      antiphon rejections --table tasks --json
    """
    with session.agent() as agent:
        if table is not None:
            agent.replica.registry.table(table)
        listed = agent.replica.rejections.list(table=table, limit=REJECTIONS_MAX)
        found = [_shown(agent, one) for one in listed if may_read(agent, one[2], one[3])]
        found = [*found, *_together(agent, table)][:limit]
    if session.as_json:
        out.emit_list(found)
        return 0
    if not found:
        out.say("nothing was refused", state="ok")
        return 0
    columns = ("event", "author", "table", "row", "rule", "detail")
    for one in found:
        said = {name: out.one_line(str(one[name])) for name in columns}
        if out.is_terminal():
            out.say(f"{said['table']}: {said['detail']}")
            out.fields([(name, said[name]) for name in ("row", "rule", "event", "author")])
        else:
            print("\t".join(said.values()))
    return 0


def _together(agent: Agent, table: str | None) -> Iterator[dict[str, Any]]:
    """The rows that break what tables declare of them together, one by one."""
    tables = agent.replica.registry.tables
    asked = [(agent.duplicates, name) for name in (tables if table is None else (table,))]
    asked += [(agent.circles, name) for _, name in asked if table is not None or tables[name].home is None]
    for listed in (one for find, name in asked for one in _found(find, name)):
        first = ", ".join(map(str, listed.rows[0].key.values()))
        for row in listed.rows:
            if listed.rule == "unique":
                same = " and ".join(f"{name} is {value}" for name, value in listed.values.items())
                detail = f"{same} in {counted(listed.count, 'row')}"
            else:
                detail = f"{listed.columns[0]} leads in a circle of {counted(listed.count, 'row')}: that of {first}"
            key = [*row.key.values()] if len(row.key) == 1 else [f"{name}={value}" for name, value in row.key.items()]
            yield {
                "event": row.event, "author": row.author, "table": listed.table, "row": ", ".join(map(str, key)),
                "rule": f"[{listed.rule}]", "detail": detail,
            }  # fmt: skip


def _found(find: Callable[[str], list[Listed]], table: str) -> list[Listed]:
    """What breaks a table's declaration; a table too large to be looked through, or of another version, is said."""
    from antiphon.model.errors import LimitExceeded, Unavailable

    try:
        return find(table)
    except (LimitExceeded, Unavailable) as error:
        out.aside(f"{table} is not looked through: {error}")
        return []


def may_read(agent: Agent, no: int, seq: int) -> bool:
    """What is said of an event quotes it: what another agent of the file keeps private is not for this one."""
    from antiphon.log.store import LogRole
    from antiphon.model.event import Scope

    head = agent.replica.head_no(no)
    if head.role not in (LogRole.OWN, LogRole.PAST) or id_text(head.owner) in (agent.id, agent.principal):
        return True
    header = agent.replica.reader.header(head, seq)
    return header is not None and header.scope == Scope.PUBLIC


def _shown(agent: Agent, one: tuple[str, bytes, int, int, str, str]) -> dict[str, Any]:
    table, key, no, seq, rule, detail = one
    head = agent.replica.head_no(no)
    return {
        "event": event_text(head.id, seq),
        "author": id_text(head.owner),
        "table": table or "(none: the body does not fit)",
        "row": _row_text(agent, table, key) if table else "",
        "rule": rule,
        "detail": detail,
    }


def _row_text(agent: Agent, name: str, key: bytes) -> str:
    from antiphon.model.values import key_values
    from antiphon.query.shown import as_plain

    table = agent.replica.registry.tables.get(name)
    if table is None:
        return key.hex()
    if len(key) == 16 and len(table.key) == 1:
        return entity_text(key)
    values = dict(zip(table.key, key_values(table, key), strict=True))
    return ", ".join(f"{column}={value}" for column, value in as_plain(table, values).items())
