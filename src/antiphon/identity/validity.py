"""Room `identity` (imports `world`, `model`): who may speak for whom: the least fixed point from inception.

Starts from a principal's inception and its own log, and adds what valid keys certified until nothing more
follows. A revocation cuts a log at its last good size: what was certified past that never counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

import msgspec

from antiphon.identity.signing import Statement
from antiphon.identity.statements import (
    AgentInception,
    EnrolDelegation,
    InstanceCertificate,
    PrincipalInception,
    ProvisionalInstance,
    Revocation,
    RootRotation,
    log_id_of,
    root_commitment,
)
from antiphon.model.errors import ProtocolViolation


class Evidence(msgspec.Struct, frozen=True):
    """A statement and where it stands: the log that recorded it, and its seq there."""

    statement: Statement
    log: bytes
    seq: int


class Standing(msgspec.Struct):
    """What a principal's statements add up to.

    *Shapes*: `agents` are agent ids; `logs` maps each certified log to its owner; `cut` maps each revoked log to
    its last good size, `good_roots` to its root then; `enrol_keys` are those that may sign for the principal.
    """

    principal: bytes
    root_key: bytes
    next_root: bytes
    enrol_keys: set[bytes]
    agents: set[bytes]
    logs: dict[bytes, bytes]
    cut: dict[bytes, int]
    ignored: list[str]
    good_roots: dict[bytes, bytes] = {}

    def left_of(self, log: bytes) -> tuple[int, bytes] | None:
        """The size and root that a revocation leaves standing of a log, None when it was not revoked."""
        return (self.cut[log], self.good_roots[log]) if log in self.cut else None

    def counts(self, log: bytes, seq: int) -> bool:
        """Whether an event at this place is certified and not revoked."""
        return log in self.logs and seq < self.cut.get(log, 1 << 62)


def standing_of(inception: Statement, evidence: Iterable[Evidence]) -> Standing:
    """Who may speak for this principal, by the evidence; what does not hold is listed in `ignored`.

    Raises ProtocolViolation when the inception itself is not signed as it must be.
    """
    begin = PrincipalInception.read(inception)
    principal = inception.id
    home = log_id_of(principal, begin.enrol_key)
    found = Standing(principal, begin.root_key, begin.next_root, {begin.enrol_key}, set(), {home: principal}, {}, [])
    waiting = sorted(evidence, key=lambda item: (item.log != home, item.log, item.seq))
    for item in waiting:
        if item.log == home:
            _govern(found, item)
    claims = [(item, claim) for item in waiting if (claim := _read(found, item)) is not None]
    moved = True
    while moved:
        rest = [(item, claim) for item, claim in claims if not _admit(found, item, claim)]
        moved = len(rest) < len(claims)
        claims = rest
    return found


def provisional_logs(standing: Standing, statements: Iterable[Statement]) -> dict[bytes, bytes]:
    """The logs of clones that nobody has certified yet, to their agents: those that grew from a log that counts.

    A revoked log's key vouches for nobody; nor does a clone's whose own line leads nowhere.
    """
    claims: list[ProvisionalInstance] = []
    for statement in statements:
        if statement.use == "provisional":
            with contextlib.suppress(ProtocolViolation):
                claims.append(ProvisionalInstance.read(statement))
    known: dict[bytes, bytes] = {}
    moved = True
    while moved:
        new = {
            claim.log: claim.agent
            for claim in claims
            if claim.log not in known
            and claim.parent not in standing.cut
            and claim.agent in (standing.logs.get(claim.parent), known.get(claim.parent))
            and claim.agent in standing.agents
        }
        known.update(new)
        moved = bool(new)
    return known


def _govern(found: Standing, item: Evidence) -> None:
    """Applies what only the principal's own log may say: root, enrol keys, revocations."""
    try:
        match item.statement.use:
            case "rotate":
                rotation = RootRotation.read(item.statement)
                if rotation.principal == found.principal and root_commitment(rotation.root_key) == found.next_root:
                    found.root_key, found.next_root = rotation.root_key, rotation.next_root
                else:
                    found.ignored.append(f"{item.seq}: a root key that was never committed to")
            case "enrol":
                delegation = EnrolDelegation.read(item.statement)
                if delegation.principal == found.principal and delegation.root_key == found.root_key:
                    found.enrol_keys.add(delegation.enrol_key)
                else:
                    found.ignored.append(f"{item.seq}: an enrol key that the root did not delegate")
            case "revoke":
                revocation = Revocation.read(item.statement)
                known = {found.root_key} | found.enrol_keys
                if revocation.principal == found.principal and revocation.signer_key in known:
                    good = revocation.last_good_size
                    if good <= found.cut.get(revocation.log, good):
                        found.cut[revocation.log] = good
                        found.good_roots[revocation.log] = revocation.root
                else:
                    found.ignored.append(f"{item.seq}: a revocation by a key that may not revoke")
    except ProtocolViolation as error:
        found.ignored.append(f"{item.seq}: {error}")


def _read(found: Standing, item: Evidence) -> AgentInception | InstanceCertificate | None:
    """The claim to be admitted, its signatures verified once; None for what makes no such claim, or not validly."""
    try:
        if item.statement.use == "agent":
            return AgentInception.read(item.statement)
        if item.statement.use == "instance":
            return InstanceCertificate.read(item.statement)
    except ProtocolViolation as error:
        found.ignored.append(f"{item.seq}: {error}")
    return None


def _admit(found: Standing, item: Evidence, claim: AgentInception | InstanceCertificate) -> bool:
    """Whether the claim counts by what is known so far."""
    if not found.counts(item.log, item.seq):
        return False
    if isinstance(claim, AgentInception):
        if claim.principal != found.principal or claim.enrol_key not in found.enrol_keys:
            return False
        found.agents.add(item.statement.id)
        return True
    by_principal = claim.certifier_key in found.enrol_keys and found.logs[item.log] == found.principal
    by_sibling = item.log == log_id_of(claim.agent, claim.certifier_key)
    if claim.agent in found.agents and (by_principal or by_sibling):
        found.logs[claim.log] = claim.agent
        return True
    return False
