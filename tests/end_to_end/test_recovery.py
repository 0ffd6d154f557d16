"""A principal taken back with its recovery key: what stands, what a thief can still do, and what interrupts it."""

import json
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from antiphon import Agent, verify_proof
from antiphon.home import Home
from antiphon.identity.signing import SigningKey, decode_statement
from antiphon.identity.statements import ProvisionalInstance, root_commitment
from antiphon.identity.validity import Evidence, provisional_logs, standing_of
from antiphon.log import kinds
from antiphon.log.store import LogRole
from antiphon.model.errors import NotFound
from antiphon.model.text import parse_id
from antiphon.replica.archive import verify_archive
from antiphon.replica.enrol import standing_in
from antiphon.replica.recovery import read_recovery_key
from tests.end_to_end.test_cli import COMMAND, Terminal, run
from tests.second import reader

KILLED = -9


def key_of(home: Path, to: Path) -> str:
    """The recovery key, moved away from the home as its owner is told to."""
    (home / "recovery-key.txt").rename(to)
    return str(to)


@pytest.fixture
def home(own_home: Path) -> Path:
    run("init", "ada")
    run("remember", "Grace prefers tea")
    return own_home / "home"


@pytest.fixture
def key(home: Path, own_home: Path) -> str:
    return key_of(home, own_home / "paper")


def principal() -> str:
    found: str = json.loads(run("-a", "ada", "stats", "--json").stdout)["principal"]
    return found


def check(proof: bytes, of: str, *, second: bool = True) -> None:
    """What a stranger says who has the proof and the principal's id: our verifier, and another one (slow)."""
    assert verify_proof(proof, principal=parse_id(of)).certified
    assert not second or reader.verify_proof(proof, parse_id(of))["certified"] is True


def works(folder: Path, of: str, *, second: bool = False) -> None:
    """Agents old and new remember, verify and prove, and so do exports."""
    place = Home.open(folder)
    if "new" not in place.names():
        Agent.create("new", home=folder).close()
    for name in place.names():
        archive = folder.parent / f"{name}.archive"
        archive.unlink(missing_ok=True)
        with Agent.open(name, home=folder) as agent:
            said = agent.remember(f"{name} goes on")
            assert any(hit.event == said.event for hit in agent.recall("goes on", limit=100))
            assert agent.verify().ok
            check(agent.prove(said.event), of, second=second)
            agent.export(archive)
        assert all(verdict.ok for verdict in verify_archive(archive))
        if second:
            run("verify", str(archive), "--principal", of)
            reader.verify_archive(archive)
    place.close()


def test_the_principal_is_taken_back_and_what_was_before_stands(home: Path, key: str, own_home: Path) -> None:
    old, of = own_home / "old.proof", principal()
    run("prove", "0", "-o", str(old))
    log = json.loads(run("verify", "--json").stdout)["log"]
    said = json.loads(run("recover", key, "--json").stdout)
    assert (said["principal"], said["revoked"], said["left"]) == (of, [], {})
    works(home, of, second=True)
    run("-a", "ada", "remember", "Grace still does")
    run("-a", "ada", "prove", "2", "-o", str(own_home / "new.proof"))
    for proof in (old, own_home / "new.proof"):
        check(proof.read_bytes(), of)
        run("verify", str(proof), "--principal", of)
    assert principal() == of
    assert log == json.loads(run("-a", "ada", "verify", "--json").stdout)["log"], "its instance goes on"
    run("-a", "ada", "prove", f"{log}/0", "-o", str(own_home / "again.proof"))
    check((own_home / "again.proof").read_bytes(), of)
    assert not (home / "recovering").exists()


def test_revoked_instances_stand_as_they_were_and_agents_begin_new_logs(home: Path, key: str, own_home: Path) -> None:
    old, again, of = own_home / "old.proof", own_home / "again.proof", principal()
    run("init", "bob")
    run("-a", "ada", "prove", "0", "-o", str(old))
    log = json.loads(run("-a", "ada", "verify", "--json").stdout)["log"]
    said = json.loads(run("recover", key, "--revoke-instances", "--json").stdout)
    assert said["revoked"] == ["ada", "bob"]
    place = Home.open()
    standing = standing_in(place.principal(), place.principal_log())
    place.close()
    assert sorted(standing.cut[one] for one, owner in standing.logs.items() if owner in standing.agents) == [0, 1]
    assert standing.counts(parse_id(log), 0)
    assert not standing.counts(parse_id(log), 1), "the stolen key can add nothing, nor certify another one"
    claim = ProvisionalInstance(standing.logs[parse_id(log)], b"n" * 32, b"w" * 32, b"", 1, b"r" * 32)
    parent, child = SigningKey(place.ring.get(f"log:{parse_id(log).hex()}")), SigningKey(b"c" * 32)
    claim = msgspec.structs.replace(claim, parent_key=parent.public, instance_key=child.public)
    assert not provisional_logs(standing, [claim.statement().signed_by(parent, child)])
    works(home, of)
    now = json.loads(run("-a", "ada", "verify", "--json").stdout)
    assert now["log"] != log
    assert [item["size"] for item in now["logs"]] == [1, 1]
    run("-a", "ada", "prove", f"{log}/0", "-o", str(again))
    check(old.read_bytes(), of)
    check(again.read_bytes(), of)
    assert "certified" in run("-a", "ada", "doctor").stdout
    run("-a", "ada", "forget", f"{log}/0", "--yes")
    run("-a", "ada", "verify")
    run("-a", "ada", "export", str(own_home / "later.archive"))
    run("verify", str(own_home / "later.archive"), "--principal", of)
    reader.verify_archive(own_home / "later.archive")


