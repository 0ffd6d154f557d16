"""Room `views` (imports `log` and below): what is kept beside rows on which much was said, and of rows to come.

A row of few events is computed again from all of them. From TIP_EVENTS_MIN events on its *tip* is kept
(`views/merge.py:Tip`), with which one more write costs as much whether ten or a million came before.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from antiphon.model.table import Table
from antiphon.views.merge import Place, Tip

TIP_EVENTS_MIN: Final = 8
"""Events on a row from which its tip is kept: fewer are read again in less time than keeping it takes room for."""
TIP_BYTES_MAX: Final = 8_192
"""Larger ones (hundreds of logs that delete, hundreds of columns) are not kept."""


class TipStore(Protocol):
    """Beside the rows, in the same file: tips, and the keys of rows of which something was said before they were there.

    Inside the transaction that writes.
    """

    def find(self, table: Table, key: bytes) -> bytes | None:
        """The tip kept of a row."""
        ...

    def keep(self, table: Table, key: bytes, tip: bytes | None) -> None:
        """Keeps a row's tip in place of the one before; None drops it."""
        ...

    def expect(self, table: Table, key: bytes) -> None:
        """Notes that something was said of a row that is not there."""
        ...

    def met(self, table: Table, key: bytes) -> None:
        """Notes that it is there, or that nothing is said of it any more."""
        ...

    def expects(self, table: Table) -> bool:
        """Whether it does so of any row of this table. *Cost*: none, as a rule."""
        ...

    def is_expected(self, table: Table, key: bytes) -> bool:
        """Whether something was said of this row before it was there."""
        ...

    def drop(self, table: Table) -> None:
        """Forgets all this of a table."""
        ...


class _Packed(msgspec.Struct, array_like=True):
    """A tip as kept: each log once, places as (stamp, log's position, seq, number)."""

    logs: list[bytes]
    author: bytes | None
    places: list[tuple[int, int, int, int] | None]
    names: list[str]
    scores: dict[str, int | float]
    floors: dict[bytes, int]


def packed(tip: Tip) -> bytes | None:
    """A tip's bytes; None where they are too many."""
    logs: dict[bytes, int] = {}
    given = (tip.newest, tip.made, tip.alive, *tip.places.values())
    places = [
        None if place is None else (place[0], logs.setdefault(place[1], len(logs)), place[2], place[3])
        for place in given
    ]
    raw = msgspec.msgpack.encode(_Packed(list(logs), tip.author, places, list(tip.places), tip.scores, tip.floors))
    return raw if len(raw) <= TIP_BYTES_MAX else None


def unpacked(raw: bytes) -> Tip:
    """The tip of these bytes."""
    kept = msgspec.msgpack.decode(raw, type=_Packed)
    places: list[Place | None] = [
        None if place is None else (place[0], kept.logs[place[1]], place[2], place[3]) for place in kept.places
    ]
    newest, made, alive, *of_columns = places
    assert newest is not None
    by_column = {name: place for name, place in zip(kept.names, of_columns, strict=True) if place is not None}
    return Tip(newest, kept.author, made, alive, by_column, kept.scores, kept.floors)
