"""Room `domains` (imports `views` and below): the commands of a book: what is known of people, companies, products.

What is known already is not recorded again, so a file can be imported, or a message come, any number of times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, Final, Self

import msgspec

from antiphon.domains.audience import EVERYBODY, Audience, of_agent, of_circle, of_row
from antiphon.domains.market import bodies, fields, keys, names
from antiphon.domains.network.formulas import trust as beta
from antiphon.model import times
from antiphon.model.errors import Conflict, InvalidInput, NotFound
from antiphon.model.event import Scope
from antiphon.model.places import DAY_MS
from antiphon.model.text import entity_text, id_text, parse_entity, parse_id
from antiphon.model.times import Time
from antiphon.views.commands import Receipt, Recorder, TableRows

MILLION: Final = 1_000_000


Since = Mapping[str, Time] | None
"""Since when each of some fields has its value, where that is not the record's own time."""


class Put(msgspec.Struct, frozen=True):
    """What became of a record: `added`, `changed`, `same`, or `asked` of a book that is elsewhere.

    `entity` is the row's id as text; `fields` changed, `stale` are older than what is known; `event` says the rest.
    """

    entity: str
    what: str
    fields: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    event: str | None = None


def became(row: Mapping[str, Any] | None, news: fields.Taken) -> str:
    """What became of a record that was recorded."""
    return "added" if row is None else "changed" if news.changes else "same"


