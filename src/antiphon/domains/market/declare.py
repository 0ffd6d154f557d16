"""Room `domains` (imports `views` and below): the market's kinds and folds, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from typing import Any, Final

from antiphon.domains import audience
from antiphon.domains.market import bodies, decide, fields, keys, names, parties, pipeline, sources
from antiphon.model.errors import InvalidInput
from antiphon.model.event import Event
from antiphon.model.places import DAY_MS
from antiphon.model.table import Table
from antiphon.model.values import from_days
from antiphon.views.domain import AssertRow, DeleteRow, Domain, Kind, Op, Write, time_of, write


def _is_its(event: Event, made: bytes) -> None:
    """Raises InvalidInput where an event's entity is not what its body makes."""
    if event.entity != made:
        raise InvalidInput(f"{event.kind}: its entity is not the id that its body makes")


def _said(event: Event, table: Table, said: dict[str, Any], times: dict[str, int]) -> dict[str, Any]:
    """What an event says of a row, with what follows from it."""
    values = {**said, "field_times": times, "updated_at": time_of(event)}
    if isinstance(said.get("name"), str) and "name_key" in table.by_name:
        values["name_key"] = keys.company_key(said["name"])
    if "website" in said and "site_key" in table.by_name:
        site = said["website"]
        values["site_key"] = keys.site_key(site) if isinstance(site, str) and site else None
    return values


def _company(event: Event, body: bodies.Recorded) -> Iterable[Write]:
    """The row in the book that the id contains. Only a first event has the key; it makes the row."""
    said = fields.only(names.COMPANIES, body.fields)
    values = _said(event, parties.COMPANIES_TABLE, said, body.times)
    return _of_book(event, parties.COMPANIES_TABLE, body, values, keys.company_id(body.home, body.key))


def _product(event: Event, body: bodies.Recorded) -> Iterable[Write]:
    said = fields.only(names.PRODUCTS, body.fields)
    values = _said(event, parties.PRODUCTS_TABLE, said, body.times)
    if body.company is not None:
        values["company_id"] = body.company
    return _of_book(event, parties.PRODUCTS_TABLE, body, values, keys.product_id(body.home, body.company, body.key))


def _of_book(event: Event, table: Table, body: bodies.Recorded, values: dict[str, Any], made: bytes) -> Iterable[Write]:
    if event.entity is None:
        return
    if "name" not in values or not body.key:
        yield Write(table.name, event.entity, Op.UPDATE, values)
        return
    _is_its(event, made)
    yield write(table, Op.ASSERT, {**values, "id": made, "home": body.home, "created_at": time_of(event)})


def _persona(event: Event, body: bodies.PersonaRecorded) -> Iterable[Write]:
    """The row of the person, in the book of the log; or new values of what names it."""
    if event.entity is None:
        return
    said = fields.only(names.PERSONAS, body.fields, fields.IDENTITY)
    fields.check_identity(said)
    values = _said(event, parties.PERSONAS_TABLE, said, body.times)
    if body.fingerprint is None:
        yield Write(names.PERSONAS, event.entity, Op.UPDATE, values)
        return
    values |= {"id": event.entity, "fingerprint": body.fingerprint, "home": event.log, "created_at": time_of(event)}
    values |= audience.said_by(event)
    yield write(parties.PERSONAS_TABLE, Op.ASSERT, values)


def _enriched(event: Event, body: bodies.Enriched) -> Iterable[Write]:
    if event.entity is not None:
        said = fields.only(names.PERSONAS, body.fields, fields.ENRICHMENT)
        yield Write(names.PERSONAS, event.entity, Op.UPDATE, _said(event, parties.PERSONAS_TABLE, said, body.times))


