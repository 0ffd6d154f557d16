"""Room `views` (imports `log` and below): what a domain declares: kinds of event, tables, folds between them.

A fold is pure: from one event and its body to writes. How several writes on one row become the row is the table's
merge rule, so a row never depends on the order in which its events came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import Any, Final, Protocol

import msgspec

from antiphon.log.kinds import SYSTEM_KINDS
from antiphon.model import limits
from antiphon.model.dashboard import Dashboard, check_dashboard
from antiphon.model.errors import InvalidInput, Rejected
from antiphon.model.event import Event, Role
from antiphon.model.table import Column, Table, Type
from antiphon.model.values import canonical, default_of, form_of, key_of
from antiphon.views.joined import check_joined
from antiphon.views.rollups import rollup_table

_KIND: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
NAMED_MAX: Final = 16
"""More tables than that are not listed in an error."""


class Op(IntEnum):
    """What a write does to its row."""

    ASSERT = 0
    UPDATE = 1
    DELETE = 2


class Write(msgspec.Struct, frozen=True):
    """One event's say on one row. A row exists while an event that asserts it is visible and not deleted.

    A delete names what it deletes: all that its own log wrote to the row before it, and in the logs of `named` all
    up to the seq given there. What it does not name, because it was not known yet, stays.
    """

    table: str
    key: bytes
    op: Op
    values: Mapping[str, Any] = {}
    named: tuple[tuple[bytes, int], ...] = ()


def write(table: Table, op: Op, values: Mapping[str, Any]) -> Write:
    """A write to the row whose key is among the values. Raises InvalidInput when a part of the key does not fit."""
    parts = {name: canonical(table.column(name), values.get(name)) for name in table.key}
    return Write(table.name, key_of(table, parts), op, {**values, **parts} if op == Op.ASSERT else values)


Fold = Callable[[Event, Any], Iterable[Write]]
"""(event, body) -> writes. Pure: no clock, no chance, no reading."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""A body of one version -> of the next, as plain maps."""


class Decision(msgspec.Struct, frozen=True):
    """A home's answer to a request: the body of its event, or why not. `derived` says that the body repeats what the
    request says: it is forgotten with the request.
    """

    kind: str = ""
    body: Any = None
    refused: str = ""
    derived: bool = False


Decider = Callable[["Rows", Event, Any], Decision]
"""(rows as the home knows them, request, its body) -> the home's answer. Pure but for reading those rows."""


class Rows(Protocol):
    """What a decider may read."""

    def row(self, table: str, key: bytes) -> Mapping[str, Any] | None:
        """A row by its key, None when there is none."""
        ...

    def select(self, table: str, **equal: Any) -> list[Mapping[str, Any]]:
        """Rows whose columns have these values."""
        ...


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
        except RecursionError:
            raise Rejected(f"the body of this {self.name} (version {version}) nests too deep") from None
        except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError, UnicodeError) as error:
            raise Rejected(f"the body of this {self.name} (version {version}) does not fit its kind: {error}") from None


_OF_EVENT: Final[dict[str, Callable[[Event], Any]]] = {
    "@entity": lambda event: event.entity,
    "@time": lambda event: time_of(event),  # noqa: PLW0108  # it stands below
    "@recorded": lambda event: event.header.hlc >> 16,
    "@author": lambda event: event.author,
    "@log": lambda event: event.log,
}
_AT: Final = {name: at for at, name in enumerate(_OF_EVENT)}


