"""Archives by somebody who means ill: no log erases in a stranger's, nothing is bare unsaid, no claim takes memory."""

import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from antiphon import Agent, Fleet
from antiphon.identity.signing import decode_statement
from antiphon.identity.statements import log_id_of
from antiphon.log import kinds
from antiphon.log.block import pack_run, unpack_run
from antiphon.log.ingest import Home, Part
from antiphon.log.loaded import LoadedBlock, hashes_of
from antiphon.log.rewrite import erase
from antiphon.log.seeds import Seeds
from antiphon.log.store import LogHead
from antiphon.log.verify import Verdict
from antiphon.model.errors import AntiphonError, Corrupt, ProtocolViolation
from antiphon.model.event import Draft, State
from antiphon.replica import archive, prove
from antiphon.replica.commit import Batch
from tests.second import reader

Logs = list[tuple[LogHead, list[Part]]]


def logs_of(agent: Agent, place: Path) -> Logs:
    agent.export(place)
    return [(head, list(parts)) for head, parts in archive.read_archive(place)]


def write(place: Path, logs: Logs) -> Path:
    frames: list[msgspec.Struct] = [archive._ArchiveHead(archive.ARCHIVE_FORMAT, len(logs))]
    for head, parts in logs:
        frames.append(archive._LogHead(head.id, head.owner, head.key, head.size, head.note, len(parts)))
        for part in parts:
            run = memoryview(pack_run(part.leaves))
            frames.append(archive._Block(part.leaves.first, len(part.leaves.headers), part.seeds, run))
    return framed(place, [msgspec.msgpack.encode(frame) for frame in frames])


def framed(place: Path, frames: list[bytes], *, claims: int | None = None) -> Path:
    sizes = [len(frame) for frame in frames]
    if claims is not None:
        sizes[-1] = claims
    raw = b"".join(size.to_bytes(4, "big") + frame for size, frame in zip(sizes, frames, strict=True))
    place.write_bytes(zstandard.compress(raw))
    return place


def made_bare(head: LogHead, part: Part, seqs: list[int]) -> None:
    """Takes leaves out of a part, so that the root stays."""
    seeds = Seeds(head.id, part.leaves.first, part.seeds)
    hashes = hashes_of(part.leaves, Seeds(head.id, part.leaves.first, part.seeds))
    for seq in seqs:
        part.leaves.forget(seq - part.leaves.first, hashes[seq - part.leaves.first], State.ERASED)
    seeds.destroy(seqs)
    part.seeds = seeds.packed()


def claim_erased(home: Part, log: bytes) -> None:
    """Puts an erasing event in the place of a home's last one, the agent's certificate."""
    header = home.leaves.headers[-1]
    home.leaves.headers[-1] = header.replace(b"\xb2instance.certified", b"\xaalog.erased")
    assert home.leaves.headers[-1] != header
    home.leaves.bodies[-1] = kinds.erased([0], "asked", log=log)[0].body


def inception_of(agent: Agent) -> bytes:
    home = agent.replica.head(agent.record_of_agent.principal_log)
    said = [event.body for event in agent.replica.reader.events(home) if event.kind == kinds.AGENT_INCEPTED]
    return next(body for body in said if body and decode_statement(body).id == agent.record_of_agent.agent)


@pytest.fixture
def forged(own_home: Path) -> tuple[Logs, Logs]:
    """Ada's logs (home, own) with two of her events taken out, and those of Bob, who says that this is as it should."""
    with Agent.create("ada") as ada, Agent.create("bob") as bob:
        for n in range(5):
            ada.remember(f"fact {n}")
        drafts = [Draft(kinds.AGENT_INCEPTED, inception_of(ada)), *kinds.erased([1, 2], "asked", log=ada.log_id)]
        bob.replica.commit(Batch(bob.log_id, drafts, [None] * len(drafts)))
        hers, his = logs_of(ada, own_home / "ada.archive"), logs_of(bob, own_home / "bob.archive")
    assert [head.id for head, _ in hers] == [ada.record_of_agent.principal_log, ada.log_id]
    made_bare(hers[1][0], hers[1][1][0], [1, 2])
    return hers, his


def verdict_of(place: Path, log: bytes) -> Verdict:
    return next(verdict for verdict in archive.verify_archive(place) if verdict.log == log)


def refused_by_a_reader(own_home: Path, place: Path, match: str) -> None:
    with Agent.create("eve", home=own_home / "elsewhere") as eve:
        before = {head.id for head in eve.replica.heads()}
        with pytest.raises(ProtocolViolation, match=match):
            archive.adopt_archive(eve.replica, place)
        assert {head.id for head in eve.replica.heads()} == before


@pytest.mark.parametrize("said", [True, False])
def test_what_only_a_stranger_erases_is_missing(forged: tuple[Logs, Logs], own_home: Path, said: bool) -> None:
    """A copy of an agent's inception in somebody's log makes nobody its principal."""
    (home, own), his = forged
    place = write(own_home / "evil.archive", [home, *(his[1:] if said else []), own])
    assert verdict_of(place, home[0].id).ok
    found = verdict_of(place, own[0].id)
    assert not found.ok
    assert found.first_bad == (1, 2)
    with pytest.raises(reader.Refused, match="1 is gone"):
        reader.verify_archive(place)
    refused_by_a_reader(own_home, place, "event 1 is gone")


