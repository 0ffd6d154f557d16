"""Room `model` (pure; imports `model` alone): tables as data: one declaration from which every engine derives its own.

A declaration that contradicts itself is refused when it is made, naming the column and the reason: `declared.py`.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

import msgspec

from antiphon.model.errors import InvalidInput
from antiphon.model.event import Scope
from antiphon.model.places import Places, accepted_by


class Type(StrEnum):
    """What a column holds, in every engine. `model/values.py` says which Python values those are."""

    TEXT = "text"
    ENUM = "enum"
    """One of `values`."""
    INTEGER = "integer"
    """63 bits and a sign."""
    REAL = "real"
    DECIMAL = "decimal"
    """Exact, with `precision` digits of which `scale` stand after the point."""
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    """Milliseconds since 1970 UTC."""
    DURATION = "duration"
    """Milliseconds."""
    BYTES = "bytes"
    JSON = "json"
    LIST = "list"
    SET = "set"
    """In ascending order, each value once."""
    MAP = "map"
    """From text to values of type `of`."""
    VECTOR = "vector"
    """`size` numbers of 32 bits."""
    GEO_POINT = "geo_point"
    """(longitude, latitude) in degrees."""
    GEO_SHAPE = "geo_shape"
    """A GeoJSON geometry."""
    ID = "id"
    """A 16-byte entity id."""
    PERSON = "person"
    """The 16-byte pseudonym of a person."""
    AGENT = "agent"
    """The 32-byte id of an agent."""
    LOG = "log"
    """The 32-byte id of a log."""


class Merge(StrEnum):
    """Which of several writes to a column counts. None of them depends on the order in which events arrive."""

    LAST_WRITE = "last_write"
    ONCE = "once"
    """The first write; later ones change nothing."""
    HIGHEST = "highest"
    """The write whose event declares the highest number in the column `by`, at most `ceiling`; then the last."""
    GROW_SET = "grow_set"
    """The union of all writes."""
    MUTUAL = "mutual"
    """The value whose benefit (column `by`), summed over what both parties declared last, is highest; then the last."""
    DECIDED = "decided"
    """What the row's home wrote last; what others write is refused."""


SCOPES: Final = ("private", "circle", "public")
"""What `Table.scopes` can name, and by default does."""
SHARED_SCOPES: Final = ("circle", "public")
"""What it can name in a shared table."""


class Writers(msgspec.Struct, frozen=True):
    """Whose events may write to a row: see AUTHOR, PRINCIPAL, ANYONE, `owners` and `role`."""

    rule: str
    columns: tuple[str, ...] = ()
    name: str | msgspec.UnsetType = msgspec.UNSET
    """The role's; no other rule has one, and what is printed of those does not change by it."""


AUTHOR: Final = Writers("author")
"""The agent that the key names; where it names none, the one whose event made the row's id."""
PRINCIPAL: Final = Writers("principal")
"""Every agent of the author's principal."""
ANYONE: Final = Writers("anyone")


def owners(*columns: str) -> Writers:
    """The agents that these columns of the row name when the write comes, in the one order; and the row's author."""
    return Writers("owners", columns)


def role(name: str, owner: str | None = None) -> Writers:
    """Agents that hold this role, by a grant which the event cites; the row's author too needs one.

    Of the principal of the agent that the column `owner` names; where none is named, of one that the file trusts.
    """
    return Writers("role", () if owner is None else (owner,), name)


