"""Room `replica` (imports all below it): logs that others wrote, folded into the shared tables here.

Taking leaves in and folding them are two steps. Each log has a cursor in the file that moves in the transaction of its
rows, so deliveries may be cut anywhere. Of a log the longest beginning is folded that is certified, not revoked and
due; what ceases to be (a revocation) is taken back. What others erase: `replica/erasure.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import cast
from weakref import WeakKeyDictionary, ref

import msgspec

from antiphon.identity.signing import decode_statement
from antiphon.identity.validity import Evidence, Standing
from antiphon.log import kinds
from antiphon.log.block import Leaves
from antiphon.log.ingest import Home, Homes, Part, Said, ingest
from antiphon.log.read import LogReader
from antiphon.log.store import LogHead, LogRole
from antiphon.model import hlc, limits
from antiphon.model.errors import Conflict, NotFound, ProtocolViolation
from antiphon.model.event import Event
from antiphon.model.text import id_text
from antiphon.replica import erasure, moving
from antiphon.replica.authority import KIN
from antiphon.replica.commit import Writer
from antiphon.replica.core import Replica
from antiphon.views.batch import RowKey

STEP_EVENTS_MAX = 4_096
"""Events folded in one transaction, so that others get their turn between."""
STEP_WRITES_MAX = 16_384
"""Writes to rows in one such transaction: one event may write to EVENT_WRITES_MAX of them."""


class Waiting(msgspec.Struct, frozen=True):
    """A log of which something is here and not folded: from which event on, and why."""

    log: str
    seq: int
    reason: str


class Heard(msgspec.Struct):
    """What folding came to: how many events and writes, and what still waits. `more` says that a step ended before
    everything was folded.
    """

    events: int = 0
    writes: int = 0
    more: bool = False
    waiting: list[Waiting] = []


class Standings:
    """Who may speak, by the principals' logs in one file; read on as they grow."""

    def __init__(self, reader: Callable[[], LogReader]) -> None:
        self._reader = reader
        self._read: dict[int, tuple[Home | None, int]] = {}
        self._homes = Homes()
        self._principals: dict[bytes, bytes] = {}
        self.news: list[tuple[bytes, bytes | None]] = []
        """What principals have said, in the order in which it was read: (their log, the log in which they erase)."""

    def read_on(self, heads: Iterable[LogHead]) -> bool:
        """Reads what is new of the principals' logs among these; whether there was anything."""
        grown = False
        for head in heads:
            home, at = self._read.get(head.no, (Home(head), 0))
            if home is None or at >= head.size:
                continue
            if at == 0:
                leaves = self._reader().leaves(head, 0)
                home.hear(Leaves(0, leaves.headers[:1], leaves.bodies[:1]))
                if not home.is_home:
                    self._read[head.no] = None, 0
                    continue
                home.evidence.clear()
            for event in self._reader().events(head, at):
                self._note(home, event)
            self._read[head.no] = home, head.size
            self.news.append((head.id, None))
            grown = True
        if grown:
            self._judge()
        return grown

    def _note(self, home: Home, event: Event) -> None:
        if event.body is None:
            return
        try:
            if event.kind in kinds.STATEMENT_KINDS:
                home.evidence.append(Evidence(decode_statement(event.body), home.id, event.seq))
            elif event.kind == kinds.ERASED:
                said = kinds.read_erased(event.body, event.seq)
                home.erased.append((event.seq, said))
                if said.log is not None:
                    self.news.append((home.id, said.log))
        except ProtocolViolation:  # it says nothing then
            return

    def _judge(self) -> None:
        self._homes = Homes()
        for home, _ in self._read.values():
            if home is not None:
                self._homes.add(home)
        self._principals = {}
        for principal in self._homes.principals():
            standing = self._homes.standing(principal)
            if standing is not None:
                self._principals.update(dict.fromkeys(standing.agents, principal))

    def of_log(self, log: bytes) -> Standing | None:
        """The standing that a principal's log is part of."""
        homes = (home for home, _ in self._read.values() if home is not None and home.id == log)
        inception = next((home.inception for home in homes), None)
        return None if inception is None else self._homes.standing(inception.id)

    def is_home(self, head: LogHead) -> bool:
        """Whether a log is a principal's own."""
        home, _ = self._read.get(head.no, (None, 0))
        return home is not None and home.is_home

    def of(self, agent: bytes) -> Standing | None:
        """What is known of the principal of an agent."""
        principal = self._principals.get(agent)
        return None if principal is None else self._homes.standing(principal)

    def counting(self, head: LogHead) -> int:
        """How many of a log's events count: certified for its agent, and before a revocation."""
        standing = self.of(head.owner)
        if standing is None or standing.logs.get(head.id) != head.owner:
            return 0
        return min(head.size, standing.cut.get(head.id, head.size))

    def erasing(self, head: LogHead) -> list[tuple[bytes, int, list[tuple[int, int]]]]:
        """What its principal erases in a log: (the home that says it, the seq there, ranges)."""
        return self._homes.erasing(head)

    def _standing_over(self, head: LogHead) -> Standing | None:
        """What is known of the principal whose log, or whose agent's log, this is."""
        return self.of(head.owner) or self._homes.standing(head.owner)

    def voids(self, head: LogHead, seq: int) -> bool:
        """Whether a log's key was revoked before it said what stands at this seq."""
        standing = self._standing_over(head)
        return standing is not None and seq >= standing.cut.get(head.id, 1 << 62)

    def vouches(self, head: LogHead) -> bool:
        """Whether a log is certified; nobody can say so of one whose principal is not known here."""
        standing = self._standing_over(head)
        return standing is None or standing.logs.get(head.id) == head.owner


