"""Who may speak: the least fixed point, in whatever order the evidence comes; what does not follow does not count."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.identity import statements as said
from antiphon.identity.signing import SigningKey, Statement
from antiphon.identity.statements import log_id_of, root_commitment
from antiphon.identity.validity import Evidence, Standing, provisional_logs, standing_of
from antiphon.model.errors import ProtocolViolation

NAMES = ("root", "next", "later", "enrol", "second", "one", "two", "three", "evil")
ROOT, NEXT, LATER, ENROL, SECOND, ONE, TWO, THREE, EVIL = (SigningKey(name.encode().ljust(32)) for name in NAMES)
WRAP, R = b"w" * 32, b"r" * 32
BEGIN = said.PrincipalInception(ROOT.public, root_commitment(NEXT.public), ENROL.public, WRAP).statement()
BEGIN = BEGIN.signed_by(ROOT, ENROL)
P = BEGIN.id
HOME = log_id_of(P, ENROL.public)


def agent_by(enrol: SigningKey, first: SigningKey, principal: bytes = P) -> Statement:
    return said.AgentInception(principal, enrol.public, first.public, b"n" * 16).statement().signed_by(enrol, first)


def certificate(agent: bytes, new: SigningKey, by: SigningKey) -> Statement:
    return said.InstanceCertificate(agent, new.public, WRAP, b"", 0, b"", by.public).statement().signed_by(by, new)


def revocation(log: bytes, size: int, by: SigningKey = ENROL, principal: bytes = P) -> Statement:
    return said.Revocation(principal, log, size, R, by.public).statement().signed_by(by)


def enrolment(new: SigningKey, root: SigningKey = ROOT, principal: bytes = P) -> Statement:
    return said.EnrolDelegation(principal, new.public, root.public).statement().signed_by(root, new)


def rotation(root: SigningKey, following: SigningKey, principal: bytes = P) -> Statement:
    return said.RootRotation(principal, root.public, root_commitment(following.public)).statement().signed_by(root)


AGENT = agent_by(ENROL, ONE)
A = AGENT.id
LOG1, LOG2, LOG3 = (log_id_of(A, key.public) for key in (ONE, TWO, THREE))


def at_home(*statements: Statement) -> list[Evidence]:
    return [Evidence(one, HOME, seq) for seq, one in enumerate(statements, start=1)]


USUAL = [*at_home(AGENT, certificate(A, ONE, ENROL)), Evidence(certificate(A, TWO, ONE), LOG1, 5)]
CHAIN = [*USUAL, Evidence(certificate(A, THREE, TWO), LOG2, 8)]


def stand(evidence: list[Evidence]) -> Standing:
    return standing_of(BEGIN, evidence)


def test_a_principal_begins_with_its_own_log() -> None:
    found = stand([])
    assert found.logs == {HOME: P}
    assert found.counts(HOME, 10**9)
    assert found.enrol_keys == {ENROL.public}


def test_the_chain_by_siblings() -> None:
    found = stand(CHAIN)
    assert found.logs == {HOME: P, LOG1: A, LOG2: A, LOG3: A}
    assert found.agents == {A}
    assert found.ignored == []


def test_the_order_of_evidence_does_not_matter() -> None:
    extra = [Evidence(enrolment(SECOND), HOME, 7), Evidence(revocation(LOG3, 4), HOME, 9)]
    wanted = stand([*CHAIN, *extra])
    for order in permutations([*CHAIN, *extra]):
        found = stand(list(order))
        assert (found.logs, found.cut, found.enrol_keys) == (wanted.logs, wanted.cut, wanted.enrol_keys)


@given(st.lists(st.sampled_from(range(len(CHAIN))), unique=True))
def test_more_evidence_never_takes_away_but_by_revocation(chosen: list[int]) -> None:
    found = stand([CHAIN[at] for at in chosen])
    assert set(found.logs) <= set(stand(CHAIN).logs)


@pytest.mark.parametrize("missing", range(len(CHAIN)))
def test_what_hangs_on_a_missing_link_does_not_count(missing: int) -> None:
    found = stand(CHAIN[:missing] + CHAIN[missing + 1 :])
    lost = [{LOG1, LOG2, LOG3}, {LOG1, LOG2, LOG3}, {LOG2, LOG3}, {LOG3}][missing]
    assert set(found.logs) == {HOME, LOG1, LOG2, LOG3} - lost


@pytest.mark.parametrize(
    ("log", "size", "lost"),
    [
        (LOG1, 6, set()),
        (LOG1, 5, {LOG2, LOG3}),
        (LOG1, 0, {LOG2, LOG3}),
        (LOG2, 9, set()),
        (LOG2, 8, {LOG3}),
        (HOME, 2, {LOG1, LOG2, LOG3}),
    ],
    ids=["one-6", "one-5", "one-0", "two-9", "two-8", "home-2"],
)
def test_a_revocation_cuts_and_all_that_grew_from_there(log: bytes, size: int, lost: set[bytes]) -> None:
    found = stand([*CHAIN, Evidence(revocation(log, size), HOME, 20)])
    assert set(found.logs) == {HOME, LOG1, LOG2, LOG3} - lost
    assert size == 0 or found.counts(log, size - 1)
    assert not found.counts(log, size)


def test_of_two_revocations_the_lower_size_counts() -> None:
    both = [Evidence(revocation(LOG1, size), HOME, 20 + size) for size in (9, 5, 7)]
    assert stand([*CHAIN, *both]).cut[LOG1] == 5


@pytest.mark.parametrize(
    "evidence",
    [
        Evidence(revocation(LOG1, 0, by=EVIL), HOME, 9),
        Evidence(revocation(LOG1, 0, by=ONE), HOME, 9),
        Evidence(revocation(LOG1, 0, principal=b"q" * 32), HOME, 9),
        Evidence(revocation(LOG1, 0), LOG1, 9),
        Evidence(revocation(LOG1, 0), LOG3, 9),
        Evidence(said.Revocation(P, LOG1, 0, R, ENROL.public).statement(), HOME, 9),
        Evidence(said.Revocation(P, LOG1, 0, R, ENROL.public).statement().signed_by(ONE), HOME, 9),
        Evidence(enrolment(EVIL, root=EVIL), HOME, 9),
        Evidence(enrolment(EVIL, root=NEXT), HOME, 9),
        Evidence(enrolment(EVIL, principal=b"q" * 32), HOME, 9),
        Evidence(enrolment(EVIL), LOG1, 9),
        Evidence(rotation(EVIL, EVIL), HOME, 9),
        Evidence(rotation(LATER, EVIL), HOME, 9),
        Evidence(rotation(NEXT, LATER, principal=b"q" * 32), HOME, 9),
        Evidence(rotation(NEXT, LATER), LOG1, 9),
        Evidence(agent_by(EVIL, EVIL), HOME, 9),
        Evidence(agent_by(ENROL, EVIL, principal=b"q" * 32), HOME, 9),
        Evidence(agent_by(ENROL, EVIL), b"x" * 32, 9),
        Evidence(certificate(A, EVIL, EVIL), HOME, 9),
        Evidence(certificate(A, EVIL, EVIL), log_id_of(A, EVIL.public), 0),
        Evidence(certificate(A, EVIL, ENROL), LOG1, 9),
        Evidence(certificate(A, EVIL, TWO), LOG1, 9),
        Evidence(certificate(b"q" * 32, EVIL, ENROL), HOME, 9),
        Evidence(certificate(b"q" * 32, EVIL, ONE), LOG1, 9),
        Evidence(said.InstanceCertificate(A, EVIL.public, WRAP, b"", 0, b"", ENROL.public).statement().signed_by(EVIL),
                 HOME, 9),
        Evidence(said.InstanceCertificate(A, EVIL.public, WRAP, b"", 0, b"", ENROL.public).statement().signed_by(ENROL),
                 HOME, 9),
        Evidence(Statement("instance", (b"",) * 7), HOME, 9),
        Evidence(Statement("agent", ()), HOME, 9),
        Evidence(Statement("something else", (b"x",)), HOME, 9),
        Evidence(BEGIN, HOME, 9),
    ],
    ids=lambda item: item.statement.use,
)  # fmt: skip
def test_what_does_not_follow_changes_nothing(evidence: Evidence) -> None:
    before, after = stand(CHAIN), stand([*CHAIN, evidence])
    for name in ("root_key", "next_root", "enrol_keys", "agents", "logs", "cut"):
        assert getattr(before, name) == getattr(after, name), name


def test_a_committed_root_takes_over_and_delegates() -> None:
    found = stand(at_home(rotation(NEXT, LATER), enrolment(SECOND, root=NEXT), rotation(LATER, EVIL)))
    assert found.root_key == LATER.public
    assert found.next_root == root_commitment(EVIL.public)
    assert SECOND.public in found.enrol_keys


def test_the_old_root_delegates_nothing_after_it_was_replaced() -> None:
    assert SECOND.public not in stand(at_home(rotation(NEXT, LATER), enrolment(SECOND))).enrol_keys
    assert SECOND.public in stand(at_home(enrolment(SECOND), rotation(NEXT, LATER))).enrol_keys


def test_a_second_enrol_key_enrols_and_certifies() -> None:
    other = agent_by(SECOND, TWO)
    found = stand(at_home(other, certificate(other.id, TWO, SECOND), enrolment(SECOND)))
    assert log_id_of(other.id, TWO.public) in found.logs
    assert stand(at_home(other, certificate(other.id, TWO, SECOND))).agents == set()


def test_two_that_vouch_for_each_other_stay_outside() -> None:
    ring = [Evidence(certificate(A, TWO, THREE), LOG3, 0), Evidence(certificate(A, THREE, TWO), LOG2, 0)]
    found = stand([*at_home(AGENT, certificate(A, ONE, ENROL)), *ring])
    assert set(found.logs) == {HOME, LOG1}


def test_an_inception_must_be_signed_by_its_keys() -> None:
    bare = said.PrincipalInception(ROOT.public, root_commitment(NEXT.public), ENROL.public, WRAP).statement()
    for wrong in (bare, bare.signed_by(ROOT), bare.signed_by(ENROL), AGENT):
        with pytest.raises(ProtocolViolation):
            standing_of(wrong, [])


def test_many_useless_statements_cost_little() -> None:
    """Each is verified once, not once a round: a proof file must not keep a verifier busy for minutes."""
    chain, key, log = list(at_home(AGENT, certificate(A, ONE, ENROL))), ONE, LOG1
    for n in range(40):
        new = SigningKey(b"%032d" % n)
        chain.append(Evidence(certificate(A, new, key), log, 3))
        key, log = new, log_id_of(A, new.public)
    junk = [Evidence(certificate(b"%032d" % n, ONE, ENROL), HOME, 50 + n) for n in range(100)]
    calls = 0
    real = said.InstanceCertificate.read.__func__

    class Counted(said.InstanceCertificate):
        pass

    def read(cls: type, statement: Statement) -> said.InstanceCertificate:
        nonlocal calls
        calls += 1
        return real(said.InstanceCertificate, statement)

    patch = pytest.MonkeyPatch()
    patch.setattr(said.InstanceCertificate, "read", classmethod(read))
    try:
        found = stand([*reversed(chain), *junk])
    finally:
        patch.undo()
    assert len(found.logs) == 42
    assert calls == 141


# -- provisional -----------------------------------------------------------------------------------------------------


def provisional(parent: SigningKey, new: SigningKey, agent: bytes = A) -> Statement:
    return said.ProvisionalInstance(agent, new.public, WRAP, parent.public, 3, R).statement().signed_by(parent, new)


def test_clones_of_valid_logs_and_their_clones() -> None:
    claims = [provisional(EVIL, LATER), provisional(TWO, EVIL)]
    new, newer = log_id_of(A, EVIL.public), log_id_of(A, LATER.public)
    assert provisional_logs(stand(CHAIN), claims) == {new: A, newer: A}
    assert provisional_logs(stand(CHAIN), claims[:1]) == {}
    revoked = stand([*CHAIN, Evidence(revocation(LOG2, 100), HOME, 20)])
    assert provisional_logs(revoked, claims) == {}
    clone_revoked = stand([*CHAIN, Evidence(revocation(new, 100), HOME, 20)])
    assert provisional_logs(clone_revoked, claims) == {new: A}


@pytest.mark.parametrize(
    "claim",
    [
        provisional(EVIL, EVIL),
        provisional(LATER, EVIL),
        provisional(ONE, EVIL, agent=b"q" * 32),
        said.ProvisionalInstance(A, EVIL.public, WRAP, ONE.public, 3, R).statement().signed_by(EVIL),
        said.ProvisionalInstance(A, EVIL.public, WRAP, ONE.public, 3, R).statement().signed_by(ONE),
        Statement("provisional", ()),
        certificate(A, EVIL, ONE),
    ],
)
def test_claims_that_lead_nowhere(claim: Statement) -> None:
    assert provisional_logs(stand(CHAIN), [claim]) == {}


# -- recovery: another home, begun under a new root key ----------------------------------------------------------------

NEW_HOME = log_id_of(P, SECOND.public)
STOLEN_AT = 3
"""What the first home held when its principal was recovered: seqs below it."""


def recovered(*more: Statement, home: bytes = NEW_HOME) -> list[Evidence]:
    said = (rotation(NEXT, LATER), enrolment(SECOND, root=NEXT), revocation(HOME, STOLEN_AT, by=NEXT), *more)
    return [Evidence(one, home, seq) for seq, one in enumerate(said, start=1)]


def test_after_a_recovery_the_new_home_speaks_and_what_was_before_stands() -> None:
    fresh = agent_by(SECOND, THREE)
    found = stand([*USUAL, *recovered(fresh, certificate(fresh.id, THREE, SECOND))])
    assert found.home == NEW_HOME
    assert (found.root_key, found.next_root) == (NEXT.public, root_commitment(LATER.public))
    assert set(found.logs) == {HOME, NEW_HOME, LOG1, LOG2, log_id_of(fresh.id, THREE.public)}
    assert found.cut == {HOME: STOLEN_AT}


@pytest.mark.parametrize(
    "stolen",
    [
        agent_by(ENROL, EVIL),
        certificate(A, EVIL, ENROL),
        revocation(LOG1, 0),
        revocation(NEW_HOME, 0),
        enrolment(EVIL),
        rotation(NEXT, LATER),
        enrolment(SECOND, root=NEXT),
    ],
    ids=lambda statement: statement.use,
)
def test_a_thief_with_the_old_enrol_key_adds_nothing_after_a_recovery(stolen: Statement) -> None:
    """The thief goes on writing the first home, and begins homes of its own; even what the owner said is worth nothing
    there."""
    before = stand([*USUAL, *recovered()])
    own = log_id_of(P, EVIL.public)
    tail = [Evidence(stolen, HOME, seq) for seq in range(STOLEN_AT, 9)]
    copied = [Evidence(item.statement, HOME, 20 + item.seq) for item in recovered()]
    elsewhere = [Evidence(item.statement, own, item.seq) for item in (*recovered(), *tail)]
    for added in (tail, [*copied, *tail], elsewhere, [*elsewhere, Evidence(enrolment(EVIL), own, 40)]):
        after = stand([*USUAL, *recovered(), *added])
        for name in ("home", "root_key", "next_root", "enrol_keys", "agents", "logs", "cut"):
            assert getattr(before, name) == getattr(after, name), name


def test_before_the_recovery_is_heard_of_the_thief_is_believed() -> None:
    """What makes the test above say something: the same statement counts where nobody has revoked its key."""
    thief = Evidence(agent_by(ENROL, EVIL), HOME, 7)
    assert len(stand([*USUAL, thief]).agents) == 2
    assert len(stand([*USUAL, thief, *recovered()]).agents) == 1


def test_no_home_without_a_rotation_and_none_that_does_not_delegate_its_own_key() -> None:
    assert stand([Evidence(enrolment(SECOND), NEW_HOME, 1)]).home == HOME
    assert stand([Evidence(rotation(NEXT, LATER), NEW_HOME, 1)]).home == HOME
    assert stand([Evidence(rotation(NEXT, LATER), NEW_HOME, 2), Evidence(enrolment(SECOND), NEW_HOME, 1)]).home == HOME
    assert stand(recovered(home=log_id_of(P, EVIL.public))).home == HOME


def test_of_two_recoveries_the_later_speaks_in_whatever_order_they_are_heard() -> None:
    third = log_id_of(P, THREE.public)
    again = (*recovered(home=third), *(
        Evidence(one, third, 10 + at)
        for at, one in enumerate((rotation(LATER, EVIL), enrolment(THREE, root=LATER), revocation(NEW_HOME, 9, LATER)))
    ))  # fmt: skip
    for evidence in ([*USUAL, *recovered(), *again], [*again, *recovered(), *USUAL]):
        found = stand(evidence)
        assert found.home == third
        assert found.cut == {HOME: STOLEN_AT, NEW_HOME: 9}
        assert set(found.logs) == {HOME, NEW_HOME, third, LOG1, LOG2}


# -- widths ----------------------------------------------------------------------------------------------------------

SHAPES = {
    said.PrincipalInception: BEGIN,
    said.AgentInception: AGENT,
    said.InstanceCertificate: certificate(A, ONE, ENROL),
    said.ProvisionalInstance: provisional(ONE, TWO),
    said.Revocation: revocation(LOG1, 5),
    said.EnrolDelegation: enrolment(SECOND),
    said.RootRotation: rotation(NEXT, LATER),
}
KEYS = {key.public: key for key in (ROOT, NEXT, LATER, ENROL, SECOND, ONE, TWO, THREE, EVIL)}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_every_field_has_its_width_and_every_key_its_signature(shape: type) -> None:
    good = SHAPES[shape]
    assert shape.read(good).statement() == Statement(good.use, good.fields)
    signers = [KEYS[key] for key, _ in good.signatures]
    for at, field in enumerate(good.fields):
        for wrong in (field + b"\0", field[:-1], b"") if field else (b"x",):
            fields = (*good.fields[:at], wrong, *good.fields[at + 1 :])
            with pytest.raises(ProtocolViolation):
                shape.read(Statement(good.use, fields).signed_by(*signers))
    for n in range(len(signers)):
        with pytest.raises(ProtocolViolation, match="signature"):
            shape.read(Statement(good.use, good.fields).signed_by(*signers[:n], *signers[n + 1 :]))
    for fields in (good.fields[:-1], (*good.fields, b"")):
        with pytest.raises(ProtocolViolation):
            shape.read(Statement(good.use, fields).signed_by(*signers))
    with pytest.raises(ProtocolViolation):
        shape.read(Statement("other", good.fields).signed_by(*signers))
