"""Room `replica` (imports all below it): which erasures wait out their hold here, as kept in the file.

A hold is kept beside the logs that it is about, and what tables have taken out beside the tables: in one file, in one
transaction, for an agent; in files of logs and of rows for a region. What is done with them: `replica/erasure.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.log.read import Hidden, Ranges

INTENT: Final = "forget-"
"""How it is said whose word it is where a region is forgetting something, and for what reason."""
_HOLD: Final = "hold/"
_OUT: Final = "out/"
_CHANGES: Final = "holds"

Place = tuple[int, str, int]
"""An erasing event: the number of the log it erases in, whose word it is, its seq. The word is "" where the log itself
says so, else the id of its principal's log in hexadecimal; or an INTENT."""


class Hold(msgspec.Struct, array_like=True, frozen=True):
    """What an erasure names that is stored here. Void: the key was revoked before it said so, so nothing is hidden."""

    heard_ms: int
    ranges: list[tuple[int, int]]
    void: bool = False


class HoldStore:
    """The holds in one file, and what its tables have taken out. Writing methods work inside a transaction."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._known: tuple[bytes | None, dict[Place, Hold], Hidden] = (None, {}, {})

    def forget_caches(self) -> None:
        """Drops what another writer, or a rollback, may have changed."""
        self._known = (None, {}, {})

    def _read(self) -> tuple[dict[Place, Hold], Hidden]:
        changes = self._file.get(_CHANGES)
        if changes is None:
            return {}, {}
        known = self._known
        if known[0] != changes:
            holds = {_place(name): msgspec.msgpack.decode(raw, type=Hold) for name, raw in self._file.settings(_HOLD)}
            shown = {place: hold.ranges for place, hold in holds.items() if not hold.void}
            known = self._known = changes, holds, hidden_by({p: r for p, r in shown.items() if not is_intent(p)})
        return known[1], known[2]

    def all(self) -> dict[Place, Hold]:
        """Every hold, void ones too."""
        return dict(self._read()[0])

    def has_older(self, than_ms: float) -> bool:
        """Whether something that stands was heard of before that."""
        return any(not hold.void and hold.heard_ms <= than_ms for hold in self._read()[0].values())

    def standing(self) -> dict[Place, Ranges]:
        """What tables must leave out, by the erasure that says so."""
        return {place: hold.ranges for place, hold in self._read()[0].items() if not hold.void}

    def hidden(self) -> Hidden:
        """What of the logs here nobody is shown."""
        return self._read()[1]

    def put(self, place: Place, hold: Hold) -> None:
        """Keeps a hold."""
        self._file.put(_name(_HOLD, place), msgspec.msgpack.encode(hold))
        self._changed()

    def drop(self, place: Place) -> None:
        """Ends a hold."""
        self._file.drop(_name(_HOLD, place))
        self._changed()

    def _changed(self) -> None:
        count = int.from_bytes(self._file.get(_CHANGES) or b"", "big") + 1
        self._file.put(_CHANGES, count.to_bytes(8, "big"))

    def taken_out(self) -> dict[Place, Ranges]:
        """What the tables here have taken out, by the erasure that said so."""
        found = self._file.settings(_OUT)
        return {_place(name): msgspec.msgpack.decode(raw, type=list[tuple[int, int]]) for name, raw in found}

    def take_out(self, place: Place, ranges: Ranges) -> None:
        """Notes that the tables here show nothing of it any more."""
        self._file.put(_name(_OUT, place), msgspec.msgpack.encode(ranges))

    def put_back(self, place: Place) -> None:
        """Notes that this erasure keeps nothing out of the tables here any more."""
        self._file.drop(_name(_OUT, place))


def is_intent(place: Place) -> bool:
    """Whether this is a region's intent to forget, not an erasure that was heard."""
    return place[1].startswith(INTENT)


def hidden_by(standing: Mapping[Place, Ranges]) -> Hidden:
    """By log, what these name, each range once."""
    found: dict[int, list[tuple[int, int]]] = {}
    for (no, _, _), ranges in standing.items():
        found.setdefault(no, []).extend(ranges)
    return {no: joined(ranges) for no, ranges in found.items()}


def joined(ranges: Ranges) -> list[tuple[int, int]]:
    """The same seqs in ascending, disjoint ranges."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return found


def common(ranges: Ranges, others: Ranges) -> list[tuple[int, int]]:
    """The seqs that both hold; both ascending and disjoint."""
    found: list[tuple[int, int]] = []
    at = 0
    for first, last in ranges:
        while at < len(others) and others[at][1] <= first:
            at += 1
        reach = at
        while reach < len(others) and others[reach][0] < last:
            found.append((max(first, others[reach][0]), min(last, others[reach][1])))
            reach += 1
    return found


def without(ranges: Ranges, others: Ranges) -> list[tuple[int, int]]:
    """The seqs that are in no other range; both ascending and disjoint."""
    edges = [0, *(edge for one in others for edge in one), 1 << 62]
    return common(ranges, list(zip(edges[::2], edges[1::2], strict=True)))


def _name(prefix: str, place: Place) -> str:
    return f"{prefix}{place[0]}/{place[1]}/{place[2]}"


def _place(name: str) -> Place:
    _, no, by, seq = name.split("/")
    return int(no), by, int(seq)
