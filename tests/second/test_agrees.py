"""What the real program writes, the second implementation accepts; what it refuses, the second refuses too."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from antiphon.agent import Agent
from antiphon.identity.signing import decode_statement
from antiphon.log.proof import verify_event, verify_growth
from antiphon.model.text import parse_entity, parse_event, parse_id
from antiphon.replica.archive import read_archive, verify_archive
from antiphon.world.clock import ManualClock
from tests.second import msgpack, reader

CALENDAR = 1_700_000_000_000


@pytest.fixture
def ada(own_home: Path) -> Iterator[Agent]:
    agent = Agent.create("ada", clock=ManualClock(CALENDAR))
    yield agent
    agent.close()


def test_a_proof_is_read_the_same(ada: Agent) -> None:
    told = ada.remember("the key is in the red box", user="Bob", tags=["house"])
    ada.remember("noise")
    raw = ada.prove(told.event)
    theirs = reader.verify_proof(raw, parse_id(ada.principal))
    ours = verify_event(raw, principal=parse_id(ada.principal))
    assert (theirs["log"], theirs["seq"]) == parse_event(told.event) == (ours.log, ours.seq)
    assert (theirs["agent"], theirs["size"], theirs["root"]) == (ours.agent, ours.size, ours.root)
    assert theirs["entity"] == theirs["made"] == parse_entity(told.entity)
    assert theirs["body"]["text"] == "the key is in the red box"
    assert theirs["certified"]
    assert reader.id_text(theirs["agent"]) == ada.id


def test_a_proof_of_growth_is_read_the_same(ada: Agent) -> None:
    for n in range(5):
        ada.remember(f"note {n}")
    old = ada.checkpoint()
    for n in range(6):
        ada.remember(f"more {n}")
    raw = ada.prove_growth(old)
    theirs = reader.verify_proof(raw, parse_id(ada.principal))
    before, after = verify_growth(raw)
    assert (theirs["old"], theirs["size"]) == (before.size, after.size) == (5, 11)


def test_a_proof_names_no_other_agent_of_its_principal(own_home: Path) -> None:
    """Else a principal with a thousand agents could prove nothing within the limit, and would show them all."""
    with Agent.create("bob") as bob:
        other = bob.id
    with Agent.create("ada") as ada:
        raw = ada.prove(ada.remember("x").event)
        principal = parse_id(ada.principal)
    said = [decode_statement(reader._b(entry[2])) for entry in json.loads(raw)["statements"]]
    assert [one.use for one in said] == ["principal", "agent", "instance"]
    assert parse_id(other) not in {one.id for one in said} | {field for one in said for field in one.fields}
    assert reader.verify_proof(raw, principal)["certified"]


def test_a_clones_proof_is_known_as_provisional(own_home: Path) -> None:
    with Agent.create("ada") as ada:
        ada.remember("before")
    copy = own_home / "copy"
    shutil.copytree(own_home / "home", copy)
    (copy / "principal.antiphon").unlink()  # the clone cannot reach its principal, so nobody certifies it
    with Agent.open("ada", home=copy) as clone:
        raw = clone.prove(clone.remember("after").event)
        principal = parse_id(clone.principal)
    assert not reader.verify_proof(raw, principal)["certified"]
    assert not verify_event(raw, principal=principal).certified
    cut = json.loads(raw)
    cut["statements"] = [entry for entry in cut["statements"] if _use(entry) != "instance"]  # the parent's certificate
    for check in (reader.verify_proof, lambda raw, principal: verify_event(raw, principal=principal)):
        with pytest.raises(Exception, match="nothing"):
            check(json.dumps(cut).encode(), principal)


def _use(entry: list[object]) -> str:
    return decode_statement(reader._b(entry[2])).use


def _archive(ada: Agent, own_home: Path) -> Path:
    with ada.batch() as batch:
        for n in range(1_100):
            batch.remember(f"note {n}", occurred=CALENDAR - 1_000 * n)
    first = ada.remember("forget me", user="Eve")
    with ada.batch() as batch:
        for n in range(50):
            batch.remember(f"later {n}", sources=[first.event] if n == 7 else ())
    ada.replica.tidy()
    ada.forget(first.event)
    ada.forget([str(seq) for seq in (3, 4, 5, 1_023)])
    ada.remember("behind the packed ones")
    place = own_home / "ada.archive"
    ada.export(place)
    return place


def test_an_archive_is_read_the_same(ada: Agent, own_home: Path) -> None:
    place = _archive(ada, own_home)
    theirs = reader.verify_archive(place)
    ours = verify_archive(place)
    assert all(verdict.ok for verdict in ours)
    assert [(one["log"], one["size"], one["root"], one["held"], one["gone"]) for one in theirs] == [
        (verdict.log, verdict.size, verdict.root, verdict.held, verdict.gone) for verdict in ours
    ]
    assert theirs[1]["gone"] == 6
    made = [seq for seq, (entity, own) in theirs[1]["entities"].items() if entity == own]
    assert len(made) > 1_100


def test_an_archive_says_nothing_about_events_to_come(ada: Agent, own_home: Path) -> None:
    ada.remember("one")
    place = own_home / "ada.archive"
    ada.export(place)
    ada.remember("two")
    blinds, salts = reader.blinds_and_salts(_seeds(ada, 0), ada.log_id, 0)
    given = _seeds_of_archive(place)
    assert given[0][0] == blinds[0]
    assert given[1][0] == salts[0]
    assert given[0][1:] == given[1][1:] == [None] * 1_023
    assert blinds[1] is not None


def _seeds(ada: Agent, first: int) -> bytes:
    head = ada.replica.head(ada.log_id)
    return ada.replica.logs.block(head.no, first).seeds


def _seeds_of_archive(place: Path) -> tuple[list[bytes | None], list[bytes | None]]:
    found = None
    for head, parts in read_archive(place):
        for part in parts:
            found = reader.blinds_and_salts(part.seeds, head.id, 0)
    return found


def test_what_a_principal_erased_in_a_past_log_is_known_from_the_archive(own_home: Path) -> None:
    with Agent.create("ada") as ada:
        kept, gone = ada.remember("keep"), ada.remember("go")
    file = own_home / "home" / "agents" / "ada.antiphon"
    shutil.copy(file, own_home / "backup")
    with Agent.open("ada") as ada:
        ada.remember("lost with the disk")
    file.unlink()
    shutil.copy(own_home / "backup", file)
    with Agent.open("ada") as ada:
        ada.forget(gone.event)
        ada.export(own_home / "ada.archive")
        assert ada.event(kept.event)
        assert verify_event(ada.prove(ada.remember("in a log of its own").event)).certified
    assert all(verdict.ok for verdict in verify_archive(own_home / "ada.archive"))
    assert sum(log["gone"] for log in reader.verify_archive(own_home / "ada.archive")) == 1


@pytest.mark.parametrize("place", [0.1, 0.4, 0.6, 0.9])
def test_a_flipped_byte_is_refused_by_both(ada: Agent, own_home: Path, place: float) -> None:
    raw = bytearray(ada.prove(ada.remember("x").event))
    text = json.loads(raw)
    at = int(len(text["body"]) * place)
    text["body"] = text["body"][:at] + ("A" if text["body"][at] != "A" else "B") + text["body"][at + 1 :]
    bad = json.dumps(text).encode()
    with pytest.raises((reader.Refused, ValueError)):
        reader.verify_proof(bad, parse_id(ada.principal))
    with pytest.raises(Exception, match=r"altered|not a proof"):
        verify_event(bad)


def test_their_messagepack_writes_what_ours_does() -> None:
    values = [None, True, 0, 127, 128, 255, 256, 65_535, 65_536, 1 << 32, (1 << 64) - 1, -1, -32, -33, -128, -129]
    values += [-32_769, -(1 << 31) - 1, "", "x" * 31, "x" * 32, "ä" * 200, b"", b"x" * 300, b"y" * 70_000]
    values += [[], list(range(20)), {"a": 1}, {n: n for n in range(20)}]
    for value in values:
        assert msgpack.write(value) == msgspec.msgpack.encode(value)
        assert msgpack.read(msgpack.write(value)) == value
