"""Room `replica` (imports all below it): forgetting: from blocks, views, indexes, feed and write-ahead log, provably.

The act is an event that names seqs and a reason code. It cascades along `source` refs: what was derived from the
forgotten goes too. Every older checkpoint, and every proof of the rest, still verifies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from antiphon.engines.sqlite.followers import SqliteFollowers
from antiphon.log import kinds
from antiphon.log.rewrite import erase
from antiphon.log.store import LogHead, LogRole
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, NotFound
from antiphon.model.event import Draft, Event, Role
from antiphon.model.text import counted, entity_text, event_text, id_text
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.enrol import follow_log
from antiphon.views.batch import RowKey
from antiphon.views.store import OF_ASKED, OF_REQUESTS, of_cause, of_entity, of_person, of_source

REASONS: Final = ("asked", "person", "expired", "mistake", "legal")
STANDARD_OUTPUT: Final = "standard output"
OTHERS: Final = "other people's logs"
ENTITIES_NAMED_MAX: Final = 16
"""Entities of which other events stay, that are named one by one."""
_IN_ENGINES: Final = (
    "its rows go when its follower delivers next, with all that migrations put aside there: `antiphon engines`. What "
    "its server deletes stays in that server's own files (pages, words in indexes, logs, snapshots) until these are "
    "vacuumed or written anew; personal columns are ciphertext there"
)
_COPIES: Final = "copy/"
_COPIES_ONCE: Final = "copies"
"""Where files of before have one list of them."""
_COPIES_MORE: Final = "copies_more"


class Done(StrEnum):
    """What became of the forgotten at one place."""

    DONE = "done"
    PENDING = "pending"
    CANNOT = "cannot"
    KEPT = "kept"
    """It was not asked for, and stays."""
    HELD = "held"
    """It is not in this file: whoever has it is told, hides it then, and destroys it after a hold."""


class Place(msgspec.Struct, frozen=True):
    """One place that held the forgotten."""

    name: str
    state: Done
    detail: str


class Forgotten(msgspec.Struct):
    """The outcome of forgetting: which events, which were derived from them, and place by place."""

    events: list[str]
    derived: list[str]
    places: list[Place]
    derived_events: list[Event] = []
    kinds: frozenset[str] = frozenset()
    """Which kinds of event they were."""

    @property
    def complete(self) -> bool:
        """Whether of what was asked for nothing is pending and nothing was out of reach."""
        return all(place.state in (Done.DONE, Done.KEPT, Done.HELD) for place in self.places)


class Copy(msgspec.Struct, frozen=True):
    """A snapshot, export or proof that was made of this file, and may still be somewhere; or who was told of it.

    `event` is the one whose body a proof holds; empty where a copy holds everything, or all events of some `kinds`.
    """

    path: str
    made_ms: int
    what: str
    event: str = ""
    kinds: tuple[str, ...] = ()


def note_copy(replica: Replica, path: str, what: str, *, event: str = "", kinds: Sequence[str] = ()) -> bool:
    """Remembers that a copy was made (at a path, or an address), so that `forget` can name it; False where that cannot
    be written down.

    Past COPIES_MAX the oldest are only counted. A copy at the same path takes the older one's place.
    """
    if replica.file.read_only:
        return False
    key = f"{what}\0{event}" if path == STANDARD_OUTPUT else path
    with replica.file.transaction():
        made = msgspec.msgpack.encode(Copy(path, replica.clock.now_ms(), what, event, tuple(kinds)))
        replica.file.put(_COPIES + hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest(), made)
        noted = sorted(
            (msgspec.msgpack.decode(raw, type=Copy).made_ms, name) for name, raw in replica.file.settings(_COPIES)
        )
        over = noted[: max(0, len(noted) - limits.COPIES_MAX)]
        for _, name in over:
            replica.file.drop(name)
        if over:
            replica.file.put(_COPIES_MORE, (copies_unnamed(replica) + len(over)).to_bytes(8, "big"))
    return True


def copies_of(replica: Replica) -> list[Copy]:
    """The copies known to have been made, oldest first."""
    raw = replica.file.get(_COPIES_ONCE)
    old = [] if raw is None else msgspec.msgpack.decode(raw, type=list[Copy])
    noted = [msgspec.msgpack.decode(one, type=Copy) for _, one in replica.file.settings(_COPIES)]
    return [*old, *sorted(noted, key=lambda copy: (copy.made_ms, copy.path))]


def copies_unnamed(replica: Replica) -> int:
    """How many more were made, longer ago, whose paths are not kept."""
    return int.from_bytes(replica.file.get(_COPIES_MORE) or b"", "big")


def forget(
    replica: Replica, targets: Iterable[tuple[int, int]], *, reason: str, principal: Replica | None = None
) -> Forgotten:
    """Erases these (log number, seq) and what was derived from them, in one transaction; place by place.

    In logs not written here any more, the principal's log (in `principal`, or in this file) says it instead.
    Raises InvalidInput for the log's own events, NotFound when a target is gone already.
    *Cost*: each touched block of 1,024 events is written again, about 10 ms.
    """
    if reason not in REASONS:
        raise InvalidInput(f"{reason!r} is no reason code: use one of {', '.join(REASONS)}")
    wanted = sorted(set(targets))
    if not wanted:
        return Forgotten([], [], [])
    with replica.transaction():
        heads = {head.no: head for head in replica.heads()}
        events, derived, foreign = _closure(replica, heads, wanted)
        spoken = _speak(replica, heads, {*events, *derived}, reason, principal)
        asked = {key for event in events.values() for key in _entities_of(replica, event)}
        rows = _clear(replica, heads, {**events, **derived})
        kept = _kept(replica, asked)
        replica.scrub_later()
    result = Forgotten(
        [event_text(event.log, event.seq) for event in events.values()],
        [event_text(event.log, event.seq) for event in derived.values()],
        [],
        list(derived.values()),
        frozenset(event.kind for event in (*events.values(), *derived.values())),
    )
    result.places = [*_places(replica, result, rows, spoken, foreign), *kept]
    return result


def _advice(copy: Copy) -> str:
    return "it was told: ask there to delete it" if "://" in copy.path else "delete it or make it again"


def check(replica: Replica, targets: Iterable[tuple[int, int]], *, reason: str) -> None:
    """Raises what `forget` would, and changes nothing."""
    if reason not in REASONS:
        raise InvalidInput(f"{reason!r} is no reason code: use one of {', '.join(REASONS)}")
    _closure(replica, {head.no: head for head in replica.heads()}, sorted(set(targets)))


def _entities_of(replica: Replica, event: Event) -> set[bytes]:
    own = set() if event.entity is None else {event.entity}
    return own | {entity for _, entity in replica.views.keys_of(event)}


def _kept(replica: Replica, entities: set[bytes]) -> list[Place]:
    """What else is recorded about the entities that the forgotten spoke of: it was not asked for, and shows again."""
    heads = {head.no: head for head in replica.heads()}
    tables = [table for table in replica.registry.tables.values() if table.is_of_entities]
    left: list[tuple[bytes, int, bool]] = []
    for entity in sorted(entities):
        places = replica.mentions.find(of_entity(entity))
        count = sum(replica.writing_reader.header(heads[no], seq) is not None for no, seq in places)
        if count:
            shown = any(replica.tables.row(table, entity) for table in tables)
            left.append((entity, count, shown))
    found = []
    for entity, count, shown in left[:ENTITIES_NAMED_MAX]:
        seen = "its row shows what they say, older text too" if shown else "no row shows them, the log still does"
        found.append(
            Place(
                f"other events of {entity_text(entity)}",
                Done.KEPT,
                f"{counted(count, 'event')} not asked for: {seen}. `antiphon forget --entity` with this id forgets all",
            )
        )
    more = len(left) - ENTITIES_NAMED_MAX
    if more > 0:
        detail = "rows show what they say; `antiphon forget --entity` forgets all about one"
        found.append(Place(f"other events of {counted(more, 'more entity', 'more entities')}", Done.KEPT, detail))
    return found


def _closure(
    replica: Replica, heads: dict[int, LogHead], wanted: list[tuple[int, int]]
) -> tuple[dict[tuple[int, int], Event], dict[tuple[int, int], Event], list[str]]:
    """The events to erase, those derived from them here, and those derived in logs that are not ours."""
    found: dict[tuple[int, int], Event] = {}
    derived: dict[tuple[int, int], Event] = {}
    foreign: list[str] = []
    reader = replica.writing_reader
    for no, seq in wanted:
        event = reader.event(heads[no], seq)
        if event.kind in kinds.SYSTEM_KINDS:
            raise InvalidInput(
                f"{event_text(event.log, seq)} is a {event.kind}: what is left could not be checked without it"
            )
        if heads[no].role in (LogRole.FOREIGN, LogRole.FOLLOWED):
            raise InvalidInput(f"{event_text(event.log, seq)} is in somebody else's log: only its owner can erase it")
        found[no, seq] = event
    kin = _kin(replica, {heads[no].owner for no, _ in wanted})
    waiting = list(found.values())
    while waiting:
        event = waiting.pop()
        for place in replica.mentions.find(of_source(event.log, event.seq)):
            if place in found or place in derived:
                continue
            try:
                more = reader.event(heads[place[0]], place[1])
            except NotFound:
                continue
            if heads[place[0]].role in (LogRole.FOREIGN, LogRole.FOLLOWED) or heads[place[0]].owner not in kin:
                foreign.append(event_text(more.log, more.seq))
                continue
            derived[place] = more
            waiting.append(more)
    return found, derived, foreign


def _kin(replica: Replica, owners: set[bytes]) -> set[bytes]:
    """These agents, their principals, and the principals' other agents in this file: whose logs a cascade may reach."""
    stored = [msgspec.msgpack.decode(raw, type=_Owner) for _, raw in replica.file.settings("agent/")]
    principals = {record.principal for record in stored if record.agent in owners} | owners
    return principals | {record.agent for record in stored if record.principal in principals}