class AssertRow:
    """The fold that makes a row of each event, column by column: from a field of the body, or of the event.

    `@time` is when it happened, or when it was recorded where that was not said; `@recorded` when it was recorded;
    `@entity` its entity (the default for a minted key); `@author` the agent whose log it is in; `@log` that log.
    """

    def __init__(self, table: Table, **columns: str) -> None:
        self.table = table
        if table.minted:
            if columns.get(table.key[0], "@entity") != "@entity":
                raise InvalidInput(
                    f"table {table.name!r}: its key {table.key[0]!r} is the event's entity, nothing else"
                )
            columns = {table.key[0]: "@entity", **columns}
        elif len(table.key) == 1 and table.column(table.key[0]).type in (Type.ID, Type.PERSON):
            columns = {table.key[0]: "@entity", **columns}
        self.sources = columns
        self.said = frozenset(columns) - {table.held or ""} | set(table.required)
        for name, source in columns.items():
            if table.column(name).derived is not None:
                raise InvalidInput(f"table {table.name!r}: {name!r} is derived, no event writes it")
            if source[0] == "@" and source not in _OF_EVENT:
                raise InvalidInput(f"table {table.name!r}: {source!r} is not among {', '.join(_OF_EVENT)}")
        missing = [name for name in table.key if name not in columns]
        if missing:
            raise InvalidInput(f"table {table.name!r}: nothing says what its key {missing[0]!r} is", table=table.name)
        self.checked = tuple(
            (at, form_of(table.columns[at]))
            for at, name in enumerate(table.names)
            if name in columns and _is_checked(table, name)
        )
        """(position, form) of the columns whose values must be looked at even where the body's type has fitted."""
        self.reals = tuple(
            at
            for at, name in enumerate(table.names)
            if name in columns and table.column(name).type == Type.REAL and not _is_checked(table, name)
        )
        self._rower = self._build()
        self._apart: tuple[str, str] | None = None

    def between(self, one: str, other: str) -> AssertRow:
        """This fold, refusing rows in which these columns are the same: an agent has no dealings with itself."""
        self._apart = self.table.column(one).name, self.table.column(other).name
        return self

    def _check_apart(self, values: Mapping[str, Any]) -> None:
        assert self._apart is not None
        one, other = self._apart
        if values[one] == values[other]:
            raise InvalidInput(f"table {self.table.name!r}: {one} and {other} are the same", table=self.table.name)

    def __call__(self, event: Event, body: Any) -> Iterable[Write]:
        values = {
            name: _OF_EVENT[source](event) if source[0] == "@" else getattr(body, source)
            for name, source in self.sources.items()
        }
        if self._apart is not None:
            self._check_apart(values)
        return (write(self.table, Op.ASSERT, values),)

    def row(self, place: tuple[bytes | None, int, int, bytes, bytes], body: Any) -> tuple[Any, ...]:
        """The row's values in the table's order, as Python values; None for what the log holds.

        *Shapes*: `place` is (entity, time, time of recording, author, log).
        """
        row = self._rower(place, body)
        if self._apart is not None:
            self._check_apart(dict(zip(self.table.names, row, strict=True)))
        return row

    def _build(self) -> Callable[[Any, Any], tuple[Any, ...]]:
        """A function from (place, body) to the row, without a Python loop over columns."""
        names = self.table.names
        sources = [None if name == self.table.held else self.sources.get(name) for name in names]
        fields = [source for source in sources if source and source[0] != "@"]
        constants = tuple(empty_of(self.table.column(name)) for name in names)
        fetch = _fetcher(fields)
        at = iter(range(len(_AT), len(_AT) + len(fields)))
        first_constant = len(_AT) + len(fields)
        places = [
            first_constant + column if source is None else _AT[source] if source in _AT else next(at)
            for column, source in enumerate(sources)
        ]
        if len(places) == 1:
            only_place = places[0]
            return lambda place, body: ((*place, *fetch(body), *constants)[only_place],)
        pick = itemgetter(*places)
        return lambda place, body: pick((*place, *fetch(body), *constants))


def empty_of(column: Column) -> Any:
    """What a column holds before anything was written to it; of no rows the count and the sum are 0."""
    derived = column.derived
    if derived is None or not derived.table:
        return default_of(column)
    return {"count": 0, "sum": 0, "set": []}.get(derived.function)