def _created(event: Event, body: bodies.Created) -> Iterable[Write]:
    """The row of a deal, decided by its author's log where the body names no other."""
    said = fields.only(names.OPPORTUNITIES, body.fields)
    values = _said(event, pipeline.OPPORTUNITIES_TABLE, said, body.times)
    now = time_of(event)
    values.setdefault("created_date", from_days(now // DAY_MS))
    values |= {"id": event.entity, "created_by": event.author, "created_at": now, "home": body.home or event.log}
    if values["home"] == event.log:
        values |= {"owner_agent": event.author, "stage_since": now}
    yield write(pipeline.OPPORTUNITIES_TABLE, Op.ASSERT, values)


def _changed(event: Event, body: bodies.Changed) -> Iterable[Write]:
    if event.entity is not None:
        said = fields.only(names.OPPORTUNITIES, body.fields)
        values = _said(event, pipeline.OPPORTUNITIES_TABLE, said, body.times)
        yield Write(names.OPPORTUNITIES, event.entity, Op.UPDATE, values)


def _moved(event: Event, body: bodies.Moved) -> Iterable[Write]:
    """The stage; and the periods in which a win counts, or does not any more."""
    if event.entity is None:
        return
    yield Write(
        names.OPPORTUNITIES,
        event.entity,
        Op.UPDATE,
        {"stage": body.stage, "stage_since": body.since, "velocity_score": body.velocity, "closed_on": body.on},
    )
    for start, end in keys.periods_of(body.undone) if body.undone is not None else ():
        yield Write(names.ACTUALS, write(pipeline.ACTUALS_TABLE, Op.DELETE, _counted(event, start, end)).key, Op.DELETE)
    if body.amount is None or body.on is None:
        return
    for start, end in keys.periods_of(body.on):
        won = {"amount": body.amount, "closed_on": body.on}
        yield write(pipeline.ACTUALS_TABLE, Op.ASSERT, {**_counted(event, start, end), **won})


def _counted(event: Event, start: date, end: date) -> dict[str, Any]:
    """The key of what says that a deal counts in a period of the author's."""
    made = keys.forecast_id(event.author, start, end)
    return {"forecast_id": made, "decided_by": event.author, "opportunity_id": event.entity}


def _assigned(event: Event, body: bodies.Assigned) -> Iterable[Write]:
    if event.entity is not None:
        values = {"owner_agent": body.owner, "support_agents": body.support}
        yield Write(names.OPPORTUNITIES, event.entity, Op.UPDATE, values)


def _valued(event: Event, body: bodies.Valued) -> Iterable[Write]:
    """The author's word, and the task's and the company's row that counts all of them."""
    of = {"task_id": body.task, "company_id": body.company}
    said = {**of, "agent_id": event.author, "amount": body.amount, "said": 1, "said_at": time_of(event)}
    yield write(pipeline.VALUES_TABLE, Op.ASSERT, said)
    yield write(pipeline.GENERATED_TABLE, Op.ASSERT, of)


def _forecast(event: Event, body: bodies.ForecastMade) -> Iterable[Write]:
    """The author's forecast for the period; what is no period is refused, since no deal could be counted in it."""
    keys.check_period(body.period_start, body.period_end)
    made = keys.forecast_id(event.author, body.period_start, body.period_end)
    _is_its(event, made)
    values = {name: getattr(body, name) for name in bodies.ForecastMade.__struct_fields__}
    values |= {"id": made, "agent_id": event.author, "created_at": time_of(event)}
    yield write(pipeline.FORECASTS_TABLE, Op.ASSERT, values)


def _published(event: Event, body: bodies.Published) -> Iterable[Write]:
    """The author's copy of what was published."""
    made = keys.publication_id(event.author, body.feed, body.key)
    _is_its(event, made)
    yield write(
        sources.PUBLICATIONS_TABLE,
        Op.ASSERT,
        {
            "id": made, "agent_id": event.author, "feed": body.feed, "link": body.link, "title": body.title,
            "summary": body.summary, "published_at": body.published_at or time_of(event),
            "categories": body.categories, "mentions": body.mentions,
        },
    )  # fmt: skip


_FOLDS: Final[dict[str, tuple[type, tuple[Callable[..., Any], ...]]]] = {
    names.PERSONA_RECORDED: (bodies.PersonaRecorded, (_persona,)),
    names.PERSONA_ENRICH: (bodies.Enrich, ()),
    names.PERSONA_ENRICHED: (bodies.Enriched, (_enriched,)),
    names.PERSONA_REMOVED: (bodies.Removed, (DeleteRow(parties.PERSONAS_TABLE),)),
    names.PERSONA_MET: (bodies.Met, (AssertRow(parties.INTERACTIONS_TABLE, persona_id="persona", agent_id="@author",
                                               time="@time", success="success", channel="channel"),)),
    names.COMPANY_PUT: (bodies.Put, ()), names.PRODUCT_PUT: (bodies.Put, ()),
    names.COMPANY_RECORDED: (bodies.Recorded, (_company,)),
    names.PRODUCT_RECORDED: (bodies.Recorded, (_product,)),
    names.CREATED: (bodies.Created, (_created,)),
    names.CHANGED: (bodies.Changed, (_changed,)),
    names.RETIRED: (bodies.Removed, (DeleteRow(pipeline.OPPORTUNITIES_TABLE),)),
    names.MOVE: (bodies.Move, ()), names.ASSIGN: (bodies.Assign, ()),
    names.MOVED: (bodies.Moved, (_moved,)),
    names.ASSIGNED: (bodies.Assigned, (_assigned,)),
    names.FORECAST: (bodies.ForecastMade, (_forecast,)),
    names.VALUED: (bodies.Valued, (_valued,)),
    names.UNVALUED: (bodies.Unvalued, (DeleteRow(pipeline.VALUES_TABLE, {"task_id": "task", "company_id": "company",
                                                                         "agent_id": "@author"}),)),
    names.ADMITTED: (bodies.Contributor, (AssertRow(parties.CONTRIBUTORS_TABLE, admitted_by="@author",
                                                    agent_id="agent", book="@log", admitted_at="@time"),)),
    names.DISMISSED: (bodies.Contributor, (DeleteRow(parties.CONTRIBUTORS_TABLE, {"admitted_by": "@author",
                                                                                  "agent_id": "agent"}),)),
    names.PUBLISHED: (bodies.Published, (_published,)),
    names.FEED_READ: (bodies.FeedRead, (AssertRow(sources.FEEDS_TABLE, agent_id="@author", url="url", title="title",
                                                  etag="etag", last_modified="last_modified", read_at="@time"),)),
    names.LINKED: (bodies.Linked, (AssertRow(sources.LINKS_TABLE, agent_id="@author", system="system",
                                             entity_type="entity_type", external_id="external_id",
                                             entity_id="entity", linked_at="@time"),)),
    names.DELIVERED: (bodies.Delivered, (AssertRow(sources.DELIVERIES_TABLE, agent_id="@author", system="system",
                                                   delivery_key="key", received_at="@time",
                                                   digest="digest"),)),
    names.SENT: (bodies.Sent, (AssertRow(sources.SYSTEMS_TABLE, agent_id="@author", system="system",
                                         sent_upto="upto", sent_at="@time"),)),
}  # fmt: skip

MARKET: Final = Domain(
    "market",
    kinds=tuple(Kind(name, body) for name, (body, _) in _FOLDS.items()),
    tables=(
        parties.PERSONAS_TABLE, parties.COMPANIES_TABLE, parties.PRODUCTS_TABLE, pipeline.OPPORTUNITIES_TABLE,
        pipeline.FORECASTS_TABLE, pipeline.ACTUALS_TABLE, pipeline.VALUES_TABLE, pipeline.GENERATED_TABLE,
        parties.INTERACTIONS_TABLE, parties.CONTRIBUTORS_TABLE,
        sources.PUBLICATIONS_TABLE, sources.FEEDS_TABLE, sources.LINKS_TABLE, sources.DELIVERIES_TABLE,
        sources.SYSTEMS_TABLE,
    ),
    folds={name: folds for name, (_, folds) in _FOLDS.items()},
    deciders={
        names.PERSONA_ENRICH: decide.enrich, names.COMPANY_PUT: decide.put_company,
        names.PRODUCT_PUT: decide.put_product, names.MOVE: decide.move, names.ASSIGN: decide.assign,
    },
)  # fmt: skip
