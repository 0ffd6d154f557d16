"""Room `ops` (imports `engines` and below): records of CRM exports into a book, each thing once however often it comes.

What a file says that is known is not recorded again, so the same file can come any number of times. Each record is
taken whole or not at all; a dry run does everything, and then takes it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from antiphon.domains.market import names
from antiphon.domains.market.booking import Put
from antiphon.domains.market.commands import Market
from antiphon.model.errors import AntiphonError, InvalidInput, Unavailable
from antiphon.model.places import DAY_MS
from antiphon.model.text import entity_text, parse_entity
from antiphon.model.values import from_days
from antiphon.ops.market_ahead import Ahead, Folded, look_ahead
from antiphon.ops.market_gather import gathering_of
from antiphon.ops.market_people import People
from antiphon.ops.market_rows import Record, Refused

COMMIT_RECORDS: Final = 256
KEPT_MAX: Final = 10_000
"""Refused rows that a report names; of more only how many."""
_FIND: Final = {"companies": "company", "products": "product", "opportunities": "deal", "personas": "contact"}
"""What links of other systems call each sort."""


class Report(msgspec.Struct):
    """What became of a file. `stale` counts fields that are older than what is known, `repeated` records about what a
    later one is about, `forgotten` people who were forgotten here; `unit` is what refused rows are counted in.
    """

    added: int = 0
    changed: int = 0
    same: int = 0
    asked: int = 0
    stale: int = 0
    moved: int = 0
    repeated: int = 0
    forgotten: int = 0
    rejected: int = 0
    refused: list[Refused] = []
    unmapped: list[str] = []
    unit: str = "line"
    dry: bool = False

    def count(self, put: Put, *, moved: bool) -> None:
        """Counts what became of a record."""
        setattr(self, put.what, getattr(self, put.what) + 1)
        self.stale += len(put.stale)
        self.moved += moved

    def refuse(self, line: int, reason: str) -> None:
        """Counts a row that is not taken."""
        self.rejected += 1
        if len(self.refused) < KEPT_MAX:
            self.refused.append(Refused(line, reason))


class _TakenBack(Exception):
    """Ends a dry run."""


def import_records(
    market: Market,
    sort: str,
    items: Iterable[Record | Refused],
    *,
    system: str | None = None,
    dry_run: bool = False,
    ahead: Ahead | None = None,
    people: People | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Report:
    """Takes records of one sort. `system` is where they come from: what it calls them is kept as links.

    `items` can be gone through twice; `ahead` is what `look_ahead` found in them, where that was done. People of
    `people` who are in the book no more are left out. `progress` is told of records that were dealt with.
    A dry run holds one transaction as long as it takes. Raises Unavailable where the file cannot be written.
    """
    if iter(items) is items:
        items = list(items)
    folded = Folded(items, look_ahead(sort, items) if ahead is None else ahead)
    report = Report(dry=dry_run)
    taking = _Taking(market, sort, system, report, people)
    if not dry_run:
        for part in _parts(folded):
            taking.take(part)
            progress(len(part))
    else:
        try:
            with market.recorder.together():
                for item in folded:
                    taking.take_one(item)
                    progress(1)
                raise _TakenBack
        except _TakenBack:
            pass
    report.repeated = folded.repeated
    report.unmapped, report.unit = list(getattr(items, "unmapped", ())), getattr(items, "unit", "line")
    return report


def _parts(items: Iterable[Record | Refused]) -> Iterator[list[Record | Refused]]:
    part: list[Record | Refused] = []
    for item in items:
        part.append(item)
        if len(part) == COMMIT_RECORDS:
            yield part
            part = []
    if part:
        yield part


class _Taking:
    """The taking of one file."""

    def __init__(self, market: Market, sort: str, system: str | None, report: Report, people: People | None) -> None:
        self._market, self._sort, self._system, self._report = market, sort, system, report
        self._people = people

    def take(self, part: list[Record | Refused]) -> None:
        """One commit; where a record makes it fail, one commit a record."""
        puts: list[tuple[Put, bool]] = []
        try:
            with self._market.recorder.together():
                puts = self._put_all([item for item in part if isinstance(item, Record)])
        except Unavailable:
            raise
        except AntiphonError:
            for item in part:
                self.take_one(item)
            return
        for put, moved in puts:
            self._report.count(put, moved=moved)
        for item in part:
            if isinstance(item, Refused):
                self._report.refuse(item.line, item.reason)

    def _put_all(self, records: list[Record]) -> list[tuple[Put, bool]]:
        gathering = gathering_of(self._market.recorder)
        if gathering is None:
            return [self._put(record) for record in records]
        market, puts = self._market.recording_by(gathering), []
        for record in records:
            gathering.meet(self._sort, record)
            put, moved = put_record(market, self._sort, record, system=self._system, people=self._people)
            gathering.check(put.entity)
            puts.append((put, moved))
        gathering.flush()
        return puts

    def take_one(self, item: Record | Refused) -> None:
        """One record, or why not."""
        if isinstance(item, Refused):
            self._report.refuse(item.line, item.reason)
            return
        try:
            with self._market.recorder.together():
                put, moved = self._put(item)
        except Unavailable:
            raise
        except AntiphonError as error:
            self._report.refuse(item.line, str(error))
        else:
            self._report.count(put, moved=moved)

    def _put(self, record: Record) -> tuple[Put, bool]:
        return put_record(self._market, self._sort, record, system=self._system, people=self._people)


def put_record(
    market: Market, sort: str, record: Record, *, system: str | None, people: People | None = None
) -> tuple[Put, bool]:
    """What a record says, in the book; and whether a deal was moved. By its link, where there is one, else by its keys.

    Call it within `together`: a record is taken whole or not at all. Who was of `people` and is in the book no more is
    `forgotten`, and left out. Raises InvalidInput, Conflict.
    """
    linked = None if record.id is None or system is None else market.linked(system, _FIND[sort], record.id)
    known = None if linked is None or market.get(linked) is None else linked
    if sort == "personas" and people is not None and known is None and not people.again:
        gone = linked is not None and market.find_person(record.fields) is None
        if gone or people.is_forgotten(market, record.fields):
            return Put(linked or "", "forgotten"), False
    said: dict[str, Any] = dict(record.fields)
    company = None if record.company is None else market.find_company(record.company)
    if record.company is not None and company is None:
        raise InvalidInput(f"company: the book has no company {record.company!r:.80}: import the companies first")
    put = _put_fields(market, sort, said, known, company, record, origin=system)
    moved = record.stage is not None and _move(market, put.entity, record.stage, said, at=record.at, origin=system)
    if system is not None and put.what != "asked":
        for called in (record.id, *record.others) if known is None else record.others:
            if called is not None:
                market.link(system, _FIND[sort], called, put.entity)
    if sort == "personas" and people is not None and put.what != "asked":
        people.keep(record.fields, put.entity)
    return put, moved


def _put_fields(
    market: Market,
    sort: str,
    said: dict[str, Any],
    known: str | None,
    company: Any,
    record: Record,
    *,
    origin: str | None,
) -> Put:
    how: dict[str, Any] = {"at": record.at, "since": record.since, "origin": origin}
    if sort == "opportunities":
        if company is not None:
            said["company_id"] = company["id"]
        if known is not None:
            return market.change(known, **how, **said)
        return market.opportunity(_name(said), **how, **said)
    if known is not None:
        return market.revise(known, **how, **said)
    if sort == "companies":
        return market.company(**how, **said)
    if sort == "products":
        made_by = company["id"] if company is not None else said.pop("company_id", None)
        by = None if made_by is None else entity_text(made_by)
        return market.product(_name(said), company=by, **how, **said)
    return market.persona(_name(said), **how, **said)


def _name(said: dict[str, Any]) -> str:
    name = said.pop("name", None)
    if name is None:
        raise InvalidInput("name: it has none")
    return str(name)


def _move(market: Market, deal: str, stage: str, said: dict[str, Any], *, at: int | None, origin: str | None) -> bool:
    """Moves a deal to the stage that a record says, where that is news. Whether it had to be."""
    row = market.recorder.table(names.OPPORTUNITIES).get(parse_entity(deal))
    if row is None or row["stage"] == stage or (at is not None and at < (row["stage_since"] or 0)):
        return False
    if row["stage"] not in names.OPEN and stage not in names.OPEN:
        market.move(deal, names.OPEN[-1], at=at, origin=origin)
    on = said.get("close_date") or row["close_date"]
    today = from_days((market.recorder.clock.now_ms() if at is None else at) // DAY_MS)
    market.move(deal, stage, on=on if stage not in names.OPEN and on and on <= today else None, at=at, origin=origin)
    return True
