"""The LangGraph store in several processes at once, beside the command line, and as its page shows it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent
from antiphon.log.store import LogRole
from antiphon.serve.langgraph import AntiphonStore

COMMAND = [sys.executable, "-c", "from antiphon.cli import main; main()"]
PAGE = (Path(__file__).parents[2] / "docs" / "langgraph.md").read_text("utf-8")
SECONDS_MAX = 60

WRITER = """
import sys
from antiphon import Agent
from antiphon.serve.langgraph import AntiphonStore

name, keys = sys.argv[1], int(sys.argv[2])
with Agent.open("ada") as agent:
    store = AntiphonStore(agent)
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(keys):
        store.put(("shared",), f"key {n}", {"by": name, "n": n})
        store.put(("own", name), f"key {n}", {"text": f"{name} says {n}"})
        if n % 4 == 3:
            store.delete(("shared",), f"key {n}")
"""


def cli(*words: str) -> Any:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout


def test_processes_that_put_the_same_new_keys_make_each_once() -> None:
    """Both begin at the same moment, in a file that has no item yet, not even the secret that ids are drawn with."""
    keys, names = 24, ("red", "blue")
    with Agent.create("ada") as ada:
        store = AntiphonStore(ada)
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, name, str(keys)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for name in names
        ]  # fmt: skip
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n", writer.communicate()[1]
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write("go\n")
            writer.stdin.flush()
        for n in range(keys):  # and a third one, here
            store.put(("shared",), f"key {n}", {"by": "here", "n": n})
        for writer in writers:
            _, errors = writer.communicate(timeout=SECONDS_MAX)
            assert writer.returncode == 0, errors

        for name in names:
            assert len(store.search(("own", name), limit=1_000)) == keys
        shared = ada.table("items").select(namespace="shared", limit=10_000)
        assert len({row["key"] for row in shared}) == len(shared), "no key has two rows"
        assert {row["key"] for row in shared} >= {f"key {n}" for n in range(keys) if n % 4 != 3}
        entities = {(event.entity) for event in ada.log() if event.kind == "item.put"}
        assert len(entities) == keys * 3, "whoever put a key first, all meant the same entity"

        rows = ada.table("items").select(order="created_at", limit=10_000)
        ada.replica.refold("items")
        assert sorted(ada.table("items").select(limit=10_000), key=str) == sorted(rows, key=str)
        own = [head for head in ada.replica.heads() if head.owner == ada.record_of_agent.agent]
        assert [head.role for head in own] == [LogRole.OWN]
        assert ada.verify().ok


def test_the_command_line_finds_and_forgets_items_while_the_store_is_open() -> None:
    with Agent.create("ada") as ada:
        store = AntiphonStore(ada)
        store.put(("people", "grace"), "address", {"street": "Lovelace Avenue 7"})
        store.put(("people", "ada"), "address", {"street": "Hopper Street 1"})
        [hit] = cli("-a", "ada", "recall", "lovelace", "--json")
        assert "Lovelace Avenue 7" in hit["text"]
        cli("-a", "ada", "forget", "--entity", store.entity(("people", "grace"), "address"), "--yes", "--json")
        assert store.get(("people", "grace"), "address") is None
        assert store.search((), query="lovelace") == []
        assert [item.namespace for item in store.search(())] == [("people", "ada")]
        assert cli("-a", "ada", "verify", "--json")["ok"]
        store.put(("people", "grace"), "address", {"street": "unknown"})
        assert len(store.search(("people",))) == 2


def test_what_the_page_shows_runs(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(compile(first, "docs/langgraph.md", "exec"), {"__name__": "__main__"})
    said = capsys.readouterr().out
    assert said.startswith("{'likes': 'tea', 'cups': 3}\n('users', 'grace') drinks")
    assert said.endswith("drinks\n[('users', 'grace')]\n")
    exec(compile(second, "docs/langgraph.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.startswith("True ['log', 'views'")
    with Agent.open("ada") as ada:
        assert AntiphonStore(ada).search(()) == []
