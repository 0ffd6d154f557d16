"""Room `replica` (imports all below it): making principals, agents and instances, and following a principal's log."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from antiphon.identity.keystore import KeyStore, wrap_public
from antiphon.identity.signing import SigningKey, Statement, decode_statement
from antiphon.identity.statements import (
    AgentInception,
    InstanceCertificate,
    PrincipalInception,
    ProvisionalInstance,
    Revocation,
    log_id_of,
    root_commitment,
)
from antiphon.identity.validity import Evidence, Standing, standing_of
from antiphon.log import kinds
from antiphon.log.ingest import ingest, parts_of
from antiphon.log.store import LogHead, LogRole
from antiphon.log.tree import Frontier
from antiphon.model.errors import Conflict, NotFound
from antiphon.model.event import Draft
from antiphon.model.text import id_text
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.erasure import note_said
from antiphon.world.entropy import Entropy


class NewPrincipal(msgspec.Struct, frozen=True):
    """A principal just made. `recovery` holds its root keys: to be kept apart, never in the key store."""

    id: bytes
    log: bytes
    recovery: bytes

    def __repr__(self) -> str:
        return f"NewPrincipal({id_text(self.id)})"


class NewAgent(msgspec.Struct, frozen=True):
    """An agent, and the log that its first instance writes."""

    id: bytes
    principal: bytes
    log: bytes
    key: bytes


def draft(kind: str, statement: Statement) -> Draft:
    """The event that records a statement."""
    return Draft(kind, statement.encode())


def _append(replica: Replica, log: bytes, drafts: Sequence[Draft]) -> None:
    replica.append_in_transaction(Batch(log, list(drafts), [None] * len(drafts)))


class Drawn(msgspec.Struct, frozen=True):
    """A principal whose keys are made, and whose log is not yet."""

    made: NewPrincipal
    enrol: SigningKey
    inception: Statement

    def __repr__(self) -> str:
        return f"Drawn({self.made!r})"


def draw_principal(keys: KeyStore, entropy: Entropy) -> Drawn:
    """A new principal; its enrol and wrapping keys go to the key store."""
    draw = entropy.bytes
    root, following, enrol, wrapping = (
        SigningKey(draw(32)),
        SigningKey(draw(32)),
        SigningKey(draw(32)),
        draw(32),
    )
    begin = PrincipalInception(root.public, root_commitment(following.public), enrol.public, wrap_public(wrapping))
    statement = begin.statement().signed_by(root, enrol)
    principal = statement.id
    log = log_id_of(principal, enrol.public)
    keys.put_all({f"log:{log.hex()}": enrol.seed, f"wrap:{principal.hex()}": wrapping})
    return Drawn(NewPrincipal(principal, log, root.seed + following.seed), enrol, statement)


def begin_principal(replica: Replica, drawn: Drawn) -> NewPrincipal:
    """The log of a principal, begun in this file. In a transaction."""
    replica.add_log(drawn.made.id, drawn.enrol, drawn.made.log)
    _append(replica, drawn.made.log, [draft(kinds.PRINCIPAL_INCEPTED, drawn.inception)])
    return drawn.made


def create_principal(replica: Replica) -> NewPrincipal:
    """A new principal with its log in this file; its enrol and wrapping keys go to the key store. In a transaction."""
    return begin_principal(replica, draw_principal(replica.keys, replica.entropy))


def enrol_agent(replica: Replica, principal_log: bytes) -> NewAgent:
    """A new agent with its first instance, both recorded in its principal's log here. In a transaction.

    The instance's key is in the key store; its log is not made yet (see `Replica.add_log`).
    """
    principal = replica.head(principal_log)
    enrol = replica.signer(principal)
    draw = replica.entropy.bytes
    instance, wrapping = SigningKey(draw(32)), draw(32)
    agent = AgentInception(principal.owner, enrol.public, instance.public, draw(16)).statement()
    agent = agent.signed_by(enrol, instance)
    certificate = InstanceCertificate(
        agent.id, instance.public, wrap_public(wrapping), b"", 0, b"", enrol.public
    ).statement()
    log = log_id_of(agent.id, instance.public)
    replica.keys.put_all({f"log:{log.hex()}": instance.seed, f"wrap:{log.hex()}": wrapping})
    _append(
        replica,
        principal_log,
        [
            draft(kinds.AGENT_INCEPTED, agent),
            draft(kinds.INSTANCE_CERTIFIED, certificate.signed_by(enrol, instance)),
        ],
    )
    return NewAgent(agent.id, principal.owner, log, instance.public)


def follow_log(source: Replica, log_id: bytes, target: Replica) -> LogHead:
    """Copies what is new of a log from one file to another, verified, as somebody else's log."""
    head = source.head(log_id)
    with target.transaction():
        known = target.logs.head(log_id)
        if known is not None and known.size >= head.size:
            return known
        if known is None:
            known = LogHead(0, head.id, head.owner, head.key, LogRole.FOREIGN)
            target.logs.save_head(known)
        first, said = known.size, list[tuple[int, list[tuple[int, int]]]]()
        parts = parts_of(source.logs, source.reader, head, first=first)
        taken = ingest(target.logs, known, parts, head.note, said)
        note_said(target, taken, said)
        if known.role == LogRole.FOLLOWED:
            target.fold_followed(taken, first)
    target.forget_caches()
    return taken