def test_a_home_that_does_not_verify_erases_nothing(own_home: Path) -> None:
    with Agent.create("ada") as ada:
        ada.remember("a fact")
        home, own = logs_of(ada, own_home / "ada.archive")
    made_bare(own[0], own[1][0], [0])
    claim_erased(home[1][0], own[0].id)
    place = write(own_home / "evil.archive", [home, own])
    assert not verdict_of(place, home[0].id).ok
    assert not verdict_of(place, own[0].id).ok


def test_what_the_principal_erased_in_a_past_log_is_taken(own_home: Path) -> None:
    with Agent.create("ada") as ada:
        gone = ada.remember("go")
    file = own_home / "home" / "agents" / "ada.antiphon"
    shutil.copy(file, own_home / "backup")
    with Agent.open("ada") as ada:
        ada.remember("lost with the disk")
    file.unlink()
    shutil.copy(own_home / "backup", file)
    with Agent.open("ada") as ada:
        ada.forget(gone.event)
        logs = logs_of(ada, own_home / "ada.archive")
    verdicts = archive.verify_archive(own_home / "ada.archive")
    assert [verdict.ok for verdict in verdicts] == [True] * len(logs)
    assert sum(verdict.gone for verdict in verdicts) == 1
    with Agent.create("eve", home=own_home / "elsewhere") as eve:
        taken = archive.adopt_archive(eve.replica, own_home / "ada.archive")
        assert [head.id for head in taken] == [head.id for head, _ in logs]
    bare = next(log for log, verdict in zip(logs, verdicts, strict=True) if verdict.gone)
    refused_without = write(own_home / "alone.archive", [bare])
    with Agent.create("eli", home=own_home / "third") as eli, pytest.raises(ProtocolViolation, match="is gone"):
        archive.adopt_archive(eli.replica, refused_without)


def test_a_home_is_the_log_that_follows_from_its_inception(own_home: Path) -> None:
    with Agent.create("ada") as ada:
        ada.remember("a fact")
        (head, (part,)), (own, _) = logs_of(ada, own_home / "ada.archive")

    def erases(**changes: bytes) -> list[tuple[int, int]]:
        home = Home(msgspec.structs.replace(head, **changes))
        home.hear(part.leaves)
        return home.erases_in(own)

    claim_erased(part, own.id)
    assert erases() == [(0, 1)]
    assert erases(id=bytes(32)) == erases(owner=own.owner) == []
    agent = decode_statement(part.leaves.bodies[1])
    part.leaves.bodies[1] = msgspec.structs.replace(agent, signatures=agent.signatures[1:]).encode()
    assert erases() == []


# -- sizes -----------------------------------------------------------------------------------------------------------


