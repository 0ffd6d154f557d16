"""Room `domains` (imports `views` and below): the first tasks of an order, found without reading the whole board.

What is hot now is not what was hot an hour ago, so no index has that order. But within one score the newer task is
hotter, and within one count of votes for and against all are equally controversial; of those there are few, and each
is a stretch of an index. The stretches are merged, best first; one is not opened before its best could be next.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from antiphon.domains.tasks.ranking import controversy, hot, place
from antiphon.views.commands import Range, TableRows

_PAGE_FIRST: Final = 8
"""Rows read when a stretch is gone on with; then twice as many, up to _PAGE_MOST."""
_PAGE_MOST: Final = 512

Row = Mapping[str, Any]
Key = tuple[float, ...]
Chain = Iterator[tuple[Key, Any]]
"""Steps in ascending order of their keys: rows under their place, or chains under a key that all in them come after."""


class Best:
    """The tasks in some states, in an order as of a time (ms since 1970), as far as they are asked for."""

    def __init__(self, table: TableRows, order: str, *, states: Sequence[str], as_of: int) -> None:
        self._table, self._order, self._as_of = table, order, as_of
        chains: dict[str, Callable[[str], Chain]] = {
            "hot": self._by_heat, "top": self._by_score, "new": self._by_time, "controversial": self._by_controversy,
        }  # fmt: skip
        self._chains = [chains[order](state) for state in dict.fromkeys(states)]

    def first(self, limit: int) -> list[Row]:
        """The first rows of the order."""
        return list(itertools.islice(self._distinct(), limit))

    def _distinct(self) -> Iterator[Row]:
        """Each task once: a vote between two reads may have moved it from one stretch to another."""
        seen: set[bytes] = set()
        for row in merged(self._chains):
            if row["id"] not in seen:
                seen.add(row["id"])
                yield row

    # -- orders that an index has --------------------------------------------------------------------------------

    def _by_time(self, state: str) -> Chain:
        return self._along({"status": state}, ("created_at", "id"))

    def _by_score(self, state: str) -> Chain:
        return self._along({"status": state}, ("score", "created_at", "id"))

    def _along(self, equal: Mapping[str, Any], order: Sequence[str], **held: Any) -> Chain:
        """Rows in an index's order, descending, while the columns of `held` have these values."""
        cursor, size = None, 1
        while True:
            page = self._table.page(equal, order=order, descending=True, limit=size, after=cursor)
            for row in page.rows:
                if any(row[name] != value for name, value in held.items()):
                    return
                yield place(row, self._order, as_of=self._as_of), row
            cursor, size = page.cursor, min(_PAGE_MOST, max(_PAGE_FIRST, 2 * size))
            if cursor is None:
                return

    def _alike(self, newest: Row, *columns: str) -> Chain:
        """A row and those that are like it in these columns and its state, the newest first; it is the newest."""
        yield place(newest, self._order, as_of=self._as_of), newest
        equal = {name: newest[name] for name in ("status", *columns)}
        yield from self._along(equal, ("created_at", "id"))  # it comes again here

    # -- by heat: a stretch for each score ---------------------------------------------------------------------------

    def _by_heat(self, state: str) -> Chain:
        """For each score, the highest first, its tasks, under the rank which the newest of all tasks would have."""
        newest = self._best({"status": state}, "created_at")
        if newest is None:
            return
        age, under = self._as_of - newest["created_at"], None
        while (found := self._best({"status": state}, "score", under=under)) is not None:
            under = found["score"]
            yield _before(hot(under, age)), self._alike(found, "score")

    # -- by controversy: a stretch for each count of votes against and for -------------------------------------------

    def _by_controversy(self, state: str) -> Chain:
        """(up + down)^(min / max) is at most twice the votes against, and falls as the votes for go away from those."""
        under = None
        while (found := self._best({"status": state}, "downvotes", under=under)) is not None:
            under = found["downvotes"]
            if not under:
                break
            yield _before(2.0 * under), self._split(state, under)
        rest = self._along({"status": state}, ("created_at", "id"))
        yield _before(0.0), (step for step in rest if not step[0][0])

    def _split(self, state: str, against: int) -> Chain:
        """The tasks with so many votes against, by the votes for, from evenly split ones on either way."""
        equal = {"status": state, "downvotes": against}
        yield _before(controversy(against, against)), self._votes_from(equal, Range("upvotes", least=against), 1)
        yield _before(controversy(against - 1, against)), self._votes_from(equal, Range("upvotes", under=against), -1)

    def _votes_from(self, equal: dict[str, Any], within: Range, step: int) -> Chain:
        """For each count of votes for, upwards or downwards, its tasks; those without any are not controversial."""
        while True:
            page = self._table.page(equal, within=within, order="upvotes", descending=step < 0, limit=1)
            if not page.rows or not page.rows[0]["upvotes"]:
                return
            votes = page.rows[0]["upvotes"]
            rank = controversy(votes, equal["downvotes"])
            yield _before(rank), self._along({**equal, "upvotes": votes}, ("created_at", "id"))
            within = Range("upvotes", above=votes) if step > 0 else Range("upvotes", under=votes)

    def _best(self, equal: Mapping[str, Any], column: str, *, under: Any = None) -> Row | None:
        """The row with the greatest value of a column, below `under` where that is given."""
        within = None if under is None else Range(column, under=under)
        rows = self._table.page(equal, within=within, order=column, descending=True, limit=1).rows
        return rows[0] if rows else None


def _before(rank: float) -> Key:
    """The key of what holds rows of this rank at most: before every one of them."""
    return -rank, 0


def merged(chains: Sequence[Chain]) -> Iterator[Row]:
    """The rows of all chains in ascending order of their keys; no chain is read further than that takes."""
    heap: list[tuple[Key, int, Any, Chain]] = []
    count = itertools.count()

    def push(chain: Chain) -> None:
        step = next(chain, None)
        if step is not None:
            heapq.heappush(heap, (step[0], next(count), step[1], chain))

    for chain in chains:
        push(chain)
    while heap:
        _, _, found, chain = heapq.heappop(heap)
        push(chain)
        if isinstance(found, Iterator):
            push(found)
        else:
            yield found
