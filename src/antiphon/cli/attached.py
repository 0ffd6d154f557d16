"""Room `cli` (imports everything): engines by name: the part `[engines]` of a home's `antiphon.toml`."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Final

from antiphon.engines.urls import engine_at
from antiphon.model.errors import InvalidInput, NotFound

FILE: Final = "antiphon.toml"
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def engines_of(home: Path) -> dict[str, str]:
    """URL by name; what stands in `${…}` comes from the environment. Raises InvalidInput, naming the file."""
    return {name: _filled(url, home / FILE) for name, url in named_in(home).items()}


def named_in(home: Path) -> dict[str, str]:
    """URL by name as they stand in the file. Raises InvalidInput, naming the file."""
    file = home / FILE
    if not file.exists():
        return {}
    try:
        said = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} is no TOML: {error}") from None
    found = said.get("engines", {})
    if not isinstance(found, dict) or not all(isinstance(url, str) for url in found.values()):
        raise InvalidInput(f'{file}: [engines] holds lines of the form name = "postgresql://…"')
    return found


def engine_named(home: Path, name: str) -> str:
    """The URL of one. Raises NotFound, naming those that there are."""
    found = engines_of(home)
    if name not in found:
        known = ", ".join(found) or "none"
        raise NotFound(f"{home / FILE} names no engine {name!r}; known: {known}")
    return found[name]


def attach(home: Path, name: str, url: str) -> Path:
    """Writes an engine into the file, which only its owner may read. Raises InvalidInput; the file."""
    if not _NAME.fullmatch(name):
        raise InvalidInput("an engine's name has small letters, digits, - and _, and begins with a letter")
    if '"' in url or "\\" in url or not url.isprintable():
        raise InvalidInput("a URL holds no quotes, backslashes or control characters: write them as %22, %5C, …")
    if name in named_in(home):
        raise InvalidInput(f"{home / FILE} has an engine {name!r} already: change it there")
    if os.environ.keys() >= set(_VARIABLE.findall(url)) or not url.startswith("$"):  # a secret may come later
        engine_at(_VARIABLE.sub(lambda found: os.environ.get(found[1], "0"), url)).close()
    file = home / FILE
    lines = file.read_text().splitlines() if file.exists() else []
    at = next((n + 1 for n, line in enumerate(lines) if line.strip() == "[engines]"), None)
    if at is None:
        lines += ["[engines]"] if not lines else ["", "[engines]"]
        at = len(lines)
    lines.insert(at, f'{name} = "{url}"')
    made = file.with_suffix(".new")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write("\n".join(lines) + "\n")
    made.replace(file)
    return file


def _filled(url: str, file: Path) -> str:
    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise InvalidInput(f"{file} asks for ${{{match[1]}}}, which is not in the environment")
        return found

    return _VARIABLE.sub(value, url)
