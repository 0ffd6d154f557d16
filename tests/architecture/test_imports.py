"""The house rules that no linter knows, read from the syntax tree of every module.

Does *not* see what is imported by a computed name, nor clocks inside a driver.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "antiphon"
MODULES = sorted(SOURCE.rglob("*.py"))
LINES_MAX = 500

HIDDEN_MODULES = {"time", "random", "uuid", "secrets"}
HIDDEN_NAMES = {"os.urandom", "os.getrandom", "apsw.randomness", "nacl.utils.random"}
HIDDEN_METHODS = {"now", "utcnow", "today"}  # of datetime and date


def name_of(module: Path) -> str:
    return module.relative_to(SOURCE).as_posix()


def room_of(module: Path) -> str:
    return module.relative_to(SOURCE).parts[0].removesuffix(".py")


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an attribute chain that starts at a name, else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


def hidden(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each (line, name) where the module takes time or chance from the system."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                top = item.name.split(".")[0]
                aliases[item.asname or top] = item.name if item.asname else top
                if top in HIDDEN_MODULES:
                    yield node.lineno, item.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for item in node.names:
                full = aliases[item.asname or item.name] = f"{node.module}.{item.name}"
                if node.module.split(".")[0] in HIDDEN_MODULES or full in HIDDEN_NAMES:
                    yield node.lineno, full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (path := dotted(node)):
            head, _, rest = path.partition(".")
            full = f"{aliases.get(head, head)}.{rest}"
            clock = full.startswith("datetime.") and node.attr in HIDDEN_METHODS
            if clock or full in HIDDEN_NAMES:
                yield node.lineno, full


def test_there_is_something_to_check() -> None:
    assert MODULES, f"no modules below {SOURCE}"


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "import time as t",
        "from time import sleep",
        "from random import Random",
        "import uuid",
        "import secrets",
        "import os\nos.urandom(8)",
        "from os import urandom",
        "import os as o\no.urandom(8)",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\ndatetime.now()",
        "from datetime import date as d\nd.today()",
        "import nacl.utils\nnacl.utils.random(8)",
    ],
)
def test_the_check_sees(code: str) -> None:
    assert list(hidden(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "from antiphon.model import time",
        "from antiphon.model.time import Stamp",
        "from . import time",
        "import os\nos.path",
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(1, UTC)",
        "clock.now()",
    ],
)
def test_the_check_lets_pass(code: str) -> None:
    assert not list(hidden(ast.parse(code)))


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_time_and_chance_come_from_world(module: Path) -> None:
    if room_of(module) == "world":
        return
    found = list(hidden(ast.parse(module.read_text("utf-8"))))
    assert not found, f"{name_of(module)} takes time or chance by itself"


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_module_is_too_long(module: Path) -> None:
    lines = len(module.read_text("utf-8").splitlines())
    assert lines <= LINES_MAX, f"{name_of(module)} has {lines} lines: cut it where a second subject begins"


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_says_which_room_it_is_in(module: Path) -> None:
    text = ast.get_docstring(ast.parse(module.read_text("utf-8")))
    assert text, f"{name_of(module)} begins with no docstring"
    if module.parent == SOURCE:  # the package itself and the façades: a docstring is enough
        return
    room = room_of(module)
    assert re.match(rf"Room `{room}\b", text), f"{name_of(module)}: begin with: Room `{room}` (what it may import): …"
