"""Room `domains` (imports `views` and below): ids that follow from what they name, the same for everyone."""

from __future__ import annotations

from antiphon.model.text import natural_id


def pair_of(one: bytes, other: bytes) -> tuple[bytes, bytes, bytes]:
    """Two agents in the one order, and the id of their pair."""
    first, second = sorted((one, other))
    return first, second, natural_id("network/pair", f"{first.hex()}/{second.hex()}")


def circle_of(one: bytes, other: bytes) -> bytes:
    """The circle of two agents alone: for whom their messages are."""
    first, second = sorted((one, other))
    return natural_id("network/circle", f"{first.hex()}/{second.hex()}")


def field_id(signature: str) -> bytes:
    """The morphic field of a pattern's signature."""
    return natural_id("network/morphic-field", signature)
