"""Room `domains` (imports `views` and below): memory's commands: from arguments to checked drafts, and compression.

A draft comes with its decoded body, so that folding needs no decoding.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from antiphon.domains.memory import bodies, declare
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.event import NEW, Draft, Ref, Scope
from antiphon.model.times import iso
from antiphon.views.commands import draft_of
from antiphon.views.domain import Kind
from antiphon.views.store import StoredRow

Drafted = tuple[Draft, Any]
SUMMARY_RULE: Final = "keywords/v1"
SUMMARY_SOURCES_MAX: Final = 48
"""A ref takes up to 79 bytes and a header at most HEADER_BYTES_MAX, so REFS_PER_EVENT_MAX of them never fit."""
NOTHING_SAID: Final = "there is nothing to remember: the text is empty or only white space; say what to remember"
_KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in declare.MEMORY.kinds}
_WORD: Final = re.compile(r"[^\W\d_]{4,}")


def _check(text: object, significance: object, tags: object) -> None:
    if not isinstance(text, str):
        raise InvalidInput(f"a memory is text, not {type(text).__name__}")
    if not text or text.isspace():
        raise InvalidInput(NOTHING_SAID)
    if type(significance) not in (float, int) or not 0 <= significance <= 1:  # type: ignore[operator]  # checked first
        raise InvalidInput(f"significance is a number from 0 to 1, not {significance!r}")
    if tags is not None:
        if isinstance(tags, str) or not isinstance(tags, Sequence) or not all(isinstance(tag, str) for tag in tags):
            raise InvalidInput("tags are a list of words")
        if len(tags) > limits.TAGS_MAX:
            raise LimitExceeded("TAGS_MAX", got=len(tags), allowed=limits.TAGS_MAX, what="the number of tags")


def _check_words(**fields: object) -> None:
    for name, value in fields.items():
        if not isinstance(value, str):
            raise InvalidInput(f"{name} is text, not {type(value).__name__}")


def _check_expires(expires: object) -> None:
    if expires is not None and (type(expires) is not int or not -(1 << 53) <= expires <= 1 << 53):
        raise InvalidInput(f"expires is a time in milliseconds within 53 bits, not {expires!r:.60}")


def _plain_map(metadata: object) -> dict[str, Any]:
    """A copy of the metadata as it will be read back. Raises InvalidInput for what JSON cannot say."""
    try:
        return msgspec.json.decode(msgspec.json.encode(metadata), type=dict[str, Any])
    except (msgspec.MsgspecError, TypeError, ValueError, UnicodeError, RecursionError) as error:
        raise InvalidInput(f"metadata is a map of plain values with text keys: {error}") from None


def remember(
    text: str,
    *,
    type: str = "memory",
    significance: float = 0.5,
    namespace: str = "",
    user: bytes | None = None,
    tags: Sequence[str] | None = None,
    emotional_context: str | None = None,
    loop_context: str | None = None,
    metadata: dict[str, Any] | None = None,
    expires: int | None = None,
    occurred: int | None = None,
    supersedes: bytes | None = None,
    refs: tuple[Ref, ...] | None = None,
    scope: Scope = Scope.PRIVATE,
) -> Drafted:
    """A memory to be. *Units*: ms since 1970 for `expires` and `occurred`; `significance` in [0, 1]."""
    _check(text, significance, tags)
    _check_words(type=type, namespace=namespace)
    _check_words(emotional_context=emotional_context or "", loop_context=loop_context or "")
    for name, value in (("user", user), ("supersedes", supersedes)):
        if value is not None and (not isinstance(value, bytes) or len(value) != 16):
            raise InvalidInput(f"{name} is an id of 16 bytes, not {value!r:.60}")
    _check_expires(expires)
    if metadata is not None:
        metadata = _plain_map(metadata)
    if significance == bodies.SIGNIFICANCE:
        significance = bodies.SIGNIFICANCE
    body = bodies.Remembered(
        text, type, significance, namespace, user, None if tags is None else list(tags), emotional_context,
        loop_context, metadata, expires, supersedes,
    )  # fmt: skip
    about = None if user is None else (user,)
    kind = _KINDS[declare.REMEMBERED]
    return draft_of(kind, body, entity=NEW, occurred=occurred, about=about, refs=refs, scope=scope), body


def update(memory: bytes, *, user: bytes | None, changes: dict[str, Any]) -> Drafted:
    """New values for some of a memory's fields."""
    unknown = set(changes) - set(bodies.Updated.__struct_fields__)
    if unknown or not changes:
        allowed = ", ".join(bodies.Updated.__struct_fields__)
        raise InvalidInput(f"a memory's {', '.join(sorted(unknown)) or 'nothing'} cannot be updated; choose: {allowed}")
    _check(changes.get("text", "unchanged"), changes.get("significance", 0.5), changes.get("tags"))
    try:
        body = msgspec.convert(changes, bodies.Updated)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidInput(f"this update does not fit: {error}") from None
    _check_expires(changes.get("expires"))
    if changes.get("metadata") is not None:
        body.metadata = _plain_map(changes["metadata"])
    about = None if user is None else (user,)
    return draft_of(_KINDS[declare.UPDATED], body, entity=memory, about=about), body


