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

import pytest

from antiphon import Agent
from antiphon.engines.urls import engine_at
from tests.contracts.engines import PATIENCE_MS
from tests.contracts.killed_feeder import TABLES
from tests.unit.views.notes import NOTES_DOMAIN, Changed, Pinned, Written

pytestmark = pytest.mark.server
KILLS, KILLS_MAX = 20, 200
AMID_MIN = 5
"""So many at least are killed while a batch is delivered; a machine that is busy with others hits it seldom."""


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
    place = request.getfixturevalue(kind)
    url = place.url(place.make_database("killed")) if kind == "postgres" else place.url(prefix=place.prefix("killed"))
    home, chance = own_home / "home", Random(3)
    with Agent.create("ada", home=home, domains=[NOTES_DOMAIN]) as agent:
        command = [sys.executable, "-m", "tests.contracts.killed_feeder", url, str(home)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as forker:
            assert forker.stdin is not None
            amid = 0
            notes: list[Any] = []
            kills = 0
            while kills < KILLS or (amid < AMID_MIN and kills < KILLS_MAX):
                kills += 1
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
        assert amid >= AMID_MIN, "hardly any was killed in the middle of a batch"
        sink = engine_at(url)
        follower = agent.follow(sink, name="rows", tables=TABLES)
        follower.run(patience_ms=PATIENCE_MS)
        assert follower.check() == []
        assert follower.letters() == []
        assert len(sink.rows(agent.replica.registry.table("notes"), after=None, limit=10_000)) == len(notes)
        sink.close()
