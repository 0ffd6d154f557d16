"""Room `domains` (imports `views` and below): the market as one agent uses it: a book, its deals, what it has read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from antiphon.domains.market import bodies, keys, names
from antiphon.domains.market.booking import Put
from antiphon.domains.market.dealing import Deals
from antiphon.model import times
from antiphon.model.errors import InvalidInput
from antiphon.model.text import check_text, entity_text, parse_entity, parse_id
from antiphon.model.times import Time
from antiphon.views.commands import Receipt, Recorder

_WORD: Final = re.compile(r"\w+", re.UNICODE)
_MENTION_CHARS_MIN: Final = 4
"""A company with a shorter name is not looked for in texts: it would be found everywhere."""
_MENTION_WORDS_MAX: Final = 6
_NAMES_KEPT_MS: Final = 60_000


class Market(Deals):
    """The market as one agent uses it. Things are named by their ids as text."""

    _names: tuple[float, Mapping[str, list[bytes]]] | None = None

    # -- publications ------------------------------------------------------------------------------------------------

    def publish(
        self,
        feed: str,
        title: str,
        *,
        link: str | None = None,
        guid: str | None = None,
        summary: str | None = None,
        published: Time | None = None,
        categories: Sequence[str] = (),
    ) -> Receipt | None:
        """What a feed tells of; None where that is known, word for word. `mentions` are the book's companies in it."""
        key = guid or link or f"#{title}"
        if not isinstance(title, str) or not title.strip():
            raise InvalidInput("publications.title: what was published needs a title")
        words = [check_text(title, what="publications.title"), check_text(summary or "", what="publications.summary")]
        when = None if published is None else times.to_ms(published)
        body = bodies.Published(
            key, feed, words[0][: names.LONG_TEXT_MAX], link, words[1][: names.LONG_TEXT_MAX] or None, when,
            sorted({*categories})[: names.MENTIONS_MAX], self.mentioned(" ".join(words)),
        )  # fmt: skip
        entity = keys.publication_id(parse_id(self._recorder.id), feed, key)
        row = self._table(names.PUBLICATIONS).get(entity)
        if row is not None and all(
            row[name] == getattr(body, name) for name in ("title", "summary", "link", "categories")
        ):
            return None
        return self._record(names.PUBLISHED, body, entity=entity_text(entity), occurred=when)

    def mentioned(self, text: str) -> list[bytes]:
        """The companies of the book whose names, without their legal forms, stand in a text; at most MENTIONS_MAX.

        *Cost*: the book's names are read once, and again after a minute.
        """
        words = keys.company_key(" ".join(_WORD.findall(text))).split()
        known = self._known_names()
        found: set[bytes] = set()
        for at in range(len(words)):
            for size in range(1, _MENTION_WORDS_MAX + 1):
                found.update(known.get(" ".join(words[at : at + size]), ()))
        return sorted(found)[: names.MENTIONS_MAX]

    def _known_names(self) -> Mapping[str, list[bytes]]:
        now = self._recorder.clock.monotonic_ms()
        if self._names is None or now - self._names[0] > _NAMES_KEPT_MS:
            known: dict[str, list[bytes]] = {}
            for row in self._table(names.COMPANIES).every({"home": self.home}, order="name_key"):
                if row["name_key"] and len(row["name_key"]) >= _MENTION_CHARS_MIN:
                    known.setdefault(row["name_key"], []).append(row["id"])
            self._names = now, known
        return self._names[1]

    def recording_by(self, recorder: Recorder) -> Self:
        """As `Book.recording_by`."""
        self._names = None  # it may add companies
        return super().recording_by(recorder)

    def company(self, name: str | None = None, **how: Any) -> Put:
        """As `Book.company`."""
        self._names = None
        return super().company(name, **how)

    def publications(self, *, limit: int = 100) -> Sequence[Mapping[str, Any]]:
        """What was read, the newest first."""
        rows: Sequence[Mapping[str, Any]] = self._table(names.PUBLICATIONS).select(
            order="published_at", descending=True, limit=limit
        )
        return rows

    def feed(self, url: str) -> Mapping[str, Any] | None:
        """What is known of a feed, None before it was read."""
        found: Mapping[str, Any] | None = self._table(names.FEEDS).get(parse_id(self._recorder.id), url)
        return found

    def note_feed(
        self, url: str, *, title: str | None = None, etag: str | None = None, last_modified: str | None = None
    ) -> Receipt | None:
        """What a feed's server wants to be asked with next time; None where that is known."""
        row = self.feed(url)
        if row is not None and (row["title"], row["etag"], row["last_modified"]) == (title, etag, last_modified):
            return None
        return self._keep(names.FEED_READ, bodies.FeedRead(url, title, etag, last_modified))

    # -- other systems -----------------------------------------------------------------------------------------------

    def link(self, system: str, entity_type: str, external_id: str, entity: str) -> Receipt | None:
        """Says what another system calls a thing; None where that is known."""
        key = parse_entity(entity)
        if self.linked(system, entity_type, external_id) == entity:
            return None
        for what, said in (("system", system), ("entity_type", entity_type), ("external_id", external_id)):
            if not said or len(said) > names.SHORT_TEXT_MAX:
                raise InvalidInput(f"crm_links.{what} is from 1 to {names.SHORT_TEXT_MAX} characters")
        return self._keep(names.LINKED, bodies.Linked(system, entity_type, external_id, key))

    def linked(self, system: str, entity_type: str, external_id: str) -> str | None:
        """The thing that another system calls so, None when it is not known."""
        row = self._table(names.LINKS).get(parse_id(self._recorder.id), system, entity_type, external_id)
        return None if row is None else entity_text(row["entity_id"])

    def links(self, entity: str) -> Sequence[Mapping[str, Any]]:
        """What other systems call a thing."""
        return self._select(names.LINKS, agent_id=parse_id(self._recorder.id), entity_id=parse_entity(entity))

    def delivered(self, system: str, key: str) -> bytes | None:
        """What the message of another system that was taken under a key is known by, empty where that was not noted;
        None where none was taken.
        """
        row = self._table(names.DELIVERIES).get(parse_id(self._recorder.id), system, key)
        return None if row is None else row["digest"] or b""

    def deliver(self, system: str, key: str, digest: bytes | None = None) -> Receipt:
        """Notes that a message of another system has been taken, and by what it is known again."""
        return self._keep(names.DELIVERED, bodies.Delivered(system, key, digest))

    def sent_upto(self, system: str) -> int:
        """The last event of this log that another system was told of, -1 when none was."""
        row = self._table(names.SYSTEMS).get(parse_id(self._recorder.id), system)
        return -1 if row is None else int(row["sent_upto"])

    def note_sent(self, system: str, upto: int) -> Receipt:
        """Notes that another system was told of all events of this log up to one."""
        return self._keep(names.SENT, bodies.Sent(system, upto))
