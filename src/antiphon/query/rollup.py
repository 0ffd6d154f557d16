"""Room `query` (imports `knowledge` and below): the buckets of a rollup, with the empty ones between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from antiphon.model import limits
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.table import Rollup, Table
from antiphon.query.plan import value_in
from antiphon.views.rollups import rollup_table


def rollup_of(table: Table, name: str) -> Rollup:
    """The table's rollup of this name. Raises InvalidInput."""
    for rollup in table.rollups:
        if rollup.name == name:
            return rollup
    known = ", ".join(rollup.name for rollup in table.rollups) or "none"
    raise InvalidInput(f"table {table.name!r} has no rollup {name!r}; it has {known}", table=table.name)


def filled(
    table: Table, rollup: Rollup, found: Sequence[Mapping[str, Any]], group: Mapping[str, Any], start: int, until: int
) -> Iterator[Mapping[str, Any]]:
    """Every bucket from `start` on that begins before `until`; where there is no row, one that counts nothing.

    *Shapes*: `found` are rows of one group, oldest first. Raises LimitExceeded.
    """
    count = max(0, -(-(until - start) // rollup.bucket_ms))
    if count > limits.BUCKETS_MAX:
        raise LimitExceeded(
            "BUCKETS_MAX", got=count, allowed=limits.BUCKETS_MAX, what=f"the number of buckets of {rollup.name!r}"
        )
    kept = rollup_table(table, rollup)
    fixed = {name: value_in(kept, name, value) for name, value in group.items()}
    there = {row[rollup.bucket]: row for row in found}
    for at in range(start, until, rollup.bucket_ms):
        row = there.get(at)
        if row is None:
            row = kept.defaults | fixed | {rollup.bucket: at}
        yield row
