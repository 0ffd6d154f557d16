"""What others erase: hidden when it is heard, destroyed after the hold, put back where the key was revoked before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.log import kinds
from antiphon.log.ingest import parts_of
from antiphon.log.store import LogHead
from antiphon.model import limits
from antiphon.model.errors import NotFound
from antiphon.model.event import Draft, Event, Ref, Role, Scope, State, encode_body
from antiphon.model.text import event_text
from antiphon.model.times import iso
from antiphon.ops.doctor import State as Outcome
from antiphon.ops.doctor import check_held
from antiphon.replica import enrol
from antiphon.replica.archive import adopt_archive, verify_archive, write_archive, write_json_lines
from antiphon.replica.commit import Batch
from antiphon.replica.core import Replica
from antiphon.replica.hear import hear, receive
from antiphon.replica.states import held_erasures
from antiphon.views.domain import Registry
from antiphon.views.store import of_person, of_source
from tests.simulation.views_world import NEW, Cast, World, held, opened, sound, things
from tests.unit.views.every_rule import domain

HOLD = limits.ERASURE_HOLD_MS
KEY = bytes(range(32))


def stored(replica: Replica, event: Event) -> bool:
    """Whether the leaf is whole in the blocks, whatever readers are shown."""
    head = replica.head(event.log)
    return replica.reader.loaded(head, event.seq).state(event.seq) == State.WHOLE


def erase(world: World, event: Event) -> None:
    """As its author: the event that erases, and nothing destroyed in the author's own file yet, as a thief would."""
    author = world.cast.logs.index(event.log)
    body = kinds.erased([event.seq], "asked")[0].body
    world.write(author, kinds.ERASED, body, entity=None)


def told(world: World) -> tuple[Event, Event]:
    """Two things of author 0, one of which an erasure names by now; both were heard before."""
    kept = world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    secret = world.write(0, "thing.made", {"name": "secret"}, entity=NEW)
    for at in range(2):
        world.deliver_all(at)
    erase(world, secret)
    for at in range(2):
        world.deliver_all(at)
    return kept, secret


def test_it_is_hidden_at_once_and_destroyed_after_the_hold(world: World) -> None:
    _, secret = told(world)
    here = world.replicas[0]
    assert things(here) == ["kept"]
    assert stored(here, secret)
    with pytest.raises(NotFound, match="hidden"):
        here.event(secret.log, secret.seq)
    sound(here)
    here.refold("every_rule")
    assert things(here) == ["kept"]
    world.here.pass_ms(HOLD - 1)
    hear(here)
    assert stored(here, secret)
    world.here.pass_ms(1)
    hear(here)
    assert not stored(here, secret)
    assert here.holds.all() == {} == here.holds.taken_out()
    sound(here)


def test_a_revocation_in_between_brings_the_rows_back(world: World) -> None:
    kept = world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    about = Draft(
        "thing.made", encode_body({"name": "secret"}), entity=NEW, scope=Scope.PUBLIC, about=(bytes(16),),
        refs=(Ref(Role.SOURCE, kept.log, kept.seq, bytes(32)),),
    )  # fmt: skip
    secret = world.source.event(kept.log, world.source.commit(Batch(kept.log, [about], [None])).first)
    world.write(1, "thing.changed", {"first": "seen"}, entity=secret.entity)
    world.write(1, "ballot.cast", _ballot(world, 1, secret), entity=None)
    before = world.source.head(kept.log)
    world.deliver_all(0)
    shown = held(world.replicas[0])
    erase(world, secret)
    here = world.replicas[0]
    mentions = (of_person(bytes(16)), of_source(kept.log, kept.seq))
    assert all(here.mentions.find(what) for what in mentions)
    world.deliver_all(0)
    assert things(here) == ["kept"]
    assert not any(here.mentions.find(what) for what in mentions)
    world.here.pass_ms(HOLD - 1)
    enrol.revoke(world.source, world.cast.homes[0], before)
    world.deliver_all(0)
    assert held(here) == shown
    assert all(here.mentions.find(what) for what in mentions)
    sound(here)
    world.here.pass_ms(10 * HOLD)
    hear(here)
    assert stored(here, secret)
    assert held(here) == shown
    assert here.event(secret.log, secret.seq).body == secret.body


def _ballot(world: World, who: int, thing: Event) -> dict[str, Any]:
    return {"thing": thing.entity, "agent": world.cast.agents[who], "vote": 1, "weight": "1"}


