"""Room `identity` (imports `world`, `model`): where secrets are kept, as a port, and how they are wrapped.

Every secret is random and wrapped by a key-encryption key: from a passphrase (Argon2id, once a process), a key
file or the environment. There is no default key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Final, Protocol

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
    crypto_pwhash_alg,
    crypto_pwhash_ALG_ARGON2ID13,
    crypto_scalarmult_base,
)
from nacl.exceptions import CryptoError

from antiphon.model.errors import Corrupt, WrongKey
from antiphon.world.entropy import Entropy

KEK_BYTES: Final = 32
NONCE_BYTES: Final = 24
ARGON2_SALT_BYTES: Final = 16
ARGON2_OPS: Final = 3
ARGON2_MEMORY_BYTES: Final = 64 << 20
_ARGON2_OPS_MAX: Final = 64
_ARGON2_MEMORY_BYTES_MAX: Final = 4 << 30


class KeyStore(Protocol):
    """Named secrets. Reading an absent one raises NotFound; putting the same twice is allowed."""

    def get(self, name: str) -> bytes:
        """The secret of this name."""
        ...

    def put(self, name: str, secret: bytes) -> None:
        """Keeps a secret; on disk when the call returns."""
        ...

    def put_all(self, secrets: dict[str, bytes]) -> None:
        """Keeps many secrets with one wait for the disk."""
        ...

    def put_new(self, secrets: dict[str, bytes]) -> dict[str, bytes]:
        """Keeps those whose names have no secret yet, in one step among all processes; what all of them have then.

        Whoever draws a secret that others may draw at the same moment goes on with what this says, never with its own.
        """
        ...

    def together(self) -> AbstractContextManager[None]:
        """Within the block, secrets that are put can be read back at once, but reach the disk when it ends."""
        ...

    def destroy(self, name: str) -> bool:
        """Makes a secret unrecoverable; False when there was none."""
        ...

    def names(self) -> Iterator[str]:
        """The names of all secrets."""
        ...


def stretch(passphrase: str, salt: bytes, *, ops: int = ARGON2_OPS, memory_bytes: int = ARGON2_MEMORY_BYTES) -> bytes:
    """A key-encryption key from a passphrase. *Cost*: about 0.2 s and 64 MB, on purpose."""
    try:
        if ops > _ARGON2_OPS_MAX or memory_bytes > _ARGON2_MEMORY_BYTES_MAX:
            raise ValueError("more work than any key ring asks for")
        return crypto_pwhash_alg(KEK_BYTES, passphrase.encode(), salt, ops, memory_bytes, crypto_pwhash_ALG_ARGON2ID13)
    except (CryptoError, ValueError) as error:
        raise Corrupt(f"the key ring's settings are damaged: {error}; restore it from a backup") from None


def wrap(secret: bytes, *, name: str, kek: bytes, entropy: Entropy) -> bytes:
    """The secret sealed under the key-encryption key and bound to its name."""
    nonce = entropy.bytes(NONCE_BYTES)
    return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(secret, _bound(name), nonce, kek)


def wrap_same(secret: bytes, *, name: str, kek: bytes) -> bytes:
    """As `wrap`, giving the same for the same: the nonce comes from the secret, so nothing is drawn."""
    nonce = blake2b(_bound(name) + secret, key=kek, digest_size=NONCE_BYTES).digest()
    return nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(secret, _bound(name), nonce, kek)


def unwrap(sealed: bytes, *, name: str, kek: bytes) -> bytes:
    """The secret. Raises WrongKey when this key does not open it under this name."""
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed[NONCE_BYTES:], _bound(name), sealed[:NONCE_BYTES], kek)
    except (CryptoError, ValueError):  # the latter where it is cut short
        raise WrongKey(
            f"the key given does not open the secret {name!r}: check the passphrase, ANTIPHON_KEY or the key file",
            secret=name,
        ) from None


def wrap_public(seed: bytes) -> bytes:
    """The X25519 public key of a wrapping key."""
    return crypto_scalarmult_base(seed)


def _bound(name: str) -> bytes:
    return b"antiphon/wrap/v1\0" + name.encode()
