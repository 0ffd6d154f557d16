"""Something on loopback that answers as a server of another version would, as far as a client asks."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from servers.process import free_port


class Pretender:
    """Says that it is `version` of PostgreSQL or of Redis, and nothing else of use."""

    def __init__(self, kind: str, version: str) -> None:
        self._kind, self._version = kind, version
        self.port = free_port()
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._serve, name="pretender", daemon=True)

    def url(self) -> str:
        """What a client connects by."""
        return f"{self._kind}://127.0.0.1:{self.port}/0"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(60)
                    (self._as_postgres if self._kind == "postgresql" else self._as_redis)(client)

    def _as_postgres(self, client: socket.socket) -> None:
        """Lets everybody in, then answers each question with an error."""
        while True:
            size, code = struct.unpack("!ii", _exactly(client, 8))
            _exactly(client, size - 8)
            if code == 196_608:  # version 3.0; before it, whether TLS or GSS is spoken
                break
            client.sendall(b"N")
        said = _message(b"R", struct.pack("!i", 0))
        for name, value in (
            ("server_version", self._version),
            ("server_encoding", "UTF8"),
            ("client_encoding", "UTF8"),
        ):
            said += _message(b"S", f"{name}\0{value}\0".encode())
        client.sendall(said + _message(b"Z", b"I"))
        while client.recv(4_096):
            client.sendall(_message(b"E", b"SERROR\0C0A000\0Mnot here\0\0") + _message(b"Z", b"I"))

    def _as_redis(self, client: socket.socket) -> None:
        """Knows INFO alone, as before version 6."""
        while said := client.recv(4_096):
            commands = said.upper().count(b"*")
            if b"INFO" in said.upper() and b"CLIENT" not in said.upper():
                info = f"# Server\r\nredis_version:{self._version}\r\n"
                client.sendall(f"${len(info)}\r\n{info}\r\n".encode())
            else:
                client.sendall(b"-ERR unknown command\r\n" * commands)

    def __enter__(self) -> Pretender:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(5)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _exactly(client: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = client.recv(count - len(found))
        if not part:
            raise OSError("gone")
        found += part
    return found
