"""Room `views` (imports `log` and below): from the writes on one row to the row, in whatever order they came.

One home for every rule: whose writes count, which of several counts, what a delete takes away. `merge` is a function
of the set of writes, so replicas that have seen the same events have the same row, and the same refusals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from antiphon.model.errors import InvalidInput
from antiphon.model.table import Column, Merge, Table, Writers
from antiphon.model.values import canonical, key_values
from antiphon.views.domain import Op, Write


class Placed(msgspec.Struct, frozen=True):
    """A write with its event's place in the one order, (stamp, log, seq), and its number among the event's writes.

    `author` is the agent whose log it is; `minted` says that the event made the id which is its entity.
    """

    stamp: int
    log: bytes
    seq: int
    write: Write
    at: int = 0
    author: bytes = b""
    minted: bool = False


class Merged(msgspec.Struct, frozen=True):
    """A row, and the place of the event that it speaks by."""

    log: bytes
    seq: int
    values: tuple[Any, ...]


class Refusal(msgspec.Struct, frozen=True):
    """A write that does not count, and the rule that it breaks."""

    log: bytes
    seq: int
    rule: str
    detail: str


class Outcome(msgspec.Struct, frozen=True):
    """What the writes on a row add up to: the row (None when there is none), and the writes that do not count."""

    row: Merged | None
    refused: tuple[Refusal, ...] = ()


class Authority(Protocol):
    """Who belongs to whom, and who decides."""

    def principal_of(self, agent: bytes) -> bytes | None:
        """The principal of an agent, None when it is not known here."""
        ...

    def decides(self, home: bytes, log: bytes, seq: int) -> bool:
        """Whether the event `seq` of `log` may decide what the log `home` decides (moves of the home considered)."""
        ...


class NoOthers:
    """The authority where nothing is known: agents without principals, homes that never moved."""

    def principal_of(self, agent: bytes) -> bytes | None:
        return None

    def decides(self, home: bytes, log: bytes, seq: int) -> bool:
        return home == log


NOBODY: Final = NoOthers()


class _Refused(Exception):
    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(rule)
        self.rule, self.detail = rule, detail


class _Said:
    """A value under the `mutual` rule: what each party declared last that it is worth to them, and who said it last."""

    def __init__(self, value: Any) -> None:
        self.value, self.benefits, self.last = value, dict[bytes, float](), 0


class _Row:
    """A row on its way: the values so far, and what is needed to judge the next write."""

    def __init__(self, table: Table, author: bytes | None, authority: Authority) -> None:
        self.table = table
        self.author = author
        self.authority = authority
        self.values: dict[str, Any] = {}
        self.alive: Placed | None = None
        self.subject: Placed | None = None
        self._scores: dict[str, float] = {}
        self._said: dict[str, dict[str, _Said]] = {}

    def judge(self, placed: Placed) -> dict[str, Any]:
        """The values that the write brings, in their one form. Raises _Refused when it does not count."""
        write, table = placed.write, self.table
        if write.op == Op.ASSERT and table.minted and not placed.minted:
            raise _Refused("minted", "only the event that made an id can make its row")
        values = {}
        try:
            for name, value in write.values.items():
                column = table.column(name)
                if column.derived is not None:
                    raise _Refused("derived", f"{name} is derived, no event writes it")
                values[name] = value if name in table.key else canonical(column, value)
            if write.op == Op.ASSERT:
                for name in table.required:
                    if name not in values:
                        canonical(table.column(name), None)
        except InvalidInput as error:
            raise _Refused("value", str(error)) from None
        if write.op != Op.UPDATE or not values or any(table.column(name).writers is None for name in values):
            self._judge_writer(placed, table.writers, "this row")
        for name in values:
            column = table.column(name)
            if column.merge == Merge.DECIDED:
                home = self.values.get(table.home or "") or write.values.get(table.home or "")
                if home is None or not self.authority.decides(home, placed.log, placed.seq):
                    raise _Refused("home", f"{name} is decided by the row's home, not by this log")
            elif column.writers is not None:
                self._judge_writer(placed, column.writers, name)
        return values

    def _judge_writer(self, placed: Placed, writers: Writers, what: str) -> None:
        if writers.rule == "anyone" or placed.author == self.author:
            return
        if writers.rule == "principal":
            theirs = self.authority.principal_of(placed.author)
            if theirs is not None and theirs == self.authority.principal_of(self.author or b""):
                return
        if writers.rule == "owners" and any(self._named(name, placed) == placed.author for name in writers.columns):
            return
        if self.table.home is not None and self._by_home(placed):
            return
        who = {"author": "its author", "principal": "agents of its principal"}.get(writers.rule)
        raise _Refused("writers", f"{what} is written by {who or ' or '.join(writers.columns)} alone")

    def _named(self, column: str, placed: Placed) -> Any:
        """The agent that a column names; one in the key is named before the row is there."""
        if column in self.table.key:
            return key_values(self.table, placed.write.key)[self.table.key.index(column)]
        return self.values.get(column)

    def _by_home(self, placed: Placed) -> bool:
        """Whether the row's home writes what it decides, and nothing else."""
        home = self.values.get(self.table.home or "")
        decided = all(self.table.column(name).merge == Merge.DECIDED for name in placed.write.values)
        return home is not None and decided and self.authority.decides(home, placed.log, placed.seq)

    def add(self, placed: Placed, values: Mapping[str, Any]) -> None:
        """Lets a judged write count."""
        if placed.write.op == Op.ASSERT and self.alive is None:
            self.alive = placed
        for name, value in values.items():
            column = self.table.column(name)
            if not self._wins(column, value, placed, values):
                continue
            self.values[name] = union(self.values.get(name), value) if column.merge == Merge.GROW_SET else value
            if name == self.table.subject:
                self.subject = placed

    def _wins(self, column: Column, value: Any, placed: Placed, values: Mapping[str, Any]) -> bool:
        if column.merge == Merge.ONCE:
            return column.name not in self.values
        if column.merge == Merge.HIGHEST:
            score = min(values.get(column.by or "") or 0, column.ceiling)
            if score < self._scores.get(column.name, score):
                return False
            self._scores[column.name] = score
        if column.merge == Merge.MUTUAL:
            by_value = self._said.setdefault(column.name, {})
            said = by_value.setdefault(repr(value), _Said(value))
            said.benefits[placed.author] = values.get(column.by or "") or 0
            said.last = 1 + max(other.last for other in by_value.values())
            best = max(by_value.values(), key=lambda other: (sum(other.benefits.values()), other.last))
            self.values[column.name] = best.value
            return False
        return True


