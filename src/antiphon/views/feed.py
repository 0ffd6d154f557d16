"""Room `views` (imports `log` and below): the feed: what each commit changed, in order."""

from __future__ import annotations

import msgspec

from antiphon.views.batch import RowKey


class OutboxEntry(msgspec.Struct, array_like=True):
    """What one commit changed: spans of new events (log number, first seq, count), and rows computed again.

    It also says how far the file had come then: the count of commits, and the next number of each table's rows.
    """

    spans: list[tuple[int, int, int]]
    rows: list[RowKey]
    commits: int = 0
    next_row: dict[str, int] = {}
