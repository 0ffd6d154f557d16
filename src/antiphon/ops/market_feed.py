"""Room `ops` (imports `engines` and below): feeds into a book: fetched only where they changed, each when it is due.

What a feed's server said (ETag, Last-Modified) is kept in the agent's log once all items are, so a crash between leads
to reading again, never to a gap; items that are known are not recorded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final
from urllib import request as urlrequest
from urllib.parse import unquote, urlsplit

import msgspec

from antiphon.domains.market.commands import Market
from antiphon.model.errors import AntiphonError, InvalidInput, LimitExceeded, NotFound, Unavailable
from antiphon.ops.market_parse import FEED_BYTES_MAX, Feed, Item, parse
from antiphon.ops.market_web import answering, check_url

TIMEOUT_S: Final = 20.0
"""How long a server may say nothing."""
ANSWER_TIMEOUT_S: Final = 120.0
"""How long its whole answer may take."""
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
    """What became of one feed: items that were new, that were known, that stood there twice, that have no title or
    nothing to know them by, that the book refuses; why it could not be read; when next.
    """

    url: str
    new: int = 0
    known: int = 0
    repeated: int = 0
    left: int = 0
    refused: int = 0
    unchanged: bool = False
    error: str | None = None
    next_ms: int = 0


def fetch(url: str, etag: str | None = None, last_modified: str | None = None) -> Fetched:
    """A feed over HTTP, where it has changed. Raises InvalidInput, NotFound, Unavailable, LimitExceeded."""
    check_url(url)
    headers = {"User-Agent": AGENT, "Accept": "application/atom+xml, application/rss+xml, application/xml;q=0.9"}
    if etag:
        headers["If-None-Match"] = etag
    if last_modified:
        headers["If-Modified-Since"] = last_modified
    request = urlrequest.Request(url, headers=headers)
    with answering(request, follows=True, silent_s=TIMEOUT_S, whole_s=ANSWER_TIMEOUT_S) as (answer, read):
        if answer.status == 304:
            return Fetched(None, etag, last_modified)
        if answer.status >= 300:
            said = f"{url}: its server answers {answer.status} {answer.reason}"
            raise NotFound(said) if answer.status in (404, 410) else Unavailable(said)
        raw, found = read(FEED_BYTES_MAX + 1), answer.headers
    if len(raw) > FEED_BYTES_MAX:
        raise LimitExceeded("FEED_BYTES_MAX", got=len(raw), allowed=FEED_BYTES_MAX, what=f"{url} in bytes")
    length = found.get("Content-Length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) != len(raw):
        raise Unavailable(f"{url}: its server breaks off after {len(raw):,} bytes of {length[:20]}")
    return Fetched(raw, _validator(found.get("ETag")), _validator(found.get("Last-Modified")))


def _validator(value: str | None) -> str | None:
    """What a server wants to be asked with, where it can be a header again."""
    return value if value and len(value) <= VALIDATOR_CHARS_MAX and value.isprintable() and value.isascii() else None


def is_url(source: str) -> bool:
    """Whether a source is an address, and no file."""
    return "://" in source and not source.startswith("file:")


def path_of(source: str) -> Path:
    """The file that a source is, named by its path or as output names it. Raises InvalidInput."""
    if not source.startswith("file:"):
        return Path(source)
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise InvalidInput(f"{source[:100]!r} is no file of this machine: write it like file:///srv/feed.xml")
    return Path(unquote(parts.path))


def read_file(market: Market, path: Path) -> Read:
    """The items of a feed in a file. Raises NotFound, Unavailable, InvalidInput, LimitExceeded, naming the file."""
    try:
        with path.open("rb") as file:
            raw = file.read(FEED_BYTES_MAX + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror or error}") from None
    return _record(market, path.resolve().as_uri(), _parsed(str(path), raw))


def read_url(market: Market, url: str, *, fetching: Fetch = fetch) -> Read:
    """The items of a feed on the web that are new. Raises what `fetch` and `parse` do, naming the feed."""
    before = market.feed(url) or {}
    came = fetching(url, before.get("etag"), before.get("last_modified"))
    if came.raw is None:
        return Read(url, unchanged=True)
    feed = _parsed(url, came.raw, base=url)
    done = _record(market, url, feed)
    market.note_feed(url, title=feed.title, etag=came.etag, last_modified=came.last_modified)
    return done


def _parsed(source: str, raw: bytes, *, base: str = "") -> Feed:
    try:
        return parse(raw, base=base)
    except LimitExceeded:
        raise
    except InvalidInput as error:
        raise InvalidInput(f"{source}: {error}") from None


def _record(market: Market, source: str, feed: Feed) -> Read:
    """Records the items that are new, together; of two that the feed calls the same, the first. One that the book does
    not take is its own fault alone.
    """
    done = Read(source, left=feed.left)
    seen: set[str] = set()
    with market.recorder.together():
        for item in feed.items:
            what = _became(market, source, item, seen)
            done = msgspec.structs.replace(done, **{what: getattr(done, what) + 1})
    return done


def _became(market: Market, source: str, item: Item, seen: set[str]) -> str:
    key = item.guid or item.link or item.title
    if key in seen:
        return "repeated"
    seen.add(key)
    try:
        made = market.publish(
            source, item.title, link=item.link, guid=item.guid, summary=item.summary, published=item.published,
            categories=item.categories,
        )  # fmt: skip
    except (InvalidInput, LimitExceeded):
        return "refused"
    return "known" if made is None else "new"


class Poller:
    """Feeds, each read when it is due by the agent's clock; one that fails is asked less and less often.

    It waits for nothing: whoever calls `poll` does. *Shapes*: `feeds` are (url or file, ms between readings).
    """

    def __init__(self, market: Market, feeds: Iterable[tuple[str, int]], *, fetching: Fetch = fetch) -> None:
        self._market, self._fetching = market, fetching
        self._every: dict[str, int] = {}
        for url, every in feeds:
            if is_url(url):
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
        now = self._market.recorder.clock.monotonic_ms()
        return [self.read(source) for source in [source for source, due in self._due.items() if due <= now]]

    def next_due(self) -> str | None:
        """A feed that is due, the longest waiting first; None where none is."""
        source = min(self._due, key=self._due.__getitem__, default=None)
        now = self._market.recorder.clock.monotonic_ms()
        return None if source is None or self._due[source] > now else source

    def read(self, source: str) -> Read:
        """Reads one of the feeds, and says why where it cannot be read."""
        clock = self._market.recorder.clock
        try:
            read, self._failed[source] = self._read(source), 0
        except AntiphonError as error:
            self._failed[source] += 1
            said = str(error)
            read = Read(source, error=said if source in said else f"{source}: {said}")
        wait = min(self._every[source] << min(self._failed[source], 20), max(BACKOFF_MS_MAX, self._every[source]))
        self._due[source] = clock.monotonic_ms() + wait
        return msgspec.structs.replace(read, next_ms=clock.now_ms() + wait)

    def _read(self, source: str) -> Read:
        if is_url(source):
            return read_url(self._market, source, fetching=self._fetching)
        return read_file(self._market, path_of(source))
