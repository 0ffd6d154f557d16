"""Room `cli` (imports everything): `engines`: who follows an agent's file, how far behind, and whether rows agree."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import click

from antiphon.cli import show as out
from antiphon.cli.follow import key_text
from antiphon.cli.session import Session, verb
from antiphon.model import errors
from antiphon.model.text import counted

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.replica.follow import Standing

SHOWN_MAX = 20
_ASKING = {"check": "comparing the rows of", "retry": "delivering again what was refused by"}
"""What takes a while."""
ACTIONS = ("list", "add", "feed", "check", "reads", "presence", "letters", "retry", "remove")


@verb("engines", short_help="See who follows this agent, how far behind, and what was refused.")
@click.argument("action", type=click.Choice(ACTIONS), default="list")
@click.argument("name", required=False)
@click.argument("url", required=False)
@click.option("--once", is_flag=True, help="feed, presence: do what there is to do, and end.")
@click.option("--take-over", is_flag=True, help="feed: from whichever file fed that engine; its rows go there.")
@click.option("--sink", metavar="MODULE:FUNCTION", help="What makes an engine of your own: check and retry call it.")
def engines(
    session: Session, *, action: str, name: str | None, url: str | None, once: bool, take_over: bool, sink: str | None
) -> int:
    """Lists the engines that follow an agent's file: what each does, events and seconds behind, rows it refused, the
    last error. `add` names one in antiphon.toml, `feed` keeps one (or all that are named) in step until interrupted;
    `check` compares an engine with the file, row by row (exit code 1 when they differ); `letters` lists what it
    refused, `retry` delivers that again, `remove` forgets a follower and takes it out of antiphon.toml. `reads` shows
    what readers found in the process, the file, the cache and the store, as the cache has counted it; `presence`
    records for the agent what heartbeats came to, one event an agent and hour, until interrupted.

    Engines of your own are attached in Python, by `agent.follow(sink, name=…)`; `check` and `retry` reach one by a
    function that takes nothing and returns the sink. `check` only reads; `feed` and `retry` take an engine over from
    whoever feeds it.

    \b
      antiphon engines add store 'postgresql://fleet:${PGPASSWORD}@db.internal/fleet'
      antiphon engines feed
      antiphon engines check store
      antiphon engines letters store --json
    """
    if action == "add":
        return _add(session, name, url)
    if action == "reads":
        from antiphon.cli.reads import show_reads

        return show_reads(session, _named(action, name))
    if action == "feed":
        from antiphon.cli.feeding import feed

        return feed(session, name, once=once, take_over=take_over)
    if action in _ASKING:
        out.begun(f"{_ASKING[action]} {_named(action, name)}")
    with session.agent() as agent:
        standing = {one.name: one for one in agent.followers()}
        if action == "list":
            return _list(session, list(standing.values()), _unfed(session, standing))
        name = _named(action, name)
        if action == "presence":
            from antiphon.cli.presence import keep_presence

            return keep_presence(session, agent, name, once=once)
        if action == "remove":
            return _remove(session, agent, name, standing)
        if name not in standing:
            raise errors.InvalidInput(_unknown(session, agent, name, standing))
        if action == "letters":
            return _letters(session, agent, name)
        act = _check if action == "check" else _retry
        if sink is not None:
            return act(session, agent, standing[name], _made(sink))
        with contextlib.closing(_attached(session, agent, name)) as engine:
            return act(session, agent, standing[name], engine)


def _named(action: str, name: str | None) -> str:
    if name is None:
        raise click.UsageError(f"which one? `antiphon engines {action} NAME`")
    return name


def _add(session: Session, name: str | None, url: str | None) -> int:
    from antiphon.cli.attached import attach
    from antiphon.engines.urls import shown

    if name is None or url is None:
        raise click.UsageError("`antiphon engines add NAME URL`")
    file = attach(session.place(), name, url)
    if session.as_json:
        out.emit({"name": name, "url": shown(url), "file": str(file)})
        return 0
    out.say(f"{name} is {shown(url)}, as {file} says; `antiphon engines feed {name}` begins", state="ok")
    return 0


def _remove(session: Session, agent: Agent, name: str, standing: Collection[str]) -> int:
    """Forgets a follower, and takes its engine out of the home's file: of the two, those that there are."""
    from antiphon.cli.attached import detach, named_in

    is_named = name in named_in(session.place())
    if name not in standing and not is_named:
        raise errors.InvalidInput(_unknown(session, agent, name, standing))
    file = detach(session.place(), name) if is_named else None
    if name in standing:
        agent.unfollow(name)
    if session.as_json:
        out.emit({"name": name, "forgotten": name in standing, "file": None if file is None else str(file)})
        return 0
    out.say(f"{name} is forgotten; what its engine has stays there" if name in standing else f"{name} was not fed yet",
            state="ok")  # fmt: skip
    if file is not None:
        out.say(f"{file} does not name it any more", state="ok")
    return 0


def _unknown(session: Session, agent: Agent, name: str, standing: Collection[str]) -> str:
    """Why there is nothing of an engine of this name, and what to do."""
    unfed = _unfed(session, standing)
    if name in unfed:
        return f"{name} is named and not fed yet: `antiphon engines feed {name}`"
    known = ", ".join([*standing, *(f"{one} (not fed yet)" for one in unfed)]) or "none"
    return f"nobody named {name!r:.80} follows {agent.name}; known: {known}"


