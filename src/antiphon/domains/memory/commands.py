"""Room `domains` (imports `views` and below): memory's commands: from arguments to checked drafts, and compression.

A draft comes with its decoded body, so that folding needs no decoding.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

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
SUMMARY_SOURCES_MAX: Final = limits.REFS_PER_EVENT_MAX
_KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in declare.MEMORY.kinds}
_WORD: Final = re.compile(r"[^\W\d_]{4,}")


def _check(text: object, significance: object, tags: object) -> None:
    if not isinstance(text, str):
        raise InvalidInput(f"a memory is text, not {type(text).__name__}")
    if type(significance) not in (float, int) or not 0 <= significance <= 1:  # type: ignore[operator]  # checked first
        raise InvalidInput(f"significance is a number from 0 to 1, not {significance!r}")
    if tags is not None:
        if isinstance(tags, str) or not isinstance(tags, Sequence) or not all(isinstance(tag, str) for tag in tags):
            raise InvalidInput("tags are a list of words")
        if len(tags) > limits.TAGS_MAX:
            raise LimitExceeded("TAGS_MAX", got=len(tags), allowed=limits.TAGS_MAX, what="the number of tags")


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
    _check(changes.get("text", ""), changes.get("significance", 0.5), changes.get("tags"))
    body = bodies.Updated(**changes)
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
    )
    about = tuple(sorted(users)) or None
    kind = _KINDS[declare.SUMMARIZED]
    return draft_of(kind, body, entity=NEW, occurred=times[-1], about=about, refs=refs), body
