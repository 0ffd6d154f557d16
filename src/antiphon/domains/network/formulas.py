"""Room `domains` (imports `views` and below): trust, hormones, resonance, coherence and drift, as exact functions.

All is counted in integers, so no order of the inputs and no machine can change a figure: shares are in millionths,
weights of the past in 2^-30. Whoever asks says as of when; what came later does not count.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from functools import cache
from hashlib import sha256
from math import isqrt
from typing import Final

from antiphon.model.errors import InvalidInput

MILLION: Final = 1_000_000
"""A share of one."""
ONE: Final = 1 << 30
"""The weight of what happened just now."""
STEPS: Final = 60
"""A half-life is divided into so many steps; within one the weight does not move."""
TRUST_HALF_LIFE_DAYS: Final = 30
HORMONE_HALF_LIFE_MS: Final = 3_600_000
HOPS_MAX: Final = 3
TERM_BUCKETS: Final = 1 << 16
_TERM_TAG: Final = b"antiphon/term/v1\0"
_TERM: Final = re.compile(r"[^\W_]{3,}")
_LOG_BITS: Final = 40

Profile = Mapping[int, int]
"""How often the terms of each bucket were said."""


@cache
def _weights() -> tuple[int, ...]:
    """2^(30 - k/60) for each step k of a half-life, rounded."""
    exact = Context(prec=40)
    powers = (exact.power(2, exact.divide(Decimal(30 * STEPS - k), STEPS)) for k in range(STEPS))
    return tuple(int(power.to_integral_value()) for power in powers)


def weight(age: int, half_life: int) -> int:
    """What counts of something so old, in 2^-30: half of it after each half-life. *Units*: the same for both."""
    if age < 0:
        return 0
    halves, rest = divmod(age, half_life)
    return _weights()[rest * STEPS // half_life] >> halves if halves < 64 else 0


def trust(days: Iterable[tuple[int, int, int]], *, as_of: int) -> int:
    """What an agent may expect of another, in millionths: 500,000 where it knows nothing.

    The Beta mean (1 + s) / (2 + s + f) of successes and failures, each halved every 30 days.
    *Shapes*: (day, successes, failures); days count from 1970.
    """
    good = bad = 0
    for day, successes, failures in days:
        left = weight(as_of - day, TRUST_HALF_LIFE_DAYS)
        good += left * successes
        bad += left * failures
    return MILLION * (ONE + good) // (2 * ONE + good + bad)


def hormone_level(
    baseline: int, reached: Iterable[tuple[int, int]], *, as_of: int, half_life_ms: int = HORMONE_HALF_LIFE_MS
) -> int:
    """The level of one hormone in an agent, in millionths: its baseline and what is left of all that reached it.

    *Shapes*: (ms since 1970, intensity in millionths).
    """
    return baseline + sum(intensity * weight(as_of - at, half_life_ms) for at, intensity in reached) // ONE


def cascade(
    trusted: Mapping[bytes, Mapping[bytes, int]], origin: bytes, intensity: int, *, hops: int = HOPS_MAX
) -> dict[bytes, tuple[int, int]]:
    """What a hormone's release brings to whom, by the best path: (hop, intensity in millionths); the origin at hop 0.

    Each hop multiplies by the trust of the link. *Shapes*: `trusted` is agent -> neighbour -> trust in millionths.
    """
    found = {origin: (0, intensity)}
    edge = {origin: intensity}
    for hop in range(1, min(hops, HOPS_MAX) + 1):
        arrived: dict[bytes, int] = {}
        for agent, strength in edge.items():
            for neighbour, share in trusted.get(agent, {}).items():
                arrived[neighbour] = max(arrived.get(neighbour, 0), strength * share // MILLION)
        edge = {agent: strength for agent, strength in arrived.items() if strength > found.get(agent, (0, 0))[1]}
        found.update({agent: (hop, strength) for agent, strength in edge.items()})
    return found


def profile(texts: Iterable[str]) -> dict[int, int]:
    """What somebody talks about: how often each bucket of hashed terms occurs. Case and width of letters are one."""
    counts: Counter[int] = Counter()
    for text in texts:
        counts.update(_bucket(term) for term in _TERM.findall(unicodedata.normalize("NFKC", text).casefold()))
    return dict(counts)


def _bucket(term: str) -> int:
    return int.from_bytes(sha256(_TERM_TAG + term.encode()).digest()[:4], "big") % TERM_BUCKETS


def resonance(ours: Profile, theirs: Profile) -> int:
    """How alike two profiles are, in millionths: the cosine between them, 0 where one is empty."""
    dot = sum(count * theirs.get(bucket, 0) for bucket, count in ours.items())
    size = sum(count * count for count in ours.values()) * sum(count * count for count in theirs.values())
    return isqrt(dot * dot * MILLION * MILLION // size) if size else 0


def coherence(links: Iterable[tuple[int, int]]) -> int | None:
    """An agent's coherence, in millionths of 0 to 100: the mean resonance of its links, each by its trust.

    None where nothing weighs. *Shapes*: (trust, resonance), both in millionths.
    """
    weights = total = 0
    for share, alike in links:
        weights += share
        total += share * alike
    return 100 * total // weights if weights else None


def field_coherence(agents: Iterable[tuple[int, int | None]]) -> int | None:
    """A field's coherence, in millionths of 0 to 100: the mean of its active agents', each by the trust it has.

    Agents without links have none and are left out. *Shapes*: (trust in millionths, `coherence`).
    """
    known = [(share, level) for share, level in agents if level is not None]
    weights = sum(share for share, _ in known)
    return sum(share * level for share, level in known) // weights if weights else None


def drift(recent: Mapping[str, int], usual: Mapping[str, int]) -> int:
    """How far what an agent does lately is from what it usually does, in millionths: the Jensen-Shannon distance.

    0 where nothing is known of one of them.

    *Source*: Endres and Schindelin, "A new metric for probability distributions", 2003; logarithms to base 2.
    """
    if any(count < 0 for counts in (recent, usual) for count in counts.values()):
        raise InvalidInput("a count below zero: drift compares how often things happened")
    ours, theirs = sum(recent.values()), sum(usual.values())
    if not ours or not theirs:
        return 0
    total = 0  # of 2 * ours * theirs * divergence, in 2^-40
    for name in recent.keys() | usual.keys():
        p, q = recent.get(name, 0) * theirs, usual.get(name, 0) * ours
        total += sum(part * _log2(2 * part, p + q) for part in (p, q) if part)
    divergence = max(0, total) * MILLION * MILLION // (2 * ours * theirs << _LOG_BITS)
    return min(MILLION, isqrt(divergence))


def _log2(above: int, below: int) -> int:
    """The logarithm of a ratio to base 2, in 2^-40, by squaring."""
    whole = above.bit_length() - below.bit_length()
    scaled = (above << 2 * _LOG_BITS) // (below << whole) if whole >= 0 else (above << 2 * _LOG_BITS - whole) // below
    if scaled < 1 << 2 * _LOG_BITS:
        whole, scaled = whole - 1, scaled << 1
    found = whole
    for _ in range(_LOG_BITS):
        scaled = scaled * scaled >> 2 * _LOG_BITS
        bit = scaled >> 2 * _LOG_BITS + 1
        scaled >>= bit
        found = found << 1 | bit
    return found
