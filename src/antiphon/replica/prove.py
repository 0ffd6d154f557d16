"""Room `replica` (imports all below it): handing out checkpoints and proofs, full verification, figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from antiphon.engines.sqlite import fulltext
from antiphon.engines.sqlite.file import translated
from antiphon.identity.signing import decode_statement
from antiphon.identity.statements import ProvisionalInstance, log_id_of
from antiphon.log import checkpoint, kinds, proof, verify
from antiphon.log.ingest import Home, Homes, Part
from antiphon.log.loaded import LoadedBlock
from antiphon.log.store import LogHead, LogRole
from antiphon.log.tree import Frontier, consistency_path, inclusion_path
from antiphon.model import limits, note
from antiphon.model.errors import InvalidInput, NotFound
from antiphon.model.event import encode_header
from antiphon.model.note import Checkpoint
from antiphon.model.text import id_text
from antiphon.replica.core import Replica
from antiphon.replica.enrol import homes_of


def hand_out_checkpoint(replica: Replica, log_id: bytes) -> bytes:
    """The newest checkpoint of a log; the mark is on disk before it leaves, and the note is kept."""
    head = replica.head(log_id)
    if not head.size:
        raise NotFound("the log is empty: record something first")
    _keep_handed_out(replica, head)
    return head.note


def _keep_handed_out(replica: Replica, head: LogHead) -> None:
    if replica.file.read_only:
        return
    replica.keep_mark()
    key = f"checkpoint/{head.no}/{head.size:016x}"
    if replica.file.get(key) is None:
        with replica.file.transaction():
            replica.file.put(key, head.note)


def credentials(replica: Replica, principal_log: bytes, log: LogHead) -> proof.Credentials:
    """The statements that lead from the principal to a log's key, as this file has them."""
    homes = homes_of(replica, replica.head(principal_log).owner)
    found = [
        (home.id, event.seq, event.body)
        for home in homes
        for event in replica.reader.events(home)
        if event.kind in kinds.STATEMENT_KINDS and event.body is not None and _concerns(event.body, log.owner)
    ]
    line: LogHead | None = log
    while line is not None and line.size and line.owner != homes[0].owner:
        header = replica.reader.header(line, 0)
        if header is None or header.kind != kinds.INSTANCE_PROVISIONAL:
            break
        first = replica.event(line.id, 0)
        if first.body is None:
            break
        found.append((line.id, 0, first.body))
        line = replica.logs.head(ProvisionalInstance.read(decode_statement(first.body)).parent)
    return proof.Credentials(tuple(_without_others(found, log)))


def _without_others(found: list[tuple[bytes, int, bytes]], log: LogHead) -> Iterator[tuple[bytes, int, bytes]]:
    """The statements but for revocations of logs that have no part in these; the inception stands first, once."""
    statements = [(place, seq, raw, decode_statement(raw)) for place, seq, raw in found]
    known = {log.id} | {place for place, _, _, _ in statements}
    known |= {log_id_of(said.fields[0], said.fields[1]) for *_, said in statements if len(said.fields) > 1}
    for at, (place, seq, raw, said) in enumerate(statements):
        if not (said.use == "revoke" and said.fields[1] not in known) and not (at and said.use == "principal"):
            yield place, seq, raw


def _concerns(raw: bytes, owner: bytes) -> bool:
    """Whether a statement helps to check this agent's logs: a principal's other agents are left out of its proofs."""
    statement = decode_statement(raw)
    if statement.use == "agent":
        return statement.id == owner
    return statement.use != "instance" or statement.fields[:1] == (owner,)


def prove_event(replica: Replica, log_id: bytes, seq: int, *, principal_log: bytes) -> bytes:
    """An inclusion proof of one event under the newest checkpoint. Raises NotFound when it was forgotten."""
    with replica.file.snapshot():
        head = replica.head(log_id)
        event, blind, salt = replica.reader.opening(head, seq)
        path = inclusion_path(seq, head.size, replica.reader.subtree(head))
        statements = credentials(replica, principal_log, head)
    _keep_handed_out(replica, head)
    return proof.write_inclusion(
        key=head.key,
        credentials=statements,
        note=head.note,
        seq=seq,
        header=encode_header(event.header),
        body=event.body or b"",
        blind=blind,
        salt=salt,
        path=path,
    )


