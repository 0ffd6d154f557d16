"""Room `cli` (imports everything): `doctor`, `mcp`, `demo`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, verb
from antiphon.model import errors
from antiphon.model.text import counted

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.log.store import LogHead
    from antiphon.ops.doctor import Finding

_ANY_SIZE: Final = 1 << 62


@verb("doctor", short_help="Look for what is wrong, and say what to do.")
@click.option("--quick", is_flag=True, help="Do not fold every event again to compare the tables.")
def doctor(session: Session, *, quick: bool) -> int:
    """Looks for what is wrong with a home and its agents (one agent with -a), and says what to do about it. Exit code
    1 when something is. Every byte is hashed and every event folded again, about a minute for a million events;
    --quick leaves out the folding, which takes the most of it.

    \b
      antiphon doctor
      antiphon doctor --quick
      antiphon -a ada doctor --json
    """
    from antiphon.ops.doctor import State, check_folder

    out.begun(f"looking through {session.place()}")
    home = session.home()
    home.close()
    found: list[tuple[str, Finding]] = [("", finding) for finding in check_folder(home.folder)]
    names = [session.agent_name] if session.agent_name is not None else home.names() or [""]
    for name in names:
        session.agent_name = name or None
        found += [(name, finding) for finding in _check_agent(session, quick=quick)]
    wrong = any(finding.state == State.WRONG for _, finding in found)
    if session.as_json:
        listed = [{"agent": name or None, **_plain(finding)} for name, finding in found]
        out.emit({"ok": not wrong, "findings": listed})
    else:
        _show_findings(found)
    return 1 if wrong else 0


def _plain(finding: Finding) -> dict[str, str]:
    import msgspec

    return {name: str(value) for name, value in msgspec.structs.asdict(finding).items()}


def _check_agent(session: Session, *, quick: bool) -> list[Finding]:
    from antiphon.ops.doctor import Finding, State

    found: list[Finding] = []
    try:
        with session.agent(salvage=True) as agent:
            for finding in _findings(agent, quick=quick):
                found.append(finding)  # noqa: PERF402  # what was found stands when a later check cannot be made
    except errors.AntiphonError as error:
        found.append(Finding("file", State.WRONG, str(error), ""))
    return found


def _findings(agent: Agent, *, quick: bool) -> Iterator[Finding]:
    from antiphon.model import limits
    from antiphon.ops import doctor as ops
    from antiphon.replica.states import held_erasures

    replica = agent.replica
    if replica.file.read_only:
        yield ops.Finding("file", ops.State.WRONG, f"{replica.file.path} could only be opened read only")
    with out.progress(f"looking at the pages of {agent.name}"):
        yield ops.check_pages(replica.file)
    yield from _check_logs(agent)
    yield _check_feed(agent)
    if quick:
        yield ops.Finding("views", ops.State.NOTE, "not folded again: --quick")
    else:
        yield from _check_views(agent)
    if not replica.file.read_only:
        replica.destroy_due()
    yield ops.check_held((held.events, held.until) for held in held_erasures(replica))
    if not replica.file.read_only:
        yield from ops.check_fulltext(replica.file, replica.registry.tables.values(), replica.transaction)
        yield ops.check_scrub(lambda: replica.scrub_if_pending(file_bytes_max=_ANY_SIZE))
    yield ops.check_clock(agent.stats()["clock_ahead_ms"], limits.CLOCK_AHEAD_MS_MAX)
    yield _check_mark(agent)
    yield _check_standing(agent)


def _events(agent: Agent) -> int:
    from antiphon.log.store import LogRole

    return sum(head.size for head in agent.replica.heads() if head.role != LogRole.FOREIGN)


def _check_feed(agent: Agent) -> Finding:
    from antiphon.ops.doctor import check_feed

    replica = agent.replica
    again = False

    def begin_again() -> None:
        nonlocal again
        again = True

    with replica.file.snapshot():
        found = check_feed(replica.file, replica.fed_events(), begin_again)
    if again:
        with replica.transaction():
            replica.begin_feed()
    return found


def _check_views(agent: Agent) -> Iterator[Finding]:
    from antiphon.ops.refold import check_views

    replica = agent.replica
    label = f"folding the events of {agent.name} again"
    with out.progress(label, 2 * _events(agent)) as advance, replica.file.snapshot():
        yield from check_views(
            replica.registry, replica.tables, replica.mentions, replica.reader, replica.folded_heads(), replica.views,
            domains=replica.views.live, progress=advance,
        )  # fmt: skip


def _check_logs(agent: Agent) -> Iterator[Finding]:
    heads = agent.replica.heads()
    with out.progress(f"verifying the logs of {agent.name}", sum(head.size for head in heads)) as advance:
        yield from _verified(agent, heads, advance)


def _verified(agent: Agent, heads: list[LogHead], advance: Callable[[int], None]) -> Iterator[Finding]:
    from antiphon.ops.doctor import Finding, State, ok
    from antiphon.replica.prove import verify_log_of

    count = events = 0
    for head in heads:
        mine = head.owner == agent.record_of_agent.agent
        home = agent.record_of_agent.principal_log if mine else None
        verdict = verify_log_of(agent.replica, head, principal_log=home, progress=advance)
        if not verdict.ok:
            where = verdict.first_bad
            place = "" if where is None else f" (events {where[0]:,} to {where[1] - 1:,})"
            advice = "save the rest with `antiphon export PATH --good`, then restore a backup"
            yield Finding("log", State.WRONG, f"{verdict.reason}{place}", advice)
            return
        count, events = count + 1, events + verdict.size
    yield ok("log", f"{counted(count, 'log')}, {counted(events, 'event')}, every byte hashed again")


def _check_mark(agent: Agent) -> Finding:
    from antiphon.ops.doctor import Finding, State, ok

    mark = agent.replica.mark()
    if mark is None:
        advice = "let ANTIPHON_STATE name a folder that can be written: without a mark every open begins a new log"
        return Finding("mark", State.NOTE, "none is kept of this file outside its home", advice)
    return ok("mark", f"kept outside the home, at {counted(mark.events, 'event')}")


def _check_standing(agent: Agent) -> Finding:
    from antiphon.log.store import LogRole
    from antiphon.ops.doctor import Finding, State, ok
    from antiphon.replica.enrol import standing_in

    record = agent.record_of_agent
    heads = [head for head in agent.replica.heads() if head.owner == record.agent]
    own = [head for head in heads if head.role == LogRole.OWN]
    if not own:
        detail = "this file is a copy or a restored backup: its next write begins a log of its own"
        return Finding("instance", State.NOTE, detail)
    standing = standing_in(agent.replica, record.principal_log)
    if own[-1].id in standing.cut:
        detail = f"revoked past event {standing.cut[own[-1].id]:,}"
        return Finding("instance", State.WRONG, detail, "what it writes counts nowhere: make another agent")
    if own[-1].id not in standing.logs:
        detail = "provisional: a copy that its principal has not certified yet"
        return Finding(
            "instance", State.NOTE, detail, "the original's home certifies it; is that gone for good? `antiphon adopt`"
        )
    past = len(heads) - len(own)
    return ok("instance", "certified" + (f"; {counted(past, 'earlier log')} kept" if past else ""))


def _show_findings(found: list[tuple[str, Finding]]) -> None:
    if not out.is_terminal():
        for name, finding in found:
            line = "\t".join([finding.state, name, finding.what, finding.detail, finding.advice])
            print(out.clean(line).replace("\n", " "))
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    last = ""
    for name, finding in found:
        if name != last:
            grid.add_row("", "", "")
            grid.add_row("", Text(name, style="bold"), "")
            last = name
        sign, colour = out.mark(finding.state)
        grid.add_row(
            Text(sign, style=colour),
            finding.what,
            Text(out.clean(finding.detail), style="dim" if colour == "green" else ""),
        )
        if finding.advice:
            grid.add_row("", "", Text(f"→ {out.clean(finding.advice)}", style=colour))
    out.console().print(grid)


def _need(module: str, extra: str, what: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise errors.Unavailable(f"{what} is not installed: pip install 'antiphon[{extra}]'")


@verb("mcp", short_help="Serve an agent's memory to MCP clients, over stdio.")
def mcp(session: Session) -> int:
    """Serves the agent's memory to MCP clients over standard input and output: remember, recall, history, prove.

    A client can only ask for something to be forgotten; you decide with `antiphon forget --requests`.

    \b
      antiphon -a ada mcp
    """
    _need("mcp", "mcp", "the MCP server")
    from antiphon.serve.mcp import serve

    with session.agent(writes=True, background=True) as agent:
        serve(agent)
    return 0


@verb("demo", short_help="See it all on 258,145 real chat messages.")
@click.option("--keep", is_flag=True, help="Keep the files, and say where.")
@click.option("--page", type=click.Path(path_type=Path, dir_okay=False), help="Write the page for a browser too.")
def demo(session: Session, *, keep: bool, page: Path | None) -> int:
    """Remembers 258,145 real chat messages of 1,315 people; says who meets, trusts and agrees with whom; finds, proves,
    damages and forgets some of them.

    \b
      antiphon demo
      antiphon demo --page demo.html
      antiphon demo --keep
    """
    _need("chitchat_dataset", "demo", "the demo's chat corpus")
    from antiphon.demo import run

    run(keep=keep, html=page)
    return 0