def test_twice_in_a_row_and_a_used_key_opens_nothing(home: Path, key: str, own_home: Path) -> None:
    of = principal()
    run("recover", key, "--revoke-instances")
    second = key_of(home, own_home / "paper2")
    before = (home / "principal.antiphon").read_bytes()
    assert "voids those before it" in run("recover", key, code=2).stderr
    assert (home / "principal.antiphon").read_bytes() == before
    works(home, of)
    run("recover", "-", "--revoke-instances", stdin=Path(second).read_text())
    works(home, of, second=True)
    run("recover", second, code=2)


def test_a_used_key_is_not_even_the_current_root(home: Path, key: str) -> None:
    """Its second half would be after one rotation, and could delegate enrol keys: so there are two."""
    run("recover", key)
    place = Home.open()
    standing = standing_in(place.principal(), place.principal_log())
    place.close()
    used = read_recovery_key(Path(key).read_text())
    assert standing.root_key not in {SigningKey(used[:32]).public, SigningKey(used[32:]).public}
    fresh = read_recovery_key((home / "recovery-key.txt").read_text())
    assert standing.root_key == SigningKey(fresh[:32]).public
    assert standing.next_root == root_commitment(SigningKey(fresh[32:]).public)
    assert len(standing.enrol_keys) == 2


