"""Proof files: every field changed is refused, whoever changes it; a claim that leads nowhere is refused too."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.identity.signing import SigningKey, Statement
from antiphon.identity.statements import (
    AgentInception,
    InstanceCertificate,
    PrincipalInception,
    ProvisionalInstance,
    Revocation,
    log_id_of,
    root_commitment,
)
from antiphon.log import checkpoint, proof
from antiphon.log.leaf import body_hash, leaf_hash
from antiphon.log.tree import consistency_path, inclusion_path, root_of
from antiphon.model.errors import AntiphonError, LimitExceeded, ProtocolViolation
from antiphon.model.event import Header, encode_header
from antiphon.model.note import Checkpoint
from tests.second import reader

ROOT, NEXT, ENROL, FIRST, CLONE, EVIL, EVIL2 = (SigningKey(bytes([n]) * 32) for n in range(7))
WRAP, BLIND, SALT, BODY = b"w" * 32, b"b" * 16, b"s" * 16, b"\xa4body"
BEGIN = PrincipalInception(ROOT.public, root_commitment(NEXT.public), ENROL.public, WRAP).statement()
BEGIN = BEGIN.signed_by(ROOT, ENROL)
AGENT = AgentInception(BEGIN.id, ENROL.public, FIRST.public, b"n" * 16).statement().signed_by(ENROL, FIRST)
HOME, LOG = log_id_of(BEGIN.id, ENROL.public), log_id_of(AGENT.id, FIRST.public)
CERTIFIED = InstanceCertificate(AGENT.id, FIRST.public, WRAP, b"", 0, b"", ENROL.public).statement()
CERTIFIED = CERTIFIED.signed_by(ENROL, FIRST)
HEADER = encode_header(Header(1, 5 << 16, None, "example.said", 1, None, None, 0, None, None))
LEAVES = [leaf_hash(BLIND, HEADER, body_hash(SALT, b"\xa4bo%02d" % n)) for n in range(9)]
LEAVES[6] = leaf_hash(BLIND, HEADER, body_hash(SALT, BODY))
CHAIN = ((HOME, 0, BEGIN), (HOME, 1, AGENT), (HOME, 2, CERTIFIED))


def note_of(size: int, *, key: SigningKey = FIRST, owner: bytes = AGENT.id) -> bytes:
    return checkpoint.sign(Checkpoint(log_id_of(owner, key.public), size, root_of(LEAVES[:size])), key)


def subtree(first: int, last: int) -> bytes:
    return root_of(LEAVES[first:last])


Chain = tuple[tuple[bytes, int, Statement], ...]


def inclusion(chain: Chain = CHAIN, *, key: SigningKey = FIRST, **changes: Any) -> bytes:
    given: dict[str, Any] = {
        "note": note_of(9, key=key), "seq": 6, "header": HEADER, "body": BODY, "blind": BLIND, "salt": SALT,
        "path": inclusion_path(6, 9, subtree),
    }  # fmt: skip
    statements = tuple((log, seq, said.encode()) for log, seq, said in chain)
    return proof.write_inclusion(key=key.public, credentials=proof.Credentials(statements), **{**given, **changes})


def consistency(chain: Chain = CHAIN, *, key: SigningKey = FIRST, old: int = 6, new: int = 9) -> bytes:
    return proof.write_consistency(
        key=key.public,
        credentials=proof.Credentials(tuple((log, seq, said.encode()) for log, seq, said in chain)),
        note=note_of(new, key=key),
        old_note=note_of(old, key=key),
        path=consistency_path(old, new, subtree),
    )


def accepted(raw: bytes) -> bool:
    """Whether the proof is taken; both implementations must say the same."""
    try:
        proof.verify_event(raw, principal=BEGIN.id)
    except AntiphonError:
        with pytest.raises((reader.Refused, ValueError, KeyError, TypeError, AttributeError)):
            reader.verify_proof(raw, BEGIN.id)
        return False
    reader.verify_proof(raw, BEGIN.id)
    return True


def test_a_good_proof_says_what_it_proves() -> None:
    found = proof.verify_event(inclusion(), principal=BEGIN.id)
    assert (found.principal, found.agent, found.log, found.seq) == (BEGIN.id, AGENT.id, LOG, 6)
    assert (found.size, found.root, found.body, found.certified) == (9, root_of(LEAVES), BODY, True)
    assert found.describe()["body"] == "body"
    assert accepted(inclusion())
    assert not proof.is_consistency(inclusion())


def test_another_principal_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="by the principal"):
        proof.verify_event(inclusion(), principal=bytes(32))
    assert proof.verify_event(inclusion()).principal == BEGIN.id


GOOD = json.loads(inclusion())


@pytest.mark.parametrize("field", ["key", "note", "header", "body", "blind", "salt"])
@settings(max_examples=30)
@given(at=st.integers(0, 10_000), mask=st.integers(1, 255))
def test_every_flipped_byte_is_refused(field: str, at: int, mask: int) -> None:
    raw = bytearray(base64.b64decode(GOOD[field]))
    raw[at % len(raw)] ^= mask
    assert not accepted(json.dumps({**GOOD, field: base64.b64encode(raw).decode()}).encode())


@settings(max_examples=60)
@given(st.integers(0, 2), st.integers(0, 10_000), st.integers(1, 255))
def test_every_flipped_byte_of_a_statement_is_refused(which: int, at: int, mask: int) -> None:
    statements = [list(entry) for entry in GOOD["statements"]]
    raw = bytearray(base64.b64decode(statements[which][2]))
    raw[at % len(raw)] ^= mask
    statements[which][2] = base64.b64encode(raw).decode()
    assert not accepted(json.dumps({**GOOD, "statements": statements}).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"antiphon": "antiphon/proof/v2"},
        {"seq": 5},
        {"seq": -1},
        {"seq": 9},
        {"seq": 1 << 70},
        {"seq": 6.5},
        {"seq": "6"},
        {"path": GOOD["path"][:-1]},
        {"path": [*GOOD["path"], GOOD["path"][0]]},
        {"path": GOOD["path"][::-1]},
        {"path": ["AAAA", *GOOD["path"][1:]]},
        {"path": None},
        {"note": None},
        {"key": ""},
        {"statements": []},
        {"statements": GOOD["statements"][1:]},
        {"statements": GOOD["statements"][:2]},
        {"statements": [GOOD["statements"][0], GOOD["statements"][2]]},
        {"statements": [GOOD["statements"][1], GOOD["statements"][0], GOOD["statements"][2]]},
        {"statements": [GOOD["statements"][0], GOOD["statements"][1], [GOOD["key"], 2, GOOD["statements"][2][2]]]},
    ],
    ids=str,
)
def test_changed_members_are_refused(changes: dict[str, Any]) -> None:
    assert not accepted(json.dumps({**GOOD, **changes}).encode())


@pytest.mark.parametrize("field", ["antiphon", "key", "statements", "note", "seq", "header", "body", "blind", "salt"])
def test_missing_members_are_refused(field: str) -> None:
    assert not accepted(json.dumps({name: value for name, value in GOOD.items() if name != field}).encode())


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"antiphon":' + b"[" * 100_000])
def test_what_is_no_proof_file(raw: bytes) -> None:
    for check in (proof.verify_event, proof.verify_growth, proof.is_consistency):
        with pytest.raises(ProtocolViolation):
            check(raw)


def test_a_huge_file_is_refused_by_its_limit() -> None:
    with pytest.raises(LimitExceeded) as raised:
        proof.verify_event(b" " * ((1 << 20) + 1))
    assert raised.value.context["limit"] == "PROOF_BYTES_MAX"


def test_bytes_cannot_move_between_salt_and_body() -> None:
    for blind, salt, body in ((BLIND, SALT + BODY[:1], BODY[1:]), (BLIND, SALT[:-1], SALT[-1:] + BODY)):
        assert not accepted(inclusion(blind=blind, salt=salt, body=body))
    assert not accepted(inclusion(blind=BLIND + HEADER[:1], header=HEADER[1:]))


def test_a_header_in_another_spelling_is_refused_even_if_the_tree_has_it() -> None:
    header = HEADER.replace(b"\x9a\x01", b"\x9a\xcc\x01", 1)
    leaf = leaf_hash(BLIND, header, body_hash(SALT, BODY))
    note = checkpoint.sign(Checkpoint(LOG, 1, leaf), FIRST)
    assert not accepted(inclusion(header=header, note=note, seq=0, path=[]))
    note = checkpoint.sign(Checkpoint(LOG, 1, LEAVES[6]), FIRST)
    assert accepted(inclusion(note=note, seq=0, path=[]))


def test_a_body_over_its_limit_is_refused() -> None:
    body = bytes(262_145)
    note = checkpoint.sign(Checkpoint(LOG, 1, leaf_hash(BLIND, HEADER, body_hash(SALT, body))), FIRST)
    assert not accepted(inclusion(body=body, note=note, seq=0, path=[]))


# -- who speaks ------------------------------------------------------------------------------------------------------


def claim(parent: SigningKey, new: SigningKey, agent: bytes = AGENT.id) -> tuple[bytes, int, Statement]:
    said = ProvisionalInstance(agent, new.public, WRAP, parent.public, 3, b"r" * 32).statement()
    return log_id_of(agent, new.public), 0, said.signed_by(parent, new)


def test_a_clone_speaks_provisionally() -> None:
    raw = inclusion((*CHAIN, claim(FIRST, CLONE)), key=CLONE)
    assert accepted(raw)
    assert not proof.verify_event(raw).certified
    assert not proof.verify_event(raw).describe()["certified"]


def test_a_clone_of_a_clone_speaks_too() -> None:
    chain = (*CHAIN, claim(CLONE, EVIL), claim(FIRST, CLONE))
    assert accepted(inclusion(chain, key=EVIL))
    assert not accepted(inclusion((*CHAIN, claim(CLONE, EVIL)), key=EVIL))


def test_nobody_makes_himself_a_clone() -> None:
    """Who has seen a proof knows principal and agent; without the parent's key that must be worth nothing."""
    assert not accepted(inclusion((*CHAIN, claim(EVIL2, EVIL)), key=EVIL))
    assert not accepted(inclusion((*CHAIN, claim(EVIL, EVIL)), key=EVIL))
    assert not accepted(inclusion((*CHAIN, claim(EVIL, EVIL2), claim(EVIL2, EVIL)), key=EVIL))
    unsigned = ProvisionalInstance(AGENT.id, EVIL.public, WRAP, FIRST.public, 3, b"r" * 32).statement().signed_by(EVIL)
    assert not accepted(inclusion((*CHAIN, (LOG, 0, unsigned)), key=EVIL))


