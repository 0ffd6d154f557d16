"""Room `domains` (imports `views` and below): what deals are worth, and how long they take: exact, as of a time given.

All is counted in integers, so no order of the deals and no machine can change a figure.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from hashlib import shake_256
from typing import Final

import msgspec

from antiphon.domains.market import names
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.places import DAY_MS

_SEED: Final = b"antiphon/forecast/v1\0"
_CENT: Final = Decimal("0.01")
_SCORE: Final = Decimal("0.000001")
MILLION: Final = 1_000_000


class Cases(msgspec.Struct, frozen=True):
    """What a simulation of open deals came to: the mean, the 90th and the 10th percentile of its runs."""

    base: Decimal
    best: Decimal
    worst: Decimal
    deals: int
    runs: int = names.SIMULATION_RUNS


def simulated(deals: Iterable[tuple[bytes, Decimal, Decimal]]) -> Cases:
    """What open deals may bring. In each run a deal is won or not; its luck is a hash of its id, so that it is the same
    in every run of this function, whichever other deals there are.

    *Shapes*: (id, value, probability), each id once. *Cost*: 8 KB hashed a deal.
    """
    runs = names.SIMULATION_RUNS
    totals = [0] * runs
    by_id = {deal: (int(value.scaleb(2)), int(share.scaleb(6))) for deal, value, share in deals}
    if len(by_id) > names.SIMULATED_DEALS_MAX:
        raise LimitExceeded(
            "SIMULATED_DEALS_MAX", got=len(by_id), allowed=names.SIMULATED_DEALS_MAX, what="the number of open deals"
        )
    for deal, (cents, share) in by_id.items():
        drawn = shake_256(_SEED + deal).digest(8 * runs)
        bound = (share << 64) // MILLION
        for run in range(runs):
            if int.from_bytes(drawn[8 * run : 8 * run + 8], "big") < bound:
                totals[run] += cents
    totals.sort()
    mean = (2 * sum(totals) + runs) // (2 * runs)
    return Cases(_cents(mean), _cents(totals[runs * 9 // 10]), _cents(totals[runs // 10]), len(by_id))


def _cents(whole: int) -> Decimal:
    return Decimal(whole).scaleb(-2)


def accuracy(expected: Decimal, actual: Decimal) -> Decimal:
    """How near an expectation came, from 0 to 1: one less the difference by the greater of the two."""
    if expected < 0 or actual < 0:
        raise InvalidInput(f"{names.FORECASTS}: what is below zero has no accuracy")
    greater = max(expected, actual)
    if not greater:
        return Decimal(1).quantize(_SCORE)
    millionths = int((min(expected, actual) * MILLION) // greater)
    return Decimal(millionths).scaleb(-6)


def velocity(stages: int, elapsed_ms: int) -> Decimal:
    """Stages passed in 30 days; what took less than a day counts as one day."""
    return Decimal(stages * 30 * DAY_MS * MILLION // max(elapsed_ms, DAY_MS)).scaleb(-6)


def days(since: int, as_of: int) -> int:
    """Whole days from a time to another, none where that is before. *Units*: ms since 1970."""
    return max(0, as_of - since) // DAY_MS
