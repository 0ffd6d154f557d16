"""Room `log` (imports `identity`, `world`, `model`): signing and verifying checkpoints."""

from __future__ import annotations

from antiphon.identity.signing import SigningKey, is_signed
from antiphon.model import note
from antiphon.model.errors import ProtocolViolation
from antiphon.model.note import Checkpoint


def sign(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """The signed note of a checkpoint."""
    return note.compose(checkpoint, key.public, key.sign(note.note_text(checkpoint)))


def verify(signed: bytes, public_key: bytes, *, log_id: bytes) -> Checkpoint:
    """The checkpoint in a note, signed by this log's key. Raises ProtocolViolation otherwise."""
    checkpoint, signature = note.parse(signed, public_key)
    if checkpoint.log != log_id:
        raise ProtocolViolation("a checkpoint of another log")
    if not is_signed(note.note_text(checkpoint), signature, public_key):
        raise ProtocolViolation("a checkpoint whose signature does not verify")
    return checkpoint
