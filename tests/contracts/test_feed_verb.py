"""`antiphon engines feed --once`: what it says in JSON, and of a server that does not answer, while it waits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from antiphon import Agent
from antiphon.cli import feeding, main
from antiphon.domains.tasks.commands import Tasks
from servers.places import PostgresPlace, RedisPlace
from servers.process import free_port

pytestmark = pytest.mark.server


def run(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def agent(own_home: Path) -> None:
    with Agent.create("ada") as made:
        Tasks(made).create("a task")


@pytest.mark.usefixtures("agent")
def test_in_json_each_engine_is_a_line(
    postgres: PostgresPlace, valkey: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "PATIENCE_MS", 300)
    run("engines", "add", "store", postgres.url(postgres.make_database("verb")))
    run("engines", "add", "cache", valkey.url(prefix=valkey.prefix("verb")))
    run("engines", "add", "away", f"redis://127.0.0.1:{free_port()}/0")
    told = [json.loads(line) for line in run("--json", "engines", "feed", "--once", code=1).stdout.splitlines()]
    by_name = {one["name"]: one for one in told}
    assert len(told) == len(by_name) == 3
    for name in ("store", "cache"):
        one = by_name[name]
        assert (one["state"], one["behind"], one["error"], one["refused"]) == ("following", 0, "", 0)
        assert one["delivered"] > 0
        assert isinstance(one["lacks"], list)
    assert by_name["away"]["state"] == "retrying"
    assert "did not answer" in by_name["away"]["error"]
    assert run("engines", "feed", "store", "--once").stdout == "store has everything\n"


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize("url", ["postgresql://ada:secret@127.0.0.1:{}/db", "redis://:secret@127.0.0.1:{}/0"])
def test_whoever_waits_is_told_for_whom_and_until_when(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "PATIENCE_MS", 3_000)
    monkeypatch.setattr(feeding, "SILENT_MS", 500)
    port = free_port()
    run("engines", "add", "store", url.format(port))
    failed = run("engines", "feed", "store", "--once", code=1)
    (line,) = failed.stderr.splitlines()
    assert line.startswith("store: ")
    assert f"127.0.0.1:{port}" in line
    assert "asked again until " in line
    assert line.endswith(" UTC")
    assert "secret" not in failed.output
    assert failed.stdout.startswith("store: the engine did not answer for 3,000 ms")
    noted = run("--json", "engines", "feed", "store", "--once", code=1)
    assert "asked again until" in json.loads(noted.stderr)["note"]
    assert json.loads(noted.stdout)["state"] == "retrying"
