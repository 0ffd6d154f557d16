"""Room `model` (pure; imports `model` alone): checkpoints as C2SP signed notes, without the signing itself.

    antiphon/log/<hex log id>          the origin, which is also the key's name
    <size>
    <base64 root>

    — antiphon/log/<hex log id> <base64 of key id 4 ‖ Ed25519 signature 64>

*Source*: C2SP tlog-checkpoint and signed-note.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256

import msgspec

from antiphon.model.errors import ProtocolViolation

NOTE_BYTES_MAX = 4_096
_ED25519 = b"\x01"


class Checkpoint(msgspec.Struct, frozen=True):
    """What a log's own key signed: its size and root."""

    log: bytes
    size: int
    root: bytes


def origin(log_id: bytes) -> str:
    """The origin line, and key name, of a log."""
    return f"antiphon/log/{log_id.hex()}"


def key_id(name: str, public_key: bytes) -> bytes:
    """The 4 bytes that name a key in a note's signature line."""
    return sha256(name.encode() + b"\n" + _ED25519 + public_key).digest()[:4]


def note_text(checkpoint: Checkpoint) -> bytes:
    """The text that is signed."""
    root = base64.b64encode(checkpoint.root).decode()
    return f"{origin(checkpoint.log)}\n{checkpoint.size}\n{root}\n".encode()


def compose(checkpoint: Checkpoint, public_key: bytes, signature: bytes) -> bytes:
    """The signed note."""
    name = origin(checkpoint.log)
    line = base64.b64encode(key_id(name, public_key) + signature).decode()
    return note_text(checkpoint) + f"\n\u2014 {name} {line}\n".encode()


def parse(note: bytes, public_key: bytes) -> tuple[Checkpoint, bytes]:
    """The checkpoint and this key's signature, not yet verified. Signatures by other keys are passed over."""
    if len(note) > NOTE_BYTES_MAX:
        raise ProtocolViolation(f"a checkpoint note over {NOTE_BYTES_MAX} bytes")
    try:
        text, blank, signatures = note.decode().partition("\n\n")
        head = text.split("\n")
        if not blank or len(head) != 3 or not signatures.endswith("\n"):
            raise ValueError("its lines are not those of a signed checkpoint")
        prefix, _, log_hex = head[0].rpartition("/")
        log_id = bytes.fromhex(log_hex)
        size = int(head[1])
        root = base64.b64decode(head[2], validate=True)
        if prefix != "antiphon/log" or log_id.hex() != log_hex or len(log_id) != 32 or len(root) != 32:
            raise ValueError("its origin or root is not one of ours")
        if str(size) != head[1] or size < 0:
            raise ValueError("its size is not a plain number")
        if base64.b64encode(root).decode() != head[2]:
            raise ValueError("its root is not canonical base64")
        return Checkpoint(log_id, size, root), _signature(signatures, head[0], key_id(head[0], public_key))
    except (ValueError, UnicodeDecodeError, binascii.Error) as error:
        raise ProtocolViolation(f"not a checkpoint note: {error}") from None


def _signature(lines: str, name: str, key: bytes) -> bytes:
    found = None
    for line in lines[:-1].split("\n"):
        dash, _, rest = line.partition(" ")
        who, _, blob = rest.rpartition(" ")
        if dash != "\u2014" or not who:
            raise ValueError("a signature line that is not one")
        raw = base64.b64decode(blob, validate=True)
        if base64.b64encode(raw).decode() != blob:
            raise ValueError("a signature that is not canonical base64")
        if found is None and who == name and raw[:4] == key and len(raw) == 68:
            found = raw[4:]
    if found is None:
        raise ValueError("no signature by this log's key")
    return found


def peek_log(note: bytes) -> bytes:
    """The log id that a note claims to be about, without checking anything."""
    try:
        return bytes.fromhex(note.split(b"\n", 1)[0].decode().rpartition("/")[2])
    except (ValueError, UnicodeDecodeError):
        raise ProtocolViolation("not a checkpoint note: no origin line") from None
