"""No room left on the device, at any byte of any write.

Expected: DiskFull with advice, every time; nothing acknowledged is lost, what failed left no trace; when there is room
again the same object and a new one go on, in the same log.
"""

# ruff: noqa: PERF401, PT012  # what was acknowledged before the error counts

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from antiphon import Agent
from antiphon.model.errors import DiskFull
from tests.faults.disk import SmallDisk
from tests.faults.world import FixedHost, Keys, check_sound, new_agent, open_agent, texts


@pytest.mark.parametrize("room", [0, 1, 4_000, 4_200, 9_000, 30_000, 90_000, 250_000])
def test_simulated_disk(tmp_path: Path, room: int) -> None:
    disk, keys, host = SmallDisk(), Keys(), FixedHost()
    path = tmp_path / "ada.antiphon"
    agent = new_agent(path, keys, vfs=disk.vfs, host=host)
    agent.replica.file.writer.execute("PRAGMA wal_autocheckpoint=0")  # it may fail unseen, but not in Python
    first = agent.remember("before")
    log = agent.log_id
    held = texts(agent)
    disk.room = room
    refused: list[str] = []
    for number in range(400):
        try:
            made = agent.remember(f"note {number} " + "word " * 40)
            held[int(made.event.rpartition("/")[2])] = f"note {number} " + "word " * 40
        except DiskFull as error:
            refused.append(str(error))
            if len(refused) > 3:
                break
    for attempt in (agent.replica.tidy, agent.replica.file.settle, lambda: agent.snapshot(tmp_path / "copy")):
        with suppress(DiskFull):
            attempt()
    assert refused
    assert all("room" in text and "nothing was lost" in text for text in refused)
    assert texts(agent) == held
    assert agent.recall("before")
    disk.room = None
    after = agent.remember("after")
    held[int(after.event.rpartition("/")[2])] = "after"
    assert texts(agent) == held
    agent.replica.close()
    with open_agent(path, keys, host=host) as again:
        assert again.log_id == log
        assert texts(again) == held
        check_sound(again.replica)
        assert again.get(first.entity or "")


def test_forgetting_on_a_full_disk_is_all_or_nothing(tmp_path: Path) -> None:
    disk, keys, host = SmallDisk(), Keys(), FixedHost()
    agent = new_agent(tmp_path / "ada.antiphon", keys, vfs=disk.vfs, host=host)
    agent.replica.file.writer.execute("PRAGMA wal_autocheckpoint=0")
    made = [agent.remember(f"secret {number}") for number in range(80)]
    seen = set()
    for room in range(0, 1_000_000, 100_000):
        disk.room = room
        before = texts(agent)
        try:
            agent.forget(made[room // 100_000].event)
            seen.add("done")
        except DiskFull:
            seen.add("refused")
            assert texts(agent) == before
            assert agent.recall(f"secret {room // 100_000}")
        disk.room = None
    assert seen == {"done", "refused"}
    agent.remember("and on")
    assert agent.stats()["scrub_pending"] is False
    check_sound(agent.replica)


@contextmanager
def _small_file_system(folder: Path) -> Iterator[bool]:
    """A file system of 4 MiB where this machine lets us mount one; whether it did."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield mounted.returncode == 0
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def test_real_file_system(tmp_path: Path) -> None:
    """The whole home on a full file system; where none can be mounted the simulated disk above has to do."""
    with _small_file_system(tmp_path / "small") as mounted:
        if not mounted:
            return
        home = tmp_path / "small" / "home"
        filler = tmp_path / "small" / "filler"
        filler.write_bytes(bytes(3 << 20))
        agent = Agent.create("ada", home=home)
        made = []
        with pytest.raises(DiskFull) as full:
            for number in range(3_000):
                made.append(
                    agent.remember(f"note {number} " + "".join(chr(97 + (number * at) % 26) for at in range(500)))
                )
        assert "room" in str(full.value)
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        with pytest.raises(DiskFull):
            agent.export(tmp_path / "small" / "out.jsonl")
        with pytest.raises(DiskFull):
            agent.export(tmp_path / "small" / "out.archive")
        with pytest.raises(DiskFull):
            agent.snapshot(tmp_path / "small" / "copy.antiphon")
        with pytest.raises(DiskFull):
            Agent.create("bob", home=home)
        assert len([event for event in agent.log() if event.kind == "memory.remembered"]) == len(made)
        log = agent.log_id
        for left in (filler, *(tmp_path / "small").glob("out.*"), *(tmp_path / "small").glob("copy.*")):
            left.unlink()
        for past in made[:200:50]:
            agent.forget(past.event)
        agent.remember("after")
        agent.close()
        with Agent.open("ada", home=home) as again:
            assert again.log_id == log
            assert again.recall("after")
            assert again.verify().ok
        with Agent.create("bob", home=home) as other:
            other.remember("hello")
            assert other.verify().ok
