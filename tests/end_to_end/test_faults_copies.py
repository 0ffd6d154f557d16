"""Copies: a cloned folder, a restored snapshot, a file copied into place, a machine that changed, a mark that is gone.

Expected: whatever can't be shown to be the very file that was written here starts an instance log of its own, by
itself, at its first write; everything else goes on with its log; no log ever holds two different histories.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path

import pytest

from antiphon import Agent, Conflict, InvalidInput
from antiphon.domains.tasks import Tasks
from antiphon.home import Home
from antiphon.identity.validity import Standing
from antiphon.log.store import LogRole
from antiphon.replica import enrol
from antiphon.world.host import Host


def _make(home: Path, count: int = 5) -> bytes:
    with Agent.create("ada", home=home) as agent:
        for number in range(count):
            agent.remember(f"original {number}")
        return agent.log_id


def _standing(agent: Agent) -> Standing:
    return enrol.standing_in(agent.replica, agent.record_of_agent.principal_log)


def _is_certified(agent: Agent) -> bool:
    head = agent.replica.head(agent.log_id)
    first = agent.replica.event(head.id, 0).kind if head.size else ""
    return first != "instance.provisional"


def _history(agent: Agent) -> dict[bytes, list[bytes]]:
    """The raw leaves of every log of the agent, to compare copies by."""
    found = {}
    for head in agent.replica.heads():
        if head.owner == agent.record_of_agent.agent:
            reader = agent.replica.reader
            found[head.id] = [reader.leaf(head, seq) for seq in range(head.size)]
    return found


def _no_fork(*copies: Agent) -> None:
    """For every log that several copies hold, one is a prefix of the other."""
    histories = [_history(copy) for copy in copies]
    for one in histories:
        for other in histories:
            for log in one.keys() & other.keys():
                size = min(len(one[log]), len(other[log]))
                assert one[log][:size] == other[log][:size], "a log forked"


def _wal_too(source: Path, target: Path) -> None:
    for suffix in ("", "-wal"):
        if source.with_name(source.name + suffix).exists():
            shutil.copy(source.with_name(source.name + suffix), target.with_name(target.name + suffix))


def test_the_same_folder_goes_on(own_home: Path) -> None:
    log = _make(own_home / "home")
    for _ in range(3):
        with Agent.open("ada", home=own_home / "home") as agent:
            agent.remember("again")
            assert agent.log_id == log


def test_what_was_refused_last_makes_no_copy(own_home: Path) -> None:
    home = own_home / "home"
    log = _make(home)
    for _ in range(2):
        with Agent.open("ada", home=home) as agent:
            assert agent.log_id == log
            with pytest.raises(InvalidInput, match="would change nothing"):
                agent.record("insight.shared", {"content": "The mill floods"})
    with Agent.open("ada", home=home) as agent:
        tasks = Tasks(agent)
        task = tasks.create("Survey the harbour")
        tasks.claim(task.entity)
        with pytest.raises(Conflict):
            tasks.claim(task.entity)
    with Agent.open("ada", home=home) as agent:
        assert agent.log_id == log
        assert [one.here for one in agent.homes()] == [True], "a home decides on, whatever it refused last"
        with contextlib.suppress(ZeroDivisionError), agent.together():
            agent.remember("never stored")
            _ = 1 // 0
        mark, stored = agent.replica.mark(), agent.replica.stored_state().events
        assert mark is not None
        assert mark.events == stored, "a process killed now leaves a mark that is not ahead"


def test_a_moved_folder_goes_on(own_home: Path) -> None:
    log = _make(own_home / "home")
    (own_home / "home").rename(own_home / "moved")
    with Agent.open("ada", home=own_home / "moved") as agent:
        agent.remember("moved")
        assert agent.log_id == log
        assert agent.verify().ok


def test_a_cloned_home_starts_a_provisional_log_and_both_go_on(own_home: Path) -> None:
    log = _make(own_home / "home")
    shutil.copytree(own_home / "home", own_home / "clone")
    clones: set[bytes] = set()
    for round_number in range(3):
        with (
            Agent.open("ada", home=own_home / "home") as original,
            Agent.open("ada", home=own_home / "clone") as clone,
        ):
            original.remember(f"by the original {round_number}")
            clone.remember(f"by the clone {round_number}")
            assert original.log_id == log, "the original was taken for a copy"
            clones.add(clone.log_id)
            assert not _is_certified(clone)
            assert clone.recall("original 3")
            assert clone.recall("clone")
            _no_fork(original, clone)
            assert original.verify().ok
            assert clone.verify().ok
    assert len(clones) == 1, "the clone started a log at each opening"
    assert log not in clones


def test_a_clone_of_the_clone(own_home: Path) -> None:
    _make(own_home / "home")
    logs = set()
    for source, target in (("home", "b"), ("b", "c"), ("c", "d")):
        shutil.copytree(own_home / source, own_home / target)
        with Agent.open("ada", home=own_home / target) as agent:
            agent.remember(f"in {target}")
            logs.add(agent.log_id)
            assert agent.verify().ok
    assert len(logs) == 3


def test_two_clones_of_one_folder(own_home: Path) -> None:
    log = _make(own_home / "home")
    names = ("home", "one", "two")
    for name in names[1:]:
        shutil.copytree(own_home / "home", own_home / name)
    opened = [Agent.open("ada", home=own_home / name) for name in names]
    for number in range(3):
        for agent in opened:
            agent.remember(f"{agent.replica.file.path.parts[-3]} {number}")
    assert opened[0].log_id == log
    assert len({agent.log_id for agent in opened}) == 3
    _no_fork(*opened)
    for agent in opened:
        assert agent.verify().ok
        agent.close()


def test_a_running_folder_is_cloned(own_home: Path) -> None:
    """As when a container is snapshotted: file and write-ahead log as they are, nobody asked."""
    _make(own_home / "home")
    with Agent.open("ada", home=own_home / "home") as original:
        original.remember("before the copy")
        shutil.copytree(own_home / "home", own_home / "clone")
        original.remember("after the copy")
        with Agent.open("ada", home=own_home / "clone") as clone:
            clone.remember("elsewhere")
            assert clone.recall("before the copy")
            assert clone.log_id != original.log_id
            _no_fork(original, clone)


@pytest.mark.parametrize("how", ["replaced", "over", "snapshot"])
def test_an_older_state_in_its_home_is_certified_at_once(own_home: Path, how: str) -> None:
    home = own_home / "home"
    log = _make(home)
    path, saved = home / "agents" / "ada.antiphon", own_home / "saved.antiphon"
    with Agent.open("ada", home=home) as agent:
        if how == "snapshot":
            agent.snapshot(saved)
    if how != "snapshot":
        shutil.copy(path, saved)
    with Agent.open("ada", home=home) as agent:
        agent.remember("lost by restoring")
        proof = agent.checkpoint()
    if how != "over":
        path.unlink()
    with path.open("r+b" if how == "over" else "wb") as file:  # over: the inode stays
        file.write(saved.read_bytes())
        file.truncate()
    with Agent.open("ada", home=home) as agent:
        agent.remember("after restoring")
        assert agent.log_id != log
        assert _is_certified(agent)
        assert agent.recall("original 2")
        assert agent.verify().ok
        assert not agent.verify(since=proof).ok, "the rollback is seen by a checkpoint from before"
        assert agent.prove(agent.remember("to be proved").event)
        new = agent.log_id
    with Agent.open("ada", home=home) as agent:
        assert agent.log_id == new
        assert [LogRole(head.role) for head in agent._heads()] == [LogRole.PAST, LogRole.OWN]


def test_a_copied_file_beside_the_original(own_home: Path) -> None:
    home = own_home / "home"
    log = _make(home)
    shutil.copy(home / "agents" / "ada.antiphon", home / "agents" / "eve.antiphon")
    with Agent.open("ada", home=home) as ada, Agent.open("eve", home=home) as eve:
        ada.remember("from ada")
        eve.remember("from eve")
        assert ada.log_id == log != eve.log_id
        assert ada.id == eve.id
        _no_fork(ada, eve)


def test_another_machine(own_home: Path) -> None:
    home = own_home / "home"
    log = _make(home)
    with Agent.open("ada", home=home, host=Host(machine="another")) as agent:
        agent.remember("elsewhere")
        assert agent.log_id != log
        assert not _is_certified(agent), "there the home itself is a copy, which may not certify"
        assert agent.verify().ok


def test_a_mark_that_is_gone(own_home: Path) -> None:
    home = own_home / "home"
    log = _make(home)
    shutil.rmtree(own_home / "state")
    with Agent.open("ada", home=home) as agent:
        agent.remember("who am I")
        assert agent.log_id != log
        assert agent.verify().ok
        new = agent.log_id
    with Agent.open("ada", home=home) as agent:
        assert agent.log_id == new


def test_a_damaged_mark(own_home: Path) -> None:
    home = own_home / "home"
    log = _make(home)
    for mark in (own_home / "state" / "marks").iterdir():
        mark.write_bytes(b"\0\0")
    with Agent.open("ada", home=home) as agent:
        agent.remember("x")
        assert agent.log_id != log


def test_a_copy_opened_by_many_at_once_gets_one_log(own_home: Path) -> None:
    _make(own_home / "home")
    shutil.copytree(own_home / "home", own_home / "clone")
    opened: list[Agent] = []
    failed: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(number: int) -> None:
        try:
            barrier.wait()
            agent = Agent.open("ada", home=own_home / "clone")
            opened.append(agent)
            agent.remember(f"thread {number}")
        except BaseException as error:  # noqa: BLE001  # shown by the test
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    assert len({agent.log_id for agent in opened}) == 1
    assert len(opened[0].recall("thread")) == 4
    assert opened[0].verify().ok
    for agent in opened:
        agent.close()


def test_a_copy_is_read_without_a_new_log(own_home: Path) -> None:
    log = _make(own_home / "home")
    shutil.copytree(own_home / "home", own_home / "clone")
    with Agent.open("ada", home=own_home / "clone", read_only=True) as clone:
        assert clone.recall("original 1")
        assert clone.log_id == log
        assert clone.verify().ok
    assert Home.open(own_home / "clone").names() == ["ada"]