class Access(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who may read a row: see READ_ALL, READ_OWN and `parties`. Rows whose column `besides[0]` has one of the values
    `besides[1]` everybody may read.
    """

    rule: str
    columns: tuple[str, ...] = ()
    besides: tuple[str, tuple[str, ...]] | None = None


READ_ALL: Final = Access("all")
READ_OWN: Final = Access("own")
"""The author alone."""


def parties(*columns: str, besides: tuple[str, tuple[str, ...]] | None = None) -> Access:
    """The author, and the agents that these columns name; and everybody, while a column has one of some values."""
    return Access("parties", columns, besides)


class Check(msgspec.Struct, frozen=True):
    """What a value must be, beyond its type. *Units*: `length_max` in characters, items or bytes."""

    least: int | float | None = None
    most: int | float | None = None
    above: int | float | None = None
    length_max: int | None = None
    among: tuple[Any, ...] = ()


class Derived(msgspec.Struct, frozen=True):
    """A column that no event writes: a function of rows of `table` whose columns `match` equal this row's key.

    `function` is count, sum, min, max or set (of `column`); `where` keeps only rows whose columns have these values.
    `ratio`, `product` and `beta` (the mean (1 + a) / (2 + a + b)) are of two columns of the row itself, computed when
    read.
    """

    function: str
    table: str = ""
    column: str = ""
    match: tuple[str, ...] = ()
    where: tuple[tuple[str, Any], ...] = ()
    of: tuple[str, ...] = ()


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """One column; an absent write leaves it, a write of None clears it.

    A *held* column (the table's subject alone) is not stored with the row: an engine that has the log beside it reads
    the value from the event that the row speaks by, so that text is not kept twice.
    """

    name: str
    type: Type
    nullable: bool = True
    default: Any = None
    merge: Merge = Merge.LAST_WRITE
    by: str | None = None
    ceiling: int = 50
    check: Check | None = None
    values: tuple[str, ...] = ()
    of: Type | None = None
    size: int = 0
    precision: int = 18
    scale: int = 6
    references: str | None = None
    """A table, or `table.column`: soft, since what it names may come later or never."""
    pii: bool = False
    """Sent to engines as ciphertext alone."""
    blind: bool = False
    """A PII column that can be looked up by equality."""
    writers: Writers | None = None
    """Who may write this column, where that differs from the table's rule."""
    derived: Derived | None = None
    doc: str = ""
    held: bool = False

    @property
    def is_stored(self) -> bool:
        """Whether the table in the file has the column; the others are held by the log, or computed when read."""
        return not self.held and (self.derived is None or not self.derived.of)


class Index(msgspec.Struct, frozen=True, omit_defaults=True):
    """An index over columns, in order; `where` keeps only rows whose column has this value, or one of these.

    A *time block* index is for columns that grow with the time of writing: cheap, coarse (BRIN).
    """

    columns: tuple[str, ...]
    descending: bool = False
    where: tuple[str, Any] | None = None
    include: tuple[str, ...] = ()
    time_block: bool = False

    @property
    def accepted(self) -> tuple[Any, ...]:
        """The values that `where` lets pass."""
        return accepted_by(self.where)

    def name_in(self, table: str) -> str:
        """What engines call the index over this table's rows; engines keep such names with those of tables."""
        name = "_".join([table, *self.columns])
        return name if self.where is None else f"{name}_where_{self.where[0]}"


class FullText(msgspec.Struct, frozen=True):
    """Full text over a text column, with the author's name, the date and the tags in the same text."""

    text: str
    time: str
    tags: str | None = None


class Measure(msgspec.Struct, frozen=True):
    """One figure of a rollup: mean, sum, min, max or count of a column of the source, under a name."""

    name: str
    function: str
    column: str = ""


class Rollup(msgspec.Struct, frozen=True):
    """A table of figures by bucket of time and group, kept exactly as rows come, change and go.

    *Units*: `bucket_ms` in ms; reals are summed in millionths, as integers.
    """

    name: str
    time: str
    bucket: str
    bucket_ms: int
    group: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()


class Retention(msgspec.Struct, frozen=True):
    """Rows whose time column is older than this may be dropped. *Units*: ms."""

    column: str
    keep_ms: int


class Table(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """A table of a domain. `subject` is the column that a row is quoted by.

    Each row also carries the place of the event it speaks by: the one that last wrote `subject`. `minted` says that
    the key is the id which the asserting event made, so that nobody else can make the row. `shared` tables are of all
    logs and fold no private events; the others are of the file's own agents. `scopes` are those of the events that are
    folded, where that is less than all of these. `home` names the column with the log that decides the row's *decided*
    columns. `shard` are the columns (the key's first by default) by whose hash rows are placed; derived columns look
    no further. `unique` columns together, and `acyclic` ones (they name rows of the table itself, without circles),
    are decided by a home where there is one; without, rows that break them are listed.
    """

    name: str
    key: tuple[str, ...] | str
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    acyclic: tuple[str, ...] = ()
    fulltext: FullText | None = None
    subject: str | None = None
    minted: bool = True
    shared: bool = False
    scopes: tuple[str, ...] = ()
    writers: Writers = AUTHOR
    access: Access = READ_OWN
    home: str | None = None
    shard: tuple[str, ...] = ()
    retention: Retention | None = None
    rollups: tuple[Rollup, ...] = ()
    places: Places = Places()
    rollup_of: str | None = None
    """The table that this one is a rollup of; events do not write it."""
    doc: str = ""

    def __post_init__(self) -> None:
        from antiphon.model.declared import fault_of

        if isinstance(self.key, str):
            msgspec.structs.force_setattr(self, "key", (self.key,))
        names = {column.name: column for column in self.columns}
        if self.minted and not (len(self.key) == 1 and getattr(names.get(self.key[0]), "type", None) == Type.ID):
            msgspec.structs.force_setattr(self, "minted", False)
        if not self.scopes:
            msgspec.structs.force_setattr(self, "scopes", SHARED_SCOPES if self.shared else SCOPES)
        elif sorted(self.scopes) == sorted(set(self.scopes) & set(SCOPES)):
            msgspec.structs.force_setattr(self, "scopes", tuple(one for one in SCOPES if one in self.scopes))
        fault = fault_of(self)
        if fault:
            raise InvalidInput(f"table {self.name!r}: {fault}", table=self.name)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by their names."""
        return {column.name: column for column in self.columns}

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """What each column holds before anything was written to it, in the one form of its type."""
        from antiphon.model.values import default_of  # it needs this module

        return {column.name: default_of(column) for column in self.columns}

    def column(self, name: str) -> Column:
        """The column of this name. Raises InvalidInput."""
        found = self.by_name.get(name)
        if found is None:
            known = ", ".join(self.by_name)
            raise InvalidInput(
                f"table {self.name!r} has no column {name!r}; it has {known}", table=self.name, column=name
            )
        return found

    @cached_property
    def folded_scopes(self) -> frozenset[int]:
        """The scopes of the events that it folds."""
        return frozenset(Scope[scope.upper()] for scope in self.scopes)

    def folds(self, scope: int, *, foreign: bool) -> bool:
        """Whether an event of this scope writes to its rows; `foreign`: of a log of none of the file's own agents."""
        return scope in self.folded_scopes and (self.shared or not foreign)

    @cached_property
    def held(self) -> str | None:
        """The column that is held by the log, None when there is none."""
        return self.subject if self.subject is not None and self.column(self.subject).held else None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def personal(self) -> tuple[str, ...]:
        """The columns that are personal data: engines are given them sealed."""
        return tuple(column.name for column in self.columns if column.pii)

    @cached_property
    def derived(self) -> tuple[Column, ...]:
        """The columns that are functions of other tables' rows."""
        return tuple(c for c in self.columns if c.derived is not None and c.derived.table)

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The columns that whoever asserts a row must say."""
        free = (c for c in self.columns if not c.nullable and c.default is None and c.derived is None)
        return tuple(c.name for c in free)

    @cached_property
    def is_of_entities(self) -> bool:
        """Whether a row is named by the id of an entity or a person alone."""
        return len(self.key) == 1 and self.column(self.key[0]).type in (Type.ID, Type.PERSON)

    @cached_property
    def agent_in_key(self) -> str | None:
        """The key's first column that names an agent: the row's author."""
        return next((name for name in self.key if self.column(name).type == Type.AGENT), None)

    @cached_property
    def shard_columns(self) -> tuple[str, ...]:
        """The columns by whose hash rows are placed."""
        return self.shard or (self.key[0],)

    @cached_property
    def asks_roles(self) -> bool:
        """Whether there is something here that needs a role to be written."""
        return self.writers.rule == "role" or any(c.writers and c.writers.rule == "role" for c in self.columns)

    @cached_property
    def takes_grants(self) -> bool:
        """Whether what an event may write here can hang on a grant: a role that it needs, a ceiling that it has."""
        return self.asks_roles or any(column.merge == Merge.HIGHEST for column in self.columns)

    @cached_property
    def is_plain(self) -> bool:
        """Whether every column takes its last write and the author alone writes: such rows need no more than that."""
        simple = all(c.merge == Merge.LAST_WRITE and c.writers is None for c in self.columns)
        return simple and self.home is None and self.writers.rule in ("author", "anyone", "principal")

    @cached_property
    def kept_together(self) -> frozenset[str]:
        """The columns by which its homes keep something true of several rows: unique columns, no circles."""
        kept = {*self.acyclic, *(name for columns in self.unique for name in columns)}
        return frozenset(kept if self.home is not None else ())

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever anything in the declaration changes."""
        return sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @cached_property
    def shape(self) -> str:
        """Changes whenever the rows could: where they are also kept, who may read them and what is listed leave it."""
        bare = msgspec.to_builtins(self)
        for name in _NOT_OF_ROWS:
            bare.pop(name, None)
        for column in bare["columns"]:
            for name in _NOT_OF_VALUES:
                column.pop(name, None)
        return sha256(msgspec.json.encode(bare)).hexdigest()[:16]


_NOT_OF_ROWS: Final = ("places", "access", "retention", "doc", "unique", "acyclic")
_NOT_OF_VALUES: Final = ("references", "pii", "blind", "doc")
"""What a declaration says besides which rows there are, and what is in them."""


def below_sql(column: str) -> str:
    """The condition that a dotted name is a given one or goes on from it after a dot; see `below_values`."""
    return f"({column} = ? OR ({column} >= ? AND {column} < ?))"


def below_values(name: str) -> tuple[str, str, str]:
    """The values of `below_sql`: every name between `name.` and `name/` begins with `name.`, as `/` follows `.`."""
    return name, name + ".", name + "/"


def table_from(said: Any) -> Table:
    """A declaration that was read from JSON or MessagePack, where tuples have become lists.

    Raises InvalidInput or msgspec.ValidationError where today's rules refuse it.
    """
    return msgspec.convert(_tuples(said), Table)


def _tuples(said: Any) -> Any:
    if isinstance(said, list):
        return tuple(_tuples(one) for one in said)
    return {name: _tuples(value) for name, value in said.items()} if isinstance(said, dict) else said
