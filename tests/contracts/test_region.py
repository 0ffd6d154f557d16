"""`make demo-region` on a small share of its input: it ends with all three equal, and ^C leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from antiphon.demo.corpus import corpus_path
from servers.proxy import until
from servers.region.interrupts import Interrupts
from servers.region.searching import choose
from servers.region.talks import read_talks
from servers.region.watching import bar

of_servers = pytest.mark.needs("own postgres", "own valkey")
DEMO_S_MAX = 600
"""Of a machine that others keep busy."""
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def demo() -> Iterator[subprocess.Popen[str]]:
    """The demo on a few hundred messages, in a process of its own."""
    command = [sys.executable, "-m", "servers.region", "--messages", "250"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        try:
            yield running
        finally:
            running.terminate()


def left_behind(pid: int) -> list[str]:
    """Folders of a run, and command lines of processes that work in one."""
    found = [str(path) for path in Path("/var/tmp").glob(f"antiphon-region-{pid}-*")]
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"antiphon-region-{pid}-" in said:
            found.append(said)
    return found


@pytest.mark.server
@of_servers
def test_killed_caught_up_forgotten_equal() -> None:
    with demo() as running:
        said, _ = running.communicate(timeout=DEMO_S_MAX)
        assert running.returncode == 0, said
    for words in ("kill -9 to PostgreSQL", "has caught up", "is forgotten", "PostgreSQL and Valkey are equal"):
        assert words in said
    assert "✗" not in said
    assert said.count("✓ nothing") == 3, "one of the three was not searched"
    assert said.count("✓ every row and column is the file's") == 2
    assert "SELECT" in said
    assert all(len(line) <= 80 for line in said.splitlines())
    assert left_behind(running.pid) == []


@pytest.mark.server
@of_servers
@pytest.mark.parametrize("words", ["starting valkey", "tables are made"])
def test_an_interrupt_leaves_no_process_and_no_folder(words: str) -> None:
    with demo() as running:
        assert running.stdout is not None
        for line in running.stdout:
            if words in line:
                break
        os.kill(running.pid, signal.SIGINT)
        os.kill(running.pid, signal.SIGINT)  # whoever is impatient asks twice
        said, _ = running.communicate(timeout=DEMO_S_MAX)
        assert running.returncode == 130, said
        assert "nothing is left behind" in said
        assert "Traceback" not in said
    until(lambda: left_behind(running.pid) == [], within_s=60, what="cleaning up")


@pytest.mark.server
def test_what_is_looked_for_is_one_persons_alone() -> None:
    talks = read_talks(corpus_path(), messages_max=250)
    person = choose(talks)
    messages = [message for talk in talks for message in talk.messages]
    assert 100 < len(messages) <= 250
    assert person.words
    for text in person.words:
        assert {message.person for message in messages if text in message.text} == {person.name}


def test_a_signal_waits_for_what_is_shielded_and_counts_once() -> None:
    done = []

    def interrupted(interrupts: Interrupts) -> None:
        with interrupts.shield():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            interrupted(interrupts)
        signal.raise_signal(signal.SIGTERM)  # cleaning up goes on
    assert done == ["all of it"]


def test_bars_grow_with_what_is_behind() -> None:
    bars = [bar(events, 4_000) for events in (0, 1, 10, 100, 1_000, 4_000)]
    assert (bars[0], bars[1], bars[-1]) == ("·", "▁", "█")
    assert bars[1:] == sorted(bars[1:])
