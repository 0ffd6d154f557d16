"""Whoever declares a table as the documents do imports from `antiphon` alone, and finds every word there."""

import ast
import re
from pathlib import Path

import pytest

import antiphon

ROOT = Path(__file__).parents[2]
ASIDE = {"typing", "msgspec", "tempfile"}


def sources() -> dict[str, str]:
    """Python that declares tables: an example, and blocks of the documents."""
    found = {"examples/own_domain.py": (ROOT / "examples/own_domain.py").read_text()}
    for page in sorted((ROOT / "docs").glob("*.md")):
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)):
            if re.search(r"\bTable\(", block):
                found[f"{page.name} {number}"] = block
    return found


def test_the_documents_declare_tables() -> None:
    assert {name.split(" ")[0] for name in sources()} >= {"examples/own_domain.py", "tables.md", "grants.md"}


@pytest.mark.parametrize("name", sources())
def test_all_that_is_imported_is_of_antiphon_itself(name: str) -> None:
    for node in ast.walk(ast.parse(sources()[name])):
        if isinstance(node, ast.ImportFrom):
            assert node.module in {"antiphon", *ASIDE}, f"{name} imports from {node.module}"
        elif isinstance(node, ast.Import):
            assert {one.name for one in node.names} <= {"antiphon", *ASIDE}


def test_every_word_of_the_page_on_tables_is_there() -> None:
    page = (ROOT / "docs/tables.md").read_text()
    listed = page[page.index("| about | words |") : page.index("The rest is for places")]
    rows = [line.split("|")[2] for line in listed.splitlines() if line.startswith("|")][2:]
    words = [word for row in rows for word in re.findall(r"`([A-Za-z_]+)`", row) if word != "CIRCLE"]
    assert len(words) > 25
    assert [word for word in words if word not in antiphon.__all__] == []
