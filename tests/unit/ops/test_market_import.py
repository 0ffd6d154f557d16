"""CRM exports: what their headers and cells mean, what is refused with which line, and that nothing comes twice."""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from antiphon import Fleet, InvalidInput, LimitExceeded, NotFound
from antiphon.domains.market import MARKET, Market, names
from antiphon.home import default_folder
from antiphon.ops import market_rows
from antiphon.ops.market_cells import stage_of, time_of, value_of
from antiphon.ops.market_fields import check_map, target_of
from antiphon.ops.market_import import Report, import_records
from antiphon.ops.market_rows import Record, Refused, Rows
from antiphon.world.clock import ManualClock

START = 1_800_000_000_000


class Desk:
    """One agent with a book, and a folder for files."""

    def __init__(self, fleet: Fleet, folder: Path, clock: ManualClock) -> None:
        self.fleet, self.folder, self.clock = fleet, folder, clock
        self.agent = fleet.add("ada")
        self.market = Market(self.agent)

    def file(self, text: str | bytes, name: str = "export") -> Path:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def take(self, text: str | bytes, sort: str, *, dry_run: bool = False, system: str | None = None,
             mapped: dict[str, str] | None = None) -> Report:  # fmt: skip
        rows = Rows(self.file(text), sort, mapped=mapped)
        return import_records(self.market, sort, rows, system=system, dry_run=dry_run)

    def rows(self, table: str) -> list[dict[str, Any]]:
        replica = self.fleet.replica
        return [row.values for row in replica.tables.all_rows(replica.registry.tables[table])]

    def events(self) -> int:
        return sum(head.size for head in self.fleet.replica.heads())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = ManualClock(START)
    with Fleet.create(default_folder(), clock=clock, domains=[MARKET]) as fleet:
        yield Desk(fleet, tmp_path, clock)


COMPANIES = """Company name,Company Domain Name,Employees,Annual Revenue,Industry,Record ID,Last Modified Date,Owner
ACME Foods Inc.,www.acme.com,"1,200","$1,234.50",ingredients; distribution,7,2026-11-01T10:00:00Z,Joe
Zeta,,12,,manufacturing,8,2026-11-02,Jane
"""


def test_a_csv_export_of_companies(desk: Desk) -> None:
    report = desk.take(COMPANIES, "companies", system="hubspot")
    assert (report.added, report.rejected, report.unmapped) == (2, 0, ["Owner"])
    by_name = {row["name"]: row for row in desk.rows(names.COMPANIES)}
    acme = by_name["ACME Foods Inc."]
    assert (acme["employee_count"], acme["annual_revenue"]) == (1_200, Decimal("1234.50"))
    assert acme["sector"] == ["ingredients", "distribution"]
    assert acme["field_times"]["name"] == time_of("2026-11-01T10:00:00Z")
    assert desk.market.linked("hubspot", "company", "7") is not None
    before = desk.events()
    again = desk.take(COMPANIES, "companies", system="hubspot")
    assert (again.added, again.changed, again.same) == (0, 0, 2)
    assert desk.events() == before


def test_the_same_company_from_two_systems_is_one_row(desk: Desk) -> None:
    desk.take(COMPANIES, "companies", system="hubspot")
    other = (
        '[{"Id": "A1", "attributes": {"AccountName": 1}, "Account Name": "acme foods", "Website": "https://acme.com/"}]'
    )
    report = desk.take(other, "companies", system="salesforce")
    assert (report.added, report.changed) == (0, 1)
    assert len(desk.rows(names.COMPANIES)) == 2
    assert desk.market.linked("salesforce", "company", "A1") == desk.market.linked("hubspot", "company", "7")


def test_a_record_is_found_by_its_link_when_all_else_has_changed(desk: Desk) -> None:
    desk.take("name,id\nOld Name,7\n", "companies", system="crm")
    desk.clock.pass_ms(1)
    assert desk.take("name,id\nNew Name,7\n", "companies", system="crm").changed == 1
    assert [row["name"] for row in desk.rows(names.COMPANIES)] == ["New Name"]
    assert desk.take("name,id\nOld Name,7\n", "companies", system="other").added == 1


