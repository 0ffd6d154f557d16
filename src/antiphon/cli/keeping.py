"""Room `cli` (imports everything): `export` and `stats`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, verb
from antiphon.model import errors

if TYPE_CHECKING:
    from antiphon.agent import Agent


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
    damage: list[dict[str, Any]] = []
    with session.agent(salvage=good) as agent:
        if str(path) == "-":
            return _print_events(agent)
        there = path.exists()
        try:
            with out.progress(f"writing {path.name}"):
                count = _export_good(agent, path, damage) if good else agent.export(path)
        except BaseException:
            if not there:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise
    with contextlib.suppress(OSError):
        path.chmod(0o600)
    size = path.stat().st_size
    if session.as_json:
        out.emit({"file": str(path), "events": count, "bytes": size, "damage": damage})
        return 0
    out.say(f"{path}: {count:,} events, {out.size(size)}", state="note" if damage else "ok")
    for item in damage:
        out.aside(f"left out: events {item['first']:,} to {item['last']:,} of {item['log']}: {item['reason']}")
    if out.is_terminal():
        out.aside("It is not encrypted: keep it where only you can read it.")
    return 0


def _export_good(agent: Agent, path: Path, damage: list[dict[str, Any]]) -> int:
    """Writes the events of every block that still hashes to the root it had when it was written; how many."""
    import msgspec

    from antiphon.engines.sqlite.file import translated
    from antiphon.log.store import LogRole
    from antiphon.log.tree import root_of
    from antiphon.model.limits import BLOCK_LEAVES
    from antiphon.model.text import id_text
    from antiphon.replica.archive import as_json

    replica, count = agent.replica, 0
    with path.open("xb") as file:
        for head in replica.heads_of(agent.record_of_agent.agent):
            if head.role == LogRole.FOREIGN:
                continue
            for first in range(0, head.size, BLOCK_LEAVES):
                last = min(first + BLOCK_LEAVES, head.size)
                try:
                    with translated(replica.file.path):
                        block = replica.logs.block(head.no, first)
                        hashes = replica.reader.hashes(head, first)
                        if block is None or (block.root and root_of(hashes) != block.root):
                            raise errors.Corrupt("its events do not hash to the root stored when they were written")
                        lines = [msgspec.json.encode(as_json(e)) for e in replica.reader.events(head, first, last)]
                except errors.AntiphonError as error:
                    where = {"log": id_text(head.id), "first": first, "last": last - 1}
                    damage.append({**where, "reason": str(error)})
                    continue
                file.write(b"".join(line + b"\n" for line in lines))
                count += len(lines)
    return count


def _print_events(agent: Agent) -> int:
    import msgspec

    from antiphon.replica.archive import as_json
    from antiphon.replica.forget import note_copy

    for head in agent.replica.heads_of(agent.record_of_agent.agent):
        for event in agent.replica.reader.events(head):
            print(msgspec.json.encode(as_json(event)).decode())
    sys.stdout.flush()
    if not agent.replica.file.read_only:
        note_copy(agent.replica, "standard output", "export")
    return 0


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
        out.say(f"{found['agent']}: {found['events']:,} events, {out.size(found['file_bytes'])} on disk")
        print()
    tables = [(name.replace("_", " "), f"{count:,}") for name, count in found["tables"].items()]
    out.fields(
        [
            ("events", f"{found['events']:,}"),
            *tables,
            ("file", f"{found['path']} ({out.size(found['file_bytes'])})"),
            ("write-ahead log", out.size(found["wal_bytes"])),
            *[("log", f"{item['log']}  {item['size']:,} events, {item['role']}") for item in found["logs"]],
            ("waiting for full text", f"{found['fulltext_backlog']:,}" if found["fulltext_backlog"] else None),
            ("scrub", "pending: `antiphon doctor` clears it" if found["scrub_pending"] else None),
            ("clock", "ahead of this machine's: `antiphon doctor` says more" if found["clock_suspect"] else None),
            ("agent", found["id"]),
            ("principal", found["principal"]),
        ]
    )
    return 0
