"""Room `domains` (imports `views` and below): the commands of wisdom: sharing insights, and saying which ring true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET, UnsetType

from antiphon.domains.wisdom import bodies, declare
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, LimitExceeded, NotFound
from antiphon.model.event import Scope
from antiphon.model.text import parse_entity, parse_id
from antiphon.model.times import Time
from antiphon.views.commands import Receipt, Recorder

_ORDERS: Final = {"new": "created_at", "resonance": "resonance"}


class Wisdom:
    """What a fleet has come to see, as one agent uses it. Insights, crystals and agents are named by ids as text."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def share(
        self,
        content: str,
        *,
        tags: Sequence[str] = (),
        vector: Sequence[float] | None = None,
        occurred: Time | None = None,
        about: Sequence[str] = (),
        sources: Sequence[str] = (),
    ) -> Receipt:
        """An insight for everybody. `sources` are the events that it was drawn from: forgotten with them."""
        body = bodies.Shared(_words(content), _tags("insights", tags), _vector(vector))
        return self._recorder.record(
            declare.SHARED, body, occurred=occurred, about=about, sources=sources, scope=Scope.PUBLIC
        )

    def edit(
        self,
        insight: str,
        *,
        content: str | UnsetType = UNSET,
        tags: Sequence[str] | UnsetType = UNSET,
        vector: Sequence[float] | UnsetType | None = UNSET,
    ) -> Receipt:
        """New values for an insight of the agent's own."""
        self._own(insight)
        body = bodies.Edited()
        if content is not UNSET:
            body.content = _words(content)
        if tags is not UNSET:
            body.tags = _tags("insights", tags)
        if vector is not UNSET:
            body.vector = _vector(vector)
        return self._recorder.record(declare.EDITED, body, entity=insight, scope=Scope.PUBLIC)

    def withdraw(self, insight: str) -> Receipt:
        """Takes an insight of the agent's own back; its history stays until it is forgotten."""
        self._own(insight)
        return self._recorder.record(declare.WITHDRAWN, bodies.Withdrawn(), entity=insight, scope=Scope.PUBLIC)

    def acknowledge(self, insight: str) -> Receipt:
        """Says that an insight rings true; twice is once."""
        body = bodies.Acknowledged(self._insight(insight)["id"])
        return self._recorder.record(declare.ACKNOWLEDGED, body, scope=Scope.PUBLIC)

    def unacknowledge(self, insight: str) -> Receipt:
        """Takes that back. Raises NotFound when the agent has not said it."""
        self._said("insight_acknowledgements", insight)
        body = bodies.Acknowledged(parse_entity(insight))
        return self._recorder.record(declare.UNACKNOWLEDGED, body, scope=Scope.PUBLIC)

    def crystallize(
        self,
        content: str,
        agents: Sequence[str],
        *,
        score: float | None = None,
        related: Sequence[str] = (),
        tags: Sequence[str] = (),
        sources: Sequence[str] = (),
    ) -> Receipt:
        """Writes down what several agents agree on. `score` from 0 to 1; `related` are other crystals."""
        if not agents:
            raise InvalidInput("wisdom_crystals.contributing_agents: an agreement needs agents")
        if score is not None and (type(score) not in (int, float) or not 0 <= score <= 1):
            raise InvalidInput(f"wisdom_crystals.wisdom_score is a number from 0 to 1, not {score!r:.60}")
        others = [self._crystal(other)["crystal_id"] for other in related]
        body = bodies.Formed(_words(content), [parse_id(agent) for agent in agents], score, others,
                             _tags("wisdom_crystals", tags))  # fmt: skip
        return self._recorder.record(declare.FORMED, body, sources=sources, scope=Scope.PUBLIC)

    def relate(self, crystal: str, others: Sequence[str]) -> Receipt:
        """Adds to what a crystal of the agent's own has to do with."""
        self._crystal(crystal)
        body = bodies.Related([self._crystal(other)["crystal_id"] for other in others])
        return self._recorder.record(declare.RELATED, body, entity=crystal, scope=Scope.PUBLIC)

    def acknowledge_crystal(self, crystal: str) -> Receipt:
        """Says that a crystal rings true; twice is once."""
        body = bodies.CrystalAcknowledged(self._crystal(crystal)["crystal_id"])
        return self._recorder.record(declare.CRYSTAL_ACKNOWLEDGED, body, scope=Scope.PUBLIC)

    def unacknowledge_crystal(self, crystal: str) -> Receipt:
        """Takes that back. Raises NotFound when the agent has not said it."""
        self._said("crystal_acknowledgements", crystal)
        body = bodies.CrystalAcknowledged(parse_entity(crystal))
        return self._recorder.record(declare.CRYSTAL_UNACKNOWLEDGED, body, scope=Scope.PUBLIC)

    def insights(self, *, order: str = "resonance", limit: int = 100) -> Sequence[Mapping[str, Any]]:
        """Insights, those with most `resonance`, or the `new` ones, first."""
        if order not in _ORDERS:
            raise InvalidInput(f"insights come in one of the orders {', '.join(_ORDERS)}, not {order!r:.60}")
        return self._recorder.table("insights").select(order=_ORDERS[order], descending=True, limit=limit)

    def crystals(self, *, limit: int = 100) -> Sequence[Mapping[str, Any]]:
        """Crystals, those acknowledged most first."""
        table = self._recorder.table("wisdom_crystals")
        return table.select(order="resonance_count", descending=True, limit=limit)

    def _insight(self, insight: str) -> Mapping[str, Any]:
        found = self._recorder.table("insights").get(parse_entity(insight))
        if found is None:
            raise NotFound(f"insights: there is no insight {insight} here")
        return found

    def _own(self, insight: str) -> None:
        if self._insight(insight)["agent_id"] != parse_id(self._recorder.id):
            raise InvalidInput(f"insights: {insight} is another agent's: only its author may change it")

    def _crystal(self, crystal: str) -> Mapping[str, Any]:
        found = self._recorder.table("wisdom_crystals").get(parse_entity(crystal))
        if found is None:
            raise NotFound(f"wisdom_crystals: there is no crystal {crystal} here")
        return found

    def _said(self, table: str, entity: str) -> None:
        if self._recorder.table(table).get(parse_entity(entity), parse_id(self._recorder.id)) is None:
            raise NotFound(f"{table}: this agent has not acknowledged {entity}")


def _words(content: object) -> str:
    if not isinstance(content, str) or not content.strip():
        raise InvalidInput("there is nothing to share: the content is empty; say what was seen")
    return content


def _tags(table: str, tags: Sequence[str]) -> list[str]:
    if isinstance(tags, str) or not all(isinstance(tag, str) and tag for tag in tags):
        raise InvalidInput(f"{table}.tags are a list of words")
    if len(tags) > limits.TAGS_MAX:
        raise LimitExceeded("TAGS_MAX", got=len(tags), allowed=limits.TAGS_MAX, what="the number of tags")
    return sorted(set(tags))


def _vector(vector: Sequence[float] | None) -> list[float] | None:
    if vector is None:
        return None
    found = list(vector)
    if len(found) != declare.VECTOR_SIZE or not all(type(x) in (int, float) and math.isfinite(x) for x in found):
        raise InvalidInput(
            f"insights.vector has {declare.VECTOR_SIZE} finite numbers; this has {len(found)}, or others among them"
        )
    return [float(x) for x in found]
