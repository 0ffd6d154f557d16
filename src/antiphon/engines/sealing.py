"""Room `engines` (imports all below it): personal data on its way to engines: ciphertext, and blind indexes beside it.

A column that is declared `pii` goes as bytes that only the home's keys open, bound to table, column and row; one that
is `blind` too has a hash beside it by which it is found. Engines are given a table in which that is all there is, so
none of them knows of personal data, and none can forget to hide it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

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
from antiphon.model.errors import Corrupt, InvalidInput, NotFound
from antiphon.model.places import Places
from antiphon.model.table import Check, Column, Index, Table, Type
from antiphon.model.values import key_of
from antiphon.query.access import Reader
from antiphon.query.plan import Path, Plan, Position, Term
from antiphon.query.reach import Found, Place
from antiphon.query.source import Part, Source
from antiphon.views.feed import Change, Retiring, Sink
from antiphon.views.store import StoredRow
from antiphon.world.entropy import Entropy

SEAL_KEY: Final = "engines"
"""The name of the key in the key store under which personal data goes to engines: 32 random bytes."""
NONCE_BYTES: Final = 24
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
        """With the keys of a home; made when they are first needed."""
        found = {}
        for name in (SEAL_KEY, BLIND_KEY):
            try:
                found[name] = keys.get(name)
            except NotFound:
                found[name] = entropy.bytes(KEY_BYTES)
                keys.put(name, found[name])
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
    return [column for column in table.columns if column.pii]


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

    def epoch(self) -> int:
        return self._sink.epoch()

    def fence(self, known: int, epoch: int) -> bool:
        return self._sink.fence(known, epoch)

    def prepare(self, tables: Sequence[Table]) -> None:
        self._sink.prepare([self._seals.table(table) for table in tables])
        self._tables |= {table.name: table for table in tables}

    def apply(self, epoch: int, changes: Sequence[Change]) -> None:
        self._sink.apply(epoch, [self._sealed(change) for change in changes])

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

    def sweep(self, epoch: int, table: Table, below: int) -> int:
        return self._sink.sweep(epoch, self._seals.table(table), below)

    def trim(self, epoch: int, table: Table, version: int) -> int:
        return self._sink.trim(epoch, self._seals.table(table), version)

    def pulse(self, epoch: int) -> None:
        self._sink.pulse(epoch)

    def retire(self, epoch: int, tables: Sequence[Table]) -> int:
        """See `Retiring`; nothing where the engine drops nothing."""
        if not isinstance(self._sink, Retiring):
            return 0
        return self._sink.retire(epoch, [self._seals.table(table) for table in tables])

    def horizon(self, table: Table) -> int | None:
        """See `Retiring`."""
        return self._sink.horizon(self._seals.table(table)) if isinstance(self._sink, Retiring) else None


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
        path = Path(plan.path.name, plan.path.parts) if plan.path.index is None else plan.path
        return msgspec.structs.replace(
            plan, table=sealed, path=path, served=terms(plan.served), bounds=terms(plan.bounds), tests=terms(plan.tests)
        )

    def page(self, plan: Plan, reader: Reader, *, after: Position | None, limit: int, scanned_max: int) -> Part:
        part = self._source.page(self._plan(plan), reader, after=after, limit=limit, scanned_max=scanned_max)
        return msgspec.structs.replace(part, rows=[self._opened(plan.table, row) for row in part.rows])

    def nearest(
        self, plan: Plan, reader: Reader, column: str, wanted: Sequence[float], *, metric: str, k: int
    ) -> list[tuple[float, int]]:
        return self._source.nearest(self._plan(plan), reader, column, wanted, metric=metric, k=k)

    def repeated(
        self, plan: Plan, reader: Reader, columns: Sequence[str], *, limit: int
    ) -> list[tuple[tuple[Any, ...], int]]:
        for name in columns:
            if plan.table.column(name).pii:
                raise InvalidInput(f"{plan.table.name}.{name} is personal data: engines cannot list its values")
        return self._source.repeated(self._plan(plan), reader, columns, limit=limit)

    def rows(self, table: Table, numbers: Sequence[int], reader: Reader) -> dict[int, StoredRow]:
        found = self._source.rows(self._seals.table(table), numbers, reader)
        return {n: self._opened(table, row) for n, row in found.items()}

    def match(
        self, table: Table, text: str, tests: Sequence[Term], reader: Reader, limit: int
    ) -> list[tuple[int, float]]:
        sealed = self._seals.table(table)
        if sealed.fulltext is None:
            raise InvalidInput(f"the full text of {table.name!r} is personal data: engines have none of it")
        return self._source.match(sealed, text, [self._seals.term(table, test) for test in tests], reader, limit)

    def values(self, plan: Plan, reader: Reader, column: str, *, limit: int) -> list[Any]:
        if plan.table.column(column).pii:
            raise InvalidInput(f"{plan.table.name}.{column} is personal data: engines cannot list its values")
        return self._source.values(self._plan(plan), reader, column, limit=limit)


class SealedPlace:
    """A place within reach that never sees personal data."""

    def __init__(self, place: Place, seals: Seals) -> None:
        self._place, self._seals = place, seals
        self.name = place.name

    def find(self, table: Table, key: bytes, reader: Reader) -> Found | None:
        sealed = self._seals.table(table)
        found = self._place.find(sealed, key, reader)
        if found is None or sealed is table:
            return found
        return msgspec.structs.replace(found, values=self._seals.open(table, found.values))

    def keep(self, table: Table, key: bytes, found: Found) -> None:
        sealed = self._seals.table(table)
        if sealed is not table:
            found = msgspec.structs.replace(found, values=self._seals.seal(table, found.values))
        self._place.keep(sealed, key, found)