def _fetcher(fields: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    """A function from a body to a tuple of these fields."""
    if not fields:
        return lambda body: ()
    get = attrgetter(*fields)
    return get if len(fields) > 1 else lambda body: (get(body),)


_FITS_BY_TYPE: Final = frozenset(
    {Type.TEXT, Type.INTEGER, Type.BOOLEAN, Type.TIMESTAMP, Type.DURATION, Type.BYTES, Type.REAL}
)


def _is_checked(table: Table, name: str) -> bool:
    column = table.column(name)
    if column.check is not None or (name in table.key and not table.minted):
        return True
    return column.type not in _FITS_BY_TYPE and column.type not in (Type.JSON, Type.ID)


class OnlyWith:
    """A fold for those events alone whose body has this field set; the others cost next to nothing."""

    def __init__(self, field: str, fold: Fold) -> None:
        self.field, self.fold = field, fold

    def __call__(self, event: Event, body: Any) -> Iterable[Write]:
        return () if getattr(body, self.field) is None else self.fold(event, body)


class UpdateRow:
    """The fold that writes to a row those fields of the body that are set (not UNSET).

    The row is that of the event's entity, or the one that `row` names (key column -> field, or `@author` and such).
    """

    def __init__(self, table: Table, row: Mapping[str, str] | None = None, /, **columns: str) -> None:
        for name in columns:
            table.column(name)
        self.table, self.columns, self._key = table, columns, row

    def __call__(self, event: Event, body: Any) -> Iterable[Write]:
        key = row_key(self.table, self._key, event, body)
        if key is None:
            return ()
        values = {}
        for name, field in self.columns.items():
            value = _OF_EVENT[field](event) if field[0] == "@" else getattr(body, field)
            if value is not msgspec.UNSET:
                values[name] = value
        return (Write(self.table.name, key, Op.UPDATE, values),)


class DeleteRow:
    """The fold that deletes a row: all that this log wrote to it before, and what the event's target refs name
    (in each of their logs everything up to that event).
    """

    def __init__(self, table: Table, row: Mapping[str, str] | None = None, /) -> None:
        self._table, self._key = table, row

    def __call__(self, event: Event, body: Any) -> Iterable[Write]:
        key = row_key(self._table, self._key, event, body)
        if key is None:
            return ()
        refs = event.header.refs or ()
        named = tuple((ref.log, ref.seq) for ref in refs if ref.role == Role.TARGET)
        return (Write(self._table.name, key, Op.DELETE, named=named),)


def row_key(table: Table, key: Mapping[str, str] | None, event: Event, body: Any) -> bytes | None:
    """The key of the row that an event is about: its entity, or what these fields say."""
    if key is None:
        return event.entity
    parts = {
        name: canonical(table.column(name), _OF_EVENT[source](event) if source[0] == "@" else getattr(body, source))
        for name, source in key.items()
    }
    return key_of(table, parts)


def _meant(name: str, known: Iterable[str], *, all_by: str = "") -> str:
    """What may have been meant by a name that is not there: the nearest ones, all of them, or who lists so many."""
    from difflib import get_close_matches

    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.75)
    if near:
        return f"did you mean {' or '.join(near)}?"
    if all_by and len(names) > NAMED_MAX:
        return f"{all_by} lists all {len(names):,} that there are"
    return f"known: {', '.join(names)}"


def time_of(event: Event) -> int:
    return event.header.occurred if event.header.occurred is not None else event.header.hlc >> 16


class Domain(msgspec.Struct, frozen=True):
    """A named set of kinds, tables and folds. Raise `version` when a fold changes: its tables are then made anew."""

    name: str
    kinds: tuple[Kind, ...]
    tables: tuple[Table, ...] = ()
    folds: Mapping[str, tuple[Fold, ...]] = {}
    version: int = 1
    deciders: Mapping[str, Decider] = {}
    """For each kind of request, how a home answers it."""
    dashboards: tuple[Dashboard, ...] = ()
    """Figures of its tables, and of tables that other domains declare."""

    @property
    def fingerprint(self) -> str:
        """Changes with the version, with the version of every kind and with every declared table."""
        kinds = [f"{kind.name}={kind.version}" for kind in self.kinds]
        return "/".join([str(self.version), *kinds, *(table.shape for table in self.tables)])

    def is_older_than(self, fingerprint: str) -> bool:
        """Whether tables with this fingerprint were folded by newer code: of this domain, or of one of its kinds."""
        version, *parts = fingerprint.split("/")
        folded = {name: int(known) for name, sign, known in (part.rpartition("=") for part in parts) if sign}
        newer = any(folded.get(kind.name, 0) > kind.version for kind in self.kinds)
        return int(version) > self.version or newer


