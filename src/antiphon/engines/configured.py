"""Room `engines` (imports `query` and below): what `antiphon.toml` in a home says."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from antiphon.engines.sqlite.file import CIPHERS
from antiphon.model.errors import InvalidInput
from antiphon.model.text import parse_id


class Configured(msgspec.Struct, frozen=True):
    """The cipher of new files; the principals whose grants count for rows that are nobody's (None: the home's own)."""

    cipher: str = CIPHERS[0]
    trust: frozenset[bytes] | None = None


def configured(home: Path) -> Configured:
    """What the file says, defaults where it says nothing or is not there. Raises InvalidInput, naming what is wrong."""
    place = home / "antiphon.toml"
    try:
        found = tomllib.loads(place.read_text())
    except FileNotFoundError:
        return Configured()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{place} cannot be read: {error}") from None
    cipher = found.get("cipher", CIPHERS[0])
    if cipher not in CIPHERS:
        raise InvalidInput(f"{place}: cipher must be one of {', '.join(CIPHERS)}, not {cipher!r}")
    return Configured(str(cipher), _trust(place, found.get("trust")))


def _trust(place: Path, said: Any) -> frozenset[bytes] | None:
    if said is None:
        return None
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        raise InvalidInput(f'{place}: trust lists the ids of principals, as ["b…", "b…"]')
    try:
        return frozenset(parse_id(one) for one in said)
    except InvalidInput as error:
        raise InvalidInput(f"{place}: trust lists the ids of principals: {error}") from None
