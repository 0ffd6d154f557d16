"""An old installation comes in whole, once; again only what is new; beside the old one as long as that runs."""

import base64
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, NotFound
from antiphon.domains.loops import LOOPS
from antiphon.model.event import decode_body
from antiphon.model.text import entity_text
from antiphon.ops import installation_read
from antiphon.ops.installation import CHUNK, LEFT, Migration, Report
from antiphon.ops.installation_taken import Taken
from tests.unit.ops.old_installation import GRACE, make, put


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada", domains=[LOOPS]) as agent:
        yield agent


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return make(tmp_path / "old")


def moving(ada: Agent, root: Path, **how: Any) -> Migration:
    return Migration(ada, ada.replica.file, root, entropy=ada.replica.entropy, **how)


def events(ada: Agent) -> int:
    return sum(head.size for head in ada.replica.heads())


def figures(report: Report) -> dict[str, int]:
    return {what: report.total(what) for what in ("read", "added", "changed", "known", "kept", "left")}


def bodies(ada: Agent) -> list[Any]:
    return [decode_body(event.body) for event in ada.log() if event.body]


def loops(ada: Agent) -> dict[str, Any]:
    return {row["former_id"]: row for row in ada.table("loops").every({})}


def fingerprints(root: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in root.rglob("*")
    }


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


# -- once ------------------------------------------------------------------------------------------------------------


def test_loops_come_with_their_lineage(ada: Agent, old: Path) -> None:
    moving(ada, old).run()
    found = loops(ada)
    assert {name: row["fork_depth"] for name, row in found.items() if name in ("loop_001", "loop_002", "loop_003")} == {
        "loop_001": 0, "loop_002": 1, "loop_003": 2,
    }  # fmt: skip
    assert found["loop_002"]["fork_parent"] == found["loop_001"]["loop_id"]
    assert (found["loop_001"]["blessed"], found["loop_002"]["blessed"]) == (True, True)
    assert (found["loop_001"]["state"], found["loop_003"]["state"]) == ("loop", "whisper")
    (user,) = [row for row in ada.table("users").every({}) if row["username"] == "grace"]
    assert (user["emotional_credits"], user["former_id"]) == (1750, GRACE)
    assert found["loop_001"]["creator_id"] == user["id"]
    (story,) = [row for row in ada.table("mythologies").every({}) if row["former_id"] == "tide"]
    assert found["loop_001"]["mythology_id"] == story["mythology_id"]
    in_circle = [found["loop_x"]["fork_parent"], found["loop_y"]["fork_parent"]]
    assert None in in_circle, "a circle is cut, and what it said kept"
    assert ada.circles("loops") == []


def test_the_rest_comes_too(ada: Agent, old: Path) -> None:
    moving(ada, old).run()
    (blessing,) = [row for row in ada.table("blessings").every({}) if row["blessed_for"] == "agent_001"]
    assert (blessing["blessing_type"], str(blessing["consensus_score"]), blessing["metadata"]) == (
        "light", "0.91", {"moon": "full"},
    )  # fmt: skip
    told = {row["former_id"]: row for row in ada.table("prophecies").every({})}
    assert told["1"]["fulfillment_status"] == "fulfilled"
    assert told["1"]["related_loops"] == [loops(ada)["loop_001"]["loop_id"]]
    runs = {row["former_id"]: row for row in ada.table("execution_queue").every({})}
    assert (runs["1"]["operation"], runs["1"]["priority"], runs["2"]["status"]) == ("reflect", 7, "running")
    asked = {row["former_id"]: row for row in ada.table("guild_consensus").every({})}
    assert (asked["v1"]["status"], asked["elders"]["status"]) == ("open", "passed")
    clusters = {row["former_id"]: row for row in ada.table("clusters").every({})}
    assert (clusters["c1"]["status"], len(clusters["c1"]["loops"]), clusters["c0"]["status"]) == (
        "active",
        2,
        "dissolved",
    )
    ratings = {row["entity_type"]: row for row in ada.table("drift_ratings").every({})}
    assert (str(ratings["loop"]["rating"]), ratings["loop"]["level"]) == ("0.750000", "critical")
    (index,) = ada.table("drift_index").every({})
    assert str(index["volatility"]) == "0.420000"
    assert {row["transformation_type"] for row in ada.table("transformations").every({})} == {"tone", "archetype"}
    stories = {row["title"]: row["content"] for row in ada.table("mythologies").every({})}
    assert stories["latin"] == "Der Hügel über dem Meer"
    (tide,) = [row for row in ada.table("mythologies").every({}) if row["former_id"] == "tide"]
    assert tide["cluster_id"] == clusters["c1"]["cluster_id"], "a story may come before what it is about"


