"""With --json every verb answers in JSON, on standard output and on standard error, whatever happens."""

import json
import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from antiphon import Agent
from antiphon.cli import feeding, main
from antiphon.engines.memory import MemoryTables
from tests.unit.ops.old_installation import put

VERBS: dict[str, list[str]] = {
    "init": ["init bob", "init ada", "init"],
    "demo": ["demo --nonsense"],
    "remember": ["remember tea", "remember"],
    "import": ["import {chat}", "import {nothing}"],
    "market": ["market", "market feed", "market import {nothing} --as companies", "market webhook --nonsense"],
    "migrate-from": ["migrate-from {old} --dry-run", "migrate-from {old}", "migrate-from {nothing}",
                     "migrate-from {home}"],
    "migrate-to": ["migrate-to {out}/folders", "migrate-to {home}"],
    "compress": ["compress"],
    "recall": ["recall tea", "recall nothing", "recall"],
    "show": ["show 1", "show 99999"],
    "history": ["history {entity}", "history x"],
    "log": ["log"],
    "rows": ["rows memories", "rows nosuch", "rows memories --order nonsense"],
    "follow": ["follow nosuch"],
    "tables": ["tables", "tables memories", "tables nosuch", "tables memories --ddl postgres"],
    "prove": ["prove 1 -o {out}/a.proof", "prove 99999"],
    "checkpoint": ["checkpoint -o {out}/a.checkpoint"],
    "verify": ["verify", "verify {out}/a.proof", "verify {nothing}"],
    "forget": ["forget {event} --yes", "forget 99999 --yes", "forget", "forget --requests"],
    "export": ["export {out}/a.export", "export {out}/a.export"],
    "stats": ["stats", "stats -a nobody"],
    "views": ["views", "views --rebuild memory"],
    "rejections": ["rejections"],
    "requests": ["requests", "requests answer x"],
    "homes": ["homes", "homes move x"],
    "grants": ["grants", "grants give ada editor", "grants give nobody editor"],
    "replay": ["replay --nonsense", "replay"],
    "engines": [
        "engines", "engines add store postgresql://u:p@127.0.0.1:1/x", "engines add cache redis://127.0.0.1:1/0",
        "engines add cache redis://127.0.0.1:1/0", "engines add x redis://a@b@c", "engines feed --once",
        "engines feed nosuch", "engines check store", "engines letters store", "engines reads store",
        "engines reads cache", "engines presence cache --once", "engines retry nosuch", "engines",
        "engines remove store",
        "engines check rows --sink tests.unit.cli.test_json:engine",
        "engines retry rows --sink tests.unit.cli.test_json:engine", "engines remove rows", "engines remove rows",
        "engines check", "engines nonsense",
    ],
    "migrate": ["migrate", "migrate nosuch", "migrate --dry-run"],
    "doctor": ["doctor"],
    "passphrase": ["passphrase --nonsense", "passphrase --remove"],
    "recover": ["recover {nothing}"],
    "adopt": ["adopt"],
    "mcp": ["mcp --nonsense"],
}  # fmt: skip
"""For each verb what is asked of it, in order: what is right and what is wrong."""

ENGINE = MemoryTables()


def engine() -> MemoryTables:
    """An engine of this process, by its name."""
    return ENGINE


@pytest.fixture
def asked(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    global ENGINE  # noqa: PLW0603  # a sink is reached by its name
    ENGINE = MemoryTables()
    monkeypatch.setattr(feeding, "PATIENCE_MS", 0)
    with Agent.create("ada") as ada:
        made = ada.remember("tea")
        ada.follow(ENGINE, name="rows", tables=["memories"]).run()
    put(tmp_path / "chat.jsonl", json.dumps({"id": "m", "text": "the ferry"}) + "\nnot json\n")
    put(tmp_path / "old/runtime/loop_state.json", {"l1": {"whisper_origin": "w"}})
    put(tmp_path / "old/ledger/blessings.json", "{")
    return {
        "chat": tmp_path / "chat.jsonl", "old": tmp_path / "old", "out": tmp_path, "nothing": tmp_path / "nothing",
        "home": os.environ["ANTIPHON_HOME"], "entity": made.entity, "event": made.event,
    }  # fmt: skip


def is_json(text: str) -> bool:
    """Whether a text is one JSON value, or one a line."""
    try:
        json.loads(text)
    except ValueError:
        try:
            return all(isinstance(json.loads(line), dict) for line in text.splitlines())
        except ValueError:
            return False
    return True


def test_every_verb_is_asked() -> None:
    assert set(VERBS) == set(main.commands)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_answers_in_json(verb: str, asked: dict[str, Any]) -> None:
    for line in VERBS[verb]:
        words = ["-a", "ada", "--json", *line.format(**asked).split()]
        result = CliRunner().invoke(main, words)
        assert is_json(result.stdout), (line, result.stdout)
        assert all(is_json(one) for one in result.stderr.splitlines()), (line, result.stderr)
        assert result.stdout or result.exit_code, (line, "it is right, and says nothing")
        if result.exit_code not in (0, 1):
            assert json.loads(result.stderr.splitlines()[-1])["exit"] == result.exit_code, line


def test_no_verb_at_all_is_an_error_in_json() -> None:
    result = CliRunner().invoke(main, ["--json"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Missing command" in json.loads(result.stderr)["message"]
    assert isinstance(main, click.Group)
