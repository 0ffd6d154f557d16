"""Room `views` (imports `log` and below): how far everything in a file has come."""

from __future__ import annotations

import msgspec


class FileState(msgspec.Struct):
    """How far everything in a file has come.

    `events`, `commits` and `next_row` move with every commit and are stored in its feed entry; the rest, which
    seldom changes, is stored apart. *Units*: `events` counts all events ever appended to the file; `behind` has
    that count for domains which some process, not knowing them, has left unfolded since. `orphans` are the tables
    to whose rows something was said before they were there.
    """

    epoch: int = 1
    events: int = 0
    commits: int = 0
    next_row: dict[str, int] = {}
    folded: dict[str, str] = {}
    behind: dict[str, int] = {}
    scrub_pending: bool = False
    orphans: set[str] = set()

    @property
    def version(self) -> int:
        """The feed's version: 63 bits, epoch first."""
        return self.epoch << 40 | self.events
