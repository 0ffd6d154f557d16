"""Logs that others wrote: what of them is folded, when, and what is taken back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from antiphon.engines.sqlite.file import SqliteFile
from antiphon.log.ingest import parts_of
from antiphon.log.store import LogHead, LogRole
from antiphon.model.errors import Conflict, ProtocolViolation
from antiphon.model.event import Event
from antiphon.ops.doctor import State, check_feed
from antiphon.ops.refold import check_views
from antiphon.replica import enrol
from antiphon.replica.core import Replica
from antiphon.replica.hear import hear, receive
from antiphon.views.domain import Registry, Write
from tests.simulation.views_world import NEW, Cast, World, check, deliver, held, refused, things
from tests.unit.views.every_rule import domain


def test_nothing_is_folded_before_its_principal_has_certified_it(world: World) -> None:
    world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
    here = world.replicas[0]
    world.deliver(0, world.cast.logs[0])
    assert things(here) == []
    assert ["certified" in waiting.reason for waiting in hear(here).waiting] == [True]
    world.deliver(0, world.cast.homes[0])
    assert things(here) == ["amber"]
    assert hear(here).waiting == []


def test_another_principal_certifies_nobody(world: World) -> None:
    world.write(3, "thing.made", {"name": "amber"}, entity=NEW)
    world.deliver(0, world.cast.logs[3])
    world.deliver(0, world.cast.homes[0])
    assert things(world.replicas[0]) == []


def test_the_future_is_folded_when_it_comes(world: World) -> None:
    world.deliver_all(0)
    world.clock.pass_ms(300_000 - 10_000)
    world.write(0, "thing.made", {"name": "soon"}, entity=NEW)
    world.clock.pass_ms(1_000_000)
    world.write(0, "thing.made", {"name": "late"}, entity=NEW)
    world.deliver(0, world.cast.logs[0])
    here = world.replicas[0]
    assert things(here) == ["soon"]
    world.here.pass_ms(1_000_000)
    assert things(here) == ["soon"]
    assert hear(here).events == 1
    assert things(here) == ["late", "soon"]


def test_a_clock_put_right_makes_the_future_due(world: World) -> None:
    world.deliver_all(0)
    world.clock.pass_ms(3_000_000)
    made = world.write(0, "thing.made", {"name": "ahead"}, entity=NEW)
    world.write(0, "thing.changed", {"first": "ahead"}, entity=made.entity)
    world.deliver(0, world.cast.logs[0])
    assert things(world.replicas[0]) == []
    world.clock.pass_ms(-3_000_000)
    world.write(0, "thing.made", {"name": "now"}, entity=NEW)
    world.deliver(0, world.cast.logs[0])
    assert things(world.replicas[0]) == ["ahead", "now"]


def test_what_a_revoked_key_wrote_is_taken_back(world: World) -> None:
    first = world.write(0, "thing.made", {"name": "good"}, entity=NEW)
    before = world.source.head(world.cast.logs[0])
    world.write(0, "thing.changed", {"name": "bad"}, entity=first.entity)
    world.write(0, "thing.made", {"name": "worse"}, entity=NEW)
    world.write(1, "ballot.cast", _ballot(world, 1, first.entity), entity=None)
    world.write(0, "ballot.cast", _ballot(world, 0, first.entity), entity=None)
    world.deliver_all(0)
    assert things(world.replicas[0]) == ["bad", "worse"]
    enrol.revoke(world.source, world.cast.homes[0], before)
    world.cut[world.cast.logs[0]] = before.size
    for at in range(2):
        world.deliver_all(at)
    assert things(world.replicas[0]) == ["good"]
    assert held(world.replicas[0])["things"][(first.entity,)][0]["votes"] == 1
    check(world)
    world.replicas[0].refold("every_rule")
    check(world)


def _ballot(world: World, who: int, thing: bytes | None) -> dict[str, Any]:
    return {"thing": thing, "agent": world.cast.agents[who], "vote": 1, "weight": "1"}


def test_what_its_author_erases_later_leaves_the_rows(world: World) -> None:
    kept = world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    world.write(0, "thing.made", {"name": "secret"}, entity=NEW)
    world.write(0, "ballot.cast", _ballot(world, 0, kept.entity), entity=None)
    world.deliver_all(0)
    world.erase(0, 1)
    world.erase(0, 1)
    world.deliver_all(0)
    here = world.replicas[0]
    assert things(here) == ["kept"]
    assert held(here)["things"][(kept.entity,)][0]["votes"] == 0
    assert held(here)["ballots_hourly"] == {}
    world.deliver_all(1)
    check(world)


def test_private_events_and_private_tables_stay_with_their_author(world: World) -> None:
    world.write(0, "thing.made", {"name": "mine"}, entity=NEW, private=True)
    world.write(0, "motto.said", {"agent": world.cast.agents[0], "motto": "hush"}, entity=None, private=True)
    world.write(0, "diary.wrote", {"text": "public, and yet of a diary"}, entity=NEW)
    world.deliver_all(0)
    assert things(world.replicas[0]) == []
    assert held(world.replicas[0])["mottos"] == {}
    assert held(world.replicas[0])["diary"] == {}


def test_a_body_that_does_not_fit_is_kept_and_listed_and_holds_nothing_up(world: World) -> None:
    bad = world.write(0, "thing.made", b"\xc1", entity=NEW)
    world.write(0, "thing.made", {"name": "good"}, entity=NEW)
    world.deliver_all(0)
    here = world.replicas[0]
    assert things(here) == ["good"]
    assert refused(here)[1] == {(bad.log, bad.seq)}
    assert here.event(bad.log, bad.seq).body == b"\xc1"
    here.refold("every_rule")
    assert refused(here)[1] == {(bad.log, bad.seq)}
    world.erase(0, 0)
    world.deliver_all(0)
    assert refused(here) == (set(), set(), set())


def _picky(event: Event, body: Any) -> Iterable[Write]:
    if body.motto == "boom":
        raise ValueError("no")
    return ()


def test_a_fold_that_fails_leaves_nothing_of_what_others_made_of_the_event(people: Cast) -> None:
    base = domain()
    folds = {**base.folds, "motto.said": (*base.folds["motto.said"], _picky)}
    world = World(people, lambda: msgspec.structs.replace(base, folds=folds))
    try:
        for author, motto in ((0, "boom"), (1, "fine")):
            world.write(author, "motto.said", {"agent": people.agents[author], "motto": motto}, entity=None)
        world.deliver_all(0)
        here = world.replicas[0]
        for _ in range(2):
            assert [row["motto"] for row, _ in held(here)["mottos"].values()] == ["fine"]
            assert refused(here)[1] == {(people.logs[0], 0)}
            here.refold("every_rule")
    finally:
        world.close()


def test_a_kind_that_is_not_known_yet_is_folded_once_it_is(people: Cast, world: World) -> None:
    world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
    plain = world.replicas[0]
    path, key = plain.file.path, bytes(range(32))
    plain.close()
    world.replicas[0] = Replica(SqliteFile(path, key), Registry([]), people.ring, clock=world.here, background=False)
    world.deliver_all(0)
    world.replicas[0].close()
    knows = Replica(SqliteFile(path, key), Registry([domain()]), people.ring, clock=world.here, background=False)
    knows._catch_up_views()
    world.replicas[0] = knows
    knows.refold("every_rule")
    assert things(knows) == ["amber"]


def test_deliveries_may_be_cut_and_come_again(world: World) -> None:
    for at in range(5):
        world.write(0, "thing.made", {"name": str(at)}, entity=NEW)
        world.deliver_all(0)
        world.deliver_all(0)
    here = world.replicas[0]
    assert things(here) == ["0", "1", "2", "3", "4"]
    head = here.head(world.cast.logs[0])
    assert (head.role, here.heard_to(head.no)) == (LogRole.FOLLOWED, head.size)


def test_a_crash_while_folding_leaves_cursor_and_rows_in_step(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.deliver_all(0)
    here = world.replicas[0]
    monkeypatch.setattr(type(here), "fold_heard", _fail)
    world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
    with pytest.raises(RuntimeError):
        world.deliver(0, world.cast.logs[0])
    monkeypatch.undo()
    assert things(here) == []
    world.deliver_all(0)
    assert things(here) == ["amber"]


def _fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("the power went")


def test_a_log_that_is_written_here_takes_nothing_from_others(world: World) -> None:
    world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
    with pytest.raises(Conflict):
        deliver(world.source, world.cast.logs[0], world.source)


def test_leaves_that_do_not_verify_change_nothing(world: World) -> None:
    world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
    world.deliver_all(0)
    world.write(0, "thing.made", {"name": "birch"}, entity=NEW)
    head, here = world.source.head(world.cast.logs[0]), world.replicas[0]
    parts = list(parts_of(world.source.logs, world.source.reader, head, shared=True))
    parts[0].leaves.bodies[-1] = b"\x81\xa4name\xa5dune!"
    with pytest.raises(ProtocolViolation):
        receive(here, LogHead(0, head.id, head.owner, head.key), parts, head.note)
    assert things(here) == ["amber"]
    world.deliver_all(0)
    assert things(here) == ["amber", "birch"]


def test_an_agent_made_later_is_known_to_belong(world: World) -> None:
    """What was refused because nobody knew whose agent it is counts once his principal has said so."""
    world.write(0, "motto.said", {"agent": world.cast.agents[0], "motto": "one"}, entity=None)
    world.write(1, "motto.changed", {"agent": world.cast.agents[0], "motto": "two"}, entity=None)
    world.deliver(0, world.cast.logs[1])
    world.deliver(0, world.cast.homes[0])
    world.deliver(0, world.cast.logs[0])
    assert [row["motto"] for row, _ in held(world.replicas[0])["mottos"].values()] == ["two"]


def test_what_is_heard_is_fed(world: World) -> None:
    world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
    here = world.replicas[0]
    before = here.state.version
    world.deliver_all(0)
    assert here.state.version > before
    with here.transaction():
        here.forget_caches()
    before = here.state.version
    with here.transaction():
        assert here.state.version == before, "read again from the file, it has come as far"


def test_the_doctor_finds_nothing_wrong_with_what_was_heard(world: World) -> None:
    made = world.write(0, "thing.made", {"name": "amber"}, entity=NEW)
    world.write(3, "thing.changed", {"name": "mine"}, entity=made.entity)
    world.write(1, "ballot.cast", _ballot(world, 1, made.entity), entity=None)
    world.write(1, "thing.made", {"name": "secret"}, entity=NEW)
    world.deliver_all(0)
    world.erase(1, 1)
    world.revoke(0)
    world.write(0, "thing.changed", {"name": "void"}, entity=made.entity)
    world.deliver_all(0)
    here = world.replicas[0]
    found = check_views(
        here.registry, here.tables, here.mentions, here.reader, here.folded_heads(), here.views, domains=here.views.live
    )
    assert [finding for finding in found if finding.state != State.OK] == []
    assert check_feed(here.file, here.fed_events(), lambda: None).state == State.OK
