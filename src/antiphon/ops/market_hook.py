"""Room `ops` (imports `engines` and below): what CRM systems tell us, and what we tell them: changes, field by field.

Both ways a message is `{"origin": {"system", "log"}, "changes": […]}`, signed (`market_signed.py`). A change has a
`type` (company, contact, product, deal), the CRM's `id`, our `entity`, `modified`, `fields`, their own `times` and a
deal's `stage`; where both are Antiphon, `entity` is the sender's and `id` the receiver's. Of two values the later one
stands, field by field. A change that began with us is not taken from a system that repeats it (`origin`), and one that
began with a system is not told to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec

from antiphon.domains.market import MARKET, fields, names
from antiphon.domains.market.commands import Market
from antiphon.model import limits
from antiphon.model.errors import AntiphonError, InvalidInput, LimitExceeded, ProtocolViolation, Rejected, Unavailable
from antiphon.model.event import Event
from antiphon.model.table import Type
from antiphon.model.text import entity_text, id_text, parse_entity
from antiphon.ops.market_cells import time_of, value_of
from antiphon.ops.market_fields import IGNORED, SORTS, check_map, target_of
from antiphon.ops.market_import import put_record
from antiphon.ops.market_people import People
from antiphon.ops.market_rows import Record, Refused, record_of
from antiphon.ops.market_signed import KEY_HEADER, check_secret, check_signed, digest_of, signed_headers
from antiphon.query.shown import as_plain

SYSTEM: Final = "antiphon"
CHANGES_MAX: Final = 200
MESSAGE_BYTES_MAX: Final = 1 << 20
_HEAD_BYTES: Final = 1_024
"""What a message has beside its changes, at most."""
SENDS_MAX: Final = 6
PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which a message is sent again; what else is no success would be so the next time too."""
BACKOFF_MS: Final = 1_000
BACKOFF_MS_MAX: Final = 60_000
SCANNED_EVENTS_MAX: Final = 10_000
"""Events of the log that one message is made from at most."""
SORT_OF: Final = {"company": "companies", "contact": "personas", "product": "products", "deal": "opportunities"}
_TYPE_OF: Final = {
    names.COMPANY_RECORDED: "company", names.PRODUCT_RECORDED: "product", names.PERSONA_RECORDED: "contact",
    names.PERSONA_ENRICHED: "contact", names.CREATED: "deal", names.CHANGED: "deal", names.MOVED: "deal",
}  # fmt: skip
TELLING: Final = tuple(_TYPE_OF)
"""The kinds of event that are told."""
_TABLE_OF: Final = {
    "company": names.COMPANIES, "contact": names.PERSONAS, "product": names.PRODUCTS, "deal": names.OPPORTUNITIES,
}  # fmt: skip
IGNORED_CHANGE: Final = "ignored"
"""What became of a change none of whose fields anybody knows."""
_NOTHING: Final = ("same", IGNORED_CHANGE)
_KINDS: Final = {kind.name: kind for kind in MARKET.kinds}


class Change(msgspec.Struct, omit_defaults=True):
    """What one thing is since a time, as messages have it."""

    type: str
    id: str | None = None
    entity: str | None = None
    modified: int | str | None = None
    fields: dict[str, Any] = {}
    times: dict[str, int | str] = {}
    stage: str | None = None
    event: str | None = None


class Origin(msgspec.Struct, omit_defaults=True):
    """Where a change began."""

    system: str | None = None
    log: str | None = None


class Message(msgspec.Struct, omit_defaults=True):
    """A message, either way."""

    changes: list[Change]
    origin: Origin | None = None


class Reply(msgspec.Struct, frozen=True):
    """The answer to a message: its status in HTTP's terms, and what is said."""

    status: int
    said: dict[str, Any]


class Logged(Protocol):
    """Whose log is told of: an `Agent`."""

    def log(self, *, after: int = -1, limit: int | None = None) -> Iterator[Event]:
        """The events of its log behind a seq, in order."""
        ...


