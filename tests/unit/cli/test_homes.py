"""`antiphon requests` and `antiphon homes`: what waits, who decides, and moving that to another agent."""

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from antiphon import Agent
from antiphon.cli import main
from antiphon.domains.tasks import Tasks
from antiphon.home import Home
from antiphon.model.text import id_text
from antiphon.replica.homes import take_in_all


def call(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == code, result.output
    return result


def answer(*args: str) -> Any:
    return json.loads(call(*args, "--json").stdout)


@pytest.fixture
def task() -> str:
    """Ada's task, which Bob has claimed three times where her log is not written; Ada's file has heard of it."""
    with Agent.create("ada") as ada, Agent.create("bob") as bob:
        made = Tasks(ada).create("map the harbour").entity or ""
        take_in_all(ada.replica, bob.replica)
        for _ in range(3):
            Tasks(bob).claim(made)
        take_in_all(bob.replica, ada.replica)
    return made


def test_what_waits_is_listed_answered_and_refused(task: str) -> None:
    listed = answer("-a", "ada", "requests")
    assert [(one["kind"], one["entity"], one["here"]) for one in listed] == [("task.claim", task, True)] * 3
    assert call("-a", "ada", "requests").stdout.count("\there\n") == 3
    assert [one["here"] for one in answer("-a", "bob", "requests")] == [False] * 3
    assert "nothing waits here" in call("-a", "bob", "requests", "answer").output
    first, second, third = (one["request"] for one in listed)
    (refused,) = answer("-a", "ada", "requests", "refuse", first, "--reason", "not by night")
    assert (refused["request"], refused["granted"], refused["reason"]) == (first, False, "not by night")
    (granted,) = answer("-a", "ada", "requests", "answer", third)
    assert (granted["request"], granted["kind"], granted["granted"]) == (third, "task.claimed", True)
    assert f"refs\tcause {third}\n" in call("-a", "ada", "show", granted["event"]).stdout
    assert "is claimed already" in call("-a", "ada", "requests", "answer").stdout
    assert answer("-a", "ada", "requests") == []
    assert "nothing waits" in call("-a", "ada", "requests").output
    assert "no request" in call("-a", "ada", "requests", "answer", second, code=1).stderr


@pytest.mark.parametrize(
    "args",
    [
        ["requests", "refuse"], ["requests", "refuse", "x"], ["requests", "answer", "--reason", "x"],
        ["requests", "list", "x"], ["requests", "burn"], ["homes", "list", "x"], ["homes", "move"],
        ["homes", "move", "nobody", "--yes"], ["homes", "move", "ada"], ["homes", "move", "ada", "--size", "-1"],
    ],
)  # fmt: skip
def test_wrong_use_is_said(task: str, args: list[str]) -> None:
    assert call("-a", "bob", *args, code=2).stderr


def test_a_home_is_moved_with_all_that_it_decided(task: str) -> None:
    """Ada decides, and Bob's file has not heard of it: what she decided stands all the same."""
    (home,) = answer("-a", "ada", "homes")
    assert (home["here"], home["rows"], home["line"], home["decides"]) == (True, {"tasks": 1}, [], home["home"])
    answer("-a", "ada", "requests", "answer")
    moved = answer("-a", "bob", "homes", "move", "ada", "--yes")
    assert (moved["source"], moved["size"]) == (home["home"], 4)
    for name, here in (("ada", False), ("bob", True)):
        (found,) = answer("-a", name, "homes")
        assert (found["home"], found["decides"], found["here"]) == (home["home"], moved["target"], here)
        assert call("-a", name, "homes").stdout.split("\t")[2] == "bob", "his name, from any file here"
        (row,) = answer("-a", name, "rows", "tasks", "--where", "status=claimed")["rows"]
        assert row["id"] == task
    said = call("-a", "ada", "homes", "move", moved["target"], "--to", "ada", "--yes", code=2).stderr
    assert "gave this home up" in said
    with Agent.open("bob") as bob:
        assert moved["target"] == id_text(bob.log_id)
        Tasks(bob).start(task)


def test_what_a_move_voids_is_asked_again(task: str) -> None:
    answer("-a", "ada", "requests", "answer")
    answer("-a", "bob", "homes", "move", "ada", "--size", "1", "--yes")
    assert [one["here"] for one in answer("-a", "bob", "requests")] == [True] * 3
    made = answer("-a", "bob", "requests", "answer")
    assert [one["granted"] for one in made] == [True, False, False]


def test_a_move_that_nobody_confirmed_does_not_happen(task: str) -> None:
    assert "--yes" in call("-a", "bob", "homes", "move", "ada", code=2).stderr
    assert answer("-a", "ada", "homes")[0]["line"] == []
    with pytest.raises(Exception, match="no agent 'nobody'"):
        Home.open().move_home("bob", "nobody")
