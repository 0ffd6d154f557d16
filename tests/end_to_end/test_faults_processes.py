"""Several writers at once: threads, processes, long readers, a lock that is not given back.

Expected: everybody succeeds, one log, the count is right, it verifies; readers never hold up writers; who waits longer
than BUSY_TIMEOUT_MS gets Busy, which says so, and nothing is lost.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from antiphon import Agent
from antiphon.model import limits
from antiphon.model.errors import Busy

WRITER = """
import sys, threading
from antiphon import Agent
name, threads, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
agent = Agent.open("ada")
def work(thread):
    for number in range(count):
        agent.remember(f"{name} {thread} {number}", user=f"person {number % 3}")
        if number % 10 == 9:
            agent.recall(f"{name} {thread}")
        if number % 20 == 19:
            agent.replica.tidy()
workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
[worker.start() for worker in workers]
[worker.join() for worker in workers]
print(agent.log_id.hex())
agent.close()
"""


def _write_at_once(processes: int, threads: int, count: int) -> None:
    with Agent.create("ada") as agent:
        log = agent.log_id.hex()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, f"process{number}", str(threads), str(count)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(processes)
    ]  # fmt: skip
    for writer in started:
        said, complaint = writer.communicate(timeout=60)
        assert writer.returncode == 0, complaint
        assert said.strip() == log, "a second process started a log of its own"
    with Agent.open("ada") as agent:
        events = [event for event in agent.log() if event.kind == "memory.remembered"]
        assert len(events) == processes * threads * count
        assert len({event.body for event in events}) == len(events)
        stamps = [event.header.hlc for event in agent.log()]
        assert stamps == sorted(set(stamps)), "two writers took one stamp"
        assert agent.verify().ok
        assert len(agent._heads()) == 1
        for process in range(processes):
            found = agent.recall(f"process{process}", limit=1_000)
            assert len(found) == threads * count


def test_two_processes() -> None:
    _write_at_once(2, 1, 60)


def test_three_processes_of_three_threads() -> None:
    _write_at_once(3, 3, 20)


def test_threads_of_one_process(own_home: Path) -> None:
    with Agent.create("ada", home=own_home / "home") as agent:
        failed: list[BaseException] = []

        def work(thread: int) -> None:
            try:
                for number in range(25):
                    agent.remember(f"{thread} {number}")
            except BaseException as error:  # noqa: BLE001  # shown by the test
                failed.append(error)

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert sum(event.kind == "memory.remembered" for event in agent.log()) == 200
        assert agent.replica.state.commits < 202, "every commit is counted once"
        assert agent.verify().ok


def test_one_bad_commit_in_a_group_fails_alone(own_home: Path) -> None:
    """Threads share a transaction; the one whose event is refused gets the error, the others get their receipts."""
    with Agent.create("ada", home=own_home / "home") as agent:
        results: dict[int, object] = {}
        barrier = threading.Barrier(8)

        def work(thread: int) -> None:
            barrier.wait()
            try:
                results[thread] = agent.remember("x" * (300_000 if thread == 3 else 10) + str(thread))
            except Exception as error:  # noqa: BLE001  # compared by the test
                results[thread] = error

        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [thread for thread, result in results.items() if isinstance(result, Exception)] == [3]
        assert sum(event.kind == "memory.remembered" for event in agent.log()) == 7
        assert agent.verify().ok


def test_a_long_reader_does_not_block_writers(own_home: Path) -> None:
    with (
        Agent.create("ada", home=own_home / "home") as writer,
        Agent.open("ada", home=own_home / "home") as reader,
    ):
        writer.remember("one")
        with reader.replica.file.snapshot():
            before = [event.seq for event in reader.log()]
            started = time.monotonic()
            for number in range(40):
                writer.remember(f"while it reads {number}")
            writer.replica.tidy()
            assert time.monotonic() - started < 3
            assert [event.seq for event in reader.log()] == before, "a snapshot is of one moment"
        assert len(list(reader.log())) == len(before) + 40


def test_a_lock_held_too_long(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUSY_TIMEOUT_MS", 150)
    with (
        Agent.create("ada", home=own_home / "home") as holder,
        Agent.open("ada", home=own_home / "home") as other,
    ):
        holder.remember("one")
        with holder.replica.file.transaction():
            started = time.monotonic()
            with pytest.raises(Busy, match="BUSY_TIMEOUT_MS"):
                other.remember("two")
            assert 0.1 < time.monotonic() - started < 3
            assert other.recall("one"), "who reads need not wait"
        made = other.remember("three")
        assert [event.seq for event in other.log() if event.kind == "memory.remembered"] == [0, 1]
        assert made.event.endswith("/1")
        assert other.verify().ok


def test_a_killed_holder_gives_its_lock_back(own_home: Path) -> None:
    with Agent.create("ada") as agent:
        script = (
            "import os, signal; from antiphon import Agent; agent = Agent.open('ada')\n"
            "with agent.replica.transaction():\n"
            "    agent.replica.file.put('x', b'half done')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        subprocess.run([sys.executable, "-c", script], check=False, timeout=30)
        agent.remember("goes on at once")
        assert agent.replica.file.get("x") is None
        assert agent.verify().ok
