"""A TCP proxy on loopback that cuts, stalls or ends connections: the network between a feeder and its server."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable

from servers.process import free_port

CHUNK_BYTES = 64 << 10
WITHIN_S = 120.0
"""What happens at all happens within this, on a machine that others keep busy."""


class Proxy:
    """Carries bytes to a server on loopback, in a thread of its own.

    `cut_after` cuts every connection once that many bytes went to the server (None: never); `stall_s` delays each
    chunk.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = free_port()
        self.cut_after: int | None = None
        self.stall_s = 0.0
        self.connections = 0
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._sent = 0
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._listening.settimeout(0.05)
        self._thread = threading.Thread(target=self._serve, name="proxy", daemon=True)
        self._thread.start()

    def retarget(self, port: int) -> None:
        """New connections go to another server, as behind a failover; those that are open are cut."""
        self._target = port
        self.cut()

    def cut(self) -> None:
        """Ends every connection at once."""
        with self._lock:
            for one in list(self._pairs):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                client, _ = self._listening.accept()
                self.connections += 1
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target), timeout=5)
        except OSError:
            client.close()
            return
        with self._lock:
            self._pairs[client], self._pairs[server] = server, client
        with selectors.DefaultSelector() as ready, client, server, contextlib.suppress(OSError):
            for one in (client, server):
                one.settimeout(10)
                ready.register(one, selectors.EVENT_READ)
            self._shuttle(ready, client, server)
        with self._lock:
            self._pairs.pop(client, None)
            self._pairs.pop(server, None)

    def _shuttle(self, ready: selectors.BaseSelector, client: socket.socket, server: socket.socket) -> None:
        while not self._stopped.is_set():
            for key, _ in ready.select(0.1):
                source = key.fileobj
                assert isinstance(source, socket.socket)
                chunk = source.recv(CHUNK_BYTES)
                if not chunk:
                    return
                if self.stall_s:
                    time.sleep(self.stall_s)
                if source is client:
                    self._sent += len(chunk)
                    if self.cut_after is not None and self._sent > self.cut_after:
                        self._sent = 0
                        return
                (server if source is client else client).sendall(chunk)

    def close(self) -> None:
        """Ends it and its connections."""
        self._stopped.set()
        self.cut()
        self._listening.close()
        self._thread.join(5)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def until(true: Callable[[], bool], *, within_s: float = WITHIN_S, what: str = "it") -> None:
    """Waits until something is so. Raises AssertionError where it does not come."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"{what} did not happen within {within_s:.0f} s"
        time.sleep(0.02)