def head_frames(size: int, blocks: int | None = None) -> list[bytes]:
    owner, key = b"o" * 32, b"k" * 32
    count = -(-size // 1_024) if blocks is None else blocks
    log = archive._LogHead(log_id_of(owner, key), owner, key, size, b"", count)
    return [msgspec.msgpack.encode(archive._ArchiveHead(archive.ARCHIVE_FORMAT, 1)), msgspec.msgpack.encode(log)]


def peak_of(place: Path) -> int:
    """The most memory that refusing an archive takes."""

    def read() -> None:
        verdicts = archive.verify_archive(place)
        assert not any(verdict.ok for verdict in verdicts)

    tracemalloc.start()
    try:
        read()
    except AntiphonError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def run_of(raw: bytes) -> bytes:
    return b"\x01" + zstandard.compress(raw)


MANY = 7_000_000
LONG = b"\xdd" + MANY.to_bytes(4, "big") + b"\xc0" * MANY
MAP = b"\xdf" + (1_000_000).to_bytes(4, "big") + b"".join(b"\xce%b\xc4\0" % n.to_bytes(4, "big") for n in range(10**6))


@pytest.mark.parametrize(
    "raw", [b"\x94" + LONG + b"\x90\xc0\x80", b"\x94\x90" + LONG + b"\xc0\x80", b"\x94\x90\x90\xc0" + MAP]
)
def test_a_run_of_more_entries_than_leaves_is_refused_before_it_is_read(own_home: Path, raw: bytes) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    block = archive._Block(0, 32, b"s" * 32, memoryview(run_of(raw)))
    place = framed(own_home / "x.archive", [*head_frames(32), msgspec.msgpack.encode(block)])
    assert peak_of(place) < 14_000_000


def test_a_run_larger_than_its_leaves_can_be_is_not_inflated(own_home: Path) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    block = archive._Block(0, 2, b"s" * 32, memoryview(run_of(bytes(40_000_000))))
    place = framed(own_home / "x.archive", [*head_frames(2), msgspec.msgpack.encode(block)])
    assert peak_of(place) < 6_000_000
    assert not archive.verify_archive(place)[0].ok
    for run in (block.run, b"\x00" + bytes(900_000)):
        with pytest.raises(Corrupt, match="larger than any can be"):
            unpack_run(0, 2, run)


@pytest.mark.parametrize(
    ("frames", "claims"),
    [
        (lambda: [bytes(20_000_000)], None),
        (lambda: [*head_frames(5)[:1], bytes(20_000_000)], None),
        (lambda: [*head_frames(5), bytes(20_000_000)], None),
        (lambda: [*head_frames(1_024), b"\x94"], 1 << 29),
        (lambda: [*head_frames(1_024), b"\x94"], 1 << 27),
        (lambda: [*head_frames(5), msgspec.msgpack.encode([0, 5, LONG, b""])], None),
        (lambda: [*head_frames(5), msgspec.msgpack.encode([0, 5, b"\xdd" + bytes(41_000), b""])], None),
    ],
)
def test_frames_larger_than_they_can_be_are_refused(
    own_home: Path, frames: Callable[[], list[bytes]], claims: int | None
) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    place = framed(own_home / "x.archive", frames(), claims=claims)
    assert peak_of(place) < 6_000_000
    with pytest.raises(ProtocolViolation):
        _ = [list(parts) for _, parts in archive.read_archive(place)]


@pytest.mark.parametrize(("size", "blocks"), [(5, 0), (5, 2), (1_025, 1), (-1, 0), ((1 << 40) + 1, (1 << 30) + 1)])
def test_blocks_are_as_many_as_the_events_need(own_home: Path, size: int, blocks: int) -> None:
    own_home.mkdir(parents=True, exist_ok=True)
    place = framed(own_home / "x.archive", head_frames(size, blocks))
    with pytest.raises(ProtocolViolation, match="not an archive"):
        list(archive.read_archive(place))


# -- what follows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["a frame", "a byte", "another stream", "bytes that are not compressed"])
def test_what_follows_the_last_log_is_refused(own_home: Path, what: str) -> None:
    place = own_home / "ada.archive"
    with Agent.create("ada") as ada:
        ada.remember("a fact")
        ada.export(place)
    raw = zstandard.ZstdDecompressor().stream_reader(place.read_bytes()).read()
    assert [verdict.ok for verdict in archive.verify_archive(place)] == [True, True]
    more = msgspec.msgpack.encode(archive._ArchiveHead(archive.ARCHIVE_FORMAT, 0))
    hidden = {
        "a frame": zstandard.compress(raw + len(more).to_bytes(4, "big") + more),
        "a byte": zstandard.compress(raw + b"\0"),
        "another stream": place.read_bytes() + zstandard.compress(b"smuggled"),
        "bytes that are not compressed": place.read_bytes() + b"smuggled",
    }
    place.write_bytes(hidden[what])
    for reading in (archive.verify_archive, reader.verify_archive):
        with pytest.raises((ProtocolViolation, reader.Refused, zstandard.ZstdError, struct.error)):
            reading(place)
    refused_by_a_reader(own_home, place, f"at byte {len(raw):,} ")


# -- what a file says of itself ----------------------------------------------------------------------------------------


def test_a_files_word_for_who_its_principal_is_erases_nothing(own_home: Path) -> None:
    """Somebody with Ada's file lets another principal's home, or an altered one, take the place of hers."""
    with Agent.create("ada") as ada, Fleet.create(own_home / "others") as others:
        ada.remember("a fact")
        told = ada.remember("an inconvenient fact")
        mallory = others.add("mallory")
        replica, home = others.replica, mallory.record_of_agent.principal_log
        ada.export(own_home / "ada.archive")
        archive.adopt_archive(replica, own_home / "ada.archive")
        drafts = [
            Draft(kinds.AGENT_INCEPTED, inception_of(ada)),
            *kinds.erased([int(told.event.rpartition("/")[2])], "asked", log=ada.log_id),
        ]
        replica.commit(Batch(home, drafts, [None] * len(drafts)))
        head = replica.head(ada.log_id)
        erase(replica.logs, head, [1])
        replica.forget_caches()
        for claimed in (home, mallory.log_id, bytes(32), ada.record_of_agent.principal_log, None):
            found = prove.verify_log_of(replica, head, principal_log=claimed)
            assert not found.ok, claimed
            assert found.first_bad == (1, 2)


def test_an_altered_home_in_a_file_erases_nothing(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Agent.create("ada") as ada:
        ada.remember("a fact")
        replica, home = ada.replica, ada.record_of_agent.principal_log
        with replica.transaction():
            erase(replica.logs, replica.head(ada.log_id), [0])
        replica.forget_caches()
        head, load = replica.head(ada.log_id), LoadedBlock.leaves

        def altered(block: LoadedBlock, store: Any) -> Any:
            leaves = load(block, store)
            if block._no == replica.head(home).no:
                part = Part(leaves, b"")
                claim_erased(part, ada.log_id)
            return leaves

        assert not prove.verify_log_of(replica, head, principal_log=home).ok
        monkeypatch.setattr(LoadedBlock, "leaves", altered)
        assert not prove.verify_log_of(replica, head, principal_log=home).ok
