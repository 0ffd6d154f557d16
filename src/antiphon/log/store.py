"""Room `log` (imports `model`): the port behind which logs are stored, and the records it keeps.

Every method works inside the transaction that the engine has open (writes) or on a consistent snapshot (reads).
Writing the same record twice leaves one. What is absent is None, never an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Protocol

import msgspec


class LogRole(IntEnum):
    """What a log is to this file."""

    OWN = 0
    """Written here, now."""
    PAST = 1
    """Written by an instance that this file was copied or restored from; never written again."""
    FOREIGN = 2
    """Somebody else's, verified and read only."""
    FOLLOWED = 3
    """Somebody else's, verified, and folded into the tables here as it comes."""


class LogHead(msgspec.Struct):
    """Where a log stands.

    *Shapes*: `frontier` as `tree.Frontier.packed`; `resets` are (seq, hlc) of its clock.reset events;
    `note` is its newest signed checkpoint.
    """

    no: int
    id: bytes
    owner: bytes
    key: bytes
    role: int = LogRole.OWN
    size: int = 0
    hlc: int = 0
    frontier: bytes = b""
    note: bytes = b""
    resets: list[tuple[int, int]] = []


class BlockRow(msgspec.Struct):
    """One aligned block: `packed` of its leaves are in columns and frames, the rest in runs.

    `root` is the subtree's root once all 1,024 leaves are there, else empty.
    """

    first: int
    packed: int
    seeds: bytes
    root: bytes = b""
    columns: bytes = b""


class RunRow(msgspec.Struct):
    """The leaves of one commit, or of its part within one block."""

    first: int
    count: int
    data: bytes


class LogStore(Protocol):
    """Heads, blocks, frames and runs of many logs. `no` is a log's number within the file."""

    def heads(self) -> Iterator[LogHead]:
        """All logs by number."""
        ...

    def head(self, log_id: bytes) -> LogHead | None:
        """One log by its id."""
        ...

    def save_head(self, head: LogHead) -> None:
        """Keeps a log's head. A head with number 0 is new and gets one."""
        ...

    def block(self, no: int, first: int) -> BlockRow | None:
        """The block that starts at `first`, without frames and runs."""
        ...

    def blocks(self, no: int) -> Iterator[tuple[int, int, bytes]]:
        """(first, packed, root) of every block of a log, in order."""
        ...

    def save_block(self, no: int, block: BlockRow, frames: Iterable[tuple[int, bytes]] | None) -> None:
        """Keeps a block; with `frames` (first seq, bytes), replaces its frames and drops the runs they cover."""
        ...

    def frame(self, no: int, first: int) -> bytes | None:
        """The frame that starts at this seq."""
        ...

    def runs(self, no: int, first: int, last: int) -> list[RunRow]:
        """The runs that start in [first, last), in order."""
        ...

    def save_run(self, no: int, run: RunRow) -> None:
        """Keeps a run, in place of one with the same start."""
        ...
