"""Room `domains` (imports `views` and below): what an agent reads out of the network's tables, as of a given time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from antiphon.domains.network import bodies, formulas
from antiphon.model.places import DAY_MS
from antiphon.model.text import id_text, parse_id
from antiphon.model.times import Time, to_ms
from antiphon.views.commands import Recorder

USUAL_DAYS: Final = 30
"""Drift compares the last day with so many."""


class NetworkFigures:
    """Trust, hormones, resonance, coherence and drift, from the rows that an agent may read; see `formulas.py`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    @property
    def me(self) -> bytes:
        """The agent's id."""
        return parse_id(self._recorder.id)

    def trust(self, peer: str, *, as_of: Time) -> float:
        """How far the agent trusts a peer, in [0, 1]: 0.5 where it knows nothing; the past counts less and less."""
        return self._trust_between(self.me, parse_id(peer), to_ms(as_of)) / formulas.MILLION

    def hormone_level(self, hormone_type: str, *, as_of: Time) -> float:
        """The level of one hormone in the agent: the baseline of its profile, and what is left of what reached it."""
        profile = self._recorder.table("agents").get(self.me) or {"hormone_levels": bodies.HORMONES}
        baseline = (profile["hormone_levels"] or {}).get(hormone_type, 0.0)
        reached = self._every("hormones", agent_id=self.me, hormone_type=hormone_type)
        level = formulas.hormone_level(
            _millionths(baseline),
            ((row["time"], _millionths(row["intensity"])) for row in reached),
            as_of=to_ms(as_of),
        )
        return level / formulas.MILLION

    def cascade(self, intensity: float, *, as_of: Time) -> dict[str, tuple[int, float]]:
        """Whom a hormone that the agent releases reaches along links, as agent -> (hop, intensity): less by the trust
        of each link, and after three hops nobody.
        """
        trusted: dict[bytes, dict[bytes, int]] = {}
        edge, now = {self.me}, to_ms(as_of)
        for _ in range(formulas.HOPS_MAX):
            for agent in edge:
                peers = [link["peer_id"] for link in self._every("agent_links", agent_id=agent)]
                trusted[agent] = {peer: self._trust_between(agent, peer, now) for peer in peers}
            edge = {peer for agent in edge for peer in trusted[agent]} - trusted.keys()
        reached = formulas.cascade(trusted, self.me, _millionths(intensity))
        return {id_text(agent): (hop, strength / formulas.MILLION) for agent, (hop, strength) in reached.items()}

    def resonance(self, one: str, other: str) -> float:
        """How alike two agents are by what they shared with everyone, in [0, 1]."""
        ours, theirs = self._profile(parse_id(one)), self._profile(parse_id(other))
        return formulas.resonance(ours, theirs) / formulas.MILLION

    def coherence(self, agent: str | None = None, *, as_of: Time) -> float | None:
        """An agent's coherence, 0 to 100: the mean resonance of its links, by trust; None without links."""
        who = self.me if agent is None else parse_id(agent)
        found = self._coherence_of([who], to_ms(as_of))[who]
        return None if found is None else found / formulas.MILLION

    def field_coherence(self, region: str, *, as_of: Time, active_ms: int = DAY_MS) -> float | None:
        """The coherence of a region's field, 0 to 100: the mean of those of its agents that showed themselves within
        the last `active_ms`; None where there is none.
        """
        now = to_ms(as_of)
        registered = self._every("agent_registry", primary_region=region)
        active = [
            row["agent_id"]
            for row in registered
            if row["last_heartbeat"] is not None and now - active_ms < row["last_heartbeat"] <= now
        ]
        levels = self._coherence_of(active, now)
        found = formulas.field_coherence((formulas.MILLION, level) for level in levels.values())
        return None if found is None else found / formulas.MILLION

    def drift(self, *, as_of: Time) -> float:
        """How far what passed through the agent's stream in the last day is from the last 30 days, in [0, 1]."""
        now = to_ms(as_of)
        recent, usual = Counter[str](), Counter[str]()
        for synchronized in (False, True):
            stream = self._recorder.table("consciousness_stream")
            for row in stream.every({"synchronized": synchronized}, order="timestamp", descending=True):
                age = now - row["timestamp"]
                if age >= USUAL_DAYS * DAY_MS:
                    break
                if age >= 0:
                    usual[row["event_type"]] += 1
                    recent[row["event_type"]] += age < DAY_MS
        return formulas.drift(recent, usual) / formulas.MILLION

    def _coherence_of(self, whose: Iterable[bytes], now: int) -> dict[bytes, int | None]:
        profiles: dict[bytes, Mapping[int, int]] = {}

        def profile(agent: bytes) -> Mapping[int, int]:
            if agent not in profiles:
                profiles[agent] = self._profile(agent)
            return profiles[agent]

        found = {}
        for agent in whose:
            links = self._every("agent_links", agent_id=agent)
            found[agent] = formulas.coherence(
                (
                    self._trust_between(agent, link["peer_id"], now),
                    formulas.resonance(profile(agent), profile(link["peer_id"])),
                )
                for link in links
            )
        return found

    def _trust_between(self, one: bytes, other: bytes, now: int) -> int:
        rows = self._every("trust_daily", agent_from=one, agent_to=other)
        days = (
            (row["day"] // DAY_MS, row["success_rate_sum"], row["success_rate_count"] - row["success_rate_sum"])
            for row in rows
        )
        return formulas.trust(days, as_of=now // DAY_MS)

    def _profile(self, agent: bytes) -> dict[int, int]:
        shared = itertools.chain(self._every("spores", origin_agent=agent), self._every("topic_messages", sender=agent))
        return formulas.profile(row["content"] for row in shared if row["content"] is not None)

    def _every(self, table: str, **equal: Any) -> Iterator[Mapping[str, Any]]:
        return self._recorder.table(table).every(equal)


def _millionths(value: float) -> int:
    return round(value * formulas.MILLION)