def test_nobody_certifies_himself() -> None:
    said = InstanceCertificate(AGENT.id, EVIL.public, WRAP, b"", 0, b"", EVIL.public).statement().signed_by(EVIL)
    for place in (HOME, LOG, log_id_of(AGENT.id, EVIL.public)):
        assert not accepted(inclusion((*CHAIN, (place, 3, said)), key=EVIL))


def revoked(log: bytes, size: int, root: bytes | None = None) -> tuple[bytes, int, Statement]:
    root = subtree(0, size) if root is None else root
    said = Revocation(BEGIN.id, log, size, root, ENROL.public).statement().signed_by(ENROL)
    return HOME, 9, said


def test_of_a_revoked_log_one_checkpoint_counts() -> None:
    """That of the size and root which the revocation names: its key may have signed any other tree."""
    assert accepted(inclusion((*CHAIN, revoked(LOG, 9))))
    for size in (6, 7, 8):
        assert not accepted(inclusion((*CHAIN, revoked(LOG, size))))
    assert not accepted(inclusion((*CHAIN, revoked(LOG, 9, bytes(32)))))
    assert not accepted(inclusion((*CHAIN, revoked(LOG, 10, bytes(32)))))
    clone = log_id_of(AGENT.id, CLONE.public)
    assert not accepted(inclusion((*CHAIN, claim(FIRST, CLONE), revoked(LOG, 9)), key=CLONE))
    assert accepted(inclusion((*CHAIN, claim(FIRST, CLONE), revoked(clone, 9)), key=CLONE))
    assert not accepted(inclusion((*CHAIN, claim(FIRST, CLONE), revoked(clone, 7)), key=CLONE))


# -- growth ----------------------------------------------------------------------------------------------------------


def test_growth_is_proved() -> None:
    old, new = proof.verify_growth(consistency(), principal=BEGIN.id)
    assert (old.size, new.size) == (6, 9)
    assert proof.is_consistency(consistency())
    assert reader.verify_proof(consistency(), BEGIN.id)["old"] == 6
    with pytest.raises(ProtocolViolation, match="without its event"):
        proof.verify_event(consistency())
    with pytest.raises(ProtocolViolation, match="not a proof of consistency"):
        proof.verify_growth(inclusion())


def test_rewritten_history_is_no_growth() -> None:
    good = json.loads(consistency())
    other = checkpoint.sign(Checkpoint(LOG, 6, bytes(32)), FIRST)
    foreign = note_of(6, key=EVIL)
    for changes in (
        {"old_note": base64.b64encode(other).decode()},
        {"old_note": base64.b64encode(foreign).decode()},
        {"old_note": good["note"]},
        {"note": good["old_note"], "old_note": good["note"]},
        {"path": good["path"][:-1]},
        {"path": []},
    ):
        with pytest.raises(ProtocolViolation):
            proof.verify_growth(json.dumps({**good, **changes}).encode())
