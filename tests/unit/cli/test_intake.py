"""Importing into an agent: nothing twice, nothing lost, bad lines kept aside, forgotten things stay forgotten."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent
from antiphon.cli import intake
from antiphon.cli.intake import Defaults, Intake, import_file
from antiphon.model import errors
from antiphon.ops.importing import Record
from antiphon.replica.core import Replica


def write(path: Path, *values: object) -> Path:
    path.write_text("".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values))
    return path


def take(agent: Agent, path: Path, **given: Any) -> Intake:
    settings: dict[str, Any] = {"form": "auto", "source": None, "rejects": None, "defaults": Defaults(), **given}
    return import_file(agent, path, **settings)


def texts(agent: Agent) -> list[str]:
    return [event.decoded()["text"] for event in agent.log() if event.kind == "memory.remembered"]


def test_a_second_run_adds_nothing_and_a_grown_file_adds_what_is_new(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"id": 1, "text": "one"}, {"text": "same"}, {"text": "same"})
    with Agent.create("ada") as agent:
        first = take(agent, path)
        assert (first.added, first.known, first.rejected) == (3, 0, 0)
        again = take(agent, path)
        assert (again.added, again.known) == (0, 3)
        write(path, {"text": "new"}, {"text": "same"}, {"id": 1, "text": "one, retold"}, *[{"text": "same"}] * 2)
        grown = take(agent, path)
        assert (grown.added, grown.known) == (2, 3)
        assert texts(agent) == ["one", "same", "same", "new", "same"]


def test_sources_are_told_apart_by_path_or_by_the_name_given(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    one, two = write(tmp_path / "a.jsonl", {"text": "hi"}), write(tmp_path / "x" / "a.jsonl", {"text": "hi"})
    with Agent.create("ada") as agent:
        assert [take(agent, one).added, take(agent, two).added] == [1, 1]
        assert [take(agent, path, source="s").added for path in (one, two)] == [1, 0]


def test_bad_lines_are_counted_shown_and_kept_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = json.dumps({"text": "x" * 300_000})
    path = write(
        tmp_path / "a.jsonl", {"id": 1, "text": "one"}, "not json", {"id": 1, "text": "other"}, long, {"text": "two"}
    )
    with Agent.create("ada") as agent:
        done = take(agent, path)
        assert texts(agent) == ["one", "two"]
    assert (done.added, done.rejected) == (2, 3)
    kept = Path(done.rejects or "")
    assert kept == tmp_path / "a.jsonl.rejected"
    assert kept.read_text().splitlines() == ["not json", json.dumps({"id": 1, "text": "other"}), long]
    assert kept.stat().st_mode & 0o077 == 0
    shown = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0].rpartition(":")[2] for line in shown] == ["2", "3", "4"]
    assert "BODY_BYTES_MAX" in shown[2]
    assert [item["line"] for item in done.bad] == [2, 3, 4]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_rejects_are_for_their_owner_alone_also_where_an_older_file_was_not(tmp_path: Path) -> None:
    path, kept = write(tmp_path / "a.jsonl", "bad"), tmp_path / "a.jsonl.rejected"
    before = os.umask(0)
    try:
        with Agent.create("ada") as agent:
            for _ in range(2):
                take(agent, path)
                assert kept.stat().st_mode & 0o777 == 0o600
                assert kept.read_text() == "bad\n"
                kept.write_text("an older, longer one\n")
                kept.chmod(0o644)
            assert take(agent, path, rejects=Path(os.devnull)).rejected == 1
    finally:
        os.umask(before)
    assert Path(os.devnull).is_char_device()


def test_many_bad_lines_are_not_all_shown_but_all_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.jsonl", *["nonsense"] * 100)
    with Agent.create("ada") as agent:
        done = take(agent, path)
    assert (done.added, done.rejected, len(done.bad)) == (0, 100, intake.SHOWN_MAX)
    assert (tmp_path / "a.jsonl.rejected").read_text() == "nonsense\n" * 100
    assert "and 80 more bad lines" in capsys.readouterr().err.splitlines()[-1]


def test_rejects_never_go_over_the_source_and_several_files_share_one_place(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.jsonl", "bad a"), write(tmp_path / "b.jsonl", "bad b")
    with Agent.create("ada") as agent:
        with pytest.raises(errors.InvalidInput):
            take(agent, one, rejects=one)
        aside = tmp_path / "aside"
        take(agent, one, rejects=aside)
        take(agent, two, rejects=aside, append=True)
        assert aside.read_text() == "bad a\nbad b\n"
        take(agent, two, rejects=aside)
        assert aside.read_text() == "bad b\n"
    assert one.read_text() == "bad a\n"


def test_a_refused_message_can_be_imported_again_from_where_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"role": "user", "content": "x" * 300_000, "timestamp": 5}, {"role": "user"}]))
    with Agent.create("ada") as agent:
        done = take(agent, path)
    lines = map(json.loads, (tmp_path / "t.json.rejected").read_text().splitlines())
    kept = {item.get("text", "")[:1]: item for item in lines}
    assert (done.rejected, kept[""]) == (2, {"role": "user"})
    assert (len(kept["x"]["text"]), kept["x"]["occurred"], kept["x"]["type"]) == (300_000, 5_000, "user")


def test_defaults_fill_what_records_do_not_say(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "tea one", "namespace": "own", "user": "Bob"}, {"text": "tea two"})
    with Agent.create("ada") as agent:
        take(agent, path, defaults=Defaults("given", "Grace", ("imported",)))
        assert [hit.text for hit in agent.recall("tea", namespace="given")] == ["tea two"]
        assert [hit.text for hit in agent.recall("tea", user="Bob")] == ["tea one"]
        assert len(agent.recall("imported")) == 2, "tags are found"


def test_what_was_forgotten_does_not_come_back(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "a secret of Grace"}, {"text": "a fact"})
    with Agent.create("ada") as agent:
        take(agent, path)
        agent.forget(agent.recall("secret")[0].event)
        assert take(agent, path).added == 0
        assert texts(agent) == ["a fact"]
        left = agent.replica.file.reader.execute("SELECT what FROM imported").fetchall()
        assert all(len(what) == 16 for (what,) in left), "only keyed hashes are kept of what was taken in"


def test_one_record_that_fails_its_commit_does_not_take_the_others_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.jsonl", *[{"text": f"number {number}"} for number in range(20)])
    whole = Replica.append_in_transaction

    def picky(self: Replica, batch: Any, **more: Any) -> Any:
        if any(getattr(value, "text", "") == "number 7" for value in batch.values):
            raise errors.Rejected("a fold refuses it")
        return whole(self, batch, **more)

    with Agent.create("ada") as agent:
        monkeypatch.setattr(Replica, "append_in_transaction", picky)
        done = take(agent, path)
        monkeypatch.undo()
        assert (done.added, done.rejected, done.bad[0]["line"]) == (19, 1, 8)
        assert take(agent, path).added == 1, "what was refused is not known"
        assert sorted(texts(agent)) == sorted(f"number {number}" for number in range(20))


def test_commits_hold_a_thousand_records_or_less_when_they_are_large() -> None:
    def record(size: int) -> Record:
        return Record(1, 1, None, b"", "x" * size)

    assert [len(chunk) for chunk in intake._chunks(iter([record(1)] * 2_500))] == [1_000, 1_000, 500]
    assert [len(chunk) for chunk in intake._chunks(iter([record(intake.COMMIT_CHARS // 2)] * 5))] == [2, 2, 1]


@pytest.mark.parametrize("dies", ["Imported.add", "Replica.append_in_transaction"])
def test_what_is_recorded_and_what_is_known_stand_or_fall_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "one"}, {"text": "two"})
    owner, name = {"Imported": intake.Imported, "Replica": Replica}[dies.split(".", maxsplit=1)[0]], dies.split(".")[1]
    whole = getattr(owner, name)

    def interrupted(*given: Any, **more: Any) -> Any:
        whole(*given, **more)
        raise KeyboardInterrupt

    with Agent.create("ada") as agent:
        monkeypatch.setattr(owner, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            take(agent, path)
        monkeypatch.undo()
        assert texts(agent) == []
        assert take(agent, path).added == 2
        assert texts(agent) == ["one", "two"]