def test_a_rollup_of_what_was_never_shown_before_comes_back(world: World) -> None:
    made = world.write(1, "thing.made", {"name": "thing"}, entity=NEW)
    vote = world.write(0, "ballot.cast", _ballot(world, 0, made), entity=None)
    before = world.source.head(vote.log)
    erase(world, vote)
    world.deliver_all(0)
    here = world.replicas[0]
    assert held(here)["ballots_hourly"] == {}
    enrol.revoke(world.source, world.cast.homes[0], before)
    world.deliver_all(0)
    assert [row["ballots"] for row, _ in held(here)["ballots_hourly"].values()] == [1]
    sound(here)


def test_a_revocation_that_leaves_the_erasure_standing_cancels_nothing(world: World) -> None:
    _, secret = told(world)
    enrol.revoke(world.source, world.cast.homes[0], world.source.head(secret.log))
    world.deliver_all(0)
    here = world.replicas[0]
    assert things(here) == ["kept"]
    world.here.pass_ms(HOLD)
    hear(here)
    assert not stored(here, secret)


def test_what_a_revoked_key_erases_late_hides_nothing(world: World) -> None:
    kept = world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    world.deliver_all(0)
    enrol.revoke(world.source, world.cast.homes[0], world.source.head(kept.log))
    world.deliver_all(0)
    erase(world, kept)
    world.deliver_all(0)
    here = world.replicas[0]
    assert things(here) == ["kept"]
    world.here.pass_ms(2 * HOLD)
    hear(here)
    assert stored(here, kept)
    sound(here)


def test_a_revocation_after_it_was_destroyed_comes_too_late(world: World) -> None:
    world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    secret = world.write(0, "thing.made", {"name": "secret"}, entity=NEW)
    before = world.source.head(secret.log)
    erase(world, secret)
    world.deliver_all(0)
    world.here.pass_ms(HOLD)
    hear(world.replicas[0])
    enrol.revoke(world.source, world.cast.homes[0], before)
    world.deliver_all(0)
    assert not stored(world.replicas[0], secret)
    assert things(world.replicas[0]) == ["kept"]


def test_nobody_erases_in_anothers_log(world: World) -> None:
    kept = world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    for author in (1, 3):  # a sibling, and a stranger
        world.write(author, kinds.ERASED, kinds.erased([kept.seq], "asked", log=kept.log)[0].body, entity=None)
        world.write(author, kinds.ERASED, kinds.erased([5_000], "asked")[0].body, entity=None)
    other = world.cast.homes[1]
    world.source.commit(Batch(other, kinds.erased([kept.seq], "asked", log=kept.log), [None]))
    world.deliver_all(0)
    assert things(world.replicas[0]) == ["kept"]
    assert world.replicas[0].holds.all() == {}


def test_the_logs_own_kinds_are_never_hidden_and_what_comes_later_neither(world: World) -> None:
    world.write(0, "thing.made", {"name": "first"}, entity=NEW)
    erase(world, Event(world.cast.logs[0], 0, None, None, 0))  # type: ignore[arg-type]
    world.write(0, kinds.ERASED, encode_body(kinds.Erased([(-3, 1 << 50)], "asked")), entity=None)
    world.write(0, "thing.made", {"name": "later"}, entity=NEW)
    world.deliver_all(0)
    here = world.replicas[0]
    assert things(here) == ["later"]
    assert here.event(world.cast.logs[0], 1).kind == kinds.ERASED
    world.here.pass_ms(HOLD)
    hear(here)
    assert here.event(world.cast.logs[0], 1).kind == kinds.ERASED
    assert things(here) == ["later"]


def test_what_its_principal_erases_is_destroyed_at_once_held_already_or_not(world: World) -> None:
    kept, secret = told(world)
    home = world.cast.homes[0]
    world.source.commit(Batch(home, kinds.erased([kept.seq, secret.seq], "asked", log=kept.log), [None]))
    world.deliver_all(0)
    here = world.replicas[0]
    assert things(here) == []
    assert not stored(here, kept)
    assert not stored(here, secret)
    world.here.pass_ms(HOLD)
    hear(here)
    assert here.holds.all() == {} == here.holds.taken_out()
    sound(here)


