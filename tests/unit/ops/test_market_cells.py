"""Cells as values: what stands before fractions, what is too large, what nobody may keep; and files of any encoding."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon import Agent, Fleet, InvalidInput, LimitExceeded
from antiphon.domains.market import MARKET, Market, names
from antiphon.home import default_folder
from antiphon.ops import market_ahead, market_import
from antiphon.ops.market_ahead import look_ahead
from antiphon.ops.market_cells import UNSURE, value_of
from antiphon.ops.market_fields import is_percent
from antiphon.ops.market_import import Report, import_records
from antiphon.ops.market_people import People
from antiphon.ops.market_rows import Refused, Rows
from antiphon.world.clock import ManualClock

START = 1_800_000_000_000


class Desk:
    """One agent with a book, and a file that it takes."""

    def __init__(self, fleet: Fleet, path: Path, clock: ManualClock) -> None:
        self.fleet, self.path, self.clock = fleet, path, clock
        self.agent = fleet.add("ada")
        self.market = Market(self.agent)

    def take(self, text: str | bytes, sort: str = "companies", *, mark: str | None = None, system: str | None = None,
             again: bool = False) -> Report:  # fmt: skip
        self.clock.pass_ms(1)
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        people = People(self.agent.replica.file, again=again)
        return import_records(self.market, sort, Rows(self.path, sort, mark=mark), system=system, people=people)

    def rows(self, table: str) -> list[dict[str, Any]]:
        replica = self.fleet.replica
        return [row.values for row in replica.tables.all_rows(replica.registry.tables[table])]

    def events(self) -> int:
        return sum(head.size for head in self.fleet.replica.heads())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = ManualClock(START)
    with Fleet.create(default_folder(), clock=clock, domains=[MARKET]) as fleet:
        yield Desk(fleet, tmp_path / "export", clock)


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "mark", "value"),
    [
        ("1,234.50", ".", "1234.50"), ("1.234,50", ",", "1234.50"), ("12,5", ",", "12.5"), ("12,5", UNSURE, "12.5"),
        ("1.234,56", UNSURE, "1234.56"), ("1'234.50", UNSURE, "1234.50"), ("1 234,50", ",", "1234.50"),
        ("1,234,567", UNSURE, "1234567"), ("0.125", UNSURE, "0.125"), ("4.000", ",", "4000"), ("4.000", ".", "4"),
        (".5", ".", ".5"), ("-1e3", ".", "-1000"), ("7", UNSURE, "7"), ("1.5 EUR", UNSURE, "1.5"),
        ("€ 12,5", ",", "12.5"),
    ],
)  # fmt: skip
def test_numbers_by_what_stands_before_their_fractions(cell: str, mark: str, value: str) -> None:
    assert value_of("companies", "annual_revenue", cell, mark=mark) == Decimal(value)


@pytest.mark.parametrize("cell", ["4.000", "4,000", "1.234", "123.456"])
def test_a_number_that_may_be_two_is_refused(cell: str) -> None:
    with pytest.raises(InvalidInput, match=r"may be .* or .*: say --decimal \. or --decimal ,"):
        value_of("companies", "annual_revenue", cell, mark=UNSURE)


def test_a_whole_number_can_have_but_one_sense() -> None:
    assert value_of("companies", "employee_count", "1,234", mark=UNSURE) == 1_234
    with pytest.raises(InvalidInput, match="may be"):
        value_of("companies", "employee_count", "4.000", mark=UNSURE)


@pytest.mark.parametrize(
    "cell", ["1,5", "1.2.3", "1,23,4", "--1", "1e", "", ".", "+", "1_000", "٣", "1e9999", "9" * 65]
)
def test_what_is_no_number_is_refused(cell: str) -> None:
    if not cell:
        assert value_of("companies", "annual_revenue", cell) is None
        return
    with pytest.raises(InvalidInput, match="is no decimal"):
        value_of("companies", "annual_revenue", cell)


@pytest.mark.parametrize("target", ["employee_count", "annual_revenue", "growth_rate", "@modified", "@id", "name"])
@pytest.mark.parametrize(
    "cell", ["1e9999999", "1e-999999999", "1e999999999", 10**5_000, -(10**5_000), [10**5_000], 1e308], ids=range(7)
)
def test_numbers_of_any_size_are_refused_at_once(desk: Desk, target: str, cell: Any) -> None:
    """Or are a text; nothing but InvalidInput comes of them, and nobody waits for their digits."""
    if target in ("name", "@id") and isinstance(cell, str | float):
        return
    with pytest.raises(InvalidInput):
        desk.market.company("Acme", **{target: value_of("companies", target, cell)})


@given(st.decimals(-(10**9), 10**9, places=2), st.sampled_from([".", ","]), st.booleans())
def test_what_is_written_is_read(number: Decimal, mark: str, grouped: bool) -> None:
    text = f"{number:,.2f}" if grouped else f"{number:.2f}"
    if mark == ",":
        text = text.translate(str.maketrans(",.", ".,"))
    assert value_of("companies", "annual_revenue", text, mark=mark) == number
    assert value_of("companies", "annual_revenue", text, mark=UNSURE) == number, "two places say which it is"


@given(st.text("0123456789.,' eE+-%$", max_size=20))
def test_whatever_is_taken_without_doubt_is_so_with_one_mark(text: str) -> None:
    try:
        found = value_of("companies", "annual_revenue", text, mark=UNSURE)
    except InvalidInput:
        return
    told = []
    for mark in (".", ","):
        try:
            told.append(value_of("companies", "annual_revenue", text, mark=mark))
        except InvalidInput:
            continue
    assert set(told) == {found}


def test_percentages_are_shares_but_where_the_column_has_percentages() -> None:
    assert is_percent("Probability (%)")
    assert is_percent("Probability % ")
    assert not is_percent("Percentage")
    assert value_of("opportunities", "probability", "75", percent=True) == Decimal("0.75")
    assert value_of("opportunities", "probability", 75, percent=True) == Decimal("0.75")
    assert value_of("opportunities", "probability", "75 %", percent=True) == Decimal("0.75")
    assert (
        value_of("companies", "priority_score", "75%")
        == value_of("companies", "priority_score", 75, percent=True)
        == 75
    )


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_file_says_what_stands_before_fractions_or_is_asked(desk: Desk) -> None:
    text = "name;revenue\nAcme;4.000\nZeta;12,5\n"
    report = desk.take(text)
    assert (report.added, [one.line for one in report.refused]) == (1, [2])
    assert "say --decimal . or --decimal ," in report.refused[0].reason
    assert desk.take(text, mark=",").added == 1
    found = {row["name"]: row["annual_revenue"] for row in desk.rows(names.COMPANIES)}
    assert found == {"Zeta": Decimal("12.50"), "Acme": Decimal(4_000)}
    report = desk.take('name,revenue\nAcme,"1,5"\n')
    assert "where ',' stands before fractions, say --decimal ," in report.refused[0].reason
    with pytest.raises(InvalidInput, match="a fraction stands behind"):
        Rows(desk.path, "companies", mark=";")


def test_a_header_of_percentages(desk: Desk) -> None:
    report = desk.take("name,value,Probability (%)\nOats,10,75\nRye,10,120\n", "opportunities")
    assert (report.added, [one.line for one in report.refused]) == (1, [3])
    (row,) = desk.rows(names.OPPORTUNITIES)
    assert row["probability"] == Decimal("0.75")
    assert report.refused[0].reason == "opportunities.probability: 1.20 is more than 1"


def test_messages_have_numbers_as_they_are_written(desk: Desk) -> None:
    report = desk.take("name,value,probability\nOats,-5,0.5\nRye,5,50\n", "opportunities")
    assert [one.reason for one in report.refused] == [
        "opportunities.value: -5 is less than 0", "opportunities.probability: 50 is more than 1",
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("text", ["name,website\nMüller,x.de\n", '[{"name": "Müller", "website": "x.de"}]'])
def test_a_mark_of_byte_order_says_the_encoding(desk: Desk, encoding: str, text: str) -> None:
    assert desk.take(text.encode(encoding)).added == 1
    assert [row["name"] for row in desk.rows(names.COMPANIES)] == ["Müller"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 99, "is no text"), ("name\nAcme\n".encode("utf-16-le"), "is no text"),
        (b"n\xe4me,w\xffbsite\nAcme,x.de\n" * 20, "its first line is not UTF-8 text"),
        ("name\nAcme\n".encode("utf-16")[:-1], "is no UTF-16, though it begins so"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_one_error(desk: Desk, raw: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        desk.take(raw)


def test_control_characters_are_refused_by_line(desk: Desk) -> None:
    report = desk.take("name,sector\nAc\\me,a\nZe\x1fta,b\nOmega,c;d\x7f\n")
    assert (report.added, [one.line for one in report.refused]) == (1, [3, 4])
    assert "(U+001F) at its character 3" in report.refused[0].reason
    report = desk.take('[{"name": "A\\u0000"}, {"name": "B", "pain_points": {"x": ["\\u0000"]}}, {"name": "C\\nD"}]')
    assert (report.added, report.unit, [one.line for one in report.refused]) == (1, "record", [1, 2])


# -- twice in a file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sort", "text", "table", "column", "value"),
    [
        ("companies", "name,website,employees\nAcme,acme.com,1\nZeta,z.com,3\nACME Foods,www.acme.com,2\n",
         names.COMPANIES, "employee_count", 2),
        ("companies", "name,employees\nAcme Inc.,5\nacme,4\nZeta,3\n", names.COMPANIES, "employee_count", 4),
        ("products", "name,price,category\nBar,5,snack\nTea,1,\nbar,4,\n", names.PRODUCTS, "price_per_unit", 4),
        ("personas", "name,email,role\nAda,a@x.org,boss\nBob,b@x.org,x\nAda M,A@x.org,buyer\n", names.PERSONAS, "role",
         "buyer"),
        ("opportunities", "name,value,stage\nOats,9,proposal\nRye,1,\noats,7,\n", names.OPPORTUNITIES, "value", 7),
    ],
)  # fmt: skip
def test_of_two_lines_about_one_thing_the_last_stands(
    desk: Desk, sort: str, text: str, table: str, column: str, value: Any
) -> None:
    first = desk.take(text, sort)
    assert (first.added, first.changed, first.repeated, first.rejected) == (2, 0, 1, 0)
    assert value in [row[column] for row in desk.rows(table)]
    before = desk.events()
    again = desk.take(text, sort)
    assert (again.same, again.changed, again.repeated) == (2, 0, 1)
    assert desk.events() == before
    if sort == "products":
        assert {row["category"] for row in desk.rows(table)} == {"snack", None}, "what the last leaves out is not lost"
    if sort == "opportunities":
        assert {row["stage"] for row in desk.rows(table)} == {"proposal", "prospecting"}


def test_what_one_thing_is_called_twice_is_kept_twice(desk: Desk) -> None:
    text = "id,name,employees\n7,Acme,1\n8,ACME,2\n"
    assert desk.take(text, system="crm").repeated == 1
    assert desk.market.linked("crm", "company", "7") == desk.market.linked("crm", "company", "8") is not None
    assert desk.take(text, system="crm").same == 1


def test_what_says_since_when_it_is_so_is_not_joined(desk: Desk) -> None:
    report = desk.take("name,employees,modified\nAcme,1,2026-11-02\nAcme,2,2026-11-01\n")
    assert (report.added, report.stale, report.repeated) == (1, 1, 0)


def test_a_file_has_a_limit(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_ahead, "RECORDS_MAX", 2)
    with pytest.raises(LimitExceeded, match="RECORDS_MAX"):
        desk.take("name\nA\nB\nC\n")
    ahead = look_ahead("companies", [Refused(1, "x")])
    assert (ahead.records, ahead.following) == (1, {})


# -- forgotten ---------------------------------------------------------------------------------------------------------

ANN = "name,email,company\nAnn Meyer,ann@x.org,Acme\nBob,bob@x.org,Acme\n"


@pytest.mark.parametrize("later", [ANN, "name,company\nANN  Meyer,ACME Inc.\n", "name,email\nA. Meyer,ANN@x.org\n"])
def test_who_was_forgotten_is_not_taken_again(desk: Desk, later: str) -> None:
    assert desk.take(ANN, "personas").added == 2
    desk.agent.forget(person="Ann Meyer")
    report = desk.take(later, "personas")
    assert (report.forgotten, report.added) == (1, 0)
    assert [row["name"] for row in desk.rows(names.PERSONAS)] == ["Bob"]
    assert desk.take(later, "personas", again=True).added == 1
    assert desk.take(later, "personas").same >= 1, "and then she is known again"


def test_who_is_linked_and_forgotten_is_not_taken_again(desk: Desk) -> None:
    desk.take("id,name\n1,Ann Meyer\n", "personas", system="crm")
    desk.agent.forget(person="Ann Meyer")
    assert desk.take("id,name\n1,Anna Smith\n", "personas", system="crm").forgotten == 1
    assert desk.take("id,name\n1,Anna Smith\n", "personas", system="crm", again=True).added == 1
    assert desk.take("id,name,role\n1,Anna Smith,boss\n", "personas", system="crm").changed == 1


def test_what_is_kept_of_the_forgotten_names_nobody(desk: Desk) -> None:
    desk.take(ANN, "personas")
    desk.agent.forget(person="Ann Meyer")
    kept = desk.agent.replica.file.writer.execute("SELECT what, entity FROM market_people").fetchall()
    assert len(kept) == 4
    assert {len(what) for what, _ in kept} == {16}


# -- many at once ------------------------------------------------------------------------------------------------------

companies = st.lists(
    st.tuples(
        st.sampled_from(["", "1", "2"]), st.sampled_from(["Acme", "ACME Inc.", "Zeta", "Zeta Oils"]),
        st.sampled_from(["", "acme.com", "zeta.com"]), st.sampled_from(["", "1", "2", "x"]),
        st.sampled_from(["", "2026-11-01", "2026-11-02"]),
    ), max_size=12,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(companies)
def test_records_taken_at_once_are_as_one_after_the_other(tmp_path: Path, lines: list[tuple[str, ...]]) -> None:
    """However they are about the same things; and taken again they change nothing but what contradicts itself."""
    text = "id,name,website,employees,modified\n" + "".join(",".join(line) + "\n" for line in lines)
    told = []
    for gathers in (True, False):
        with Agent.create("ada", home=tmp_path / token_hex(8), domains=[MARKET], clock=ManualClock(START)) as agent:
            desk = Desk.__new__(Desk)
            desk.path, desk.clock, desk.agent, desk.market = tmp_path / "x", ManualClock(START), agent, Market(agent)
            with pytest.MonkeyPatch.context() as patch:
                if not gathers:
                    patch.setattr(market_import, "gathering_of", lambda recorder: None)
                report = desk.take(text, system="crm")
            rows = sorted(
                (row["name"], row["website"] or "", row["employee_count"] or 0)
                for row in agent.table(names.COMPANIES).every({})
            )
            told.append((rows, report.added, report.rejected, report.repeated))
    assert told[0] == told[1]


def test_many_records_are_one_append(desk: Desk) -> None:
    before = desk.fleet.replica.state.commits
    assert desk.take("id,name\n" + "".join(f"{at},C{at}\n" for at in range(200)), system="crm").added == 200
    assert desk.fleet.replica.state.commits - before <= 2


def test_publications_name_companies_that_were_just_imported(desk: Desk) -> None:
    desk.market.publish("http://f", "Acme Foods grows", guid="1")
    desk.take("name\nAcme Foods\n")
    desk.market.publish("http://f", "Acme Foods shrinks", guid="2")
    assert sorted(len(row["mentions"]) for row in desk.market.publications()) == [0, 1]
