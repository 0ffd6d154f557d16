"""Room `ops` (imports `engines` and below): feeds into a book: fetched only where they changed, each when it is due.

What a feed's server said (ETag, Last-Modified) is kept in the agent's log once all items are, so a crash between leads
to reading again, never to a gap; items that are known are not recorded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib import error as urlerror
from urllib import request as urlrequest
from urllib.parse import urlsplit

import msgspec

from antiphon.domains.market.commands import Market
from antiphon.model.errors import AntiphonError, InvalidInput, LimitExceeded, NotFound, Unavailable
from antiphon.ops.market_parse import FEED_BYTES_MAX, Feed, parse

TIMEOUT_S: Final = 20.0
EVERY_MS: Final = 900_000
"""How often a feed is read that nobody set another time for: as often as the designs' monitor."""
EVERY_MS_MIN: Final = 60_000
BACKOFF_MS_MAX: Final = 24 * 3_600_000
FEEDS_MAX: Final = 1_000
VALIDATOR_CHARS_MAX: Final = 512
AGENT: Final = "antiphon-market/1 (+feed reader)"


class Fetched(msgspec.Struct, frozen=True):
    """A feed's bytes, and what its server wants to be asked with next time; None for `raw` where nothing is new."""

    raw: bytes | None
    etag: str | None = None
    last_modified: str | None = None


Fetch = Callable[[str, str | None, str | None], Fetched]
"""(url, etag, last modified) -> what came."""


class Read(msgspec.Struct, frozen=True):
    """What became of one feed: items that were new, and those that were known; why it could not be read; when next."""

    url: str
    new: int = 0
    known: int = 0
    unchanged: bool = False
    error: str | None = None
    next_ms: int = 0


class _SameSort(urlrequest.HTTPRedirectHandler):
    """Follows redirects to the web alone: never to files or to FTP."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urlerror.URLError("it leads to what is not the web")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, etag: str | None = None, last_modified: str | None = None) -> Fetched:
    """A feed over HTTP, where it has changed. Raises InvalidInput, NotFound, Unavailable, LimitExceeded."""
    check_url(url)
    headers = {"User-Agent": AGENT, "Accept": "application/atom+xml, application/rss+xml, application/xml;q=0.9"}
    if etag:
        headers["If-None-Match"] = etag
    if last_modified:
        headers["If-Modified-Since"] = last_modified
    opener = urlrequest.build_opener(_SameSort())
    try:
        with opener.open(urlrequest.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:
            raw = answer.read(FEED_BYTES_MAX + 1)
            found = answer.headers
    except urlerror.HTTPError as error:
        with error:
            if error.code == 304:
                return Fetched(None, etag, last_modified)
            said = f"{url}: its server answers {error.code} {error.reason}"
        if error.code in (404, 410):
            raise NotFound(said) from None
        raise Unavailable(said) from None
    except (urlerror.URLError, HTTPException, OSError, ValueError) as error:
        raise Unavailable(f"{url}: {getattr(error, 'reason', None) or error}") from None
    if len(raw) > FEED_BYTES_MAX:
        raise LimitExceeded("FEED_BYTES_MAX", got=len(raw), allowed=FEED_BYTES_MAX, what=f"{url} in bytes")
    length = found.get("Content-Length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) != len(raw):
        raise Unavailable(f"{url}: its server breaks off after {len(raw):,} bytes of {length[:20]}")
    return Fetched(raw, _validator(found.get("ETag")), _validator(found.get("Last-Modified")))


def _validator(value: str | None) -> str | None:
    """What a server wants to be asked with, where it can be a header again."""
    return value if value and len(value) <= VALIDATOR_CHARS_MAX and value.isprintable() and value.isascii() else None


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


def is_url(source: str) -> bool:
    """Whether a source is an address, and no file."""
    return source.startswith(("http://", "https://"))


def read_file(market: Market, path: Path) -> Read:
    """The items of a feed in a file. Raises NotFound, Unavailable, InvalidInput."""
    try:
        with path.open("rb") as file:
            raw = file.read(FEED_BYTES_MAX + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror or error}") from None
    source = path.resolve().as_uri()
    new, known = _record(market, source, parse(raw))
    return Read(source, new, known)


def read_url(market: Market, url: str, *, fetching: Fetch = fetch) -> Read:
    """The items of a feed on the web that are new. Raises what `fetch` and `parse` do."""
    before = market.feed(url) or {}
    came = fetching(url, before.get("etag"), before.get("last_modified"))
    if came.raw is None:
        return Read(url, unchanged=True)
    feed = parse(came.raw, base=url)
    new, known = _record(market, url, feed)
    market.note_feed(url, title=feed.title, etag=came.etag, last_modified=came.last_modified)
    return Read(url, new, known)


def _record(market: Market, source: str, feed: Feed) -> tuple[int, int]:
    """How many items were new, and how many were known. All are recorded together."""
    new = known = 0
    with market.recorder.together():
        for item in feed.items:
            made = market.publish(
                source, item.title, link=item.link, guid=item.guid, summary=item.summary, published=item.published,
                categories=item.categories,
            )  # fmt: skip
            new, known = (new + 1, known) if made is not None else (new, known + 1)
    return new, known


class Poller:
    """Feeds, each read when it is due by the agent's clock; one that fails is asked less and less often.

    It waits for nothing: whoever calls `poll` does. *Shapes*: `feeds` are (url, ms between readings).
    """

    def __init__(self, market: Market, feeds: Iterable[tuple[str, int]], *, fetching: Fetch = fetch) -> None:
        self._market, self._fetching = market, fetching
        self._every: dict[str, int] = {}
        for url, every in feeds:
            check_url(url)
            if every < EVERY_MS_MIN:
                raise InvalidInput(f"{url}: every {every:,} ms is more often than EVERY_MS_MIN ({EVERY_MS_MIN:,}) lets")
            self._every[url] = every
        if len(self._every) > FEEDS_MAX:
            raise LimitExceeded("FEEDS_MAX", got=len(self._every), allowed=FEEDS_MAX, what="the number of feeds")
        self._due = dict.fromkeys(self._every, 0.0)
        self._failed = dict.fromkeys(self._every, 0)

    def due_in_ms(self) -> float:
        """How long until the next feed is due, 0 where one is."""
        now = self._market.recorder.clock.monotonic_ms()
        return max(0.0, min(self._due.values(), default=0.0) - now)

    def poll(self) -> list[Read]:
        """Reads the feeds that are due. One that cannot be read is said so, and holds no other up."""
        clock = self._market.recorder.clock
        done = []
        for url in [url for url, due in self._due.items() if due <= clock.monotonic_ms()]:
            try:
                read, self._failed[url] = read_url(self._market, url, fetching=self._fetching), 0
            except AntiphonError as error:
                self._failed[url] += 1
                read = Read(url, error=str(error))
            wait = min(self._every[url] << min(self._failed[url], 20), max(BACKOFF_MS_MAX, self._every[url]))
            self._due[url] = clock.monotonic_ms() + wait
            done.append(msgspec.structs.replace(read, next_ms=clock.now_ms() + wait))
        return done
