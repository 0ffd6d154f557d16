"""What is erased in a region leaves every file of rows before it leaves its log, whatever is killed in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from antiphon.engines.keyfiles import Unlock
from antiphon.engines.sqlite import pages
from antiphon.log import kinds
from antiphon.log.ingest import parts_of
from antiphon.log.store import LogHead
from antiphon.model import limits
from antiphon.model.errors import NotFound
from antiphon.model.event import NEW, Draft, Event, Ref, Role, Scope, State, encode_body
from antiphon.region import Region
from antiphon.replica import enrol
from antiphon.replica.commit import Batch
from tests.simulation.views_world import Cast, World
from tests.unit.views.every_rule import domain

HOLD = limits.ERASURE_HOLD_MS
UNLOCK = Unlock(key=bytes(32))
NEEDLE = "Quetzalcoatlus over Xochimilco"
_numbers = count()


@pytest.fixture
def world(people: Cast) -> Iterator[World]:
    made = World(people, domain, replicas=0)
    yield made
    made.close()


@pytest.fixture
def region(people: Cast, world: World) -> Iterator[Region]:
    with Region.create(
        people.folder / f"held{next(_numbers)}", domains=[domain()], unlock=UNLOCK, log_files=3, row_files=3,
        clock=world.here,
    ) as made:  # fmt: skip
        yield made


def take(region: Region, world: World, *logs: bytes) -> None:
    for log in logs or (*world.cast.homes, *world.cast.logs):
        head = world.source.head(log)
        if head.size:
            parts = parts_of(world.source.logs, world.source.reader, head, shared=True)
            region.take(LogHead(0, head.id, head.owner, head.key), parts, head.note)


def erase(world: World, author: int, event: Event) -> None:
    world.write(author, kinds.ERASED, kinds.erased([event.seq], "asked")[0].body, entity=None)


def names(region: Region) -> list[str]:
    return sorted(row["name"] for row in region.rows("things"))


def stored(region: Region, event: Event) -> bool:
    file = region.file_of(event.log)
    return file.reader.loaded(file.head(event.log), event.seq).state(event.seq) == State.WHOLE


def found_in(region: Region, text: str) -> dict[str, list[str]]:
    """Where a thief with the keys finds a text in the files of a region."""
    found = {}
    for file in (*region.log_files, *region.row_files):
        key = region._ring.get(f"file:{file.file.path.stem}")
        places = pages.find_text(file.file.path, key, text.encode(), "aegis")
        if places:
            found[file.file.path.stem] = places
    return found


def told(region: Region, world: World) -> tuple[Event, Event]:
    kept = world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
    secret = world.write(0, "thing.made", {"name": NEEDLE}, entity=NEW)
    world.write(2, "ballot.cast", _ballot(world, 2, secret), entity=None)
    world.write(2, "thing.changed", {"first": "seen"}, entity=secret.entity)
    take(region, world)
    assert names(region) == [NEEDLE, "kept"]
    return kept, secret


def _ballot(world: World, who: int, thing: Event) -> dict[str, Any]:
    return {"thing": thing.entity, "agent": world.cast.agents[who], "vote": 1, "weight": "1"}


def test_hidden_at_once_destroyed_after_the_hold_and_left_in_no_file(region: Region, world: World) -> None:
    _, secret = told(region, world)
    assert found_in(region, NEEDLE)
    erase(world, 0, secret)
    take(region, world)
    assert names(region) == ["kept"]
    assert stored(region, secret)
    with pytest.raises(NotFound, match="hidden"):
        region.file_of(secret.log).event(secret.log, secret.seq)
    world.here.pass_ms(HOLD - 1)
    region.catch_up()
    assert stored(region, secret)
    world.here.pass_ms(1)
    region.catch_up()
    assert not stored(region, secret)
    assert found_in(region, NEEDLE) == {}
    region.catch_up()
    assert all(file.holds.all() == {} == file.holds.taken_out() for file in (*region.log_files, *region.row_files))


def test_a_revocation_brings_rows_and_figures_back(region: Region, world: World) -> None:
    kept, secret = told(region, world)
    before = world.source.head(kept.log)
    shown = {table: list(region.rows(table)) for table in ("things", "ballots", "ballots_hourly")}
    erase(world, 0, secret)
    take(region, world)
    assert names(region) == ["kept"]
    enrol.revoke(world.source, world.cast.homes[0], before)
    take(region, world, world.cast.homes[0])
    for table, rows in shown.items():
        assert sorted(map(repr, region.rows(table))) == sorted(map(repr, rows)), table
    world.here.pass_ms(2 * HOLD)
    region.catch_up()
    assert stored(region, secret)
    assert names(region) == [NEEDLE, "kept"]


def test_what_a_principal_erases_is_destroyed_at_once_before_or_after_it_comes(region: Region, world: World) -> None:
    _, secret = told(region, world)
    later = world.write(1, "thing.made", {"name": "later"}, entity=NEW)
    for event in (secret, later):
        said = kinds.erased([event.seq], "asked", log=event.log)
        world.source.commit(Batch(world.cast.homes[0], said, [None]))
    take(region, world, world.cast.homes[0])
    assert names(region) == ["kept"]
    assert not stored(region, secret)
    assert found_in(region, NEEDLE) == {}
    take(region, world)
    assert names(region) == ["kept"]
    assert not stored(region, later)


def test_nothing_is_destroyed_that_some_rows_still_show(region: Region, world: World) -> None:
    """As when another process has heard of it just after this one has folded its rows."""
    _, secret = told(region, world)
    said = kinds.erased([secret.seq], "asked", log=secret.log)
    world.source.commit(Batch(world.cast.homes[0], said, [None]))
    take(region, world, world.cast.homes[0])
    region._erasures.judge()
    region._erasures.finish()
    assert stored(region, secret)
    region.catch_up()
    assert not stored(region, secret)
    assert names(region) == ["kept"]


def test_held_erasures_survive_a_restart(people: Cast, world: World) -> None:
    folder = people.folder / f"held{next(_numbers)}"
    with Region.create(folder, domains=[domain()], unlock=UNLOCK, log_files=2, row_files=2, clock=world.here) as region:
        _, secret = told(region, world)
        erase(world, 0, secret)
        take(region, world)
    world.here.pass_ms(HOLD)
    with Region.open(folder, domains=[domain()], unlock=UNLOCK, clock=world.here) as region:
        assert names(region) == ["kept"]
        assert not stored(region, secret)
        assert found_in(region, NEEDLE) == {}


def test_what_was_derived_goes_from_other_files_of_logs_too(tmp_path: Path) -> None:
    with Region.create(tmp_path / "r", domains=[domain()], unlock=UNLOCK, log_files=4, row_files=3) as region:
        home, other = region.add_principal().log, region.add_principal().log
        agents, strangers = region.add_agents(home, 6), region.add_agents(other, 1)
        first = region.commit([Batch(agents[0].log, [_thing(NEEDLE)], [None])])[0]
        source = (Ref(Role.SOURCE, agents[0].log, first.first, bytes(32)),)
        for agent in (*agents[1:], *strangers):
            region.commit([Batch(agent.log, [_thing(f"{NEEDLE} of {agent.log.hex()[:4]}", source)], [None])])
        assert len(names(region)) == 7
        done = region.forget(agents[0].log, [0], reason="asked")
        assert names(region) == [f"{NEEDLE} of {strangers[0].log.hex()[:4]}"]
        assert len(done.events) + len(done.derived) == 6
        assert [place.state for place in done.places if place.name == "other people's logs"] == ["cannot"]
        assert all(file.holds.all() == {} for file in region.log_files)


def _thing(name: str, refs: tuple[Ref, ...] | None = None) -> Draft:
    return Draft("thing.made", encode_body({"name": name}), entity=NEW, scope=Scope.PUBLIC, refs=refs)


_FORGETTER = """
    import sys
    from pathlib import Path
    from antiphon.engines.keyfiles import Unlock
    from antiphon.engines.sqlite.file import SqliteFile
    from antiphon.region import Region
    from tests.unit.views.every_rule import domain
    import os

    region = Region.open(Path(sys.argv[1]), domains=[domain()], unlock=Unlock(key=bytes(32)))
    region.catch_up()
    left = int(sys.argv[3])
    whole = SqliteFile.transaction

    import contextlib

    @contextlib.contextmanager
    def counted(self):
        global left
        outermost = not self.is_writing
        with whole(self):
            yield
        if outermost:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), 9)

    SqliteFile.transaction = counted
    region.forget(bytes.fromhex(sys.argv[2]), [1], reason="asked")
    print("done", flush=True)
