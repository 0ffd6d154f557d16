"""P13: how long it takes to begin: imports, opening an agent, the command line's help; each in fresh processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from time import perf_counter

from antiphon import Agent
from bench.figures import Figure, Size, alternate, figure
from bench.places import scratch

_OPEN = """
import sys, time
from antiphon import Agent
start = time.perf_counter()
agent = Agent.open("ada", home=sys.argv[1])
print((time.perf_counter() - start) * 1000)
"""


def _wall_ms(*arguments: str) -> float:
    start = perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return (perf_counter() - start) * 1_000


def _said_ms(*arguments: str) -> float:
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    return float(done.stdout)


def run(size: Size) -> Iterator[Figure]:
    """Whole processes, interpreter included; opening alone is timed inside its process."""
    with scratch() as folder:
        home = folder / "home"
        with Agent.create("ada", home=home) as agent:
            agent.remember("The first thing I know.")
        found = alternate(
            {
                "nothing": lambda: _wall_ms("-c", "pass"),
                "sqlite3": lambda: _wall_ms("-c", "import sqlite3"),
                "antiphon": lambda: _wall_ms("-c", "import antiphon"),
                "agent": lambda: _wall_ms("-c", "from antiphon import Agent"),
                "open": lambda: _said_ms("-c", _OPEN, str(home)),
                "help": lambda: _wall_ms("-c", "from antiphon.cli import main; main()", "--help"),
            },
            size.of(2 * size.rounds + 1, least=1),
        )
        yield figure(
            "python -c 'import antiphon'", "ms", found["antiphon"], found["sqlite3"], target="≤ 100 ms", value_max=100
        )
        yield figure("python -c 'from antiphon import Agent'", "ms", found["agent"], found["sqlite3"])
        yield figure("open an agent", "ms", found["open"], found["sqlite3"], target="≤ 20 ms", value_max=20)
        yield figure("antiphon --help", "ms", found["help"], found["sqlite3"], target="≤ 250 ms", value_max=250)
        yield figure("python -c pass", "ms", found["nothing"], found["sqlite3"])
