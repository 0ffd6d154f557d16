"""Room `domains` (imports `views` and below): the bodies of the events of the market.

What is recorded of persons, companies, products and deals are `fields`, by the names of their columns: the tables say
which values fit, for commands, imports and folds alike. `times` say since when each field has its value, at its
source. Requests name the home that they ask. *Units*: times are ms since 1970; `origin` is the system it came from.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec


class Put(msgspec.Struct, omit_defaults=True):
    """Asks a book to take what is known of a company or a product, as of a time; `since` has fields' own times."""

    home: bytes
    fields: dict[str, Any]
    at: int
    since: dict[str, int] = {}
    company: bytes | None = None
    origin: str | None = None


class Recorded(msgspec.Struct, omit_defaults=True):
    """What a book has taken of a company or a product. `key` is what its id is made of, beside the home."""

    home: bytes
    key: str
    fields: dict[str, Any]
    times: dict[str, int]
    company: bytes | None = None
    origin: str | None = None


class PersonaRecorded(msgspec.Struct, omit_defaults=True):
    """Who somebody is: what names a person stands here alone."""

    fields: dict[str, Any]
    times: dict[str, int]
    fingerprint: str | None = None
    origin: str | None = None


class Enrich(msgspec.Struct, omit_defaults=True):
    """Asks a book to take what is known of a person, but who it is; times as in `Put`."""

    home: bytes
    fields: dict[str, Any]
    at: int
    since: dict[str, int] = {}
    origin: str | None = None


class Enriched(msgspec.Struct, omit_defaults=True):
    """What a book has taken of a person."""

    fields: dict[str, Any]
    times: dict[str, int]
    origin: str | None = None


class Removed(msgspec.Struct):
    """The row is taken away by the agent that made it."""


class Met(msgspec.Struct, omit_defaults=True):
    """The agent had to do with a person; `success` says whether it went well, where that can be said."""

    persona: bytes
    success: bool | None = None
    channel: str | None = None


class Created(msgspec.Struct, omit_defaults=True):
    """A deal to be. `home` decides its stages, the author's own log when absent."""

    fields: dict[str, Any]
    times: dict[str, int]
    home: bytes | None = None
    origin: str | None = None


class Changed(msgspec.Struct, omit_defaults=True):
    """New values for some of a deal's fields, by its author."""

    fields: dict[str, Any]
    times: dict[str, int]
    origin: str | None = None


class Move(msgspec.Struct, omit_defaults=True):
    """Asks for another stage; `on` is the day when it was closed, today when absent; `at` since when it is so."""

    home: bytes
    stage: str
    on: date | None = None
    at: int | None = None
    origin: str | None = None


class Moved(msgspec.Struct, omit_defaults=True):
    """The deal's stage. `amount` is what was won; `undone` the day for which a win does not count any more."""

    stage: str
    since: int
    velocity: Decimal | None = None
    on: date | None = None
    amount: Decimal | None = None
    undone: date | None = None
    origin: str | None = None


class Assign(msgspec.Struct, omit_defaults=True):
    """Asks that a deal be another agent's, helped by others."""

    home: bytes
    owner: bytes
    support: list[bytes] = []


class Assigned(msgspec.Struct, omit_defaults=True):
    """Whose the deal is."""

    owner: bytes
    support: list[bytes] = []


class ForecastMade(msgspec.Struct, omit_defaults=True):
    """What an agent expects of a period; in place of what it expected before."""

    period_start: date
    period_end: date
    base_case: Decimal | None = None
    best_case: Decimal | None = None
    worst_case: Decimal | None = None
    ml_prediction: Decimal | None = None
    confidence_interval: dict[str, Any] | None = None
    model_accuracy: Decimal | None = None


class Valued(msgspec.Struct):
    """What a task has brought from a company, as the author sees it; in place of its word before."""

    task: bytes
    company: bytes
    amount: Decimal


class Unvalued(msgspec.Struct):
    """The author takes its word back."""

    task: bytes
    company: bytes


class Contributor(msgspec.Struct):
    """An agent that may add to the author's book, or may not any more."""

    agent: bytes


class Published(msgspec.Struct, omit_defaults=True):
    """Something that was published, as a feed tells it. `key` is what the feed calls it, else its link."""

    key: str
    feed: str
    title: str
    link: str | None = None
    summary: str | None = None
    published_at: int | None = None
    categories: list[str] = []
    mentions: list[bytes] = []


class FeedRead(msgspec.Struct, omit_defaults=True):
    """What a feed's server said, to be asked next time whether anything is new."""

    url: str
    title: str | None = None
    etag: str | None = None
    last_modified: str | None = None


class Linked(msgspec.Struct):
    """What another system calls a thing."""

    system: str
    entity_type: str
    external_id: str
    entity: bytes


class Delivered(msgspec.Struct, omit_defaults=True):
    """A message of another system has been taken; a second one with this key and digest is the same."""

    system: str
    key: str
    digest: bytes | None = None


class Sent(msgspec.Struct):
    """All that the author's log says up to this event has been told to another system."""

    system: str
    upto: int
