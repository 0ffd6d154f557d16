"""Room `replica` (imports all below it): the newest stamp in a file, known without looking at every log."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from antiphon.log.store import LogHead
from antiphon.model import hlc, limits


class Stamps:
    """What is stamped after `newest` comes after everything that can be seen in a file, however far others' clocks
    are ahead of ours; but stamps that are too far ahead to be folded never drag ours along.
    """

    def __init__(self, heads: Callable[[], Iterable[LogHead]]) -> None:
        self._heads = heads
        self._newest: int | None = None
        self._ahead = 0

    def forget(self) -> None:
        """Looks at every log again, when next asked."""
        self._newest = None

    def see(self, stamp: int) -> None:
        """Takes note of a log's newest stamp."""
        if self._newest is not None and stamp > self._newest:
            self._newest = stamp

    def newest(self, now_ms: int) -> int:
        """The newest stamp that is due. *Cost*: none, but where logs were read again or a stamp has become due."""
        due = hlc.from_ms(now_ms + limits.CLOCK_AHEAD_MS_MAX)
        if self._newest is None or self._newest > due or self._ahead <= due:
            stamps = [head.hlc for head in self._heads()]
            self._newest = max((stamp for stamp in stamps if stamp <= due), default=0)
            self._ahead = min((stamp for stamp in stamps if stamp > due), default=hlc.HLC_MAX + 1)
        return self._newest
