"""Room `domains` (imports `views` and below): the bodies of the events of mind maps.

The node, edge or agreement is the event's entity, but where a field names it. *Units*: times are ms since 1970.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.domains.mindmap import names


class Energy(msgspec.Struct, frozen=True):
    """How active a node is, and in which of the mind's networks. *Units*: `ATP` from 0 to ATP_MAX."""

    ATP: float = names.ATP
    network: str = names.NETWORK


class Grown(msgspec.Struct, omit_defaults=True):
    """A new node of the author's map, under a key of its own there."""

    node_key: str
    label: str | None = None
    type: str | None = None
    metadata: dict[str, Any] | None = None
    energy: Energy = Energy()


class Changed(msgspec.Struct, omit_defaults=True):
    """New values for some of a node's fields, by its author; what is UNSET stays."""

    label: str | UnsetType | None = UNSET
    type: str | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType | None = UNSET
    energy: Energy | UnsetType = UNSET


class Removed(msgspec.Struct):
    """The node is taken out of its map, with its vector."""


class Embedded(msgspec.Struct):
    """What a node means, as a vector of one model. *Shapes*: `vector` has VECTOR_SIZE numbers."""

    vector: list[float]
    model_version: str


class Point(msgspec.Struct, omit_defaults=True):
    """How a node was at some time. *Units*: `atp_level` in thousandths at the finest."""

    time: int
    atp_level: Decimal | None = None
    attention_score: float | None = None
    resonance_vector: list[float] | None = None


class Streamed(msgspec.Struct):
    """How a node has been since it was frozen before; of two points of one time the later event's counts."""

    points: list[Point]


class Drawn(msgspec.Struct, omit_defaults=True):
    """A link from a node of the author's to another."""

    from_node: bytes
    to_node: bytes
    relationship_type: str = names.RELATIONSHIP
    weight: float = 1.0
    metadata: dict[str, Any] | None = None


class Erased(msgspec.Struct):
    """A link of the author's is taken back."""

    from_node: bytes


class Founded(msgspec.Struct, omit_defaults=True):
    """A place for minds to agree, under a key; the author's log decides what they agree on."""

    node_key: str
    label: str | None = None
    metadata: dict[str, Any] | None = None


class Contributed(msgspec.Struct):
    """An agent's word that a node of its own belongs to an agreement; in place of its word before."""

    consensus: bytes
    node: bytes


class Left(msgspec.Struct):
    """An agent takes its word back."""

    consensus: bytes


class Calculate(msgspec.Struct):
    """Asks an agreement's home to look at what was contributed."""

    home: bytes


class Calculated(msgspec.Struct, omit_defaults=True):
    """What the minds agree on, from all that they contributed. *Units*: `resonance` in millionths."""

    resonance: int
    label: str | None = None
    metadata: dict[str, Any] | None = None
