"""Writes docs/domains/NAME.md from the declarations of each built-in domain; with --check, says which differ.

`make check` fails where a page is not what its declaration says; `.venv/bin/python tools/make_domain_pages.py` makes
them again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from antiphon.domains import BUILT_IN  # noqa: E402
from antiphon.model.printed import facts_of, notes_of, type_text  # noqa: E402
from antiphon.model.table import Table  # noqa: E402
from antiphon.views.domain import Domain, Kind, Registry  # noqa: E402

FOLDER = ROOT / "docs" / "domains"
COMMAND = ".venv/bin/python tools/make_domain_pages.py"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def kind_lines(kind: Kind) -> Iterator[str]:
    doc = (kind.body.__doc__ or "").strip().split("\n\n")[0]
    generic = doc.startswith(kind.body.__name__ + "(")  # what msgspec says of a structure without words of its own
    yield f"### `{kind.name}`"
    yield ""
    if doc and not generic:
        yield cell(" ".join(doc.split()))
        yield ""
    fields = []
    for field in msgspec.structs.fields(kind.body):
        required = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        fields.append(f"`{field.name}`" + (" (required)" if required else ""))
    version = f"Version {kind.version}. " if kind.version > 1 else ""
    yield f"{version}Fields: {', '.join(fields) or 'none'}."
    yield ""


def table_lines(table: Table) -> Iterator[str]:
    yield f"### `{table.name}`"
    yield ""
    if table.doc:
        yield cell(table.doc)
        yield ""
    yield "| column | type | declared |"
    yield "|---|---|---|"
    for column in table.columns:
        notes = [*notes_of(table, column), *([column.doc] if column.doc else [])]
        yield f"| `{column.name}` | {cell(type_text(column))} | {cell(', '.join(notes))} |"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for label, text in facts_of(table):
        yield f"| {label} | {cell(text)} |"
    yield ""


def page(registry: Registry, domain: Domain) -> str:
    """A domain's page, whole."""
    tables = [table for name, table in registry.tables.items() if registry.domain_of_table[name] == domain.name]
    lines = [
        f"# The domain `{domain.name}`",
        "",
        f"Made from its declarations, version {domain.version}, by `tools/make_domain_pages.py`: change those, not "
        "this page. `antiphon tables NAME` prints the same of one table.",
        "",
        "## Tables",
        "",
    ]
    for table in tables:
        lines += table_lines(table)
    lines += ["## Events", ""]
    for kind in domain.kinds:
        lines += kind_lines(kind)
    return "\n".join(lines).rstrip() + "\n"


def pages() -> dict[Path, str]:
    """Every page as it should be."""
    registry = Registry(BUILT_IN)
    return {FOLDER / f"{domain.name}.md": page(registry, domain) for domain in registry.domains.values()}


def differing() -> list[str]:
    """What is wrong with the pages there are, a line each."""
    wanted = pages()
    wrong = [
        f"{path.relative_to(ROOT)}: not what its domain declares; make it again: {COMMAND}"
        for path, text in wanted.items()
        if not path.exists() or path.read_text("utf-8") != text
    ]
    wrong += [
        f"{path.relative_to(ROOT)}: no built-in domain has this name: delete it"
        for path in sorted(FOLDER.glob("*.md"))
        if path not in wanted
    ]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page differs")
    if parser.parse_args().check:
        wrong = differing()
        print("\n".join(wrong) or "pages of domains: as declared")
        return 1 if wrong else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in pages().items():
        path.write_text(text, "utf-8")
    print(f"{len(pages())} pages in {FOLDER.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