def reflect(
    prompt: str,
    response: str | None = None,
    *,
    memory_context: str | None = None,
    emotional_state: str | None = None,
    insights: str | None = None,
    occurred: int | None = None,
    refs: tuple[Ref, ...] | None = None,
) -> Drafted:
    """A reflection to be."""
    body = bodies.Reflected(prompt, response, memory_context, emotional_state, insights)
    return draft_of(_KINDS[declare.REFLECTED], body, entity=NEW, occurred=occurred, refs=refs), body


def shift_tone(
    to_tone: str,
    *,
    from_tone: str | None = None,
    trigger_type: str | None = None,
    trigger_content: str | None = None,
    magnitude: float | None = None,
    occurred: int | None = None,
) -> Drafted:
    """A shift of tone to be."""
    body = bodies.ToneShifted(from_tone, to_tone, trigger_type, trigger_content, magnitude)
    return draft_of(_KINDS[declare.TONE_SHIFTED], body, entity=NEW, occurred=occurred), body


def name_person(person: bytes, label: str) -> Drafted:
    """The name behind a pseudonym, to be forgotten with the person."""
    body = bodies.PersonNamed(label)
    return draft_of(_KINDS[declare.PERSON_NAMED], body, entity=person, about=(person,)), body


def summarize(rows: Sequence[StoredRow], refs: tuple[Ref, ...]) -> Drafted:
    """One summary of several memories, by rule: when, how many, the words that recur, the weightiest lines.

    *Shapes*: `refs` are the sources, one a row, in any order; at most SUMMARY_SOURCES_MAX.
    """
    texts = [row.values["content"] or "" for row in rows]
    times = sorted(row.values["timestamp"] for row in rows)
    words = Counter(word.lower() for text in texts for word in set(_WORD.findall(text)))
    common = [word for word, _ in sorted(words.items(), key=lambda item: (-item[1], item[0]))[:12]]
    ranked = sorted(rows, key=lambda row: (-(row.values["significance"] or 0), row.values["timestamp"], row.n))
    lines = [" ".join((row.values["content"] or "").split())[:160] for row in ranked[:3]]
    text = (
        f"{len(rows)} memories from {iso(times[0])[:10]} to {iso(times[-1])[:10]}: {', '.join(common)}. "
        + " | ".join(lines)
    )
    users = {row.values["user"] for row in rows if row.values["user"] is not None}
    body = bodies.Summarized(
        text,
        [row.values["id"] for row in rows],
        SUMMARY_RULE,
        max(row.values["significance"] or 0.0 for row in rows),
        rows[0].values["namespace"] or "",
        user=next(iter(users)) if len(users) == 1 else None,
    )
    about = tuple(sorted(users)) or None
    kind = _KINDS[declare.SUMMARIZED]
    return draft_of(kind, body, entity=NEW, occurred=times[-1], about=about, refs=refs), body