def merge(
    table: Table, writes: Iterable[Placed], authority: Authority = NOBODY, *, named: bytes | None = None
) -> Outcome:
    """What these writes, all on one row, add up to. `named` is the agent that the row's key names, if it names one."""
    ordered = sorted(set_of(writes), key=lambda placed: (placed.stamp, placed.log, placed.seq, placed.at))
    author = named if named is not None else _author(table, ordered)
    if author is None:  # nobody has made the row yet: whose it is, and so who may write, is not known
        return Outcome(None)
    floors, refused = _floors(table, ordered, author, authority)
    row = _Row(table, author, authority)
    for placed in ordered:
        if placed.write.op == Op.DELETE:
            continue
        try:
            values = row.judge(placed)
        except _Refused as error:
            refused.append(Refusal(placed.log, placed.seq, error.rule, error.detail))
            continue
        if placed.seq > floors.get(placed.log, -1):
            row.add(placed, values)
    return Outcome(_merged(table, row), tuple(refused))


def _author(table: Table, ordered: list[Placed]) -> bytes | None:
    """Who made the row: by the minted id, else whoever asserted it first."""
    for placed in ordered:
        if placed.write.op == Op.ASSERT and (placed.minted or not table.minted):
            return placed.author
    return None


def _floors(
    table: Table, ordered: list[Placed], author: bytes | None, authority: Authority
) -> tuple[dict[bytes, int], list[Refusal]]:
    """By log, the last seq whose writes on this row are deleted by somebody who may; and the deletes by others."""
    floors: dict[bytes, int] = {}
    refused: list[Refusal] = []
    if all(placed.write.op != Op.DELETE for placed in ordered):
        return floors, refused
    row = _Row(table, author, authority)
    for placed in ordered:
        try:
            values = row.judge(placed)
        except _Refused as error:
            if placed.write.op == Op.DELETE:
                refused.append(Refusal(placed.log, placed.seq, error.rule, error.detail))
            continue
        if placed.write.op != Op.DELETE:
            row.add(placed, values)
            continue
        for log, seq in ((placed.log, placed.seq), *placed.write.named):
            floors[log] = max(seq, floors.get(log, -1))
    return floors, refused


def _merged(table: Table, row: _Row) -> Merged | None:
    if row.alive is None:
        return None
    speaks = row.subject or row.alive
    values = tuple(row.values.get(column.name, column.default) for column in table.columns)
    return Merged(speaks.log, speaks.seq, values)


def union(one: list[Any] | None, other: list[Any] | None) -> list[Any]:
    """Two sets as one, in the one order of sets."""
    return sorted({*(one or ()), *(other or ())})


def set_of(writes: Iterable[Placed]) -> list[Placed]:
    """The writes without duplicates: an event counts once however often it came."""
    return list({(placed.log, placed.seq, placed.at): placed for placed in writes}.values())
