"""Room `identity` (imports `world`, `model`): the statements that make principals, agents and instances.

Fields are in fixed order (see `docs/protocol.md`). Every public key in a statement proves possession by signing
it too. Absent ids are empty; sizes are u64be.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import msgspec

from antiphon.identity.signing import KEY_BYTES, Statement
from antiphon.model.errors import ProtocolViolation

_LOG_TAG: Final = b"antiphon/log/v1\0"
ID_BYTES: Final = 32


def log_id_of(owner: bytes, instance_key: bytes) -> bytes:
    """The id of the log that a key writes for an agent (or a principal), whoever certifies it."""
    return sha256(_LOG_TAG + owner + instance_key).digest()


def root_commitment(public_key: bytes) -> bytes:
    """What a principal publishes of its *next* root key before it is ever used."""
    return sha256(b"antiphon/next-root/v1\0" + public_key).digest()


def _size(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _fields(statement: Statement, use: str, widths: tuple[int, ...]) -> tuple[bytes, ...]:
    if statement.use != use or len(statement.fields) != len(widths):
        raise ProtocolViolation(f"not a statement of {use}")
    for field, width in zip(statement.fields, widths, strict=True):
        if len(field) != abs(width) and not (width < 0 and not field):
            raise ProtocolViolation(f"a statement of {use} with a field of the wrong length")
    return statement.fields


class PrincipalInception(msgspec.Struct, frozen=True):
    """A principal's beginning; its id is the statement's hash. Signed by root and enrol keys."""

    root_key: bytes
    next_root: bytes
    enrol_key: bytes
    wrap_key: bytes

    def statement(self) -> Statement:
        return Statement("principal", (self.root_key, self.next_root, self.enrol_key, self.wrap_key))

    @classmethod
    def read(cls, statement: Statement) -> PrincipalInception:
        """The verified fields. Raises ProtocolViolation."""
        found = cls(*_fields(statement, "principal", (KEY_BYTES, 32, KEY_BYTES, KEY_BYTES)))
        _need(statement, found.root_key, found.enrol_key)
        return found


class AgentInception(msgspec.Struct, frozen=True):
    """An agent's beginning; its id is the statement's hash. Signed by an enrol key and the first instance."""

    principal: bytes
    enrol_key: bytes
    instance_key: bytes
    nonce: bytes

    def statement(self) -> Statement:
        return Statement("agent", (self.principal, self.enrol_key, self.instance_key, self.nonce))

    @classmethod
    def read(cls, statement: Statement) -> AgentInception:
        """The verified fields. Raises ProtocolViolation."""
        found = cls(*_fields(statement, "agent", (ID_BYTES, KEY_BYTES, KEY_BYTES, 16)))
        _need(statement, found.enrol_key, found.instance_key)
        return found


class InstanceCertificate(msgspec.Struct, frozen=True):
    """A log's licence to speak for an agent. Signed by the certifier's key and the new one.

    `parent*` say which log, and how much of it, the instance grew from (empty and 0 for the first).
    """

    agent: bytes
    instance_key: bytes
    wrap_key: bytes
    parent: bytes
    parent_size: int
    parent_root: bytes
    certifier_key: bytes

    def statement(self) -> Statement:
        fields = (self.agent, self.instance_key, self.wrap_key, self.parent, _size(self.parent_size))
        return Statement("instance", (*fields, self.parent_root, self.certifier_key))

    @classmethod
    def read(cls, statement: Statement) -> InstanceCertificate:
        """The verified fields. Raises ProtocolViolation."""
        widths = (ID_BYTES, KEY_BYTES, KEY_BYTES, -ID_BYTES, 8, -32, KEY_BYTES)
        agent, key, wrap, parent, size, root, certifier = _fields(statement, "instance", widths)
        _need(statement, certifier, key)
        return cls(agent, key, wrap, parent, int.from_bytes(size, "big"), root, certifier)

    @property
    def log(self) -> bytes:
        """The id of the log that is certified."""
        return log_id_of(self.agent, self.instance_key)


class ProvisionalInstance(msgspec.Struct, frozen=True):
    """A clone's claim to descend from a log, not yet certified. Signed by the parent's key and the new one."""

    agent: bytes
    instance_key: bytes
    wrap_key: bytes
    parent_key: bytes
    parent_size: int
    parent_root: bytes

    def statement(self) -> Statement:
        fields = (self.agent, self.instance_key, self.wrap_key, self.parent_key, _size(self.parent_size))
        return Statement("provisional", (*fields, self.parent_root))

    @classmethod
    def read(cls, statement: Statement) -> ProvisionalInstance:
        """The verified fields. Raises ProtocolViolation."""
        widths = (ID_BYTES, KEY_BYTES, KEY_BYTES, KEY_BYTES, 8, 32)
        agent, key, wrap, parent_key, size, root = _fields(statement, "provisional", widths)
        _need(statement, parent_key, key)
        return cls(agent, key, wrap, parent_key, int.from_bytes(size, "big"), root)

    @property
    def log(self) -> bytes:
        """The id of the provisional log."""
        return log_id_of(self.agent, self.instance_key)

    @property
    def parent(self) -> bytes:
        """The id of the log it grew from."""
        return log_id_of(self.agent, self.parent_key)


class Revocation(msgspec.Struct, frozen=True):
    """A log's events and certificates past `last_good_size` are void. Signed by a root or enrol key."""

    principal: bytes
    log: bytes
    last_good_size: int
    root: bytes
    signer_key: bytes

    def statement(self) -> Statement:
        fields = (self.principal, self.log, _size(self.last_good_size), self.root, self.signer_key)
        return Statement("revoke", fields)

    @classmethod
    def read(cls, statement: Statement) -> Revocation:
        """The verified fields. Raises ProtocolViolation."""
        widths = (ID_BYTES, ID_BYTES, 8, 32, KEY_BYTES)
        principal, log, size, root, signer = _fields(statement, "revoke", widths)
        _need(statement, signer)
        return cls(principal, log, int.from_bytes(size, "big"), root, signer)


class EnrolDelegation(msgspec.Struct, frozen=True):
    """One more everyday key for a principal. Signed by the current root key and the new key."""

    principal: bytes
    enrol_key: bytes
    root_key: bytes

    def statement(self) -> Statement:
        return Statement("enrol", (self.principal, self.enrol_key, self.root_key))

    @classmethod
    def read(cls, statement: Statement) -> EnrolDelegation:
        """The verified fields. Raises ProtocolViolation."""
        found = cls(*_fields(statement, "enrol", (ID_BYTES, KEY_BYTES, KEY_BYTES)))
        _need(statement, found.root_key, found.enrol_key)
        return found


class RootRotation(msgspec.Struct, frozen=True):
    """The committed next root key takes over and commits to its own successor. Signed by the new root."""

    principal: bytes
    root_key: bytes
    next_root: bytes

    def statement(self) -> Statement:
        return Statement("rotate", (self.principal, self.root_key, self.next_root))

    @classmethod
    def read(cls, statement: Statement) -> RootRotation:
        """The verified fields. Raises ProtocolViolation."""
        found = cls(*_fields(statement, "rotate", (ID_BYTES, KEY_BYTES, 32)))
        _need(statement, found.root_key)
        return found


def _need(statement: Statement, *keys: bytes) -> None:
    if not statement.is_signed_by(*keys):
        raise ProtocolViolation(f"a statement of {statement.use} without a valid signature it needs")