def test_what_its_principal_erased_before_it_came_is_destroyed_when_it_comes(world: World) -> None:
    world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    secret = world.write(0, "thing.made", {"name": "secret"}, entity=NEW)
    said = kinds.erased([secret.seq], "asked", log=secret.log)
    world.source.commit(Batch(world.cast.homes[0], said, [None]))
    world.deliver(0, world.cast.homes[0])
    world.deliver(0, secret.log)
    assert things(world.replicas[0]) == ["kept"]
    assert not stored(world.replicas[0], secret)


def test_where_the_log_is_written_its_principals_word_counts_too(world: World) -> None:
    kept = world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    secret = world.write(0, "thing.made", {"name": "secret"}, entity=NEW)
    said = kinds.erased([secret.seq], "asked", log=secret.log)
    world.source.commit(Batch(world.cast.homes[0], said, [None]))
    hear(world.source)
    assert not stored(world.source, secret)
    assert stored(world.source, kept)
    world.write(0, "thing.made", {"name": "later"}, entity=NEW)
    world.deliver_all(0)
    assert things(world.replicas[0]) == ["kept", "later"]


def test_two_erasures_of_one_event_each_count(world: World) -> None:
    kept = world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    secret = world.write(0, "thing.made", {"name": "secret"}, entity=NEW)
    world.deliver_all(0)
    erase(world, secret)
    world.deliver_all(0)
    standing = world.source.head(kept.log)
    world.here.pass_ms(HOLD // 2)
    erase(world, secret)
    erase(world, kept)
    world.deliver_all(0)
    here = world.replicas[0]
    assert things(here) == []
    enrol.revoke(world.source, world.cast.homes[0], standing)
    world.deliver_all(0)
    assert things(here) == ["kept"]
    world.here.pass_ms(HOLD // 2)
    hear(here)
    assert things(here) == ["kept"]
    assert stored(here, kept)
    assert not stored(here, secret)
    sound(here)


def test_it_survives_restarts_and_comes_again(world: World, people: Cast) -> None:
    _, secret = told(world)
    here = world.replicas[0]
    path = here.file.path
    for hours in (24, 24, 23):
        world.here.pass_ms(hours * 3_600_000)
        here.close()
        here = world.replicas[0] = Replica.open(
            path, KEY, Registry([domain()]), people.ring, clock=world.here, background=False
        )
        world.deliver_all(0)
        assert things(here) == ["kept"]
        assert stored(here, secret)
    world.here.pass_ms(3_600_000)
    here.close()
    here = world.replicas[0] = Replica.open(
        path, KEY, Registry([domain()]), people.ring, clock=world.here, background=False
    )
    assert not stored(here, secret)
    assert not here.state.scrub_pending


def test_a_clock_that_was_ahead_makes_it_no_hold_for_ever(world: World) -> None:
    _, secret = told(world)
    world.here.pass_ms(-30 * HOLD)
    hear(world.replicas[0])
    world.here.pass_ms(HOLD)
    hear(world.replicas[0])
    assert not stored(world.replicas[0], secret)


def test_the_background_step_destroys_what_is_due(world: World) -> None:
    _, secret = told(world)
    here = world.replicas[0]
    assert here.destroy_due() is False
    world.here.pass_ms(HOLD)
    assert here.destroy_due() is True
    assert here.destroy_due() is False
    assert not stored(here, secret)


def test_it_is_told_what_is_held_and_until_when(world: World) -> None:
    _, secret = told(world)
    here = world.replicas[0]
    (one,) = held_erasures(here)
    assert (one.events, one.erased_by) == (1, event_text(secret.log, secret.seq + 1))
    assert one.until == iso(world.here.now_ms() + HOLD)
    assert check_held([(one.events, one.until)]).state == Outcome.NOTE
    assert check_held([]).state == Outcome.OK
    with pytest.raises(NotFound):
        here.reader.opening(here.head(secret.log), secret.seq)
    world.here.pass_ms(HOLD)
    hear(here)
    assert held_erasures(here) == []


def test_nobody_else_is_given_it_while_it_is_held(world: World, tmp_path: Path) -> None:
    _, secret = told(world)
    here, other = world.replicas
    write_archive(here, here.heads(), tmp_path / "a.archive")
    assert all(verdict.ok for verdict in verify_archive(tmp_path / "a.archive"))
    write_json_lines(here, here.heads(), tmp_path / "a.jsonl")
    assert "secret" not in (tmp_path / "a.jsonl").read_text()
    third = opened(world.cast, world.cast.target, [domain()], world.here)
    adopt_archive(third, tmp_path / "a.archive")
    assert not stored(third, secret)
    fourth = opened(world.cast, world.cast.target, [domain()], world.here)
    for head in here.heads():
        for shared in (True, False):
            parts = parts_of(here.logs, here.reader, head, shared=shared)
            receive(fourth, LogHead(0, head.id, head.owner, head.key), parts, head.note)
    assert not stored(fourth, secret)
    assert things(fourth) == ["kept"]
    blind, salt = fourth.reader.loaded(fourth.head(secret.log), secret.seq).seeds.of(secret.seq)
    assert (blind, salt) == (None, None)
    assert fourth.holds.all() == {}, "nothing of it was ever here"
    for made in (third, fourth):
        made.close()
    assert stored(other, secret)


def test_an_adopted_archive_that_grows_holds_and_destroys_too(world: World, tmp_path: Path) -> None:
    filler = [Draft("nobody.knows", encode_body("x" * 9))] * 1_100
    secret = world.write(0, "thing.made", {"name": "secret"}, entity=NEW)
    world.source.commit(Batch(secret.log, filler, [None] * len(filler)))
    here = opened(world.cast, world.cast.target, [], world.here)
    head = world.source.head(secret.log)
    write_archive(world.source, [head], tmp_path / "one.archive")
    adopt_archive(here, tmp_path / "one.archive")
    assert here.event(secret.log, secret.seq).body == secret.body
    erase(world, secret)
    write_archive(world.source, [world.source.head(secret.log)], tmp_path / "two.archive")
    adopt_archive(here, tmp_path / "two.archive")
    with pytest.raises(NotFound):
        here.event(secret.log, secret.seq)
    assert stored(here, secret)
    world.here.pass_ms(HOLD)
    path = here.file.path
    here.close()
    with Replica.open(path, KEY, Registry([]), world.cast.ring, clock=world.here, background=False) as here:
        assert not stored(here, secret)


def test_a_clone_that_nobody_certified_hides_but_destroys_nothing(world: World) -> None:
    """Its own events wait for a certificate anyhow; what it erases of them must not be gone before."""
    agent, home = world.cast.agents[3], world.cast.homes[1]
    first = world.write(3, "thing.made", {"name": "first"}, entity=NEW)
    world.deliver_all(0)
    with world.source.transaction():
        head = world.source.head(first.log)
        head.role = 1
        world.source.logs.save_head(head)
    world.source.forget_caches()
    clone = enrol.new_instance(world.source, agent, None)
    draft = Draft("thing.made", encode_body({"name": "clone"}), entity=NEW, scope=2)
    made = world.source.commit(Batch(clone.id, [draft], [None]))
    secret = world.source.event(clone.id, made.first)
    world.source.commit(Batch(clone.id, kinds.erased([secret.seq], "asked"), [None]))
    for log in (home, clone.id):
        world.deliver(0, log)
    here = world.replicas[0]
    world.here.pass_ms(2 * HOLD)
    hear(here)
    assert stored(here, secret)
    with pytest.raises(NotFound):
        here.event(secret.log, secret.seq)


def test_ranges_that_name_the_same_thousands_of_times_cost_as_if_they_did_once(world: World) -> None:
    """A valid key can say so; who hears it must not be kept busy for hours."""
    drafts = [Draft("thing.made", encode_body({"name": str(at)}), entity=NEW, scope=Scope.PUBLIC) for at in range(500)]
    world.source.commit(Batch(world.cast.logs[0], drafts, [None] * len(drafts)))
    world.deliver_all(0)
    body = encode_body(kinds.Erased([(0, 500)] * kinds.RANGES_PER_EVENT_MAX, "asked"))
    world.source.commit(Batch(world.cast.logs[0], [Draft(kinds.ERASED, body)] * 50, [None] * 50))
    here, read = world.replicas[0], 0
    whole = here.writing_reader.beneath

    def counted(head: LogHead, seq: int) -> Event:
        nonlocal read
        read += 1
        return whole(head, seq)

    here.writing_reader.beneath = counted  # type: ignore[method-assign]
    world.deliver_all(0)
    assert things(here) == []
    assert read < 5_000
    world.here.pass_ms(HOLD)
    assert here.destroy_due()
    assert here.holds.all() == {} == here.holds.taken_out()
