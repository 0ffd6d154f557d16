"""Room `agent` (imports all below it): an agent's tables, and what their rows break of what they declare together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import msgspec

from antiphon.agent.opened import Opened
from antiphon.engines.sealing import SealedPlace, SealedSource, Seals
from antiphon.model.table import Table
from antiphon.model.text import event_text, id_text
from antiphon.query.reach import STALE_MS_MAX, Place, Reach
from antiphon.query.rows import Rows
from antiphon.query.shown import as_plain
from antiphon.query.source import Source
from antiphon.views.store import StoredRow


class Holder(msgspec.Struct, frozen=True):
    """A row that is listed: its key, whose event it speaks by, and that event."""

    key: dict[str, Any]
    author: str
    event: str


class Listed(msgspec.Struct, frozen=True):
    """Rows that break what their table declares of them together; of `count` rows, `rows` are the first.

    *Shapes*: `rule` is `unique` (they have the same `values` in `columns`) or `acyclic` (the one column of `columns`
    links them in a circle).
    """

    table: str
    rule: str
    columns: tuple[str, ...]
    values: dict[str, Any]
    count: int
    rows: tuple[Holder, ...]


class Listing(Opened):
    """How an agent reads its tables."""

    @property
    def tables(self) -> Mapping[str, Table]:
        """What each table is declared as, by its name: what reads rows elsewhere is made with it."""
        return MappingProxyType(self.replica.registry.tables)

    @property
    def seals(self) -> Seals:
        """The keys of this home's personal data in engines: a `SealedSource` or `SealedPlace` opens rows with them."""
        return Seals.of(self.replica.keys, self.replica.entropy)

    def table(self, name: str, *, source: Source | None = None) -> Rows:
        """The rows of one declared table that this agent may read: those of its file, or of an engine's `source`.

        Personal data of an engine is asked for and opened with the keys of this agent's home, but where the source is
        sealed already. Raises InvalidInput where no domain declares the table.
        """
        declared = self.replica.registry.table(name)
        if source is not None:
            bare = declared.personal and not isinstance(source, SealedSource)
            return Rows(SealedSource(source, self.seals) if bare else source, declared, self._reader)
        return Rows(self._source, declared, self._reader, cache=self._rows, index=self._index_all)

    def reach(self, places: Sequence[Place], *, stale_ms_max: int = STALE_MS_MAX) -> Reach:
        """Single rows from this file or, if it has had none, from shared places in this order: `reach.get(table, key)`.

        Personal data is asked for, and kept, under the keys of this agent's home, but where a place is sealed already.
        """
        replica = self.replica
        seals = cache(lambda: self.seals)
        sealed = [SealedPlace.around(place, seals) for place in places]
        return Reach(
            self.table, sealed, self._reader, replica.clock, knows=replica.tables.knows, stale_ms_max=stale_ms_max
        )

    def duplicates(self, table: str | None = None) -> list[Listed]:
        """Rows that have the same values in columns declared unique: of one table, or of all.

        Where a table has a home, it refuses a second one; else anybody's may come, here or from elsewhere, and both
        stand. Who wrote which is said, so that whoever may can change his.
        """
        return [
            Listed(
                declared.name,
                "unique",
                found.columns,
                as_plain(declared, dict(zip(found.columns, found.values, strict=True))),
                found.count,
                tuple(self._holders(declared, found.rows)),
            )
            for declared in self._chosen(table)
            if declared.unique
            for found in self.table(declared.name).duplicates()
        ]

    def circles(self, table: str | None = None) -> list[Listed]:
        """Rows that link each other in a circle by an acyclic column: of one table, or of all without a home."""
        return [
            Listed(
                declared.name, "acyclic", (found.column,), {}, len(found.rows),
                tuple(self._holders(declared, found.rows)),
            )
            for declared in self._chosen(table)
            if declared.acyclic and (table is not None or declared.home is None)
            for found in self.table(declared.name).circles()
        ]  # fmt: skip

    def _chosen(self, table: str | None) -> Iterable[Table]:
        registry = self.replica.registry
        return registry.tables.values() if table is None else (registry.table(table),)

    def _holders(self, table: Table, rows: Iterable[StoredRow]) -> Iterator[Holder]:
        for row in rows:
            head = self.replica.head_no(row.log)
            key = as_plain(table, {name: row.values[name] for name in table.key})
            yield Holder(key, id_text(head.owner), event_text(head.id, row.seq))
