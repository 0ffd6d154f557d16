"""Room `views` (imports `log` and below): from the writes on one row to the row, in whatever order they came.

One home for every rule: whose writes count, which of several counts, what a delete takes away. `merge` is a function
of the set of writes, so replicas that have seen the same events have the same row, and the same refusals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from antiphon.model import limits
from antiphon.model.errors import InvalidInput
from antiphon.model.table import Column, Merge, Table, Writers
from antiphon.model.values import canonical, key_values
from antiphon.views.domain import Op, Write
from antiphon.views.grants import Cited, Grant


class Placed(msgspec.Struct, frozen=True):
    """A write with its event's place in the one order, (stamp, log, seq), and its number among the event's writes.

    `author` is the agent whose log it is; `minted` says that the event made the id which is its entity; `cited` are
    the events that it names as its cause, grants among them.
    """

    stamp: int
    log: bytes
    seq: int
    write: Write
    at: int = 0
    author: bytes = b""
    minted: bool = False
    cited: tuple[Cited, ...] = ()


Place = tuple[int, bytes, int, int]
"""Where a write stands in the one order: (stamp, log, seq) of its event, and its number among the event's writes."""


def place_of(placed: Placed) -> Place:
    """Where a write stands in the one order."""
    return placed.stamp, placed.log, placed.seq, placed.at


class Tip(msgspec.Struct):
    """What has to be known beside a row's values to let one more write count without looking at the others.

    `newest` is the last write on the row, counting or not; `made` the one that says who its author is; `places` and
    `scores` are those of the writes that count now, by column; `floors` what is deleted, by log.
    """

    newest: Place
    author: bytes | None = None
    made: Place | None = None
    alive: Place | None = None
    places: dict[str, Place] = {}
    scores: dict[str, float] = {}
    floors: dict[bytes, int] = {}


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
    """What the writes on a row add up to: the row (None when there is none), and the writes that do not count.

    From its `tip` (None where that is not enough) `merge_on` goes on.
    """

    row: Merged | None
    refused: tuple[Refusal, ...] = ()
    tip: Tip | None = None


class Authority(Protocol):
    """Who belongs to whom, and who decides."""

    def principal_of(self, agent: bytes) -> bytes | None:
        """The principal of an agent, None when it is not known here."""
        ...

    def decides(self, home: bytes, log: bytes, seq: int) -> bool:
        """Whether the event `seq` of `log` may decide what the log `home` decides (moves of the home considered)."""
        ...

    def grant(self, agent: bytes, log: bytes, seq: int) -> Grant | None:
        """What the event `seq` of a principal's `log` grants to an agent, None when that is not known here."""
        ...

    def trusts(self, principal: bytes) -> bool:
        """Whether a principal may grant roles for rows that are no agent's."""
        ...


