"""Room `domains` (imports `views` and below): the bodies of memory's events."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

SIGNIFICANCE: Final = 0.5
"""What is not said; the encoder leaves out this very object, so commands put it in place of its equals."""


class Remembered(msgspec.Struct, omit_defaults=True):
    """Something an agent keeps. `significance` is in [0, 1]; `expires` is ms since 1970; `user` is a pseudonym."""

    text: str
    type: str = "memory"
    significance: float = SIGNIFICANCE
    namespace: str = ""
    user: bytes | None = None
    tags: list[str] | None = None
    emotional_context: str | None = None
    loop_context: str | None = None
    metadata: dict[str, Any] | None = None
    expires: int | None = None
    supersedes: bytes | None = None


class Updated(msgspec.Struct, omit_defaults=True):
    """New values for some fields of a memory; what is UNSET stays."""

    text: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    significance: float | UnsetType = UNSET
    namespace: str | UnsetType = UNSET
    tags: list[str] | UnsetType | None = UNSET
    emotional_context: str | UnsetType | None = UNSET
    loop_context: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    expires: int | UnsetType | None = UNSET


class Summarized(msgspec.Struct, omit_defaults=True):
    """Many old memories folded into one by rule. *Shapes*: `sources` are the entities of the memories folded in."""

    text: str
    sources: list[bytes]
    rule: str
    significance: float = SIGNIFICANCE
    namespace: str = ""
    type: str = "summary"
    user: bytes | None = None
    tags: list[str] | None = None
    emotional_context: str | None = None
    loop_context: str | None = None
    metadata: dict[str, Any] | None = None
    expires: int | None = None


class Reflected(msgspec.Struct, omit_defaults=True):
    """A question that an agent put to itself, and what came of it."""

    prompt: str
    response: str | None = None
    memory_context: str | None = None
    emotional_state: str | None = None
    insights: str | None = None


class ToneShifted(msgspec.Struct, omit_defaults=True):
    """A move from one emotional tone to another."""

    from_tone: str | None = None
    to_tone: str | None = None
    trigger_type: str | None = None
    trigger_content: str | None = None
    magnitude: float | None = None


class PersonNamed(msgspec.Struct):
    """Which name stands behind a random pseudonym (the event's entity); forgotten with the person."""

    label: str