def _attached(session: Session, agent: Agent, name: str) -> Any:
    from antiphon.cli.attached import engine_named, named_in
    from antiphon.engines.urls import sealed_engine_at

    if name not in named_in(session.place()):
        raise errors.InvalidInput(
            f"{name} was attached in Python: antiphon.toml does not name it; `--sink MODULE:FUNCTION` reaches it"
        )
    return sealed_engine_at(engine_named(session.place(), name), agent.replica.keys, agent.replica.entropy)


def _unfed(session: Session, standing: Collection[str]) -> list[str]:
    """The engines that the home names and nobody has fed yet from this agent's file."""
    from antiphon.cli.attached import named_in

    return [name for name in named_in(session.place()) if name not in standing]


def _list(session: Session, found: list[Standing], unfed: list[str]) -> int:
    import msgspec

    from antiphon.cli.attached import is_open
    from antiphon.engines.configured import FILE
    from antiphon.world.clock import SystemClock

    if is_open(session.place()):
        out.aside(f"others may read {session.place() / FILE}, and it holds a password: chmod 600, or ${{NAME}} in it")
    for name in unfed:
        out.aside(f"{name} is named and not fed yet: `antiphon engines feed {name}`")
    if session.as_json:
        out.emit_list({**msgspec.structs.asdict(one), "well": _is_well(one)} for one in found)
        return 0
    if not found and unfed:
        return 0
    if not found:
        out.aside(
            "nobody follows: `antiphon engines add NAME URL` names an engine, `agent.follow(sink, name=…)` attaches one"
        )
        return 0
    now = SystemClock().now_ms()
    rows = [
        [
            one.name, one.engine, one.state, f"{one.behind:,}", f"{one.behind_seconds:,.1f}", f"{one.letters:,}",
            "" if _is_well(one) else _error_of(one, now),
        ]
        for one in found
    ]  # fmt: skip
    if out.is_terminal():
        titles = ("name", "engine", "state", "behind", "seconds", "refused", "last error")
        out.table(titles, rows, right=(3, 4, 5), wrap=True)
        return 0
    for row in rows:
        print("\t".join(row))
    return 0


def _is_well(one: Standing) -> bool:
    """Whether nothing has to be done: what went wrong last, if something did, is over."""
    return one.state in ("new", "bootstrapping", "following") and not one.letters


def _error_of(one: Standing, now_ms: int) -> str:
    """What went wrong last, and how long ago."""
    if not one.error:
        return ""
    return f"{out.one_line(one.error)} ({out.ago(max(0, now_ms - one.error_ms))})"


def _letters(session: Session, agent: Agent, name: str) -> int:
    from antiphon.engines.sqlite.followers import SqliteFollowers
    from antiphon.model import limits

    found = SqliteFollowers(agent.replica.file).letters(name, limit=limits.LETTERS_MAX)
    listed = [{"table": table, "key": _key(agent, table, key), "reason": reason} for table, key, reason in found]
    if session.as_json:
        out.emit_list(listed)
    else:
        for one in listed:
            print(out.clean("\t".join(one.values())))
    return 0


def _key(agent: Agent, table: str, key: bytes) -> str:
    """A row's key in words; of a topic, the event's id."""
    from antiphon.model.text import event_text

    declared = agent.replica.registry.tables.get(table)
    if declared is not None:
        return key_text(declared, key)
    return event_text(key[:32], int.from_bytes(key[32:], "big")) if len(key) == 40 else key.hex()


def _made(sink: str) -> Any:
    module, _, function = sink.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module beside where this is run, as with `python -m`
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, ValueError) as error:
        raise errors.InvalidInput(f"--sink {sink} names nothing that can be called: {error}") from None


def _check(session: Session, agent: Agent, one: Standing, engine: Any) -> int:
    from antiphon.replica.feed import Feed
    from antiphon.replica.follow import check_rows

    if not one.tables:
        raise errors.InvalidInput(f"{one.name} follows events, of which an engine keeps no rows to compare")
    tables = [agent.replica.registry.table(name) for name in one.tables]
    with out.progress(f"comparing the rows of {one.name}") as advance:
        found = check_rows(Feed(agent.replica, tables), engine, tables, advance)
    listed = [
        {"table": d.table, "key": _key(agent, d.table, d.key), "how": d.how, "columns": list(d.columns)} for d in found
    ]
    if session.as_json:
        out.emit({"ok": not found, "behind": one.behind, "differences": listed})
    elif not found:
        out.say(f"{one.name} has the rows of {counted(len(tables), 'table')} as they are here", state="ok")
    else:
        for difference in listed[:SHOWN_MAX]:
            said = [difference["table"], difference["key"], difference["how"], ", ".join(difference["columns"])]
            print(out.clean("\t".join(map(str, said))).rstrip())
        late = f"; {counted(one.behind, 'event')} not delivered yet" if one.behind else ""
        out.aside(f"{counted(len(found), 'row')} of {one.name} differ{'s' if len(found) == 1 else ''}{late}")
    return 1 if found else 0


def _retry(session: Session, agent: Agent, one: Standing, engine: Any) -> int:
    from antiphon.cli.feeding import check_writable

    check_writable(agent)
    if one.topics:
        left = agent.follow_events(engine, name=one.name, topics=one.topics).drive_again()
    else:
        left = agent.follow(engine, name=one.name, tables=one.tables).drive_again()
    if session.as_json:
        out.emit({"refused": left})
    else:
        out.say(f"{counted(left, 'row')} of {one.name} still refused", state="note" if left else "ok")
    return 1 if left else 0
