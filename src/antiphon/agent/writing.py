"""Room `agent` (imports all below it): commands collected for one commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.agent.answers import Recorded
from antiphon.agent.opened import Opened
from antiphon.domains.memory import commands
from antiphon.model import times
from antiphon.model.event import NEW, Draft, Scope
from antiphon.model.text import name_key, parse_entity
from antiphon.model.times import Time
from antiphon.views.commands import convert, draft_of


class Writing:
    """Commands collected by `Agent.batch`; `recorded` has their receipts once the block has ended."""

    def __init__(self, agent: Opened) -> None:
        self._agent = agent
        self._named: dict[str, bytes] = {}
        self.drafted: list[tuple[Draft, Any]] = []
        self.recorded: Sequence[Recorded] = ()

    def remember(
        self,
        text: str,
        *,
        user: str | None = None,
        expires: Time | None = None,
        occurred: Time | None = None,
        supersedes: str | None = None,
        sources: Sequence[str] = (),
        **fields: Any,
    ) -> None:
        """As `Agent.remember`."""
        agent = self._agent
        old = None if supersedes is None else agent._row(parse_entity(supersedes)).values
        person = self._person(user) if user is not None else None if old is None else old["user"]
        self.drafted.append(
            commands.remember(
                text,
                user=person,
                expires=None if expires is None else times.to_ms(expires),
                occurred=None if occurred is None else times.to_ms(occurred),
                supersedes=None if old is None else old["id"],
                refs=agent._source_refs(sources) if sources else None,
                **fields,
            )
        )

    def _person(self, label: str) -> bytes:
        name = name_key(label) if isinstance(label, str) else ""
        person = self._named.get(name)
        if person is None:
            person, drafted = self._agent._person(label)
            self._named[name] = person
            if drafted is not None:
                self.drafted.append(drafted)
        return person

    def record(
        self,
        kind: str,
        body: Any,
        *,
        entity: str | None = None,
        occurred: Time | None = None,
        about: Sequence[str] = (),
        sources: Sequence[str] = (),
        scope: Scope = Scope.PRIVATE,
        circle: bytes | None = None,
    ) -> None:
        """As `Agent.record`."""
        declared = self._agent.replica.registry.kind(kind)
        value = convert(declared, body)
        draft = draft_of(
            declared,
            value,
            entity=NEW if entity is None else self._agent._own_entity(entity),
            occurred=None if occurred is None else times.to_ms(occurred),
            about=tuple(sorted({self._person(label) for label in about})) if about else None,
            refs=self._agent._source_refs(sources) if sources else None,
            scope=scope,
            circle=circle,
        )
        self.drafted.append((draft, value))
