"""Room `identity` (imports `world`, `model`): who may speak for whom: the least fixed point from inception.

Starts from a principal's inception and its home, and adds what valid keys certified until nothing more follows. A
revocation cuts a log at its last good size: what was certified past that never counted. The home is the principal's
first log, until a new root key begins another one: see `docs/decisions/009-recovery.md`.
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

    *Shapes*: `home` is the log whose word counts on roots, enrol keys and revocations; `agents` are agent ids; `logs`
    maps each certified log to its owner; `cut` maps each revoked log to its last good size, `good_roots` to its root
    then; `enrol_keys` are those that may sign for the principal.
    """

    principal: bytes
    home: bytes
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
    waiting = sorted(evidence, key=lambda item: (item.log, item.seq))
    found = _governed(inception, waiting)
    claims = [(item, claim) for item in waiting if (claim := _read(found, item)) is not None]
    moved = True
    while moved:
        rest = [(item, claim) for item, claim in claims if not _admit(found, item, claim)]
        moved = len(rest) < len(claims)
        claims = rest
    return found


def _governed(inception: Statement, evidence: list[Evidence]) -> Standing:
    """What the home says, whichever log that is: the one begun under the newest root key, else the first.

    Another log than the first is a home only if it delegates its own key itself, after a rotation. Nobody but the
    holder of the recovery key can rotate, so whoever has an enrol key alone can begin none.
    """
    begin = PrincipalInception.read(inception)
    first = log_id_of(inception.id, begin.enrol_key)
    said: dict[bytes, list[Evidence]] = {first: []}
    for item in evidence:
        said.setdefault(item.log, []).append(item)
    best, best_rank = _read_home(inception.id, begin, first, said.pop(first))[0], 0
    for log in sorted(said):
        if any(_delegates(item.statement, inception.id, log) for item in said[log]):
            other, rank = _read_home(inception.id, begin, log, said[log])
            if rank > best_rank:
                best, best_rank = other, rank
    best.logs = {log_id_of(best.principal, key): best.principal for key in best.enrol_keys}
    return best


def _delegates(statement: Statement, principal: bytes, log: bytes) -> bool:
    """Whether a statement, unverified, makes an enrol key of the key that writes this log."""
    return statement.use == "enrol" and len(statement.fields) == 3 and log_id_of(principal, statement.fields[1]) == log


def _read_home(
    principal: bytes, begin: PrincipalInception, home: bytes, evidence: list[Evidence]
) -> tuple[Standing, int]:
    """What this log says as the home, and how many rotations came before it delegated its own key, 0 for never."""
    found = Standing(principal, home, begin.root_key, begin.next_root, {begin.enrol_key}, set(), {}, {}, [])
    rotations = rank = 0
    for item in evidence:
        root = found.root_key
        _govern(found, item)
        rotations += found.root_key != root
        if not rank and _delegates(item.statement, principal, home) and item.statement.fields[1] in found.enrol_keys:
            rank = rotations
    return found, rank


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
    """Applies what only the home may say: root, enrol keys, revocations."""
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
