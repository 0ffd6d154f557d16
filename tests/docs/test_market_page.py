"""docs/market.md: its shell script signs messages that are taken, and its limits are the code's."""

import importlib
import pkgutil
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon import Agent, ops
from antiphon.domains.market import Market
from antiphon.ops.market_hook import Inbound
from antiphon.ops.market_server import WebhookServer

PAGE = (Path(__file__).parents[2] / "docs/market.md").read_text("utf-8")
SECRET = "0123456789abcdef" * 4


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def agent(own_home: Path) -> Iterator[Agent]:
    with Agent.create("ada") as made:
        yield made


@pytest.fixture
def server(agent: Agent) -> Iterator[WebhookServer]:
    made = WebhookServer({"hubspot": Inbound(Market(agent), "hubspot", SECRET.encode())})
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.stop()
    thread.join()


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="curl or openssl is not here")
def test_the_script_signs_what_the_server_takes(agent: Agent, server: WebhookServer, tmp_path: Path) -> None:
    files = {"tell.sh": block("bash"), "change.json": block("json"), "secret": SECRET + "\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def tell(system: str, key: str, body: str = "change.json") -> str:
        url = server.url.removesuffix("/market/")
        done = subprocess.run(["bash", "tell.sh", url, "secret", system, key, body],
                              cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
        return done.stdout.strip()

    first = tell("hubspot", "message-1")
    assert first.startswith('{"status":"taken"')
    assert first.endswith(" 200")
    assert tell("hubspot", "message-1") == '{"status":"known"} 200'
    (row,) = agent.table("personas").select()
    assert (row["name"], row["role"], row["phone"]) == ("Ann Meyer", "head buyer", "+49 30 1234")
    (tmp_path / "umlaut.json").write_text(block("json").replace("Meyer", "Müller").replace("51", "52"))
    assert tell("hubspot", "message-2", "umlaut.json").endswith(" 200"), "lengths are of bytes"
    (tmp_path / "secret").write_text("f" * 64)
    assert tell("hubspot", "message-3").endswith(" 401")
    assert tell("other", "message-3").endswith(" 404")


def test_the_limits_are_the_codes() -> None:
    names = (one.name for one in pkgutil.iter_modules(ops.__path__, f"{ops.__name__}.") if ".market_" in one.name)
    modules = [importlib.import_module(name) for name in names]
    known = {name: value for module in modules for name, value in vars(module).items() if name.isupper()}
    named = re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`(?:\s\(([\d,]+)(?=[ )]))?", PAGE)
    named = [(name, said) for name, said in named if not name.startswith("ANTIPHON_")]
    assert len({name for name, _ in named}) > 10
    for name, said in named:
        assert name in known, f"{name} is no limit of the market"
        if said and not re.search(rf"`{name}`\s\({said}\s(?:MiB|s\b)", PAGE):
            assert known[name] == int(said.replace(",", "")), name
    for name, mib in re.findall(r"`(\w+)`\s\((\d+) MiB", PAGE):
        assert known[name] == int(mib) << 20, name
