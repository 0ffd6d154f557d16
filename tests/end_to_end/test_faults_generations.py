"""A view of a new version is being made, or followed, while power fails, the disk fills, or other code writes too.

Expected: whoever opens the file next goes on; readers have the old rows or the new ones, never a mixture; nothing that
was acknowledged is missing from either once they are made.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from antiphon.agent import Agent
from antiphon.engines.memory import MemoryTables
from antiphon.model import limits
from antiphon.model.errors import Conflict, DiskFull, Unavailable
from antiphon.model.table import Column, FullText, Table, Type
from antiphon.replica.follow import Follower
from antiphon.views.domain import AssertRow, Domain, Kind
from antiphon.world.entropy import SeededEntropy
from tests.faults.disk import RecordingDisk, SmallDisk, put_files
from tests.faults.world import FixedHost, Keys, check_sound, new_agent, open_agent, table_rows


class _Noted(msgspec.Struct):
    text: str
    size: int


def notes(version: int) -> Domain:
    """The same notes; the second version adds a column that old rows have to be folded again for."""
    more = (Column("twice", Type.INTEGER, nullable=False),) if version > 1 else ()
    table = Table(
        "notes", key="id", fulltext=FullText("text", time="at"), subject="text",
        columns=(Column("id", Type.ID), Column("at", Type.TIMESTAMP), Column("text", Type.TEXT),
                 Column("size", Type.INTEGER), *more),
    )  # fmt: skip
    filled = {"twice": "size"} if version > 1 else {}
    fold = AssertRow(table, id="@entity", at="@time", text="text", size="size", **filled)
    return Domain("notes", version=version, kinds=(Kind("note.noted", _Noted),), tables=(table,),
                  folds={"note.noted": (fold,)})  # fmt: skip


@pytest.fixture(autouse=True)
def _always_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFOLD_AT_ONCE_EVENTS_MAX", 0)
    monkeypatch.setattr(limits, "REFOLD_SLICE_MS_MAX", 0)


def write(agent: Agent, count: int, word: str) -> list[str]:
    said = [f"{word} {at} {'and so on ' * (at % 9)}" for at in range(count)]
    with agent.batch() as batch:
        for text in said:
            batch.record("note.noted", {"text": text, "size": len(text)})
    return said


def shown(agent: Agent) -> list[str]:
    table = agent.replica.registry.table("notes")
    return sorted(row.values["text"] for row in agent.replica.tables.select(table, {}, order="n", limit=10_000))


def finished(agent: Agent) -> None:
    assert agent.replica.generations.run()
    assert not agent.replica.generations.is_busy()


def made(folder: Path, keys: Keys, host: FixedHost, *, vfs: str | None = None) -> tuple[Path, list[str]]:
    path = folder / "ada.antiphon"
    more = {} if vfs is None else {"vfs": vfs}
    agent = new_agent(path, keys, domains=(notes(1),), host=host, background=False, **more)
    said = write(agent, 200, "first") + write(agent, 200, "second")
    agent.replica.close()
    return path, sorted(said)


def _points(rng: random.Random, places: list[int], count: int) -> Iterator[int]:
    """The last writes, where it is swapped and put away, above all."""
    yield from places[-count // 2 :]
    yield from rng.sample(places, min(len(places), count // 2))


def lose_power(folder: Path, seed: int, count: int) -> None:
    rng, disk, keys, host = random.Random(seed), RecordingDisk(), Keys(), FixedHost()
    (folder / "before").mkdir(parents=True)
    (folder / "after").mkdir()
    path, said = made(folder / "before", keys, host, vfs=disk.vfs)
    start = len(disk.trace.steps)
    agent = open_agent(path, keys, domains=(notes(2),), host=host, background=False, vfs=disk.vfs)
    agent.replica.file.writer.execute("PRAGMA wal_autocheckpoint=16")
    while agent.replica.generations.step(events_max=64):
        pass
    agent.replica.close()
    places = [at for at in disk.trace.writes() if at > start]
    for at in _points(rng, places, count):
        put_files(folder / "after", disk.trace.left_by_power_cut(at, rng),
                  ("ada.antiphon", "ada.antiphon-wal", "ada.antiphon-journal"))  # fmt: skip
        (folder / "after" / "ada.antiphon-shm").unlink(missing_ok=True)
        where = f"power lost before step {at} of {len(disk.trace.steps)}"
        again = open_agent(folder / "after" / "ada.antiphon", keys, domains=(notes(2),), host=host, background=False,
                           entropy=SeededEntropy(at))  # fmt: skip
        assert shown(again) == said, where
        finished(again)
        assert shown(again) == said, where
        rows = table_rows(again.replica)["notes"]
        assert all(dict(row[2:])["twice"] == dict(row[2:])["size"] for row in rows), where
        if at % 5 == 0:
            check_sound(again.replica)
        again.replica.file.close()


def test_power_lost_around_the_swap(tmp_path: Path) -> None:
    lose_power(tmp_path / "a", seed=5, count=40)


@pytest.mark.slow
def test_power_lost_at_hundreds_of_points(tmp_path: Path) -> None:
    for seed in range(4):
        lose_power(tmp_path / str(seed), seed=seed, count=300)


@pytest.mark.parametrize("room", [0, 4_000, 20_000, 60_000, 120_000, 300_000])
def test_a_full_disk_stops_the_making_and_nothing_else(tmp_path: Path, room: int) -> None:
    disk, keys, host = SmallDisk(), Keys(), FixedHost()
    path, said = made(tmp_path, keys, host, vfs=disk.vfs)
    agent = open_agent(path, keys, domains=(notes(2),), host=host, background=False, vfs=disk.vfs)
    agent.replica.file.writer.execute("PRAGMA wal_autocheckpoint=0")
    disk.room, refused = room, 0
    for _ in range(60):
        try:
            if not agent.replica.generations.step(events_max=64):
                break
        except DiskFull:
            refused += 1
        assert shown(agent) == said
    assert refused or room == 300_000
    disk.room = None
    finished(agent)
    assert shown(agent) == said
    check_sound(agent.replica)
    agent.replica.close()


def test_a_full_disk_while_an_engine_follows_costs_the_engine_nothing(tmp_path: Path) -> None:
    disk, keys, host = SmallDisk(), Keys(), FixedHost()
    path, said = made(tmp_path, keys, host, vfs=disk.vfs)
    agent = open_agent(path, keys, domains=(notes(1),), host=host, background=False, vfs=disk.vfs)
    engine = MemoryTables()
    follower = Follower(agent.replica, engine, "rows", [agent.replica.registry.table("notes")], save_ms=0)
    follower.step()
    disk.room, refused = 0, 0
    for _ in range(40):
        try:
            follower.step()
        except (DiskFull, Unavailable):
            refused += 1
    assert refused or follower.state == "retrying"
    disk.room = None
    said = sorted([*said, *write(agent, 20, "third")])
    again = Follower(agent.replica, engine, "rows", [agent.replica.registry.table("notes")])
    again.run()
    table = agent.replica.registry.table("notes")
    rows = engine.rows(table, after=None, limit=10_000)
    assert sorted(change.row["text"] for change in rows if change.row) == said
    agent.replica.close()


def test_two_versions_of_a_domain_write_side_by_side(tmp_path: Path) -> None:
    """Old code goes on with its own tables while new code makes others; once swapped in, old code leaves them alone."""
    keys, host = Keys(), FixedHost()
    path, said = made(tmp_path, keys, host)
    old = open_agent(path, keys, domains=(notes(1),), host=host, background=False)
    new = open_agent(path, keys, domains=(notes(2),), host=host, background=False)
    for turn in range(40):
        writer = (old, new)[turn % 2]
        said += write(writer, 3, f"turn {turn}")
        if turn > 8:
            new.replica.generations.step(events_max=40)
    finished(new)
    assert shown(new) == sorted(said)
    for turn in range(6):
        said += write((old, new)[turn % 2], 2, f"late {turn}")
    old.replica.close()
    new.replica.close()
    with open_agent(path, keys, domains=(notes(2),), host=host, background=False) as last:
        finished(last)
        assert shown(last) == sorted(said)
        check_sound(last.replica)


def test_two_followers_of_one_name_leave_the_engine_with_every_row(tmp_path: Path) -> None:
    keys, host = Keys(), FixedHost()
    path, said = made(tmp_path, keys, host)
    engine, stop, ended = MemoryTables(), threading.Event(), [0, 0]
    agents = [open_agent(path, keys, domains=(notes(1),), host=host, background=False) for _ in range(2)]
    table = agents[0].replica.registry.table("notes")

    def feed(which: int) -> None:
        while not stop.is_set():
            follower = Follower(agents[which].replica, engine, "rows", [table], save_ms=0)
            try:
                while not stop.is_set() and ended[which] < 60:
                    follower.step()
            except Conflict:
                ended[which] += 1

    threads = [threading.Thread(target=feed, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(20):
        said += write(agents[turn % 2], 3, f"turn {turn}")
    stop.set()
    for thread in threads:
        thread.join()
    Follower(agents[0].replica, engine, "rows", [table]).run()
    rows = engine.rows(table, after=None, limit=10_000)
    assert sorted(change.row["text"] for change in rows if change.row) == sorted(said)
    for agent in agents:
        agent.replica.close()


def test_the_feed_is_trimmed_while_a_follower_reads_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTBOX_COMMITS_MIN", 1)
    monkeypatch.setattr(limits, "OUTBOX_COMMITS_MAX", 4)
    monkeypatch.setattr(limits, "FEED_ROWS_MAX", 16)
    keys, host = Keys(), FixedHost()
    path, said = made(tmp_path, keys, host)
    agent = open_agent(path, keys, domains=(notes(1),), host=host, background=False)
    table, slow, quick = agent.replica.registry.table("notes"), MemoryTables(), MemoryTables()
    behind = Follower(agent.replica, slow, "slow", [table], save_ms=0)
    ahead = Follower(agent.replica, quick, "quick", [table], save_ms=0)
    for turn in range(30):
        behind.step()
        said += write(agent, 2, f"turn {turn}")
        ahead.run()
        ahead.save(force=True)
        with agent.replica.file.transaction():
            agent.replica.file.writer.execute(
                "DELETE FROM outbox WHERE version < (SELECT max(version) FROM outbox) - ?", (turn % 3,)
            )
    behind.run()
    for engine in (slow, quick):
        rows = engine.rows(table, after=None, limit=10_000)
        assert sorted(change.row["text"] for change in rows if change.row) == sorted(said)
    agent.replica.close()
