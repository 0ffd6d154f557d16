"""Room `model` (pure; imports nothing of ours): the hybrid logical clock, 48 bits of ms and 16 of counter.

The counter carries into the milliseconds when it overflows, so the stamps of one commit are simply
consecutive integers however many there are.
"""

from __future__ import annotations

from typing import Final

COUNTER_BITS: Final = 16
HLC_MAX: Final = (1 << 64) - 1


def from_ms(ms: int) -> int:
    """The first stamp of a millisecond since 1970 UTC."""
    return ms << COUNTER_BITS


def to_ms(hlc: int) -> int:
    """The milliseconds since 1970 UTC of a stamp."""
    return hlc >> COUNTER_BITS


def first_stamp(*, last: int, now_ms: int) -> int:
    """The first of the stamps that a commit takes: after every stamp before it, and not before now."""
    return max(last + 1, now_ms << COUNTER_BITS)
