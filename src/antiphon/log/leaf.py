"""Room `log` (imports `model`): the hash of a body and of a leaf.

body hash = SHA-256(0x02 ‖ salt 16 ‖ body)          an absent body is the empty string
leaf      = SHA-256(0x00 ‖ blind 16 ‖ header ‖ body hash 32)
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def body_hash(salt: bytes, body: bytes) -> bytes:
    """The commitment to a body."""
    return sha256(b"\x02" + salt + body).digest()


def leaf_hash(blind: bytes, header: bytes, body_commitment: bytes) -> bytes:
    """The commitment to an event."""
    return sha256(b"\x00" + blind + header + body_commitment).digest()


def leaf_hashes(
    headers: Sequence[bytes], bodies: Sequence[bytes], blinds: Sequence[bytes], salts: Sequence[bytes]
) -> list[bytes]:
    """The leaves of many whole events; all arguments of one length. *Cost*: two SHA-256 each, about 1 µs."""
    return [
        sha256(b"\x00" + blind + header + sha256(b"\x02" + salt + body).digest()).digest()
        for header, body, blind, salt in zip(headers, bodies, blinds, salts, strict=True)
    ]
