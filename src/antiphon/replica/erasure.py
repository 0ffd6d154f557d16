"""Room `replica` (imports all below it): what others erase: hidden at once, destroyed after a hold, or put back.

An erasure that an instance signs may be a thief's. So it hides what it names from every reader when it is heard here,
and destroys it ERASURE_HOLD_MS later, unless its key was revoked before it spoke: then the rows come back. What a
principal's own log erases is destroyed at once. Every step here may be done again; each is one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from antiphon.engines.sqlite.followers import SqliteFollowers
from antiphon.log.ingest import Said
from antiphon.log.kinds import SYSTEM_KINDS, ranges_of
from antiphon.log.read import LogReader, Ranges
from antiphon.log.rewrite import erase
from antiphon.log.store import LogHead, LogRole
from antiphon.model import limits
from antiphon.model.errors import NotFound
from antiphon.model.event import Event, State
from antiphon.model.text import EntityIds
from antiphon.replica.commit import Writer
from antiphon.replica.holds import Hold, Place, common, hidden_by, is_intent, joined, without
from antiphon.views.batch import RowKey


class Judge(Protocol):
    """Who may erase, as far as is known by now."""

    def is_home(self, head: LogHead) -> bool:
        """Whether a log is a principal's own."""
        ...

    def voids(self, head: LogHead, seq: int) -> bool:
        """Whether a log's key was revoked before it said what stands at this seq."""
        ...

    def vouches(self, head: LogHead) -> bool:
        """Whether a log is certified; nobody can say so of one whose principal is not known here."""
        ...

    def erasing(self, head: LogHead) -> list[tuple[bytes, int, list[tuple[int, int]]]]:
        """What its principal erases in a log: (the home that says it, the seq there, ranges)."""
        ...


# -- hearing ---------------------------------------------------------------------------------------------------------


def note_said(replica: Writer, head: LogHead, said: Said) -> None:
    """Inside the transaction that takes leaves in: hides what their own log erases."""
    named = {(head.no, "", seq): _within(ranges, 0, seq) for seq, ranges in said}
    _note(replica, head, named)


def note_principal(replica: Writer, head: LogHead, judge: Judge, *, first: int = 0) -> None:
    """Inside a transaction: hides what its principal erases in a log from `first` on; to be destroyed at once."""
    erasing = judge.erasing(head)
    named = {(head.no, home.hex(), seq): _within(ranges, first, head.size) for home, seq, ranges in erasing}
    _note(replica, head, named)


def _within(ranges: Ranges, first: int, last: int) -> list[tuple[int, int]]:
    """What of somebody's ranges, which may be anything, lies in there."""
    return joined([(max(low, first), min(high, last)) for low, high in ranges if max(low, first) < min(high, last)])


def _note(replica: Writer, head: LogHead, named: Mapping[Place, Ranges]) -> None:
    every = joined([one for ranges in named.values() for one in ranges])
    if not every:
        return
    replica.dirty()  # the leaves may have come just now
    stored = ranges_of(list(stored_of(replica.writing_reader, head, every)))
    holds = replica.holds.all()
    for place, ranges in named.items():
        here = common(ranges, stored)
        if here:
            known = holds.get(place) or Hold(replica.clock.now_ms(), [])
            replica.holds.put(place, msgspec.structs.replace(known, ranges=joined([*known.ranges, *here])))
    replica.dirty()


def stored_of(reader: LogReader, head: LogHead, ranges: Ranges) -> Iterable[int]:
    """Which of these seqs are stored, the log's own kinds left out: those are never erased."""
    for first, last in ranges:
        for seq in range(max(first, 0), min(last, head.size)):
            block = reader.loaded(head, seq)
            if block.state(seq) <= State.WITHHELD:
                header = block.header(seq)
                if header is not None and header.kind not in SYSTEM_KINDS:
                    yield seq


# -- settling --------------------------------------------------------------------------------------------------------


def settle(replica: Writer, judge: Judge) -> None:
    """Inside a transaction, in a file that holds logs and rows: judges, takes out, puts back and destroys."""
    if judge_holds(replica, judge) or replica.holds.taken_out():
        apply(replica, replica.standing_erasures())
        destroy_due(replica, judge)


def judge_holds(replica: Writer, judge: Judge) -> bool:
    """Inside a transaction: keeps which holds are void by what is known now; whether there are any at all."""
    for place, hold in verdicts(replica, judge).items():
        replica.holds.put(place, hold)
        replica.dirty()
    return bool(replica.holds.all())


def verdicts(replica: Writer, judge: Judge) -> dict[Place, Hold]:
    """The holds that must be kept otherwise, by what is known now."""
    found, now_ms = {}, replica.clock.now_ms()
    for place, hold in replica.holds.all().items():
        head = replica.logs.head_no(place[0])
        void = head is not None and not place[1] and judge.voids(head, place[2])
        heard_ms = min(hold.heard_ms, now_ms)  # a clock that was ahead must not make it a hold for ever
        if (void, heard_ms) != (hold.void, hold.heard_ms):
            found[place] = msgspec.structs.replace(hold, void=void, heard_ms=heard_ms)
    return found


