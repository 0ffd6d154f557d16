"""A region over many files holds the rows of one file, whatever is killed in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.engines.keyfiles import Unlock
from antiphon.log.ingest import parts_of
from antiphon.log.store import LogHead
from antiphon.model.event import NEW, Draft, Scope, encode_body
from antiphon.region import Region
from antiphon.replica.commit import Batch
from tests.simulation.test_views import act, granted_story, perform
from tests.simulation.views_world import Cast, World
from tests.unit.views.every_rule import domain

UNLOCK = Unlock(key=bytes(32))
_numbers = count()


def rows_of(region: Region) -> dict[str, dict[tuple[Any, ...], Any]]:
    found = {}
    for name, table in region.registry.tables.items():
        found[name] = {tuple(row[part] for part in table.key): dict(row) for row in region.rows(name)}
    return found


def take_all(region: Region, world: World, logs: list[bytes]) -> None:
    for log in logs:
        head = world.source.head(log)
        if head.size:
            stranger = LogHead(0, head.id, head.owner, head.key)
            region.take(stranger, parts_of(world.source.logs, world.source.reader, head, shared=True), head.note)


@pytest.mark.parametrize(("shards", "case"), [(1, 1), (2, 2), (7, 3)])
def test_what_goes_by_grants_is_the_same_in_a_region(people: Cast, shards: int, case: int, sim_seed: int) -> None:
    chance = Random(f"{sim_seed} {case}")
    for _ in range(6):
        story = [step for step in granted_story(chance)[0] if len(step) == 6]
        same_as_one_file(people, shards, story, chance.randrange(len(story)), chance)


@pytest.mark.parametrize("shards", [1, 2, 7])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(story=st.lists(act, min_size=8, max_size=30), cut=st.integers(0, 30), turn=st.randoms(use_true_random=False))
def test_the_same_rows_as_one_file(people: Cast, shards: int, story: list[Any], cut: int, turn: Any) -> None:
    same_as_one_file(people, shards, story, cut, turn)


def same_as_one_file(people: Cast, shards: int, story: list[Any], cut: int, turn: Any) -> None:
    world = World(people, domain, replicas=0)
    folder = people.folder / f"region{next(_numbers)}"
    region = Region.create(folder, domains=[domain()], unlock=UNLOCK, log_files=3, row_files=shards, clock=world.here)
    region.trust(world.trusted)
    try:
        logs = [*people.homes, *people.logs]
        perform(world, story[:cut])
        turn.shuffle(logs)
        take_all(region, world, logs)
        region.catch_up()
        perform(world, story[cut:])
        turn.shuffle(logs)
        take_all(region, world, logs)
        world.here.set_wall(max(world.clock.now_ms(), world.latest_ms()))
        must = world.must()
        assert rows_of(region) == {
            name: {key: row for key, (row, _) in rows.items()} for name, rows in must.rows.items()
        }
        refused = region.rejections()
        assert {one[:5] for one in refused if one[0]} == must.refused
        assert {one[2:4] for one in refused if not one[0]} == must.unread
    finally:
        region.close()
        world.close()


def vote(region: Region, agent: Any, thing: bytes, vote: int) -> None:
    body = {"thing": thing, "agent": agent.id, "vote": vote, "weight": "1"}
    region.commit([Batch(agent.log, [Draft("ballot.cast", encode_body(body), scope=Scope.PUBLIC)], [None])])


def make(region: Region, agent: Any, name: str) -> bytes:
    drafts = [Draft("thing.made", encode_body({"name": name}), entity=NEW, scope=Scope.PUBLIC)]
    done = region.commit([Batch(agent.log, drafts, [None])])
    return done[0].headers[-1].entity or b""


def test_a_vote_crosses_files_and_what_is_forgotten_leaves_all_of_them(tmp_path: Path) -> None:
    with Region.create(tmp_path / "r", domains=[domain()], unlock=UNLOCK, log_files=4, row_files=3) as region:
        home = region.add_principal().log
        agents = region.add_agents(home, 8)
        things = [make(region, agents[0], f"thing {at}") for at in range(6)]
        assert region.row("things", {"id": things[0]})["votes"] == 0  # type: ignore[index]
        for agent in agents:
            for thing in things:
                vote(region, agent, thing, 1)
        rows = list(region.rows("things"))
        assert {row["votes"] for row in rows} == {8}
        assert len({region.file_of(agent.log).file.path for agent in agents}) > 1
        assert sum(row["ballots"] for row in region.rows("ballots_hourly")) == 48
        gone = region.forget(agents[1].log, [0], reason="asked")
        assert gone.complete
        assert region.row("things", {"id": things[0]})["votes"] == 7  # type: ignore[index]
        assert region.row("ballots", {"thing": things[0], "agent": agents[1].id}) is None
    with Region.open(tmp_path / "r", domains=[domain()], unlock=UNLOCK) as again:
        assert again.row("things", {"id": things[0]})["votes"] == 7  # type: ignore[index]


_WORKER = """
    import sys
    from pathlib import Path
    from antiphon.engines.keyfiles import Unlock
    from antiphon.region import Region
    from antiphon.replica.commit import Batch
    from antiphon.model.event import Draft, Scope, encode_body
    from tests.unit.views.every_rule import domain

    region = Region.open(Path(sys.argv[1]), domains=[domain()], unlock=Unlock(key=bytes(32)))
    logs = [bytes.fromhex(log) for log in sys.argv[2].split(",")]
    agents = [bytes.fromhex(log) for log in sys.argv[3].split(",")]
    at = 0
    while True:
        for log, agent in zip(logs, agents):
            body = {"name": f"{agent.hex()[:6]} {at}", "title": str(at), "owner": agent}
            region.commit([Batch(log, [Draft("board.put", encode_body(body), scope=Scope.PUBLIC)], [None])])
            print(log.hex(), flush=True)
        region.catch_up()
        at += 1
