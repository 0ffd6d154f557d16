"""Room `replica` (imports all below it): homes: what others ask of a table's home, and what the home decides.

A request is an event of a kind that has a decider; its body names the home. The home's log holds the decisions, each
naming its request, so they have one order and whoever holds that log comes to the same rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec

from antiphon.log import kinds
from antiphon.log.append import Appended
from antiphon.log.read import stamp_of
from antiphon.log.store import LogHead, LogRole
from antiphon.model.errors import AntiphonError, Conflict, NotFound, Rejected, Unavailable
from antiphon.model.event import Draft, Event, Ref, Role, Scope, encode_body
from antiphon.model.text import entity_text, event_text, id_text
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.homes import may_hold_home
from antiphon.views.commands import draft_of
from antiphon.views.domain import Registry, Rows
from antiphon.views.store import OF_ASKED, of_cause
from antiphon.world.clock import sleep_ms

ANSWERS_PER_COMMIT: Final = 256
POLL_MS: Final = 20
ROWS_MAX: Final = 100_000
"""Rows that a decider may look through at once."""


class Decided(msgspec.Struct, frozen=True):
    """A request that its home has granted: the request's event, and the home's. *Units*: ms since 1970."""

    request: str
    event: str
    entity: str | None
    recorded_ms: int

    def wait(self, timeout_s: float = 0.0) -> Decided:
        """Itself: there is nothing to wait for."""
        return self


class Requested:
    """A request whose home is not in this file: it has been recorded, and is decided when it gets there."""

    def __init__(self, replica: Replica, log: bytes, seq: int, home: bytes) -> None:
        self._replica, self._log, self._seq, self._home = replica, log, seq, home
        self.event = event_text(log, seq)

    def __repr__(self) -> str:
        return f"Requested({self.event!r})"

    def decision(self) -> Decided | None:
        """The home's answer, None while it has not come. Raises Conflict when it is no, with the reason."""
        found = _decision_on(self._replica, self._log, self._seq, self._home, self._replica.event)
        if found is None:
            return None
        if found.kind == kinds.REQUEST_REFUSED:
            raise Conflict(_reason_in(found), request=self.event, event=event_text(found.log, found.seq))
        return _decided(self.event, found)

    def wait(self, timeout_s: float = 30.0) -> Decided:
        """The home's answer, once it is here. Raises Conflict when it is no, Unavailable when none came in time."""
        left_ms = timeout_s * 1_000
        while (found := self.decision()) is None:
            if left_ms <= 0:
                raise Unavailable(
                    f"the home {id_text(self._home)} has not answered {self.event} within {timeout_s:g} s: it stays "
                    "asked; wait again, or sync with the home",
                    request=self.event,
                )
            sleep_ms(min(POLL_MS, left_ms))
            left_ms -= POLL_MS
        return found