_STANDINGS: WeakKeyDictionary[Writer, tuple[int, Standings]] = WeakKeyDictionary()
_SHARED: WeakKeyDictionary[Writer, Standings] = WeakKeyDictionary()
_LEARNED: WeakKeyDictionary[Writer, tuple[int, int]] = WeakKeyDictionary()


def standings(replica: Writer) -> Standings:
    """Who may speak in this file, as far as its logs were read by now."""
    shared = _SHARED.get(replica)
    if shared is not None:
        return shared
    rollbacks, found = _STANDINGS.get(replica, (-1, None))
    if found is None or rollbacks != replica.rollbacks:  # what was read may have been taken back
        found = Standings(_reader_of(ref(replica)))
        _STANDINGS[replica] = replica.rollbacks, found
    return found


def _reader_of(place: ref[Writer]) -> Callable[[], LogReader]:
    """The reader of a file that this alone does not keep open: what is kept by file must not keep the file."""

    def reader() -> LogReader:
        replica = place()
        assert replica is not None
        return replica.writing_reader

    return reader


def _learned(replica: Writer) -> int:
    rollbacks, count = _LEARNED.get(replica, (-1, 0))
    return count if rollbacks == replica.rollbacks else 0


def share_standings(replicas: Iterable[Writer], known: Standings) -> None:
    """Lets several files that fold the same logs read principals' logs once."""
    for replica in replicas:
        _SHARED[replica] = known


# -- taking in -------------------------------------------------------------------------------------------------------


def receive(replica: Writer, head: LogHead, parts: Iterable[Part], note: bytes) -> LogHead:
    """Takes in what is new of somebody else's log, verified, and folds what counts; the log's head now.

    *Shapes*: `head` says whose log it is; `parts` begin at or before the first block that is not whole here.
    Raises ProtocolViolation, and nothing has changed, when the parts do not fit. What they say is erased is hidden.
    """
    with replica.transaction():
        known = replica.logs.head(head.id)
        if known is not None and known.role in (LogRole.OWN, LogRole.PAST):
            raise Conflict(f"the log {id_text(head.id)} is written in {replica.file.path}: nobody else can add to it")
        if known is None:
            known = LogHead(0, head.id, head.owner, head.key, LogRole.FOLLOWED)
            replica.logs.save_head(known)
        said: Said = []
        first = known.size
        taken = ingest(replica.logs, known, parts, note, said)
        take_note(replica, taken, said, first)
        replica.fold_followed(taken, known.size if known.role == LogRole.FOLLOWED else 0)
    replica.forget_caches()
    hear(replica)
    return replica.head(head.id)


def take_note(replica: Writer, head: LogHead, said: Said, first: int) -> None:
    """Inside the transaction that takes leaves of a log in, from `first` on: hides what the log erases in what is here,
    and its principal in what came. What is to be destroyed at once is with the next `fold_due`.
    """
    erasure.note_said(replica, head, said)
    erasure.note_principal(replica, head, standings(replica), first=first)


