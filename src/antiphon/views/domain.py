"""Room `views` (imports `log` and below): what a domain declares: kinds of event, tables, folds between them.

A fold is pure: from one event and its body to writes. How several writes on one row become the row is the table's
merge rule, so a row never depends on the order in which its events came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from operator import attrgetter, itemgetter
from typing import Any, Final

import msgspec

from antiphon.log.kinds import SYSTEM_KINDS
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, Rejected
from antiphon.model.event import Event
from antiphon.model.table import Table

_KIND: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Op(IntEnum):
    """What a write does to its row."""

    ASSERT = 0
    UPDATE = 1
    DELETE = 2


class Write(msgspec.Struct, frozen=True):
    """One event's say on one row. A row exists while an event that asserts it, and none that deletes it, is visible."""

    table: str
    key: bytes
    op: Op
    values: Mapping[str, Any] = {}


Fold = Callable[[Event, Any], Iterable[Write]]
"""(event, body) -> writes. Pure: no clock, no chance, no reading."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""A body of one version -> of the next, as plain maps."""


class Kind(msgspec.Struct, frozen=True):
    """A kind of event: its name, the structure of its body, its version and how older bodies become newer ones."""

    name: str
    body: type
    version: int = 1
    upcasters: Mapping[int, Upcaster] = {}

    def read(self, raw: bytes, version: int) -> Any:
        """The body, brought up to this version. Raises Rejected when it is not one."""
        try:
            if version == self.version:
                return msgspec.msgpack.decode(raw, type=self.body)
            plain = msgspec.msgpack.decode(raw)
            for old in range(version, self.version):
                plain = self.upcasters[old](plain)
            return msgspec.convert(plain, self.body)
        except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError, UnicodeError) as error:
            raise Rejected(f"the body of this {self.name} (version {version}) does not fit its kind: {error}") from None


class AssertRow:
    """The fold that makes a row of each event, column by column: from a field of the body, `@time` or `@entity`.

    `@time` is when it happened, or when it was recorded where that was not said.
    """

    def __init__(self, table: Table, **columns: str) -> None:
        self.table = table
        if columns.get(table.key, "@entity") != "@entity":
            raise InvalidInput(f"table {table.name!r}: its key {table.key!r} is the event's entity, nothing else")
        self._sources = {table.key: "@entity", **columns}
        for name in self._sources:
            table.column(name)
        self._rower = self._build()

    def __call__(self, event: Event, body: Any) -> Iterable[Write]:
        values = dict(zip(self.table.names, self._rower(event.entity, _time_of(event), body), strict=True))
        if self.table.held is not None and self.table.held in self._sources:
            values[self.table.held] = getattr(body, self._sources[self.table.held])
        return (Write(self.table.name, event.entity or b"", Op.ASSERT, values),)

    def row(self, entity: bytes | None, time_ms: int, body: Any) -> tuple[Any, ...]:
        """The row's values in the table's order, as Python values; None for what the log holds."""
        return self._rower(entity, time_ms, body)

    def _build(self) -> Callable[[bytes | None, int, Any], tuple[Any, ...]]:
        """A function from (entity, time, body) to the row, without a Python loop over columns."""
        names = self.table.names
        sources = [None if name == self.table.held else self._sources.get(name) for name in names]
        fields = [source for source in sources if source and source[0] != "@"]
        constants = tuple(self.table.column(name).default for name in names)
        if not fields:
            fetch: Callable[[Any], tuple[Any, ...]] = lambda body: ()  # noqa: E731
        elif len(fields) == 1:
            only = fields[0]
            fetch = lambda body: (getattr(body, only),)  # noqa: E731
        else:
            fetch = attrgetter(*fields)
        known = {"@entity": 0, "@time": 1}
        at = iter(range(2, 2 + len(fields)))
        first_constant = 2 + len(fields)
        places = [
            first_constant + column if source is None else known[source] if source in known else next(at)
            for column, source in enumerate(sources)
        ]
        if len(places) == 1:
            return lambda entity, time_ms, body: (entity,)
        pick = itemgetter(*places)
        return lambda entity, time_ms, body: pick((entity, time_ms, *fetch(body), *constants))


class OnlyWith:
    """A fold for those events alone whose body has this field set; the others cost next to nothing."""

    def __init__(self, field: str, fold: Fold) -> None:
        self.field, self._fold = field, fold

    def __call__(self, event: Event, body: Any) -> Iterable[Write]:
        return () if getattr(body, self.field) is None else self._fold(event, body)


