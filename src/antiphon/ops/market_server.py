"""Room `ops` (imports `engines` and below): a webhook's two ends on the network: a small HTTP server, and POST.

The server is meant for loopback behind whatever ends TLS. A slow or large request is cut off by named limits.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib import error as urlerror
from urllib import request as urlrequest

import msgspec

from antiphon.model.errors import InvalidInput, Unavailable
from antiphon.ops.market_feed import check_url
from antiphon.ops.market_hook import MESSAGE_BYTES_MAX, Answered, Inbound, Reply

PATH: Final = "/market"
REQUEST_TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 1 << 20
CONNECTIONS_MAX: Final = 32


class _NoRedirect(urlrequest.HTTPRedirectHandler):
    """A signed message goes where it was meant to go, and nowhere else."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        return None


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
    """The answer to a message. Raises Unavailable where there is none."""
    check_url(url)
    opener = urlrequest.build_opener(_NoRedirect())
    request = urlrequest.Request(url, data=body, headers=dict(headers), method="POST")
    try:
        with opener.open(request, timeout=REQUEST_TIMEOUT_S) as answer:
            return Answered(answer.status, answer.read(ANSWER_BYTES_MAX))
    except urlerror.HTTPError as error:
        with error:
            after = error.headers.get("Retry-After", "")
            seconds = int(after) if after.isascii() and after.isdigit() and len(after) < 6 else None
            return Answered(error.code, error.read(ANSWER_BYTES_MAX), None if seconds is None else 1_000 * seconds)
    except (urlerror.URLError, HTTPException, OSError) as error:
        raise Unavailable(f"{url}: {getattr(error, 'reason', None) or error}") from None


class WebhookServer:
    """Listens for messages of some systems: `POST /market/<system>`, one after the other taken."""

    def __init__(self, inbound: Mapping[str, Inbound], *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._inbound = dict(inbound)
        self._taking = threading.Lock()
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)
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

    def enter(self) -> bool:
        """Whether there is room for one more."""
        return self._room.acquire(blocking=False)

    def leave(self) -> None:
        """Makes room."""
        self._room.release()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away is no news."""


def _handler(server: WebhookServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version = "antiphon"
        sys_version = ""

        def do_POST(self) -> None:
            if not server.enter():
                self._say(Reply(503, {"error": f"CONNECTIONS_MAX ({CONNECTIONS_MAX}) are open: try again"}))
                return
            try:
                said = self.headers.get("Content-Length", "")
                if not said.isascii() or not said.isdigit() or len(said) > 12:
                    self._say(Reply(411, {"error": "Content-Length: say how long the message is"}))
                    return
                if int(said) > MESSAGE_BYTES_MAX:
                    words = f"the message is longer than MESSAGE_BYTES_MAX ({MESSAGE_BYTES_MAX:,})"
                    self._say(Reply(413, {"error": words}))
                    return
                body = self.rfile.read(int(said))
                self._say(server.answer(self.path, dict(self.headers.items()), body))
            finally:
                server.leave()

        def _say(self, reply: Reply) -> None:
            raw = msgspec.json.encode(reply.said)
            self.send_response(reply.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(raw)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # as the standard library has it
            """Nothing: what came is in the log."""

    return Handler