"""


def test_what_is_erased_elsewhere_leaves_every_file(people: Cast) -> None:
    world = World(people, domain, replicas=0)
    region = Region.create(
        people.folder / f"region{next(_numbers)}", domains=[domain()], unlock=UNLOCK, log_files=2, row_files=3,
        clock=world.here,
    )  # fmt: skip
    try:
        logs = [*people.homes, *people.logs]
        kept = world.write(0, "thing.made", {"name": "kept"}, entity=NEW)
        world.write(0, "thing.made", {"name": "secret"}, entity=NEW)
        for who in range(3):
            body = {"thing": kept.entity, "agent": people.agents[who], "vote": 1, "weight": "1"}
            world.write(who, "ballot.cast", body, entity=None)
        take_all(region, world, logs)
        assert region.row("things", {"id": kept.entity})["votes"] == 3  # type: ignore[index]
        world.erase(0, 1)
        world.erase(2, 0)
        take_all(region, world, logs)
        assert [row["name"] for row in region.rows("things")] == ["kept"]
        assert region.row("things", {"id": kept.entity})["votes"] == 2  # type: ignore[index]
        assert sum(row["rows"] for row in region.rows("ballots_hourly")) == 2
    finally:
        region.close()
        world.close()


@pytest.mark.slow
def test_ten_thousand_agents_and_a_million_events(tmp_path: Path) -> None:
    many(tmp_path / "r", agents=10_000, events=1_000_000)


def test_a_hundred_agents_and_some_thousand_events(tmp_path: Path) -> None:
    many(tmp_path / "r", agents=100, events=4_000)


def many(folder: Path, *, agents: int, events: int) -> None:
    """Everybody makes one thing and votes on others': counts in every file are those of what was cast."""
    each = events // agents - 1
    with Region.create(folder, domains=[domain()], unlock=UNLOCK, log_files=4, row_files=2) as region:
        made = region.add_agents(region.add_principal().log, agents)
        things: list[bytes] = []
        for at in range(0, agents, 250):
            drafts = [Draft("thing.made", encode_body({"name": f"thing {at}"}), entity=NEW, scope=Scope.PUBLIC)]
            done = region.commit([Batch(agent.log, drafts, [None]) for agent in made[at : at + 250]])
            things += [appended.headers[-1].entity or b"" for appended in done]
        cast_on = [0] * agents
        for at in range(0, agents, 250):
            batches = []
            for who, agent in enumerate(made[at : at + 250], at):
                on = [(who * 7 + vote) % agents for vote in range(each)]
                for thing in on:
                    cast_on[thing] += 1
                drafts = [
                    Draft(
                        "ballot.cast",
                        encode_body({"thing": things[thing], "agent": agent.id, "vote": 1, "weight": None}),
                        scope=Scope.PUBLIC,
                    )
                    for thing in on
                ]
                batches.append(Batch(agent.log, drafts, [None] * len(drafts)))
            region.commit(batches)
        region.catch_up()
        votes = {row["id"]: row["votes"] for row in region.rows("things")}
        assert votes == dict(zip(things, cast_on, strict=True))
        assert sum(cast_on) == each * agents
        assert region.rejections() == []


def test_killed_at_any_point_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with Region.create(folder, domains=[domain()], unlock=UNLOCK, log_files=3, row_files=3) as region:
        home = region.add_principal().log
        agents = region.add_agents(home, 4)
    said = 0
    for kill_after in (3, 11, 25):
        command = [
            sys.executable, "-c", textwrap.dedent(_WORKER), str(folder), ",".join(a.log.hex() for a in agents),
            ",".join(a.id.hex() for a in agents),
        ]  # fmt: skip
        root = Path(__file__).parents[2]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True) as worker:
            assert worker.stdout is not None
            for _ in range(kill_after):
                said += bool(worker.stdout.readline())
            os.kill(worker.pid, signal.SIGKILL)
            said += len(worker.stdout.read().splitlines())
        with Region.open(folder, domains=[domain()], unlock=UNLOCK) as region:
            events = sum(
                event.kind == "board.put"
                for file in region.log_files
                for head in file.heads()
                for event in file.reader.events(head)
            )
            assert events >= said
            boards = list(region.rows("boards"))
            assert len({row["name"] for row in boards}) == len(boards)
            with Region.create(tmp_path / f"again{kill_after}", domains=[domain()], unlock=UNLOCK, row_files=1) as one:
                for file in region.log_files:
                    for head in sorted(file.heads(), key=lambda head: head.owner != head.id):
                        if head.size:
                            parts = parts_of(file.logs, file.reader, head, shared=True)
                            one.take(LogHead(0, head.id, head.owner, head.key), parts, head.note)
                assert rows_of(one) == rows_of(region)