class RowsHere:
    """What a decider reads: the rows of one file, as they are in the transaction that decides."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def row(self, table: str, key: bytes) -> Mapping[str, Any] | None:
        """A row by its key, None when there is none."""
        _check_current(self._replica, self._replica.registry.domain_of_table.get(table))
        found = self._replica.tables.row(self._replica.registry.table(table), key)
        return None if found is None else found.values

    def select(self, table: str, **equal: Any) -> list[Mapping[str, Any]]:
        """Rows whose columns have these values, at most ROWS_MAX."""
        _check_current(self._replica, self._replica.registry.domain_of_table.get(table))
        declared = self._replica.registry.table(table)
        return [row.values for row in self._replica.tables.select(declared, equal, order="n", limit=ROWS_MAX)]


class _NotCurrent(Unavailable):
    """What would be decided by is not what the events say now."""


def _check_current(replica: Replica, domain: str | None) -> None:
    """Raises Unavailable while a domain's tables in use are not of this code's version."""
    if domain is None or domain in replica.views.live:
        return
    building = replica.generations.of(domain)
    if building is not None and building.fingerprint == replica.registry.fingerprints[domain]:
        raise _NotCurrent(
            f"the tables of {domain!r} are being folded again, nothing is decided by the old ones: try again when "
            "`antiphon views` shows them current",
            domain=domain,
        )
    raise _NotCurrent(
        f"the tables of {domain!r} were made by a newer version: upgrade Antiphon to decide on them", domain=domain
    )


def request(replica: Replica, log: bytes, draft: Draft, body: Any) -> Decided | Requested:
    """Asks the home that the body names, on disk when this returns.

    Where the home's log is written in this file, request and decision are recorded together, or neither is and
    Conflict says why; else the request alone. *Cost*: one commit.
    """
    replica.file.check_process()
    if draft.kind not in replica.registry.deciders:
        raise Rejected(f"nobody decides a {draft.kind}: its domain declares no decider for it", kind=draft.kind)
    home = replica.logs.head(replica.authority.current(body.home))
    if home is None or home.role != LogRole.OWN:
        appended = replica.commit(Batch(log, [draft], [body]))
        return Requested(replica, log, appended.first, body.home)
    if not may_hold_home(replica, home):
        raise Conflict(
            f"the log {id_text(home.id)} belongs to a copy that its principal has not certified, so it may decide "
            "nothing: `antiphon adopt`, or ask the home of the original"
        )
    with replica.transaction():
        asked = replica.append_in_transaction(Batch(log, [draft], [body]))
        event = _event_of(asked)
        answer = _answer(replica, event, body)
        if isinstance(answer, str):
            raise Conflict(answer, kind=draft.kind, home=id_text(home.id))
        made = _record(replica, home.id, event, *answer)
    if not replica.file.is_writing:
        replica.scrub_if_pending()
    return _decided(event_text(event.log, event.seq), made)


class Waits(msgspec.Struct, frozen=True):
    """A request without an answer: its event, the home that it names, and the log that decides for that now.

    `here`: whether that is for this file to do.
    """

    event: Event
    home: bytes
    decider: bytes
    here: bool


def waiting_requests(replica: Replica) -> list[Waits]:
    """What was asked of homes and waits, as far as it is known here, in the one order."""
    found: list[Waits] = []
    for no, seq in replica.mentions.find(OF_ASKED):
        event = _event_at(replica, no, seq)
        body = None if event is None else _body_of(replica, event)
        if event is None or body is None:
            continue
        if _decision_on(replica, event.log, event.seq, body.home, _reading(replica)) is not None:
            continue
        home = _home_here(replica, body.home)
        found.append(Waits(event, body.home, replica.authority.current(body.home), home is not None))
    return sorted(found, key=lambda one: (one.event.stamp, one.event.log, one.event.seq))


def answer_requests(
    replica: Replica, *, only: Collection[tuple[bytes, int]] | None = None, refuse: str | None = None
) -> list[Event]:
    """The decisions, refusals among them, on all requests that wait here and whose homes are here, in the one order.

    Safe to call again at any time, after a crash too: a request that has its decision is not decided again. What
    cannot be decided or recorded is refused, and holds nothing else up. `only` are the requests meant (log, seq);
    with `refuse`, they are refused for that reason, whatever the rules say.
    """
    waiting: list[tuple[int, bytes, int, int]] = []
    for no, seq in replica.mentions.find(OF_ASKED):
        event = _event_at(replica, no, seq)
        stamp, log = (0, b"") if event is None else (event.stamp, event.log)
        if only is None or (log, seq) in only:
            waiting.append((stamp, log, seq, no))
    made: list[Event] = []
    waiting.sort()
    for at in range(0, len(waiting), ANSWERS_PER_COMMIT):
        part = waiting[at : at + ANSWERS_PER_COMMIT]
        try:
            made += _answer_all(replica, part, reason=refuse)
        except AntiphonError:  # one of them cannot be recorded: the others must not wait for it
            for one in part:
                with contextlib.suppress(_NotCurrent):  # it waits until it can be decided by rows that are current
                    made += _answer_all(replica, [one], reason=refuse, refuse=True)
    return made


def _answer_all(
    replica: Replica, part: list[tuple[int, bytes, int, int]], *, reason: str | None = None, refuse: bool = False
) -> list[Event]:
    try:
        with replica.transaction():
            done = (_answer_one(replica, no, seq, reason=reason) for _, _, seq, no in part)
            return [event for event in done if event is not None]
    except AntiphonError as error:
        if not refuse or isinstance(error, Unavailable):
            raise
        reason = str(error)
    with replica.transaction():
        done = (_answer_one(replica, no, seq, reason=reason) for _, _, seq, no in part)
        return [event for event in done if event is not None]


def _body_of(replica: Replica, event: Event) -> Any:
    """What a request says, None where it says nothing that this code can read."""
    kind = replica.registry.kinds.get(event.kind)
    if kind is None or event.body is None or event.header.kind_version > kind.version:
        return None
    try:
        return kind.read(event.body, event.header.kind_version)
    except Rejected:
        return None


def _home_here(replica: Replica, named: bytes) -> LogHead | None:
    """The log that decides for this home now, where it may do so in this file."""
    home = replica.logs.head(replica.authority.current(named))
    if home is None or home.role != LogRole.OWN or not may_hold_home(replica, home):
        return None
    return home


def _answer_one(replica: Replica, no: int, seq: int, *, reason: str | None = None) -> Event | None:
    """Inside a transaction: decides a request, if that is for this file to do and was not done."""
    event = _event_at(replica, no, seq)
    place = [(OF_ASKED, no, seq)]
    if event is None or event.body is None:
        replica.mentions.remove(place)
        return None
    kind = replica.registry.kinds.get(event.kind)
    if kind is None or event.header.kind_version > kind.version:
        return None
    try:
        body = kind.read(event.body, event.header.kind_version)
    except Rejected:
        replica.mentions.remove(place)  # it is listed among the rejections; whose home it means nobody can tell
        return None
    if _decision_on(replica, event.log, event.seq, body.home, _reading(replica)) is not None:
        replica.mentions.remove(place)
        return None
    home = _home_here(replica, body.home)
    if home is None:
        return None
    answer = reason if reason is not None else _answer(replica, event, body)
    if isinstance(answer, str):
        return _record(replica, home.id, event, refusal_of(event, answer, _leaf_in(replica)), None)
    return _record(replica, home.id, event, *answer)


def _answer(replica: Replica, event: Event, body: Any) -> tuple[Draft, Any] | str:
    """The decision to be, or why not."""
    registry = replica.registry
    owner = next(name for name, domain in registry.domains.items() if event.kind in domain.deciders)
    _check_current(replica, owner)
    return decision_of(registry, RowsHere(replica), event, body, _leaf_in(replica))


def decision_of(
    registry: Registry, rows: Rows, event: Event, body: Any, leaf: Callable[[bytes, int], bytes]
) -> tuple[Draft, Any] | str:
    """The decision to be on a request, by the rules of its domain and these rows, or why not. `leaf` is (log, seq) ->
    its hash. Raises Rejected where the rules fail.
    """
    try:
        found = registry.deciders[event.kind](rows, event, body)
    except AntiphonError:
        raise
    except Exception as error:  # a request can be anybody's: whatever it makes a decider do, the home goes on
        said = f"{type(error).__name__}: {error}"
        raise Rejected(f"the decider of {event.kind} failed: {said}", kind=event.kind) from error
    if found.refused:
        return found.refused
    draft = draft_of(
        registry.kind(found.kind), found.body, entity=event.entity, about=event.header.about,
        scope=Scope(event.header.scope), circle=event.header.circle,
    )  # fmt: skip
    roles = (Role.SOURCE, Role.CAUSE) if found.derived else (Role.CAUSE,)
    draft.refs = tuple(Ref(role, event.log, event.seq, leaf(event.log, event.seq)) for role in roles)
    return draft, found.body


def refusal_of(event: Event, reason: str, leaf: Callable[[bytes, int], bytes]) -> Draft:
    """The event that refuses a request."""
    draft = Draft(kinds.REQUEST_REFUSED, encode_body(kinds.RequestRefused(reason)), entity=event.entity)
    draft.about, draft.scope, draft.circle = event.header.about, event.header.scope, event.header.circle
    # the reason may repeat what the request says: who forgets the request forgets that too
    roles = (Role.SOURCE, Role.CAUSE)
    draft.refs = tuple(Ref(role, event.log, event.seq, leaf(event.log, event.seq)) for role in roles)
    return draft


def _leaf_in(replica: Replica) -> Callable[[bytes, int], bytes]:
    def leaf(log: bytes, seq: int) -> bytes:
        head = replica.logs.head(log)
        assert head is not None
        return replica.writing_reader.leaf(head, seq)

    return leaf


def _record(replica: Replica, home: bytes, event: Event, draft: Draft, body: Any) -> Event:
    """Inside a transaction: the home's answer, which names its request."""
    made = replica.append_in_transaction(Batch(home, [draft], [body]))
    asked_in = replica.logs.head(event.log)
    assert asked_in is not None
    replica.mentions.remove([(OF_ASKED, asked_in.no, event.seq)])
    return _event_of(made)


