"""Room `engines` (imports `query` and below): what `antiphon.toml` in a home says."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.engines.sqlite.file import CIPHERS
from antiphon.model.errors import InvalidInput
from antiphon.model.text import parse_id

FILE: Final = "antiphon.toml"
KEYS: Final = ("cipher", "trust", "engines")


class Configured(msgspec.Struct, frozen=True):
    """The cipher of new files; the principals whose grants count for rows that are nobody's (None: the home's own);
    the URLs of engines by name, as they stand there.
    """

    cipher: str = CIPHERS[0]
    trust: frozenset[bytes] | None = None
    engines: Mapping[str, str] = {}


def configured(home: Path) -> Configured:
    """What the file says, defaults where it says nothing or is not there. Raises InvalidInput, naming what is wrong."""
    place = home / FILE
    try:
        return said_by(place, place.read_text())
    except FileNotFoundError:
        return Configured()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{place} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def said_by(place: Path, text: str) -> Configured:
    """What a file of this text says. Raises InvalidInput, naming the file and what is wrong in it."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{place} cannot be read: {error}") from None
    for key in found.keys() - set(KEYS):
        near = get_close_matches(key, KEYS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(KEYS)}"
        raise InvalidInput(f"{place}: nothing reads {key!r:.60}: {meant}")
    cipher = found.get("cipher", CIPHERS[0])
    if cipher not in CIPHERS:
        raise InvalidInput(f"{place}: cipher must be one of {', '.join(CIPHERS)}, not {cipher!r}")
    return Configured(str(cipher), _trust(place, found.get("trust")), _engines(place, found.get("engines", {})))


def _engines(place: Path, said: Any) -> dict[str, str]:
    if not isinstance(said, dict) or not all(isinstance(url, str) for url in said.values()):
        raise InvalidInput(f'{place}: [engines] holds lines of the form name = "postgresql://…"')
    return said


def _trust(place: Path, said: Any) -> frozenset[bytes] | None:
    if said is None:
        return None
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        raise InvalidInput(f'{place}: trust lists the ids of principals, as ["b…", "b…"]')
    try:
        return frozenset(parse_id(one) for one in said)
    except InvalidInput as error:
        raise InvalidInput(f"{place}: trust lists the ids of principals: {error}") from None
