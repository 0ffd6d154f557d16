"""An engine behind a bad network: whatever it promises it keeps, and everything on the way to it goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from antiphon.engines.memory import MemoryTables
from antiphon.model.errors import Conflict, Rejected, Unavailable
from antiphon.model.table import Table
from antiphon.views.feed import Change, EngineEmptied, Fence, Marks
from antiphon.world.clock import ManualClock


class Crash(BaseException):
    """The feeding process dies here."""


class FaultyTables(MemoryTables):
    """Rows in memory, reached by calls that are lost, doubled, late, slow, refused, or die with their process.

    `trouble` is how likely each call goes wrong; `refused` are keys refused for good until they are taken out.
    """

    def __init__(self, chance: Random, clock: ManualClock, *, trouble: float = 0.3) -> None:
        super().__init__()
        self.chance, self.clock, self.trouble = chance, clock, trouble
        self.refused: set[bytes] = set()
        self.spared: tuple[str, ...] = ()
        """Words in the names of calls that go well."""
        self.late: list[tuple[int, list[Change]]] = []
        self.seen: set[str] = set()

    def _maybe(self, what: str) -> bool:
        wrong = self.chance.random() < self.trouble / 6 and not any(word in what for word in self.spared)
        if wrong:
            self.seen.add(what)
        return wrong

    def _call(self, what: str, work: Callable[[], None]) -> None:
        """Does the work, or not, or twice; then answers, or does not."""
        if self._maybe(f"crash before {what}"):
            raise Crash
        if self._maybe(f"{what} lost"):
            raise Unavailable("the engine does not answer")
        if self._maybe(f"{what} slow"):
            self.clock.pass_ms(40_000)
        work()
        if self._maybe(f"{what} twice"):
            work()
        if self._maybe(f"answer to {what} lost"):
            raise Unavailable("the engine did not answer")
        if self._maybe(f"crash after {what}"):
            raise Crash

    def kept(self) -> Fence:
        self._call("kept", lambda: None)
        return super().kept()

    def fence(self, known: int, epoch: int, *, mark: int = 0, owner: bytes = b"") -> Fence | None:
        won: list[Fence | None] = []
        super_fence = super().fence
        self._call("fence", lambda: won.append(super_fence(known, epoch, mark=mark, owner=owner)))
        return won[0]

    def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
        if self._maybe("apply late"):
            self.late.append((epoch, list(changes)))
        if self._maybe("late arrives") and self.late:
            self.arrive()
        if self._maybe("crash amid apply"):
            super().apply(epoch, self.chance.sample(list(changes), len(changes) // 2))
            raise Crash
        if any(change.key in self.refused for change in changes):
            self._check(epoch, marks)
            super().apply(epoch, [change for change in changes if change.key not in self.refused][: len(changes) // 2])
            self.seen.add("refused")
            raise Rejected("this row breaks a rule of the engine")
        super_apply = super().apply
        self._call("apply", lambda: super_apply(epoch, changes, marks=marks))

    def sweep(self, epoch: int, table: Table, below: int, *, marks: Marks | None = None) -> int:
        super_sweep = super().sweep
        self._call("sweep", lambda: super_sweep(epoch, table, below, marks=marks) and None)
        return 0

    def state(self) -> Any:
        """All that it keeps, as a backup would have it."""
        return {name: dict(kept) for name, kept in self._tables.items()}, self._fence

    def put_back(self, state: Any) -> None:
        """The engine is restored, or a standby that lacks the last changes takes its place."""
        tables, self._fence = state
        self._tables = {name: dict(kept) for name, kept in tables.items()}
        self._ordered.clear()
        self.seen.add("put back")

    def arrive(self) -> None:
        """What was late comes now: older than what is there, and perhaps of a feeder that was fenced off."""
        while self.late:
            epoch, changes = self.late.pop(self.chance.randrange(len(self.late)))
            try:
                super().apply(epoch, changes)
            except (Conflict, EngineEmptied):
                self.seen.add("late of another epoch")
