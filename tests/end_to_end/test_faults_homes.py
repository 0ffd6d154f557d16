"""Homes: made whole or not at all, by one process at a time; copies, links, forks and neighbours in one file."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from antiphon import Agent, Conflict, Fleet, InvalidInput, NotFound, Unavailable
from antiphon.home import Home
from antiphon.log.proof import verify_event


def test_processes_that_make_a_home_at_once_all_keep_what_they_wrote(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for round_ in range(3):
        home = own_home / f"home{round_}"
        monkeypatch.setenv("ANTIPHON_HOME", str(home))
        code = "import sys; from antiphon import Agent\nwith Agent.create(sys.argv[1]) as a: a.remember('hello')"
        running = [subprocess.Popen([sys.executable, "-c", code, name]) for name in ("ada", "bob", "cy")]
        assert [process.wait(60) for process in running] == [0, 0, 0]
        for name in ("ada", "bob", "cy"):
            with Agent.open(name, home=home) as agent:
                assert agent.recall("hello")
                assert verify_event(agent.prove("0")).certified
        Agent.create("dee", home=home).close()


def test_a_file_with_hard_links_is_refused(own_home: Path) -> None:
    Agent.create("ada", home=own_home / "home").close()
    path = own_home / "home" / "agents" / "ada.antiphon"
    os.link(path, own_home / "other.antiphon")
    with pytest.raises(Conflict, match="hard links"):
        Agent.open("ada", home=own_home / "home")
    (own_home / "other.antiphon").unlink()
    Agent.open("ada", home=own_home / "home").close()


def test_an_older_state_put_back_over_the_file_of_a_killed_process_is_noticed(own_home: Path) -> None:
    home = own_home / "home"
    with Agent.create("ada", home=home) as ada:
        ada.remember("one")
        log = ada.log_id
    path = home / "agents" / "ada.antiphon"
    shutil.copy(path, own_home / "backup")
    code = (
        "import sys, os, signal; from antiphon import Agent\n"
        "a = Agent.open('ada', home=sys.argv[1]); a.remember('two'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(home)], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    for name in ("ada.antiphon-wal", "ada.antiphon-shm"):
        (home / "agents" / name).unlink(missing_ok=True)
    with path.open("r+b") as file:  # the same inode
        file.write((own_home / "backup").read_bytes())
        file.truncate()
    with Agent.open("ada", home=home) as ada:
        ada.remember("three")
        assert ada.log_id != log, "it would have forked what the killed process wrote"


def test_a_child_of_a_fork_is_told_to_open_again(own_home: Path) -> None:
    ada = Agent.create("ada", home=own_home / "home")
    ada.remember("before")

    def child(pipe: Connection) -> None:
        try:
            ada.remember("in the child")
        except Unavailable as error:
            pipe.send(str(error))

    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(theirs,))
    process.start()
    assert ours.poll(30), "the child hung"
    assert "forked" in ours.recv()
    process.join(30)
    ada.remember("after")
    assert ada.verify().size == 2
    ada.close()


def test_what_a_killed_maker_leaves_behind_does_not_stop_the_next_one(own_home: Path) -> None:
    home = own_home / "home"
    home.mkdir(parents=True)
    (home / "key").write_text("ab" * 32 + "\n")  # between the key and the ring
    (home / "principal.antiphon.half").write_bytes(b"half")
    (home / "agents").mkdir()
    (home / "agents" / "ada.antiphon.half").write_bytes(b"half")
    with Agent.create("ada", home=home) as ada:
        ada.remember("hello")
    assert sorted(path.name for path in (home / "agents").iterdir()) == ["ada.antiphon"]
    assert (home / "recovery-key.txt").exists()


def test_a_home_that_lost_its_marks_can_be_adopted(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = own_home / "home"
    with Agent.create("ada", home=home) as ada:
        ada.remember("one")
    monkeypatch.setenv("ANTIPHON_STATE", str(own_home / "elsewhere"))
    with Agent.open("ada", home=home) as ada:
        two = ada.remember("two").event
        assert ada.began_log
        assert not verify_event(ada.prove(two)).certified
    with pytest.raises(Conflict, match="adopt"):
        Agent.create("bob", home=home)
    place = Home.open(home)
    assert place.adopt() == ["ada"]
    with pytest.raises(Conflict, match="nothing to adopt"):
        place.adopt()
    place.close()
    Agent.create("bob", home=home).close()
    with Agent.open("ada", home=home) as ada:
        assert not ada.began_log
        assert verify_event(ada.prove(two)).certified
        assert ada.verify().ok


def test_agents_of_one_file_cannot_reach_each_others_events(own_home: Path) -> None:
    with Fleet.create(own_home / "fleet") as fleet:
        fleet.add_all(["x", "y"], own_principals=True)
        x, y = fleet.agent("x"), fleet.agent("y")
        secret = x.remember("mine alone").event
        with pytest.raises(NotFound, match="another agent"):
            y.event(secret)
        for reach in (y.forget, y.prove, y.request_forget):
            with pytest.raises(NotFound):
                reach(secret)
        assert [event.decoded()["text"] for event in x.log()] == ["mine alone"]
        assert len((own_home / "fleet" / "recovery-keys.txt").read_text().splitlines()) == 2


def test_a_request_to_forget_a_request_is_refused(own_home: Path) -> None:
    with Agent.create("ada", home=own_home / "home") as ada:
        event = ada.remember("hello").event
        request = ada.request_forget(event)
        with pytest.raises(InvalidInput, match="erasure_requested"):
            ada.request_forget(request.event)
        assert [found["event"] for found in ada.forget_requests()] == [event]
        ada.forget(0)
        assert ada.forget_requests() == []


def test_an_empty_passphrase_protects_nothing_and_is_refused(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_PASSPHRASE", "")
    with pytest.raises(InvalidInput, match="empty"):
        Agent.create("ada", home=own_home / "home")
    monkeypatch.delenv("ANTIPHON_PASSPHRASE")
    Agent.create("ada", home=own_home / "home").close()
    monkeypatch.setenv("ANTIPHON_PASSPHRASE", "of another home")  # this one opens by its key file
    Agent.open("ada", home=own_home / "home").close()
