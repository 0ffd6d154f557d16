"""`antiphon engines` and `antiphon follow`, in process and (what is live) as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from antiphon import Agent, Rejected
from antiphon.cli import main
from antiphon.engines.memory import MemoryTables
from antiphon.views.feed import Change, Marks

ENGINE = MemoryTables()


def engine() -> MemoryTables:
    """What `--sink tests.unit.cli.test_engines:engine` reaches: an engine of this process."""
    return ENGINE


class Picky(MemoryTables):
    def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
        raise Rejected("not here")


def run(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == code, result.output
    return result


SINK = ("--sink", f"{__name__}:engine")


@pytest.fixture
def ada() -> Iterator[Agent]:
    global ENGINE  # noqa: PLW0603  # a sink is reached by its name
    ENGINE = MemoryTables()
    with Agent.create("ada") as agent:
        agent.remember("one")
        yield agent


def test_engines_lists_who_follows_and_how_far_behind(ada: Agent) -> None:
    assert json.loads(run("engines", "--json").stdout) == []
    ada.follow(ENGINE, name="rows", tables=["memories"]).run()
    ada.remember("two")
    (one,) = json.loads(run("engines", "--json").stdout)
    assert (one["name"], one["engine"], one["state"], one["behind"]) == ("rows", "MemoryTables", "following", 1)
    assert run("engines").stdout.split("\t")[:4] == ["rows", "MemoryTables", "following", "1"]


def test_check_compares_row_by_row(ada: Agent) -> None:
    follower = ada.follow(ENGINE, name="rows", tables=["memories"])
    follower.run()
    assert json.loads(run("engines", "check", "rows", *SINK, "--json").stdout)["ok"]
    made = ada.remember("two")
    found = json.loads(run("engines", "check", "rows", *SINK, "--json", code=1).stdout)
    assert found["differences"] == [{"table": "memories", "key": made.entity, "how": "missing", "columns": []}]
    assert "missing" in run("engines", "check", "rows", *SINK, code=1).stdout
    follower.run()
    run("engines", "check", "rows", *SINK)


def test_letters_are_listed_and_delivered_again(ada: Agent) -> None:
    ada.follow(Picky(), name="rows", tables=["memories"]).run()
    (letter,) = json.loads(run("engines", "letters", "rows", "--json").stdout)
    assert (letter["table"], letter["reason"]) == ("memories", "not here")
    assert json.loads(run("engines", "retry", "rows", *SINK, "--json").stdout) == {"refused": 0}
    assert json.loads(run("engines", "letters", "rows", "--json").stdout) == []
    run("engines", "check", "rows", *SINK)


def test_wrong_use_is_said(ada: Agent) -> None:
    ada.follow(ENGINE, name="rows", tables=["memories"]).run()
    run("engines", "check", code=2)
    run("engines", "check", "nobody", code=2)
    run("engines", "check", "rows", code=2)
    run("engines", "check", "rows", "--sink", "nowhere:nothing", code=2)
    run("follow", "nothing", code=2)
    run("engines", "remove", "rows")
    run("engines", "remove", "rows", code=2)


def follow(*args: str) -> "subprocess.Popen[str]":
    antiphon = Path(sys.executable).with_name("antiphon")
    return subprocess.Popen(
        [antiphon, "follow", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def lines(process: "subprocess.Popen[str]", read: Callable[[Any], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        read(json.loads(line))


def test_follow_shows_what_another_process_writes_until_it_is_interrupted(ada: Agent) -> None:
    got: list[Any] = []
    seen = threading.Event()

    def read(change: Any) -> None:
        got.append(change)
        if change["row"] is None:
            seen.set()

    with follow("memories", "--json", "--from", "start") as process:
        reader = threading.Thread(target=lines, args=(process, read))
        reader.start()
        try:
            made = ada.remember("two")
            for _ in range(200):
                if any(change["key"] == made.entity for change in got):
                    break
                seen.wait(0.1)
            ada.forget(made.event)
            assert seen.wait(20)
        finally:
            process.send_signal(signal.SIGINT)
            reader.join()
            errors = process.stderr.read() if process.stderr else ""
        assert process.wait(20) == 130
    assert errors == ""
    assert [change["row"]["content"] for change in got[:2]] == ["one", "two"]
    assert got[-1]["key"] == made.entity


def test_an_engine_is_named_before_its_secret_is_there(ada: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STORE_PASSWORD", raising=False)
    run("engines", "add", "store", "postgresql://fleet:${STORE_PASSWORD}@127.0.0.1:1/fleet")
    assert "has an engine 'store' already" in run("engines", "add", "store", "redis://127.0.0.1", code=2).stderr
    assert "store is named and not fed yet: `antiphon engines feed store`" in run("engines").stderr
    assert json.loads(run("engines", "--json").stdout) == []
    assert "${STORE_PASSWORD}, which is not in the environment" in run("engines", "feed", "--once", code=2).stderr
    ada.follow(ENGINE, name="store", tables=["memories"]).run()
    assert "named" not in run("engines").stderr
    assert "antiphon.toml does not name it any more" in run("engines", "remove", "store").stdout
    assert json.loads(run("engines", "--json").stdout) == []
    assert run("engines").stderr.startswith("nobody follows")
