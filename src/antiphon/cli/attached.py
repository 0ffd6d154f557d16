"""Room `cli` (imports everything): engines by name: the part `[engines]` of a home's `antiphon.toml`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from antiphon.engines.configured import FILE, Configured, configured, said_by
from antiphon.engines.urls import engine_at
from antiphon.engines.variables import filled, variables_of
from antiphon.model.errors import AntiphonError, InvalidInput, ReadOnly

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")


def engines_of(home: Path) -> dict[str, str]:
    """URL by name; what stands in `${…}` comes from the environment. Raises InvalidInput, naming file and engine."""
    return {name: _url(home, name, template) for name, template in named_in(home).items()}


def named_in(home: Path) -> dict[str, str]:
    """URL by name as they stand in the file. Raises InvalidInput, naming the file."""
    return dict(configured(home).engines)


def engine_named(home: Path, name: str) -> str:
    """The URL of one. Raises InvalidInput, naming those that there are."""
    found = named_in(home)
    if name not in found:
        known = ", ".join(found) or "none"
        raise InvalidInput(f"{home / FILE} names no engine {name!r:.80}; known: {known}")
    return _url(home, name, found[name])


def _url(home: Path, name: str, template: str) -> str:
    try:
        return filled(template, os.environ)
    except InvalidInput as error:
        raise InvalidInput(f"{home / FILE}, {name}: {error}") from None


def attach(home: Path, name: str, url: str) -> Path:
    """Writes an engine into the file, which only its owner may read; the file. Raises InvalidInput, ReadOnly."""
    if not _NAME.fullmatch(name):
        raise InvalidInput("an engine's name has small letters, digits, - and _, and begins with a letter")
    if '"' in url or "\\" in url or not url.isprintable():
        raise InvalidInput("a URL holds no quotes, backslashes or control characters: write them as %22, %5C, …")
    if name in named_in(home):
        raise InvalidInput(f"{home / FILE} has an engine {name!r} already: change it there")
    known = {**dict.fromkeys(variables_of(url), "0"), **os.environ}  # a secret may come later
    if os.environ.keys() >= set(variables_of(url)) or not url.startswith("$"):
        engine_at(filled(url, known)).close()
    file = home / FILE
    lines = _lines(file)
    at = next((n + 1 for n, line in enumerate(lines) if line.strip() == "[engines]"), None)
    if at is None:
        lines += ["[engines]"] if not lines else ["", "[engines]"]
        at = len(lines)
    lines.insert(at, f'{name} = "{url}"')
    _write(file, lines, {**named_in(home), name: url})
    return file


def detach(home: Path, name: str) -> Path:
    """Takes an engine's line out of the file; the file. Raises InvalidInput where it has no line of its own."""
    file = home / FILE
    line = re.compile(rf"""\s*(engines\s*\.\s*)?(["']?){re.escape(name)}\2\s*=""")
    left = {one: url for one, url in named_in(home).items() if one != name}
    lines = [one for one in _lines(file) if not line.match(one)]
    _write(file, lines, left)
    return file


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _write(file: Path, lines: list[str], engines: dict[str, str]) -> None:
    """Puts the file in the old one's place, where it says of engines just that, and of the rest what it said."""
    text = "\n".join(lines) + "\n"
    before = configured(file.parent)
    try:
        is_right = said_by(file, text) == Configured(before.cipher, before.trust, engines)
    except AntiphonError:
        is_right = False
    if not is_right:
        raise InvalidInput(f"{file} is written in a way that is not changed here: change its [engines] by hand")
    made = file.with_suffix(".new")
    try:
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(text)
        made.replace(file)
    except OSError as error:
        raise ReadOnly(f"cannot write {file}: {error.strerror}: check the folder and its permissions") from None


def is_open(home: Path) -> bool:
    """Whether others than its owner may read the file, and a password stands in it."""
    file = home / FILE
    if not file.exists() or not file.stat().st_mode & 0o077:
        return False
    return any(_has_password(template) for template in named_in(home).values())


def _has_password(template: str) -> bool:
    """Whether a URL has a password of its own, not just the name of a variable."""
    try:
        parts = urlsplit(template)
    except ValueError:
        return True
    said = [parts.password or "", *(value for name, value in parse_qsl(parts.query) if name == "password")]
    return any(one and not variables_of(one) for one in said)
