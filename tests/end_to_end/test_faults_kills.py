"""A writing process is killed (kill -9) at any moment, many times over.

Expected: what it had acknowledged is there, logs verify against every checkpoint handed out, nothing is recorded twice,
and the same log goes on: a crash is never mistaken for a copy.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import pytest

from antiphon import Agent
from antiphon.log.store import LogRole

WRITER = """
import json, random, sys
from antiphon import Agent
rng = random.Random(int(sys.argv[1]))
agent = Agent.open("ada")
def say(**what):
    print(json.dumps(what), flush=True)
say(log=agent.log_id.hex())
mine, number = [], 0
while True:
    number += 1
    text = f"run {sys.argv[1]} note {number} " + "word " * rng.randrange(60)
    chance = rng.random()
    if chance < 0.75:
        made = agent.remember(text)
        mine.append(made.event)
        say(event=made.event, text=text)
    elif chance < 0.85:
        with agent.batch() as batch:
            for part in range(rng.randrange(2, 90)):
                batch.remember(f"{text} {part}")
        for part, made in enumerate(batch.recorded):
            say(event=made.event, text=f"{text} {part}")
    elif chance < 0.92 and mine:
        gone = mine.pop(rng.randrange(len(mine)))
        say(forgetting=gone)
        agent.forget(gone)
        say(forgotten=gone)
    elif chance < 0.96:
        say(checkpoint=agent.checkpoint().decode())
    else:
        agent.replica.tidy()
"""


def _killed_run(seed: int, rng: random.Random) -> list[dict[str, str]]:
    """What a writer said before it was killed."""
    command = [sys.executable, "-c", WRITER, str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(rng.randrange(1, 160))]
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.readlines()
        writer.wait(timeout=20)
    assert writer.returncode == -signal.SIGKILL
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _kill_often(times: int, seed: int) -> None:
    rng = random.Random(seed)
    with Agent.create("ada") as agent:
        log, name = agent.log_id.hex(), agent.id
        agent.remember("the beginning")
    expected: dict[str, str] = {}
    maybe: set[str] = set()
    checkpoints: list[bytes] = []
    for run in range(times):
        for said in _killed_run(seed + run, rng):
            if "log" in said:
                assert said["log"] == log, "a crash was mistaken for a copy"
            elif "event" in said:
                expected[said["event"]] = said["text"]
            elif "forgetting" in said:
                maybe.add(said["forgetting"])
            elif "forgotten" in said:
                del expected[said["forgotten"]]
            else:
                checkpoints.append(said["checkpoint"].encode())
        with Agent.open("ada") as agent:
            assert (agent.id, agent.log_id.hex()) == (name, log)
            held = {f"{agent.event(str(e.seq)).seq}": e for e in agent.log()}
            for event, text in expected.items():
                found = held.get(event.rpartition("/")[2])
                assert found is not None or event in maybe, f"{event} was acknowledged and is gone"
                assert found is None or text.encode() in (found.body or b"")
            for event in maybe - expected.keys():
                assert event.rpartition("/")[2] not in held, f"{event} was forgotten and is back"
            bodies = [e.body for e in held.values() if e.kind == "memory.remembered"]
            assert len(bodies) == len(set(bodies)), "something was recorded twice"
            assert agent.verify(since=rng.choice(checkpoints) if checkpoints else None).ok
            assert [head.role for head in agent.replica.heads() if head.owner == agent.record_of_agent.agent] == [
                LogRole.OWN
            ]
        expected = {event: text for event, text in expected.items() if event not in maybe}
        maybe.clear()


def test_eight_kills() -> None:
    _kill_often(8, seed=1)


@pytest.mark.slow
def test_fifty_kills() -> None:
    _kill_often(50, seed=100)