def test_memories_come_as_the_agents_own(ada: Agent, old: Path) -> None:
    moving(ada, old).run()
    (found,) = ada.recall("how deep is the harbour", namespace="agents.agent_001")
    assert found.text == "The harbour is five metres deep"
    rows = {row["content"]: row for row in ada.table("memories").every({})}
    deep = rows["The harbour is five metres deep"]
    assert (deep["significance"], deep["loop_context"], deep["metadata"]["source"]) == (0.9, "loop_001", "sonar")
    assert deep["metadata"]["former"]["path"] == "agents/agent_001/memory.sqlite"
    assert rows["Gulls"]["metadata"]["former"]["significance"] == 4.0, "what fits no column is kept beside it"
    assert "Café"[:3] in "".join(rows), "text in another encoding is read byte by byte"
    reflections = {row["prompt"]: row["response"] for row in ada.table("reflections").every({})}
    assert reflections == {"why?": "the moon", "Who am I?": "A watcher of tides."}
    assert len(list(ada.table("tone_shifts").every({}))) == 1
    assert {row["namespace"] for row in rows.values()} == {"agents.agent_001", "archive.chatlogs"}


NORMAL = {"true", "approved", "active", "running", "collapsed"}


def test_nothing_is_lost(ada: Agent, old: Path) -> None:
    """Every word and number of every file stands in some event: in a column, beside it, or in what is kept whole."""
    moving(ada, old).run()
    kept = bodies(ada)
    texts = {str(leaf) for leaf in leaves(kept)}
    blob = b"\n".join(leaf for leaf in leaves(kept) if isinstance(leaf, bytes)) + b"\n".join(
        text.encode("utf-8", "surrogatepass") for text in texts
    )
    times = set()
    for path in installation_read.files_of(old):
        if path.is_symlink() or path.suffix not in (".json", ".md") or path.name in ("cut.json", "deep.json"):
            continue
        raw = path.read_bytes()
        if path.suffix != ".json" or not raw:
            continue
        for leaf in leaves(json.loads(raw.decode("utf-8-sig"))):
            said = str(leaf)
            if leaf is None or said in NORMAL or leaf in (True, False):
                continue
            if said[:2] == "20" or (isinstance(leaf, int) and leaf > 1_000_000_000):
                times.add(said)  # a time, as milliseconds
                continue
            known = (
                said in texts
                or said.encode("utf-8", "surrogatepass") in blob
                or json.dumps(said).encode()[1:-1] in blob
            )
            if not known and not _is_a_columns_name(said):
                raise AssertionError(f"{path}: {said!r} is in no event")
    assert len(times) > 5
    for name in ("runtime/cut.json", "archive/notes.bin", "archive/deep.json", "agents/agent_002/memory.sqlite"):
        assert joined(kept, name) == (old / name).read_bytes()
    dream = next(one for one in kept if one.get("sort") == "dreams")
    assert dream["value"] == {"id": 1, "seen": b"\x00\xff\x10"}


def _is_a_columns_name(said: str) -> bool:
    """Names of fields, and of what holds records, are said by columns and tables."""
    known = {name for spec in _specs() for _, names in spec.columns.values() for name in names}
    known |= {name for spec in _specs() for name in spec.at}
    return said in known | {
        "users", "loops", "prophecies", "blessed_loops", "entities", "global_index", "loop_id", "id", "fork_depth",
        "critical", "loop_404",
    }  # fmt: skip


def _specs() -> list[Any]:
    from antiphon.ops.installation_map import SPECS

    return [*SPECS.values()]


def joined(kept: list[Any], path: str) -> bytes:
    """The bytes of a file that was kept in parts."""
    parts = [one for one in kept if one.get("path") == path and one.get("raw") is not None]
    return b"".join(
        one["raw"] for one in sorted(parts, key=lambda one: (_first_byte(one["place"]), one.get("part", 1)))
    )


def _first_byte(place: str) -> int:
    return int(place.split()[1].split("-", maxsplit=1)[0]) if place.startswith("bytes") else 0


