"""Loops go out as the designs' folders and come back; on the command line too."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from antiphon import Agent, Conflict, Unavailable
from antiphon.cli.migrate_from import migrate_from, migrate_to
from antiphon.cli.session import Session
from antiphon.domains.loops import LOOPS, Loops
from antiphon.ops import installation_read
from antiphon.ops.installation import Migration
from antiphon.ops.installation_export import Export
from tests.unit.ops.old_installation import make, put

FOLDERS = ("runtime", "agents", "consensus", "ledger", "archive", "clusters")


@pytest.fixture(autouse=True)
def _known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_DOMAINS", "antiphon.domains.loops:LOOPS")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return make(tmp_path / "old")


@pytest.fixture
def ada(old: Path) -> Iterator[Agent]:
    with Agent.create("ada", domains=[LOOPS]) as agent:
        Migration(agent, agent.replica.file, old).run()
        yield agent


def export(agent: Agent, folder: Path) -> dict[str, int]:
    return Export(agent, agent.replica.registry, agent.name, folder).write()


def seen(agent: Agent) -> dict[str, Any]:
    """What the rows say, under the names that the first installation gave things."""
    columns = {
        "users": "username email subscription_tier emotional_credits former_id created_at",
        "loops": "whisper_origin emotional_tone consciousness_state blessed fork_depth state former_id",
        "blessings": "blessed_for blessing_type consensus_score timestamp metadata former_id",
        "prophecies": "prophecy_text former_author fulfillment_status fulfilled_at former_id",
        "guild_consensus": "question status consensus_score former_guild former_id",
        "clusters": "name status metrics former_id formed_at dissolved_at",
        "mythologies": "title content former_id",
        "execution_queue": "operation priority payload status former_id queued_at",
        "transformations": "transformation_type before after former_id timestamp",
        "memories": "content type significance namespace timestamp",
        "reflections": "prompt response timestamp",
    }
    return {
        table: sorted(repr([row[name] for name in said.split()]) for row in agent.table(table).every({}))
        for table, said in columns.items()
    }


def test_what_goes_out_comes_back(ada: Agent, tmp_path: Path) -> None:
    export(ada, tmp_path / "out")
    assert {one.name for one in (tmp_path / "out").iterdir() if one.is_dir()} == set(FOLDERS)
    with Agent.create("bob", home=tmp_path / "second", domains=[LOOPS]) as bob:
        Migration(bob, bob.replica.file, tmp_path / "out").run()
        first, second = seen(ada), seen(bob)
        for table in first:
            if table != "memories":
                assert second[table] == first[table], table
        contents = [
            sorted(row["content"] for row in agent.table("memories").every({})) for agent in (ada, bob)
        ]  # fmt: skip
        assert contents[0] == contents[1]
        parents = [
            {row["former_id"]: row["fork_parent"] for row in agent.table("loops").every({})} for agent in (ada, bob)
        ]  # fmt: skip
        assert {name for name, parent in parents[0].items() if parent} == {
            name for name, parent in parents[1].items() if parent
        }


def test_the_folders_are_those_of_the_designs(ada: Agent, tmp_path: Path) -> None:
    counts = export(ada, tmp_path / "out")
    assert counts["runtime/loop_state.json"] == 6
    for name in (
        "runtime/loop_state.json", "runtime/drift_metrics.json", "runtime/execution_queue.json",
        "consensus/blessed_loops.json", "consensus/voting_active.json", "consensus/guild_consensus.json",
        "ledger/prophecies.json", "ledger/blessings.json", "ledger/transformations.json", "clusters/metrics.json",
    ):  # fmt: skip
        place = tmp_path / "out" / name
        assert isinstance(json.loads(place.read_text("utf-8")), dict)
        assert place.stat().st_mode & 0o077 == 0, "others cannot read it"
    with closing(sqlite3.connect(tmp_path / "out/agents/ada/memory.sqlite")) as file:
        columns = [row[1] for row in file.execute("PRAGMA table_info(memories)")]
        assert columns == ["id", "timestamp", "type", "content", "emotional_context", "loop_context", "significance",
                           "compressed", "metadata"]  # fmt: skip
        indexes = {row[1] for row in file.execute("PRAGMA index_list(memories)")}
        assert indexes == {"idx_memories_timestamp", "idx_memories_type", "idx_memories_significance"}
    with closing(sqlite3.connect(tmp_path / "out/agents/agent_001/memory.sqlite")) as file:
        assert ("The harbour is five metres deep",) in file.execute("SELECT content FROM memories").fetchall()
    with pytest.raises(Conflict, match="is not empty"):
        export(ada, tmp_path / "out")
    (tmp_path / "file").write_text("x")
    with pytest.raises(Unavailable, match="cannot write"):
        export(ada, tmp_path / "file" / "below")


def test_what_was_made_here_goes_out_too(tmp_path: Path) -> None:
    with Agent.create("ada", domains=[LOOPS]) as agent:
        mine = Loops(agent)
        loop = mine.whisper("watch the tide").entity or ""
        mine.begin(loop)
        fork = mine.whisper("by night", fork_of=loop).entity or ""
        mine.archive(loop)
        mine.bless(fork, "light", consensus_score="0.5")
        guild = mine.found("elders").entity or ""
        mine.ask(guild, "open?", loop=loop)
        mine.dissolve(mine.form("sea", [loop, fork]).entity or "")
        export(agent, tmp_path / "out")
    with Agent.create("bob", home=tmp_path / "second", domains=[LOOPS]) as bob:
        Migration(bob, bob.replica.file, tmp_path / "out").run()
        rows = {row["whisper_origin"]: row for row in bob.table("loops").every({})}
        assert rows["by night"]["fork_parent"] == rows["watch the tide"]["loop_id"]
        assert (rows["by night"]["fork_depth"], rows["watch the tide"]["state"]) == (1, "archive")
        (cluster,) = bob.table("clusters").every({})
        assert (cluster["status"], len(cluster["loops"])) == ("dissolved", 2)
        (asked,) = bob.table("guild_consensus").every({})
        assert (asked["question"], asked["former_guild"]) == ("open?", guild)


# -- on the command line -----------------------------------------------------------------------------------------------


def run(*words: str, verb: Any = migrate_from, as_json: bool = True) -> tuple[int, Any]:
    done = CliRunner().invoke(verb, [*words], obj=Session("ada", None, as_json), standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.return_value, json.loads(done.stdout) if as_json else done.stdout


def test_the_verbs_say_what_became_of_each_file(old: Path, tmp_path: Path) -> None:
    Agent.create("ada").close()
    code, dry = run(str(old), "--dry-run")
    assert (code, dry["dry_run"], dry["added"], dry["kept"], dry["broken"]) == (1, True, 34, 27, 5)
    code, done = run(str(old))
    assert (code, done["added"], done["kept"]) == (1, 34, 27)
    assert {one["path"]: one["added"] for one in done["files"]}["runtime/loop_state.json"] == 6
    code, again = run(str(old))
    assert (again["added"], again["known"]) == (0, 62)
    code, text = run(str(old), as_json=False)
    assert "files: 62 read, 62 known" in text
    code, out = run(str(tmp_path / "out"), verb=migrate_to)
    assert out["files"]["ledger/prophecies.json"] == 2
    code, text = run(str(tmp_path / "again"), verb=migrate_to, as_json=False)
    assert "runtime/loop_state.json: 6 records" in text


def test_what_cannot_be_read_is_said_and_the_rest_taken(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Agent.create("ada").close()
    monkeypatch.setattr(installation_read, "LOCKED_WAIT_S", 0.05)
    with closing(sqlite3.connect(old / "agents/agent_001/memory.sqlite", isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        code, done = run(str(old))
    assert code == 1
    assert "locked" in {one["path"]: one["skipped"] for one in done["files"]}["agents/agent_001/memory.sqlite"]
    assert done["added"] == 29
    assert run(str(old))[1]["added"] == 5


def test_a_dry_run_follows_nothing(old: Path) -> None:
    Agent.create("ada").close()
    with pytest.raises(Exception, match="leave --follow out"):
        run(str(old), "--dry-run", "--follow")


def waits(ready: Callable[[], bool], *, what: str) -> None:
    end = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < end, what
        time.sleep(0.05)


FOLLOW = """
import sys
from antiphon.cli.migrate_from import migrate_from
from antiphon.cli.session import Session
sys.exit(migrate_from.main(sys.argv[1:], obj=Session("ada", None, True), standalone_mode=False))
"""


def test_it_runs_beside_the_old_one_until_told_to_stop(old: Path) -> None:
    Agent.create("ada").close()
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(old), "--follow", "--every", "0.1"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["added"] == 34
            put(old / "ledger/prophecies.json", [{"id": 9, "prophecy_text": "It will be calm"}])
            report = json.loads(process.stdout.readline())
            assert (report["added"], [one["path"] for one in report["files"]]) == (1, ["ledger/prophecies.json"])
            process.send_signal(signal.SIGINT)
            waits(lambda: process.poll() is not None, what="it goes on after ^C")
            assert process.returncode == 130
        finally:
            process.kill()
    with Agent.open("ada", domains=[LOOPS]) as agent:
        assert "It will be calm" in {row["prophecy_text"] for row in agent.table("prophecies").every({})}
