"""Room `replica` (imports all below it): what principals grant to agents, and what follows for the rows here.

A grant is looked up by every merge of an event that cites it (`views/merge.py`). So whoever hears of one late, or of
its end, computes again what such events wrote: they are found under the grant, as all causes are (`of_cause`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from antiphon.log import kinds
from antiphon.log.store import LogHead
from antiphon.model import limits
from antiphon.model.declared import ROLE
from antiphon.model.errors import NotFound, ProtocolViolation
from antiphon.model.event import HEADER_VERSION, Draft, Event, Header, Ref, Role
from antiphon.model.table import Merge, Table
from antiphon.model.values import key_values
from antiphon.views.batch import RowKey
from antiphon.views.domain import Op, Write
from antiphon.views.grants import Grant
from antiphon.views.merge import Authority, Placed, grants_on
from antiphon.views.store import of_cause

if TYPE_CHECKING:
    from antiphon.replica.commit import Batch, Writer

KINDS: Final = frozenset({kinds.GRANT_GIVEN, kinds.GRANT_WITHDRAWN})
Name = tuple[bytes, int]
"""A grant's log and seq."""
_HLC_MAX: Final = (1 << 63) - 1
CEILINGS_CITED_MAX: Final = 8
"""Principals whose ceilings one write cites where it is not known here who made the row."""


# -- what a principal says -------------------------------------------------------------------------------------------


def grants_in(replica: Writer, principal: bytes, events: Iterable[Event]) -> dict[Name, Grant]:
    """What these events of a principal's logs grant, by name; the first GRANTS_MAX of them in the one order.

    What cannot be read, or fits no grant, says nothing.
    """
    found: dict[Name, Grant] = {}
    heads = {head.id: head for head in replica.heads_of(principal)}
    ended: dict[Name, tuple[tuple[bytes, int], ...]] = {}
    for event in sorted(events, key=lambda event: (event.stamp, event.log, event.seq)):
        try:
            told = kinds.read_grant(event.kind, event.body or b"", event.seq)
        except ProtocolViolation:
            continue
        if isinstance(told, kinds.GrantWithdrawn):
            ended[told.grant] = tuple(sorted(told.sizes))
        elif fault_of(told) is None and len(found) < limits.GRANTS_MAX:
            leaf = replica.writing_reader.leaf(heads[event.log], event.seq)
            found[event.log, event.seq] = grant_of(told, event, leaf, principal)
    for name in ended.keys() & found.keys():
        found[name] = msgspec.structs.replace(found[name], ended=ended[name])
    return found


def grant_of(told: kinds.GrantGiven, event: Event, leaf: bytes, principal: bytes) -> Grant:
    """The grant that an event of a principal's log gives."""
    tables = None if told.tables is None else tuple(told.tables)
    return Grant(event.log, event.seq, leaf, principal, told.agent, told.role, tables, told.ceiling, event.header.hlc)


def fault_of(told: kinds.GrantGiven) -> str | None:
    """What is wrong with a grant, None when nothing is."""
    if not ROLE.fullmatch(told.role):
        return f"{told.role[:80]!r} is no name for a role: use lower-case letters, digits and _, at most 63"
    if len(told.agent) != 32:
        return "the agent is named by the 32 bytes of its id"
    if told.tables is not None and not 0 < len(told.tables) <= limits.GRANT_TABLES_MAX:
        return f"it names {len(told.tables):,} tables; it can name 1 to GRANT_TABLES_MAX ({limits.GRANT_TABLES_MAX})"
    if told.ceiling is not None and not 0 <= told.ceiling < 1 << 63:
        return f"its ceiling is {told.ceiling}, which is outside 0 to 2^63 - 1"
    return None


def settle(replica: Writer, principal: bytes, said: Mapping[Name, Grant], *, again: bool = False) -> None:
    """Inside a transaction: lets these be a principal's grants, in place of those before, and computes again the rows
    of events that go by what has changed (by any of them with `again`: others are its agents now).
    """
    before = replica.authority.grants_by(principal)
    changed = {name for name in {*before, *said} if again or before.get(name) != said.get(name)}
    replica.authority.keep_grants(principal, said)
    recompute_under(replica, [said.get(name) or before[name] for name in sorted(changed)])


def recompute_under(replica: Writer, changed: Iterable[Grant]) -> None:
    """Inside a transaction: computes again the rows that events under these grants write to, here and in what is being
    made, and feeds them. *Cost*: of each such event and row, all in one transaction.
    """
    keys: set[RowKey] = set()
    unknown = False
    heads: dict[int, LogHead] = {}
    for grant in changed:
        for no, seq in replica.mentions.find(of_cause(grant.log, grant.seq)):
            heads = heads or {head.no: replica.cut_head(head) for head in replica.heads()}
            try:
                event = replica.writing_reader.event(heads[no], seq)
            except (NotFound, KeyError):
                continue
            if event.author == grant.agent:  # whoever cites what is not his changes nothing
                unknown |= event.kind not in replica.registry.kinds
                keys |= replica.views.keys_of(event)
    if unknown:  # for whoever knows their domain
        for name in replica.state.folded.keys() - replica.views.live:
            replica.state.behind.setdefault(name, replica.state.events)
    if not keys and not unknown:
        return
    replica.generations.restart()
    for key in sorted(keys):
        replica.views.recompute(replica.state, key)
    replica.feed_step(keys | replica.views.flush_figures(replica.state))