def test_what_is_kept_is_listed_with_the_reason(ada: Agent, old: Path) -> None:
    report = moving(ada, old).run()
    rows = list(ada.table("installation_records").every({}))
    whole = [row for row in rows if row["of"] is None and row["part"] == 1]
    assert len(whole) == report.total("kept")
    reasons = {(row["path"], row["place"]): row["reason"] for row in rows}
    assert "needs email" in reasons["users.json", "$.users[2]"]
    assert "stands above with other content" in reasons["ledger/blessings.json", "$[3]"]
    assert "is nowhere in this installation" in reasons["consensus/blessed_loops.json", "$.blessed_loops[1]"]
    assert "not JSON" in reasons["runtime/cut.json", ""]
    assert "'a' stands twice" in reasons["ledger/twice.json", ""]
    assert "cannot be read" in reasons["agents/agent_002/memory.sqlite", "bytes 0-2016, the end"]
    assert reasons["runtime/loop_state.json", "$.loops.loop_002"] == LEFT
    notes = {one.path: one.notes for one in report.files}
    assert notes["archive/elsewhere"] == ["file: a link to /nowhere/at/all: not followed"]
    assert "read as Windows-1252" in notes["archive/mythology/latin.md"][0]


def test_the_old_installation_is_left_as_it_was(ada: Agent, old: Path) -> None:
    before = fingerprints(old)
    moving(ada, old).run()
    assert fingerprints(old) == before


