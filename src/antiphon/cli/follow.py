"""Room `cli` (imports everything): `follow`: the rows of a table as they change, in this or any other process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, verb

if TYPE_CHECKING:
    from antiphon.model.table import Table
    from antiphon.views.feed import Change

INTERRUPTED: Final = 130
VALUE_MAX: Final = 60
"""So many characters of a value are shown on a terminal."""


@verb("follow", short_help="Watch the rows of a table change, live.")
@click.argument("table")
@click.option(
    "--from",
    "start",
    type=click.Choice(["now", "start"]),
    default="now",
    show_default=True,
    help="Only what changes from now on, or first the rows that there are.",
)
def follow(session: Session, *, table: str, start: str) -> int:
    """Prints each row of a table that the agent may read when it comes or changes, whichever process wrote it, until
    interrupted. A row may be printed again; one that is gone has no columns. In a pipe: `set` or `gone`, the key, the
    columns as JSON.

    \b
      antiphon follow memories
      antiphon follow memories --from start --json | jq .row.content
    """
    from antiphon.model.values import key_values
    from antiphon.replica.feed import Feed, Tail, Watch
    from antiphon.world.clock import sleep_ms

    with session.agent() as agent:
        readable = agent.table(table)
        declared = readable.table
        tail = Tail(Feed(agent.replica, [declared]), declared, from_start=start == "start")
        watch = Watch(agent.replica.file, agent.replica.clock)
        if out.is_terminal() and not session.as_json:
            out.aside(f"following {table} of {agent.name}; ^C ends it")
        try:
            while True:
                if watch.changed() or tail.more:
                    for change in tail.read():
                        if change.row is not None and readable.get(*key_values(declared, change.key)) is None:
                            continue  # another agent's, or gone since: then that comes next
                        _show(declared, change, as_json=session.as_json)
                    sys.stdout.flush()
                else:
                    sleep_ms(watch.pause_ms)
        except KeyboardInterrupt:
            return INTERRUPTED


def _show(table: Table, change: Change, *, as_json: bool) -> None:
    import msgspec

    from antiphon.query.shown import as_plain, for_people

    key, row = key_text(table, change.key), None if change.row is None else as_plain(table, change.row)
    if as_json:
        said = {"table": table.name, "key": key, "version": change.version, "row": row}
        print(msgspec.json.encode(said).decode())
        return
    if not out.is_terminal():
        shown = "" if row is None else msgspec.json.encode(row).decode()
        print("\t".join(["gone" if row is None else "set", out.one_line(key), shown]))
        return
    if row is None:
        out.console().print(out.styled(("- ", "red"), out.one_line(key)), soft_wrap=True)
        return
    parts: list[str | tuple[str, str]] = [("+ ", "green"), out.one_line(key)]
    for name, value in row.items():
        if value is not None and name not in table.key:
            parts += [("  " + name + " ", "dim"), out.one_line(for_people(table.column(name), value), most=VALUE_MAX)]
    out.console().print(out.styled(*parts), soft_wrap=True)


def key_text(table: Table, key: bytes) -> str:
    """A row's key in words: its one value, or all of them."""
    from antiphon.model.values import key_values
    from antiphon.query.shown import as_plain, as_text

    parts = as_plain(table, dict(zip(table.key, key_values(table, key), strict=True)))
    return ", ".join(as_text(part) for part in parts.values())
