"""Room `ops` (imports `engines` and below): what is asked of servers that may be anybody's: bounded, and led nowhere.

The address that a name stands for is looked up once, checked, and connected to. What the user named himself may be
inside; where a server leads from there may not, but to itself. Behind a proxy it is the proxy that connects.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib import error as urlerror
from urllib import request as urlrequest
from urllib.parse import urlsplit

from antiphon.model.errors import InvalidInput, Unavailable

REDIRECTS_MAX: Final = 5
_READ_BYTES: Final = 64 << 10
_REASON_CHARS_MAX: Final = 160


def check_url(url: str) -> None:
    """Raises InvalidInput where this is no address of the web."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isprintable() and " " not in url
        parts.port  # noqa: B018  # raises where it is none
    except ValueError:
        fine = False
    if not fine or len(url) > 2_048:
        raise InvalidInput(f"{url[:100]!r} is no address of the web: write it like https://example.com/feed.xml")


class _Led(Exception):
    """A server leads to where we do not go."""


class _Way:
    """The connections of one request: which were made, and whether its time is over."""

    def __init__(self) -> None:
        self.late = False
        self.is_led = False
        self._given: set[str] = set()
        self._open: list[socket.socket] = []

    def connect(
        self, address: tuple[str, int], timeout: Any = None, source_address: Any = None, *, proxy: bool = False
    ) -> socket.socket:
        """A connection to a server (or to the user's own proxy), to the first of its addresses that answers and that
        may be asked.
        """
        host, port = address
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not self.is_led:
            self._given = {str(one[4][0]) for one in found}
        fault: OSError = OSError(f"{host} has no address")
        for family, kind, proto, _, place in found:
            inside = str(place[0]) not in self._given and not is_public(str(place[0]))
            if self.is_led and inside and not proxy:
                raise _Led(f"it leads to {host}, an address ({place[0]}) that is not on the public network")
            line = socket.socket(family, kind, proto)
            try:
                line.settimeout(timeout)
                line.connect(place)
            except OSError as error:
                line.close()
                fault = error
                continue
            self._open.append(line.dup())  # TLS takes the first one over
            return line
        raise fault

    def cut(self) -> None:
        """Ends it: what is being read ends here."""
        self.late = True
        for line in self._open:
            with contextlib.suppress(OSError):  # it is over already
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Lets everything go."""
        for line in self._open:
            line.close()


def is_public(address: str) -> bool:
    """Whether an address is one that everybody can ask."""
    found = ipaddress.ip_address(address.partition("%")[0])
    inner = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (inner or found).is_global and not (inner or found).is_multicast


class _Plain(urlrequest.HTTPHandler):
    def __init__(self, way: _Way) -> None:
        super().__init__()
        self._way = way

    def http_open(self, req: Any) -> Any:
        return self.do_open(_connecting(HTTPConnection, self._way, req), req)


class _Secret(urlrequest.HTTPSHandler):
    def __init__(self, way: _Way) -> None:
        super().__init__()
        self._way = way

    def https_open(self, req: Any) -> Any:
        return self.do_open(_connecting(HTTPSConnection, self._way, req), req)


def _connecting(kind: type[Any], way: _Way, request: Any) -> Callable[..., Any]:
    proxy = bool(request.has_proxy() or getattr(request, "_tunnel_host", None))

    def made(host: str, **how: Any) -> Any:
        line = kind(host, **how)
        line._create_connection = partial(way.connect, proxy=proxy)
        return line

    return made


class _Following(urlrequest.HTTPRedirectHandler):
    """Follows redirects to the web alone, REDIRECTS_MAX of them: never to files or to FTP, never out of TLS, and never
    inside.
    """

    max_redirections = REDIRECTS_MAX
    max_repeats = REDIRECTS_MAX

    def __init__(self, way: _Way, *, follows: bool) -> None:
        self._way, self._follows = way, follows

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not self._follows:
            return None
        fp.close()  # whatever else it says is not read
        check_led(req.full_url, newurl)
        if sum(getattr(req, "redirect_dict", {}).values()) >= REDIRECTS_MAX:
            raise _Led(f"it leads on and on, more than REDIRECTS_MAX ({REDIRECTS_MAX}) times")
        self._way.is_led = True
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_led(url: str, onward: str) -> None:
    """Raises where a server may not lead there."""
    if urlsplit(onward).scheme not in ("http", "https"):
        raise _Led("it leads to what is not the web")
    if urlsplit(url).scheme == "https" and urlsplit(onward).scheme != "https":
        raise _Led("it leads from https to http")


@contextlib.contextmanager
def answering(
    request: urlrequest.Request, *, follows: bool, silent_s: float, whole_s: float
) -> Iterator[tuple[Any, Callable[[int], bytes]]]:
    """A server's answer, with its status and headers, and what reads at most so many bytes of it. A status of 300 and
    more is an answer too. *Units*: `silent_s` is how long it may say nothing, `whole_s` how long it may take in all.

    Raises Unavailable where there is no answer, or it takes too long.
    """
    way = _Way()
    late = threading.Timer(whole_s, way.cut)
    late.daemon = True
    late.start()
    opener = urlrequest.build_opener(_Plain(way), _Secret(way), _Following(way, follows=follows))
    url = request.full_url
    try:
        with _opened(opener, request, silent_s) as answer:
            yield answer, lambda most: _read(answer, most, way, whole_s)
    except (_Led, urlerror.URLError, HTTPException, OSError, ValueError) as error:
        reason = f"its answer takes longer than {whole_s:g} s" if way.late else getattr(error, "reason", None) or error
        said = " ".join(str(reason).split())[:_REASON_CHARS_MAX]
        raise Unavailable(f"{url}: {said or type(error).__name__}") from None
    finally:
        late.cancel()
        way.close()


def _opened(opener: Any, request: urlrequest.Request, silent_s: float) -> Any:
    try:
        return opener.open(request, timeout=silent_s)
    except urlerror.HTTPError as answer:
        return answer


def _read(answer: Any, most: int, way: _Way, whole_s: float) -> bytes:
    """What it says, up to so many bytes: a server that sends a byte now and then is never silent."""
    parts, left = list[bytes](), most
    while left > 0 and (part := answer.read1(min(left, _READ_BYTES))):
        parts.append(part)
        left -= len(part)
    if way.late:
        raise TimeoutError
    return b"".join(parts)
