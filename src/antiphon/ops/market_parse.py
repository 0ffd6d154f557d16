"""Room `ops` (imports `engines` and below): RSS and Atom as publications, from bytes that anybody may have written.

Pure. Document types are refused, and so every entity that is not the standard's own; so are documents that are too
large, nest too deep, or have too many elements.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urljoin, urlsplit
from xml.parsers import expat

import msgspec

from antiphon.model import times
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.ops.market_html import plain

FEED_BYTES_MAX: Final = 8 << 20
FEED_ELEMENTS_MAX: Final = 200_000
FEED_DEPTH_MAX: Final = 64
FEED_ITEMS_MAX: Final = 2_000
LINK_CHARS_MAX: Final = 2_048
FEED_TEXT_CHARS_MAX: Final = 1 << 20
"""Characters of the text in one element."""
_ATOM: Final = "http://www.w3.org/2005/Atom"
_TEXTS: Final = {
    "title": "title", "description": "summary", "summary": "summary", "content": "content", "encoded": "content",
    "guid": "guid", "id": "guid", "pubDate": "published", "published": "published", "updated": "updated",
    "date": "published", "category": "category", "link": "link",
}  # fmt: skip


class Item(msgspec.Struct, frozen=True):
    """One publication. *Units*: `published` in ms since 1970, None where the feed does not say it legibly."""

    title: str
    link: str | None = None
    guid: str | None = None
    summary: str | None = None
    published: int | None = None
    categories: tuple[str, ...] = ()


class Feed(msgspec.Struct, frozen=True):
    """A feed's title and items, as they come; `left` counts those that have no title, or nothing to know them by."""

    title: str | None
    items: tuple[Item, ...]
    left: int = 0


class _Reader:
    """The parser's state: where it is, and what the item that it is in has said so far."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._path: list[str] = []
        self._text: list[str] = []
        self._chars = 0
        self._elements = 0
        self._item: dict[str, list[str]] | None = None
        self._item_depth = 0
        self._title: str | None = None
        self.items: list[Item] = []
        self.left = 0
        self.known = False

    @property
    def title(self) -> str | None:
        """The feed's title."""
        return self._title

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        space, _, local = name.rpartition(" ")
        self._elements += 1
        if self._elements > FEED_ELEMENTS_MAX:
            raise LimitExceeded(
                "FEED_ELEMENTS_MAX", got=self._elements, allowed=FEED_ELEMENTS_MAX, what="the feed's elements"
            )
        self._path.append(local)
        if len(self._path) > FEED_DEPTH_MAX:
            raise LimitExceeded(
                "FEED_DEPTH_MAX", got=len(self._path), allowed=FEED_DEPTH_MAX, what="the depth of the feed"
            )
        if len(self._path) == 1:
            self.known = local in ("rss", "RDF") or (local == "feed" and space == _ATOM)
        if self._item is None and local in ("item", "entry"):
            self._item, self._item_depth = {}, len(self._path)
        elif self._item is not None and len(self._path) == self._item_depth + 1:
            self._attributes(local, attributes)
        if self._item is None or len(self._path) <= self._item_depth + 1:
            self._text, self._chars = [], 0

    def _attributes(self, local: str, attributes: dict[str, str]) -> None:
        assert self._item is not None
        if local == "link" and attributes.get("href") and attributes.get("rel", "alternate") == "alternate":
            self._item.setdefault("link", []).append(attributes["href"])
        if local == "category" and attributes.get("term"):
            self._item.setdefault("category", []).append(attributes["term"])

    def text(self, data: str) -> None:
        """Characters of an element, and of what is in it."""
        self._chars += len(data)
        if self._chars > FEED_TEXT_CHARS_MAX:
            raise LimitExceeded(
                "FEED_TEXT_CHARS_MAX", got=self._chars, allowed=FEED_TEXT_CHARS_MAX, what="the text of one element"
            )
        self._text.append(data)

    def end(self, name: str) -> None:
        """An element ends."""
        local, said = self._path[-1], " ".join("".join(self._text).split())
        if self._item is not None and len(self._path) == self._item_depth:
            self._close_item(self._item)
            self._item = None
        elif self._item is not None and len(self._path) == self._item_depth + 1:
            if said and local in _TEXTS:
                self._item.setdefault(_TEXTS[local], []).append(said)
        elif self._item is None and local == "title" and self._title is None:
            self._title = plain(said) or None
        self._path.pop()

    def _close_item(self, said: dict[str, list[str]]) -> None:
        def first(*fields: str) -> str | None:
            return next((said[field][0] for field in fields if said.get(field)), None)

        guid, link = first("guid"), self._address(first("link"))
        title = plain(first("title") or "")
        if link is None and guid is not None:
            link = self._address(guid) if guid.startswith(("http://", "https://")) else None
        if not title or not (link or guid) or len(guid or "") > LINK_CHARS_MAX:
            self.left += 1
            return
        if len(self.items) >= FEED_ITEMS_MAX:
            raise LimitExceeded(
                "FEED_ITEMS_MAX", got=FEED_ITEMS_MAX + 1, allowed=FEED_ITEMS_MAX, what="the items of the feed"
            )
        summary = plain(first("summary", "content") or "") or None
        categories = tuple(dict.fromkeys(plain(one) for one in said.get("category", ()) if plain(one)))
        self.items.append(Item(title, link, guid, summary, moment(first("published", "updated")), categories))

    def _address(self, link: str | None) -> str | None:
        """An address of the web, from the feed's where it is relative; None where it is none."""
        if link is None:
            return None
        try:
            found = urljoin(self._base, link)
            parts = urlsplit(found)
            fine = parts.scheme in ("http", "https") and parts.hostname and len(found) <= LINK_CHARS_MAX
            return found if fine else None
        except ValueError:
            return None


def parse(raw: bytes, *, base: str = "") -> Feed:
    """The feed in these bytes. Raises InvalidInput where it is none, LimitExceeded naming what is too large."""
    if len(raw) > FEED_BYTES_MAX:
        raise LimitExceeded("FEED_BYTES_MAX", got=len(raw), allowed=FEED_BYTES_MAX, what="the feed in bytes")
    reader = _Reader(base)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(raw, True)  # as the standard library has it
    except expat.ExpatError as error:
        raise InvalidInput(f"it is no XML: {expat.errors.messages[error.code]} at line {error.lineno}") from None
    except (LookupError, ValueError) as error:  # an encoding that nobody knows
        raise InvalidInput(f"it is no XML that can be read: {error}") from None
    if not reader.known:
        raise InvalidInput("it is neither RSS nor Atom: its first element is another")
    return Feed(reader.title, tuple(reader.items), reader.left)


def _refuse_doctype(name: str, system: str | None, public: str | None, internal: bool) -> None:
    raise InvalidInput("it declares a document type, by which entities are smuggled in: feeds need none")


def moment(text: str | None) -> int | None:
    """Milliseconds since 1970 from a date as RSS or Atom writes it, None where it is neither."""
    if text is None:
        return None
    try:
        return times.to_ms(text)
    except (InvalidInput, OverflowError):
        pass
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return times.to_ms(found if found.tzinfo is not None else found.replace(tzinfo=UTC))
