"""Room `replica` (imports all below it): which agents a file is about."""

from __future__ import annotations

import msgspec

from antiphon.identity.signing import SigningKey
from antiphon.log.store import LogHead
from antiphon.model.errors import InvalidInput
from antiphon.replica import enrol
from antiphon.replica.core import Replica


class AgentRecord(msgspec.Struct, frozen=True):
    """Which agent a file (or a fleet's entry) is about."""

    name: str
    agent: bytes
    principal: bytes
    principal_log: bytes


def add_agent_log(replica: Replica, made: enrol.NewAgent, record: AgentRecord, key: SigningKey) -> LogHead:
    """The agent's log and its record in this file. In a transaction."""
    head = replica.add_log(made.id, key, made.log)
    put_record(replica, record)
    replica.name_log(head.no, record.name)
    return head


def put_record(replica: Replica, record: AgentRecord) -> None:
    """Keeps who an agent of this file is."""
    replica.file.put(f"agent/{record.name}", msgspec.msgpack.encode(record))


def single_record(replica: Replica) -> AgentRecord:
    """The record of the one agent that a file is about."""
    found = replica.file.settings("agent/")
    if len(found) != 1:
        raise InvalidInput(f"{replica.file.path} holds {len(found)} agents: open it as a fleet")
    return msgspec.msgpack.decode(found[0][1], type=AgentRecord)


def names_in(replica: Replica) -> dict[bytes, str]:
    """The names of the agents whose file this is, by their ids."""
    found = (msgspec.msgpack.decode(raw, type=AgentRecord) for _, raw in replica.file.settings("agent/"))
    return {record.agent: record.name for record in found}