class Book:
    """A book of the market, as one agent uses it: its own, or (`book`, a log's id as text) one that it may add to.

    With `circle` (16 bytes) all is for that circle; else it is public, but for people, who are for this agent alone
    (with `publish_people` for everybody too). For whom a person is, is said once: what is said afterwards is too.
    """

    def __init__(
        self, recorder: Recorder, *, book: str | None = None, circle: bytes | None = None, publish_people: bool = False
    ) -> None:
        self._recorder = recorder
        self._book = None if book is None else parse_id(book)
        if circle is not None and book is not None:
            raise InvalidInput("market: what is asked of another book is public: leave `circle` out")
        if circle is not None and publish_people:
            raise InvalidInput("market: people are for a circle, or for everybody: choose one")
        self._for = EVERYBODY if circle is None else of_circle(circle)
        self._people = self._for if publish_people or circle is not None else of_agent(parse_id(recorder.id))

    @property
    def home(self) -> bytes:
        """The log that keeps the book."""
        return self._recorder.log_id if self._book is None else self._book

    def recording_by(self, recorder: Recorder) -> Self:
        """The same book, recorded by another recorder of the same agent."""
        made = copy(self)
        made._recorder = recorder
        return made

    @property
    def recorder(self) -> Recorder:
        """Whoever records."""
        return self._recorder

    # -- companies and products --------------------------------------------------------------------------------------

    def company(
        self,
        name: str | None = None,
        *,
        at: Time | None = None,
        since: Since = None,
        origin: str | None = None,
        **given: Any,
    ) -> Put:
        """What is known of a company, since a time (now): found by its site, else by its name."""
        found = fields.checked(names.COMPANIES, given if name is None else {"name": name, **given})
        row = fields.find_company(self._select, self.home, found)
        key = fields.company_key(found) if row is None else ""
        entity = keys.company_id(self.home, key) if row is None else row["id"]
        return self._put(names.COMPANIES, row, entity, found, key, at=at, since=since, origin=origin)

    def product(
        self,
        name: str,
        *,
        company: str | None = None,
        at: Time | None = None,
        since: Since = None,
        origin: str | None = None,
        **given: Any,
    ) -> Put:
        """What is known of a product of a company (its id), since a time (now): found by both."""
        found = fields.checked(names.PRODUCTS, {"name": name, **given})
        made_by = found.pop("company_id", None) if company is None else parse_entity(company)
        key = keys.product_key(found["name"])
        entity = keys.product_id(self.home, made_by, key)
        row = self._table(names.PRODUCTS).get(entity)
        return self._put(names.PRODUCTS, row, entity, found, key, company=made_by, at=at, since=since, origin=origin)

    def _put(
        self,
        table: str,
        row: Mapping[str, Any] | None,
        entity: bytes,
        found: dict[str, Any],
        key: str,
        *,
        at: Time | None,
        since: Since,
        origin: str | None,
        company: bytes | None = None,
    ) -> Put:
        when, fields_since = self._when(at), self._since(since)
        news = fields.taken(table, row, found, when, fields_since, now=at is None)
        text = entity_text(entity)
        if not news.is_news:
            return Put(text, "same", (), news.stale)
        put, recorded = {
            names.COMPANIES: (names.COMPANY_PUT, names.COMPANY_RECORDED),
            names.PRODUCTS: (names.PRODUCT_PUT, names.PRODUCT_RECORDED),
        }[table]
        if self._book is not None:
            answer = self._recorder.request(
                put, bodies.Put(self.home, found, when, fields_since, company, origin), home=self.home, entity=text
            )
            return Put(text, "asked", tuple(news.changes), news.stale, answer.event)
        body = bodies.Recorded(self.home, "" if row is not None else key, news.changes, news.times, company, origin)
        made = self._record(recorded, body, entity=text)
        return Put(text, became(row, news), tuple(news.changes), news.stale, made.event)

    def revise(
        self, entity: str, *, at: Time | None = None, since: Since = None, origin: str | None = None, **given: Any
    ) -> Put:
        """New values, since a time (now), of a company, product or person of this book that is known by its id."""
        key = parse_entity(entity)
        for table in (names.COMPANIES, names.PRODUCTS):
            row = self._table(table).get(key)
            if row is not None:
                self._check_here(row["home"])
                found = fields.checked(table, given)
                return self._put(
                    table, row, key, found, "", company=row.get("company_id"), at=at, since=since, origin=origin
                )
        row = self._persona(entity)
        self._check_here(row["home"])
        found = fields.checked(names.PERSONAS, given)
        return self._put_persona(row, found, "", at=at, since=since, origin=origin)

    # -- people ------------------------------------------------------------------------------------------------------

    def persona(
        self, name: str, *, at: Time | None = None, since: Since = None, origin: str | None = None, **given: Any
    ) -> Put:
        """What is known of a person, since a time (now): found by the address, else by name and company.

        A person is added to one's own book alone; of one in another's book, `enrich` says what is known. Forgetting by
        name takes what was said under that name; `forget(entity=…)` takes all that says who the person is.
        """
        if self._book is not None:
            raise InvalidInput("personas: people are added to an agent's own book; `enrich` those in another's")
        found = fields.checked(names.PERSONAS, {"name": name, **given})
        if found.get("company") and "company_id" not in found:
            at_company = self._known_company(found["company"])
            if at_company is not None:
                found["company_id"] = at_company
        row, mark = self._find_persona(found)
        return self._put_persona(row, found, mark, at=at, since=since, origin=origin)

    def _put_persona(
        self,
        row: Mapping[str, Any] | None,
        found: dict[str, Any],
        mark: str,
        *,
        at: Time | None,
        since: Since,
        origin: str | None,
    ) -> Put:
        news = fields.taken(names.PERSONAS, row, found, self._when(at), self._since(since), now=at is None)
        if not news.is_news:
            assert row is not None  # a new person has a name
            return Put(entity_text(row["id"]), "same", (), news.stale)
        who = {field: value for field, value in news.changes.items() if field in fields.IDENTITY}
        rest = {field: value for field, value in news.changes.items() if field not in fields.IDENTITY}
        entity, event = None if row is None else entity_text(row["id"]), None
        about = sorted({*filter(None, (found.get("name"),)), *(() if row is None else (row["name"],))})
        whose = self._people if row is None else of_row(row)
        with self._recorder.together():
            if who:
                person = bodies.PersonaRecorded(who, news.times, mark if row is None else None, origin)
                made = self._record(names.PERSONA_RECORDED, person, whose, entity=entity, about=about)
                entity, event = made.entity, made.event
            if rest or not who:
                enriched = bodies.Enriched(rest, news.times, origin)
                event = self._record(names.PERSONA_ENRICHED, enriched, whose, entity=entity, about=about).event
        assert entity is not None
        return Put(entity, became(row, news), tuple(news.changes), news.stale, event)

    def enrich(
        self, persona: str, *, at: Time | None = None, since: Since = None, origin: str | None = None, **given: Any
    ) -> Put:
        """What is known of a person in the book, since a time (now), but who it is."""
        found = fields.checked(names.PERSONAS, given, only=fields.ENRICHMENT)
        row, when, fields_since = self._persona(persona), self._when(at), self._since(since)
        news = fields.taken(names.PERSONAS, row, found, when, fields_since, now=at is None)
        if not news.is_news:
            return Put(persona, "same", (), news.stale)
        if row["home"] != self._recorder.log_id:
            asked = bodies.Enrich(row["home"], found, when, fields_since, origin)
            answer = self._recorder.request(
                names.PERSONA_ENRICH, asked, home=row["home"], entity=persona, **of_row(row).how
            )
            return Put(persona, "asked", tuple(news.changes), news.stale, answer.event)
        body = bodies.Enriched(news.changes, news.times, origin)
        made = self._record(names.PERSONA_ENRICHED, body, of_row(row), entity=persona, about=[row["name"]])
        return Put(persona, became(row, news), tuple(news.changes), news.stale, made.event)

    def remove(self, persona: str) -> Receipt:
        """Takes a person out of the agent's own book; what was recorded stays until it is forgotten."""
        row = self._persona(persona)
        if row["home"] != self._recorder.log_id:
            raise InvalidInput(f"personas: {persona} is in another agent's book: only that agent takes it out")
        return self._record(names.PERSONA_REMOVED, bodies.Removed(), of_row(row), entity=persona, about=[row["name"]])

    def meet(
        self, persona: str, *, success: bool | None = None, channel: str | None = None, occurred: Time | None = None
    ) -> Receipt:
        """The agent had to do with a person, and it went well or not."""
        row = self._persona(persona)
        if success is not None and type(success) is not bool:
            raise InvalidInput(f"persona_interactions.success is true or false, not {success!r:.60}")
        body = bodies.Met(row["id"], success, channel)
        return self._record(names.PERSONA_MET, body, of_row(row), occurred=occurred, about=[row["name"]])

    def trust(self, persona: str, *, as_of: Time | None = None) -> float:
        """What to expect of a person from how it went so far, each time halved every 30 days; 0.5 where nothing is
        known. *Units*: in [0, 1].
        """
        now = self._when(as_of)
        days: dict[int, list[int]] = {}
        for row in self._table(names.INTERACTIONS).every({"persona_id": self._persona(persona)["id"]}):
            if row["success"] is not None and row["time"] <= now:
                days.setdefault(row["time"] // DAY_MS, [0, 0])[0 if row["success"] else 1] += 1
        counted = ((day, good, bad) for day, (good, bad) in days.items())
        return beta(counted, as_of=now // DAY_MS) / MILLION

    # -- who may add -------------------------------------------------------------------------------------------------

    def admit(self, agent: str) -> Receipt:
        """Lets another agent add to this agent's book."""
        return self._record(names.ADMITTED, bodies.Contributor(parse_id(agent)))

    def dismiss(self, agent: str) -> Receipt:
        """Lets it no more; what it added stays. Raises NotFound where it might not."""
        key = parse_id(agent)
        if self._table(names.CONTRIBUTORS).get(parse_id(self._recorder.id), key) is None:
            raise NotFound(f"market_contributors: {agent} is not among those that may add to this book")
        return self._record(names.DISMISSED, bodies.Contributor(key))

    # -- finding -----------------------------------------------------------------------------------------------------

    def get(self, entity: str) -> Mapping[str, Any] | None:
        """The row of a person, company, product or deal; None when there is none."""
        key = parse_entity(entity)
        for table in fields.TABLES:
            row = self._table(table).get(key)
            if row is not None:
                return row
        return None

    def find_company(self, name: str | None = None, *, website: str | None = None) -> Mapping[str, Any] | None:
        """The company of this book with a site or a name, None when there is none."""
        given = {"name": name, "website": website}
        return fields.find_company(self._select, self.home, {k: v for k, v in given.items() if v})

    def find_person(self, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The person of this book with this address, else with this name and company; None when there is none."""
        found = fields.checked(names.PERSONAS, {k: v for k, v in given.items() if k in ("name", "email", "company")})
        return self._find_persona(found)[0] if "name" in found else None

    def _known_company(self, name: str) -> bytes | None:
        rows = self._select(names.COMPANIES, home=self.home, name_key=keys.company_key(name))
        found: bytes | None = rows[0]["id"] if len(rows) == 1 else None
        return found

    def _find_persona(self, found: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
        """The person that a record is about, and the fingerprint of one that is new."""
        email = found.get("email")
        if email is not None:
            for row in self._select(names.PERSONAS, email=email, home=self.home):
                return row, row["fingerprint"]
        mark = keys.fingerprint(found["name"], found.get("company"))
        for row in self._select(names.PERSONAS, fingerprint=mark, home=self.home):
            if email is None or row["email"] in (None, email):
                return row, mark
            mark = keys.fingerprint(found["name"], found.get("company"), email)  # a namesake in the same house
        return None, mark

    def _persona(self, persona: str) -> Mapping[str, Any]:
        row = self._table(names.PERSONAS).get(parse_entity(persona))
        if row is None:
            raise NotFound(f"personas: there is no person {persona} here")
        return row

    def _select(self, table: str, **equal: Any) -> Sequence[Mapping[str, Any]]:
        return self._table(table).select(**equal)

    def _table(self, name: str) -> TableRows:
        return self._recorder.table(name)

    def _when(self, at: Time | None) -> int:
        """The time given; what claims to be from later than now is from now."""
        now = self._recorder.clock.now_ms()
        return now if at is None else min(now, times.to_ms(at))

    def _since(self, since: Since) -> dict[str, int]:
        """Fields' own times, none of them later than now."""
        return {name: self._when(at) for name, at in (since or {}).items()}

    def _record(self, kind: str, body: Any, whose: Audience | None = None, **how: Any) -> Receipt:
        return self._recorder.record(kind, body, **(whose or self._for).how, **how)

    def _keep(self, kind: str, body: Any) -> Receipt:
        """Records what is nobody else's business."""
        return self._recorder.record(kind, body, scope=Scope.PRIVATE)

    def _check_here(self, home: bytes) -> None:
        """Raises Conflict where what only a book's own agent does is done in another's."""
        if home != self._recorder.log_id:
            raise Conflict(f"market: this is in the book of the log {id_text(home)}: ask its agent")
