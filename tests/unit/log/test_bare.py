"""Bare leaves that come in are explained by their own log or not taken; growth ends where a key was revoked."""

from collections.abc import Iterator

import pytest

from antiphon.log import kinds, proof
from antiphon.log.ingest import ingest
from antiphon.model.errors import ProtocolViolation
from tests.unit.log.test_proof import AGENT, BEGIN, CHAIN, CLONE, FIRST, LOG, claim, consistency, log_id_of, revoked
from tests.unit.log.written import Store, Written


@pytest.fixture
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    made = Store(tmp_path_factory.mktemp("other") / "other.antiphon")
    yield made
    made.file.close()


def take(other: Store, log: Written) -> int:
    with other.file.transaction():
        return ingest(other.logs, other.logs.head(log.head.id), log.parts(shared=True), log.head.note).size


@pytest.mark.parametrize("said", [None, [(3, 4)], [(4, 6)], [(0, 3), (5, 10)]])
def test_a_bare_leaf_that_nothing_erases_is_refused(
    log: Written, other: Store, said: list[tuple[int, int]] | None
) -> None:
    log.say(10)
    if said is not None:
        log.append(kinds.erased([seq for first, last in said for seq in range(first, last)], "asked"))
    log.erase([3, 4], silently=True)
    other.adopted(log.head)
    with pytest.raises(ProtocolViolation, match="is gone, but neither its log nor its principal"):
        take(other, log)
    assert other.logs.head(log.head.id).size == 0


def test_a_bare_leaf_that_its_log_erases_is_taken(log: Written, other: Store) -> None:
    log.say(1_030)
    log.erase([3, 4, 1_025])
    other.adopted(log.head)
    assert take(other, log) == 1_031


def test_another_logs_erasing_event_explains_nothing(log: Written, other: Store) -> None:
    """Nor does one in this log that is about another, nor one in a log of the store that is nobody's home."""
    log.say(5)
    log.append(kinds.erased([3], "asked", log=bytes(32)))
    log.erase([3], silently=True)
    stranger = other.new_log()
    stranger.append(kinds.erased([3], "asked", log=log.head.id))
    other.adopted(log.head)
    with pytest.raises(ProtocolViolation, match="event 3 is gone"):
        take(other, log)


@pytest.mark.parametrize(("cut", "ok"), [(9, True), (8, False), (6, False), (1, False), (0, False)])
def test_growth_ends_where_the_key_was_revoked(cut: int, ok: bool) -> None:
    """What a stolen key signs past the cut is no state of the log."""
    certified = consistency((*CHAIN, revoked(LOG, cut)))
    clone = log_id_of(AGENT.id, CLONE.public)
    provisional = consistency((*CHAIN, claim(FIRST, CLONE), revoked(clone, cut)), key=CLONE)
    for raw in (certified, provisional):
        if ok:
            assert proof.verify_growth(raw, principal=BEGIN.id)[1].size == 9
        else:
            with pytest.raises(ProtocolViolation):
                proof.verify_growth(raw, principal=BEGIN.id)
