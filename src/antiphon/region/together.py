"""Room `region` (imports all below it, and its neighbour `agent`): values that should be unique, over many files."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from antiphon.agent.listing import Holder, Listed
from antiphon.engines.sqlite.select import counted_values
from antiphon.log.store import LogHead
from antiphon.model import limits
from antiphon.model.table import Table
from antiphon.model.text import event_text, id_text
from antiphon.query.shown import as_plain
from antiphon.replica.stored import Stored


def duplicates(
    files: Sequence[Stored], table: Table, head_of: Callable[[int], LogHead], *, limit: int = limits.DUPLICATES_MAX
) -> Iterator[Listed]:
    """The first values that several rows have, in one file or in several. *Cost*: each file's index is read once."""
    for columns in table.unique:
        runs = heapq.merge(*(counted_values(file.file, file.tables, table, columns) for file in files))
        for values, same in groupby(runs, key=itemgetter(0)):
            count = sum(found for _, found in same)
            if count < 2:
                continue
            if limit == 0:
                return
            limit -= 1
            equal = dict(zip(columns, values, strict=True))
            rows = [row for file in files for row in _rows(file, table, equal)]
            holders = [_holder(table, row, head_of(row.log)) for row in rows[: limits.DUPLICATE_ROWS_MAX]]
            yield Listed(table.name, "unique", columns, as_plain(table, equal), count, tuple(holders))


def _rows(file: Stored, table: Table, equal: dict[str, Any]) -> list[Any]:
    return list(file.tables.select(table, equal, order="n", limit=limits.DUPLICATE_ROWS_MAX))


def _holder(table: Table, row: Any, head: LogHead) -> Holder:
    key = as_plain(table, {name: row.values[name] for name in table.key})
    return Holder(key, id_text(head.owner), event_text(head.id, row.seq))
