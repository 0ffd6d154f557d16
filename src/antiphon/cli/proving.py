"""Room `cli` (imports everything): `prove`, `checkpoint`, and `verify` for proofs, archives and whole logs."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, current, event_id, verb
from antiphon.model import errors
from antiphon.model.text import counted

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.log.verify import Verdict

_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_NOT_SAID: Final = "not when it was written, nor that no key was revoked since"


@verb("prove", short_help="Write a proof of one event, for anyone to check.")
@click.argument("event")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write ('-': print).")
def prove(session: Session, *, event: str, output: Path | None) -> int:
    """Writes a proof that an event is in the log and who wrote it. Whoever has the file can check it offline, with
    nothing but the principal's id. It holds the event's text: `antiphon forget` names the file when the event goes.

    \b
      antiphon prove 12 -o tea.proof
      antiphon verify tea.proof
    """
    from antiphon.cli.keeping import NOT_NOTED
    from antiphon.replica.forget import STANDARD_OUTPUT, note_copy

    with session.agent() as agent:
        event = event_id(agent, event)
        proof, principal = agent.prove(event), agent.principal
        shown = output is None or str(output) == "-"
        if shown:
            sys.stdout.write(proof.decode())
        elif output is not None:
            write_file(output, proof)
        place = STANDARD_OUTPUT if shown or output is None else str(output.resolve())
        noted = note_copy(agent.replica, place, "proof", event=event)
    if not noted:
        out.aside(NOT_NOTED)
    if shown or output is None:
        return 0
    if session.as_json:
        said = {"file": str(output), "event": event, "principal": principal, "bytes": len(proof), "noted": noted}
        out.emit(said)
    elif out.is_terminal():
        out.say(f"{output} proves event {event.rpartition('/')[2]}.", state="ok")
        out.fields([("check it with", f"antiphon verify {output} --principal {principal}")])
    return 0


@verb("checkpoint", short_help="Print the log's newest signed checkpoint.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The file to write.")
def checkpoint(session: Session, *, output: Path | None) -> int:
    """Prints the newest signed checkpoint of the log. Keep it elsewhere: `verify --since` then finds out when the log
    was set back to an older state.

    \b
      antiphon checkpoint -o monday.checkpoint
      antiphon verify --since monday.checkpoint
    """
    from antiphon.replica.prove import hand_out_checkpoint

    with session.agent() as agent:
        note = hand_out_checkpoint(agent.replica, current(agent).id)
    if output is not None and str(output) != "-":
        write_file(output, note)
    if session.as_json:
        from antiphon.agent import parse_checkpoint
        from antiphon.model.text import id_text

        said = parse_checkpoint(note)
        plain = {"log": id_text(said.log), "size": said.size, "root": said.root.hex(), "note": note.decode()}
        out.emit(plain | {"file": None if output is None else str(output)})
    elif output is None or str(output) == "-":
        sys.stdout.write(note.decode())
    elif out.is_terminal():
        size = int(note.split(b"\n")[1])
        out.say(f"{output} holds the checkpoint of {counted(size, 'event')}.", state="ok")
    return 0


def write_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, for its owner alone."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        fresh.unlink()  # left by a process that was killed, and had this number
    try:
        handle = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


@verb("verify", short_help="Check a proof, an archive or the whole log.")
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--principal", metavar="ID", help="Whose it must be; without it, look at the principal yourself.")
@click.option(
    "--since",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="CHECKPOINT",
    help="A checkpoint seen before, which the log must contain.",
)
def verify(session: Session, *, file: Path | None, principal: str | None, since: Path | None) -> int:
    """Checks a proof or an archive from the file alone; without a FILE, hashes the agent's whole log again.

    Exit code 1 when it does not verify; of a damaged log it names the first bad block. A proof says who wrote what
    and in which order, not when.

    \b
      antiphon verify tea.proof --principal bafk…
      antiphon verify
      antiphon verify --since monday.checkpoint --json
    """
    if file is None:
        return _verify_log(session, principal, since)
    if since is not None:
        raise click.UsageError("--since is for the whole log, not for a file", click.get_current_context())
    from antiphon.model.text import parse_id

    wanted = None if principal is None else parse_id(principal)
    with file.open("rb") as opened:
        is_archive = opened.read(4) == _ZSTD or file.suffix == ".archive"
    try:
        said = _archive(file, wanted) if is_archive else _proof(file, wanted)
    except (errors.ProtocolViolation, errors.Corrupt, errors.LimitExceeded) as error:
        said = {"ok": False, "size": None, "root": None, "first_bad": None, "file": str(file), "reason": str(error)}
    if session.as_json:
        out.emit(said)
    else:
        _show_file(file, said, told=principal is not None)
    return 0 if said["ok"] else 1


def _proof(file: Path, principal: bytes | None) -> dict[str, Any]:
    from antiphon.log import proof
    from antiphon.model.limits import PROOF_BYTES_MAX
    from antiphon.model.text import id_text

    with file.open("rb") as opened:
        raw = opened.read(PROOF_BYTES_MAX + 1)
    if proof.is_consistency(raw):
        old, new = proof.verify_growth(raw, principal=principal)
        return {
            "ok": True, "kind": "growth", "log": id_text(new.log), "old_size": old.size, "size": new.size,
            "root": new.root.hex(), "first_bad": None,
        }  # fmt: skip
    return {"first_bad": None, **proof.verify_event(raw, principal=principal).describe()}


def _archive(file: Path, principal: bytes | None) -> dict[str, Any]:
    from antiphon.replica.archive import verify_archive

    with out.progress(f"verifying {file.name}"):
        verdicts = verify_archive(file)
        if not verdicts:
            raise errors.ProtocolViolation("an archive without a log")
        owners = _owners(file)
    worst = next((verdict for verdict in verdicts if not verdict.ok), verdicts[-1])
    said = {**_plain(worst), "kind": "archive", "logs": [_plain(verdict) for verdict in verdicts]}
    strangers = [log for log, principals in owners.items() if principal is not None and principal not in principals]
    if said["ok"] and strangers:
        many = counted(len(strangers), "log")
        said |= {"ok": False, "reason": f"it holds {many} that this principal never certified"}
    return said


def _owners(file: Path) -> dict[bytes, set[bytes]]:
    """Each log of an archive with the principals in it that certify it."""
    from antiphon.log.ingest import Home, Homes
    from antiphon.replica.archive import read_archive

    found: dict[bytes, set[bytes]] = {}
    homes = Homes()
    for head, parts in read_archive(file):
        found.setdefault(head.id, set())
        home = Home(head)
        for part in parts:
            home.hear(part.leaves)
        homes.add(home)
    for principal in homes.principals():
        standing = homes.standing(principal)
        for log in standing.logs if standing is not None else ():
            found.setdefault(log, set()).add(principal)
    return found


def _plain(verdict: Verdict) -> dict[str, Any]:
    from antiphon.model.limits import BLOCK_LEAVES
    from antiphon.model.text import id_text

    bad = verdict.first_bad
    return {
        "ok": verdict.ok,
        "size": verdict.size,
        "root": verdict.root.hex() if verdict.root else None,
        "first_bad": None if bad is None else {"block": bad[0] // BLOCK_LEAVES, "first": bad[0], "last": bad[1] - 1},
        "log": id_text(verdict.log),
        "held": verdict.held,
        "gone": verdict.gone,
        "reason": verdict.reason or None,
    }


def _verify_log(session: Session, principal: str | None, since: Path | None) -> int:
    seen = None if since is None else since.read_bytes()
    session.home().close()  # a key that opens no home is wrong use; a file that its key does not open is damaged
    try:
        with session.agent(salvage=True) as agent:
            said = _checked(agent, principal, seen)
    except (errors.Corrupt, errors.WrongKey) as error:
        said = {"agent": session.agent_name, "ok": False, "size": None, "root": None, "first_bad": None}
        said["reason"] = str(error)
    if session.as_json:
        out.emit(said)
    elif said["ok"]:
        events, gone = (sum(log[what] for log in said["logs"]) for what in ("size", "gone"))
        logs = f" in {len(said['logs'])} logs" if len(said["logs"]) > 1 else ""
        forgotten = f", {gone:,} of them forgotten" if gone else ""
        out.say(f"{said['agent']} verifies: {counted(events, 'event')}{logs}{forgotten}.", state="ok")
        contains = f"the checkpoint {since}" if since is not None else None
        out.fields([("size", said["size"]), ("root", said["root"]), ("log", said["log"]), ("contains", contains)])
    else:
        bad = said["first_bad"]
        out.say(f"{said['agent'] or 'The log'} does not verify: {said['reason']}", state="wrong")
        out.fields(
            [
                ("first bad block", f"{bad['block']}: events {bad['first']:,} to {bad['last']:,}" if bad else None),
                ("log", said.get("log")),
                ("what to do", "antiphon export PATH --good saves what still verifies; antiphon doctor looks further"),
            ]
        )
    return 0 if said["ok"] else 1


def _checked(agent: Agent, principal: str | None, seen: bytes | None) -> dict[str, Any]:
    from antiphon.log.store import LogRole
    from antiphon.replica.prove import is_about, verify_log_of

    if principal is not None and principal != agent.principal:
        raise errors.InvalidInput(f"{agent.name} belongs to the principal {agent.principal}, not to {principal}")
    heads = [head for head in agent.replica.heads_of(agent.record_of_agent.agent) if head.role != LogRole.FOREIGN]
    now = current(agent)
    if seen is not None and not any(is_about(seen, head) for head in heads):
        raise errors.InvalidInput(f"the checkpoint given is not of a log of {agent.name}")
    verdicts: list[Verdict] = []
    with out.progress(f"verifying {agent.name}", sum(head.size for head in heads)) as advance:
        for head in heads:
            about = seen if seen is not None and is_about(seen, head) else None
            home = agent.record_of_agent.principal_log
            verdicts.append(verify_log_of(agent.replica, head, since=about, principal_log=home, progress=advance))
    bad = next((verdict for verdict in verdicts if not verdict.ok), None)
    chosen = bad or next(verdict for verdict in verdicts if verdict.log == now.id)
    return {"agent": agent.name, **_plain(chosen), "logs": [_plain(verdict) for verdict in verdicts]}


def _show_file(file: Path, said: dict[str, Any], *, told: bool) -> None:
    if not said["ok"]:
        where = said.get("first_bad")
        place = f" (events {where['first']:,} to {where['last']:,})" if where else ""
        out.say(f"{file} does not verify: {said['reason']}{place}.", state="wrong")
        return
    kind = said.get("kind")
    if kind == "growth":
        grown = f"from {said['old_size']:,} to {counted(said['size'], 'event')}"
        out.say(f"{file} verifies: the log grew {grown}.", state="ok")
        out.fields([("log", said["log"]), ("root", said["root"])])
    elif kind == "archive" and "logs" in said:
        events = sum(item["size"] for item in said["logs"])
        out.say(f"{file} verifies: {counted(len(said['logs']), 'log')}, {counted(events, 'event')}.", state="ok")
        out.fields([("log", f"{item['log']}  {counted(item['size'], 'event')}") for item in said["logs"]])
    else:
        _show_event(file, said, told=told)


def _show_event(file: Path, said: dict[str, Any], *, told: bool) -> None:
    from antiphon.model.times import iso

    body = said["body"]
    text = body.get("text") if isinstance(body, dict) else None
    out.say(f"{file} verifies.", state="ok")
    out.fields(
        [
            ("says", text if isinstance(text, str) else None),
            ("event", said["event"]),
            ("place", "the only event" if said["size"] == 1 else f"one of {said['size']:,} events"),
            ("stamped", iso(said["recorded_ms"])),
            ("agent", said["agent"] + ("" if said["certified"] else "  (a copy that nobody has certified)")),
            ("principal", said["principal"] + ("" if told else "  (is that who you expect?)")),
            ("root", said["root"]),
        ]
    )
    if out.is_terminal():
        out.aside(f"It says who wrote it and in which order: {_NOT_SAID}.")
