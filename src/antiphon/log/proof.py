"""Room `log` (imports `identity`, `world`, `model`): proofs that anyone can check offline with a principal's id alone.

A proof file is JSON: the statements that lead from the principal to the log's key, a signed checkpoint, and either one
event with its audit path (inclusion) or an older checkpoint with a consistency path.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from antiphon.identity.signing import decode_statement
from antiphon.identity.statements import log_id_of
from antiphon.identity.validity import Evidence, provisional_logs, standing_of
from antiphon.log import checkpoint
from antiphon.log.leaf import body_hash, leaf_hash
from antiphon.log.tree import check_consistency, root_from_inclusion
from antiphon.model import hlc
from antiphon.model.errors import LimitExceeded, ProtocolViolation
from antiphon.model.event import Header, decode_header, plain_body
from antiphon.model.limits import BODY_BYTES_MAX, PROOF_BYTES_MAX
from antiphon.model.note import Checkpoint
from antiphon.model.text import event_text, id_text

PROOF_FORMAT: Final = "antiphon/proof/v1"
_UNCUT: Final = 1 << 62


class Credentials(msgspec.Struct, frozen=True):
    """The statements that lead from a principal to a log's key, in the order in which they were recorded.

    *Shapes*: `statements` are (log id, seq, encoded statement); the first is the principal's inception.
    """

    statements: tuple[tuple[bytes, int, bytes], ...]


class ProvenEvent(msgspec.Struct, frozen=True):
    """What a checked proof says. `certified` is False for a clone that nobody has certified yet."""

    principal: bytes
    agent: bytes
    log: bytes
    seq: int
    size: int
    root: bytes
    header: Header
    body: bytes
    certified: bool

    def describe(self) -> dict[str, Any]:
        """The same as plain values for a person or a script."""
        return {
            "ok": True,
            "event": event_text(self.log, self.seq),
            "principal": id_text(self.principal),
            "agent": id_text(self.agent),
            "certified": self.certified,
            "size": self.size,
            "root": self.root.hex(),
            "kind": self.header.kind,
            "recorded_ms": hlc.to_ms(self.header.hlc),
            "occurred_ms": self.header.occurred,
            "body": plain_body(self.body),
        }


class _Proof(msgspec.Struct):
    antiphon: str
    key: bytes
    statements: list[tuple[bytes, int, bytes]]
    note: bytes
    seq: int | None = None
    header: bytes | None = None
    body: bytes | None = None
    blind: bytes | None = None
    salt: bytes | None = None
    old_note: bytes | None = None
    path: list[bytes] = []


def write_inclusion(
    *,
    key: bytes,
    credentials: Credentials,
    note: bytes,
    seq: int,
    header: bytes,
    body: bytes,
    blind: bytes,
    salt: bytes,
    path: list[bytes],
) -> bytes:
    """The file of an inclusion proof."""
    statements = list(credentials.statements)
    proof = _Proof(PROOF_FORMAT, key, statements, note, seq, header, body, blind, salt, None, path)
    return msgspec.json.format(msgspec.json.encode(proof), indent=1) + b"\n"


def write_consistency(
    *, key: bytes, credentials: Credentials, note: bytes, old_note: bytes, path: list[bytes]
) -> bytes:
    """The file of a consistency proof: the log under `old_note` is a prefix of that under `note`."""
    proof = _Proof(PROOF_FORMAT, key, list(credentials.statements), note, old_note=old_note, path=path)
    return msgspec.json.format(msgspec.json.encode(proof), indent=1) + b"\n"


def _decode(raw: bytes) -> _Proof:
    if len(raw) > PROOF_BYTES_MAX:
        raise LimitExceeded("PROOF_BYTES_MAX", got=len(raw), allowed=PROOF_BYTES_MAX, what="a proof in bytes")
    try:
        proof = msgspec.json.decode(raw, type=_Proof)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ProtocolViolation(f"not a proof file: {error}") from None
    if proof.antiphon != PROOF_FORMAT:
        raise ProtocolViolation(f"a proof of another format: {proof.antiphon[:40]!r}")
    return proof


def verify_event(raw: bytes, *, principal: bytes | None = None) -> ProvenEvent:
    """What an inclusion proof proves. Raises ProtocolViolation when any part does not hold.

    With `principal`, it must be that principal's; without, look at the result's `principal` yourself.
    """
    proof = _decode(raw)
    parts = (proof.header, proof.body, proof.blind, proof.salt)
    if proof.seq is None or any(part is None for part in parts):
        raise ProtocolViolation("a proof without its event")
    header_bytes, body, blind, salt = (part or b"" for part in parts)
    if len(body) > BODY_BYTES_MAX:
        raise LimitExceeded("BODY_BYTES_MAX", got=len(body), allowed=BODY_BYTES_MAX, what="an event's body in bytes")
    if len(blind) != 16 or len(salt) != 16:
        raise ProtocolViolation("a proof whose blind or salt has the wrong length")
    owner, agent, log, certified, stands = _speaker(proof, principal)
    signed = checkpoint.verify(proof.note, proof.key, log_id=log)
    _check_standing(signed, stands)
    header = decode_header(header_bytes)
    leaf = leaf_hash(blind, header_bytes, body_hash(salt, body))
    if root_from_inclusion(leaf, proof.seq, signed.size, proof.path) != signed.root:
        raise ProtocolViolation("the event is not in the log that the checkpoint signs, or was altered")
    return ProvenEvent(owner, agent, log, proof.seq, signed.size, signed.root, header, body, certified)


def verify_growth(raw: bytes, *, principal: bytes | None = None) -> tuple[Checkpoint, Checkpoint]:
    """The older and the newer checkpoint of a consistency proof. Raises ProtocolViolation when it does not hold.

    Nor may the newer one be of more than a revocation leaves standing: past that, the key speaks for nobody.
    """
    proof = _decode(raw)
    if proof.old_note is None:
        raise ProtocolViolation("not a proof of consistency")
    _, _, log, _, stands = _speaker(proof, principal)
    old = checkpoint.verify(proof.old_note, proof.key, log_id=log)
    new = checkpoint.verify(proof.note, proof.key, log_id=log)
    if not check_consistency(old=old.size, old_root=old.root, new=new.size, new_root=new.root, path=proof.path):
        raise ProtocolViolation("the log was rewritten between the two checkpoints")
    _check_standing(new, stands)
    return old, new


def _check_standing(signed: Checkpoint, stands: tuple[int, bytes] | None) -> None:
    """Of a revoked log one checkpoint counts, that of the size and root which the revocation names.

    Whoever has the key can sign any other tree, smaller ones too.
    """
    if stands is not None and (signed.size, signed.root) != stands:
        raise ProtocolViolation(
            f"the log's key was revoked at size {stands[0]:,}: of this log only the checkpoint of that size and root "
            f"counts, not this one of {signed.size:,}"
        )


def is_consistency(raw: bytes) -> bool:
    """Whether a proof file is about growth rather than one event."""
    return _decode(raw).old_note is not None


def _speaker(proof: _Proof, expected: bytes | None) -> tuple[bytes, bytes, bytes, bool, tuple[int, bytes] | None]:
    """(principal, agent, log, certified, the size and root that a revocation leaves standing) of a proof's key.

    Raises ProtocolViolation when nothing leads there.
    """
    if not proof.statements:
        raise ProtocolViolation("a proof without its principal")
    decoded = [(log, seq, decode_statement(raw)) for log, seq, raw in proof.statements]
    inception = decoded[0][2]
    if expected is not None and inception.id != expected:
        raise ProtocolViolation(f"a proof by the principal {id_text(inception.id)}, not by {id_text(expected)}")
    standing = standing_of(inception, [Evidence(found, log, seq) for log, seq, found in decoded[1:]])
    for log, owner in standing.logs.items():
        if log == log_id_of(owner, proof.key) and standing.counts(log, proof.seq or 0):
            return standing.principal, owner, log, True, standing.left_of(log)
    for log, owner in provisional_logs(standing, [statement for _, _, statement in decoded]).items():
        if log == log_id_of(owner, proof.key) and (proof.seq or 0) < standing.cut.get(log, _UNCUT):
            return standing.principal, owner, log, False, standing.left_of(log)
    raise ProtocolViolation("nothing in the proof leads from its principal to the key that signed the log")
