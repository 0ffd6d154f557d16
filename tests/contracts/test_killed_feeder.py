"""kill -9 to whoever feeds, in the middle of a batch, again and again: the same rows in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from antiphon import Agent
from tests.contracts.killed_feeder import TABLES, engine
from tests.unit.views.notes import NOTES_DOMAIN, Changed, Pinned, Written

pytestmark = pytest.mark.server
KILLS = 20


def heard(out: Any, until: bytes) -> bytes:
    """What is said up to one of these bytes."""
    said = b""
    while not said or said[-1:] not in {bytes([one]) for one in until}:
        part = os.read(out.fileno(), 1)
        assert part, said
        said += part
    return said


@pytest.mark.parametrize("kind", ["postgres", "valkey"])
def test_a_feeder_killed_in_the_middle_of_its_batches_loses_nothing(
    kind: str, own_home: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(kind)
    url = server.url("killed") if kind == "postgres" else server.url(7)
    if kind == "postgres":
        with psycopg.connect(server.url(), autocommit=True) as session:
            session.execute("CREATE DATABASE killed")
    home, chance = own_home / "home", Random(3)
    with Agent.create("ada", home=home, domains=[NOTES_DOMAIN]) as agent:
        command = [sys.executable, "-m", "tests.contracts.killed_feeder", kind, url, str(home)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as forker:
            assert forker.stdin is not None
            amid = 0
            notes: list[Any] = []
            for _ in range(KILLS):
                with agent.batch():
                    notes += [agent.record("note.written", Written(f"note {n}")).entity for n in range(60)]
                    for entity in chance.sample(notes, 10):
                        agent.record("note.changed", Changed(text="changed"), entity=entity)
                        agent.record("note.pinned", Pinned("wall"), entity=entity)
                    agent.record("note.torn", {}, entity=notes.pop(0))
                forker.stdin.write(b"\n")
                heard(forker.stdout, b"<")
                feeder = int(heard(forker.stdout, b">")[:-1])
                heard(forker.stdout, b"b")
                time.sleep(chance.random() * 0.012)
                os.kill(feeder, signal.SIGKILL)
                amid += b"e" not in heard(forker.stdout, b".")
            forker.stdin.close()
        assert amid >= KILLS // 4, "hardly any was killed in the middle of a batch"
        sink = engine(kind, url)
        follower = agent.follow(sink, name="rows", tables=TABLES)
        follower.run(patience_ms=20_000)
        assert follower.check() == []
        assert follower.letters() == []
        assert len(sink.rows(agent.replica.registry.table("notes"), after=None, limit=10_000)) == len(notes)
        sink.close()
