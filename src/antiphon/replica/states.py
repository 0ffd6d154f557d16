"""Room `replica` (imports all below it): how the views of a file stand: version, what is behind, rows and bytes."""

from __future__ import annotations

import msgspec

from antiphon.engines.sqlite import sizes
from antiphon.model.text import counted, event_text, id_text
from antiphon.model.times import iso
from antiphon.replica.core import Replica
from antiphon.replica.erasure import until_ms
from antiphon.replica.hear import Standings
from antiphon.views.generations import Building


class TableState(msgspec.Struct, frozen=True):
    """One table: rows, and bytes with its indexes and full text. `building_bytes` are of a generation to come."""

    table: str
    fingerprint: str
    rows: int
    bytes: int
    building_bytes: int = 0


class ViewState(msgspec.Struct, frozen=True):
    """One domain. *Units*: `behind` in events that are not in its rows yet."""

    domain: str
    version: int | None
    state: str
    behind: int
    events: int
    tables: list[TableState]

    @property
    def is_current(self) -> bool:
        """Whether its rows say all that the logs say."""
        return self.state == "current"


class HeldErasure(msgspec.Struct, frozen=True):
    """What somebody erased in a log that is written elsewhere, hidden here and not destroyed yet: how many events.

    `until` is when it is destroyed, unless the key that said so is revoked; None where that waits for a certificate.
    """

    log: str
    erased_by: str
    events: int
    heard: str
    until: str | None


def held_erasures(replica: Replica) -> list[HeldErasure]:
    """What is held in this file, what is destroyed first in front."""
    with replica.file.snapshot():
        holds = {place: hold for place, hold in replica.holds.all().items() if not hold.void}
        if not holds:
            return []
        known, found = Standings(lambda: replica.reader), []  # not the writer's, who may be at work in another thread
        heads = {head.no: head for head in replica.heads()}
        known.read_on(heads.values())
        for (no, by, seq), hold in holds.items():
            head, count = heads[no], sum(last - first for first, last in hold.ranges)
            until = until_ms(hold, (no, by, seq), head, known)
            event = event_text(bytes.fromhex(by) if by else head.id, seq)
            when = None if until == float("inf") else iso(int(until))
            found.append(HeldErasure(id_text(head.id), event, count, iso(hold.heard_ms), when))
    return sorted(found, key=lambda one: (one.until is None, one.until or "", one.erased_by))


def view_states(replica: Replica) -> list[ViewState]:
    """How every domain stands, those too that only other code knows. *Cost*: reads the whole file, to count bytes."""
    with replica.file.snapshot():
        state = replica.stored_state()
        building = replica.generations.all()
        total = sum(head.size for head in replica.generations.heads())
        held = sizes.bytes_by_table(replica.file)
        registry, found = replica.registry, []
        for name, domain in registry.domains.items():
            said, behind = _state_of(replica, name, building.get(name), total)
            tables = [
                TableState(
                    table.name,
                    table.fingerprint,
                    replica.tables.count(table),
                    held.get((table.name, False), 0),
                    held.get((table.name, True), 0),
                )
                for table in registry.tables.values()
                if registry.domain_of_table[table.name] == name
            ]
            found.append(ViewState(name, domain.version, said, behind, total, tables))
        for name in sorted(state.folded.keys() - registry.domains.keys()):
            lag = max(0, state.events - state.behind[name]) if name in state.behind else 0
            found.append(ViewState(name, None, "not known here", lag, total, []))
    return found


def _state_of(replica: Replica, name: str, building: Building | None, total: int) -> tuple[str, int]:
    """(state in words, events behind) of a domain that is known here."""
    state = replica.stored_state()
    domain, fingerprint = replica.registry.domains[name], replica.registry.fingerprints[name]
    stored = state.folded.get(name)
    lag = max(0, state.events - state.behind[name]) if name in state.behind else 0
    if stored is not None and domain.is_older_than(stored):
        return "left to newer code", 0
    if building is not None and building.fingerprint == fingerprint:
        left = max(0, total - building.folded)
        if building.fault:
            return f"stopped after {counted(building.folded, 'event')}: {building.fault}", left
        return f"building {100 * building.folded // max(1, total)} %", left
    if not state.events or (stored == fingerprint and name not in state.behind):
        beside = "" if building is None else ", newer code builds another beside it"
        return "current" + beside, 0
    if building is not None:
        return "left to newer code", lag
    return "to be folded when it is next opened to write", lag if stored == fingerprint else total