# -- what a writer cites ---------------------------------------------------------------------------------------------


def citing(replica: Writer, head: LogHead, batch: Batch) -> Batch:
    """Inside a transaction: the batch, its events citing the grants that they need for what they write.

    *Cost*: nothing where no table of their domains takes grants, or nobody has granted this agent any.
    """
    kinds_here = replica.registry.granted_kinds
    if all(draft.kind not in kinds_here for draft in batch.drafts):
        return batch
    held = [grant for grant in replica.authority.grants_of(head.owner) if grant.stands(head.id, head.size)]
    if not held:
        return batch
    made: dict[RowKey, dict[str, Any]] = {}
    drafts = []
    for draft, value in zip(batch.drafts, batch.values, strict=True):
        named = list(draft.refs or ())
        for grant in _needed(replica, head, draft, value, held, made) if draft.kind in kinds_here else ():
            ref = Ref(Role.CAUSE, grant.log, grant.seq, grant.leaf)
            if ref not in named and len(named) < limits.REFS_PER_EVENT_MAX:
                named.append(ref)
        drafts.append(msgspec.structs.replace(draft, refs=tuple(named)) if named else draft)
    return type(batch)(batch.log, drafts, batch.values)


def _needed(
    replica: Writer, head: LogHead, draft: Draft, value: Any, held: list[Grant], made: dict[RowKey, dict[str, Any]]
) -> list[Grant]:
    """The grants to cite for what this event will write; `made` are rows that events before it in the batch make."""
    registry = replica.registry
    entity = bytes(16) if draft.entity == b"" else draft.entity
    header = Header(
        HEADER_VERSION, head.hlc, draft.occurred, draft.kind, draft.kind_version, entity, draft.about, draft.scope,
        draft.circle, draft.refs,
    )  # fmt: skip
    event = Event(head.id, head.size, header, draft.body, _HLC_MAX, head.owner)
    found: list[Grant] = []
    try:
        if value is None:
            value = registry.kinds[draft.kind].read(draft.body, draft.kind_version)
        writes = [write for fold in registry.folds.get(draft.kind, ()) for write in fold(event, value)]
    except Exception:  # noqa: BLE001  # whatever is wrong with it, the commit will say so
        return []
    for write in writes:
        table = registry.tables.get(write.table)
        if table is not None and table.takes_grants:
            new = draft.entity == b"" and write.key == entity  # not the rows that its body names
            found += _for_write(replica, event, table, write, held, made, new=new)
    return found


def _for_write(
    replica: Writer,
    event: Event,
    table: Table,
    write: Write,
    held: list[Grant],
    made: dict[RowKey, dict[str, Any]],
    *,
    new: bool,
) -> list[Grant]:
    key = (table.name, write.key)
    row = None if new else made.get(key)
    if row is None and not new:
        stored = replica.tables.row(table, write.key)
        row = None if stored is None else stored.values
    if write.op == Op.ASSERT and not new:
        made[key] = {**(row or {}), **write.values}
    author = key_values(table, write.key)[table.key.index(table.agent_in_key)] if table.agent_in_key else None
    if author is None and new:
        author = event.author
    elif author is None and table.minted and _is_scored(table, write):
        author = replica.views.author_of(table, write.key)  # whose ceilings count
    cited = tuple((grant.log, grant.seq, grant.leaf) for grant in held)
    placed = Placed(event.stamp, event.log, event.seq, write, 0, event.author, new, cited)
    return _to_cite(table, placed, held, replica.authority, row=row, author=author)


def _is_scored(table: Table, write: Write) -> bool:
    return any(column.merge == Merge.HIGHEST and column.name in write.values for column in table.columns)


def _to_cite(
    table: Table,
    placed: Placed,
    held: list[Grant],
    authority: Authority,
    *,
    row: Mapping[str, Any] | None,
    author: bytes | None,
) -> list[Grant]:
    """Of the grants that an agent holds, those to cite for one write: the best for each role that it needs, and for its
    ceiling the highest; where the row's author is not known, the highest of each principal.
    """
    written = [table.column(name) for name in placed.write.values if name in table.by_name]
    of_row = placed.write.op != Op.UPDATE or any(column.writers is None for column in written) or not written
    rules = [*([table.writers] if of_row else []), *(c.writers for c in written if c.writers is not None)]
    found: list[Grant] = []
    for rule in rules:
        if rule.rule == "role":
            usable = grants_on(table, placed, rule, authority, row=row, author=author)
            found += sorted((one for one in usable if one.role == rule.name), key=_worth)[-1:]
    for rule in (column.writers or table.writers for column in written if column.merge == Merge.HIGHEST):
        if author is None and rule.rule != "role" and table.minted:
            usable = [one for one in held if one.tables is None or table.name in one.tables]
        else:
            usable = grants_on(table, placed, rule, authority, row=row, author=author)
        best = {one.principal: one for one in sorted(usable, key=_worth) if one.ceiling is not None}
        found += list(best.values())[-CEILINGS_CITED_MAX:]
    return list(dict.fromkeys(found))


def _worth(grant: Grant) -> tuple[int, int, bytes, int]:
    """An order of grants: the higher ceiling, then the newer."""
    return (-1 if grant.ceiling is None else grant.ceiling, grant.given, grant.log, grant.seq)
