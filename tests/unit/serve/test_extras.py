"""Without the packages of an extra, its module says which one to install."""

import importlib
import sys

import pytest

from antiphon.model.errors import Unavailable


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("antiphon.serve.mcp", "mcp.server.mcpserver", "mcp"),
        ("antiphon.serve.langgraph", "langgraph.store.base", "langgraph"),
    ],
)
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, module: str, package: str, extra: str) -> None:
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Unavailable, match=rf"pip install 'antiphon\[{extra}\]'"):
        importlib.import_module(module)