class NoOthers:
    """The authority where nothing is known: agents without principals, homes that never moved, no grants."""

    def principal_of(self, agent: bytes) -> bytes | None:
        return None

    def decides(self, home: bytes, log: bytes, seq: int) -> bool:
        return home == log

    def grant(self, agent: bytes, log: bytes, seq: int) -> Grant | None:
        return None

    def trusts(self, principal: bytes) -> bool:
        return False


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
        self.alive: Place | None = None
        self.places: dict[str, Place] = {}
        self.scores: dict[str, float] = {}
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
            self._judge_writer(placed, table.writers, "this row", values)
        for name in values:
            column = table.column(name)
            if column.merge == Merge.DECIDED:
                home = self.values.get(table.home or "") or write.values.get(table.home or "")
                if home is None or not self.authority.decides(home, placed.log, placed.seq):
                    raise _Refused("home", f"{name} is decided by the row's home, not by this log")
            elif column.writers is not None:
                self._judge_writer(placed, column.writers, name, values)
        return values

    def _judge_writer(self, placed: Placed, writers: Writers, what: str, values: Mapping[str, Any]) -> None:
        if writers.rule == "role":
            self._judge_role(placed, writers, what, values)
            return
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

    def _judge_role(self, placed: Placed, writers: Writers, what: str, values: Mapping[str, Any]) -> None:
        if any(grant.role == writers.name for grant in self._grants(placed, writers, values)):
            return
        if self.table.home is not None and self._by_home(placed):
            return
        by = f"the principal of {writers.columns[0]}" if writers.columns else "a principal that is trusted here"
        raise _Refused(
            "role", f"{what} is written by agents with the role {writers.name}: the event cites no grant of it by {by}"
        )

    def _grants(self, placed: Placed, writers: Writers, values: Mapping[str, Any]) -> list[Grant]:
        """The grants that an event cites and may go by here: of whoever grants what happens to this row."""
        found = []
        for log, seq, leaf in placed.cited:
            grant = self.authority.grant(placed.author, log, seq)
            if grant is not None and grant.serves(log=placed.log, seq=placed.seq, table=self.table.name, leaf=leaf):
                found.append(grant)
        if not found:
            return []
        return [grant for grant in found if self._governs(grant.principal, placed, writers, values)]

    def _governs(self, principal: bytes, placed: Placed, writers: Writers, values: Mapping[str, Any]) -> bool:
        """Whether this principal grants what others may do to the row: it is one of its agents' (of the one that the
        rule names, else of the row's author), or nobody's, and the file trusts it.
        """
        if writers.rule == "role" and writers.columns:
            owner = self._owner(writers.columns[0], placed, values)
        elif writers.rule == "role" or not (self.table.minted or self.table.agent_in_key):
            return self.authority.trusts(principal)
        else:
            owner = self.author
        return owner is not None and self.authority.principal_of(owner) == principal

    def _owner(self, column: str, placed: Placed, values: Mapping[str, Any]) -> Any:
        """The agent that a column names now, or will by this event, which makes the row. What is said of a row before
        it is made cannot say whose it is, or whoever was first could.
        """
        if column not in self.table.key and self.alive is None:
            return values.get(column) if placed.write.op == Op.ASSERT else None
        return self._named(column, placed)

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
        """Lets a judged write count. But for the `mutual` rule, in whatever order they come."""
        place = place_of(placed)
        if placed.write.op == Op.ASSERT and (self.alive is None or place < self.alive):
            self.alive = place
        for name, value in values.items():
            column = self.table.column(name)
            last = self.places.get(name)
            if not self._wins(column, value, placed, values, last):
                continue
            self.values[name] = union(self.values.get(name), value) if column.merge == Merge.GROW_SET else value
            self.places[name] = place if last is None or column.merge != Merge.GROW_SET else max(place, last)

    def _ceiling(self, column: Column, placed: Placed, values: Mapping[str, Any]) -> int:
        """The most that an event may declare: what the grants that it goes by allow, else what is declared for all."""
        if not placed.cited:
            return column.ceiling
        grants = self._grants(placed, column.writers or self.table.writers, values)
        return max((grant.ceiling for grant in grants if grant.ceiling is not None), default=column.ceiling)

    def _wins(self, column: Column, value: Any, placed: Placed, values: Mapping[str, Any], last: Place | None) -> bool:
        """Whether the value counts; `last` is the place of the one that does now."""
        if column.merge == Merge.GROW_SET:
            return True
        if column.merge == Merge.ONCE:
            return last is None or place_of(placed) < last
        if column.merge == Merge.HIGHEST:
            score = min(values.get(column.by or "") or 0, self._ceiling(column, placed, values))
            known = self.scores.get(column.name, score)
            if score < known or (score == known and last is not None and place_of(placed) < last):
                return False
            self.scores[column.name] = score
            return True
        if column.merge == Merge.MUTUAL:
            by_value = self._said.setdefault(column.name, {})
            said = by_value.setdefault(repr(value), _Said(value))
            said.benefits[placed.author] = values.get(column.by or "") or 0
            said.last = 1 + max(other.last for other in by_value.values())
            best = max(by_value.values(), key=lambda other: (sum(other.benefits.values()), other.last))
            self.values[column.name] = best.value
            return False
        return last is None or place_of(placed) > last

    def tip(self, newest: Place, made: Place | None, floors: dict[bytes, int]) -> Tip | None:
        """From where more writes are added; None where the row's values do not tell all of what was said."""
        if self._said or not all(type(score) in (int, float) for score in self.scores.values()):
            return None
        return Tip(newest, self.author, made, self.alive, self.places, self.scores, floors)


def merge(
    table: Table, writes: Iterable[Placed], authority: Authority = NOBODY, *, named: bytes | None = None
) -> Outcome:
    """What these writes, all on one row, add up to. `named` is the agent that the row's key names, if it names one."""
    ordered = sorted(set_of(writes), key=place_of)
    if not ordered:
        return Outcome(None)
    newest, made = place_of(ordered[-1]), maker(table, ordered)
    author = named if named is not None else None if made is None else made.author
    if author is None:  # nobody has made the row yet: whose it is, and so who may write, is not known
        return Outcome(None, tip=Tip(newest))
    floors, refused = _floors(table, ordered, author, authority)
    row = _Row(table, author, authority)
    for placed in ordered:
        if placed.write.op == Op.DELETE:
            continue
        values = _judged(row, placed)
        if isinstance(values, Refusal):
            refused.append(values)
            continue
        if placed.seq > floors.get(placed.log, -1):
            row.add(placed, values)
    tip = row.tip(newest, None if made is None else place_of(made), floors)
    return Outcome(_merged(table, row), tuple(refused), tip)


