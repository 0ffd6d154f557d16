"""Room `domains` (imports `views` and below): how a home answers what is asked of its book and about its deals.

prospecting ◀─▶ qualification ◀─▶ proposal ◀─▶ negotiation ──▶ closed_won, closed_lost ──▶ (opened again)

Open deals go to any stage, forwards and back; whoever owns one, or made it, closes it and opens it again; those who
support it move it while it is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from antiphon.domains.deciders import Refused, decider
from antiphon.domains.market import bodies, fields, keys, names
from antiphon.domains.market.formulas import velocity
from antiphon.model.errors import InvalidInput
from antiphon.model.event import Event
from antiphon.model.text import entity_text
from antiphon.views.domain import Decision, Rows, time_of


def _check_contributor(rows: Rows, event: Event, home: bytes) -> None:
    if event.log == home or rows.select(names.CONTRIBUTORS, book=home, agent_id=event.author):
        return
    raise Refused(f"{event.kind}: this agent is not among those that the book's agent has admitted")


def _at(event: Event, at: int) -> int:
    """Since when a value is so; what claims to be from later than its event would win for ever."""
    return min(at, time_of(event))


@decider(InvalidInput)
def put_company(rows: Rows, event: Event, body: bodies.Put) -> Decision:
    """What is news of it goes into the book."""
    _check_contributor(rows, event, body.home)
    given = fields.checked(names.COMPANIES, body.fields)
    row = fields.find_company(rows.select, body.home, given)
    made = keys.company_id(body.home, fields.company_key(given)) if row is None else row["id"]
    key = fields.company_key(given) if row is None else ""
    _check_entity(event, made)
    news = _news(names.COMPANIES, row, given, event, body)
    recorded = bodies.Recorded(body.home, key, news.changes, news.times, None, body.origin)
    return Decision(names.COMPANY_RECORDED, recorded, derived=True)


@decider(InvalidInput)
def put_product(rows: Rows, event: Event, body: bodies.Put) -> Decision:
    """What is news of it goes into the book."""
    _check_contributor(rows, event, body.home)
    given = fields.checked(names.PRODUCTS, body.fields)
    key = keys.product_key(given.get("name"))
    made = keys.product_id(body.home, body.company, key)
    _check_entity(event, made)
    news = _news(names.PRODUCTS, rows.row(names.PRODUCTS, made), given, event, body)
    recorded = bodies.Recorded(body.home, key, news.changes, news.times, body.company, body.origin)
    return Decision(names.PRODUCT_RECORDED, recorded, derived=True)


@decider(InvalidInput)
def enrich(rows: Rows, event: Event, body: bodies.Enrich) -> Decision:
    """What is news of a person goes into the book; who it is does not."""
    _check_contributor(rows, event, body.home)
    row = None if event.entity is None else rows.row(names.PERSONAS, event.entity)
    if row is None or row["home"] != body.home:
        raise Refused(f"{event.kind}: there is no such person in this book")
    given = fields.checked(names.PERSONAS, body.fields, only=fields.ENRICHMENT)
    news = _news(names.PERSONAS, row, given, event, body)
    return Decision(names.PERSONA_ENRICHED, bodies.Enriched(news.changes, news.times, body.origin), derived=True)


def _check_entity(event: Event, made: bytes) -> None:
    if event.entity != made:
        raise Refused(f"{event.kind}: the book knows this as {entity_text(made)}: ask again once that is here")


def _news(
    table: str, row: Mapping[str, Any] | None, given: dict[str, Any], event: Event, body: bodies.Put | bodies.Enrich
) -> fields.Taken:
    since = {name: _at(event, at) for name, at in body.since.items()}
    found = fields.taken(table, row, given, _at(event, body.at), since)
    if not found.is_news:
        raise Refused(f"{table}: nothing of this is news to the book")
    return found


# -- deals -------------------------------------------------------------------------------------------------------------


def _deal(rows: Rows, event: Event, home: bytes) -> Mapping[str, Any]:
    row = None if event.entity is None else rows.row(names.OPPORTUNITIES, event.entity)
    if row is None:
        raise Refused(f"{event.kind}: there is no such opportunity here")
    if row["home"] != home:
        raise Refused(f"{event.kind}: the opportunity {entity_text(row['id'])} names another home")
    return row


def _is_owner(row: Mapping[str, Any], event: Event) -> bool:
    return event.author in (row["created_by"], row["owner_agent"])


@decider()
def move(rows: Rows, event: Event, body: bodies.Move) -> Decision:
    """The deal is in another stage; won, it counts for its periods; opened again, it does not any more."""
    row = _deal(rows, event, body.home)
    name, was = entity_text(row["id"]), row["stage"]
    if body.stage not in names.STAGES:
        raise Refused(f"opportunities.stage is one of {', '.join(names.STAGES)}, not {body.stage!r:.60}")
    if body.stage == was:
        raise Refused(f"the opportunity {name} is in {was} already")
    between_open = body.stage in names.OPEN and was in names.OPEN
    if not _is_owner(row, event) and not (between_open and event.author in (row["support_agents"] or ())):
        raise Refused(f"the opportunity {name} is moved to {body.stage} by the agent that owns or made it")
    if body.stage not in names.OPEN and was not in names.OPEN:
        raise Refused(f"the opportunity {name} is in {was}: open it again first")
    before = max(row["stage_since"] or 0, row["created_at"])
    since = max(time_of(event), before) if body.at is None else _at(event, body.at)
    if since < before:
        raise Refused(f"the opportunity {name} was moved to {was} later than that")
    on = _closing_day(body, since)
    won = body.stage == names.WON
    passed = _position(was) if body.stage == names.LOST else _position(body.stage)
    moved = bodies.Moved(
        body.stage, since, velocity(passed, since - row["created_at"]), on, row["value"] if won else None,
        row["closed_on"] if was == names.WON else None, body.origin,
    )  # fmt: skip
    return Decision(names.MOVED, moved)


def _closing_day(body: bodies.Move, since: int) -> date | None:
    if body.stage in names.OPEN:
        if body.on is not None:
            raise Refused("opportunities.closed_on: only what is closed has a day when it was")
        return None
    today = datetime.fromtimestamp(since / 1000, UTC).date()
    if body.on is not None and body.on > today:
        raise Refused(f"opportunities.closed_on: {body.on} has not come yet")
    return body.on or today


def _position(stage: str) -> int:
    return len(names.OPEN) if stage in (names.WON, names.LOST) else names.OPEN.index(stage)


@decider()
def assign(rows: Rows, event: Event, body: bodies.Assign) -> Decision:
    """The deal is another agent's, and others help it."""
    row = _deal(rows, event, body.home)
    if not _is_owner(row, event):
        raise Refused(f"the opportunity {entity_text(row['id'])} is given away by the agent that owns or made it")
    return Decision(names.ASSIGNED, bodies.Assigned(body.owner, sorted({*body.support} - {body.owner})))
