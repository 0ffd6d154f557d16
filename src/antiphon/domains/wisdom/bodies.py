"""Room `domains` (imports `views` and below): the bodies of the events of wisdom."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType


class Shared(msgspec.Struct, omit_defaults=True):
    """What an agent has come to see. *Shapes*: `vector` has VECTOR_SIZE numbers."""

    content: str
    tags: list[str] = []
    vector: list[float] | None = None


class Edited(msgspec.Struct, omit_defaults=True):
    """New values for some of an insight's fields, by its author; what is UNSET stays."""

    content: str | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    vector: list[float] | UnsetType | None = UNSET


class Withdrawn(msgspec.Struct):
    """The author does not stand by the insight any more."""


class Acknowledged(msgspec.Struct):
    """An agent says that an insight rings true."""

    insight: bytes


class Formed(msgspec.Struct, omit_defaults=True):
    """An agreement of several agents, as whoever writes it down has found it. *Units*: `score` in [0, 1]."""

    content: str
    agents: list[bytes]
    score: float | None = None
    related: list[bytes] = []
    tags: list[str] = []


class Related(msgspec.Struct):
    """More crystals that have to do with this one."""

    crystals: list[bytes]


class CrystalAcknowledged(msgspec.Struct):
    """An agent says that a crystal rings true."""

    crystal: bytes