class Registry:
    """All domains of a process, and dashboards over their tables. Raises InvalidInput when two declare the same."""

    def __init__(self, domains: Iterable[Domain], *, dashboards: Iterable[Dashboard] = ()) -> None:
        self.domains: dict[str, Domain] = {}
        self.kinds: dict[str, Kind] = {}
        self.tables: dict[str, Table] = {}
        self.folds: dict[str, tuple[Fold, ...]] = {}
        self.domain_of_table: dict[str, str] = {}
        self.fingerprints: dict[str, str] = {}
        self.deciders: dict[str, Decider] = {}
        self.sources: dict[str, list[tuple[Table, Column]]] = {}
        """By table: the derived columns, with their tables, that its rows count in."""
        for domain in domains:
            self._add(domain)
        check_joined(self.tables)
        self.dashboards: dict[str, Dashboard] = {}
        for dashboard in (*dashboards, *(one for domain in self.domains.values() for one in domain.dashboards)):
            if dashboard.name in self.dashboards:
                raise InvalidInput(f"two dashboards are named {dashboard.name!r}", dashboard=dashboard.name)
            check_dashboard(dashboard, self.tables)
            self.dashboards[dashboard.name] = dashboard
        self.kept_together = frozenset(table.name for table in self.tables.values() if table.kept_together)
        """The tables of whose rows homes keep something together."""
        for table in self.tables.values():
            for column in table.derived:
                assert column.derived is not None
                self.sources.setdefault(column.derived.table, []).append((table, column))
            for stream in table.places.streams:
                for kind in stream.kinds:
                    if kind not in self.kinds:
                        raise InvalidInput(
                            f"table {table.name!r}: its stream {stream.topic!r} carries {kind!r}, a kind that "
                            "no domain declares",
                            table=table.name,
                        )

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
            for made in (table, *(rollup_table(table, rollup) for rollup in table.rollups)):
                if made.name in self.tables:
                    raise InvalidInput(f"domain {domain.name!r} declares the table {made.name!r}, which is taken")
                self.tables[made.name] = made
                self.domain_of_table[made.name] = domain.name
        for name, folds in domain.folds.items():
            if name not in self.kinds:
                raise InvalidInput(f"domain {domain.name!r} folds {name!r}, a kind that it does not declare")
            self.folds[name] = tuple(folds)
        for name, decider in domain.deciders.items():
            if name not in self.kinds:
                raise InvalidInput(f"domain {domain.name!r} decides {name!r}, a kind that it does not declare")
            if "home" not in getattr(self.kinds[name].body, "__struct_fields__", ()):
                raise InvalidInput(
                    f"domain {domain.name!r} decides {name!r}, whose body does not name the `home` it asks"
                )
            self.deciders[name] = decider

    @cached_property
    def granted_kinds(self) -> frozenset[str]:
        """The kinds of the domains that have tables where what may be written can hang on a grant."""
        names = {self.domain_of_table[name] for name, table in self.tables.items() if table.takes_grants}
        return frozenset(kind.name for name in names for kind in self.domains[name].kinds)

    def domain(self, name: str) -> Domain:
        """A declared domain. Raises InvalidInput."""
        found = self.domains.get(name)
        if found is None:
            raise InvalidInput(f"there is no domain {name!r}; {_meant(name, self.domains)}", domain=name)
        return found

    def table(self, name: str) -> Table:
        """A declared table. Raises InvalidInput."""
        found = self.tables.get(name)
        if found is None:
            raise InvalidInput(
                f"no domain declares the table {name!r}; {_meant(name, self.tables, all_by='`antiphon tables`')}",
                table=name,
            )
        return found

    def kind(self, name: str) -> Kind:
        """A declared kind. Raises InvalidInput."""
        found = self.kinds.get(name)
        if found is None:
            raise InvalidInput(f"no domain declares the kind {name!r}; {_meant(name, self.kinds)}", kind=name)
        return found