def _withdraw(replica: Writer, head: LogHead, seqs: Collection[int]) -> set[RowKey]:
    """Takes back what these events say, as far as they were folded; the rows to compute again."""
    if not seqs or not replica.heard_to(head.no):
        return set()
    events = []
    for seq in seqs:
        if seq < replica.heard_to(head.no):
            try:
                events.append(replica.writing_reader.event(head, seq))
            except NotFound:  # gone already
                continue
    replica.unmention(head.no, events)
    if events:
        replica.generations.restart()
    return replica.views.withdraw(head, events)


# -- folding ---------------------------------------------------------------------------------------------------------


def hear(replica: Writer) -> Heard:
    """Folds everything that is here of others' logs and counts by now; what was not due before is looked at again."""
    total = Heard()
    while True:
        with replica.transaction():
            heard = fold_due(replica)
        total.events += heard.events
        total.writes += heard.writes
        total.waiting = heard.waiting
        if not heard.more:
            break
    if not replica.file.is_writing:
        replica.scrub_after_commit()
    return total


def fold_due(replica: Writer, *, only: Collection[int] | None = None) -> Heard:
    """Inside a transaction: a step of `hear`, of these log numbers alone unless a principal has said something new."""
    known = standings(replica)
    heads = replica.heads()
    known.read_on(heads)
    if _learned(replica) < len(known.news):
        _relearn(replica, known, known.news[_learned(replica) :])
        heads, only = replica.heads(), None
    if replica.holds_logs:
        erasure.settle(replica, known)
    else:
        erasure.apply(replica, replica.standing_erasures())
    heard = Heard()
    for head in heads:
        asked = only is None or head.no in only
        if asked and head.role == LogRole.FOLLOWED and not known.is_home(head):
            _fold(replica, known, head, heard)
    return heard


def _fold(replica: Writer, known: Standings, head: LogHead, heard: Heard) -> None:
    counting, at = known.counting(head), replica.heard_to(head.no)
    if at > counting:
        _take_back(replica, head, counting, at)
        at = counting
    resets = [reset for reset in head.resets if reset[0] < counting]
    counted = msgspec.structs.replace(head, size=counting, resets=resets)
    due = hlc.from_ms(replica.clock.now_ms() + limits.CLOCK_AHEAD_MS_MAX + 1)
    while at < counting:
        heard.more |= heard.events >= STEP_EVENTS_MAX or heard.writes >= STEP_WRITES_MAX
        if heard.more:
            break
        end = min(counting, at - at % limits.BLOCK_LEAVES + limits.BLOCK_LEAVES)
        events: list[Event] = []
        for event in replica.writing_reader.events(counted, at, end):
            if event.stamp >= due:
                end = event.seq
                break
            events.append(event)
        if end == at:
            heard.waiting.append(Waiting(id_text(head.id), at, "its time has not come by this clock"))
            return
        end, writes = replica.fold_heard(head, at, end, events, writes_max=STEP_WRITES_MAX - heard.writes)
        heard.writes += writes
        heard.events += end - at
        at = end
    if counting < head.size:
        reason = "it was revoked" if counting else "its principal has not certified it here"
        heard.waiting.append(Waiting(id_text(head.id), counting, reason))


def _take_back(replica: Writer, head: LogHead, first: int, last: int) -> None:
    """What was folded of a log and counts no more."""
    keys = _withdraw(replica, head, range(first, last))
    lost = [stamp for seq, stamp in head.resets if first <= seq < last]
    replica.hear_to(head, first)
    erasure.again(replica, keys)
    if lost:
        replica.feed_step(replica.restamp(replica.cut_head(head), min(lost)))


def _relearn(replica: Writer, known: Standings, news: list[tuple[bytes, bytes | None]]) -> None:
    """Principals have said something new: what they erase goes, what was refused for want of them is judged again."""
    keys: set[RowKey] = set()
    for log in {log for _, log in news if log is not None}:
        head = replica.logs.head(log)
        if head is not None and replica.holds_logs:
            erasure.note_principal(replica, head, known)
    before = replica.file.settings(KIN)
    replica.feed_step(())  # what is learnt is fed under a version that nobody has read yet
    for home in {home for home, _ in news}:
        standing = known.of_log(home)
        if standing is not None:
            moving.learn(cast(Replica, replica), home, standing=standing)
    if replica.file.settings(KIN) != before:
        listed = replica.rejections.list(limit=1 << 40)
        keys |= {(table, key) for table, key, _, _, rule, _ in listed if rule in ("writers", "home", "role")}
    erasure.again(replica, keys)
    _LEARNED[replica] = replica.rollbacks, len(known.news)
