"""Power fails at every write of a commit: whatever the disk had not synced is lost, torn or kept, in any mixture.

Expected: the file opens, the log goes on under the same instance, everything acknowledged is there, what was being
written is there whole or not at all, what was forgotten stays forgotten, logs verify and views equal a refold.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from antiphon.agent import Agent
from antiphon.log.store import LogRole
from antiphon.world.clock import ManualClock
from antiphon.world.entropy import SeededEntropy
from tests.faults.disk import RecordingDisk, Trace, put_files
from tests.faults.world import FixedHost, Keys, check_sound, new_agent, open_agent, roles, texts


class _TracedHost(FixedHost):
    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace

    def keep(self, file_id: bytes, mark: Any) -> None:
        super().keep(file_id, mark)
        self._trace.note("mark", mark)


def _work(path: Path, keys: Keys, rng: random.Random, disk: RecordingDisk) -> None:
    """Records, updates, forgets, packs and checkpoints, noting after each step what is acknowledged."""
    clock = ManualClock()
    world = {"clock": clock, "entropy": SeededEntropy(rng.randrange(1 << 32))}
    agent = new_agent(path, keys, vfs=disk.vfs, host=_TracedHost(disk.trace), **world)
    agent.replica.file.writer.execute("PRAGMA wal_autocheckpoint=24")
    memories: list[tuple[str, str]] = []

    def acknowledge() -> None:
        disk.trace.note("acknowledged", (agent.replica.head(agent.log_id).size, texts(agent), agent.checkpoint()))

    agent.remember("the first")
    acknowledge()
    for step in range(28):
        clock.pass_ms(rng.randrange(1, 5_000))
        match rng.choice(("one", "one", "one", "many", "long", "update", "forget", "pack", "settle")):
            case "one":
                made = agent.remember(f"note {step} {'ab ' * rng.randrange(30)}", user=rng.choice((None, "Grace")))
                memories.append((made.event, made.entity or ""))
            case "many":
                with agent.batch() as batch:
                    for at in range(rng.randrange(2, 40)):
                        batch.remember(f"note {step}.{at} {'cd ' * rng.randrange(20)}")
                memories += [(made.event, made.entity or "") for made in batch.recorded]
            case "long":
                made = agent.remember(
                    f"long {step} " + "".join(rng.choices("abcdefgh ", k=rng.randrange(4_000, 20_000)))
                )
                memories.append((made.event, made.entity or ""))
            case "update" if memories:
                agent.update(rng.choice(memories)[1], text=f"changed {step}")
            case "forget" if memories:
                agent.forget(memories.pop(rng.randrange(len(memories)))[0])
                gone = texts(agent)
                memories = [made for made in memories if int(made[0].rpartition("/")[2]) in gone]
            case "pack":
                agent.replica.tidy()
            case "settle":
                agent.replica.file.settle()
        acknowledge()
    agent.replica.close()


def _states(trace: Trace) -> tuple[list[int], list[tuple[int, dict[int, str], bytes]]]:
    places = [at for at, step in enumerate(trace.steps) if step.what == "acknowledged"]
    return places, [trace.steps[at].note for at in places]


def _cut(trace: Trace, at: int, rng: random.Random, folder: Path, keys: Keys) -> Agent:
    host = FixedHost()
    host.marks = [step.note for step in trace.steps[:at] if step.what == "mark"]
    put_files(folder, trace.left_by_power_cut(at, rng), ("ada.antiphon", "ada.antiphon-wal", "ada.antiphon-journal"))
    (folder / "ada.antiphon-shm").unlink(missing_ok=True)
    return open_agent(folder / "ada.antiphon", keys, host=host, entropy=SeededEntropy(at))


def _lose_power(seed: int, points: int, folder: Path) -> None:
    rng = random.Random(seed)
    disk, keys = RecordingDisk(), Keys()
    (folder / "before").mkdir()
    (folder / "after").mkdir()
    _work(folder / "before" / "ada.antiphon", keys, rng, disk)
    trace = disk.trace
    places, states = _states(trace)
    first = places[0]
    chances = [at for at in trace.writes() if at > first]
    assert len(chances) > 200
    for point in range(points):
        at = chances[point] if points >= len(chances) > point else rng.choice(chances)
        agent = _cut(trace, at, rng, folder / "after", keys)
        done = sum(place < at for place in places) - 1
        allowed = [state[:2] for state in states[done : done + 2]]
        where = f"power lost before step {at} of {len(trace.steps)} ({trace.steps[at].what} {trace.steps[at].name})"
        assert LogRole.PAST not in roles(agent.replica), where
        assert (agent.replica.head(agent.log_id).size, texts(agent)) in allowed, where
        assert agent.verify(since=states[done][2]).ok, where
        if point % 4 == 0:
            check_sound(agent.replica)
            agent.remember("and on it goes")
            assert agent.verify().ok
        agent.replica.file.close()


def test_power_loss_at_many_points(sim_seed: int, tmp_path: Path) -> None:
    _lose_power(sim_seed, 150, tmp_path)


@pytest.mark.slow
def test_power_loss_at_thousand_points(sim_seed: int, tmp_path: Path) -> None:
    _lose_power(1_000 + sim_seed, 1_000, tmp_path)
