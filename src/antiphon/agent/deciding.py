"""Room `agent` (imports all below it): what an agent asks of homes, and what it decides where it is one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from antiphon.agent.following import Following
from antiphon.engines.sqlite.figures import SqliteFigures
from antiphon.log.store import LogRole
from antiphon.model import limits, times
from antiphon.model.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from antiphon.model.event import Event, Scope
from antiphon.model.text import check_text, entity_text, event_text, id_text, parse_entity, parse_event, parse_id
from antiphon.replica import decide, homes
from antiphon.replica.authority import Move
from antiphon.replica.decide import Decided, Requested
from antiphon.views.commands import convert, draft_of


class Asked(msgspec.Struct, frozen=True):
    """A request that waits for its answer. `here`: whether this agent decides it, or another log does.

    Events, entities, agents and logs are named by their ids as text; `time` is when it was recorded.
    """

    request: str
    kind: str
    entity: str | None
    agent: str
    time: str
    home: str
    here: bool


class HomeOfRows(msgspec.Struct, frozen=True):
    """A log that rows name as their home, and who decides for it now. `rows` counts them by table.

    `here`: whether this agent decides. `line` are the logs that the home went to, one after the other.
    """

    home: str
    decides: str
    agent: str
    here: bool
    rows: dict[str, int]
    line: list[str]


class Deciding(Following):
    """What an agent asks of homes, and decides."""

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """All that is recorded and asked in the block is recorded together, or (an error, a Conflict) not at all."""
        self.log_id  # noqa: B018  # a copy begins its log before, or it would be undone with the rest
        with self.replica.transaction():
            yield

    def request(
        self,
        kind: str,
        body: Any,
        *,
        home: bytes,
        entity: str,
        scope: Scope = Scope.PUBLIC,
        circle: bytes | None = None,
    ) -> Decided | Requested:
        """Asks the home of a row (the log that decides about it) for something; `home` is put into the body.

        Where the home is in this file it has decided when this returns: Conflict says why not, and nothing is
        recorded. Else the request is recorded, to be decided when it gets there: `wait()` for it.
        """
        declared = self.replica.registry.kind(kind)
        plain = body if isinstance(body, Mapping) else msgspec.to_builtins(body, builtin_types=(bytes,))
        value = convert(declared, {**plain, "home": home} if kind in self.replica.registry.deciders else plain)
        draft = draft_of(declared, value, entity=parse_entity(entity), scope=scope, circle=circle)
        log = self.log_id
        try:
            return decide.request(self.replica, log, draft, value)
        except Conflict:
            if self.replica.head(log).role == LogRole.OWN:
                raise
            self._log = None  # another process has revoked its key: the agent goes on in a new log
            return decide.request(self.replica, self.log_id, draft, value)

    def requests(self) -> list[Asked]:
        """What waits for an answer: asked of this agent, where it is the home, or by it; in the one order."""
        mine = {head.id for head in self._heads()}
        return [
            Asked(
                event_text(one.event.log, one.event.seq), one.event.kind,
                None if one.event.entity is None else entity_text(one.event.entity), id_text(one.event.author),
                times.iso(one.event.header.hlc >> 16), id_text(one.decider), one.here and one.decider in mine,
            )
            for one in decide.waiting_requests(self.replica)
            if one.decider in mine or one.event.log in mine
        ]  # fmt: skip

    def answer_requests(self, *requests: str, refuse: str | None = None) -> list[Event]:
        """Decides what was asked of this agent and waits, in the one order: all of it, or the requests named.

        The rules of their domain decide; with `refuse`, the requests named are refused for that reason. Returns the
        decisions, refusals (`request.refused`) among them. Raises NotFound where one does not wait here.
        """
        if refuse is not None:
            if not requests:
                raise InvalidInput("name the requests that are to be refused")
            check_text(refuse, what="the reason of a refusal")
            if not refuse.strip():
                raise InvalidInput("a refusal needs a reason: whoever asked reads it")
            if len(refuse) > limits.REASON_CHARS_MAX:
                raise LimitExceeded(
                    "REASON_CHARS_MAX", got=len(refuse), allowed=limits.REASON_CHARS_MAX, what="the reason's characters"
                )
        mine = {one.request for one in self.requests() if one.here}
        for one in requests:
            if one not in mine:
                raise NotFound(f"no request {one} waits here for this agent to decide: `antiphon requests` lists them")
        wanted = {parse_event(one) for one in requests or mine}
        return decide.answer_requests(self.replica, only=wanted, refuse=refuse)

    # -- homes ---------------------------------------------------------------------------------------------------

    def homes(self) -> list[HomeOfRows]:
        """The logs that the rows here name as their homes, and who decides for each now."""
        replica, mine = self.replica, {head.id for head in self._heads(LogRole.OWN)}
        figures = SqliteFigures(replica.file, replica.tables)
        counted: dict[bytes, dict[str, int]] = {}
        for name, table in replica.registry.tables.items():
            if table.home is None or not replica.tables.exists(table):
                continue
            for home in replica.tables.distinct(table, table.home):
                counted.setdefault(home, {})[name] = figures.aggregate(table, "count", "", {table.home: home}, None)
        listed = []
        for home, rows in sorted(counted.items()):
            line = replica.authority.line(home)
            head = replica.logs.head(line[-1])
            owner = "" if head is None else id_text(head.owner)
            here = head is not None and head.id in mine and homes.may_hold_home(replica, head)
            listed.append(HomeOfRows(id_text(home), id_text(line[-1]), owner, here, rows, [*map(id_text, line[1:])]))
        return listed

    def move_home(self, source: str, target: str | None = None, *, size: int | None = None) -> Move:
        """Lets the log `target` (this agent's own by default) decide from now on what the log `source` has decided.

        Both are agents' logs of this agent's principal, whose own log must be written on this machine: it says so.
        What `source` decided in its first `size` events (all that are here when not given) stands; the rest is void,
        and what it had answered is asked again. A log that gave a home up never has it again. Raises InvalidInput,
        NotFound or Conflict where such a move would not count.
        """
        principal = self._principal()
        if principal is None:
            raise Conflict("the principal's log is not in this home: move the home where that is")
        to = self.log_id if target is None else parse_id(target)
        said = self.record_of_agent.principal_log
        return homes.move_home(principal, said, self.replica, source=parse_id(source), target=to, size=size)
