"""Room `views` (imports `log` and below): from a decoded body to a draft: encoded, checked, within its limits.

`Recorder` is what a domain's commands ask of whoever records for them; an `Agent` is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec

from antiphon.model import limits
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.event import HEADER_VERSION, Draft, Header, Ref, Scope, encode_body, header_fault
from antiphon.model.times import Time
from antiphon.views.domain import Kind
from antiphon.world.clock import Clock

TIME_MAX = 1 << 53


class Receipt(Protocol):
    """What was recorded: the event's id and that of the entity it is about, as text, and when (ms since 1970)."""

    @property
    def event(self) -> str: ...

    @property
    def entity(self) -> str | None: ...

    @property
    def recorded_ms(self) -> int: ...


class Answer(Protocol):
    """A request, decided or on its way to its home."""

    @property
    def event(self) -> str:
        """The decision's event, or the request's while there is none."""
        ...

    def wait(self, timeout_s: float = 30.0) -> Receipt:
        """The decision, once it is here. Raises Conflict when it is no, Unavailable when none came in time."""
        ...


class Range(msgspec.Struct, frozen=True):
    """Values of a column from `least` (or after `above`) up to `most` (or before `under`). Null is in no range."""

    column: str
    least: Any = None
    above: Any = None
    most: Any = None
    under: Any = None


class RowsPage(Protocol):
    """Some rows in order, and the cursor that leads on: None at the end."""

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]: ...

    @property
    def cursor(self) -> str | None: ...


class TableRows(Protocol):
    """The rows of one table that the recorder may read."""

    def get(self, *key: Any) -> Mapping[str, Any] | None:
        """The row of a key, given by its parts in order; None when there is none."""
        ...

    def select(
        self, *, limit: int = 1_000, order: str | Sequence[str] = (), descending: bool = False, **equal: Any
    ) -> Sequence[Mapping[str, Any]]:
        """Rows whose columns have these values, in the order of some columns: what an index serves."""
        ...

    def page(
        self,
        equal: Mapping[str, Any] | None = None,
        *,
        within: Range | None = None,
        order: str | Sequence[str] = (),
        descending: bool = False,
        limit: int = 1_000,
        after: str | None = None,
    ) -> RowsPage:
        """As `select`, with values of one column in a range, from the cursor of the page before on."""
        ...

    def every(self, equal: Mapping[str, Any] | None = None, **how: Any) -> Iterator[Mapping[str, Any]]:
        """All such rows, page by page; `how` may say `order` and `descending`."""
        ...


class Recorder(Protocol):
    """Whoever records events in a log of its own and reads tables: an `Agent`."""

    @property
    def id(self) -> str:
        """The agent's id, as text (`model/text.py:parse_id`)."""
        ...

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
    ) -> Receipt:
        """Records one event; `entity` is an existing thing, None a new one; `circle` goes with its scope."""
        ...

    def table(self, name: str) -> TableRows:
        """The rows of one declared table. Raises InvalidInput."""
        ...

    @property
    def log_id(self) -> bytes:
        """The log that it writes: the home of what it names no other home for."""
        ...

    @property
    def clock(self) -> Clock:
        """What it goes by."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """All that is recorded and asked in the block is recorded together, or not at all."""
        ...

    def request(
        self,
        kind: str,
        body: Any,
        *,
        home: bytes,
        entity: str,
        scope: Scope = Scope.PUBLIC,
        circle: bytes | None = None,
    ) -> Answer:
        """Asks a home to decide; `home` is put into the body. The decision is for whom the request is. Raises Conflict
        at once where the home is here and says no.
        """
        ...


def draft_of(
    kind: Kind,
    body: Any,
    *,
    entity: bytes | None,
    occurred: int | None = None,
    about: tuple[bytes, ...] | None = None,
    refs: tuple[Ref, ...] | None = None,
    scope: Scope = Scope.PRIVATE,
    circle: bytes | None = None,
) -> Draft:
    """The event to be. Raises InvalidInput or LimitExceeded, naming what does not fit."""
    raw = encoded(kind.name, body)
    draft = Draft(kind.name, raw, kind.version, entity, occurred, about, scope, circle, refs)
    unusual = scope is not Scope.PRIVATE and scope is not Scope.PUBLIC
    if circle is not None or about is not None or refs is not None or entity or unusual:
        check(draft)
    elif occurred is not None and (type(occurred) is not int or not -TIME_MAX <= occurred <= TIME_MAX):
        raise InvalidInput("a time of occurrence is whole milliseconds since 1970, within 53 bits")
    return draft


def encoded(what: str, body: Any) -> bytes:
    """A body's bytes. Raises InvalidInput for text that is not Unicode, LimitExceeded for one that is too large."""
    try:
        raw = encode_body(body)
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"the text of this {what} has a lone surrogate at character {error.start}: it is not valid Unicode. "
            "Decode the source with the right encoding (or errors='replace') first"
        ) from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"this {what} cannot be encoded: {error}") from None
    if len(raw) > limits.BODY_BYTES_MAX:
        raise LimitExceeded("BODY_BYTES_MAX", got=len(raw), allowed=limits.BODY_BYTES_MAX, what=f"this {what} in bytes")
    return raw


def check(draft: Draft) -> None:
    """Raises InvalidInput when the draft's header could not be read back by everybody."""
    if draft.occurred is not None and type(draft.occurred) is not int:
        raise InvalidInput("a time of occurrence is whole milliseconds")
    header = Header(
        HEADER_VERSION, 0, draft.occurred, draft.kind, draft.kind_version, draft.entity or None, draft.about,
        draft.scope, draft.circle, draft.refs,
    )  # fmt: skip
    try:
        fault = header_fault(header)
    except UnicodeEncodeError:
        fault = "a kind that is not valid Unicode"
    if fault:
        raise InvalidInput(f"this event would have {fault}")


def convert(kind: Kind, body: Any) -> Any:
    """A body as its kind's structure, from that structure or a plain map. Raises InvalidInput."""
    try:
        if isinstance(body, kind.body):
            return msgspec.convert(msgspec.to_builtins(body, builtin_types=(bytes,)), kind.body)
        made: Any = msgspec.convert(body, kind.body)
    except RecursionError:
        raise InvalidInput(f"this {kind.name} does not fit its kind: it nests too deep to be looked at") from None
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidInput(f"this {kind.name} does not fit its kind: {error}") from None
    if type(body) is dict or isinstance(body, Mapping):
        known = getattr(kind.body, "__struct_encode_fields__", body)
        unknown = [name for name in body if name not in known]
        if unknown:  # what nothing reads would be lost without a word
            names = ", ".join(known) or "none"
            raise InvalidInput(f"this {kind.name} has no field {unknown[0]!r:.80}; it has {names}")
    return made
