"""A book of the market: companies, people and deals, each once however often they come; a forecast and what came."""

import json
import tempfile
from pathlib import Path

from antiphon import Conflict, Fleet
from antiphon.domains.market import MARKET, Market
from antiphon.model.text import id_text
from antiphon.ops.market_hook import Inbound
from antiphon.ops.market_import import import_records
from antiphon.ops.market_rows import Rows
from antiphon.ops.market_signed import signed_headers

with tempfile.TemporaryDirectory() as folder, Fleet.create(f"{folder}/fleet", domains=[MARKET]) as fleet:
    ada, bob = fleet.add("ada"), fleet.add("bob")
    book = Market(ada)

    # 1. An export of a CRM: the same company, spelled otherwise, is the same row; bad rows are said with their lines.
    export = Path(folder, "companies.csv")
    export.write_text(
        "Company name,Website,Employees\nACME Foods Inc.,https://www.acme.com,120\nacme foods,,many\nZeta,,7\n"
    )
    report = import_records(book, "companies", Rows(export, "companies"), system="hubspot")
    print(f"import: {report.added} added,", [(one.line, one.reason.split(":")[0]) for one in report.refused])
    print("again:", import_records(book, "companies", Rows(export, "companies"), system="hubspot").same, "the same")

    # 2. People are found by their address. What names them is kept apart, and forgotten by name.
    meyer = book.persona("Ann Meyer", email="Ann@Acme.com", company="Acme Foods", role="buyer")
    book.persona("A. Meyer", email="ann@acme.com", mbti_type="INTJ")
    for went_well in (True, True, False):
        book.meet(meyer.entity, success=went_well)
    print(f"trust in {book.get(meyer.entity)['name']}: {book.trust(meyer.entity):.2f}")

    # 3. Who is admitted adds to the book; the book's home decides, and of two values the later one stands.
    theirs = Market(bob, book=id_text(ada.log_id))
    try:
        theirs.company("Zeta", employee_count=8)
    except Conflict as refused:
        print("refused:", str(refused).split(": ")[1])
    book.admit(bob.id)
    print("bob:", theirs.company("Zeta", employee_count=8).what, book.find_company("Zeta")["employee_count"])

    # 4. Deals: their home moves them, and what is won fills the forecast of its month, quarter and year.
    acme = book.find_company(website="acme.com")["id"]
    oats = book.opportunity("Oats", 1_000, company_id=acme, probability="0.4", close_date="2026-06-01")
    book.forecast("2026-01-01", "2026-12-31")
    print("weighted:", book.get(oats.entity)["weighted_value"])
    book.move(oats.entity, "closed_won", on="2026-06-03")
    print("actual:", book.forecast_of("2026-01-01", "2026-12-31")["actual_revenue"])

    # 5. A CRM tells of a change, signed; told twice it is one.
    secret, hook = b"shared by the two of us", Inbound(book, "hubspot", b"shared by the two of us")
    body = json.dumps({"changes": [{"type": "company", "id": "7", "fields": {"name": "Omega"}}]}).encode()
    headers = signed_headers(secret, "hubspot", "message-1", ada.replica.clock.now_ms(), body)
    print("webhook:", [hook.receive(headers, body).said["status"] for _ in range(2)])
    print("unsigned:", hook.receive({}, body).status)
    ada.forget(person="Ann Meyer")
    print("forgotten:", book.get(meyer.entity), "verified:", ada.verify().ok)
