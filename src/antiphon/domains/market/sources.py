"""Room `domains` (imports `views` and below): the tables of where things come from: publications, feeds, CRM systems.

Publications are for everybody. The rest is the agent's own and private: which feeds it reads, what other systems call
its things, how far they have been told.
"""

from __future__ import annotations

from typing import Final

from antiphon.domains.market import names
from antiphon.domains.market.parties import LIST, NAME
from antiphon.model.places import DAY_MS, ENGLISH, Places, Relational, Search
from antiphon.model.table import ANYONE, READ_ALL, Check, Column, FullText, Index, Retention, Table, Type

_LONG: Final = Check(length_max=names.LONG_TEXT_MAX)
_URL: Final = Check(length_max=names.URL_CHARS_MAX)

PUBLICATIONS_TABLE: Final = Table(
    names.PUBLICATIONS,
    key="id",
    minted=False,
    columns=(
        Column("id", Type.ID, nullable=False, doc="a hash of the agent, the feed, and what it calls it"),
        Column("agent_id", Type.AGENT, nullable=False),
        Column("feed", Type.TEXT, nullable=False, check=_URL),
        Column("link", Type.TEXT, check=_URL),
        Column("title", Type.TEXT, nullable=False, check=_LONG),
        Column("summary", Type.TEXT, check=_LONG),
        Column("published_at", Type.TIMESTAMP, nullable=False),
        Column("categories", Type.SET, of=Type.TEXT, default=[], check=LIST),
        Column("mentions", Type.SET, of=Type.ID, default=[], check=LIST, references="food_companies.id"),
    ),
    indexes=(Index(("published_at",), descending=True), Index(("agent_id", "feed"))),
    fulltext=FullText("title", time="published_at", tags="summary"),
    writers=ANYONE,
    shared=True,
    access=READ_ALL,
    places=Places(
        relational=Relational(hash=("id",), partitions=16),
        search=Search(analyzers=(("title", ENGLISH), ("summary", ENGLISH))),
    ),
    doc="What was published, as feeds tell it. Its id is of its reader, so nobody writes another's.",
)

FEEDS_TABLE: Final = Table(
    names.FEEDS,
    key=("agent_id", "url"),
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("url", Type.TEXT, nullable=False, check=_URL),
        Column("title", Type.TEXT, check=_LONG),
        Column("etag", Type.TEXT, check=NAME),
        Column("last_modified", Type.TEXT, check=NAME),
        Column("read_at", Type.TIMESTAMP, doc="when it last had something new"),
    ),
    doc="Feeds, and what their servers want to be asked with.",
)

LINKS_TABLE: Final = Table(
    names.LINKS,
    key=("agent_id", "system", "entity_type", "external_id"),
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("system", Type.TEXT, nullable=False, check=NAME),
        Column("entity_type", Type.TEXT, nullable=False, check=NAME),
        Column("external_id", Type.TEXT, nullable=False, check=NAME),
        Column("entity_id", Type.ID, nullable=False),
        Column("linked_at", Type.TIMESTAMP),
    ),
    indexes=(Index(("agent_id", "entity_id")),),
    doc="What other systems call an agent's things.",
)

DELIVERIES_TABLE: Final = Table(
    names.DELIVERIES,
    key=("agent_id", "system", "delivery_key"),
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("system", Type.TEXT, nullable=False, check=NAME),
        Column("delivery_key", Type.TEXT, nullable=False, check=NAME),
        Column("received_at", Type.TIMESTAMP, nullable=False),
        Column("digest", Type.BYTES, check=Check(length_max=32), doc="what the message is known by, under its secret"),
    ),
    retention=Retention("received_at", 7 * DAY_MS),
    doc="Messages of other systems that have been taken, so that none is taken twice.",
)

SYSTEMS_TABLE: Final = Table(
    names.SYSTEMS,
    key=("agent_id", "system"),
    columns=(
        Column("agent_id", Type.AGENT, nullable=False),
        Column("system", Type.TEXT, nullable=False, check=NAME),
        Column("sent_upto", Type.INTEGER, nullable=False, default=-1, doc="the last event of the log that it has"),
        Column("sent_at", Type.TIMESTAMP),
    ),
    doc="How far other systems have been told of an agent's changes.",
)