def homes_of(replica: Replica, principal: bytes) -> list[LogHead]:
    """A principal's logs in this file, oldest first: one, and another for each time it was recovered."""
    return [head for head in replica.heads_of(principal) if head.size]


def follow_homes(source: Replica, log_id: bytes, target: Replica) -> None:
    """Copies what is new of a principal's logs, of which one is named, from one file to another."""
    for head in homes_of(source, source.head(log_id).owner):
        follow_log(source, head.id, target)


def new_instance(replica: Replica, agent: bytes, principal: Replica | None) -> LogHead:
    """A new log for an agent whose old one is not written here any more: this file is a copy, or was restored.

    Certified at once where the principal's log is written on this machine (`principal` is its file), else provisional.
    """
    past = [head for head in replica.heads() if head.owner == agent and head.role == LogRole.PAST]
    if not past:
        raise NotFound(f"this file holds no log of the agent {id_text(agent)}")
    parent = max(past, key=lambda head: (head.hlc, head.no))
    draw = replica.entropy.bytes
    instance, wrapping = SigningKey(draw(32)), draw(32)
    log = log_id_of(agent, instance.public)
    replica.keys.put_all({f"log:{log.hex()}": instance.seed, f"wrap:{log.hex()}": wrapping})
    root = root_of(parent)
    home = _writable_home(principal)
    if home is not None and principal is not None:
        enrol = principal.signer(home)
        certificate = InstanceCertificate(
            agent, instance.public, wrap_public(wrapping), parent.id, parent.size, root, enrol.public
        ).statement()
        said = draft(kinds.INSTANCE_CERTIFIED, certificate.signed_by(enrol, instance))
        principal.commit(Batch(home.id, [said], [None]))
        follow_homes(principal, home.id, replica)
    with replica.transaction():
        for other in replica.heads():
            if other.owner == agent and other.role == LogRole.OWN:  # another thread or process was faster
                return other
        head = replica.add_log(agent, instance, log)
        if home is None:
            parent_key = SigningKey(replica.keys.get(f"log:{parent.id.hex()}"))
            claim = ProvisionalInstance(
                agent, instance.public, wrap_public(wrapping), parent_key.public, parent.size, root
            ).statement()
            _append(replica, log, [draft(kinds.INSTANCE_PROVISIONAL, claim.signed_by(parent_key, instance))])
            replica.authority.keep_provisional(replica.authority.provisional() | {log})
    replica.forget_caches()
    return replica.head(head.id)


def is_provisional(replica: Replica, head: LogHead) -> bool:
    """Whether a log began as a clone's, without a certificate."""
    first = replica.reader.header(head, 0)
    return first is not None and first.kind == kinds.INSTANCE_PROVISIONAL


def certify(principal: Replica, principal_log: bytes, replica: Replica, log_id: bytes, instance: SigningKey) -> None:
    """Certifies a provisional log from the file that holds its principal's log; needs the new instance's key too."""
    first = replica.event(log_id, 0)
    if first.kind != kinds.INSTANCE_PROVISIONAL or first.body is None:
        raise Conflict(f"the log {id_text(log_id)} is not provisional")
    claim = ProvisionalInstance.read(decode_statement(first.body))
    enrol = principal.signer(principal.head(principal_log))
    certificate = InstanceCertificate(
        claim.agent, claim.instance_key, claim.wrap_key, claim.parent, claim.parent_size, claim.parent_root,
        enrol.public,
    ).statement()  # fmt: skip
    said = draft(kinds.INSTANCE_CERTIFIED, certificate.signed_by(enrol, instance))
    principal.commit(Batch(principal_log, [said], [None]))
    follow_homes(principal, principal_log, replica)


def revoke(principal: Replica, principal_log: bytes, log: LogHead) -> None:
    """Voids what a log adds past the size it has now."""
    head = principal.head(principal_log)
    enrol = principal.signer(head)
    statement = Revocation(head.owner, log.id, log.size, root_of(log), enrol.public).statement()
    principal.commit(Batch(principal_log, [draft(kinds.KEY_REVOKED, statement.signed_by(enrol))], [None]))


def standing_in(replica: Replica, principal_log: bytes) -> Standing:
    """Who may speak for a principal, by what its logs in this file, of which one is named, say."""
    evidence: list[Evidence] = []
    inception: Statement | None = None
    for home in homes_of(replica, replica.head(principal_log).owner):
        for event in replica.reader.events(home):
            if event.kind not in kinds.STATEMENT_KINDS or event.body is None:
                continue
            statement = decode_statement(event.body)
            if event.kind == kinds.PRINCIPAL_INCEPTED and inception is None:
                inception = statement
            else:
                evidence.append(Evidence(statement, home.id, event.seq))
    if inception is None:
        raise NotFound(f"the log {id_text(principal_log)} has no inception: it is not a principal's")
    return standing_of(inception, evidence)


def _writable_home(principal: Replica | None) -> LogHead | None:
    if principal is None:
        return None
    for head in principal.heads():
        if head.role == LogRole.OWN and head.owner != b"" and log_id_of(head.owner, head.key) == head.id:
            first = principal.event(head.id, 0)
            if first.kind == kinds.PRINCIPAL_INCEPTED:
                return head
    return None


def root_of(head: LogHead) -> bytes:
    """The root of a log as it stands."""
    return Frontier(head.size, head.frontier).root()
