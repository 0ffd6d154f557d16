"""A process that has all modules loaded, and forks a feeder whenever it is told to: `python -m … URL HOME`.

Each feeder says on its standard output when a batch begins (`b`) and when it is delivered (`e`).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from antiphon import Agent
from antiphon.engines.urls import engine_at
from tests.unit.views.notes import NOTES_DOMAIN

TABLES = ["notes", "board"]


def feed(url: str, home: Path) -> None:
    """Feeds until it is killed."""
    sink = engine_at(url)
    apply = sink.apply

    def told(*batch: Any, **marks: Any) -> None:
        os.write(1, b"b")
        apply(*batch, **marks)
        os.write(1, b"e")

    sink.apply = told
    with Agent.open("ada", home=home, domains=[NOTES_DOMAIN]) as agent:
        agent.follow(sink, name="rows", tables=TABLES).run()
    os.write(1, b"d")


def main() -> None:
    """Forks a feeder for each line of the standard input, and says its process id."""
    url, home = sys.argv[1:]
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            feed(url, Path(home))
            signal.pause()  # whoever has delivered everything is killed all the same
        os.write(1, f"<{child}>".encode())
        os.waitpid(child, 0)
        os.write(1, b".")


if __name__ == "__main__":
    main()