def test_a_restored_home_is_recovered_as_it_is(
    home: Path, key: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On another machine, from a backup: no `adopt` is needed first."""
    of = principal()
    monkeypatch.setenv("ANTIPHON_STATE", str(own_home / "another-state"))
    run("recover", key, "--revoke-instances")
    works(home, of)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("recovery: " + "ab" * 64, "not the recovery key of the principal"),
        ("recovery: " + "ab" * 63, "no recovery key"),
        ("", "no recovery key"),
        (f"{'ab' * 64}\n{'cd' * 64}\n", "several recovery keys"),
    ],
)
def test_a_wrong_key_is_refused_and_changes_nothing(home: Path, key: str, text: str, says: str) -> None:
    said = run("recover", "-", code=2, stdin=text).stderr
    assert says in said
    assert text.strip()[-100:] not in said or not text, "no key is ever shown"
    assert not (home / "recovering").exists()
    assert not (home / "recovery-key.txt").exists()
    run("recover", key)


def statements(path: Path) -> list[Evidence]:
    """Of all principals' logs in a home, as whoever has both the owner's and the thief's copy would hear them."""
    place = Home.open(path)
    replica = place.principal()
    found = [
        Evidence(decode_statement(event.body), head.id, event.seq)
        for head in replica.heads()
        for event in replica.reader.events(head)
        if event.kind in kinds.STATEMENT_KINDS and event.body
    ]
    place.close()
    return found


def test_a_thief_with_a_copy_of_the_home_certifies_nothing_that_counts(
    home: Path, key: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loot = own_home / "loot"
    shutil.copytree(home, loot)
    run("recover", key, "--revoke-instances")
    works(home, principal())
    place = Home.open(loot)
    place.adopt()  # the thief has all of it: the home's key, the agent's, the old enrol key
    with Agent.create("mallory", home=loot) as mallory:
        forged, agent = mallory.log_id, mallory.record_of_agent.agent
    with Agent.open("ada", home=loot) as ada:
        ada.remember("Grace prefers arsenic")
        twin = ada.log_id
    place.close()
    stolen, owned = statements(loot), statements(home)
    inception = owned[0].statement
    believed = standing_of(inception, stolen)
    assert {forged, twin} <= set(believed.logs), "before the recovery is heard of, the thief is believed"
    both = standing_of(inception, [*owned, *stolen])
    assert not {forged, twin} & set(both.logs)
    assert agent not in both.agents
    assert both.logs == standing_of(inception, owned).logs


STOPS = {
    "before anything": "recovery.committed_key = die",
    "agents retired": "recovery.begin_home = die",
    "key written": "Home._write_recovery_key = after(Home._write_recovery_key)",
    "committed": "armed(Replica, 'forget_caches', die)",
    "one agent told": "armed(enrol, 'follow_homes', after(enrol.follow_homes))",
}
SCRIPT = """
import os, signal, sys
from antiphon.home import Home
from antiphon.replica import enrol, recovery
from antiphon.replica.core import Replica
def die(*given, **named): os.kill(os.getpid(), signal.SIGKILL)
def after(real):
    def call(*given, **named):
        real(*given, **named)
        die()
    return call
def armed(owner, what, deadly):
    real = recovery.begin_home
    def call(*given):
        made = real(*given)
        setattr(owner, what, deadly)
        return made
    recovery.begin_home = call
place = Home.open()
place.principal()
STOP
place.recover(recovery.read_recovery_key(open(sys.argv[1]).read()), revoke_instances=True)
"""


@pytest.mark.parametrize("stop", STOPS)
def test_killed_on_the_way_the_home_works_and_can_be_recovered(stop: str, home: Path, key: str, own_home: Path) -> None:
    of = principal()
    run("init", "bob")
    code = SCRIPT.replace("STOP", STOPS[stop])
    killed = subprocess.run([COMMAND[0], "-c", code, key], check=False, timeout=60)
    assert killed.returncode == KILLED
    works(home, of)
    fresh = home / "recovery-key.txt"
    done = stop in ("committed", "one agent told")
    assert fresh.exists() == (done or stop == "key written"), "never a recovery that wrote no key"
    run("recover", key, "--revoke-instances", code=2 if done else 0)
    if done:
        run("recover", str(fresh), "--revoke-instances")
    works(home, of)
    assert not (home / "recovering").exists()


def test_an_agent_that_is_open_elsewhere_goes_on_in_a_new_log(home: Path, key: str) -> None:
    of = principal()
    with Agent.open("ada") as ada:
        before = ada.remember("before").event
        run("recover", key, "--revoke-instances")
        after = ada.remember("after").event
        assert before.split("/")[0] != after.split("/")[0]
        for event in (before, after):
            check(ada.prove(event), of)


# -- the key ring is lost ----------------------------------------------------------------------------------------------


def test_without_the_key_ring_the_identity_comes_back_from_an_archive(home: Path, key: str, own_home: Path) -> None:
    of, archive, again = principal(), own_home / "ada.archive", own_home / "again"
    run("export", str(archive))
    (home / "keys").unlink()
    assert "--archive" in run("recover", key, code=2).stderr
    assert "agents already" in run("recover", key, "--archive", str(archive), code=2).stderr
    assert not (home / "keys").exists()
    run("--home", str(again), "recover", "-", "--archive", str(archive), code=2, stdin="ab" * 64)
    assert not again.exists(), "nothing is made before the key has proved right"
    run("--home", str(again), "recover", key, "--archive", str(archive))
    works(again, of)
    run("--home", str(again), "-a", "new", "import", str(archive))
    second = key_of(again, own_home / "paper2")
    run("--home", str(again), "recover", key, "--archive", str(archive), code=2)
    run("--home", str(again), "recover", second, "--revoke-instances")
    works(again, of)


def test_an_altered_archive_takes_nothing_back(home: Path, key: str, own_home: Path) -> None:
    import zstandard

    archive, again = own_home / "ada.archive", own_home / "again"
    run("export", str(archive))
    plain = zstandard.ZstdDecompressor().stream_reader(archive.read_bytes()).read()
    at = plain.index(b"rotate") if b"rotate" in plain else plain.index(b"principal", 200)
    archive.write_bytes(zstandard.compress(plain[:at] + b"P" + plain[at + 1 :]))
    run("--home", str(again), "recover", key, "--archive", str(archive), code=1)
    assert not again.exists()


def test_what_retired_logs_are_to_the_file(home: Path, key: str) -> None:
    """No log of before is written again, whoever has the file open."""
    run("recover", key, "--revoke-instances")
    with Agent.open("ada") as ada:
        roles = {head.role for head in ada.replica.heads()}
    assert LogRole.OWN not in roles
    place = Home.open()
    own = [head.id for head in place.principal().heads() if head.role == LogRole.OWN]
    assert own == [place.principal_log()]
    place.close()


def test_a_home_with_no_principal_says_so(own_home: Path) -> None:
    place = Home.open(create=True)
    with pytest.raises(NotFound, match="archive"):
        place.recover(b"k" * 64)


def test_typed_on_a_terminal_it_is_not_shown_and_the_instances_are_asked_for(home: Path, key: str) -> None:
    terminal = Terminal("recover")
    terminal.read("Recovery key")
    terminal.type(Path(key).read_text().split()[-1] + "\n")
    terminal.read("stolen too")
    terminal.type("y\n")
    assert terminal.close() == 0, terminal.screen
    assert "revoked" in terminal.screen
    assert Path(key).read_text().split()[-1] not in terminal.screen
    assert run("remember", "x").stderr.startswith("ada began a log of its own here: its keys were revoked")
