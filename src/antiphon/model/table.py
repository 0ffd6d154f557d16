"""Room `model` (pure; imports `model` alone): tables as data: one declaration from which every engine derives its own.

A declaration that contradicts itself is refused when it is made, naming the column and the reason.
"""

from __future__ import annotations

import re
from enum import StrEnum
from hashlib import sha256
from typing import Final

import msgspec

from antiphon.model.errors import InvalidInput

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED: Final = frozenset({"n", "log", "seq", "rowid", "author", "date"})

_RESERVED_TABLES: Final = frozenset({"authors", "blocks", "frames", "logs", "mentions", "meta", "outbox", "runs"})


class Type(StrEnum):
    """What a column holds, in every engine."""

    TEXT = "text"
    INTEGER = "integer"
    REAL = "real"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    """Milliseconds since 1970 UTC."""
    JSON = "json"
    BYTES = "bytes"
    ID = "id"
    """A 16-byte entity id or pseudonym."""


class Merge(StrEnum):
    """Which of several writes to a column counts."""

    LAST_WRITE = "last_write"
    ONCE = "once"
    """The first write; later ones change nothing."""


class Column(msgspec.Struct, frozen=True):
    """One column; an absent write leaves it, a write of None clears it.

    A *held* column (the table's subject alone) is not stored with the row: an engine that has the log beside it reads
    the value from the event that the row speaks by, so that text is not kept twice.
    """

    name: str
    type: Type
    nullable: bool = True
    default: str | int | float | bool | None = None
    merge: Merge = Merge.LAST_WRITE
    doc: str = ""
    held: bool = False


class Index(msgspec.Struct, frozen=True):
    """An index over columns, in order; `where` keeps only rows whose column has this value."""

    columns: tuple[str, ...]
    descending: bool = False
    where: tuple[str, str | int | bool] | None = None


class FullText(msgspec.Struct, frozen=True):
    """Full text over a text column, with the author's name, the date and the tags in the same text."""

    text: str
    time: str
    tags: str | None = None


class Table(msgspec.Struct, frozen=True):
    """A table of a domain. `key` is the entity's id; `subject` is the column that a row is quoted by.

    Each row also carries the place of the event it speaks by: the one that last wrote `subject`.
    """

    name: str
    key: str
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...] = ()
    fulltext: FullText | None = None
    subject: str | None = None
    doc: str = ""

    def __post_init__(self) -> None:
        fault = _fault(self)
        if fault:
            raise InvalidInput(f"table {self.name!r}: {fault}", table=self.name)

    def column(self, name: str) -> Column:
        """The column of this name. Raises InvalidInput."""
        for column in self.columns:
            if column.name == name:
                return column
        raise InvalidInput(f"table {self.name!r} has no column {name!r}", table=self.name, column=name)

    @property
    def held(self) -> str | None:
        """The column that is held by the log, None when there is none."""
        return self.subject if self.subject is not None and self.column(self.subject).held else None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def fingerprint(self) -> str:
        """Changes whenever anything that an engine derives from changes."""
        return sha256(msgspec.json.encode(self)).hexdigest()[:16]


def below_sql(column: str) -> str:
    """The condition that a dotted name is a given one or goes on from it after a dot; see `below_values`."""
    return f"({column} = ? OR ({column} >= ? AND {column} < ?))"


def below_values(name: str) -> tuple[str, str, str]:
    """The values of `below_sql`: every name between `name.` and `name/` begins with `name.`, as `/` follows `.`."""
    return name, name + ".", name + "/"


def _fault(table: Table) -> str | None:
    names = [column.name for column in table.columns]
    if not _NAME.fullmatch(table.name):
        return "its name must be lower-case letters, digits and underscores, at most 63"
    if table.name in _RESERVED_TABLES or table.name.startswith("sqlite_"):
        return "its name is one that engines reserve: choose another"
    for column in table.columns:
        if not _NAME.fullmatch(column.name) or column.name in _RESERVED:
            return f"column {column.name!r} has a name that engines reserve or refuse"
        if names.count(column.name) > 1:
            return f"column {column.name!r} is declared twice"
        if not column.nullable and column.default is None and column.name != table.key and column.type == Type.JSON:
            return f"column {column.name!r}: JSON that is required needs a default"
    if table.key not in names:
        return f"its key {table.key!r} is not a column"
    if table.column(table.key).type != Type.ID:
        return f"its key {table.key!r} is not of type id"
    if len({index.columns for index in table.indexes}) < len(table.indexes):
        return "two indexes over the same columns"
    for index in table.indexes:
        for name in (*index.columns, *(index.where[:1] if index.where else ())):
            if name not in names:
                return f"an index names {name!r}, which is not a column"
    return _text_fault(table, names)


def _text_fault(table: Table, names: list[str]) -> str | None:
    if table.subject is not None and table.subject not in names:
        return f"its subject {table.subject!r} is not a column"
    for column in table.columns:
        if column.held and (column.name != table.subject or not column.nullable or column.default is not None):
            return f"column {column.name!r} is held by the log, so it must be the subject, nullable and without default"
    indexed = {name for index in table.indexes for name in index.columns}
    if table.subject in indexed and table.column(table.subject).held:
        return f"column {table.subject!r} is held by the log, so no index can be over it"
    if table.fulltext is None:
        return None
    for name in (table.fulltext.text, table.fulltext.time, *filter(None, (table.fulltext.tags,))):
        if name not in names:
            return f"its full text names {name!r}, which is not a column"
    if table.column(table.fulltext.text).type != Type.TEXT:
        return f"full text over {table.fulltext.text!r}, which is not text"
    if table.column(table.fulltext.time).type != Type.TIMESTAMP:
        return f"the full text's time {table.fulltext.time!r} is not a timestamp"
    return None