class _Owner(msgspec.Struct):
    """Of an agent's record, what says whose it is."""

    agent: bytes
    principal: bytes


def _speak(
    replica: Replica,
    heads: dict[int, LogHead],
    places: set[tuple[int, int]],
    reason: str,
    principal: Replica | None,
) -> dict[int, LogHead]:
    """Records the erasing events: in each log itself, or in its principal's where it is not written here."""
    by_log: dict[int, list[int]] = {}
    for no, seq in sorted(places):
        by_log.setdefault(no, []).append(seq)
    spoken: dict[int, LogHead] = {}
    for no, seqs in by_log.items():
        head = heads[no]
        if head.role == LogRole.OWN:
            _append(replica, head.id, kinds.erased(seqs, reason))
        else:
            _speak_for(replica, head, kinds.erased(seqs, reason, log=head.id), principal)
        spoken[no] = head
    return spoken


def _speak_for(replica: Replica, head: LogHead, drafts: list[Draft], principal: Replica | None) -> None:
    source = principal or replica
    for home in source.heads():
        if home.role == LogRole.OWN and source.event(home.id, 0).kind == kinds.PRINCIPAL_INCEPTED:
            if principal is None or principal is replica:
                _append(replica, home.id, drafts)
            else:
                principal.commit(Batch(home.id, drafts, [None] * len(drafts)))
                follow_log(principal, home.id, replica)
            return
    raise InvalidInput(
        f"the log {id_text(head.id)} is not written on this machine any more, nor is its principal's: "
        "forget it where they are",
        log=id_text(head.id),
    )