def _event_of(appended: Appended) -> Event:
    """The only event of a commit."""
    head, header, seq = appended.head, appended.headers[0], appended.first
    return Event(head.id, seq, header, appended.bodies[0], stamp_of(head, seq, header.hlc), head.owner)


def _event_at(replica: Replica, no: int, seq: int) -> Event | None:
    try:
        return _reading(replica)(replica.head_no(no).id, seq)
    except NotFound:
        return None


def _reading(replica: Replica) -> Callable[[bytes, int], Event]:
    """How to read an event here and now."""
    if not replica.file.is_writing:
        return replica.event

    def read(log: bytes, seq: int) -> Event:
        head: LogHead | None = replica.logs.head(log)
        if head is None:
            raise NotFound(f"there is no log {id_text(log)} here")
        return replica.writing_reader.event(head, seq)

    return read


def _decision_on(
    replica: Replica, log: bytes, seq: int, home: bytes, read: Callable[[bytes, int], Event]
) -> Event | None:
    """What the home has decided on a request, by events that count; None when nothing."""
    for no, at in replica.mentions.find(of_cause(log, seq)):
        decider = replica.head_no(no).id
        if replica.authority.decides(home, decider, at):
            try:
                return read(decider, at)
            except NotFound:
                continue
    return None


def _decided(asked: str, made: Event) -> Decided:
    entity = None if made.entity is None else entity_text(made.entity)
    return Decided(asked, event_text(made.log, made.seq), entity, made.header.hlc >> 16)


def _reason_in(refused: Event) -> str:
    try:
        return msgspec.msgpack.decode(refused.body or b"", type=kinds.RequestRefused).reason
    except msgspec.MsgspecError:
        return "the home refused, for a reason that cannot be read"
