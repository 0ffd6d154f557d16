"""One server process: started on a port of its own, waited for, stopped by its pid, hurt on purpose."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

READY_S_MAX = 180.0
STOP_S_MAX = 60.0
RUN_S_MAX = 300.0
"""Of a machine that others keep busy."""
PORTS = range(15_000, 30_000)
"""Where servers listen: below the ports that a system hands to outgoing connections, so none can sit on the port of a
server that a test has stopped for a moment."""
SERVANTS = ("postgres", "nobody")
"""Who servers run as where this process is root: the first that the machine knows."""


class NotReady(RuntimeError):
    """A server that did not answer in time, with the end of what it wrote."""


def free_port() -> int:
    """A loopback port of PORTS that nobody had a moment ago. Drawn: processes that ask at once seldom get the same."""
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as asked, contextlib.suppress(OSError):
            asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            asked.bind(("127.0.0.1", port))
            return port
    raise NotReady(f"no port of {PORTS.start} to {PORTS.stop - 1} is free")


def servant() -> pwd.struct_passwd | None:
    """The user that servers are run as; None: as oneself, who is not root."""
    if os.geteuid() != 0:
        return None
    for name in SERVANTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NotReady("servers do not run as root, and this machine has neither a user 'postgres' nor 'nobody'")


def _as_servant() -> dict[str, Any]:
    user = servant()
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}


def hand_over(folder: Path) -> None:
    """Gives a folder to whoever the servers run as."""
    user = servant()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)


def run(command: Sequence[str], *, timeout_s: float = RUN_S_MAX, env: Mapping[str, str] | None = None) -> str:
    """What a command prints, run as servers are. Raises NotReady with what it said."""
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        **_as_servant(),
    )
    if done.returncode:
        raise NotReady(f"{Path(command[0]).name} failed ({done.returncode}): {(done.stderr or done.stdout)[-2000:]}")
    return str(done.stdout)


class Process:
    """A running server; `start` again after `kill` brings it back with the same command and port."""

    def __init__(
        self, command: Sequence[str], *, log: Path, ready: Callable[[], bool], env: Mapping[str, str] | None = None
    ) -> None:
        self._command, self._log, self._ready, self._env = list(command), log, ready, env
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def start(self) -> None:
        """Starts it and waits until it answers. Raises NotReady."""
        assert not self.running
        with self._log.open("ab") as out:
            self._popen = subprocess.Popen(
                self._command,
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=None if self._env is None else dict(self._env),
                cwd="/",
                start_new_session=True,
                **_as_servant(),
            )
        until = time.monotonic() + READY_S_MAX
        while not self._ready():
            if self._popen.poll() is not None:
                raise NotReady(f"{self._command[0]} ended with {self._popen.returncode}: {self.said()}")
            if time.monotonic() > until:
                self.kill()
                raise NotReady(f"{self._command[0]} did not answer within {READY_S_MAX:.0f} s: {self.said()}")
            time.sleep(0.02)

    def said(self, chars: int = 2_000) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-chars:] if self._log.exists() else ""

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Asks it to end and waits; kills it where it does not."""
        if self._popen is None or self._popen.poll() is not None:
            return
        self.wake()
        self._popen.send_signal(how)
        try:
            self._popen.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9 to it and to every process that it started, as a power cut would."""
        if self._popen is None or self._popen.poll() is not None:
            return
        self._signal(signal.SIGKILL)
        self._popen.wait(STOP_S_MAX)

    def hang(self) -> None:
        """Stops it without ending it: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Lets it go on after `hang`."""
        self._signal(signal.SIGCONT)

    def _signal(self, what: signal.Signals) -> None:
        """To the process first, so it starts nobody meanwhile, then to its children: they have groups of their own."""
        for pid in (self.pid, *_children(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, file.read_text().split())
    return found
