"""Room `views` (imports `log` and below): the ports behind which rows and mentions are stored.

Writing methods work inside the transaction that the engine has open. A table that was never written has no rows;
it is made when it is first written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from antiphon.log.store import LogHead
from antiphon.model.event import Event, Header
from antiphon.model.table import Table


class EventReader(Protocol):
    """Where events are read from; see `log/read.py:LogReader`."""

    def event(self, head: LogHead, seq: int) -> Event:
        """One event. Raises NotFound when there is none, or it was forgotten."""
        ...

    def header(self, head: LogHead, seq: int) -> Header | None:
        """One header, None where it is gone."""
        ...

    def events(self, head: LogHead, first: int = 0, last: int | None = None) -> Iterator[Event]:
        """The events held in [first, last), in order."""
        ...


class StoredRow(msgspec.Struct, frozen=True):
    """A row as kept: its number in the file, the (log number, seq) it speaks by, its columns, and where it was read."""

    n: int
    log: int
    seq: int
    values: dict[str, Any]
    source: str = "file"


class TableStore(Protocol):
    """Rows of declared tables, keyed by their key column."""

    def insert(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        """New rows (n, log, seq, *columns); no row of any of these keys may exist. Values as in Python."""
        ...

    def insert_new(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> set[int]:
        """As `insert`, leaving out rows whose key is there already; the numbers n of those that went in."""
        ...

    def replace(self, table: Table, key: bytes, row: tuple[Any, ...] | None) -> bool:
        """Puts the row of a key in place of the old one, or removes it; False when nothing changed.

        A row that exists keeps its number n.
        """
        ...

    def row(self, table: Table, key: bytes) -> StoredRow | None:
        """One row by key."""
        ...

    def knows(self, table: Table, key: bytes) -> bool:
        """Whether there is a row of this key, or was and is gone: what others have of it is no news. So many that are
        gone are known, the last ones.
        """
        ...

    def select(
        self,
        table: Table,
        equal: Mapping[str, Any],
        *,
        order: str,
        descending: bool = False,
        limit: int = 100,
        logs: Sequence[int] | None = None,
        below: tuple[str, str] | None = None,
    ) -> list[StoredRow]:
        """Rows whose columns have these values, ordered by one column: for commands and homes, which know their own.

        No index need serve it and nobody's access is asked for: what an agent reads goes by `query.source.Source`.
        `logs` are log numbers, None for all; `below` is (text column, name): that name, or names that go on from it
        after a dot.
        """
        ...

    def distinct(self, table: Table, column: str, *, logs: Sequence[int] | None = None) -> list[Any]:
        """The different values of a column, in ascending order."""
        ...

    def count(self, table: Table) -> int:
        """How many rows there are."""
        ...

    def drop(self, table: Table) -> None:
        """Removes the table with all its rows and indexes."""
        ...


class MentionStore(Protocol):
    """Which events mention what: an entity they did not create, a person, another event."""

    def add(self, mentions: Iterable[tuple[bytes, int, int]]) -> None:
        """Keeps (what, log number, seq); the same twice is kept once."""
        ...

    def find(self, what: bytes) -> list[tuple[int, int]]:
        """The (log number, seq) of the events that mention it, in order."""
        ...

    def ends(self, what: bytes) -> tuple[int, int] | None:
        """The lowest and the highest number of the logs that mention it, None when none does."""
        ...

    def since(self, what: bytes, log: int, seq: int) -> int:
        """How many events of a log, from this seq on, mention it."""
        ...

    def remove(self, mentions: Iterable[tuple[bytes, int, int]]) -> None:
        """Drops these."""
        ...


def of_entity(entity: bytes) -> bytes:
    """The key under which mentions of an entity are kept."""
    return b"\x01" + entity


def of_person(person: bytes) -> bytes:
    """The key under which mentions of a person are kept."""
    return b"\x02" + person


def of_source(log_id: bytes, seq: int) -> bytes:
    """The key under which events derived from this one are kept."""
    return b"\x03" + log_id + seq.to_bytes(8, "big")


def of_row(table: Table, key: bytes) -> bytes:
    """The key under which the events that write to a row are kept: its entity's where the key is an id alone."""
    if len(table.key) == 1 and len(key) == 16:
        return of_entity(key)
    return b"\x05" + table.name.encode() + b"\0" + key


def of_cause(log_id: bytes, seq: int) -> bytes:
    """The key under which what homes decided on a request is kept."""
    return b"\x06" + log_id + seq.to_bytes(8, "big")


OF_REQUESTS = b"\x04"
"""The key under which requests to forget are kept."""
OF_ASKED = b"\x07"
"""The key under which requests to homes are kept until they are answered."""


class RejectionStore(Protocol):
    """Writes that do not count: whose event, and which rule."""

    def put(self, table: str, key: bytes, refused: Sequence[tuple[int, int, str, str]]) -> None:
        """These (log number, seq, rule, detail) are what is refused on this row now, and nothing else."""
        ...

    def add(self, table: str, key: bytes, refused: Sequence[tuple[int, int, str, str]]) -> None:
        """These are refused on this row too."""
        ...

    def list(self, *, table: str | None = None, limit: int = 1_000) -> list[tuple[str, bytes, int, int, str, str]]:
        """(table, key, log number, seq, rule, detail), the newest last."""
        ...

    def drop(self, tables: Sequence[str]) -> None:
        """Removes all of these tables."""
        ...