def _append(replica: Replica, log: bytes, drafts: list[Draft]) -> None:
    replica.append_in_transaction(Batch(log, drafts, [None] * len(drafts)))


def _clear(replica: Replica, heads: dict[int, LogHead], gone: dict[tuple[int, int], Event]) -> list[RowKey]:
    """Erases the leaves, then computes again every row they had a say in. Returns the rows that changed."""
    rows: set[RowKey] = set()
    mentions: list[tuple[bytes, int, int]] = []
    by_log: dict[int, list[int]] = {}
    for (no, seq), event in gone.items():
        by_log.setdefault(no, []).append(seq)
        replica.views.forget_fault(no, seq)
        keys = replica.views.keys_of(event)
        rows |= keys
        mentions += [(replica.views.what_of(key), no, seq) for key in keys]
        header = event.header
        if header.entity is not None:
            mentions.append((of_entity(header.entity), no, seq))
        mentions += [(of_person(person), no, seq) for person in header.about or ()]
        mentions += [(of_source(ref.log, ref.seq), no, seq) for ref in header.refs or () if ref.role == Role.SOURCE]
        mentions += [(of_cause(ref.log, ref.seq), no, seq) for ref in header.refs or () if ref.role == Role.CAUSE]
        mentions += [(OF_REQUESTS, no, seq), (OF_ASKED, no, seq)]
    replica.mentions.remove(mentions)
    known = {key for key in rows if key[0] in replica.registry.tables}
    for key in known:  # rows and index entries go while the text they hold can still be read
        replica.views.remove(key)
    replica.generations.drop_old_rows(by_log)
    taken = replica.generations.take_out(known)
    for no, seqs in by_log.items():
        erase(replica.logs, replica.logs.head(heads[no].id) or heads[no], sorted(seqs))
    replica.dirty()
    replica.drop_unknown_tables()
    for key in sorted(known):
        replica.views.recompute(replica.state, key)
    replica.generations.put_back(taken)
    changed = sorted(rows | replica.views.flush_figures(replica.state))
    replica.feed_rows(changed)
    return changed