class UpdateRow:
    """The fold that writes to the row of the event's entity those fields of the body that are set (not UNSET)."""

    def __init__(self, table: Table, **columns: str) -> None:
        for name in columns:
            table.column(name)
        self._table, self._columns = table, columns

    def __call__(self, event: Event, body: Any) -> Iterable[Write]:
        if event.entity is None:
            return ()
        values = {}
        for name, field in self._columns.items():
            value = getattr(body, field)
            if value is not msgspec.UNSET:
                values[name] = value
        return (Write(self._table.name, event.entity, Op.UPDATE, values),)


class DeleteRow:
    """The fold that deletes the row of the event's entity."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __call__(self, event: Event, body: Any) -> Iterable[Write]:
        return () if event.entity is None else (Write(self._table.name, event.entity, Op.DELETE),)


def _time_of(event: Event) -> int:
    return event.header.occurred if event.header.occurred is not None else event.header.hlc >> 16


class Domain(msgspec.Struct, frozen=True):
    """A named set of kinds, tables and folds. Raise `version` when a fold changes: its tables are then made anew."""

    name: str
    kinds: tuple[Kind, ...]
    tables: tuple[Table, ...] = ()
    folds: Mapping[str, tuple[Fold, ...]] = {}
    version: int = 1

    @property
    def fingerprint(self) -> str:
        """Changes with the version, with the version of every kind and with every declared table."""
        kinds = [f"{kind.name}={kind.version}" for kind in self.kinds]
        return "/".join([str(self.version), *kinds, *(table.fingerprint for table in self.tables)])

    def is_older_than(self, fingerprint: str) -> bool:
        """Whether tables with this fingerprint were folded by newer code: of this domain, or of one of its kinds."""
        version, *parts = fingerprint.split("/")
        folded = {name: int(known) for name, sign, known in (part.rpartition("=") for part in parts) if sign}
        newer = any(folded.get(kind.name, 0) > kind.version for kind in self.kinds)
        return int(version) > self.version or newer


class Registry:
    """All domains of a process. Raises InvalidInput when two declare the same kind or table."""

    def __init__(self, domains: Iterable[Domain]) -> None:
        self.domains: dict[str, Domain] = {}
        self.kinds: dict[str, Kind] = {}
        self.tables: dict[str, Table] = {}
        self.folds: dict[str, tuple[Fold, ...]] = {}
        self.domain_of_table: dict[str, str] = {}
        self.fingerprints: dict[str, str] = {}
        for domain in domains:
            self._add(domain)

    def _add(self, domain: Domain) -> None:
        if domain.name in self.domains:
            raise InvalidInput(f"two domains are named {domain.name!r}")
        self.domains[domain.name] = domain
        self.fingerprints[domain.name] = domain.fingerprint
        for kind in domain.kinds:
            if not _KIND.fullmatch(kind.name) or len(kind.name) > limits.KIND_BYTES_MAX:
                raise InvalidInput(
                    f"{kind.name[:80]!r} is no name for a kind: use letters, digits, dots, dashes and underscores, "
                    f"at most KIND_BYTES_MAX ({limits.KIND_BYTES_MAX})"
                )
            if not 0 < kind.version < 1 << 16:
                raise InvalidInput(f"the kind {kind.name!r} has version {kind.version}; it counts from 1 to 65,535")
            if kind.name in self.kinds or kind.name in SYSTEM_KINDS:
                raise InvalidInput(f"domain {domain.name!r} declares the kind {kind.name!r}, which is taken")
            self.kinds[kind.name] = kind
        for table in domain.tables:
            if table.name in self.tables:
                raise InvalidInput(f"domain {domain.name!r} declares the table {table.name!r}, which is taken")
            self.tables[table.name] = table
            self.domain_of_table[table.name] = domain.name
        for name, folds in domain.folds.items():
            if name not in self.kinds:
                raise InvalidInput(f"domain {domain.name!r} folds {name!r}, a kind that it does not declare")
            self.folds[name] = tuple(folds)

    def table(self, name: str) -> Table:
        """A declared table. Raises InvalidInput."""
        found = self.tables.get(name)
        if found is None:
            known = ", ".join(sorted(self.tables))
            raise InvalidInput(f"no domain declares the table {name!r}; known: {known}", table=name)
        return found

    def kind(self, name: str) -> Kind:
        """A declared kind. Raises InvalidInput."""
        found = self.kinds.get(name)
        if found is None:
            known = ", ".join(sorted(self.kinds))
            raise InvalidInput(f"no domain declares the kind {name!r}; known: {known}", kind=name)
        return found