def test_an_older_export_changes_nothing_that_is_newer(desk: Desk) -> None:
    desk.take("name,employees,modified\nAcme,20,2026-11-02\n", "companies")
    report = desk.take("name,employees,revenue,modified\nAcme,10,5,2026-11-01\n", "companies")
    assert (report.changed, report.stale) == (1, 1)
    (row,) = desk.rows(names.COMPANIES)
    assert (row["employee_count"], row["annual_revenue"]) == (20, Decimal(5))


def test_people_by_their_two_names(desk: Desk) -> None:
    desk.take(COMPANIES, "companies")
    text = "First Name\tLast Name\tEmail\tCompany Name\tJob Title\nAda\tMeyer\tAda@X.org\tAcme Foods\tBuyer\n"
    assert desk.take(text, "personas").added == 1
    assert desk.take(text, "personas").same == 1
    (row,) = desk.rows(names.PERSONAS)
    assert (row["name"], row["email"], row["role"]) == ("Ada Meyer", "ada@x.org", "Buyer")
    assert row["company_id"] is not None


DEALS = """{"results": [
 {"id": "1", "properties": {"dealname": "Oats", "amount": "1000", "dealstage": "closedwon", "closedate": "2026-11-03",
  "hs_lastmodifieddate": "2026-11-04T00:00:00Z", "company": "ACME Foods"}},
 {"id": "2", "properties": {"dealname": "Rye", "amount": 20.5, "dealstage": "Qualified To Buy", "probability": "40%"}},
 {"id": "3", "properties": {"dealname": "Lost", "amount": 1, "dealstage": "closedlost"}},
 {"id": "4", "properties": {"dealname": "Odd", "amount": 1, "dealstage": "thrown away"}},
 {"id": "5", "properties": {"dealname": "Nowhere", "amount": 1, "company": "Unknown Ltd"}},
 7
]}"""


def test_a_json_export_of_deals(desk: Desk) -> None:
    desk.take(COMPANIES, "companies")
    desk.market.forecast("2026-11-01", "2026-11-30")
    report = desk.take(DEALS, "opportunities", system="hubspot")
    assert (report.added, report.moved, report.rejected) == (3, 3, 3)
    reasons = {one.line: one.reason for one in report.refused}
    assert "stage" in reasons[4]
    assert "import the companies first" in reasons[5]
    assert reasons[6] == "it is no JSON object"
    deals = {row["name"]: row for row in desk.rows(names.OPPORTUNITIES)}
    assert (deals["Oats"]["stage"], deals["Oats"]["closed_on"]) == ("closed_won", date(2026, 11, 3))
    assert (deals["Rye"]["stage"], deals["Rye"]["weighted_value"]) == ("qualification", Decimal("8.20"))
    assert desk.market.forecast_of("2026-11-01", "2026-11-30")["actual_revenue"] == 1_000
    before = desk.events()
    again = desk.take(DEALS, "opportunities", system="hubspot")
    assert (again.same, again.moved, desk.events()) == (3, 0, before)


def test_a_deal_that_was_won_goes_to_lost_by_way_of_being_open(desk: Desk) -> None:
    desk.take("name,amount,stage,id\nOats,10,won,1\n", "opportunities", system="crm")
    desk.clock.pass_ms(1)
    desk.take("name,amount,stage,id\nOats,10,lost,1\n", "opportunities", system="crm")
    (row,) = desk.rows(names.OPPORTUNITIES)
    assert row["stage"] == "closed_lost"
    assert desk.rows(names.ACTUALS) == []


def test_products_of_their_companies(desk: Desk) -> None:
    desk.take(COMPANIES, "companies")
    report = desk.take(
        "Product,Brand,Price,Allergens,FDA Approved\nOat Bar,Acme Foods,2.50,nuts|milk,yes\n", "products"
    )
    assert report.added == 1
    (row,) = desk.rows(names.PRODUCTS)
    assert (row["price_per_unit"], row["allergens"], row["fda_approved"]) == (Decimal("2.5"), ["nuts", "milk"], True)
    assert row["company_id"] is not None


