"""P14: bytes on disk, on 258,145 real chat messages, beside zstd -3 of their text; and of what is empty.

*Payload* is what is stored of the logs (heads, blocks, frames, runs); *pages* is what that takes in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import zstandard

from antiphon import Agent, Fleet
from antiphon.demo.corpus import Message, chunks, corpus_path, people_of, read_corpus
from antiphon.engines.sqlite.sizes import LOG_TABLES, bytes_by_owner, payload_of_logs
from antiphon.replica.core import Replica
from bench.figures import Figure, Size, figure
from bench.places import scratch


def run(size: Size) -> Iterator[Figure]:
    """One log, a fleet in one file, the whole file, a fresh file."""
    messages = read_corpus(corpus_path())[: size.of(258_145, least=2_000)]
    raw = "\n".join(message.text for message in messages).encode()
    squeezed = float(len(zstandard.ZstdCompressor(level=3).compress(raw)))
    about = {"messages": len(messages), "text_bytes": len(raw), "zstd_bytes": int(squeezed)}
    with scratch() as folder:
        yield from _one_log(folder, messages, squeezed, float(len(raw)), about)
        yield from _fleet(folder, messages, squeezed, about)
        yield _fresh(folder)
        if size.slow:
            yield from _crowd(folder)


def _pages(replica: Replica) -> float:
    owners = bytes_by_owner(replica.file)
    return float(sum(owners.get(name, 0) for name in LOG_TABLES))


def _one_log(
    folder: Path, messages: list[Message], squeezed: float, raw: float, about: dict[str, int]
) -> Iterator[Figure]:
    with Agent.create("all", home=folder / "one") as agent:
        start = perf_counter()
        for part in chunks(messages, 1_000):
            with agent.batch() as batch:
                for message in part:
                    batch.remember(message.text, occurred=message.sent_ms)
        rate = round(len(messages) / (perf_counter() - start))
        agent.replica.tidy()
        replica = agent.replica
        payload = float(payload_of_logs(replica.file, [replica.head(agent.log_id).no]))
        yield figure(
            "one log, payload", "bytes", [payload], [squeezed], target="≤ 1.4×", ratio_max=1.4,
            bytes_a_message=round(payload / len(messages), 2), commit_rate=rate, **about,
        )  # fmt: skip
        yield figure("one log, pages", "bytes", [_pages(replica)], [squeezed], **about)
        replica.file.settle()
        owners = dict(sorted(bytes_by_owner(replica.file).items(), key=lambda item: -item[1])[:8])
        whole = float(replica.file.path.stat().st_size)
        yield figure(
            "whole file, views and full text, against the raw text", "bytes", [whole], [raw],
            target="≤ 5×", ratio_max=5, largest=owners, **about,
        )  # fmt: skip


def _fleet(folder: Path, messages: list[Message], squeezed: float, about: dict[str, int]) -> Iterator[Figure]:
    with Fleet.create(folder / "fleet") as fleet:
        people = people_of(messages)
        fleet.add_all(people, own_principals=True)
        for part in chunks(messages, 8_192):
            with fleet.batch() as batch:
                for message in part:
                    batch.remember(message.person, message.text, occurred=message.sent_ms)
        replica = fleet.replica
        replica.tidy()
        agents = {fleet.agent(name).record_of_agent.agent for name in people}
        theirs = [head.no for head in replica.heads() if head.owner in agents]
        others = [head.no for head in replica.heads() if head.owner not in agents]
        payload = float(payload_of_logs(replica.file, theirs))
        identity = payload_of_logs(replica.file, others) / len(people)
        yield figure(
            f"{len(people):,} logs of one file, payload", "bytes", [payload], [squeezed],
            target="≤ 1.6×", ratio_max=1.6, bytes_a_message=round(payload / len(messages), 2), **about,
        )  # fmt: skip
        yield figure(
            f"{len(people):,} logs of one file, pages, principals' logs included", "bytes",
            [_pages(replica)], [squeezed], **about,
        )  # fmt: skip
        yield figure(
            "a principal of one's own, its log", "bytes an agent", [identity], target="≤ 1,024", value_max=1_024
        )


def _fresh(folder: Path) -> Figure:
    with Agent.create("fresh", home=folder / "fresh") as agent:
        path = agent.replica.file.path
        agent.replica.file.settle()
    return figure("a fresh agent's file", "bytes", [float(path.stat().st_size)], target="≤ 32,768", value_max=32_768)


def _crowd(folder: Path, count: int = 100_000) -> Iterator[Figure]:
    start = perf_counter()
    with Fleet.create(folder / "crowd") as fleet:
        fleet.add_all([f"agent-{at}" for at in range(count)])
        fleet.replica.tidy()
        fleet.replica.file.settle()
        size = fleet.replica.file.path.stat().st_size
    seconds = perf_counter() - start
    yield figure(
        "100,000 agents of one principal, an agent without events", "bytes an agent", [size / count],
        target="≤ 1,024", value_max=1_024, seconds=round(seconds),
    )  # fmt: skip
