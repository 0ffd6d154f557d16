"""Room `replica` (imports all below it): a principal taken back with its recovery key: a new root, enrol key and home.

The new home begins under a key that no thief has and repeats what the old one said of roots and keys, so whoever
reads it alone knows who may speak. Nothing here is signed by the old enrol key: it may be lost, or stolen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from antiphon.identity.signing import SigningKey, Statement
from antiphon.identity.statements import EnrolDelegation, Revocation, RootRotation, log_id_of, root_commitment
from antiphon.identity.validity import Standing
from antiphon.log import kinds
from antiphon.log.ingest import Home, Homes
from antiphon.log.store import LogHead, LogRole
from antiphon.model.errors import InvalidInput, NotFound, WrongKey
from antiphon.model.event import Draft
from antiphon.model.text import id_text
from antiphon.replica.archive import read_archive, verify_archive
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.enrol import NewPrincipal, draft, root_of, standing_in

_KEY: Final = re.compile(r"(?<![0-9a-z])[0-9a-f]{128}(?![0-9a-z])")
_GOVERNING: Final = (kinds.ROOT_ROTATED, kinds.ENROL_DELEGATED, kinds.KEY_REVOKED)


class Cut(msgspec.Struct, frozen=True):
    """How much of a log a revocation leaves standing."""

    log: bytes
    size: int
    root: bytes


def read_recovery_key(text: str) -> bytes:
    """The recovery key in a file's text, or as typed from paper. Raises InvalidInput."""
    found = _KEY.findall(text.lower()) or _KEY.findall(re.sub(r"\s", "", text.lower()))
    if len(found) != 1:
        raise InvalidInput(
            f"this holds {'several recovery keys' if found else 'no recovery key'}: it is one line of 128 hexadecimal "
            "digits, behind `recovery:` in the file that `antiphon init` wrote"
        )
    return bytes.fromhex(found[0])


def committed_key(standing: Standing, recovery: bytes) -> SigningKey:
    """The next root key, if that is the one its principal has committed to. Raises WrongKey."""
    key = SigningKey(recovery[32:])
    if root_commitment(key.public) != standing.next_root:
        raise WrongKey(
            f"this is not the recovery key of the principal {id_text(standing.principal)}, or no longer: every "
            "recovery makes a new one, and voids those before it",
            principal=id_text(standing.principal),
        )
    return key


def cut_of(head: LogHead) -> Cut:
    """All that a log holds now."""
    return Cut(head.id, head.size, root_of(head))


def begin_home(replica: Replica, principal_log: bytes, recovery: bytes, revoked: Sequence[Cut]) -> NewPrincipal:
    """The principal under new keys, with a new log, in this file; the new enrol key goes to the key store.

    All enrol keys from before are revoked at what their logs hold here, and so are the logs `revoked`. Two rotations:
    after them the recovery key that was used opens nothing any more. In a transaction. Raises WrongKey.
    """
    standing = standing_in(replica, principal_log)
    following, principal = committed_key(standing, recovery), standing.principal
    draw = replica.entropy.bytes
    root, after, enrol = SigningKey(draw(32)), SigningKey(draw(32)), SigningKey(draw(32))
    log = log_id_of(principal, enrol.public)
    homes = [head for head in replica.heads() if head.owner == principal]  # as of now: sizes are cut here
    known = {head.id: cut_of(head) for head in homes}
    old = [known.get(place) or Cut(place, 0, b"\0" * 32) for place in _logs_of_enrol_keys(standing)]
    said = [
        (kinds.ROOT_ROTATED, _rotation(principal, following, root)),
        (kinds.ROOT_ROTATED, _rotation(principal, root, after)),
        (kinds.ENROL_DELEGATED, EnrolDelegation(principal, enrol.public, root.public).statement()
         .signed_by(root, enrol)),
        *((kinds.KEY_REVOKED, Revocation(principal, cut.log, cut.size, cut.root, root.public).statement()
           .signed_by(root)) for cut in (*old, *revoked) if cut.size < standing.cut.get(cut.log, 1 << 62)),
    ]  # fmt: skip
    drafts = [*_repeated(replica, standing.home), *(draft(kind, statement) for kind, statement in said)]
    replica.keys.put(f"log:{log.hex()}", enrol.seed)
    for head in homes:
        head.role = LogRole.PAST
        replica.logs.save_head(head)
    replica.dirty()
    replica.add_log(principal, enrol, log)
    replica.append_in_transaction(Batch(log, drafts, [None] * len(drafts)))
    return NewPrincipal(principal, log, root.seed + after.seed)


def _rotation(principal: bytes, new: SigningKey, following: SigningKey) -> Statement:
    return RootRotation(principal, new.public, root_commitment(following.public)).statement().signed_by(new)


def _logs_of_enrol_keys(standing: Standing) -> list[bytes]:
    return sorted(log_id_of(standing.principal, key) for key in standing.enrol_keys)


def _repeated(replica: Replica, home: bytes) -> list[Draft]:
    """What the home so far says of root, enrol keys and revocations, its principal's inception first."""
    return [
        Draft(event.kind, event.body)
        for event in replica.reader.events(replica.head(home))
        if (event.kind in _GOVERNING or (event.kind == kinds.PRINCIPAL_INCEPTED and not event.seq)) and event.body
    ]


def retire(replica: Replica, agent: bytes) -> list[Cut]:
    """An agent's logs in this file as they are now; none of them is written here again."""
    with replica.transaction():
        heads = [head for head in replica.heads() if head.owner == agent and head.role != LogRole.FOREIGN]
        for head in heads:
            head.role = LogRole.PAST
            replica.logs.save_head(head)
    replica.forget_caches()
    return [cut_of(head) for head in heads]


def principal_in_archive(path: Path, recovery: bytes) -> Standing:
    """Of the principals whose logs an archive holds, the one that this recovery key takes back.

    Raises NotFound where it holds none, WrongKey where the key is none of theirs, ProtocolViolation.
    """
    good = {verdict.log for verdict in verify_archive(path) if verdict.ok}
    homes = Homes()
    for head, parts in read_archive(path):
        home = Home(head)
        for part in parts:
            if head.id in good:
                home.hear(part.leaves)
        homes.add(home)
    found = [standing for owner in homes.principals() if (standing := homes.standing(owner)) is not None]
    if not found:
        raise NotFound(f"{path} holds no principal's log that verifies: take an archive that `antiphon export` wrote")
    chosen = SigningKey(recovery[32:]).public
    standing = next((one for one in found if one.next_root == root_commitment(chosen)), found[0])
    committed_key(standing, recovery)
    return standing
