"""Room `domains` (imports `views` and below): the commands of deals: opportunities, their stages, forecasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from antiphon.domains.market import bodies, fields, formulas, keys, names
from antiphon.domains.market.booking import Book, Put, Since, became
from antiphon.domains.market.formulas import Cases
from antiphon.model.errors import InvalidInput, NotFound
from antiphon.model.text import entity_text, parse_entity, parse_id
from antiphon.model.times import Time
from antiphon.views.commands import Answer, Receipt

Number = Decimal | int | float | str


class Deals(Book):
    """What a book has in hand. Stages are decided by each deal's home."""

    def opportunity(
        self,
        name: str,
        value: Number | None = None,
        *,
        at: Time | None = None,
        since: Since = None,
        origin: str | None = None,
        **given: Any,
    ) -> Put:
        """What is known of a deal, since a time (now): the agent's own of this name and company, else a new one.

        *Shapes*: `company_id` and `contact_persona_id` are ids; `created_date`, `close_date` days; `probability` in
        [0, 1]; the rest as the table says. Its stage is asked for: `move`.
        """
        said = {"name": name, **given, **({} if value is None else {"value": value})}
        found = fields.checked(names.OPPORTUNITIES, said)
        row = self.find_deal(found["name"], found.get("company_id"))
        if row is not None:
            return self.change(entity_text(row["id"]), at=at, since=since, origin=origin, **found)
        if found.get("value") is None:
            raise InvalidInput("opportunities.value: a new opportunity needs a value")
        news = fields.taken(names.OPPORTUNITIES, None, found, self._when(at), self._since(since))
        created = bodies.Created(news.changes, news.times, self._book, origin)
        made = self._record(names.CREATED, created, occurred=None if at is None else self._when(at))
        assert made.entity is not None  # it is a new thing
        return Put(made.entity, "added", tuple(news.changes), (), made.event)

    def change(
        self, opportunity: str, *, at: Time | None = None, since: Since = None, origin: str | None = None, **given: Any
    ) -> Put:
        """New values for some fields of a deal of the agent's own."""
        row = self._mine(opportunity)
        found = fields.checked(names.OPPORTUNITIES, given)
        news = fields.taken(names.OPPORTUNITIES, row, found, self._when(at), self._since(since), now=at is None)
        if not news.is_news:
            return Put(opportunity, "same", (), news.stale)
        if "value" in news.changes and row["stage"] == names.WON:
            raise InvalidInput(f"opportunities.value: {opportunity} is won for {row['value']}: open it again first")
        made = self._record(names.CHANGED, bodies.Changed(news.changes, news.times, origin), entity=opportunity)
        return Put(opportunity, became(row, news), tuple(news.changes), news.stale, made.event)

    def retire(self, opportunity: str) -> Receipt:
        """Takes a deal of the agent's own away. One that is won is opened again first."""
        row = self._mine(opportunity)
        if row["stage"] == names.WON:
            raise InvalidInput(f"opportunities: {opportunity} is won and counts in forecasts: open it again first")
        return self._record(names.RETIRED, bodies.Removed(), entity=opportunity)

    def move(
        self,
        opportunity: str,
        stage: str,
        *,
        on: date | str | None = None,
        at: Time | None = None,
        origin: str | None = None,
    ) -> Answer:
        """Asks the deal's home for another stage since a time (now); `on` is the day when it was closed, that day when
        not given.

        Raises Conflict at once where the home is here and says no.
        """
        row = self._deal(opportunity)
        if stage not in names.STAGES:
            raise InvalidInput(f"opportunities.stage is one of {', '.join(names.STAGES)}, not {stage!r:.60}")
        body: dict[str, Any] = {"stage": stage, "on": _day("opportunities.closed_on", on), "origin": origin}
        body["at"] = None if at is None else self._when(at)
        return self._recorder.request(names.MOVE, body, home=row["home"], entity=opportunity, **self._for.how)

    def assign(self, opportunity: str, owner: str, *, support: Sequence[str] = ()) -> Answer:
        """Asks the deal's home that it be another agent's, helped by others."""
        if isinstance(support, str):
            raise InvalidInput("opportunities.support_agents is a list of agents")
        body = {"owner": parse_id(owner), "support": [parse_id(agent) for agent in support]}
        row = self._deal(opportunity)
        return self._recorder.request(names.ASSIGN, body, home=row["home"], entity=opportunity, **self._for.how)

    # -- what tasks bring --------------------------------------------------------------------------------------------

    def value_task(self, task: str, company: str, amount: Number) -> Receipt:
        """Says what a task has brought from a company of the book, in place of what the agent said before."""
        found = _decimal("task_values.amount", amount)
        if found is None or found < 0:
            raise InvalidInput(f"task_values.amount is a number from 0 on, not {amount!r:.60}")
        return self._record(names.VALUED, bodies.Valued(*self._task_and_company(task, company), found))

    def unvalue_task(self, task: str, company: str) -> Receipt:
        """Takes that back. Raises NotFound where the agent has said nothing."""
        of = self._task_and_company(task, company)
        if self._table(names.VALUES).get(*of, parse_id(self._recorder.id)) is None:
            raise NotFound(f"task_values: this agent has not said what {task} has brought from {company}")
        return self._record(names.UNVALUED, bodies.Unvalued(*of))

    def _task_and_company(self, task: str, company: str) -> tuple[bytes, bytes]:
        of = parse_entity(task), parse_entity(company)
        for table, key in zip(("tasks", names.COMPANIES), of, strict=True):
            if self._table(table).get(key) is None:
                raise NotFound(f"{table}: there is no {entity_text(key)} here, or not for this agent to see")
        return of

    # -- forecasts ---------------------------------------------------------------------------------------------------

    def predict(self, start: date | str, end: date | str) -> Cases:
        """What the open deals of this book that are expected to close from one day to another may bring."""
        first, last = _period(start, end)
        deals = [
            (row["id"], row["value"], row["probability"])
            for row in self.pipeline()
            if row["stage"] in names.OPEN
            and row["home"] == self.home
            and row["close_date"] is not None
            and first <= row["close_date"] <= last
        ]
        return formulas.simulated(deals)

    def forecast(self, start: date | str, end: date | str, *, ml_prediction: Number | None = None) -> Receipt:
        """What the agent expects of a period, by `predict`; in place of what it expected before.

        `actual_revenue` is filled as the home of this agent's deals closes them.
        """
        first, last = _period(start, end)
        keys.check_period(first, last)
        cases = self.predict(first, last)
        body = bodies.ForecastMade(
            first, last, cases.base, cases.best, cases.worst, _decimal("ml_prediction", ml_prediction),
            {"p10": str(cases.worst), "p90": str(cases.best), "deals": cases.deals, "runs": cases.runs},
        )  # fmt: skip
        return self._make_forecast(body)

    def rate_forecast(self, start: date | str, end: date | str) -> Receipt:
        """Says how near the agent's forecast came to what was won. Raises NotFound when it made none."""
        row = self.forecast_of(start, end)
        if row is None or row["base_case"] is None:
            raise NotFound(f"revenue_forecast: this agent has made no forecast for {start} to {end}")
        body = bodies.ForecastMade(
            row["period_start"], row["period_end"], row["base_case"], row["best_case"], row["worst_case"],
            row["ml_prediction"], row["confidence_interval"],
            formulas.accuracy(row["base_case"], row["actual_revenue"] or Decimal(0)),
        )  # fmt: skip
        return self._make_forecast(body)

    def forecast_of(self, start: date | str, end: date | str) -> Mapping[str, Any] | None:
        """The agent's forecast for a period, None when it made none."""
        found: Mapping[str, Any] | None = self._table(names.FORECASTS).get(self._forecast_id(*_period(start, end)))
        return found

    def _make_forecast(self, body: bodies.ForecastMade) -> Receipt:
        entity = entity_text(self._forecast_id(body.period_start, body.period_end))
        return self._record(names.FORECAST, body, entity=entity)

    def _forecast_id(self, start: date, end: date) -> bytes:
        return keys.forecast_id(parse_id(self._recorder.id), start, end)

    # -- reading -----------------------------------------------------------------------------------------------------

    def pipeline(self, stage: str | None = None, *, min_value: Number = 0) -> Iterator[Mapping[str, Any]]:
        """Deals in a stage (in all), of some value at least, the greatest of each stage first."""
        if stage is not None and stage not in names.STAGES:
            raise InvalidInput(f"opportunities.stage is one of {', '.join(names.STAGES)}, not {stage!r:.60}")
        least = _decimal("value", min_value)
        for one in names.STAGES if stage is None else (stage,):
            for row in self._table(names.OPPORTUNITIES).every({"stage": one}, order="value", descending=True):
                if least is not None and row["value"] < least:
                    break
                yield row

    def days_in_stage(self, opportunity: str, *, as_of: Time | None = None) -> int:
        """For how many whole days a deal has been in its stage, as of a time (now)."""
        row = self._deal(opportunity)
        return formulas.days(row["stage_since"] or row["created_at"], self._when(as_of))

    def find_deal(self, name: str, company: bytes | None = None) -> Mapping[str, Any] | None:
        """The agent's own deal of this name (however it is spelled) and company, None when there is none."""
        me = parse_id(self._recorder.id)
        for row in self._select(names.OPPORTUNITIES, home=self.home, name_key=keys.company_key(name)):
            if row["created_by"] == me and company in (None, row["company_id"]):
                return row
        return None

    def _deal(self, opportunity: str) -> Mapping[str, Any]:
        row: Mapping[str, Any] | None = self._table(names.OPPORTUNITIES).get(parse_entity(opportunity))
        if row is None:
            raise NotFound(f"opportunities: there is no opportunity {opportunity} here")
        return row

    def _mine(self, opportunity: str) -> Mapping[str, Any]:
        row = self._deal(opportunity)
        if row["created_by"] != parse_id(self._recorder.id):
            raise InvalidInput(f"opportunities: {opportunity} is another agent's: only its author may change it")
        return row


def _day(column: str, day: date | str | None) -> date | None:
    if day is None or type(day) is date:
        return day
    try:
        return date.fromisoformat(day if isinstance(day, str) else "")
    except ValueError:
        raise InvalidInput(f"{column} is a day like 2026-11-21, not {day!r:.60}") from None


def _period(start: date | str, end: date | str) -> tuple[date, date]:
    first, last = _day("revenue_forecast.period_start", start), _day("revenue_forecast.period_end", end)
    if first is None or last is None or last < first:
        raise InvalidInput(f"revenue_forecast: {start} to {end} is no period: it ends before it begins")
    return first, last


def _decimal(column: str, value: object) -> Decimal | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise TypeError
        found = Decimal(str(value))
        if not found.is_finite():
            raise TypeError
    except (InvalidOperation, TypeError):
        raise InvalidInput(f"{column} is a number, not {value!r:.60}") from None
    return found
