"""Room `replica` (imports all below it): the background step: indexing and packing while nobody writes.

A daemon thread a file, started by the first large commit. It takes short transactions, one at a time, and only when no
commit is waiting; what it has not done when the process ends is done by `tidy`, the next recall or the next open.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from antiphon.model.errors import AntiphonError

IDLE_MS: Final = 250
"""A file is left alone until nobody has committed to it for so long."""
POSTPONED_MAX: Final = 8
"""How often in a row a step gives way to commits; then one is done all the same, or a busy file would never be done."""


class Keeper:
    """Calls `step` in the background until it says that nothing is left, after each time it is woken."""

    def __init__(self, step: Callable[[], bool]) -> None:
        self._step = step
        self._woken = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Says that there is something to do; starts the thread when there is none."""
        self._woken.set()
        if self._thread is None and not self._stopping:
            self._thread = threading.Thread(target=self._run, name="antiphon-keeper", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the step it is at."""
        self._stopping = True
        self._woken.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._thread = None

    def _run(self) -> None:
        while not self._stopping:
            self._woken.wait()
            self._woken.clear()
            postponed = 0
            while not self._stopping:
                if self._woken.wait(IDLE_MS / 1000) and postponed < POSTPONED_MAX:
                    self._woken.clear()
                    postponed += 1
                    continue
                postponed = 0
                try:
                    while self._step() and not self._woken.is_set():
                        pass
                    if not self._woken.is_set():
                        break
                except AntiphonError:  # the next commit, recall or `doctor` meets it in the open
                    break
