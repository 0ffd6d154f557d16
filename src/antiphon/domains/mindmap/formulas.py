"""Room `domains` (imports `views` and below): how alike vectors are and what they agree on, as exact functions.

All is counted in integers, so no order of the inputs and no machine can change a figure: shares are in millionths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isqrt
from operator import mul
from typing import Any, Final

import msgspec

from antiphon.domains.mindmap import names
from antiphon.model import limits

MILLION: Final = 1_000_000
_UNIT: Final = 1 << 20
"""A number of a vector, and the length of one that is brought to it, in so many parts."""

Whole = tuple[int, ...]
"""A vector in whole numbers."""


def whole(vector: Sequence[float]) -> Whole | None:
    """The vector's direction in whole numbers; None where it has none."""
    largest = max(map(abs, vector), default=0.0)
    if not largest:
        return None
    parts = [round(number / largest * _UNIT) for number in vector]
    length = isqrt(sum(part * part for part in parts))
    return tuple(part * _UNIT // length for part in parts)


def similarity(one: Whole, other: Whole) -> int:
    """The cosine of two directions cut to [0, 1], in millionths."""
    dot = sum(map(mul, one, other))
    size = sum(map(mul, one, one)) * sum(map(mul, other, other))
    return isqrt(dot * dot * MILLION * MILLION // size) if dot > 0 and size else 0


def decayed(share: int) -> int:
    """What is left of a resonance one link further on: nine tenths."""
    return share * 9 // 10


class Member(msgspec.Struct, frozen=True):
    """One mind's contribution to an agreement."""

    mind: bytes
    vector: Whole
    label: str | None
    metadata: Mapping[str, Any] | None


class Agreed(msgspec.Struct, frozen=True):
    """What resonates: the members near their centre, and their mean similarity to it; 0 where too few minds do."""

    members: tuple[Member, ...]
    resonance: int
    label: str | None
    metadata: dict[str, Any] | None


def agreed(members: Sequence[Member]) -> Agreed:
    """What these members agree on, whatever their order.

    The centre is the sum of all directions; those that resonate with it make a second centre, by which they are
    judged. One that resonates with none of the others is left out so. *Cost*: 0.2 ms a member.
    """
    near = _near(members, members)
    near = _near(members, near) if near else ()
    minds = {member.mind for member in near}
    if len(minds) < names.MINDS_MIN:
        return Agreed((), 0, None, None)
    centre = _centre(near)
    mean = sum(similarity(member.vector, centre) for member in near) // len(near)
    return Agreed(tuple(near), mean, most_said([member.label for member in near]), merged(near))


def _near(members: Sequence[Member], of: Sequence[Member]) -> Sequence[Member]:
    centre = _centre(of)
    return [member for member in members if similarity(member.vector, centre) >= names.THRESHOLD]


def _centre(members: Sequence[Member]) -> Whole:
    return tuple(map(sum, zip(*(member.vector for member in members), strict=True)))


def most_said(words: Sequence[str | None]) -> str | None:
    """The text that most of them say, of equally many the first in order; None where nobody says anything."""
    counts = Counter(word for word in words if word is not None)
    return min(counts, key=lambda word: (-counts[word], word), default=None)


def merged(members: Sequence[Member]) -> dict[str, Any] | None:
    """What more than half of the members say under the same key of their metadata; as many keys as fit a row."""
    said: dict[str, Counter[bytes]] = {}
    for member in members:
        for name, value in (member.metadata or {}).items():
            said.setdefault(name, Counter())[msgspec.json.encode(value, order="deterministic")] += 1
    found: dict[str, Any] = {}
    for name in sorted(said):
        raw, times = min(said[name].items(), key=lambda item: (-item[1], item[0]))
        if 2 * times > len(members):
            wider = {**found, name: msgspec.json.decode(raw)}
            if len(msgspec.json.encode(wider)) <= limits.JSON_BYTES_MAX:
                found = wider
    return found or None


def spread(total: int, squares: int, count: int) -> tuple[int, int | None]:
    """(mean, standard deviation of a sample) in millionths; of one value there is no deviation.

    *Shapes*: `total` is in thousandths, `squares` in millionths.
    """
    mean = total * 1_000 // count
    if count < 2:
        return mean, None
    return mean, isqrt(max(0, count * squares - total * total) * MILLION // (count * (count - 1)))
