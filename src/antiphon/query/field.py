"""Room `query` (imports `knowledge` and below): a field's coherence kept in columns, one link at a time.

The formulas are those of `domains/network/formulas.py`: all integers, so a figure that was moved ten million times is
the one that is computed anew. Reading it looks at nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from antiphon.model.errors import InvalidInput

MILLION = 1_000_000


class Field:
    """The agents of a field by number from 0: how much weighs on each one's links, and what that adds up to.

    *Units*: trust and resonance in millionths; coherence in millionths of 0 to 100. *Cost*: 32 bytes an agent, 1 µs a
    link that comes, goes or changes, 0.1 µs to read.
    """

    def __init__(self, trust: Iterable[int] = ()) -> None:
        self._trust = array("q", trust)
        self._weights = array("q", bytes(8 * len(self._trust)))
        self._sums: list[int] = [0] * len(self._trust)
        self._share, self._level = 0, 0

    def __len__(self) -> int:
        return len(self._trust)

    def add(self, trust: int) -> int:
        """A new agent that is trusted so much; its number."""
        self._trust.append(trust)
        self._weights.append(0)
        self._sums.append(0)
        return len(self._trust) - 1

    def move(self, agent: int, *, trust: int, resonance: int, before: tuple[int, int] | None = None) -> None:
        """A link of an agent is now (trust, resonance); `before` is what it was. A trust of 0 takes it away."""
        self._out(agent)
        self._weights[agent] += trust
        self._sums[agent] += trust * resonance
        if before is not None:
            self._weights[agent] -= before[0]
            self._sums[agent] -= before[0] * before[1]
        self._in(agent)

    def retrust(self, agent: int, trust: int) -> None:
        """An agent is trusted so much now."""
        self._out(agent)
        self._trust[agent] = trust
        self._in(agent)

    def coherence_of(self, agent: int) -> int | None:
        """One agent's coherence, None where nothing weighs."""
        weights = self._weights[agent]
        return 100 * self._sums[agent] // weights if weights else None

    def coherence(self) -> int | None:
        """The field's coherence now, None where no agent has one."""
        return self._level // self._share if self._share else None

    def load(self, weights: Iterable[int], sums: Iterable[int]) -> None:
        """Puts in what is known of every agent's links at once. Raises InvalidInput when that is not one each."""
        self._weights, self._sums = array("q", weights), list(sums)
        if not len(self._weights) == len(self._sums) == len(self._trust):
            raise InvalidInput(f"a field of {len(self._trust):,} agents needs as many weights and sums")
        self._share = self._level = 0
        for trust, weight, total in zip(self._trust, self._weights, self._sums, strict=True):
            if weight:
                self._share += trust
                self._level += trust * (100 * total // weight)

    def _out(self, agent: int) -> None:
        level = self.coherence_of(agent)
        if level is not None:
            self._share -= self._trust[agent]
            self._level -= self._trust[agent] * level

    def _in(self, agent: int) -> None:
        level = self.coherence_of(agent)
        if level is not None:
            self._share += self._trust[agent]
            self._level += self._trust[agent] * level
