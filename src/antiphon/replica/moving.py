"""Room `replica` (imports all below it): what principals say of homes that moved, and what follows for the rows here.
What they grant is read along: `replica/grants.py`.

It is looked up by every merge (`replica/authority.py`), so when something new is said, the rows that hang on it are
computed again, and requests whose decisions are void now wait for an answer again.
"""

from __future__ import annotations

from typing import Final

from antiphon.identity.validity import Standing
from antiphon.log import kinds
from antiphon.model.errors import ProtocolViolation
from antiphon.model.event import Event, Role
from antiphon.model.table import Table
from antiphon.model.text import id_text
from antiphon.model.values import key_of
from antiphon.replica import grants
from antiphon.replica.authority import Move
from antiphon.replica.core import Replica
from antiphon.replica.enrol import homes_of, standing_in
from antiphon.views.batch import RowKey
from antiphon.views.store import OF_ASKED

_ALL: Final = 1 << 40
"""As many rows as a file can have."""


def fault_of(standing: Standing, source: bytes, target: bytes) -> str | None:
    """Why a principal cannot move this home, None where it can."""
    for log in (source, target):
        if standing.logs.get(log) not in standing.agents:
            return f"the log {id_text(log)} is none that this principal has certified for an agent of its own"
    if target in standing.cut:
        return f"the log {id_text(target)} was revoked: it can hold no home"
    return None


def learn(replica: Replica, principal_log: bytes, *, standing: Standing | None = None) -> None:
    """Inside a transaction: lets count what a principal's logs here, of which one is named, say of agents and homes."""
    standing = standing or standing_in(replica, principal_log)
    said: list[tuple[int, bytes, int, Move]] = []
    granting: list[Event] = []
    for home in homes_of(replica, standing.principal):
        for event in replica.writing_reader.events(home):
            if event.body is None or not standing.counts(home.id, event.seq):
                continue
            if event.kind in grants.KINDS:
                granting.append(event)
            if event.kind != kinds.HOME_MOVED:
                continue
            try:
                told = kinds.read_home_moved(event.body, event.seq)
            except ProtocolViolation:
                continue
            if fault_of(standing, told.source, told.target) is None:
                said.append((event.stamp, event.log, event.seq, Move(told.source, told.size, told.target)))
    moves = {move.source: move for *_, move in sorted(said, key=lambda one: one[:3])}
    before = replica.authority.kept(standing.principal)
    changed = {source for source in {*before, *moves} if before.get(source) != moves.get(source)}
    lines = {source: replica.authority.line(source) for source in {*before, *moves}}
    kin = replica.authority.kin(standing.principal)
    replica.authority.keep(standing.principal, list(moves.values()), sorted(standing.agents))
    granted = grants.grants_in(replica, standing.principal, granting)
    grants.settle(replica, standing.principal, granted, again=kin != sorted(standing.agents))
    certified = replica.authority.provisional() & standing.logs.keys()
    if certified:
        replica.authority.keep_provisional(replica.authority.provisional() - certified)
        changed |= certified
        lines |= {log: replica.authority.line(log) for log in certified}
    if not changed:
        return
    replica.generations.restart()
    for source in changed & moves.keys():
        _ask_again(replica, source, moves[source].size)
    touched = _hanging_on(replica, changed, lines)
    for key in sorted(touched):
        replica.views.recompute(replica.state, key)
    replica.feed_rows(sorted(touched | replica.views.flush_figures(replica.state)))


def _hanging_on(replica: Replica, changed: set[bytes], lines: dict[bytes, list[bytes]]) -> set[RowKey]:
    """The rows that name, as their home, a log whose line has changed."""
    touched: set[RowKey] = set()
    for table in replica.registry.tables.values():
        if table.home is None or not replica.tables.exists(table):
            continue
        for named in replica.tables.distinct(table, table.home):
            if changed & {*lines.get(named, (named,)), *replica.authority.line(named)}:
                touched |= _rows_of(replica, table, named)
    listed = replica.rejections.list(limit=_ALL)
    return touched | {(table, key) for table, key, _, _, rule, _ in listed if rule == "home"}


def _rows_of(replica: Replica, table: Table, named: bytes) -> set[RowKey]:
    found = replica.tables.select(table, {table.home or "": named}, order="n", limit=_ALL)
    return {(table.name, key_of(table, row.values)) for row in found}


def _ask_again(replica: Replica, source: bytes, size: int) -> None:
    head = replica.logs.head(source)
    if head is None:
        return
    numbers = {other.id: other.no for other in replica.heads()}
    for event in replica.writing_reader.events(head, size):
        causes = [ref for ref in event.header.refs or () if ref.role == Role.CAUSE and ref.log in numbers]
        if causes:
            replica.mentions.add([(OF_ASKED, numbers[ref.log], ref.seq) for ref in causes])
