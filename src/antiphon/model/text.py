"""Room `model` (pure; imports `model` alone): ids as text, the checks that text must pass, names, counted nouns.

Log, agent and principal ids are 32 bytes, written in multibase base32 (`b…`); entity ids are 16 bytes
in a UUID layout, written as UUIDs; an event id is `<log id>/<seq>`.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final

from antiphon.model.errors import InvalidInput

_ENTITY_TAG: Final = b"antiphon/entity/v1\0"
_NATURAL_TAG: Final = b"antiphon/natural/v1\0"
_PLACE: Final = Struct(">QH").pack
_ID_BYTES: Final = 32
_SEQ_CHARS_MAX: Final = 13
"""LOG_EVENTS_MAX has so many digits."""


@lru_cache(maxsize=4_096)
def id_text(raw: bytes) -> str:
    """A 32-byte id in multibase base32, lower case without padding."""
    return "b" + base64.b32encode(raw).decode("ascii").rstrip("=").lower()


@lru_cache(maxsize=4_096)
def parse_id(text: str) -> bytes:
    """The 32 bytes of an id written by `id_text`; no other spelling is taken."""
    if not isinstance(text, str):
        raise InvalidInput(f"{text!r:.80} is not an id: expected 'b' and 52 base32 characters")
    try:
        raw = base64.b32decode(text[1:].upper() + "=" * (-(len(text) - 1) % 8))
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _ID_BYTES or id_text(raw) != text:
        raise InvalidInput(f"{text[:80]!r} is not an id: expected 'b' and 52 base32 characters")
    return raw


def event_text(log_id: bytes, seq: int) -> str:
    """An event's id: `<log id>/<seq>`."""
    return f"{id_text(log_id)}/{seq}"


def parse_event(text: str) -> tuple[bytes, int]:
    """The log id and seq of an event id."""
    log, slash, seq = text.rpartition("/")
    plain = slash and seq.isascii() and seq.isdigit() and len(seq) <= _SEQ_CHARS_MAX
    if not plain or (seq[0] == "0" and seq != "0"):
        raise InvalidInput(f"{text[:100]!r} is not an event id: expected <log id>/<seq>")
    return parse_id(log), int(seq)


def parse_seq(text: str) -> int:
    """The seq in plain digits, as people type it for an event of their own log. Raises InvalidInput."""
    if not (text.isascii() and text.isdigit()) or len(text) > _SEQ_CHARS_MAX:
        raise InvalidInput(f"{text[:40]!r} is not the number of an event: expected at most {_SEQ_CHARS_MAX} digits")
    return int(text)


def entity_text(raw: bytes) -> str:
    """A 16-byte entity id in the spelling of UUIDs."""
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def parse_entity(text: str) -> bytes:
    """The 16 bytes of an entity id."""
    if not isinstance(text, str):
        raise InvalidInput(f"{text!r:.80} is not an entity id: expected a UUID as text")
    try:
        raw = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        raw = b""
    if len(raw) != 16 or entity_text(raw) != text.lower():
        raise InvalidInput(f"{text[:80]!r} is not an entity id: expected a UUID")
    return raw


def entity_hasher(log_id: bytes) -> EntityIds:
    """Ids for the entities that a log's events create (see `EntityIds`)."""
    return EntityIds(log_id)


_ID_MARKS: Final = 0x7000_8000_0000_0000_0000
_ID_TAIL: Final = 0x0FFF_3FFF_FFFF_FFFF_FFFF
"""Where an id says that it is a UUIDv7, and the bits that are drawn from the hash."""


class EntityIds:
    """Ids of the entities a log creates: UUIDv7 with the hlc's milliseconds, then 74 bits of H(log, seq, n).

    Indexes on them append, and because anyone can compute them again nobody can claim another log's id.
    """

    __slots__ = ("_base",)

    def __init__(self, log_id: bytes) -> None:
        self._base = _ENTITY_TAG + log_id

    def of(self, hlc: int, seq: int, n: int = 0) -> bytes:
        """The n-th entity that the event at `seq` creates."""
        tail = int.from_bytes(sha256(self._base + _PLACE(seq, n)).digest()[:10], "big") & _ID_TAIL
        return (((hlc >> 16) << 80) | _ID_MARKS | tail).to_bytes(16, "big")


def natural_id(domain: str, key: str) -> bytes:
    """An id for an impersonal natural key (UUIDv8). Never for names or addresses: a hash can be guessed."""
    raw = bytearray(sha256(_NATURAL_TAG + domain.encode() + b"\0" + key.encode()).digest()[:16])
    raw[6] = (raw[6] & 0x0F) | 0x80
    raw[8] = (raw[8] & 0x3F) | 0x80
    return bytes(raw)


def check_text(value: str, *, what: str) -> str:
    """The text itself when it can be stored and read back by everyone; lone surrogates cannot."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{what} has a lone surrogate at character {error.start}: it is not valid Unicode text. "
            "Decode the source with the right encoding (or errors='replace') first"
        ) from None
    return value


def name_key(name: str) -> str:
    """What two spellings of one person's name have in common: no case, no width, no other composition, single spaces.

    *Source*: Unicode 16, D146 (compatibility caseless match), composed again; then runs of white space are one space.
    """
    folded = unicodedata.normalize("NFD", name).casefold()
    folded = unicodedata.normalize("NFKD", folded).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def counted(count: int, noun: str, nouns: str | None = None) -> str:
    """A count with its noun: `1 event`, `2,000 events`; `nouns` is the plural that does not just end in s."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
