"""Room `views` (imports `log` and below): from a decoded body to a draft: encoded, checked, within its limits."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.model import limits
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.event import HEADER_VERSION, Draft, Header, Ref, Scope, encode_body, header_fault
from antiphon.views.domain import Kind

TIME_MAX = 1 << 53


def draft_of(
    kind: Kind,
    body: Any,
    *,
    entity: bytes | None,
    occurred: int | None = None,
    about: tuple[bytes, ...] | None = None,
    refs: tuple[Ref, ...] | None = None,
    scope: Scope = Scope.PRIVATE,
) -> Draft:
    """The event to be. Raises InvalidInput or LimitExceeded, naming what does not fit."""
    raw = encoded(kind.name, body)
    draft = Draft(kind.name, raw, kind.version, entity, occurred, about, scope, None, refs)
    if about is not None or refs is not None or entity or scope:
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
    if isinstance(body, kind.body):
        try:
            return msgspec.convert(msgspec.to_builtins(body, builtin_types=(bytes,)), kind.body)
        except (msgspec.ValidationError, TypeError) as error:
            raise InvalidInput(f"this {kind.name} does not fit its kind: {error}") from None
    try:
        return msgspec.convert(body, kind.body)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidInput(f"this {kind.name} does not fit its kind: {error}") from None
