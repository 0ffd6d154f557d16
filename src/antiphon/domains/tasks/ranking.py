"""Room `domains` (imports nothing of ours): in which order tasks come. Pure: of rows, and of a time that is given.

*Source*: the Lemmy project's documentation, "Ranking posts" (hot), and its `controversy_rank`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

HOUR_MS: Final = 3_600_000
GRAVITY: Final = 1.8
"""How fast what was voted for goes down."""

Row = TypeVar("Row", bound=Mapping[str, Any])


def hot(score: int, age_ms: int) -> float:
    """More for what has more votes, and less for what is older: log10(max(1, 3 + score)) / (hours + 2)^1.8.

    What is dated after the time it is ranked for counts as new.
    """
    hours = max(age_ms, 0) / HOUR_MS
    return math.log10(max(1, 3 + score)) / math.pow(hours + 2, GRAVITY)


def controversy(upvotes: int, downvotes: int) -> float:
    """More for more votes, and for votes that are more evenly split: (up + down)^(min / max); 0 when all agree."""
    if upvotes <= 0 or downvotes <= 0:
        return 0.0
    return math.pow(upvotes + downvotes, min(upvotes, downvotes) / max(upvotes, downvotes))


def _hot(row: Mapping[str, Any], as_of: int) -> float:
    return hot(row["score"], as_of - row["created_at"])


def _top(row: Mapping[str, Any], as_of: int) -> float:
    return float(row["score"])


def _new(row: Mapping[str, Any], as_of: int) -> float:
    return float(row["created_at"])


def _controversial(row: Mapping[str, Any], as_of: int) -> float:
    return controversy(row["upvotes"], row["downvotes"])


ORDERS: Final[dict[str, Callable[[Mapping[str, Any], int], float]]] = {
    "hot": _hot, "top": _top, "new": _new, "controversial": _controversial,
}  # fmt: skip


def place(row: Mapping[str, Any], order: str, *, as_of: int) -> tuple[float, ...]:
    """Where a row stands in an order, as what sorts ascending: by rank, then the newest, then the greatest id."""
    return -ORDERS[order](row, as_of), 1, -row["created_at"], -int.from_bytes(row["id"], "big")


def ordered(rows: Iterable[Row], order: str, *, as_of: int) -> list[Row]:
    """The rows, the first of the order first: what the order is. *Units*: `as_of` in ms since 1970.

    `board.py` finds the first rows without looking at the others.
    """
    return sorted(rows, key=lambda row: place(row, order, as_of=as_of))