def prove_growth(replica: Replica, since: bytes, *, principal_log: bytes) -> bytes:
    """A proof that the log under an older checkpoint is a prefix of today's."""
    with replica.file.snapshot():
        head = replica.head(note.peek_log(since))
        old = checkpoint.verify(since, head.key, log_id=head.id)
        if not 0 < old.size <= head.size:
            raise InvalidInput(f"the checkpoint is of size {old.size:,}; the log has {head.size:,} events")
        path = consistency_path(old.size, head.size, replica.reader.subtree(head))
        statements = credentials(replica, principal_log, head)
    _keep_handed_out(replica, head)
    return proof.write_consistency(key=head.key, credentials=statements, note=head.note, old_note=since, path=path)


def is_about(signed: bytes, head: LogHead) -> bool:
    """Whether a checkpoint note claims to be of this log."""
    return note.peek_log(signed) == head.id


def peek(signed: bytes) -> Checkpoint:
    """The checkpoint in a note, its signature unchecked."""
    lines = signed.decode().split("\n")
    return Checkpoint(note.peek_log(signed), int(lines[1]), proof_root(lines[2]))


def proof_root(text: str) -> bytes:
    """A root from its base64."""
    return msgspec.json.decode(f'"{text}"', type=bytes)


def verify_log_of(
    replica: Replica,
    head: LogHead,
    *,
    since: bytes | None = None,
    principal_log: bytes | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> verify.Verdict:
    """Verifies one log of a file, as of one moment, while others may write."""
    with replica.file.snapshot():
        head = replica.head(head.id)
        seen = None if since is None else checkpoint.verify(since, head.key, log_id=head.id)
        return verify.verify_log(
            head,
            lambda first: _part(replica, head, first),
            block_roots=_block_roots(replica, head),
            since=seen,
            erased_by_principal=_erased_by_principal(replica, principal_log, head),
            progress=progress,
        )


def _erased_by_principal(replica: Replica, principal_log: bytes | None, head: LogHead) -> Iterator[tuple[int, int]]:
    """What the principal's logs erase of this one; read only when it is asked for.

    Whoever wrote the file chose which log is named here: it is heard only once it has verified, and only as a home of
    the principal whose agent this log belongs to.
    """
    claimed = None if principal_log is None or principal_log == head.id else replica.logs.head(principal_log)
    if claimed is None:
        return
    homes = Homes()
    for other in homes_of(replica, claimed.owner):
        home = Home(other)

        def load(first: int, other: LogHead = other, home: Home = home) -> Part:
            part = _part(replica, other, first)
            home.hear(part.leaves)
            return part

        if verify.verify_log(other, load, block_roots=_block_roots(replica, other)).ok:
            homes.add(home)
    yield from homes.erases_in(head)


def _part(replica: Replica, head: LogHead, first: int) -> Part:
    with translated(replica.file.path):
        loaded = LoadedBlock(replica.logs, head, first)
        return Part(loaded.leaves(replica.logs), loaded.row.seeds)


def _block_roots(replica: Replica, head: LogHead) -> dict[int, bytes]:
    return {first: root for first, _, root in replica.logs.blocks(head.no) if root}


def root_of_head(head: LogHead) -> bytes:
    """The root of a log as it stands."""
    return Frontier(head.size, head.frontier).root()


def stats_of(replica: Replica, heads: Sequence[LogHead]) -> dict[str, Any]:
    """Figures about a file and these logs of it. *Units*: bytes, ms."""
    with replica.file.snapshot():
        path = replica.file.path
        wal = path.with_name(path.name + "-wal")
        now_ms = replica.clock.now_ms()
        ahead = max((head.hlc >> 16 for head in heads), default=0) - now_ms
        return {
            "path": str(path),
            "file_bytes": path.stat().st_size,
            "wal_bytes": wal.stat().st_size if wal.exists() else 0,
            "events": sum(head.size for head in heads),
            "logs": [
                {
                    "log": id_text(head.id),
                    "role": LogRole(head.role).name.lower(),
                    "size": head.size,
                    "root": root_of_head(head).hex(),
                    "clock_resets": len(head.resets),
                }
                for head in heads
            ],
            "tables": {
                table.name: replica.tables.count(table)
                for table in replica.registry.tables.values()
                if replica.tables.exists(table)
            },
            "fulltext_backlog": sum(
                fulltext.backlog(replica.file, table)
                for table in replica.registry.tables.values()
                if table.fulltext is not None
            ),
            "clock_ahead_ms": max(0, ahead),
            "clock_suspect": ahead > limits.CLOCK_AHEAD_MS_MAX,
            "scrub_pending": replica.state.scrub_pending,
        }