def merge_on(
    table: Table, tip: Tip, values: Mapping[str, Any] | None, writes: Iterable[Placed], authority: Authority = NOBODY
) -> Outcome | None:
    """What a row and more writes on it add up to; None where only all its writes together can tell.

    `values` are the row's, None when there is none; `tip` is changed. A write that comes last is judged by the row as
    it is. One that comes late, or again, can be where its judgement does not hang on what the row said then.
    """
    if (values is None) != (tip.alive is None):
        return None
    row = _Row(table, tip.author or b"", authority)
    row.alive, row.places, row.scores = tip.alive, tip.places, tip.scores
    row.values = {} if values is None else {name: values[name] for name in tip.places}
    refused: list[Refusal] = []
    for placed in writes:
        place, write = place_of(placed), placed.write
        if any(table.column(name).merge == Merge.MUTUAL for name in write.values):
            return None
        late = place <= tip.newest or tip.alive is None
        if (late or write.op == Op.DELETE) and not _is_judged_alone(table, write):
            return None
        makes = write.op == Op.ASSERT and (placed.minted or not table.minted)
        if makes and table.agent_in_key is None and (tip.made is None or place < tip.made):
            return None  # whose the row is changes with it
        if tip.author is not None:
            found = _judged(row, placed)
            if isinstance(found, Refusal):
                refused.append(found)
            elif write.op == Op.DELETE or (tip.alive is None and write.op == Op.ASSERT):
                return None  # what it names counts no more; or what was said before there was a row counts now
            elif tip.alive is not None and placed.seq > tip.floors.get(placed.log, -1):
                row.add(placed, found)
        tip.newest = max(tip.newest, place)
    tip.alive = row.alive
    return Outcome(_merged(table, row), tuple(refused), tip)


FAULTS: Final = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError)
_ALONE: Final = frozenset({"author", "anyone", "principal"})


def _is_judged_alone(table: Table, write: Write) -> bool:
    """Whether a write counts or not whatever the row says of itself, and no other's judgement hangs on what it says."""
    if table.home is not None or set(write.values) & _owners(table):
        return False
    rules = [table.writers, *(table.column(name).writers or table.writers for name in write.values)]
    return all(rule.rule in _ALONE or (rule.rule == "owners" and set(rule.columns) <= set(table.key)) for rule in rules)


def _owners(table: Table) -> set[str]:
    """The columns by which writes are judged. Where roles are needed those are all: whose a row is can hang on any."""
    rules = [table.writers, *(column.writers for column in table.columns if column.writers is not None)]
    if any(rule.rule == "role" for rule in rules):
        return set(table.names)
    return {name for rule in rules for name in rule.columns} - set(table.key)


def _judged(row: _Row, placed: Placed) -> dict[str, Any] | Refusal:
    """The values that a write brings, or why it does not count."""
    try:
        return row.judge(placed)
    except _Refused as error:
        return Refusal(placed.log, placed.seq, error.rule, error.detail)
    except FAULTS as error:  # others write what they like, and declarations are not ours alone: it counts for nothing
        return Refusal(placed.log, placed.seq, "value", f"judging it failed: {type(error).__name__}: {error}")


def grants_on(
    table: Table,
    placed: Placed,
    writers: Writers,
    authority: Authority,
    *,
    row: Mapping[str, Any] | None,
    author: bytes | None,
) -> list[Grant]:
    """Of the grants that a write cites, those that it may go by under this rule, on a row as it is now."""
    found = _Row(table, author, authority)
    if row is not None:
        found.values, found.alive = dict(row), place_of(placed)
    return found._grants(placed, writers, placed.write.values)


def maker(table: Table, ordered: Iterable[Placed]) -> Placed | None:
    """The write that made the row, and so says whose it is: of the minted id, else whoever asserted it first."""
    for placed in ordered:
        if placed.write.op == Op.ASSERT and (placed.minted or not table.minted):
            return placed
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
        values = _judged(row, placed)
        if isinstance(values, Refusal):
            if placed.write.op == Op.DELETE:
                refused.append(values)
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
    _, log, seq, _ = row.places.get(table.subject or "") or row.alive
    values = tuple(row.values.get(name, default) for name, default in table.defaults.items())
    return Merged(log, seq, values)


def union(one: list[Any] | None, other: list[Any] | None) -> list[Any]:
    """Two sets as one, in the one order of sets: of more than ITEMS_MAX the first, in whatever order they came."""
    return sorted({*(one or ()), *(other or ())})[: limits.ITEMS_MAX]


def set_of(writes: Iterable[Placed]) -> list[Placed]:
    """The writes without duplicates: an event counts once however often it came."""
    return list({(placed.log, placed.seq, placed.at): placed for placed in writes}.values())
