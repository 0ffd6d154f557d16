"""Room `query` (imports `knowledge`, `domains`, `views` and below): reading the rows of one declared table.

What no declared index serves is refused (`plan.py`); whose rows an agent sees is decided below, in the engine's query
(`access.py`), so that limits and pages hold for what it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.knowledge.recall import fts_query
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.table import Table, Type
from antiphon.model.values import canonical, key_of
from antiphon.query import together
from antiphon.query.access import Reader
from antiphon.query.cache import STALE_MS_MAX, CacheStats, RowCache
from antiphon.query.cursor import cursor_of, position_of
from antiphon.query.plan import Ask, Range, Term, key_of_parts, plan, value_in
from antiphon.query.rollup import filled, rollup_of
from antiphon.query.source import Part, Source
from antiphon.query.together import Circle, Duplicate
from antiphon.views.rollups import rollup_table
from antiphon.views.store import StoredRow

ROWS: Final = 1_000
_PAGE: Final = 500


class Row(dict[str, Any]):
    """A row: a map from column to value. It is at most `stale_ms_max` behind the file; 0 where it was read from it.
    Of a row that an engine was asked for by itself nobody knows how far it is behind: `Agent.reach` does.

    `n` numbers it in this file; `log` (a number in the file) and `seq` place the event that it speaks by. `source` says
    which place it is from; outside of the file, it has no numbers there.
    """

    __slots__ = ("log", "n", "seq", "source", "stale_ms_max")

    def __init__(
        self, values: Mapping[str, Any], *, n: int, log: int, seq: int, stale_ms_max: int = 0, source: str = "file"
    ) -> None:
        super().__init__(values)
        self.n, self.log, self.seq, self.stale_ms_max, self.source = n, log, seq, stale_ms_max, source


class Page(msgspec.Struct, frozen=True):
    """Some rows, in order. `cursor` leads to the next ones; None at the end. `by` is the index that served them.

    A page may have fewer rows than were asked for and yet a cursor: where ROWS_SCANNED_MAX rows were looked at, or
    ROWS_PASSED_MAX rows of others, which `scanned` does not count, stood between.
    """

    rows: list[Row]
    cursor: str | None
    by: str
    scanned: int
    stale_ms_max: int = 0


class Near(msgspec.Struct, frozen=True):
    """A neighbour; less distance is nearer."""

    row: Row
    distance: float


class Match(msgspec.Struct, frozen=True):
    """A row whose full text matches; more relevance is better."""

    row: Row
    relevance: float


class Rows:
    """The rows of one table that an agent may read."""

    def __init__(
        self,
        source: Source,
        table: Table,
        reader: Callable[[], Reader],
        *,
        cache: RowCache | None = None,
        index: Callable[[], object] = lambda: None,
    ) -> None:
        self._source, self._table, self._reader = source, table, reader
        self._cache = cache
        self._index = index

    def __repr__(self) -> str:
        return f"Rows({self._table.name!r})"

    @property
    def table(self) -> Table:
        """What these are the rows of."""
        return self._table

    def stats(self) -> CacheStats | None:
        """What the process's cache did for this agent's reads; None where there is none."""
        return None if self._cache is None else self._cache.stats()

    def get(self, *key: Any, **named: Any) -> Row | None:
        """The row of a key, given by its parts in order or by name; None when there is none, or it is not for us.

        *Cost*: about 3 µs where the process keeps it.
        """
        raw = key_of(self._table, key_of_parts(self._table, key, named))
        if self._cache is None:
            found = self._source.row(self._table, raw, self._reader())
            return None if found is None else _row(found)
        values, kept = self._cache.find((self._table.name, raw), lambda: self._load(raw))
        if values is None:
            return None
        n, log, seq = values.pop(""), values.pop("log"), values.pop("seq")
        return Row(values, n=n, log=log, seq=seq, stale_ms_max=STALE_MS_MAX if kept else 0)

    def _load(self, raw: bytes) -> dict[str, Any] | None:
        found = self._source.row(self._table, raw, self._reader())
        return None if found is None else {**found.values, "": found.n, "log": found.log, "seq": found.seq}

    def page(
        self,
        equal: Mapping[str, Any] | None = None,
        *,
        within: Range | None = None,
        below: tuple[str, str] | None = None,
        order: str | Sequence[str] = (),
        descending: bool = False,
        limit: int = ROWS,
        after: str | None = None,
    ) -> Page:
        """Rows whose columns have these values, in an index's order; `after` is the cursor of the page before.

        `below` is (text column, dotted name): that name and those under it. `order` names columns, or `n`: the order
        in which the rows were made here. Raises InvalidInput when no index serves this, naming those there are.
        """
        if not 0 < limit <= limits.PAGE_ROWS_MAX:
            raise InvalidInput(f"the number of rows must be between 1 and PAGE_ROWS_MAX ({limits.PAGE_ROWS_MAX:,})")
        columns = (order,) if isinstance(order, str) else tuple(order)
        made = plan(self._table, Ask(equal or {}, within, below, columns, descending))
        position = None if after is None else position_of(made, after)
        part = self._source.page(made, self._reader(), after=position, limit=limit, scanned_max=limits.ROWS_SCANNED_MAX)
        cursor = None if part.end is None else cursor_of(made, part.end)
        return Page([_row(row) for row in part.rows], cursor, str(made.path), part.scanned)

    def select(
        self,
        *,
        limit: int = ROWS,
        order: str | Sequence[str] = (),
        descending: bool = False,
        within: Range | None = None,
        below: tuple[str, str] | None = None,
        **equal: Any,
    ) -> list[Row]:
        """The first rows of such an answer. Raises LimitExceeded where too many others stand between them."""
        page = self.page(equal, within=within, below=below, order=order, descending=descending, limit=limit)
        if page.cursor is not None and len(page.rows) < limit:
            raise _too_far(page.scanned)
        return page.rows

    def every(self, equal: Mapping[str, Any] | None = None, **how: Any) -> Iterator[Row]:
        """All rows of such an answer, read page by page: what is committed meanwhile may or may not be among them."""
        cursor = None
        while True:
            page = self.page(equal, limit=_PAGE, after=cursor, **how)
            yield from page.rows
            cursor = page.cursor
            if cursor is None:
                return

    def distinct(self, column: str) -> list[Any]:
        """The different values of an index's first column, in ascending order, without null."""
        made = plan(self._table, Ask(order=(column,)))
        most = limits.VALUES_MAX
        found = self._source.values(made, self._reader(), column, limit=most + 1)
        if len(found) > most:
            raise LimitExceeded("VALUES_MAX", got=len(found), allowed=most, what=f"the number of values of {column!r}")
        return found

    def duplicates(self, *, limit: int = limits.DUPLICATES_MAX) -> list[Duplicate]:
        """Values that several rows have though the table declares them unique; nobody refused them, or two homes gave
        them. *Cost*: the index over them is read once, about 0.1 µs a row.
        """
        return together.duplicates(self._source, self._table, self._reader(), limit=limit)

    def circles(self) -> list[Circle]:
        """Rows that link each other in circles by columns that are declared acyclic. *Cost*: all rows with links are
        read; raises LimitExceeded past LINKS_SCANNED_MAX.
        """
        return together.circles(self._source, self._table, self._reader())

    def rollup(
        self,
        name: str,
        *,
        since: int | None = None,
        until: int | None = None,
        fill: bool = False,
        limit: int = limits.PAGE_ROWS_MAX,
        **group: Any,
    ) -> list[Row]:
        """The buckets of a rollup of this table that touch [since, until), for a group, oldest first.

        With `fill` (of one whole group, between two times), empty buckets are there too. *Units*: ms since 1970.
        Raises LimitExceeded when there are more than `limit`.
        """
        declared = rollup_of(self._table, name)
        kept = rollup_table(self._table, declared)
        for column in group:
            if column not in declared.group:
                raise InvalidInput(
                    f"the rollup {name!r} has no group {column!r}; it has {', '.join(declared.group) or 'none'}",
                    table=name, column=column,
                )  # fmt: skip
        start = None if since is None else since - since % declared.bucket_ms
        within = None if since is None and until is None else Range(declared.bucket, least=start, under=until)
        part = self._all(kept, Ask(group, within, None, (declared.bucket,)), limit)
        found = [_row(row) for row in part.rows]
        if not fill:
            return found
        if start is None or until is None or len(group) < len(declared.group):
            raise InvalidInput(f"empty buckets of {name!r} can be filled in for one whole group, between two times")
        return [
            row if isinstance(row, Row) else Row(row, n=0, log=0, seq=0)
            for row in filled(self._table, declared, found, group, start, until)
        ]

    def _all(self, table: Table, ask: Ask, limit: int) -> Part:
        if not 0 < limit <= limits.BUCKETS_MAX:
            raise InvalidInput(f"the number of buckets must be between 1 and BUCKETS_MAX ({limits.BUCKETS_MAX:,})")
        part = self._source.page(
            plan(table, ask), self._reader(), after=None, limit=limit, scanned_max=limits.ROWS_SCANNED_MAX
        )
        if part.end is not None and len(part.rows) < limit:
            raise _too_far(part.scanned)
        if part.end is not None:
            raise LimitExceeded("limit", got=len(part.rows) + 1, allowed=limit, what="the number of buckets")
        return part

    def neighbours(
        self, column: str, vector: Sequence[float] | bytes, *, k: int = 10, metric: str | None = None, **equal: Any
    ) -> list[Near]:
        """The rows whose vectors are nearest to this one: exact; `equal` values need an index.

        The metric is the declared one, else cosine. Raises LimitExceeded over VECTORS_SCANNED_MAX vectors.
        """
        declared = self._table.column(column)
        if declared.type != Type.VECTOR:
            raise InvalidInput(f"table {self._table.name!r}: {column!r} is no vector but a {declared.type}")
        plain = msgspec.structs.replace(declared, nullable=False, check=None)
        wanted = canonical(plain, vector if isinstance(vector, bytes) else list(vector))
        known = next((place.metric for place in self._table.places.vectors if place.column == column), "cosine")
        made, reader = plan(self._table, Ask(equal)), self._reader()
        with self._source.reading():
            found = self._source.nearest(made, reader, column, wanted, metric=metric or known, k=k)
            rows = self._source.rows(self._table, [n for _, n in found], reader)
        return [Near(_row(rows[n]), far) for far, n in found]

    def search(self, text: str, *, limit: int = 10, **equal: Any) -> list[Match]:
        """The rows whose full text has these words, best first. What waits for the index is indexed before."""
        table = self._table
        if table.fulltext is None:
            raise InvalidInput(f"table {table.name!r} declares no full text", table=table.name)
        if not 0 < limit <= limits.RECALL_HITS_MAX:
            raise InvalidInput(f"the number of hits must be between 1 and RECALL_HITS_MAX ({limits.RECALL_HITS_MAX:,})")
        if not fts_query(text):
            raise InvalidInput("the question has no words: ask with at least one letter or digit")
        values = {name: value_in(table, name, value) for name, value in equal.items()}
        tests = [Term(name, "null" if value is None else "=", value) for name, value in values.items()]
        self._index()
        reader = self._reader()
        with self._source.reading():
            found = self._source.match(table, text, tests, reader, limit)
            rows = self._source.rows(table, [n for n, _ in found], reader)
        return [Match(_row(rows[n]), relevance) for n, relevance in found if n in rows]


def _too_far(scanned: int) -> LimitExceeded:
    """An answer that has no pages would have to look at more rows than it may."""
    if scanned >= limits.ROWS_SCANNED_MAX:
        name, allowed, what = "ROWS_SCANNED_MAX", limits.ROWS_SCANNED_MAX, "the number of rows to look at"
    else:
        name, allowed, what = "ROWS_PASSED_MAX", limits.ROWS_PASSED_MAX, "the number of others' rows to pass over"
    what += " (declare an index over all the conditions, or go page by page)"
    return LimitExceeded(name, got=allowed + 1, allowed=allowed, what=what)


def _row(row: StoredRow) -> Row:
    return Row(row.values, n=row.n, log=row.log, seq=row.seq, source=row.source)
