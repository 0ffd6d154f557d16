"""Room `engines` (imports all below it): personal data on its way to engines: ciphertext, and blind indexes beside it.

A column that is declared `pii` goes as bytes that only the home's keys open, bound to table, column and row; one that
is `blind` too has a hash beside it by which it is found. Engines are given a table in which that is all there is, so
none of them knows of personal data, and none can forget to hide it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

import msgspec
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt as decrypt,
)
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_encrypt as encrypt,
)
from nacl.exceptions import CryptoError

from antiphon.identity.blind import BLIND_BYTES, BLIND_KEY, KEY_BYTES, blind_index
from antiphon.identity.keystore import KeyStore
from antiphon.model.dashboard import Dashboard
from antiphon.model.errors import Corrupt, InvalidInput, NotFound
from antiphon.model.limits import NEIGHBOURS_MAX, RECALL_HITS_MAX
from antiphon.model.places import Places
from antiphon.model.table import Check, Column, Index, Table, Type
from antiphon.model.values import key_of
from antiphon.query.access import Reader
from antiphon.query.plan import Path, Plan, Position, Term
from antiphon.query.reach import Counting, Found, Gone, Place, PlaceStats
from antiphon.query.source import Part, Source
from antiphon.views.feed import Change, Fence, Losing, Marks, Retaining, Retiring, Showing, Sink, Spreading
from antiphon.views.store import StoredRow
from antiphon.world.entropy import Entropy

SEAL_KEY: Final = "engines"
"""The name of the key in the key store under which personal data goes to engines: 32 random bytes."""
NONCE_BYTES: Final = 24
T = TypeVar("T")
_TAG: Final = b"antiphon/seal/v1\0"


def blind_name(column: str) -> str:
    """What the column of a blind index is called."""
    return f"{column}_blind"


class Seals:
    """Seals and opens personal data, and says how a table looks to engines. Threads may share it."""

    def __init__(self, *, seal_key: bytes, blind_key: bytes, entropy: Entropy) -> None:
        if len(seal_key) != KEY_BYTES or len(blind_key) != KEY_BYTES:
            raise InvalidInput(f"the keys of engines have {KEY_BYTES} bytes each")
        self._seal_key, self._blind_key, self._entropy = seal_key, blind_key, entropy
        self._tables: dict[str, tuple[Table, Table]] = {}

    @staticmethod
    def of(keys: KeyStore, entropy: Entropy) -> Seals:
        """With the keys of a home; made when they are first needed, and the same in all its processes."""
        try:
            found = {name: keys.get(name) for name in (SEAL_KEY, BLIND_KEY)}
        except NotFound:
            found = keys.put_new({name: entropy.bytes(KEY_BYTES) for name in (SEAL_KEY, BLIND_KEY)})
        return Seals(seal_key=found[SEAL_KEY], blind_key=found[BLIND_KEY], entropy=entropy)

    def table(self, table: Table) -> Table:
        """The table as engines see it; itself where it holds no personal data."""
        known = self._tables.get(table.name)
        if known is None or known[0] is not table:
            known = self._tables[table.name] = table, sealed_table(table)
        return known[1]

    def seal(self, table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as engines see it. *Cost*: about 3 µs a value."""
        found = dict(row)
        for column in _personal(table):
            value = row.get(column.name)
            found[column.name] = None if value is None else self._closed(table, column, row, value)
            if column.blind:
                found[blind_name(column.name)] = blind_index(self._blind_key, table, column.name, value)
        return found

    def _closed(self, table: Table, column: Column, row: Mapping[str, Any], value: str) -> bytes:
        nonce = self._entropy.bytes(NONCE_BYTES)
        sealed: bytes = encrypt(value.encode(), _bound(table, column, row), nonce, self._seal_key)
        return nonce + sealed

    def open(self, table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row that was sealed. Raises Corrupt where it was not sealed here, or stands in another place."""
        found = {name: row[name] for name in table.names}
        for column in _personal(table):
            raw = row[column.name]
            if raw is None:
                continue
            try:
                text: bytes = decrypt(raw[NONCE_BYTES:], _bound(table, column, row), raw[:NONCE_BYTES], self._seal_key)
                found[column.name] = text.decode()
            except (CryptoError, UnicodeDecodeError, TypeError, ValueError):
                raise Corrupt(
                    f"{table.name}.{column.name} in an engine was not sealed with this home's key for that row: is it "
                    "another home's engine, or did someone move the value?"
                ) from None
        return found

    def term(self, table: Table, term: Term) -> Term:
        """A condition as an engine tests it: equality by the blind index. Raises InvalidInput for any other."""
        column = table.column(term.column)
        if not column.pii or term.op in ("null", "some"):
            return term
        if term.op != "=" or not column.blind:
            raise InvalidInput(
                f"{table.name}.{column.name} is personal data: engines find it by its whole value alone"
                + ("" if column.blind else ", where it is declared blind"),
                table=table.name,
                column=column.name,
            )
        return Term(blind_name(column.name), "=", blind_index(self._blind_key, table, column.name, term.value))


def _personal(table: Table) -> list[Column]:
    return [table.column(name) for name in table.personal]


def _bound(table: Table, column: Column, row: Mapping[str, Any]) -> bytes:
    """What a ciphertext is bound to: it opens nowhere else."""
    fields = (table.name.encode(), column.name.encode(), key_of(table, {name: row[name] for name in table.key}))
    return _TAG + b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def sealed_table(table: Table) -> Table:
    """A table as engines see it; itself where it holds no personal data."""
    personal = {column.name: column for column in _personal(table)}
    if not personal:
        return table
    columns = [
        Column(column.name, Type.BYTES, nullable=column.nullable, doc="sealed") if column.name in personal else column
        for column in table.columns
    ]
    blind = [column for column in personal.values() if column.blind]
    exactly = Check(length_max=BLIND_BYTES)
    columns += [Column(blind_name(column.name), Type.BYTES, check=exactly, doc="blind index") for column in blind]
    indexes = [index for index in table.indexes if not personal.keys() & {*index.columns, *index.include}]
    indexes += [Index((blind_name(column.name),)) for column in blind]
    fulltext = table.fulltext if table.fulltext is None or table.fulltext.text not in personal else None
    unique = tuple(columns for columns in table.unique if not personal.keys() & set(columns))
    return msgspec.structs.replace(
        table,
        columns=tuple(columns),
        indexes=tuple(indexes),
        fulltext=fulltext,
        unique=unique,
        subject=None if table.subject in personal else table.subject,
        places=_places(table.places, personal),
    )


def _places(places: Places, personal: Mapping[str, Column]) -> Places:
    """Without what would show personal data outside of its column."""
    return msgspec.structs.replace(
        places,
        search=None if places.search is not None and personal else places.search,
        caches=tuple(place for place in places.caches if place.of and not personal.keys() & set(place.of)),
    )


class SealedSink:
    """An engine that never sees personal data; see `Sink` for the promises, which are its engine's."""

    def __init__(self, sink: Sink, seals: Seals) -> None:
        self._sink, self._seals = sink, seals
        self._tables: dict[str, Table] = {}
        self.partial = bool(getattr(sink, "partial", False))

    @property
    def lacks(self) -> list[str]:
        """What the server has not, in a person's words."""
        return list(getattr(self._sink, "lacks", ()))

    @property
    def engine(self) -> Sink:
        """What it is put around."""
        return self._sink

    def close(self) -> None:
        """Ends the connections."""
        close = getattr(self._sink, "close", None)
        if close is not None:
            close()

    def kept(self) -> Fence:
        return self._sink.kept()

    def fence(self, known: int, epoch: int, *, mark: int = 0, owner: bytes = b"") -> Fence | None:
        return self._sink.fence(known, epoch, mark=mark, owner=owner)

    def prepare(self, tables: Sequence[Table]) -> None:
        self._sink.prepare([self._seals.table(table) for table in tables])
        self._tables |= {table.name: table for table in tables}

    def apply(self, epoch: int, changes: Sequence[Change], *, marks: Marks | None = None) -> None:
        self._sink.apply(epoch, [self._sealed(change) for change in changes], marks=marks)

    def _sealed(self, change: Change) -> Change:
        table = self._tables.get(change.table)
        if table is None:
            raise InvalidInput(f"the table {change.table!r} was not prepared here", table=change.table)
        if change.row is None or self._seals.table(table) is table:
            return change
        return msgspec.structs.replace(change, row=self._seals.seal(table, change.row))

    def rows(self, table: Table, *, after: bytes | None, limit: int) -> list[Change]:
        sealed = self._seals.table(table)
        found = self._sink.rows(sealed, after=after, limit=limit)
        if sealed is table:
            return found
        return [msgspec.structs.replace(one, row=self._seals.open(table, one.row or {})) for one in found]

    def sweep(self, epoch: int, table: Table, below: int, *, marks: Marks | None = None) -> int:
        return self._sink.sweep(epoch, self._seals.table(table), below, marks=marks)

    def trim(self, epoch: int, table: Table, version: int, *, marks: Marks | None = None) -> int:
        return self._sink.trim(epoch, self._seals.table(table), version, marks=marks)

    def pulse(self, epoch: int, *, marks: Marks | None = None) -> None:
        self._sink.pulse(epoch, marks=marks)

    def show(self, dashboards: Sequence[Dashboard]) -> None:
        """See `Showing`; no figure is of personal data. Nothing where the engine keeps none."""
        if isinstance(self._sink, Showing):
            self._sink.show(dashboards)

    def retire(self, epoch: int, tables: Sequence[Table], *, marks: Marks | None = None) -> int:
        """See `Retiring`; nothing where the engine drops nothing."""
        if not isinstance(self._sink, Retiring):
            return 0
        return self._sink.retire(epoch, [self._seals.table(table) for table in tables], marks=marks)

    def forgotten(self, epoch: int, count: int, *, marks: Marks | None = None) -> None:
        """See `Retaining`; nothing where the engine retains nothing."""
        if isinstance(self._sink, Retaining):
            self._sink.forgotten(epoch, count, marks=marks)

    def lost(self) -> bool:
        """See `Losing`."""
        return isinstance(self._sink, Losing) and self._sink.lost()

    def beside(self, table: Table) -> Iterator[set[bytes]]:
        """See `Spreading`; nothing where the engine keeps rows alone."""
        return self._sink.beside(self._seals.table(table)) if isinstance(self._sink, Spreading) else iter(())

    def horizon(self, table: Table) -> int | None:
        """See `Retiring`."""
        return self._sink.horizon(self._seals.table(table)) if isinstance(self._sink, Retiring) else None


def _blind_terms(table: Table, terms: Sequence[Term]) -> list[Term]:
    """The conditions that an engine tests by a blind index: its answer holds other spellings too."""
    return [term for term in terms if term.op == "=" and table.column(term.column).pii]


def _meets(row: StoredRow, exactly: Sequence[Term]) -> bool:
    """Whether an opened row meets conditions as it would in the file: letter by letter."""
    return all(row.values[term.column] == term.value for term in exactly)


class SealedSource:
    """Typed reads from an engine that never sees personal data; see `Source` for the promises."""

    def __init__(self, source: Source, seals: Seals) -> None:
        self._source, self._seals = source, seals

    def reading(self) -> AbstractContextManager[None]:
        return self._source.reading()

    def row(self, table: Table, key: bytes, reader: Reader) -> StoredRow | None:
        found = self._source.row(self._seals.table(table), key, reader)
        return None if found is None else self._opened(table, found)

    def _opened(self, table: Table, row: StoredRow) -> StoredRow:
        if self._seals.table(table) is table:
            return row
        return msgspec.structs.replace(row, values=self._seals.open(table, row.values))

    def _plan(self, plan: Plan) -> Plan:
        sealed = self._seals.table(plan.table)
        if sealed is plan.table:
            return plan

        def terms(said: Sequence[Term]) -> tuple[Term, ...]:
            return tuple(self._seals.term(plan.table, term) for term in said)

        for name, _ in plan.order:
            if plan.table.column(name).pii:
                raise InvalidInput(f"{plan.table.name}.{name} is personal data: engines know no order of it")
        path, index = plan.path, plan.path.index
        if index is not None and len(index.columns) == 1 and plan.table.column(index.columns[0]).pii:
            blind = blind_name(index.columns[0])
            path = Path(path.name, ((blind, False),), Index((blind,)))
        return msgspec.structs.replace(
            plan, table=sealed, path=path, served=terms(plan.served), bounds=terms(plan.bounds), tests=terms(plan.tests)
        )

    def page(self, plan: Plan, reader: Reader, *, after: Position | None, limit: int, scanned_max: int) -> Part:
        sealed, exactly = self._plan(plan), _blind_terms(plan.table, (*plan.served, *plan.bounds, *plan.tests))
        found: list[StoredRow] = []
        scanned = 0
        with self.reading():
            while True:
                part = self._source.page(
                    sealed, reader, after=after, limit=limit - len(found), scanned_max=scanned_max - scanned
                )
                opened = (self._opened(plan.table, row) for row in part.rows)
                found += [row for row in opened if _meets(row, exactly)]
                after, scanned = part.end, scanned + part.scanned
                if after is None or not exactly or len(found) >= limit or scanned >= scanned_max:
                    return Part(found, after, scanned)

    def nearest(
        self, plan: Plan, reader: Reader, column: str, wanted: Sequence[float], *, metric: str, k: int
    ) -> list[tuple[float, int]]:
        sealed, exactly = self._plan(plan), _blind_terms(plan.table, (*plan.served, *plan.bounds, *plan.tests))

        def some(most: int) -> list[tuple[float, int]]:
            return self._source.nearest(sealed, reader, column, wanted, metric=metric, k=most)

        return self._first(plan.table, reader, exactly, some, lambda one: one[1], wanted=k, most=NEIGHBOURS_MAX)

    def _first(
        self,
        table: Table,
        reader: Reader,
        exactly: Sequence[Term],
        some: Callable[[int], list[T]],
        number: Callable[[T], int],
        *,
        wanted: int,
        most: int,
    ) -> list[T]:
        """The first so many that meet the conditions when they are opened, of twice as many each time."""
        if not exactly:
            return some(wanted)
        asked = wanted
        with self.reading():
            while True:
                found = some(asked)
                rows = self.rows(table, [number(one) for one in found], reader)
                good = [one for one in found if number(one) in rows and _meets(rows[number(one)], exactly)]
                if len(good) >= wanted or len(found) < asked or asked >= most:
                    return good[:wanted]
                asked = min(2 * asked, most)

    def repeated(
        self, plan: Plan, reader: Reader, columns: Sequence[str], *, limit: int
    ) -> list[tuple[tuple[Any, ...], int]]:
        for name in columns:
            if plan.table.column(name).pii:
                raise InvalidInput(f"{plan.table.name}.{name} is personal data: engines cannot list its values")
        self._refuse_blind(plan)
        return self._source.repeated(self._plan(plan), reader, columns, limit=limit)

    def _refuse_blind(self, plan: Plan) -> None:
        for term in _blind_terms(plan.table, (*plan.served, *plan.bounds, *plan.tests)):
            raise InvalidInput(
                f"{plan.table.name}.{term.column} is personal data: engines find its rows, and cannot say which values "
                "they have besides; read them page by page"
            )

    def rows(self, table: Table, numbers: Sequence[int], reader: Reader) -> dict[int, StoredRow]:
        found = self._source.rows(self._seals.table(table), numbers, reader)
        return {n: self._opened(table, row) for n, row in found.items()}

    def match(
        self, table: Table, text: str, tests: Sequence[Term], reader: Reader, limit: int
    ) -> list[tuple[int, float]]:
        sealed = self._seals.table(table)
        if sealed.fulltext is None:
            raise InvalidInput(f"the full text of {table.name!r} is personal data: engines have none of it")
        asked = [self._seals.term(table, test) for test in tests]

        def some(most: int) -> list[tuple[int, float]]:
            return self._source.match(sealed, text, asked, reader, most)

        exactly = _blind_terms(table, tests)
        return self._first(table, reader, exactly, some, lambda one: one[0], wanted=limit, most=RECALL_HITS_MAX)

    def values(self, plan: Plan, reader: Reader, column: str, *, limit: int) -> list[Any]:
        if plan.table.column(column).pii:
            raise InvalidInput(f"{plan.table.name}.{column} is personal data: engines cannot list its values")
        self._refuse_blind(plan)
        return self._source.values(self._plan(plan), reader, column, limit=limit)


class SealedPlace:
    """A place within reach that never sees personal data. `seals` may be asked for when there is some: a home that has
    none needs no keys for it.
    """

    def __init__(self, place: Place, seals: Seals | Callable[[], Seals]) -> None:
        self._place = place
        self._seals = seals if callable(seals) else lambda: seals
        self.name = place.name

    @staticmethod
    def around(place: Place, seals: Callable[[], Seals]) -> SealedPlace:
        """The place itself where it is sealed already: perhaps by other keys than the reader's."""
        return place if isinstance(place, SealedPlace) else SealedPlace(place, seals)

    def find(self, table: Table, key: bytes, reader: Reader) -> Found | Gone | None:
        if not table.personal:
            return self._place.find(table, key, reader)
        seals = self._seals()
        found = self._place.find(seals.table(table), key, reader)
        if not isinstance(found, Found):
            return found
        return msgspec.structs.replace(found, values=seals.open(table, found.values))

    def keep(self, table: Table, key: bytes, found: Found) -> None:
        if table.personal:
            seals = self._seals()
            found = msgspec.structs.replace(found, values=seals.seal(table, found.values))
            table = seals.table(table)
        self._place.keep(table, key, found)

    def count(self, reads: Sequence[PlaceStats]) -> bool:
        """See `Counting`."""
        return isinstance(self._place, Counting) and self._place.count(reads)
