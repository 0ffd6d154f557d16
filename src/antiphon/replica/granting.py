"""Room `replica` (imports all below it): giving and withdrawing grants in a principal's log, and whom a file trusts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from antiphon.log import kinds
from antiphon.log.store import LogHead, LogRole
from antiphon.model import limits
from antiphon.model.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from antiphon.model.event import Draft, Event, encode_body
from antiphon.model.table import Merge, Table
from antiphon.model.text import event_text, id_text, parse_event
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.enrol import standing_in
from antiphon.replica.grants import fault_of, grant_of, recompute_under, settle
from antiphon.views.domain import Registry
from antiphon.views.grants import Grant


class Granted(msgspec.Struct, frozen=True):
    """A grant, as it is shown: ids are text. *Shapes*: `ended` is None while it stands, else the last accepted size of
    each log of the agent that it was withdrawn from. *Units*: ms since 1970.
    """

    id: str
    principal: str
    agent: str
    role: str
    tables: list[str] | None
    ceiling: int | None
    given_ms: int
    ended: dict[str, int] | None = None


def give(
    principal: Replica,
    principal_log: bytes,
    *,
    agent: bytes,
    role: str,
    tables: str | Sequence[str] | None = None,
    ceiling: int | None = None,
) -> Granted:
    """A grant, recorded in a principal's log, which is written in this file; it counts here when this returns.

    Raises InvalidInput for what no declared table asks for, LimitExceeded, Conflict where the log is written elsewhere.
    """
    named = [tables] if isinstance(tables, str) else None if tables is None else list(dict.fromkeys(tables))
    body = kinds.GrantGiven(role, agent, named, ceiling)
    fault = _type_fault(body) or fault_of(body) or _fault_in(principal.registry, body)
    if fault:
        raise InvalidInput(f"this grant would count for nothing: {fault}")
    with principal.transaction():
        home = _written_here(principal, principal_log)
        before = principal.authority.grants_by(home.owner)
        if len(before) >= limits.GRANTS_MAX:
            raise LimitExceeded(
                "GRANTS_MAX",
                got=len(before) + 1,
                allowed=limits.GRANTS_MAX,
                what="the number of this principal's grants",
            )
        event = _append(principal, home, kinds.GRANT_GIVEN, body)
        leaf = principal.writing_reader.leaf(principal.head(home.id), event.seq)
        grant = grant_of(body, event, leaf, home.owner)
        settle(principal, home.owner, {**before, (grant.log, grant.seq): grant})
    return shown(grant)


def withdraw(principal: Replica, principal_log: bytes, grant: str, *, sizes: Mapping[bytes, int]) -> Granted:
    """A grant, named by its id, that counts no more: of each log of the agent from these sizes on, of others at all.

    Said again, the last word counts, so that wrong sizes can be put right. Raises NotFound, InvalidInput, Conflict.
    """
    name = parse_event(grant)
    for log, size in sizes.items():
        if len(log) != 32 or not 0 <= size <= limits.LOG_EVENTS_MAX:
            raise InvalidInput(f"a grant is withdrawn from a log at its size, and {size} is none")
    with principal.transaction():
        home = _written_here(principal, principal_log)
        before = principal.authority.grants_by(home.owner)
        old = before.get(name)
        if old is None:
            raise NotFound(
                f"the principal {id_text(home.owner)} has given no grant {grant}: `antiphon grants` lists them"
            )
        owners = standing_in(principal, principal_log).logs
        for log in sizes:
            if owners.get(log, old.agent) != old.agent or log == home.id:
                raise InvalidInput(f"{id_text(log)} is no log of {id_text(old.agent)}, to whom {grant} was given")
        body = kinds.GrantWithdrawn(name, sorted(sizes.items()))
        _append(principal, home, kinds.GRANT_WITHDRAWN, body)
        new = msgspec.structs.replace(old, ended=tuple(body.sizes))
        settle(principal, home.owner, {**before, name: new})
    return shown(new)


def grants_by(replica: Replica, principal: bytes) -> list[Granted]:
    """What a principal has granted, as far as this file knows, oldest first."""
    found = replica.authority.grants_by(principal).values()
    return [shown(grant) for grant in sorted(found, key=lambda grant: (grant.given, grant.log, grant.seq))]


def sizes_in(replicas: Iterable[Replica], agent: bytes) -> dict[bytes, int]:
    """How much there is, in these files, of each log of an agent: what is accepted when a grant is withdrawn now."""
    found: dict[bytes, int] = {}
    for replica in replicas:
        for head in replica.heads():
            if head.owner == agent:
                found[head.id] = max(head.size, found.get(head.id, 0))
    return found


def trust(replica: Replica, principals: Iterable[bytes] | None) -> None:
    """Lets these principals, or (None) those of a file's own agents, grant roles for rows that are nobody's.

    They are the roots of trust: files that trust others may hold other rows. Rows that hang on it are computed again.
    """
    wanted = None if principals is None else frozenset(principals)
    if wanted == replica.authority.named():
        return
    with replica.transaction():
        before = replica.authority.trusted()
        replica.authority.keep_trusted(wanted)
        changed = sorted(before ^ replica.authority.trusted())
        recompute_under(replica, [grant for one in changed for grant in replica.authority.grants_by(one).values()])


def shown(grant: Grant) -> Granted:
    """A grant as it is shown."""
    ended = None if grant.ended is None else {id_text(log): size for log, size in grant.ended}
    tables = None if grant.tables is None else list(grant.tables)
    return Granted(
        event_text(grant.log, grant.seq), id_text(grant.principal), id_text(grant.agent), grant.role, tables,
        grant.ceiling, grant.given >> 16, ended,
    )  # fmt: skip


def _written_here(principal: Replica, log: bytes) -> LogHead:
    home = principal.head(log)
    if home.role != LogRole.OWN:
        raise Conflict(
            f"the principal's log {id_text(log)} is not written in {principal.file.path}: grant where it is, or "
            "`antiphon adopt` if that is gone for good"
        )
    return home


def _append(principal: Replica, home: LogHead, kind: str, body: kinds.GrantGiven | kinds.GrantWithdrawn) -> Event:
    made = principal.append_in_transaction(Batch(home.id, [Draft(kind, encode_body(body))], [body]))
    header = made.headers[0]
    return Event(home.id, made.first, header, made.bodies[0], header.hlc, home.owner)


def _type_fault(body: kinds.GrantGiven) -> str | None:
    try:
        msgspec.convert(msgspec.to_builtins(body, builtin_types=(bytes,)), kinds.GrantGiven)
    except msgspec.ValidationError as error:
        return str(error)
    return None


def _fault_in(registry: Registry, body: kinds.GrantGiven) -> str | None:
    """Why no table that is declared here could be meant, None when one could."""
    named = [registry.table(name) for name in body.tables] if body.tables is not None else registry.tables.values()
    asked = [table for table in named if _asks(table, body)]
    useless = [table.name for table in named if table not in asked] if body.tables is not None else []
    what = f"the role {body.role!r}"
    if useless:
        return f"the table {useless[0]!r} asks nobody for {what}" + (
            "" if body.ceiling is None else ", nor for a ceiling"
        )
    if not asked:
        return f"no table declared here asks for {what}; ANTIPHON_DOMAINS names domains of your own"
    return None


def _asks(table: Table, body: kinds.GrantGiven) -> bool:
    rules = (table.writers, *(column.writers for column in table.columns if column.writers is not None))
    if any(rule.rule == "role" and rule.name == body.role for rule in rules):
        return True
    return body.ceiling is not None and any(column.merge == Merge.HIGHEST for column in table.columns)
