"""The board: the first hundred of 100,000 open tasks, in each order.

The baseline is of the same run: all open tasks read through the same interface, and sorted; the page must be what they
begin with.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from time import perf_counter

from antiphon import Fleet
from antiphon.domains.tasks import Tasks
from antiphon.domains.tasks.ranking import ORDERS, ordered
from antiphon.model.event import Scope
from antiphon.model.places import DAY_MS
from antiphon.model.text import parse_entity
from bench.figures import Figure, Size, figure
from bench.places import scratch

TASKS, AGENTS, SHOWN, BATCH = 100_000, 50, 100, 4_096


def _filled(fleet: Fleet, count: int, now: int) -> None:
    """Open tasks of the last thirty days, with votes as boards have them: few on most, many on some."""
    chance, names = random.Random(7), [f"agent-{at}" for at in range(AGENTS)]
    fleet.add_all(names)
    made: list[bytes] = []
    for at in range(0, count, BATCH):
        with fleet.batch() as batch:
            for n in range(at, min(at + BATCH, count)):
                age = round(chance.random() * 30 * DAY_MS)
                body = {"title": f"task {n}"}
                batch.record(names[n % AGENTS], "task.created", body, occurred=now - age, scope=Scope.PUBLIC)
        made += [parse_entity(one.entity or "") for one in batch.recorded]
    votes = []
    for task in made:
        liked = chance.choice((0.95, 0.9, 0.5))
        voters = chance.sample(names, min(AGENTS, int(chance.paretovariate(1.1)) - 1))
        votes += [(name, {"task": task, "vote": 1 if chance.random() < liked else -1}) for name in voters]
    for at in range(0, len(votes), BATCH):
        with fleet.batch() as batch:
            for name, body in votes[at : at + BATCH]:
                batch.record(name, "task.voted", body, scope=Scope.PUBLIC)


def run(size: Size) -> Iterator[Figure]:
    """Milliseconds for a page of each order."""
    count = size.of(TASKS, least=500)
    with scratch() as folder, Fleet.create(folder / "fleet") as fleet:
        now = fleet.replica.clock.now_ms()
        _filled(fleet, count, now)
        agent = fleet.agent("agent-0")
        board, table = Tasks(agent), agent.table("tasks")
        for order in ORDERS:
            ours, theirs = [], []
            for at in range(size.rounds + 1):
                begin = perf_counter()
                page = board.list(order=order, as_of=now, limit=SHOWN)
                between = perf_counter()
                every = ordered(table.every({"status": "open"}), order, as_of=now)[:SHOWN]
                end = perf_counter()
                if page != every:
                    raise AssertionError(f"the first page of {order} is not what all tasks, ranked, begin with")
                if at:
                    ours.append((between - begin) * 1_000)
                    theirs.append((end - between) * 1_000)
            yield figure(
                f"the first {SHOWN} {order} tasks of {count:,} open ones", "ms", ours, theirs, target="≤ 0.1×",
                ratio_max=0.1,
            )  # fmt: skip
