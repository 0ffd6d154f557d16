"""P5: the coherence of a field of a million agents and ten million links, read while links change.

Beside it, in turns, numpy computes the same from the links: each agent's weighted mean by `bincount`, then their mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from antiphon.query.field import Field
from bench.figures import Figure, Size, alternate, figure

AGENTS, LINKS = 1_000_000, 10_000_000
CHANGES = 1_000


def run(size: Size) -> Iterator[Figure]:
    """All figures of P5."""
    import numpy

    chance = numpy.random.default_rng(5)
    agents, links = size.of(AGENTS, least=100), size.of(LINKS, least=1_000)
    of = chance.integers(0, agents, links)
    trust = chance.integers(1, 1_000_000, links)
    alike = chance.integers(0, 1_000_000, links)
    share = chance.integers(1, 1_000_000, agents)
    start = perf_counter()
    weights, sums = numpy.zeros(agents, numpy.int64), numpy.zeros(agents, numpy.int64)
    numpy.add.at(weights, of, trust)
    numpy.add.at(sums, of, trust * alike)
    field = Field(share.tolist())
    field.load(weights.tolist(), sums.tolist())
    loaded_s = perf_counter() - start
    moved = chance.integers(0, links, CHANGES).tolist()

    def ours() -> float:
        """ms to change a link and read the field."""
        begin = perf_counter()
        for at in moved:
            was = int(trust[at]), int(alike[at])
            alike[at] = (was[1] + 1_000) % 1_000_000
            field.move(int(of[at]), trust=was[0], resonance=int(alike[at]), before=was)
            field.coherence()
        return (perf_counter() - begin) * 1_000 / CHANGES

    def theirs() -> float:
        """ms for numpy to compute it from the links."""
        begin = perf_counter()
        by = numpy.bincount(of, trust, agents)
        mean = numpy.bincount(of, trust * alike.astype(float), agents) / numpy.maximum(by, 1)
        float((mean * share).sum() / share[by > 0].sum())
        return (perf_counter() - begin) * 1_000

    found = alternate({"ours": ours, "theirs": theirs}, size.rounds)
    yield figure(
        f"coherence of {agents:,} agents, {links:,} links, after a link changed", "ms", found["ours"], found["theirs"],
        target="≤ 50 ms", value_max=50,
    )  # fmt: skip
    yield figure("filling the field", "s", [loaded_s])