"""


def test_killed_between_any_two_steps_of_forgetting(tmp_path: Path) -> None:
    """After a kill the next reader sees either everything or nothing of it, and goes on with what was begun."""
    done, at = False, 0
    outcomes: list[bool] = []
    while not done:
        at += 1
        folder = tmp_path / f"r{at}"
        with Region.create(folder, domains=[domain()], unlock=UNLOCK, log_files=2, row_files=2) as region:
            agent = region.add_agents(region.add_principal().log, 1)[0]
            region.commit([Batch(agent.log, [_thing("kept"), _thing(NEEDLE)], [None] * 2)])
            region.catch_up()
        command = [sys.executable, "-c", textwrap.dedent(_FORGETTER), str(folder), agent.log.hex(), str(at)]
        ran = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[3], text=True, check=False)
        done = ran.stdout == "done\n"
        assert done or ran.returncode == -signal.SIGKILL, ran.stderr
        with Region.open(folder, domains=[domain()], unlock=UNLOCK) as region:
            shown = names(region)
            head = region.file_of(agent.log).head(agent.log)
            whole = region.file_of(agent.log).reader.loaded(head, 1).state(1) == State.WHOLE
            assert shown == ([NEEDLE, "kept"] if whole else ["kept"])
            outcomes.append(whole)
            if not whole:
                assert found_in(region, NEEDLE) == {}
            assert all(file.holds.all() == {} for file in region.log_files)
    assert outcomes == sorted(outcomes, reverse=True)
    assert outcomes.count(False) > 4
