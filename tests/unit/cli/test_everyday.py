"""What a stranger stumbled over: where options stand, what an error is, what a listing shows, one event in words."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from antiphon import Agent
from antiphon.cli import main, reading
from antiphon.cli import show as out
from antiphon.serve.langgraph import AntiphonStore

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def call(*args: str, code: int = 0, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, args, input=stdin)
        assert result.exit_code == code, result.output
        return result

    return call


def said(result: Result) -> Any:
    return json.loads(result.stdout)


def home() -> Path:
    return Path(os.environ["ANTIPHON_HOME"])


# -- options ---------------------------------------------------------------------------------------------------------


def test_agent_and_home_may_stand_behind_the_verb(run: Run, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    run("init", "ada")
    run("init", "bob")
    run("init", "eve", "--home", other)
    run("remember", "Ada drinks tea", "-a", "ada")
    run("remember", "Eve drinks milk", "--home", other, "--agent", "eve")
    assert said(run("recall", "tea", "-a", "ada", "--json"))[0]["author"] == "ada"
    assert said(run("-a", "bob", "recall", "tea", "-a", "ada", "--json"))[0]["author"] == "ada", "the nearer one counts"
    assert said(run("--home", str(home()), "recall", "milk", "--home", other, "--json"))[0]["author"] == "eve"
    run("-a", "ada", "recall", "tea", "-a", "bob", code=1)
    assert said(run("-a", "ada", "stats", "--json"))["agent"] == "ada"


@pytest.mark.parametrize("name", sorted(one for one, verb in main.commands.items() if not hasattr(verb, "commands")))
def test_no_option_of_a_verb_hides_a_global_one(name: str) -> None:
    options = [one for one in main.commands[name].params if isinstance(one, click.Option)]
    flags = [flag for option in options for flag in (*option.opts, *option.secondary_opts)]
    assert len(flags) == len(set(flags))
    assert {"-a", "--agent", "--home", "--json"} <= set(flags)


# -- errors and notes with --json ------------------------------------------------------------------------------------


def test_with_json_our_own_mistakes_and_interruptions_are_one_json_line(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("init", "ada")
    for raised, code, name in ((KeyError("oops"), 3, "KeyError"), (KeyboardInterrupt(), 130, "Interrupted")):

        def broken(*_: object, raised: BaseException = raised, **__: object) -> None:
            raise raised

        monkeypatch.setattr(Agent, "recall", broken)
        (line,) = run("recall", "tea", "--json", code=code).stderr.strip().splitlines()
        assert json.loads(line)["error"] == name


def test_text_that_no_json_can_hold_is_made_visible_in_an_error(run: Run) -> None:
    assert out.clean("frob\ud800\x1b") == "frob\\xd800\\x1b"
    (line,) = run("frob\ud800", "--json", code=2).stderr.splitlines()
    assert "d800" in json.loads(line)["message"]


def test_what_stands_behind_a_double_dash_is_text(run: Run) -> None:
    run("init", "ada")
    run("remember", "--", "--json")
    assert "--json" in run("log").stdout
    assert run("recall", "--since", "soon", "--", "--json", code=2).stderr.startswith("antiphon: ")


def test_notes_are_json_too(run: Run, tmp_path: Path) -> None:
    run("init", "ada")
    run("remember", "x")
    shutil.copytree(home(), tmp_path / "copy")
    told = run("remember", "y", "--home", str(tmp_path / "copy"), "--json").stderr
    assert [sorted(json.loads(line)) for line in told.splitlines()] == [["note"]]
    assert run("remember", "z").stderr == ""
    bad = tmp_path / "bad.jsonl"
    bad.write_text("nonsense\n")
    told = run("import", str(bad), "--json", code=1).stderr
    (line,) = told.splitlines()
    assert json.loads(line)["note"].startswith(f"{bad}:1: not JSON")
    assert run("import", str(bad), code=1).stderr.startswith(f"{bad}:1: not JSON")


@pytest.mark.parametrize("verb", [["remember", "x"], ["recall", "x"], ["log"], ["import", "-"], ["stats"]])
def test_a_home_that_is_not_there_is_named_with_what_makes_one(run: Run, verb: list[str]) -> None:
    told = run(*verb, code=2).stderr
    assert str(home()) in told
    assert "antiphon init NAME" in told
    assert not home().exists()


# -- empty text ------------------------------------------------------------------------------------------------------


def test_text_of_white_space_alone_is_refused_in_one_way(run: Run) -> None:
    run("init", "ada")
    first = run("remember", " \n\u3000", code=2).stderr
    assert first.startswith("antiphon: there is nothing to remember")
    assert run("remember", stdin="\n \n", code=2).stderr == first
    run("log")
    assert run("log").stdout == ""


# -- what a listing shows --------------------------------------------------------------------------------------------


def test_log_leaves_housekeeping_out_until_asked(run: Run) -> None:
    run("init", "ada")
    with Agent.open("ada") as agent:
        AntiphonStore(agent).put(("users",), "grace", {"likes": "tea"})
        agent.remember("Grace likes tea")
    shown, hidden = ["item.put", "memory.remembered"], "item.secret_made"
    assert [event["kind"] for event in said(run("log", "--json"))] == shown
    assert [line.split("\t")[2] for line in run("log").stdout.splitlines()] == shown
    assert [event["kind"] for event in said(run("log", "--json", "--all"))] == [hidden, *shown]
    assert [line.split("\t")[2] for line in run("log", "--all").stdout.splitlines()] == [hidden, *shown]
    assert [event["kind"] for event in said(run("log", "--json", "--kind", hidden))] == [hidden], "it was asked for"
    assert [event["kind"] for event in said(run("log", "--json", "--limit", "2"))] == shown
    assert [event["kind"] for event in said(run("log", "--json", "--after", "-1", "--limit", "1"))] == shown[:1]


def test_the_newest_are_as_many_as_asked_for_whatever_was_left_out_or_forgotten() -> None:
    with Agent.create("ada") as agent:
        AntiphonStore(agent).put(("users",), "grace", {"likes": "tea"})
        for number in range(200):
            agent.remember(f"number {number}")
        agent.forget([str(seq) for seq in range(20, 200)])

        def newest(limit: int, *, everything: bool = False) -> tuple[list[int], int, bool]:
            chosen = reading._Chosen(agent, (), everything=everything)
            events = [event.seq for event in chosen.newest(limit)]
            return events, chosen.hidden, chosen.earlier

        there = [*range(1, 20), 200, 201, 202]
        assert newest(4) == (there[-4:], 0, True)
        assert newest(10) == (there[-10:], 0, True)
        assert newest(len(there) - 1) == (there[1:], 0, True)
        assert newest(len(there)) == (there, 1, False), "what is left out is nothing earlier"
        assert newest(1_000) == (there, 1, False)
        assert newest(1_000, everything=True) == ([0, *there], 0, False)


def test_one_of_anything_is_said_so(run: Run, tmp_path: Path) -> None:
    run("init", "ada")
    run("remember", "Grace prefers tea")
    assert "ada verifies: 1 event." in run("verify").stdout
    assert "which has 1 event" in run("show", "0").stdout
    assert "1 event, own" in run("stats").stdout
    assert f"{tmp_path / 'a.jsonl'}: 1 event, " in run("export", str(tmp_path / "a.jsonl")).stdout
    run("prove", "0", "-o", str(tmp_path / "p"))
    assert "the only event" in run("verify", str(tmp_path / "p")).stdout
    found = {line.split("\t")[2]: line.split("\t")[3] for line in run("doctor").stdout.splitlines()}
    assert found["rows"] == "memories 1"
    assert found["views"] == "1 row and 0 mentions, as their events make them"
    for number in range(2):
        run("remember", f"talk {number}", "--significance", "0.1", "--occurred", "2020-01-01")
    assert run("compress").stdout.startswith("1 summary made.\n")


# -- people ----------------------------------------------------------------------------------------------------------


def test_a_person_is_found_however_the_name_is_typed(run: Run) -> None:
    run("init", "ada")
    run("remember", "She prefers tea", "--user", "Grace")
    run("remember", "She has a cat", "--user", " grace\u00a0")
    assert len(said(run("recall", "she", "--user", "GRACE", "--json"))) == 2
    assert [said(run("show", seq, "--json"))["about_names"] for seq in ("1", "2")] == [["Grace"]] * 2, "as first typed"
    assert len(said(run("forget", "--person", "gRaCe ", "--yes", "--json"))["events"]) == 3
    assert run("log", "--kind", "memory").stdout == ""


# -- importing -------------------------------------------------------------------------------------------------------


def test_an_import_that_takes_nothing_is_a_no(run: Run, tmp_path: Path) -> None:
    run("init", "ada")
    good, bad, empty = (tmp_path / f"{name}.jsonl" for name in ("good", "bad", "empty"))
    good.write_text('{"text": "one"}\n')
    bad.write_text("nonsense\n" * 2)
    empty.write_text("")
    told = run("import", str(bad), code=1)
    assert told.stdout.startswith(f"{bad}: 0 added, 2 rejected")
    assert told.stderr.splitlines()[-1] == "Nothing was imported: 2 records read, and every one rejected."
    assert said(run("import", str(bad), "--json", code=1))["rejected"] == 2
    run("import", str(bad), str(good))
    assert said(run("import", str(bad), str(good), "--json"))["known"] == 1, "what is known already was not refused"
    assert run("import", str(empty)).stderr == ""


def test_standard_input_is_imported_under_a_name(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("init", "ada")
    lines = '{"text": "one"}\nnonsense\n{"text": "two", "user": "Grace"}\n'
    taken = said(run("import", "-", "--json", stdin=lines))
    assert (taken["added"], taken["rejected"], taken["files"][0]["file"]) == (2, 1, "stdin")
    assert (tmp_path / "stdin.rejected").read_text() == "nonsense\n"
    assert said(run("import", "-", "--json", stdin=lines))["known"] == 2
    assert said(run("import", "-", "--source", "phone", "--json", stdin=lines))["added"] == 2, "another source"
    assert "stdin:2: not JSON" in run("import", "-", stdin=lines).stderr
    sources = [event["body"]["metadata"]["source"] for event in said(run("log", "--kind", "memory", "--json"))]
    assert sources == ["stdin", "stdin", "phone", "phone"]
    talk = json.dumps([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "good day"}], indent=1)
    assert said(run("import", "-", "--json", stdin=talk))["added"] == 2
    run("import", "-", stdin="nonsense\n", code=1)
    run("import", "-", "--rejects", "aside", stdin="more nonsense\n", code=1)
    assert (tmp_path / "aside").read_text() == "more nonsense\n"
    run("export", "a.archive")
    assert "import FILE.archive" in run("import", "-", stdin=(tmp_path / "a.archive").read_bytes(), code=2).stderr
