"""What tables cost: folding again, what others wrote, one more declared table, a row of the feed, lines of code.

Baselines are of the same run: for folding, the commit that appended the same events; for a table more, a table fewer.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter

from antiphon import Agent, Domain
from antiphon.engines.sqlite.file import rows
from antiphon.log.ingest import parts_of
from antiphon.log.store import LogHead
from antiphon.model.event import Scope
from antiphon.model.table import Column, Index, Table, Type
from antiphon.replica.enrol import follow_homes
from antiphon.replica.hear import hear, receive
from antiphon.views.domain import AssertRow, Kind
from antiphon.views.feed import OutboxEntry
from bench.figures import Figure, Size, figure
from bench.places import Noted, scratch
from bench.texts import texts

EVENTS, BATCH, SINGLE = 20_000, 1_000, 400
DOMAINS = Path(__file__).parents[1] / "src" / "antiphon" / "domains"


def _domain(tables: int) -> Domain:
    """One kind that goes into so many tables."""
    kind = Kind("shared.noted", Noted)
    made = tuple(
        Table(
            f"shared_{at}",
            key="id",
            columns=(
                Column("id", Type.ID, nullable=False),
                Column("timestamp", Type.TIMESTAMP, nullable=False),
                Column("text", Type.TEXT),
                Column("topic", Type.TEXT),
                Column("weight", Type.REAL),
            ),
            indexes=(Index(("timestamp",)),),
            shared=True,
        )
        for at in range(tables)
    )
    said = {"timestamp": "@time", "text": "text", "topic": "topic", "weight": "weight"}
    return Domain("shared", (kind,), made, {kind.name: tuple(AssertRow(table, **said) for table in made)})


def _write(agent: Agent, events: int, *, batch: int = BATCH) -> float:
    """Events a second of commits."""
    words = list(islice(texts(215), events))
    begin = perf_counter()
    for at in range(0, events, batch):
        with agent.batch() as some:
            for text in words[at : at + batch]:
                some.record("shared.noted", {"text": text, "topic": "x", "weight": 0.5}, scope=Scope.PUBLIC)
    return events / (perf_counter() - begin)


def run(size: Size) -> Iterator[Figure]:
    """All figures of what tables cost."""
    events = size.of(EVENTS, least=BATCH) // BATCH * BATCH
    with scratch() as folder:
        commits: dict[int, list[float]] = {1: [], 2: []}
        refolds: list[float] = []
        heard: list[float] = []
        feed: list[float] = []
        for at in range(size.rounds):
            for tables in (1, 2):
                home = folder / f"{at}-{tables}"
                with Agent.create("ada", home=home, domains=[_domain(tables)]) as agent:
                    commits[tables].append(_write(agent, events))
                    if tables == 2:
                        continue
                    (used,) = rows(agent.replica.file.reader, "SELECT sum(length(entry)) FROM outbox")
                    feed.append(used[0] / events)
                    begin = perf_counter()
                    agent.replica.refold("shared")
                    refolds.append(events / (perf_counter() - begin))
                    heard.append(_heard(agent, folder / f"{at}-other", events))
        yield figure("folding again, events", "/s", refolds, commits[1])
        yield figure("verifying and folding what others wrote, events", "/s", heard, commits[1])
        costs = [1e6 / two - 1e6 / one for one, two in zip(commits[1], commits[2], strict=True)]
        one_us = [1e6 / one for one in commits[1]]
        yield figure("one more table with an index, an event", "µs", [max(cost, 0.01) for cost in costs], one_us)
        yield figure("the feed, a row", "bytes", feed)
        for batch in (BATCH, 1):
            with Agent.create("ada", home=folder / f"feed-{batch}", domains=[_domain(1)]) as agent:
                found = [
                    _feeding(agent, batch, size.of(20_000 if batch > 1 else 400, least=batch))
                    for _ in range(size.rounds)
                ]
            spent, whole = zip(*found, strict=True)
            yield figure(f"writing the feed, an event, batches of {batch:,}", "µs", spent, whole)
    counted = list(_lines())
    yield figure("lines of code a table, kinds, folds and commands included", "lines", counted)


def _feeding(agent: Agent, batch: int, events: int) -> tuple[float, float]:
    """µs an event that go into the feed's entry, and into the whole commit; its page is written with the others."""
    replica, spent = agent.replica, 0.0
    write = replica._feed

    def timed(entry: OutboxEntry) -> None:
        nonlocal spent
        begin = perf_counter()
        write(entry)
        spent += perf_counter() - begin

    replica._feed = timed
    whole = 1e6 / _write(agent, events, batch=batch)
    replica._feed = write
    return spent * 1e6 / events, whole


def _heard(agent: Agent, home: Path, events: int) -> float:
    """Events a second of another file that takes in this agent's log and folds it."""
    source = agent.replica
    with Agent.create("bob", home=home, domains=[_domain(1)]) as other:
        follow_homes(source, agent.record_of_agent.principal_log, other.replica)
        head = source.head(agent.log_id)
        stranger = LogHead(0, head.id, head.owner, head.key)
        begin = perf_counter()
        receive(other.replica, stranger, parts_of(source.logs, source.reader, head, shared=True), head.note)
        hear(other.replica)
        took = perf_counter() - begin
        table = other.replica.registry.table("shared_0")
        assert other.replica.tables.count(table) == source.tables.count(table), "not everything was folded"
    return events / took


def _lines() -> Iterator[float]:
    """For each domain of more than one table: its lines by its tables."""
    from antiphon.domains.memory import MEMORY
    from antiphon.domains.network import NETWORK

    for domain in (MEMORY, NETWORK):
        lines = sum(
            sum(1 for line in path.read_text().splitlines() if line.strip())
            for path in (DOMAINS / domain.name).glob("*.py")
        )
        yield lines / len(domain.tables)
