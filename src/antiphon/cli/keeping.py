"""Room `cli` (imports everything): `export` and `stats`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, verb
from antiphon.model import errors
from antiphon.model.text import counted

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.replica.archive import Damaged

NOT_NOTED: Final = "The agent's file could only be read: `antiphon forget` will not name this copy. Note where it is."


@verb("export", short_help="Write all events as JSON lines, or with their proofs.")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--good", is_flag=True, help="Of a damaged log, write what still verifies.")
def export(session: Session, *, path: Path, good: bool) -> int:
    """Writes all events of the agent: as plain JSON lines, or, to a PATH that ends in .archive, with everything needed
    to verify them elsewhere. Neither is encrypted. `-` prints JSON lines.

    \b
      antiphon export ada.jsonl
      antiphon export ada.archive
      antiphon verify ada.archive
    """
    if good and path.suffix == ".archive":
        raise errors.InvalidInput("an archive holds whole logs: with --good, write JSON lines (a PATH like ada.jsonl)")
    damage: list[Damaged] = []
    with session.agent(salvage=good) as agent:
        if str(path) == "-":
            return _print_events(agent)
        there = path.exists()
        try:
            with out.progress(f"writing {path.name}"):
                count = agent.export(path, damage=damage if good else None)
        except BaseException:
            if not there:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
        noted = not agent.replica.file.read_only
    size = path.stat().st_size
    if session.as_json:
        import msgspec

        out.emit(
            {
                "file": str(path),
                "events": count,
                "bytes": size,
                "noted": noted,
                "damage": [msgspec.structs.asdict(item) for item in damage],
            }
        )
        return 0
    out.say(f"{path}: {counted(count, 'event')}, {out.size(size)}", state="note" if damage else "ok")
    for item in damage:
        out.aside(f"left out: events {item.first:,} to {item.last:,} of {item.log}: {item.reason}")
    if not noted:
        out.aside(NOT_NOTED)
    if out.is_terminal():
        out.aside("It is not encrypted: keep it where only you can read it.")
    return 0


def _print_events(agent: Agent) -> int:
    import msgspec

    from antiphon.replica.archive import as_json
    from antiphon.replica.forget import STANDARD_OUTPUT, note_copy

    for head in agent.replica.heads_of(agent.record_of_agent.agent):
        for event in agent.replica.reader.events(head):
            print(msgspec.json.encode(as_json(event)).decode())
    sys.stdout.flush()
    if not note_copy(agent.replica, STANDARD_OUTPUT, "export"):
        out.aside(NOT_NOTED)
    return 0


def _held(one: dict[str, Any]) -> str:
    when = "destroyed once its log is certified" if one["until"] is None else f"destroyed on {one['until']}"
    return f"{counted(one['events'], 'event')} erased by {one['erased_by']}, hidden here; {when}"


@verb("stats", short_help="Show sizes and counts.")
def stats(session: Session) -> int:
    """Shows sizes and counts: events, rows, bytes, and what is pending.

    \b
      antiphon stats
      antiphon stats --json | jq .events
    """
    with session.agent() as agent:
        found = {"agent": agent.name, "id": agent.id, "principal": agent.principal, **agent.stats()}
    if session.as_json:
        out.emit(found)
        return 0
    if out.is_terminal():
        out.say(f"{found['agent']}: {counted(found['events'], 'event')}, {out.size(found['file_bytes'])} on disk")
        print()
    tables = [(name.replace("_", " "), f"{count:,}") for name, count in found["tables"].items()]
    out.fields(
        [
            ("events", f"{found['events']:,}"),
            *tables,
            ("file", f"{found['path']} ({out.size(found['file_bytes'])})"),
            ("write-ahead log", out.size(found["wal_bytes"])),
            *[("log", f"{item['log']}  {counted(item['size'], 'event')}, {item['role']}") for item in found["logs"]],
            ("waiting for full text", f"{found['fulltext_backlog']:,}" if found["fulltext_backlog"] else None),
            ("scrub", "pending: `antiphon doctor` clears it" if found["scrub_pending"] else None),
            *[("held", _held(one)) for one in found["held_erasures"]],
            ("clock", "ahead of this machine's: `antiphon doctor` says more" if found["clock_suspect"] else None),
            ("agent", found["id"]),
            ("principal", found["principal"]),
        ]
    )
    return 0
