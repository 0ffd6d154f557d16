"""Room `ops` (imports `engines` and below): signed messages: HMAC-SHA256 over a time and a body, under a shared secret.

Pure. A message is good for REPLAY_WINDOW_MS; that it is not taken twice within is its idempotency key's work.
"""

from __future__ import annotations

import hmac
import stat
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from antiphon.model.errors import InvalidInput, NotFound, ProtocolViolation, Unavailable

REPLAY_WINDOW_MS: Final = 300_000
SECRET_BYTES_MIN: Final = 16
SECRET_BYTES_MAX: Final = 1_024
KEY_CHARS_MAX: Final = 256
TIME_HEADER: Final = "X-Antiphon-Timestamp"
SIGNATURE_HEADER: Final = "X-Antiphon-Signature"
KEY_HEADER: Final = "Idempotency-Key"
_PREFIX: Final = "v1="
_USE: Final = b"antiphon/webhook/v1\0"
_OF_BODY: Final = b"antiphon/delivery/v1\0"


def signature(secret: bytes, system: str, key: str, at_ms: int, body: bytes) -> str:
    """What signs a message: of its use, the system, the idempotency key, the time (ms since 1970) and the body.

    The fields are framed by their lengths, so that none can be taken for a part of another.
    """
    mac = hmac.new(secret, _USE, sha256)
    for field in (system.encode(), key.encode(), str(at_ms).encode(), body):
        mac.update(len(field).to_bytes(8, "big"))
        mac.update(field)
    return _PREFIX + mac.hexdigest()


def digest_of(secret: bytes, body: bytes) -> bytes:
    """What a body is known by, 16 bytes: whoever has no secret cannot test a guess of what was in it."""
    return hmac.new(secret, _OF_BODY + body, sha256).digest()[:16]


def signed_headers(secret: bytes, system: str, key: str, at_ms: int, body: bytes) -> dict[str, str]:
    """The headers of a message that is sent."""
    return {
        TIME_HEADER: str(at_ms),
        SIGNATURE_HEADER: signature(secret, system, key, at_ms, body),
        KEY_HEADER: key,
        "Content-Type": "application/json",
    }


def check_signed(secret: bytes, system: str, headers: Mapping[str, str], body: bytes, *, now_ms: int) -> str:
    """The idempotency key of a message that came. Raises ProtocolViolation where it is not signed, or not now.

    Who cannot sign learns nothing else of it: the time is looked at after the signature.
    """
    given = {name.casefold(): value for name, value in headers.items()}
    key = given.get(KEY_HEADER.casefold(), "")
    said = given.get(TIME_HEADER.casefold(), "")
    signed = given.get(SIGNATURE_HEADER.casefold(), "")
    if not said.isascii() or not said.isdigit() or len(said) > 16:
        raise ProtocolViolation(f"{TIME_HEADER}: it has no time in whole milliseconds since 1970")
    if not key or len(key) > KEY_CHARS_MAX or not key.isascii() or not key.isprintable():
        raise ProtocolViolation(f"{KEY_HEADER}: it has no key of 1 to {KEY_CHARS_MAX} printable ASCII characters")
    wanted = signature(secret, system, key, int(said), body)
    if not hmac.compare_digest(wanted.encode(), signed.encode("utf-8", "replace")):
        raise ProtocolViolation(f"{SIGNATURE_HEADER}: the signature is not that of this message under our secret")
    if abs(now_ms - int(said)) > REPLAY_WINDOW_MS:
        raise ProtocolViolation(
            f"{TIME_HEADER}: it was signed {abs(now_ms - int(said)) // 1000:,} s away from now, more than "
            f"REPLAY_WINDOW_MS ({REPLAY_WINDOW_MS:,}) lets: sign it again, or set the clock"
        )
    return key


def secret_in(path: Path) -> bytes:
    """The secret in a file that is its owner's alone, without white space around. Raises NotFound, InvalidInput."""
    try:
        mode = path.stat().st_mode
        raw = path.read_bytes()[: SECRET_BYTES_MAX + 64].strip()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path} with the secret") from None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror or error}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInput(f"{path} can be read by others: chmod 600 {path}")
    return check_secret(raw)


def check_secret(secret: bytes) -> bytes:
    """The secret itself. Raises InvalidInput where it is too short to keep anybody out."""
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        raise InvalidInput(
            f"a webhook's secret has from SECRET_BYTES_MIN ({SECRET_BYTES_MIN}) to SECRET_BYTES_MAX "
            f"({SECRET_BYTES_MAX:,}) bytes, not {len(secret)}: make one with `openssl rand -hex 32`"
        )
    return secret
