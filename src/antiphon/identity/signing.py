"""Room `identity` (imports `world`, `model`): Ed25519 with one strict verification rule, and framed statements.

What is signed is a checkpoint note or `antiphon/<use>/v1\\0` with framed fields that the signer itself built;
nobody else supplies bytes to sign. Refused everywhere: small-order or non-canonical points, non-canonical S.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec
from nacl.bindings import (
    crypto_sign,
    crypto_sign_ed25519_sk_to_pk,
    crypto_sign_open,
    crypto_sign_seed_keypair,
)
from nacl.exceptions import BadSignatureError, CryptoError

from antiphon.model.errors import ProtocolViolation

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_P: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_ORDER8_Y: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_Y: Final = frozenset({0, 1, _P - 1, _ORDER8_Y, _P - _ORDER8_Y})


class SigningKey:
    """A private Ed25519 key. Its `repr` shows nothing of it."""

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        self.public, self._secret = crypto_sign_seed_keypair(seed)

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes; for the key store alone."""
        return self._secret[:KEY_BYTES]

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of a message we built ourselves."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey(public={crypto_sign_ed25519_sk_to_pk(self._secret).hex()[:16]}…)"


def _is_sound_point(encoded: bytes) -> bool:
    y = int.from_bytes(encoded, "little") & ((1 << 255) - 1)
    return y < _P and y not in _SMALL_Y


def is_signed(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether this key signed this message, by the one strict rule. *Source*: RFC 8032; Chalkias et al. 2020."""
    if len(signature) != SIGNATURE_BYTES or len(public_key) != KEY_BYTES:
        return False
    if not _is_sound_point(public_key) or not _is_sound_point(signature[:32]):
        return False
    if int.from_bytes(signature[32:], "little") >= _ORDER:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except (BadSignatureError, CryptoError):
        return False
    return True


class Statement(msgspec.Struct, frozen=True, array_like=True):
    """A framed, signed claim: a use, its fields in fixed order, and (public key, signature) pairs."""

    use: str
    fields: tuple[bytes, ...]
    signatures: tuple[tuple[bytes, bytes], ...] = ()

    def signed_bytes(self) -> bytes:
        """What the signatures cover: `antiphon/<use>/v1\\0`, then each field behind its u32be length."""
        framed = b"".join(len(field).to_bytes(4, "big") + field for field in self.fields)
        return b"antiphon/" + self.use.encode() + b"/v1\0" + framed

    @property
    def id(self) -> bytes:
        """The hash of the statement without its signatures."""
        return sha256(self.signed_bytes()).digest()

    def signed_by(self, *keys: SigningKey) -> Statement:
        """The statement with these keys' signatures added."""
        message = self.signed_bytes()
        added = tuple((key.public, key.sign(message)) for key in keys)
        return Statement(self.use, self.fields, self.signatures + added)

    def is_signed_by(self, *public_keys: bytes) -> bool:
        """Whether there is a valid signature by each of these keys among the signatures."""
        message = self.signed_bytes()
        return all(
            any(key == wanted and is_signed(message, sig, key) for key, sig in self.signatures)
            for wanted in public_keys
        )

    def encode(self) -> bytes:
        """The statement as bytes (MessagePack)."""
        return msgspec.msgpack.encode(self)


STATEMENT_BYTES_MAX: Final = 8_192


def decode_statement(raw: bytes) -> Statement:
    """The statement in these bytes, unverified. Raises ProtocolViolation."""
    if len(raw) > STATEMENT_BYTES_MAX:
        raise ProtocolViolation(f"a statement over STATEMENT_BYTES_MAX ({STATEMENT_BYTES_MAX}) bytes")
    try:
        statement = msgspec.msgpack.decode(raw, type=Statement)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError) as error:
        raise ProtocolViolation(f"not a statement: {error}") from None
    if statement.encode() != raw:
        raise ProtocolViolation("a statement that is not in its canonical encoding")
    return statement
