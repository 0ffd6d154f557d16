"""An old installation with hostile or broken things in it: each is a line of its own in the report, none ends it."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from antiphon import Agent, InvalidInput
from antiphon.cli import main
from antiphon.domains.loops import LOOPS
from antiphon.home import Home
from antiphon.model.errors import ReadOnly
from antiphon.ops import installation
from antiphon.ops.installation_bytes import content_of
from tests.unit.ops.old_installation import make, put
from tests.unit.ops.test_installation import ada, bodies, loops, moving, old

__all__ = ["ada", "old"]
GOOD = {"whisper_origin": "good", "created_at": "2024-05-01T10:00:00Z"}


def nested(depth: int) -> Any:
    value: Any = "the innermost"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "bad",
    [
        {"whisper_origin": "w", "extra": nested(940)},
        {"whisper_origin": "w", "consciousness_state": {"a": nested(940)}},
        {"whisper_origin": "w", "related": "[" * 30_000, "consciousness_state": "[" * 30_000},
        {"whisper_origin": "w" * 300_000, "emotional_tone": "x" * 300_000},
        {"whisper_origin": "w", "id": "i" * 300_000},
        {"whisper_origin": "w", "state": 10**4200, "created_at": 10**4200},
        {"whisper_origin": "\ud800", "creator_id": "\ud800"},
    ],
    ids=["deep", "deep column", "deep text", "long", "long id", "large", "no unicode"],
)
def test_one_bad_record_ends_no_run_and_is_kept(ada: Agent, tmp_path: Path, bad: dict[str, Any]) -> None:
    put(tmp_path / "old/runtime/loop_state.json", {"l0": GOOD, "l1": bad, "l2": GOOD})
    put(tmp_path / "old/ledger/prophecies.json", [{"id": 1, "prophecy_text": "t", "related_loops": "[" * 30_000}])
    report = moving(ada, tmp_path / "old").run()
    assert {"l0", "l2"} <= {name for name in loops(ada) if name}
    assert len([*ada.table("prophecies").every({})]) == 1, "but for the column that does not fit"
    assert report.total("refused") == 0
    assert report.total("read") == 4
    again = moving(ada, tmp_path / "old").run()
    assert (again.total("added"), again.total("kept")) == (0, 0)


def test_an_id_that_is_too_long_stands_with_its_value(ada: Agent, tmp_path: Path) -> None:
    long = "i" * 70_000
    put(tmp_path / "old/runtime/loop_state.json", {"loops": {long: "no loop", "l0": GOOD}})
    report = moving(ada, tmp_path / "old").run()
    assert (report.total("added"), report.total("kept")) == (1, 1)
    raw = b"".join(one["raw"] for one in bodies(ada) if one.get("raw"))
    assert json.loads(raw) == {"former_id": long, "value": "no loop"}
    assert all(len(note) <= installation.NOTE_CHARS_MAX for one in report.files for note in one.notes)


def test_what_cannot_even_be_kept_is_said(ada: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "old/runtime/loop_state.json", {"l0": GOOD, "l1": "no loop"})

    def refuse(*_: object, **__: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(installation.Migration, "_keep", refuse)
    (done,) = moving(ada, tmp_path / "old").run().files
    assert (done.read, done.added, done.refused) == (2, 1, 1)
    assert "$.l1: it could not even be kept: too deep" in done.notes


def test_bytes_of_what_is_nested_deep_are_the_same_json() -> None:
    value = {"b": [1, {"c": None, "a": []}, {}, b"raw"], "a": nested(3)}
    deep = {"deep": nested(30_000), **value}
    raw = content_of(deep)
    assert raw.count(b"[") == 30_000 + 3 + 2
    flat = raw.replace(b"[" * 30_000 + b'"the innermost"' + b"]" * 30_000, b"0")
    assert flat == content_of({"deep": 0, **value})


# -- notes that are true -----------------------------------------------------------------------------------------------


def test_the_report_says_why_something_is_left_over_and_what_has_no_date(ada: Agent, tmp_path: Path) -> None:
    put(tmp_path / "old/runtime/loop_state.json", {"l1": {**GOOD, "creator_id": "nobody", "colour": "red"}})
    put(tmp_path / "old/ledger/prophecies.json",
        [{"id": 1, "prophecy_text": "rain", "fulfillment_status": "perhaps"},
         {"id": 2, "prophecy_text": "sun", "created_at": "gibberish"}])  # fmt: skip
    put(tmp_path / "old/clusters/active/c.json",
        {"cluster_id": "c", "formed_at": "2024-01-01", "agents": ["agent_001"]})  # fmt: skip
    put(tmp_path / "old/agents/a/state.json", {"tone": "calm"})
    notes = {one.path: one.notes for one in moving(ada, tmp_path / "old").run().files}
    assert notes["runtime/loop_state.json"] == [
        "$.l1: no column for colour; creator_id: 'nobody' is no user that was taken: kept beside it"
    ]
    assert notes["ledger/prophecies.json"] == [
        "$[0]: it has no date: taken as of now",
        "$[0]: fulfillment_status: 'perhaps' is none: kept beside it",
        "$[1]: created_at: 'gibberish' is no time: taken as of now",
        "$[1]: no column for created_at: kept beside it",
    ]
    assert "agents: 'agent_001' is no agent of here" in notes["clusters/active/c.json"][0]
    assert "this is another's" in notes["agents/a/state.json"][0]


# -- the command -------------------------------------------------------------------------------------------------------


def run(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == code, result.output
    return result


def test_a_story_that_comes_before_what_it_is_about_is_linked_to_it(ada: Agent, tmp_path: Path) -> None:
    put(tmp_path / "old/clusters/mythology/m.json", {"title": "t", "content": "c", "cluster_id": "c1", "told": 1})
    put(tmp_path / "old/clusters/active/c1.json", {"cluster_id": "c1", "formed_at": "2024-01-01"})
    done, _ = moving(ada, tmp_path / "old").run().files
    assert done.notes[-1].endswith("kept beside it; linked when it comes")
    (story,) = ada.table("mythologies").every({})
    assert story["cluster_id"] is not None


def test_what_could_not_be_read_is_the_exit_code(own_home: Path, tmp_path: Path) -> None:
    run("init", "ada")
    put(tmp_path / "old/runtime/loop_state.json", {"l0": GOOD})
    run("migrate-from", str(tmp_path / "old"))
    put(tmp_path / "old/ledger/blessings.json", "{")
    put(tmp_path / "old/agents/a/memory.sqlite", b"SQLite format 3\0" + b"torn" * 40_000)
    for _ in range(2):
        said = json.loads(run("migrate-from", str(tmp_path / "old"), "--json", code=1).stdout)
        assert said["broken"] == 2


def test_a_folder_that_is_no_installation_is_refused(own_home: Path, tmp_path: Path) -> None:
    run("init", "ada")
    for name in ("a.txt", "b/c.json"):
        put(tmp_path / "photos" / name, "{}")
    with closing(sqlite3.connect(tmp_path / "photos/b/users.db")) as file:
        file.execute("CREATE TABLE users(id)")
    put(tmp_path / "photos/soulfra/runtime/loop_state.json", {"l0": GOOD})
    for more in ((), ("--dry-run",)):
        refused = run("migrate-from", str(tmp_path / "photos"), *more, code=2)
        assert "nothing in" in refused.stderr
        assert "--anyway" in refused.stderr
    assert json.loads(run("rows", "installation_records", "--json").stdout)["rows"] == []
    told = json.loads(run("migrate-from", str(tmp_path / "photos"), "--anyway", "--json").stdout)
    assert told["kept"] == 3
    (tmp_path / "empty").mkdir()
    run("migrate-from", str(tmp_path / "empty"))


def test_a_sqlite_file_with_a_table_of_theirs_is_an_installation(ada: Agent, tmp_path: Path, old: Path) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(old / "agents/agent_001/memory.sqlite", tmp_path / "one/anything.db")
    assert moving(ada, tmp_path / "one").run().total("added") > 0
    (tmp_path / "other").mkdir()
    put(tmp_path / "other/notes.db", b"SQLite format 3\0torn")
    with pytest.raises(InvalidInput, match="nothing in"):
        moving(ada, tmp_path / "other").run()


def test_a_dry_run_needs_no_home_that_can_be_written(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "old")
    put(tmp_path / "old/runtime/long.json", "{}")
    with Agent.create("ada", domains=[LOOPS]):
        pass
    written = json.loads(run("migrate-from", str(tmp_path / "old"), "--dry-run", "--json", code=1).stdout)
    opened = Home.open_agent

    def only_read(home: Home, name: str, *, read_only: bool = False) -> Any:
        if not read_only:
            raise ReadOnly("nothing can be written here")
        return opened(home, name, read_only=True)

    with monkeypatch.context() as patched:
        patched.setattr(Home, "open_agent", only_read)
        tried = json.loads(run("migrate-from", str(tmp_path / "old"), "--dry-run", "--json", code=1).stdout)
    assert tried == written
    assert tried["added"] > 10
    run("migrate-from", str(tmp_path / "old"), code=1)
    with monkeypatch.context() as patched:
        patched.setattr(Home, "open_agent", only_read)
        again = json.loads(run("migrate-from", str(tmp_path / "old"), "--dry-run", "--json", code=1).stdout)
    assert again["added"] == 0
    assert again["known"] > 10


def test_forgetting_names_the_folder_that_still_has_it(own_home: Path, tmp_path: Path) -> None:
    run("init", "ada")
    put(tmp_path / "old/archive/chatlogs/a.jsonl", json.dumps({"id": "m", "text": "the ferry", "user": "Grace"}))
    run("migrate-from", str(tmp_path / "old"), "--dry-run")
    run("migrate-from", str(tmp_path / "old"))
    done = json.loads(run("forget", "--person", "Grace", "--yes", "--json").stdout)
    assert [one["detail"].split(":")[0] for one in done["places"] if one["name"] == "old installation"] == [
        str(tmp_path / "old")
    ]
    assert not done["complete"]
