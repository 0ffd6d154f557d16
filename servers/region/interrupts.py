"""^C at any moment: what starts and ends processes is never cut in two, and is undone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Turns signals into one KeyboardInterrupt, which waits while something is shielded. Of the main thread."""

    def __init__(self) -> None:
        self._shields, self._waiting, self._over = 0, False, False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        for one in SIGNALS:
            self._before[one] = signal.signal(one, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        if self._over:
            return
        if self._shields:
            self._waiting = True
            return
        self._over = True
        raise KeyboardInterrupt

    def end(self) -> None:
        """From here on nothing interrupts: what is left is cleaning up."""
        self._over = True

    @contextmanager
    def shield(self) -> Iterator[None]:
        """What is inside is done to its end first."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
            if self._waiting and not self._shields and not self._over:
                self._over = True
                raise KeyboardInterrupt