def read_map(mapped: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """By type, which of the system's fields goes to which of ours. Raises InvalidInput."""
    for kind, given in mapped.items():
        if kind not in SORT_OF:
            raise InvalidInput(f"a webhook's types are {', '.join(SORT_OF)}, not {kind!r:.60}")
        check_map(SORT_OF[kind], given)
    return {kind: dict(given) for kind, given in mapped.items()}


class Inbound:
    """What one system tells us."""

    def __init__(
        self,
        market: Market,
        system: str,
        secret: bytes,
        *,
        mapped: Mapping[str, Mapping[str, str]] | None = None,
        people: People | None = None,
    ) -> None:
        if not system or system == SYSTEM or len(system) > limits.NAME_CHARS_MAX:
            raise InvalidInput(f"a system's name has from 1 to {limits.NAME_CHARS_MAX} characters, and is not {SYSTEM}")
        self._market, self._system, self._secret = market, system, check_secret(secret)
        self._mapped, self._people = read_map(mapped or {}), people

    def receive(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Takes a message whole, or not at all, and says what became of it. Raises nothing of ours."""
        try:
            if len(body) > MESSAGE_BYTES_MAX:
                raise LimitExceeded("MESSAGE_BYTES_MAX", got=len(body), allowed=MESSAGE_BYTES_MAX, what="the message")
            now = self._market.recorder.clock.now_ms()
            key = check_signed(self._secret, self._system, headers, body, now_ms=now)
        except LimitExceeded as error:
            return Reply(413, {"error": str(error)})
        except ProtocolViolation as error:
            return Reply(401, {"error": str(error)})
        try:
            return Reply(200, self._take(key, digest_of(self._secret, body), _message(body)))
        except InvalidInput as error:
            return Reply(422, {"error": str(error)})
        except Unavailable as error:
            return Reply(503, {"error": str(error)})
        except AntiphonError as error:
            return Reply(409, {"error": str(error)})

    def _take(self, key: str, digest: bytes, message: Message) -> dict[str, Any]:
        ours = id_text(self._market.recorder.log_id)
        if message.origin is not None and ours == message.origin.log:
            return {"status": "echo", "changes": []}
        done: list[dict[str, Any]] = []
        with self._market.recorder.together():  # looked up within: another process may take the same message
            before = self._market.delivered(self._system, key)
            if before is not None:
                _check_same(before, digest, key)
                return {"status": "known"}
            for number, change in enumerate(message.changes, 1):
                try:
                    done.append(self._change(number, _as_heard(message, change)))
                except InvalidInput as error:
                    raise InvalidInput(
                        f"change {number} ({change.type:.20} {change.id or ''!s:.60}): {error}"
                    ) from None
            # what changed nothing, and says since when it is so, may come again: it will change nothing then, either
            now = self._market.recorder.clock.now_ms()
            if any(one["status"] not in _NOTHING for one in done) or any(
                _is_as_of_now(one, now) for one in message.changes
            ):
                self._market.deliver(self._system, key, digest)
        return {"status": "taken", "changes": done}

    def _change(self, number: int, change: Change) -> dict[str, Any]:
        """What one change says, in the book."""
        sort = SORT_OF.get(change.type)
        if sort is None:
            raise InvalidInput(f"type: there are {', '.join(SORT_OF)}")
        given = self._mapped.get(change.type, {})
        said: dict[str, Any] = {}
        since: dict[str, int] = {}
        unknown = [name for name in change.fields if target_of(sort, name, given) is None]
        for name, cell in change.fields.items():
            target = target_of(sort, name, given)
            if target is None or target == IGNORED:
                continue
            said[target] = value_of(sort, target, cell)
            if name in change.times:
                since[target] = time_of(change.times[name])
        at = None if change.modified is None else time_of(change.modified)
        record = msgspec.structs.replace(self._record(sort, number, said, change, at), since=since)
        self._link(change)
        if unknown and not said and change.stage is None:
            return {"id": change.id, "entity": None, "status": IGNORED_CHANGE, "stale": [], "unknown": unknown}
        put, moved = put_record(self._market, sort, record, system=self._system, people=self._people)
        status = "changed" if moved and put.what == "same" else put.what
        done = {"id": change.id, "entity": put.entity or None, "status": status, "stale": list(put.stale)}
        return {**done, "unknown": unknown} if unknown else done

    def _link(self, change: Change) -> None:
        """Notes what the system calls a thing of this book that it knows by our name."""
        if change.id is None or change.entity is None or self._market.linked(self._system, change.type, change.id):
            return
        try:
            row = self._market.recorder.table(_TABLE_OF[change.type]).get(parse_entity(change.entity))
        except InvalidInput:  # no id of ours
            return
        if row is not None and row["home"] == self._market.home:
            self._market.link(self._system, change.type, change.id, change.entity)

    def _record(self, sort: str, number: int, said: dict[str, Any], change: Change, at: int | None) -> Record:
        plain = {name: value for name, value in said.items() if value is not None or name in fields.FIELDS[SORTS[sort]]}
        if change.stage is not None:
            plain["@stage"] = value_of(sort, "@stage", change.stage)
        record = record_of(sort, number, plain)
        if isinstance(record, Refused):
            raise InvalidInput(record.reason)
        return msgspec.structs.replace(record, id=change.id or record.id, at=at)


def _check_same(before: bytes, digest: bytes, key: str) -> None:
    """Raises InvalidInput where another message came under this key: the sender thinks that this one was taken."""
    if before and before != digest:
        raise InvalidInput(f"{KEY_HEADER}: another message was taken under {key!r:.80}: give this one a key of its own")


def _as_heard(message: Message, change: Change) -> Change:
    """A change with the other's name for the thing as `id`, and ours as `entity`."""
    if message.origin is None or message.origin.system != SYSTEM:
        return change
    return msgspec.structs.replace(change, id=change.entity, entity=change.id)


def _is_as_of_now(change: Change, now_ms: int) -> bool:
    """Whether something of it counts from when it comes: it has no time, or one that is still to come."""
    own = [time_of(at) for name, at in change.times.items() if name in change.fields]
    whole = change.stage is not None or bool(change.fields.keys() - change.times.keys())
    since = now_ms + 1 if change.modified is None else time_of(change.modified)
    return any(at > now_ms for at in [*own, *([since] if whole else [])])


def _message(body: bytes) -> Message:
    try:
        found = msgspec.json.decode(body, type=Message)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidInput(f"it is no message as described: {error}") from None
    if len(found.changes) > CHANGES_MAX:
        raise LimitExceeded("CHANGES_MAX", got=len(found.changes), allowed=CHANGES_MAX, what="the number of changes")
    return found


# -- outbound ----------------------------------------------------------------------------------------------------------


class Answered(msgspec.Struct, frozen=True):
    """What a system's server answered. *Units*: `after_ms`, how long it wants to be left alone."""

    status: int
    body: bytes = b""
    after_ms: int | None = None


Post = Callable[[str, bytes, Mapping[str, str]], Answered]
"""(url, body, headers) -> the answer. Raises Unavailable where there is none."""


class Sent(msgspec.Struct, frozen=True):
    """What was told: changes, in messages, which took so many sends; `upto` is the last event of the log told of."""

    changes: int = 0
    messages: int = 0
    sends: int = 0
    upto: int = -1


class Outbound:
    """What we tell one system."""

    def __init__(
        self,
        market: Market,
        logged: Logged,
        system: str,
        url: str,
        secret: bytes,
        *,
        post: Post,
        sleep: Callable[[float], None],
        waiting: Callable[[int, str, float], None] = lambda send, said, ms: None,
        telling: Callable[[], object] = lambda: None,
    ) -> None:
        """`waiting` is told before each wait: how many sends failed, how the last one did, and for how long (ms);
        `telling` once, before anything is told.
        """
        self._telling: Callable[[], object] | None = telling
        self._market, self._logged, self._system, self._url = market, logged, system, url
        self._secret, self._post, self._sleep, self._waiting = check_secret(secret), post, sleep, waiting

    def send(self) -> Sent:
        """Tells the system all changes that it has not been told, in the log's order; nothing where there are none.

        Raises Unavailable where it did not answer in SENDS_MAX sends, Rejected where it wants none of it: what it was
        told before stands, the rest is told the next time. What is told twice changes nothing: its times are the same.
        """
        done = Sent(upto=self._market.sent_upto(self._system))
        while True:
            changes, upto, more = self._next(done.upto)
            if changes:
                if self._telling is not None:
                    self._telling()
                    self._telling = None
                sends = self._tell(changes, done.upto, upto)
                done = Sent(done.changes + len(changes), done.messages + 1, done.sends + sends, upto)
            elif not more:
                return done
            else:
                done = msgspec.structs.replace(done, upto=upto)
                self._market.note_sent(self._system, upto)

    def _next(self, after: int) -> tuple[list[Change], int, bool]:
        """The next changes to tell, the event that they go up to, and whether that is all that was looked at."""
        changes: list[Change] = []
        upto, looked, room = after, 0, MESSAGE_BYTES_MAX - _HEAD_BYTES
        for event in self._logged.log(after=after, limit=SCANNED_EVENTS_MAX):
            change = self._change(event)
            if change is not None:
                room -= len(msgspec.json.encode(change)) + 1
                if changes and room < 0:
                    break
                changes.append(change)
            upto, looked = event.seq, looked + 1
            if len(changes) == CHANGES_MAX:
                break
        return changes, upto, looked == SCANNED_EVENTS_MAX

    def _change(self, event: Event) -> Change | None:
        """What an event changed, None where that is nothing for this system: it said so itself."""
        kind = _KINDS.get(event.kind)
        if event.kind not in _TYPE_OF or kind is None or event.body is None or event.entity is None:
            return None
        body = kind.read(event.body, event.header.kind_version)
        if body.origin == self._system:
            return None
        entity, what = entity_text(event.entity), _TYPE_OF[event.kind]
        change = Change(what, self._known(what, entity), entity, event=f"{id_text(event.log)}/{event.seq}")
        if event.kind == names.MOVED:
            change.stage, change.modified = body.stage, body.since
            return change
        change.fields = plain_fields(_TABLE_OF[what], body.fields)
        change.times = {name: body.times[name] for name in change.fields if name in body.times}
        change.modified = max((time_of(at) for at in change.times.values()), default=event.header.hlc >> 16)
        return change if change.fields else None

    def _known(self, what: str, entity: str) -> str | None:
        links = self._market.links(entity)
        same = (one["external_id"] for one in links if (one["system"], one["entity_type"]) == (self._system, what))
        return next(same, None)

    def _tell(self, changes: list[Change], after: int, upto: int) -> int:
        """Sends one message until it is taken. Returns how often."""
        log = id_text(self._market.recorder.log_id)
        body = msgspec.json.encode(Message(changes, Origin(SYSTEM, log)))
        key = f"{log}/{after + 1}-{upto}"
        wait, said = BACKOFF_MS, ""
        for send in range(1, SENDS_MAX + 1):
            now = self._market.recorder.clock.now_ms()
            try:
                answer = self._post(self._url, body, signed_headers(self._secret, self._system, key, now, body))
                said = f"it answers {answer.status}"
            except Unavailable as error:
                answer, said = Answered(0), str(error)
            if 200 <= answer.status < 300:
                self._told(changes, answer, upto)
                return send
            if answer.status not in (0, *PASSING):
                raise Rejected(f"{self._system} at {self._url} refuses events {key}: {said}: {answer.body[:200]!r}")
            if send < SENDS_MAX:
                pause = min(answer.after_ms or wait, BACKOFF_MS_MAX)
                self._waiting(send, said, pause)
                self._sleep(pause)
                wait = min(2 * wait, BACKOFF_MS_MAX)
        raise Unavailable(f"{self._system} at {self._url} took none of {SENDS_MAX} sends: {said}; try again later")

    def _told(self, changes: list[Change], answer: Answered, upto: int) -> None:
        """Notes what the system calls what it was told of, where it says so, and how far it was told."""
        told: dict[str, Any] = {}
        try:
            found = msgspec.json.decode(answer.body or b"{}")
            told = found.get("ids", {}) if isinstance(found, dict) else {}
        except msgspec.DecodeError:
            pass
        with self._market.recorder.together():
            for change in changes:
                name = told.get(change.entity or "") if isinstance(told, dict) else None
                if change.id is None and change.entity is not None and isinstance(name, str) and 0 < len(name) <= 512:
                    self._market.link(self._system, change.type, name, change.entity)
            self._market.note_sent(self._system, upto)


def plain_fields(table: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """An event's fields as JSON: ids as text; vectors stay here."""
    declared = fields.TABLES[table]
    kept = {name: value for name, value in given.items() if declared.column(name).type != Type.VECTOR}
    return as_plain(declared, kept)