def test_a_folder_that_is_not_there(ada: Agent, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no folder"):
        moving(ada, tmp_path / "none").run()


# -- dry, again, and after a crash -----------------------------------------------------------------------------------


def test_a_dry_run_says_what_a_run_does_and_leaves_nothing(ada: Agent, old: Path) -> None:
    before = events(ada)
    dry = moving(ada, old, dry_run=True).run()
    assert events(ada) == before
    assert loops(ada) == {}
    done = moving(ada, old).run()
    assert (dry.dry_run, done.dry_run) == (True, False)
    assert dry.files == done.files
    again = moving(ada, old, dry_run=True).run()
    assert figures(again) == {
        **dict.fromkeys(figures(again), 0),
        "read": done.total("read"),
        "known": done.total("read"),
    }


def test_again_takes_only_what_is_new(ada: Agent, old: Path) -> None:
    moving(ada, old).run()
    before = events(ada)
    again = moving(ada, old).run()
    assert figures(again) == {**dict.fromkeys(figures(again), 0), "read": 62, "known": 62}
    assert events(ada) == before
    state = json.loads((old / "runtime/loop_state.json").read_text())
    state["loops"]["loop_001"]["emotional_tone"] = "wild"
    state["loops"]["loop_002"]["blessed"] = False  # another file says that it is
    state["loops"]["loop_new"] = {"whisper_origin": "new"}
    put(old / "runtime/loop_state.json", state)
    third = moving(ada, old).run()
    assert (third.total("added"), third.total("changed"), third.total("kept")) == (1, 2, 0)
    assert (loops(ada)["loop_001"]["emotional_tone"], loops(ada)["loop_001"]["blessed"]) == ("wild", True)
    assert loops(ada)["loop_002"]["blessed"]
    state["loops"]["loop_001"]["emotional_tone"] = "calm"  # and back again
    put(old / "runtime/loop_state.json", state)
    assert moving(ada, old).run().total("changed") == 1
    assert loops(ada)["loop_001"]["emotional_tone"] == "calm"


def test_a_changed_memory_and_a_changed_ledger(ada: Agent, old: Path) -> None:
    moving(ada, old).run()
    with closing(sqlite3.connect(old / "agents/agent_001/memory.sqlite")) as file, file:
        file.execute("UPDATE memories SET content = 'It is six metres deep' WHERE id = 1")
    ledger = json.loads((old / "ledger/blessings.json").read_text())
    ledger[0]["blessing_type"] = "dark"
    put(old / "ledger/blessings.json", ledger)
    report = moving(ada, old).run()
    assert (report.total("changed"), report.total("kept")) == (1, 1)
    assert "It is six metres deep" in {row["content"] for row in ada.table("memories").every({})}
    kinds = {row["blessing_type"] for row in ada.table("blessings").every({})}
    assert "dark" not in kinds
    reasons = [row["reason"] for row in ada.table("installation_records").every({})]
    assert any("a ledger is only added to" in reason for reason in reasons)


def test_what_was_forgotten_is_not_taken_again(ada: Agent, old: Path) -> None:
    moving(ada, old).run()
    ada.forget(person="grace")
    assert "grace" not in {row["username"] for row in ada.table("users").every({})}
    before = events(ada)
    assert moving(ada, old).run().total("added") == 0
    assert events(ada) == before
    users = json.loads((old / "users.json").read_text())
    users["users"][0]["emotional_credits"] = 1
    put(old / "users.json", users)
    third = moving(ada, old).run()
    assert (third.total("left"), third.total("added"), third.total("changed")) == (1, 0, 0)
    raw = json.dumps(
        bodies(ada), default=lambda one: base64.b64encode(one).decode() if isinstance(one, bytes) else str(one)
    )
    assert "grace@harbour.example" not in raw
    assert "7946 0018" not in raw, "what was kept beside the row goes with the person"


def test_a_crash_leaves_a_chunk_whole_or_not_at_all(ada: Agent, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {f"l{n}": {"whisper_origin": f"w{n}"} for n in range(CHUNK + 50)}
    root = old.parent / "many"
    put(root / "runtime/loop_state.json", state)
    put_once, count = Taken.put, [0]

    def failing(self: Taken, *given: Any) -> None:
        count[0] += 1
        if count[0] > 2 * CHUNK + 20:
            raise OSError("the power went")
        put_once(self, *given)

    monkeypatch.setattr(Taken, "put", failing)
    with pytest.raises(Exception, match="power"):
        moving(ada, root).run()
    assert len(loops(ada)) == CHUNK
    monkeypatch.undo()
    assert moving(ada, root).run().total("added") == 50
    assert len(loops(ada)) == CHUNK + 50


def test_two_installations_may_use_the_same_ids(ada: Agent, tmp_path: Path) -> None:
    for name in ("one", "two"):
        put(tmp_path / name / "runtime/loop_state.json", {"l1": {"whisper_origin": name}})
        moving(ada, tmp_path / name).run()
    assert {row["whisper_origin"] for row in ada.table("loops").every({})} == {"one", "two"}
    (tmp_path / "one").rename(tmp_path / "moved")
    assert moving(ada, tmp_path / "moved", name=str((tmp_path / "one").resolve())).run().total("added") == 0


# -- large, odd, locked ----------------------------------------------------------------------------------------------


def test_a_large_file_is_kept_in_parts(ada: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation_read, "FILE_BYTES_MAX", 1_000)
    raw = bytes(range(256)) * 2_000
    put(tmp_path / "old/archive/huge.json", raw)
    report = moving(ada, tmp_path / "old", anyway=True).run()
    assert report.total("kept") == 8
    assert joined(bodies(ada), "archive/huge.json") == raw
    assert moving(ada, tmp_path / "old", anyway=True).run().total("kept") == 0


def test_a_record_over_the_limit_of_an_event_is_kept_in_parts(ada: Agent, tmp_path: Path) -> None:
    long = "tide " * 100_000
    put(tmp_path / "old/runtime/loop_state.json", {"l1": {"whisper_origin": long}, "l2": {"whisper_origin": "short"}})
    report = moving(ada, tmp_path / "old").run()
    assert (report.total("added"), report.total("kept")) == (1, 1)
    parts = [one for one in bodies(ada) if one.get("sort") == "loop" and one.get("raw")]
    assert len(parts) == parts[0]["parts"] > 1
    whole = b"".join(one["raw"] for one in sorted(parts, key=lambda one: one.get("part", 1)))
    assert json.loads(whole) == {"whisper_origin": long}
    assert "BODY_BYTES_MAX" in parts[0]["reason"]
    assert moving(ada, tmp_path / "old").run().total("known") >= 1


def test_odd_values_are_kept_beside_the_row(ada: Agent, tmp_path: Path) -> None:
    odd = {
        "emotional_tone": 7, "blessed": "maybe", "created_at": "the day before", "consciousness_state": [1],
        "creator_id": {"id": 1}, "began_at": 1e300, "status": "upside down", "big": 1 << 80, "nan": float("nan"),
    }  # fmt: skip
    put(tmp_path / "old/runtime/loop_state.json", json.dumps({"l1": {"whisper_origin": "w", **odd}}))
    report = moving(ada, tmp_path / "old").run()
    assert (report.total("added"), report.total("kept")) == (1, 0)
    row = loops(ada)["l1"]
    assert (row["emotional_tone"], row["blessed"], row["state"]) == ("7", False, "loop")
    (beside,) = ada.table("installation_records").every({})
    assert entity_text(beside["of"]) == entity_text(row["loop_id"])
    (body,) = [one for one in bodies(ada) if one.get("reason") == LEFT]
    said = json.loads(body["raw"])
    assert said["big"] == 1 << 80
    assert set(said) == set(odd) - {"emotional_tone"}


def test_a_file_that_is_being_written_is_read_beside_its_writer(ada: Agent, tmp_path: Path) -> None:
    place = tmp_path / "old/agents/a/memory.sqlite"
    place.parent.mkdir(parents=True)
    with closing(sqlite3.connect(place)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE memories(id INTEGER PRIMARY KEY, timestamp TEXT, type TEXT, content TEXT)")
        writer.execute("INSERT INTO memories VALUES(1, '2024-01-01', 'x', 'first')")
        writer.commit()
        writer.execute("INSERT INTO memories VALUES(2, '2024-01-01', 'x', 'second')")
        report = moving(ada, tmp_path / "old").run()
        assert [one.path for one in report.files] == ["agents/a/memory.sqlite"], "what lies beside it is part of it"
        assert {row["content"] for row in ada.table("memories").every({})} == {"first"}
        writer.commit()
        moving(ada, tmp_path / "old").run()
    assert {row["content"] for row in ada.table("memories").every({})} == {"first", "second"}


def test_a_locked_file_is_skipped_and_taken_later(ada: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "old/agents/a/memory.sqlite"
    place.parent.mkdir(parents=True)
    monkeypatch.setattr(installation_read, "LOCKED_WAIT_S", 0.05)
    with closing(sqlite3.connect(place, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE memories(id INTEGER PRIMARY KEY, timestamp TEXT, type TEXT, content TEXT)")
        writer.execute("INSERT INTO memories VALUES(1, '2024-01-01', 'x', 'first')")
        writer.execute("BEGIN EXCLUSIVE")
        report = moving(ada, tmp_path / "old").run()
        assert "locked" in report.files[0].skipped
        assert report.total("kept") == 0
        writer.execute("COMMIT")
    assert moving(ada, tmp_path / "old").run().total("added") == 1


# -- odd names, and who is in them -------------------------------------------------------------------------------------


def test_names_that_are_no_unicode(ada: Agent, tmp_path: Path) -> None:
    root = tmp_path / "old"
    put(root / "runtime/loop_state.json", '{"l1\\ud800": {"whisper_origin": "w"}, "l2": {"whisper_origin": "\\udfff"}}')
    put(root / "ledger/x.json", "[1]")
    (root / "ledger/x.json").rename(root / "ledger" / os.fsdecode(b"\xff.json"))
    report = moving(ada, root).run()
    assert (report.total("read"), report.total("kept")) == (3, 3)
    assert sorted(one.path for one in report.files) == ["ledger/\\xff.json", "runtime/loop_state.json"]
    assert moving(ada, root).run().total("known") == 3
    raw = [one["raw"] for one in bodies(ada) if one.get("raw")]
    assert b'{"whisper_origin": "\\udfff"}' in raw


def test_a_folder_that_cannot_be_read_is_said(ada: Agent, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def guarded(path: Any) -> Any:
        if str(path).endswith("/old/clusters"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    report = moving(ada, old).run()
    assert [(one.path, one.skipped) for one in report.files if one.skipped] == [
        ("clusters", "the folder cannot be read: Permission denied")
    ]
    assert report.total("added") > 20


def test_a_user_who_is_refused_goes_with_the_person(ada: Agent, tmp_path: Path) -> None:
    """Two old users of one address: the second is kept whole, about that person."""
    users = [{"id": str(n), "username": name, "email": "same@x"} for n, name in enumerate(("grace", "zoe"))]
    put(tmp_path / "old/users.json", users)
    report = moving(ada, tmp_path / "old").run()
    assert (report.total("added"), report.total("kept")) == (1, 1)
    assert any(one.get("value") == users[1] for one in bodies(ada))
    ada.forget(person="zoe")
    assert not any(one.get("value") == users[1] for one in bodies(ada))


def test_the_rows_are_what_the_events_make(ada: Agent, old: Path) -> None:
    moving(ada, old).run()
    names = [name for name, domain in ada.replica.registry.domain_of_table.items() if domain == LOOPS.name]
    before = {name: sorted(map(repr, ada.table(name).every({}))) for name in names}
    ada.replica.refold(LOOPS.name)
    assert {name: sorted(map(repr, ada.table(name).every({}))) for name in names} == before
    assert ada.verify().ok


def test_what_is_kept_beside_a_row_is_forgotten_with_it(ada: Agent, old: Path) -> None:
    moving(ada, old).run()
    loop = entity_text(loops(ada)["loop_002"]["loop_id"])
    assert any("owner_note" in (one.get("value") or {}) for one in bodies(ada))
    ada.forget(entity=loop)
    assert not any("owner_note" in (one.get("value") or {}) for one in bodies(ada))
    assert "loop_002" not in loops(ada)
