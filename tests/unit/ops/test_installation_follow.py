"""Beside an old installation that is still in use: only what changes comes, however files come, go and break."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, LimitExceeded, NotFound
from antiphon.domains.loops import LOOPS
from antiphon.model.event import decode_body
from antiphon.ops import installation_read
from antiphon.ops.installation import Migration, Report
from antiphon.ops.installation_follow import KEPT_PAUSE_MS, SETTLE_LOOKS_MAX, Following
from antiphon.world.clock import ManualClock
from tests.unit.ops.old_installation import make, put
from tests.unit.ops.test_installation import events, loops, moving

STATE = "agents/agent_001/state.json"


class Beside:
    """One agent that follows a folder."""

    def __init__(self, agent: Agent, root: Path) -> None:
        self.agent, self.root = agent, root
        self.clock = ManualClock(1_800_000_000_000)
        self.start()

    def start(self) -> Report:
        self.migration: Migration = moving(self.agent, self.root, anyway=True)
        report = self.migration.run()
        self.following = Following(self.migration, self.clock)
        return report

    def look(self, times: int = 2) -> dict[str, Any]:
        """The files that had news, after some looks."""
        return {one.path: one for _ in range(times) for one in self.following.look().files}

    def kept(self, path: str) -> list[Any]:
        found = [decode_body(event.body) for event in self.agent.log() if event.body]
        return [one for one in found if one.get("path") == path and "reason" in one and one.get("of") is None]


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada", domains=[LOOPS]) as agent:
        yield agent


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return make(tmp_path / "old")


@pytest.fixture
def beside(ada: Agent, old: Path) -> Beside:
    return Beside(ada, old)


def test_it_takes_what_changes_once_it_has_settled(beside: Beside) -> None:
    assert beside.look() == {}
    place = beside.root / "runtime/loop_state.json"
    state = json.loads(place.read_text())
    state["loops"]["loop_100"] = {"whisper_origin": "a hundred"}
    whole = json.dumps(state)
    place.write_text(whole[:40])  # half written
    assert beside.look(1) == {}
    place.write_text(whole)
    assert beside.look(1) == {}, "it has changed since it was looked at"
    done = beside.look(1)["runtime/loop_state.json"]
    assert (done.added, done.kept) == (1, 0)
    assert beside.look() == {}
    put(beside.root / "archive/mythology/after.md", "And then?")
    assert beside.look(1) == {}
    assert [*beside.look(1)] == ["archive/mythology/after.md"]
    assert "loop_100" in loops(beside.agent)


def test_a_file_that_never_settles_is_taken_all_the_same(beside: Beside) -> None:
    place = beside.root / "ledger/prophecies.json"
    for number in range(SETTLE_LOOKS_MAX + 1):
        assert "It will be 5" not in {row["prophecy_text"] for row in beside.agent.table("prophecies").every({})}
        put(place, [{"id": 9, "prophecy_text": f"It will be {number}"}])
        beside.look(1)
    assert "It will be 5" in {row["prophecy_text"] for row in beside.agent.table("prophecies").every({})}


# -- what has no table -----------------------------------------------------------------------------------------------


def test_what_has_no_table_is_kept_again_once_a_while(beside: Beside) -> None:
    before = len(beside.kept(STATE))
    for tone in range(20):
        put(beside.root / STATE, {"archetype": "oracle", "current_tone": tone})
        beside.look()
    assert len(beside.kept(STATE)) == before + 1, "the first of twenty states"
    beside.clock.pass_ms(KEPT_PAUSE_MS)
    assert [*beside.look(1)] == [STATE]
    assert beside.kept(STATE)[-1]["value"]["current_tone"] == 19, "and what it is now"
    assert beside.look() == {}


def test_what_is_held_back_is_taken_at_the_end(beside: Beside) -> None:
    for tone in (1, 2):
        put(beside.root / STATE, {"current_tone": tone})
        beside.look()
    assert beside.kept(STATE)[-1]["value"] == {"current_tone": 1}
    assert [one.path for one in beside.following.finish().files] == [STATE]
    assert beside.kept(STATE)[-1]["value"] == {"current_tone": 2}
    assert beside.following.finish().files == []


def test_rows_come_at_once_from_a_file_whose_rest_is_held_back(beside: Beside) -> None:
    place = "ledger/prophecies.json"
    for number in (1, 2):
        put(beside.root / place, {"prophecies": [{"id": 9, "prophecy_text": f"{number}"}], "version": number})
        beside.look()
    assert "2" in {row["prophecy_text"] for row in beside.agent.table("prophecies").every({})}
    assert [one["value"] for one in beside.kept(place)][-1] == {"version": 1}


def test_of_a_large_value_only_parts_that_change_are_kept(ada: Agent, tmp_path: Path) -> None:
    value = {f"agent_{n}": {"tone": "calm", "log": "x" * 200} for n in range(200)}
    put(tmp_path / "old" / STATE, value)
    beside = Beside(ada, tmp_path / "old")
    assert len(beside.kept(STATE)) == 201
    value["agent_7"]["tone"] = "wild"
    put(tmp_path / "old" / STATE, value)
    beside.look()
    news = beside.kept(STATE)[201:]
    assert [(one["place"], one["value"]["tone"]) for one in news] == [("$.agent_7", "wild")]


def test_of_a_file_that_grows_only_the_end_is_kept_again(ada: Agent, tmp_path: Path) -> None:
    part = installation_read.PART_BYTES
    raw = bytes(range(256)) * 1_000
    place = tmp_path / "old/archive/old.log"
    put(place, raw)
    beside = Beside(ada, tmp_path / "old")
    first = beside.kept("archive/old.log")
    assert b"".join(one["raw"] for one in first) == raw
    put(place, raw + b"more")
    beside.look()
    beside.clock.pass_ms(KEPT_PAUSE_MS)
    (end,) = beside.kept("archive/old.log")[len(first) :]
    assert end["raw"] == (raw + b"more")[3 * part :]
    put(place, raw[: 2 * part])  # cut at the end of a part: the end is another
    beside.look()
    assert beside.kept("archive/old.log")[-1]["place"] == f"bytes {part}-{2 * part}, the end"


# -- what goes wrong -------------------------------------------------------------------------------------------------


def test_files_that_vanish_and_come_back(beside: Beside) -> None:
    place = beside.root / "ledger/prophecies.json"
    raw = place.read_bytes()
    before = events(beside.agent)
    place.unlink()
    assert beside.look() == {}
    place.write_bytes(raw)
    assert beside.look(3) == {}, "all of it is known"
    assert events(beside.agent) == before
    assert len(beside.agent.table("prophecies").select(limit=10)) == 2, "what is gone there stays here"


def test_a_file_that_vanishes_while_it_is_read(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    put(beside.root / "ledger/new.json", [1])
    real = Path.open

    def gone(path: Path, *how: Any) -> Any:
        if path.name == "new.json":
            path.unlink()
        return real(path, *how)

    monkeypatch.setattr(Path, "open", gone)
    done = beside.look()["ledger/new.json"]
    assert "No such file" in done.skipped
    assert beside.look(4) == {}


def test_a_folder_that_goes_away_is_said_once_and_waited_for(beside: Beside) -> None:
    away = beside.root.with_name("away")
    beside.root.rename(away)
    assert [(one.path, "there is no folder" in one.skipped) for one in beside.look(4).values()] == [(".", True)]
    put(away / "ledger/prophecies.json", [{"id": 9, "prophecy_text": "It is back"}])
    away.rename(beside.root)
    assert beside.look(3)["ledger/prophecies.json"].added == 1


def test_a_folder_that_was_never_there(ada: Agent, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no folder"):
        moving(ada, tmp_path / "none").run()
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotFound, match="there is no folder"):
        moving(ada, tmp_path / "file").run()


def test_a_locked_file_is_said_once_and_taken_later(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation_read, "LOCKED_WAIT_S", 0.01)
    with closing(sqlite3.connect(beside.root / "agents/agent_001/memory.sqlite", isolation_level=None)) as writer:
        writer.execute("INSERT INTO memories(timestamp, type, content) VALUES('2025', 'x', 'one more')")
        writer.execute("BEGIN EXCLUSIVE")
        assert "locked" in beside.look(6)["agents/agent_001/memory.sqlite"].skipped
        assert beside.look(6) == {}, "it was said"
        writer.execute("COMMIT")
    assert beside.look()["agents/agent_001/memory.sqlite"].added == 1


def test_a_file_in_wal_mode_is_followed_while_it_is_written(beside: Beside) -> None:
    with closing(sqlite3.connect(beside.root / "agents/agent_001/memory.sqlite", isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        beside.look(3)
        for number in range(3):
            writer.execute("INSERT INTO memories(timestamp, type, content) VALUES('2025', 'x', ?)", (f"n{number}",))
            assert beside.look(3)["agents/agent_001/memory.sqlite"].added == 1
    assert {"n0", "n1", "n2"} <= {row["content"] for row in beside.agent.table("memories").every({})}


def test_loops_of_links_and_what_is_no_file(ada: Agent, tmp_path: Path) -> None:
    root = tmp_path / "old"
    put(root / "runtime/loop_state.json", {"l1": {"whisper_origin": "w"}})
    (root / "runtime/round").symlink_to(root)
    (root / "runtime/self").symlink_to("self")
    os.mkfifo(root / "runtime/pipe.json")
    (tmp_path / "by_link").symlink_to(root)
    report = moving(ada, tmp_path / "by_link").run()
    assert report.total("added") == 1
    notes = {one.path: one.notes[0] for one in report.files if one.notes}
    assert "not followed" in notes["runtime/round"]
    assert "not followed" in notes["runtime/self"]
    assert "no plain file" in notes["runtime/pipe.json"]


def test_what_may_not_be_read_is_said_once(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    put(beside.root / "users.json", [])
    real = Path.open

    def refused(path: Path, *how: Any) -> Any:
        if path.name == "users.json":
            raise PermissionError(13, "Permission denied")
        return real(path, *how)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refused)
        assert "Permission denied" in beside.look(4)["users.json"].skipped
        assert beside.look(4) == {}
    put(beside.root / "users.json", [{"id": "z", "username": "new", "email": "n@x"}])
    assert beside.look(3)["users.json"].added == 1


def test_limits_have_names(ada: Agent, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation_read, "FILES_MAX", 3)
    with pytest.raises(LimitExceeded, match="FILES_MAX"):
        moving(ada, old).run()
    monkeypatch.undo()
    monkeypatch.setattr(installation_read, "FILE_BYTES_MAX", 100)
    monkeypatch.setattr(installation_read, "KEPT_FILE_BYTES_MAX", 200)
    report = moving(ada, old).run()
    said = {one.path: one.skipped for one in report.files}
    assert "KEPT_FILE_BYTES_MAX (200): move it" in said["archive/notes.bin"]


def test_what_is_forgotten_while_it_is_followed_stays_so(beside: Beside) -> None:
    beside.agent.forget(person="grace")
    users = json.loads((beside.root / "users.json").read_text())
    users["users"][0]["emotional_credits"] = 5
    put(beside.root / "users.json", users)
    done = beside.look()["users.json"]
    assert (done.left, done.changed, done.added) == (1, 0, 0)


def test_nothing_is_remembered_of_files_that_are_gone(beside: Beside) -> None:
    for number in range(50):
        place = beside.root / f"archive/{number}.json"
        put(place, [number])
        beside.look()
        place.unlink()
    beside.look()
    known = [value for value in vars(beside.following).values() if isinstance(value, dict)]
    there = len(installation_read.files_of(beside.root))
    assert max(map(len, known)) <= there + 1


# -- killed ----------------------------------------------------------------------------------------------------------

FOLLOW = """
import sys
from antiphon.cli.migrate_from import migrate_from
from antiphon.cli.session import Session
sys.exit(migrate_from.main(sys.argv[1:], obj=Session("ada", None, True), standalone_mode=False))
"""


def test_killed_again_and_again_it_takes_everything_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_DOMAINS", "antiphon.domains.loops:LOOPS")
    root, count = tmp_path / "old", 1_500
    put(root / "runtime/loop_state.json", {f"l{n}": {"whisper_origin": f"w{n}", "odd": n} for n in range(count)})
    put(root / STATE, {"archetype": "oracle"})
    Agent.create("ada").close()
    for number in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", FOLLOW, str(root), "--follow", "--every", "0.1"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                if number < 3:
                    with pytest.raises(subprocess.TimeoutExpired):
                        process.wait(1.5 + number / 3)
                else:
                    process.stdout.readline()  # the first run is whole
                    put(root / STATE, {"archetype": "guide"})
                    assert json.loads(process.stdout.readline())["kept"] == 1
            finally:
                process.send_signal(signal.SIGKILL)
    with Agent.open("ada", domains=[LOOPS]) as agent:
        assert sorted(loops(agent)) == sorted(f"l{n}" for n in range(count))
        assert len(list(agent.table("installation_records").every({}))) == count + 2
        again = moving(agent, root).run()
        assert (again.total("added"), again.total("kept")) == (0, 0)
        assert agent.verify().ok
