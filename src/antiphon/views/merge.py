"""Room `views` (imports `log` and below): from the writes on one row to the row, in whatever order they came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from antiphon.model.table import Merge, Table
from antiphon.views.domain import Op, Write


class Placed(msgspec.Struct, frozen=True):
    """A write with its event's place in the one order, (stamp, log, seq), and its number among the event's writes."""

    stamp: int
    log: bytes
    seq: int
    write: Write
    at: int = 0


class Merged(msgspec.Struct, frozen=True):
    """A row, and the place of the event that it speaks by."""

    log: bytes
    seq: int
    values: tuple[Any, ...]


def merge(table: Table, writes: Iterable[Placed]) -> Merged | None:
    """The row that these writes add up to, None when nothing asserts it (or a delete came after)."""
    ordered = sorted(set_of(writes), key=lambda placed: (placed.stamp, placed.log, placed.seq, placed.at))
    values: dict[str, Any] = {}
    alive: Placed | None = None
    subject: Placed | None = None
    for placed in ordered:
        write = placed.write
        if write.op == Op.DELETE:
            alive, subject, values = None, None, {}
            continue
        if write.op == Op.ASSERT and alive is None:
            alive = placed
        for name, value in write.values.items():
            if name in values and table.column(name).merge == Merge.ONCE:
                continue
            values[name] = value
            if name == table.subject:
                subject = placed
    if alive is None:
        return None
    speaks = subject or alive
    row = tuple(values.get(column.name, column.default) for column in table.columns)
    return Merged(speaks.log, speaks.seq, row)


def set_of(writes: Iterable[Placed]) -> list[Placed]:
    """The writes without duplicates: an event counts once however often it came."""
    return list({(placed.log, placed.seq, placed.at): placed for placed in writes}.values())
