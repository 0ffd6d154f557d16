"""Room `cli` (imports everything): questions to a person at a terminal, which Ctrl-C always ends.

Python's own `input` can miss a Ctrl-C that comes just before it begins to read (the signal is noted, and the read then
waits for a line regardless). Waiting on the signal and on the terminal together has no such gap.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import sys
from collections.abc import Iterator

import click


def confirmed(question: str) -> bool:
    """Whether the person says yes. An empty answer is a no; Ctrl-C and end of input raise click.Abort."""
    with _signals_wake() as woken:
        while True:
            click.echo(f"{question} [y/N]: ", nl=False, err=True)
            answer = _line(woken).strip().lower()
            if answer in ("y", "yes"):
                return True
            if answer in ("", "n", "no"):
                return False
            click.echo("Please answer y or n.", err=True)


def _line(woken: socket.socket | None) -> str:
    try:
        if woken is not None:
            select.select([sys.stdin, woken], [], [])  # the handler runs when this returns, before the read
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        raise click.Abort from None
    if not line:
        raise click.Abort
    return line


@contextlib.contextmanager
def _signals_wake() -> Iterator[socket.socket | None]:
    """A socket that can be read once a signal has come; None where terminals cannot be waited for."""
    if sys.platform == "win32":
        yield None
        return
    read, write = socket.socketpair()
    with read, write:
        write.setblocking(False)
        before = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        try:
            yield read
        finally:
            signal.set_wakeup_fd(before)
