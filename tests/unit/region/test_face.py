"""A region refuses what cannot be, and says what to do; what crosses files is in `tests/simulation/test_region.py`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.engines.keyfiles import Unlock
from antiphon.identity.keystore import wrap_public
from antiphon.identity.signing import SigningKey
from antiphon.identity.statements import AgentInception, InstanceCertificate
from antiphon.model.errors import Conflict, InvalidInput, NotFound, ProtocolViolation
from antiphon.model.event import NEW, Draft, Scope, encode_body
from antiphon.model.values import key_of
from antiphon.region import Region
from antiphon.region.files import file_of, shard_of
from antiphon.replica.commit import Batch
from tests.unit.views.every_rule import BALLOTS, THINGS, domain

UNLOCK = Unlock(key=bytes(32))


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    with Region.create(tmp_path / "r", domains=[domain()], unlock=UNLOCK, log_files=2, row_files=2) as made:
        yield made


def test_what_cannot_be_is_refused(region: Region, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="already"):
        Region.create(region.folder, domains=[], unlock=UNLOCK)
    with pytest.raises(NotFound):
        Region.open(tmp_path / "nowhere", domains=[], unlock=UNLOCK)
    with pytest.raises(InvalidInput, match="REGION_FILES_MAX"):
        Region.create(tmp_path / "many", domains=[], unlock=UNLOCK, log_files=257)
    with pytest.raises(InvalidInput, match="id"):
        region.row("things", {})
    with pytest.raises(InvalidInput, match="nowhere"):
        region.row("nowhere", {})
    agent = region.add_agents(region.add_principal().log, 1)[0]
    for draft in (Draft("nobody.knows", b""), Draft("thing.made", encode_body({"name": 5}), entity=NEW)):
        with pytest.raises(Exception, match=r"nobody|thing\.made"):
            region.commit([Batch(agent.log, [draft], [None])])
    assert region.file_of(agent.log).head(agent.log).size == 0


def test_rows_that_are_counted_together_lie_together() -> None:
    for at in range(64):
        thing = bytes([at]) * 16
        ballot = key_of(BALLOTS, {"thing": thing, "agent": bytes(32)})
        assert shard_of(THINGS, thing, 7) == shard_of(BALLOTS, ballot, 7)
    assert {file_of(os.urandom(32), 4) for _ in range(200)} == {0, 1, 2, 3}


def test_registering_verifies_four_signatures(region: Region) -> None:
    principal = region.add_principal()
    home = region.file_of(principal.log)
    enrol, instance = home.signer(home.head(principal.log)), SigningKey(os.urandom(32))
    begun = AgentInception(principal.id, enrol.public, instance.public, os.urandom(16)).statement()
    begun = begun.signed_by(enrol, instance)
    wrap = wrap_public(os.urandom(32))
    said = InstanceCertificate(begun.id, instance.public, wrap, b"", 0, b"", enrol.public).statement()
    good = begun.encode(), said.signed_by(enrol, instance).encode()
    head = region.register(principal.log, [good])[0]
    assert head.owner == begun.id
    file = region.file_of(head.id)
    assert region.register(principal.log, [good, good])[0].id == head.id
    assert [one.id for one in file.heads()].count(head.id) == 1
    size = home.head(principal.log).size
    for which in range(2):
        for at in (-1, -70):
            bad = list(good)
            bad[which] = bad[which][:at] + bytes([bad[which][at] ^ 1]) + bad[which][len(bad[which]) + at + 1 :]
            with pytest.raises(ProtocolViolation):
                region.register(principal.log, [good, (bad[0], bad[1])])
    with pytest.raises(ProtocolViolation, match="another principal"):
        region.register(region.add_principal().log, [good])
    assert home.head(principal.log).size == size, "nothing of what did not hold is recorded"


def test_a_log_is_written_in_its_own_file_alone(region: Region) -> None:
    agent = region.add_agents(region.add_principal().log, 1)[0]
    draft = Draft("thing.made", encode_body({"name": "x"}), entity=NEW, scope=Scope.PUBLIC)
    region.commit([Batch(agent.log, [draft], [None])])
    head = region.file_of(agent.log).head(agent.log)
    with pytest.raises(Conflict, match="written here"):
        region.take(head, [], head.note)
    with pytest.raises(NotFound):
        region.forget(bytes(32), [0], reason="asked")
    with pytest.raises(Conflict):
        region.row_files[0].logs.save_head(head)


def test_registering_reads_no_log_again(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    principal = region.add_principal()
    home = region.file_of(principal.log)
    enrol = home.signer(home.head(principal.log))
    claims = []
    for n in range(6):
        instance = SigningKey(bytes([n]) * 32)
        begun = AgentInception(principal.id, enrol.public, instance.public, bytes([n]) * 16).statement()
        begun = begun.signed_by(enrol, instance)
        wrap = wrap_public(os.urandom(32))
        said = InstanceCertificate(begun.id, instance.public, wrap, b"", 0, b"", enrol.public).statement()
        claims.append((begun.encode(), said.signed_by(enrol, instance).encode()))
    region.register(principal.log, claims[:3])
    for file in region.log_files:
        with file.transaction():
            pass  # a file is read once when this process first writes to it
    read: list[int] = []
    for file in region.log_files:
        heads = file.logs.heads
        monkeypatch.setattr(file.logs, "heads", lambda heads=heads: read.append(1) or heads())
    made = region.register(principal.log, claims[3:])
    assert not read, "its cost would grow with the number of agents"
    assert {one.id for one in made} <= {one.id for file in region.log_files for one in file.heads()}
