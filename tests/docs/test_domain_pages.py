"""The pages of domains say what is declared, and a page that does not is noticed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_domain_pages", ROOT / "tools" / "make_domain_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def test_every_page_is_as_declared(maker: ModuleType) -> None:
    assert maker.differing() == []


def test_a_page_that_is_not_is_named_with_what_to_do(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maker, "ROOT", tmp_path)
    monkeypatch.setattr(maker, "FOLDER", tmp_path)
    for path, text in maker.pages().items():
        path.write_text(text, "utf-8")
    assert maker.differing() == []
    (tmp_path / "memory.md").write_text("as it was\n", "utf-8")
    (tmp_path / "items.md").unlink()
    (tmp_path / "gone.md").write_text("", "utf-8")
    wrong = maker.differing()
    assert [line.partition(":")[0] for line in wrong] == ["memory.md", "items.md", "gone.md"]
    assert all(maker.COMMAND in line for line in wrong[:2])
    assert "delete it" in wrong[2]


def test_a_page_has_every_column_and_kind(maker: ModuleType) -> None:
    for path, text in maker.pages().items():
        domain = maker.Registry(maker.BUILT_IN).domain(path.stem)
        assert all(f"### `{kind.name}`" in text for kind in domain.kinds)
        assert all(f"| `{column.name}` | " in text for table in domain.tables for column in table.columns)