def _followers(replica: Replica) -> list[Place]:
    """The engines that follow: rows go when their followers deliver that; events that were delivered stay."""
    found = []
    for record in SqliteFollowers(replica.file).all():
        what = f"engine {record.name} ({record.engine})"
        if record.topics:
            detail = f"what was delivered to {', '.join(record.topics)} is out of reach; the rest never will be"
            found.append(Place(what, Done.CANNOT, detail))
        else:
            found.append(Place(what, Done.PENDING, _IN_ENGINES))
    return found


def _elsewhere(spoken: dict[int, LogHead]) -> str:
    """What becomes of it where others hold these logs."""
    hours = limits.ERASURE_HOLD_MS // 3_600_000
    if all(head.role != LogRole.OWN for head in spoken.values()):
        return "those that hold it destroy it when they hear of this: the principal's own log says so"
    return (
        f"those that hold it hide it when they hear of this, and destroy it {hours} hours later (ERASURE_HOLD_MS), "
        "unless this log's key is revoked from before it"
    )


def _places(
    replica: Replica, result: Forgotten, rows: list[RowKey], spoken: dict[int, LogHead], foreign: list[str]
) -> list[Place]:
    gone = {*result.events, *result.derived}
    count = len(gone)
    tables = sorted({table for table, _ in rows})
    places = [
        Place(
            "log",
            Done.DONE,
            f"{counted(count, 'event')} in {counted(len(spoken), 'log')}: bodies, headers, blinds and salts destroyed",
        ),
        Place(
            "views",
            Done.DONE,
            f"{counted(len(rows), 'row')} removed or computed again ({', '.join(tables) or 'none'})",
        ),
        Place("full-text index", Done.DONE, "terms removed with secure delete"),
        Place("feed", Done.DONE, "holds keys alone; what was forgotten is not delivered"),
        *_followers(replica),
    ]
    settled = replica.settle_after_erasure()
    places.append(
        Place(
            "write-ahead log and free pages",
            Done.DONE if settled else Done.PENDING,
            "truncated and overwritten"
            if settled
            else "a reader, or the file's size, holds it back: scrub pending until the next write, open or doctor",
        )
    )
    places += [
        Place(copy.what, Done.CANNOT, f"{copy.path}: out of reach; {_advice(copy)}")
        for copy in copies_of(replica)
        if (not copy.event or copy.event in gone) and (not copy.kinds or not result.kinds.isdisjoint(copy.kinds))
    ]
    places.append(Place("other replicas", Done.HELD, _elsewhere(spoken)))
    unnamed = copies_unnamed(replica)
    if unnamed:
        detail = f"out of reach: made longer ago than the {limits.COPIES_MAX:,} (COPIES_MAX) whose paths are kept"
        places.append(Place(counted(unnamed, "older copy", "older copies"), Done.CANNOT, detail))
    if foreign:
        places.append(Place(OTHERS, Done.CANNOT, f"derived there: {', '.join(foreign[:5])}; ask them"))
    return places
