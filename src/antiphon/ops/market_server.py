"""Room `ops` (imports `engines` and below): a webhook's two ends on the network: a small HTTP server, and POST.

The server is meant for loopback behind whatever ends TLS. A slow or large request is cut off by named limits.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib import request as urlrequest

import msgspec

from antiphon.model.errors import InvalidInput, Unavailable
from antiphon.ops.market_hook import MESSAGE_BYTES_MAX, Answered, Inbound, Reply
from antiphon.ops.market_web import answering, check_url

PATH: Final = "/market"
REQUEST_TIMEOUT_S: Final = 10.0
"""How long a whole request may take to come; and how long a server that we send to may say nothing."""
ANSWER_TIMEOUT_S: Final = 30.0
ANSWER_BYTES_MAX: Final = 1 << 20
CONNECTIONS_MAX: Final = 32


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
    """The answer to a message, which goes where it was meant to go and nowhere else. Raises Unavailable where there is
    none.
    """
    check_url(url)
    request = urlrequest.Request(url, data=body, headers=dict(headers), method="POST")
    with answering(request, follows=False, silent_s=REQUEST_TIMEOUT_S, whole_s=ANSWER_TIMEOUT_S) as (answer, read):
        after = answer.headers.get("Retry-After", "")
        seconds = int(after) if after.isascii() and after.isdigit() and len(after) < 6 else None
        return Answered(answer.status, read(ANSWER_BYTES_MAX), None if seconds is None else 1_000 * seconds)


class WebhookServer:
    """Listens for messages of some systems: `POST /market/<system>`, one after the other taken."""

    def __init__(self, inbound: Mapping[str, Inbound], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._inbound = dict(inbound)
        self._taking = threading.Lock()
        try:
            self._server = _Server((host, port), _handler(self))
        except OSError as error:
            raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
        except OverflowError:
            raise InvalidInput(f"{port} is no port: from 0 to 65535") from None

    @property
    def url(self) -> str:
        """Where it listens; a system's name follows."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}{PATH}/"

    def serve(self) -> None:
        """Listens until `stop`."""
        self._server.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        """Ends `serve`, which another thread is in, and lets the port go."""
        self._server.shutdown()
        self.close()

    def close(self) -> None:
        """Lets the port go, once `serve` has ended."""
        self._server.server_close()

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """What is said to a message."""
        system = path.removeprefix(f"{PATH}/") if path.startswith(f"{PATH}/") else ""
        inbound = self._inbound.get(system)
        if inbound is None:
            return Reply(404, {"error": f"POST to {PATH}/ and the name of a system that is known here"})
        with self._taking:
            return inbound.receive(headers, body)


class _Server(ThreadingHTTPServer):
    """CONNECTIONS_MAX at a time, each thread of its own; the others are shut out."""

    daemon_threads = True
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, *how: Any) -> None:
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(*how)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more; it is shut out unheard, so that it costs nothing."""
        if self._room.acquire(blocking=False):
            return True
        with contextlib.suppress(OSError):
            request.settimeout(0)
            request.sendall(_FULL)
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, and room for another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away is no news."""


_FULL: Final = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\n\r\n"


def _cut(connection: Any) -> None:
    with contextlib.suppress(OSError):  # it is over already
        connection.shutdown(socket.SHUT_RDWR)


def _handler(server: WebhookServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version = "antiphon"
        sys_version = ""

        def setup(self) -> None:
            super().setup()
            self._late = threading.Timer(REQUEST_TIMEOUT_S, _cut, (self.connection,))
            self._late.daemon = True
            self._late.start()

        def finish(self) -> None:
            self._late.cancel()
            super().finish()

        def do_POST(self) -> None:
            said = self.headers.get("Content-Length", "")
            if not said.isascii() or not said.isdigit() or len(said) > 12 or "Transfer-Encoding" in self.headers:
                self._say(Reply(411, {"error": "Content-Length: say how long the message is"}))
                return
            if int(said) > MESSAGE_BYTES_MAX:
                words = f"the message is longer than MESSAGE_BYTES_MAX ({MESSAGE_BYTES_MAX:,})"
                self._say(Reply(413, {"error": words}))
                return
            body = self.rfile.read(int(said))
            self._late.cancel()  # it is here: that others are taken before it is not its fault
            if len(body) < int(said):
                self._say(Reply(400, {"error": f"the message breaks off after {len(body):,} bytes"}))
                return
            self._say(server.answer(self.path, dict(self.headers.items()), body))

        def _refuse(self) -> None:
            self._say(Reply(405, {"error": f"POST to {PATH}/ and the name of a system"}), Allow="POST")

        do_GET = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

        def _say(self, reply: Reply, **headers: str) -> None:
            raw = msgspec.json.encode(reply.said)
            self.send_response(reply.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(raw)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # as the standard library has it
            """Nothing: what came is in the log."""

    return Handler
