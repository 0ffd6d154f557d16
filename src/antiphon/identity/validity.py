"""Room `identity` (imports `world`, `model`): who may speak for whom: the least fixed point from inception.

Starts from a principal's inception and its own log, and adds what valid keys certified until nothing more
follows. A revocation cuts a log at its last good size: what was certified past that never counted.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from antiphon.identity.signing import Statement
from antiphon.identity.statements import (
    AgentInception,
    EnrolDelegation,
    InstanceCertificate,
    PrincipalInception,
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
    its last good size; `enrol_keys` are those that may sign for the principal.
    """

    principal: bytes
    root_key: bytes
    next_root: bytes
    enrol_keys: set[bytes]
    agents: set[bytes]
    logs: dict[bytes, bytes]
    cut: dict[bytes, int]
    ignored: list[str]

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
    moved = True
    while moved:
        rest = [item for item in waiting if not _admit(found, item)]
        moved = len(rest) < len(waiting)
        waiting = rest
    return found


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
                    found.cut[revocation.log] = min(good, found.cut.get(revocation.log, good))
                else:
                    found.ignored.append(f"{item.seq}: a revocation by a key that may not revoke")
    except ProtocolViolation as error:
        found.ignored.append(f"{item.seq}: {error}")


def _admit(found: Standing, item: Evidence) -> bool:
    """Whether the item is settled: admitted, or never to be."""
    if item.statement.use not in ("agent", "instance"):
        return True
    if not found.counts(item.log, item.seq):
        return False
    try:
        if item.statement.use == "agent":
            agent = AgentInception.read(item.statement)
            if agent.principal == found.principal and agent.enrol_key in found.enrol_keys:
                found.agents.add(item.statement.id)
                return True
            return False
        certificate = InstanceCertificate.read(item.statement)
    except ProtocolViolation as error:
        found.ignored.append(f"{item.seq}: {error}")
        return True
    by_principal = certificate.certifier_key in found.enrol_keys and found.logs[item.log] == found.principal
    by_sibling = item.log == log_id_of(certificate.agent, certificate.certifier_key)
    if certificate.agent in found.agents and (by_principal or by_sibling):
        found.logs[certificate.log] = certificate.agent
        return True
    return False
