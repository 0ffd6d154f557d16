"""Threads that write at once share commits; what fails, or is interrupted, fails alone."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from antiphon import Agent, LimitExceeded, verify_proof
from antiphon.log.append import Appended
from antiphon.model.event import Event
from antiphon.replica.commit import Batch, CommitJob
from antiphon.replica.group import GroupCommit, Job
from antiphon.views.commands import draft_of
from antiphon.views.domain import Write
from antiphon.world.clock import ManualClock
from tests.unit.views.notes import Torn, domain


def fails_on_bad(event: Event, body: Torn) -> Iterator[Write]:
    if event.entity == b"bad!" * 4:
        raise ValueError("a bad note")
    yield from ()


@pytest.fixture
def ada() -> Iterator[Agent]:
    with Agent.create("ada", domains=[domain(**{"note.torn": (fails_on_bad,)})]) as agent:
        yield agent


def remembering(agent: Agent, text: str) -> Batch:
    kind = agent.replica.registry.kind("memory.remembered")
    body = kind.body(text)
    return Batch(agent.log_id, [draft_of(kind, body, entity=b"")], [body])


def test_all_writes_of_all_threads_are_there(ada: Agent) -> None:
    def write(thread: int) -> list[str]:
        return [ada.remember(f"t{thread} n{at}").event for at in range(200)]

    with ThreadPoolExecutor(8) as pool:
        receipts = [event for events in pool.map(write, range(8)) for event in events]
    assert len(set(receipts)) == 1_600
    log = list(ada.log())
    assert {event.decoded()["text"] for event in log} == {f"t{t} n{at}" for t in range(8) for at in range(200)}
    for thread in range(8):  # each thread's own order is kept, and its receipts are true
        own = [event.seq for event in log if event.decoded()["text"].startswith(f"t{thread} ")]
        assert own == [int(event.rpartition("/")[2]) for event in receipts[thread * 200 : thread * 200 + 200]]
    verdict = ada.verify()
    assert verdict.ok
    assert verdict.held == verdict.size == 1_600
    assert len(ada.replica.heads_of(ada.record_of_agent.agent)) == 1, "one log"
    assert ada.replica.state.commits <= 1_600


def test_reading_while_others_write_pack_and_forget(ada: Agent) -> None:
    seen = [ada.remember(f"first {at}").event for at in range(50)]
    stop = threading.Event()

    def read() -> int:
        rounds = 0
        while not stop.is_set() or not rounds:
            assert len(list(ada.log())) >= 50
            assert ada.event(seen[rounds % 50]).seq == rounds % 50
            ada.prove(seen[rounds % 50])
            assert ada.recall("first", limit=3)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for at in range(120):
                event = ada.remember(f"more {at}").event
                if at % 10 == 0:
                    ada.replica.pack_some()
                if at % 15 == 0:
                    ada.forget(event)
        finally:
            stop.set()
        assert all(reader.result(timeout=60) for reader in readers)
    assert ada.verify().ok


def test_a_block_that_another_process_packs_between_two_reads_of_it(ada: Agent) -> None:
    def fill(agent: Agent, first: int, last: int) -> None:
        with agent.batch() as batch:
            for at in range(first, last):
                batch.remember(f"n{at} " + "x" * 400)
        agent.replica.tidy(runs_min=1)

    fill(ada, 0, 100)
    with Agent.open("ada", domains=[domain()], clock=ManualClock()) as reader:  # its clock stands: nothing looks stale
        assert reader.event("0").decoded()["text"].startswith("n0 ")
        fill(ada, 100, 150)  # the last frame of bodies is cut anew
        assert reader.event("99").decoded()["text"].startswith("n99 ")
        assert reader.event("149").decoded()["text"].startswith("n149 ")
        assert verify_proof(reader.prove("120")).seq == 120


def queued(agent: Agent, *batches: Batch) -> list[CommitJob]:
    """Jobs as if so many threads were waiting behind one that leads."""
    jobs: list[CommitJob] = [Job(batch) for batch in batches]
    agent.replica._group._queue.extend(jobs)
    return jobs


def texts(agent: Agent) -> list[str]:
    return [event.decoded().get("text", "") for event in agent.log()]


def test_waiting_jobs_share_one_commit(ada: Agent) -> None:
    ada.remember("before")
    commits = ada.replica.state.commits
    jobs = queued(ada, *(remembering(ada, f"w{at}") for at in range(5)))
    ada.remember("leader")
    assert all(job.done and job.error is None for job in jobs)
    assert ada.replica.state.commits == commits + 1
    assert [job.result and job.result.first for job in jobs] == [1, 2, 3, 4, 5]
    assert texts(ada) == ["before", "w0", "w1", "w2", "w3", "w4", "leader"]


def test_a_job_that_fails_fails_alone(ada: Agent) -> None:
    torn = ada.replica.registry.kind("note.torn")
    bad = Batch(ada.log_id, [draft_of(torn, Torn(), entity=b"bad!" * 4)], [Torn()])
    before, failing, after = queued(ada, remembering(ada, "before"), bad, remembering(ada, "after"))
    ada.remember("leader")
    assert (before.done, after.done, failing.done) == (True, True, True)
    assert "a bad note" in str(failing.error)
    assert failing.result is None
    assert texts(ada) == ["before", "after", "leader"]
    assert ada.verify().ok


def test_a_job_that_is_too_large_fails_alone(ada: Agent) -> None:
    small = remembering(ada, "x")
    large = Batch(ada.log_id, small.drafts * 65_537, small.values * 65_537)
    (failing,) = queued(ada, large)
    ada.remember("next")
    assert isinstance(failing.error, LimitExceeded)
    assert texts(ada) == ["next"]


@pytest.mark.parametrize("after_the_commit", [False, True])
def test_an_interrupt_of_the_leader_loses_nobodys_job(
    ada: Agent, monkeypatch: pytest.MonkeyPatch, after_the_commit: bool
) -> None:
    """One thread commits; ours waits first in line, two behind it. Ours then leads all three, and is interrupted."""
    replica, queue = ada.replica, ada.replica._group._queue
    real_append, real_moved, main = replica.append_in_transaction, replica._moved, threading.current_thread()
    entered, leave, state = threading.Event(), threading.Event(), {"armed": False, "interrupted": False}

    def append(batch: Batch, **given: Any) -> Appended:
        if threading.current_thread() is main:
            state["armed"] = True
            if not after_the_commit:
                state["interrupted"] = True
                raise KeyboardInterrupt
        elif not entered.is_set():
            entered.set()
            assert leave.wait(30)
        return real_append(batch, **given)

    def moved() -> None:
        real_moved()
        ours = threading.current_thread() is main and state["armed"] and not state["interrupted"]
        if ours and after_the_commit and not replica.file._depth:
            state["interrupted"] = True
            raise KeyboardInterrupt

    def wait_for(count: int) -> None:
        while len(queue) < count:
            pass

    def others() -> list[str]:
        wait_for(1)
        events = []
        with ThreadPoolExecutor(2) as pool:
            for count, text in ((2, "w0"), (3, "w1")):
                events.append(pool.submit(ada.remember, text))
                wait_for(count)
            leave.set()
            return [event.result(30).event for event in events]

    ada.remember("before")
    monkeypatch.setattr(replica, "append_in_transaction", append)
    monkeypatch.setattr(replica, "_moved", moved)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ada.remember, "first")
        assert entered.wait(30)
        waiting = pool.submit(others)
        with pytest.raises(KeyboardInterrupt):
            ada.remember("leader")
        assert first.result(30).event.endswith("/1")
        events = waiting.result(30)
    monkeypatch.undo()
    ada.remember("next")
    interrupted = ["leader"] if after_the_commit else []
    assert texts(ada) == ["before", "first", *interrupted, "w0", "w1", "next"], "each once, in order"
    assert [ada.event(event).decoded()["text"] for event in events] == ["w0", "w1"]
    assert ada.verify().ok


def test_a_waiter_that_gives_up_leaves_the_rest_in_order() -> None:
    """The group alone: while one commits, four wait; the second of them gives up, the third fails."""
    entered, leave = threading.Event(), threading.Event()

    def run(jobs: list[Job[str, str]]) -> None:
        entered.set()
        assert leave.wait(30)
        if any(job.work == "bad" for job in jobs):
            raise ValueError("bad")
        ran.append([job.work for job in jobs])
        for job in jobs:
            job.result, job.done = job.work.upper(), True

    ran: list[list[str]] = []
    group: GroupCommit[str, str] = GroupCommit(run, lambda work: 1)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(group.submit, "first")
        assert entered.wait(30)
        waiting = []
        for count, work in enumerate(("a", "bad", "b"), 1):
            waiting.append(pool.submit(group.submit, work))
            while len(group._queue) < count:  # in this order
                pass
        leave.set()
        assert first.result(30) == "FIRST"
        assert [waiting[at].result(30) for at in (0, 2)] == ["A", "B"]
        with pytest.raises(ValueError, match="bad"):
            waiting[1].result(30)
    assert ran == [["first"], ["a"], ["b"]]
    assert group.submit("after") == "AFTER"


def test_a_thread_that_ends_gives_its_connection_back(ada: Agent) -> None:
    ada.remember("boat")
    for _ in range(20):
        thread = threading.Thread(target=lambda: ada.recall("boat"))
        thread.start()
        thread.join()
    assert len(ada.replica.file._readers) <= 3
