"""Room `replica` (imports all below it): group commit: threads that commit at once share one transaction.

Whoever finds nobody leading leads: it takes everything that waits, commits it, wakes those whose jobs are done, and
hands the lead to the first of those who came meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from antiphon.model import limits

Work = TypeVar("Work")
Result = TypeVar("Result")


class Job(Generic[Work, Result]):
    """What one caller waits for: done with a result, or with an error."""

    __slots__ = ("done", "error", "result", "wake", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = False
        self.result: Result | None = None
        self.error: Exception | None = None
        self.wake = threading.Lock()
        self.wake.acquire()


class GroupCommit(Generic[Work, Result]):
    """Runs jobs in groups, one group at a time, in the order in which they came.

    `run` commits a group, all or nothing, and sets every job's `result` and `done`; when it raises for a group of
    several, each is run alone, so that one bad job fails alone. `weight` is a job's number of events.
    """

    def __init__(self, run: Callable[[list[Job[Work, Result]]], None], weight: Callable[[Work], int]) -> None:
        self._run = run
        self._weight = weight
        self._guard = threading.Lock()
        self._queue: deque[Job[Work, Result]] = deque()
        self._leader: Job[Work, Result] | None = None

    def submit(self, work: Work) -> Result:
        """The result of the work, once it is committed. Raises what it raised."""
        job: Job[Work, Result] = Job(work)
        try:
            with self._guard:
                self._queue.append(job)
                leads = self._leader is None
                if leads:
                    self._leader = job
            if not leads:
                job.wake.acquire()  # done by another, or ours to lead
            while not job.done:
                self._commit_group()
        except BaseException:  # interrupted: nobody waits for this job any more
            with self._guard, contextlib.suppress(ValueError):
                self._queue.remove(job)
            raise
        finally:
            self._hand_on(job)
        if job.error is not None:
            raise job.error
        assert job.result is not None
        return job.result

    def _hand_on(self, job: Job[Work, Result]) -> None:
        with self._guard:
            if self._leader is job:
                self._leader = self._queue[0] if self._queue else None
                if self._leader is not None:
                    self._leader.wake.release()

    def _take(self, jobs: list[Job[Work, Result]]) -> None:
        size = 0
        with self._guard:
            while self._queue and (not jobs or size + self._weight(self._queue[0].work) <= limits.COMMIT_EVENTS_MAX):
                jobs.append(self._queue.popleft())
                size += self._weight(jobs[-1].work)

    def _commit_group(self) -> None:
        jobs: list[Job[Work, Result]] = []
        try:
            self._take(jobs)
            self._run(jobs)
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to the caller of that job
            if len(jobs) == 1:
                jobs[0].error, jobs[0].done = error, True
            else:
                self._run_alone(jobs)
        finally:
            left = [job for job in jobs if not job.done]
            with self._guard:
                self._queue.extendleft(reversed(left))
                leader = self._leader
            for job in jobs:
                if job.done and job is not leader:
                    job.wake.release()

    def _run_alone(self, jobs: list[Job[Work, Result]]) -> None:
        for job in jobs:
            try:
                self._run([job])
            except Exception as error:  # noqa: BLE001  # as above
                job.error, job.done = error, True