def apply(replica: Writer, standing: Mapping[Place, Ranges]) -> bool:
    """Inside a transaction: takes out of the tables what these erasures name, and puts back what none names any more;
    whether anything changed. *Cost*: by the events that are named.
    """
    out = replica.holds.taken_out()
    if standing == out:
        return False
    heads = {head.no: head for head in replica.heads()}
    keys: set[RowKey] = set()
    before, now = hidden_by(out), hidden_by(standing)
    for no in sorted(now):
        keys |= _take_out(replica, heads[no], without(now[no], before.get(no, ())))
    for no in sorted(before.keys() & heads.keys()):
        keys |= _put_back(replica, heads[no], without(before[no], now.get(no, ())))
    for place in out.keys() - standing.keys():
        replica.holds.put_back(place)
    for place, ranges in standing.items():
        if out.get(place) != ranges:
            replica.holds.take_out(place, ranges)
    again(replica, keys)
    return True


def _folded(replica: Writer, head: LogHead) -> int:
    return replica.heard_to(head.no) if head.role in (LogRole.FOREIGN, LogRole.FOLLOWED) else head.size


def _take_out(replica: Writer, head: LogHead, ranges: Ranges) -> set[RowKey]:
    events = list(_readable(replica.writing_reader.beneath, head, ranges, _folded(replica, head)))
    if not events:
        return set()
    replica.generations.drop_old_rows({head.no: {event.seq for event in events}})
    replica.unmention(head.no, events)
    replica.generations.restart()
    keys = replica.views.withdraw(head, events)
    replica.drop_unknown_tables()
    if not replica.holds_logs:
        replica.scrub_later()
    return keys


def _put_back(replica: Writer, head: LogHead, ranges: Ranges) -> set[RowKey]:
    """Folds again what is shown again; nothing where it was destroyed, or another erasure names it too."""
    events = list(_readable(replica.writing_reader.event, head, ranges, _folded(replica, head)))
    if not events:
        return set()
    replica.generations.restart()
    replica.mention(head.no, events)
    known = {kind.name for name in replica.views.live for kind in replica.registry.domains[name].kinds}
    folded = [event for event in events if event.kind in known]
    touched = replica.views.fold_events(replica.state, replica.cut_head(head), EntityIds(head.id), folded).touched
    return touched.union(*(replica.views.keys_of(event) for event in folded))


def _readable(read: Callable[[LogHead, int], Event], head: LogHead, ranges: Ranges, size: int) -> Iterable[Event]:
    for first, last in ranges:
        for seq in range(first, min(last, size)):
            try:
                yield read(head, seq)
            except NotFound:
                continue


def again(replica: Writer, keys: Iterable[RowKey]) -> None:
    """Inside a transaction: computes these rows again, feeds them, and drops what followers kept of them."""
    wanted = {key for key in keys if key[0] in replica.registry.tables}
    for key in sorted(wanted):
        if replica.registry.tables[key[0]].rollup_of is None:  # no event makes those: they are counted along
            replica.views.recompute(replica.state, key)
    changed = wanted | replica.views.flush_figures(replica.state)
    if changed:
        SqliteFollowers(replica.file).settle(sorted(changed))
        replica.feed_step(changed)


def destroy_due(replica: Writer, judge: Judge, *, ready: Callable[[Place], bool] = lambda place: True) -> int:
    """Inside a transaction: destroys what has been held for long enough, where tables have let go of it (`ready`); of
    how many erasures.
    """
    done = due(replica, judge, ready=ready)
    gone = hidden_by({place: hold.ranges for place, (_, hold) in done.items()})
    for place in done:
        replica.holds.drop(place)
        replica.holds.put_back(place)
    for head in {head.no: head for head, _ in done.values()}.values():
        erase(replica.logs, head, list(stored_of(replica.writing_reader, head, gone[head.no])))
    if done:
        replica.dirty()
        replica.scrub_later()
    return len(done)


def due(
    replica: Writer, judge: Judge, *, ready: Callable[[Place], bool] = lambda place: True
) -> dict[Place, tuple[LogHead, Hold]]:
    """What has been held for long enough, and may be destroyed."""
    found = {}
    for place, hold in replica.holds.all().items():
        head = replica.logs.head_no(place[0])
        if head is None or hold.void or is_intent(place) or not ready(place):
            continue
        if until_ms(hold, place, head, judge) <= replica.clock.now_ms():
            found[place] = head, hold
    return found


def until_ms(hold: Hold, place: Place, head: LogHead, judge: Judge) -> float:
    """When it may be destroyed: at once if a principal says so, never as long as a clone does that nobody certified."""
    if place[1] or judge.is_home(head):
        return hold.heard_ms
    return hold.heard_ms + limits.ERASURE_HOLD_MS if judge.vouches(head) else float("inf")