def test_a_dry_run_says_the_same_and_records_nothing(desk: Desk) -> None:
    text = COMPANIES + "acme foods,acme.com,x,,,9,,\nACME FOODS,acme.com,5,,,10,,\n"
    before = desk.events()
    dry = desk.take(text, "companies", system="hubspot", dry_run=True)
    assert desk.events() == before
    assert desk.rows(names.COMPANIES) == []
    wet = desk.take(text, "companies", system="hubspot")
    assert dry.dry
    assert (dry.added, dry.changed, dry.rejected) == (wet.added, wet.changed, wet.rejected) == (2, 1, 1)
    assert dry.refused == wet.refused == [Refused(4, "Employees: employee_count: 'x' is no integer")]


def test_a_batch_with_a_bad_record_loses_no_other(desk: Desk) -> None:
    desk.market.company("Omega", website="omega.io")
    desk.market.company("Omega", website="omega.org")
    lines = "".join(f"C{at}\n" for at in range(300))
    report = desk.take(f"name\nOmega\n{lines}", "companies")
    assert (report.added, report.rejected) == (300, 1)
    assert "2 companies of this book are called" in report.refused[0].reason
    assert report.refused[0].line == 2


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"name,employees\nAcme,many\n", 2, "'many' is no integer"),
        (b"name,employees\nAcme,1.5\n", 2, "'1.5' is no integer"),
        (b'name,revenue\nAcme,"1,5"\n', 2, "'1,5' is no decimal"),
        (b"name,growth_rate\nAcme,NaN\n", 2, "is no decimal"),
        (b"name,modified\nAcme,yesterday\n", 2, "'yesterday' is not a time"),
        (b"name\n\nAcme,extra\n", 3, "it has 2 cells, and there are 1 headers"),
        (b"name,website\nOne,one.com\nM\xfcller,x.de\n", 3, "not UTF-8"),
        (b'name,website\n"Two\nlines",nowhere\n', 2, "is no site"),
        (b"name,priority_score\nAcme,101\n", 2, "more than 100"),
        (b"name,suppliers\nAcme,x;y\n", 2, "not an entity id"),
        (b"website\nacme.com\n", 2, "needs a name"),
        (b'{"name": 1}\n{"name": "x"\n', 2, "it is no JSON object"),
        (b'{"name": "x"}\n[1]\n', 2, "it is no JSON object"),
        (b'[{"name": "x", "pain_points": "{"}]', 1, "is no json"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_their_line(desk: Desk, text: bytes, line: int, words: str) -> None:
    report = desk.take(text, "companies")
    (refused,) = report.refused
    assert refused.line == line
    assert words in refused.reason


def test_a_quote_that_never_ends_refuses_what_it_swallows(desk: Desk) -> None:
    report = desk.take('name,website\nOne,one.com\n"Two,two.com\n', "companies")
    assert (report.added, report.rejected) == (1, 1)
    assert report.refused[0].line == 3


@pytest.mark.parametrize(
    ("text", "mapped", "words"),
    [
        ("", {}, "has no headers"), ("\n\n", {}, "has no headers"), ("name,company\nx,y\n", {}, "both go to name"),
        ("name\nx\n", {"nome": "name"}, "has no such header"), ("name\nx\n", {"name": "title"}, "have no 'title'"),
        ("name\nx\n", {"name": "@stage"}, "have no '@stage'"), ('{"a": 1, ', {}, "no JSON list"),
    ],
)  # fmt: skip
def test_files_that_make_no_sense_are_refused(desk: Desk, text: str, mapped: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        desk.take(text, "companies", mapped=mapped)


def test_a_map_says_where_headers_go(desk: Desk) -> None:
    mapped = {"Firma": "name", "Mitarbeiter": "employee_count", "name": "-"}
    report = desk.take("Firma;Mitarbeiter;name\nAcme;7;x\n", "companies", mapped=mapped)
    assert (report.added, report.unmapped) == (1, [])
    (row,) = desk.rows(names.COMPANIES)
    assert (row["name"], row["employee_count"]) == ("Acme", 7)


def test_limits_have_names(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimitExceeded, match="CSV_HEADERS_MAX"):
        desk.take(",".join(f"h{at}" for at in range(600)) + "\n", "companies")
    with monkeypatch.context() as short:
        short.setattr(market_rows, "CSV_LINE_CHARS_MAX", 100)
        with pytest.raises(LimitExceeded, match="CSV_LINE_CHARS_MAX"):
            desk.take("name\nAcme\n" + "x" * 200, "companies")
    monkeypatch.setattr(market_rows, "JSON_FILE_BYTES_MAX", 100)
    with pytest.raises(LimitExceeded, match="JSON_FILE_BYTES_MAX"):
        desk.take(json.dumps([{"name": "x" * 200}], indent=1), "companies")
    monkeypatch.setattr(market_rows, "JSON_LINE_BYTES_MAX", 64)
    report = desk.take('{"name": "a"}\n{"name": "' + "x" * 200 + '"}\n{"name": "b"}\n', "companies")
    assert (report.added, report.rejected) == (2, 1)
    assert "JSON_LINE_BYTES_MAX" in report.refused[0].reason


def test_what_is_not_there_is_said(desk: Desk) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        list(Rows(desk.folder / "nowhere", "companies"))
    with pytest.raises(InvalidInput, match="is one of companies"):
        Rows(desk.folder / "x", "things")
    with pytest.raises(InvalidInput, match="csv or json"):
        Rows(desk.folder / "x", "companies", form="xml")


def test_a_bom_and_semicolons_are_fine(desk: Desk) -> None:
    assert desk.take("\ufeffname;website\nAcme;acme.com\n", "companies").added == 1
    (row,) = desk.rows(names.COMPANIES)
    assert row["site_key"] == "acme.com"


@pytest.mark.parametrize(
    ("sort", "target", "cell", "value"),
    [
        ("companies", "employee_count", " 1,000 ", 1_000), ("companies", "growth_rate", "12.5%", Decimal("0.125")),
        ("companies", "annual_revenue", "€ 5", Decimal(5)), ("companies", "annual_revenue", "5 USD", Decimal(5)),
        ("companies", "sector", '["a, b"]', ["a, b"]), ("companies", "sector", "a, b", ["a", "b"]),
        ("companies", "headquarters_location", "[7.5, 47]", [7.5, 47]), ("companies", "name", "", None),
        ("personas", "mbti_type", "intj", "INTJ"), ("products", "fda_approved", "No", False),
        ("opportunities", "close_date", "1793664000000", "2026-11-03"),
        ("opportunities", "@stage", "Won", "closed_won"),
        ("opportunities", "close_date", "2026-11-03T12:00:00Z", "2026-11-03"), ("companies", "@modified", 5, 5_000),
    ],
)  # fmt: skip
def test_cells_become_values(sort: str, target: str, cell: Any, value: Any) -> None:
    assert value_of(sort, target, cell) == value


@pytest.mark.parametrize("stage", names.STAGES)
def test_every_stage_is_known_by_its_name(stage: str) -> None:
    assert stage_of(stage) == stage_of(stage.replace("_", " ").title()) == stage


def test_headers_of_columns_need_no_map() -> None:
    for sort, table in (("companies", MARKET.tables[1]), ("personas", MARKET.tables[0])):
        for column in ("name", "employee_count" if sort == "companies" else "email"):
            assert column in table.names
            assert target_of(sort, column.replace("_", " ").upper(), {}) == column
    check_map("opportunities", {"Account": "@company", "x": "-"})


def test_a_record_says_what_it_is_of(desk: Desk) -> None:
    (record,) = list(Rows(desk.file("name,id,modified\nAcme,7,2026-11-01\n"), "companies"))
    assert isinstance(record, Record)
    assert (record.line, record.id, record.fields) == (2, "7", {"name": "Acme"})
