"""Room `ops` (imports `engines` and below): what CRMs call the market's fields, and their cells as values of columns.

Pure. Headers that are no column's name and stand in no list below are left out, and said; `--map` decides otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from antiphon.domains.market import fields, names
from antiphon.model import times
from antiphon.model.errors import InvalidInput
from antiphon.model.table import Column, Type

SORTS: Final = {
    "companies": names.COMPANIES, "products": names.PRODUCTS, "opportunities": names.OPPORTUNITIES,
    "personas": names.PERSONAS,
}  # fmt: skip
"""What is imported, by the table that it goes to."""
ID: Final = "@id"
MODIFIED: Final = "@modified"
STAGE: Final = "@stage"
COMPANY: Final = "@company"
FIRST: Final = "@first_name"
LAST: Final = "@last_name"
IGNORED: Final = "-"
SPECIAL: Final = {
    ID: "what the other system calls it",
    MODIFIED: "since when its values are so",
    STAGE: "a deal's stage",
    COMPANY: "a company of the book by its name",
    FIRST: "a part of a person's name",
    LAST: "a part of a person's name",
    IGNORED: "left out",
}
"""What a header can be mapped to beside columns."""
_FOR: Final = {
    STAGE: ("opportunities",), COMPANY: ("products", "opportunities"), FIRST: ("personas",), LAST: ("personas",),
}  # fmt: skip
_COMMON: Final = {
    "id": ID, "record_id": ID, "object_id": ID, "hs_object_id": ID, "external_id": ID, "vid": ID,
    "account_id": ID, "contact_id": ID, "deal_id": ID, "opportunity_id": ID, "modified": MODIFIED,
    "last_modified": MODIFIED, "last_modified_date": MODIFIED, "lastmodifieddate": MODIFIED, "updated_at": MODIFIED,
    "updatedat": MODIFIED, "hs_lastmodifieddate": MODIFIED, "lead_source": "source",
}  # fmt: skip
_OF_SORT: Final[dict[str, dict[str, str]]] = {
    "companies": {
        "company": "name", "company_name": "name", "account_name": "name", "organization": "name", "domain": "website",
        "company_domain_name": "website", "website_url": "website", "url": "website", "site": "website",
        "number_of_employees": "employee_count", "numberofemployees": "employee_count", "employees": "employee_count",
        "annualrevenue": "annual_revenue", "revenue": "annual_revenue", "industry": "sector", "sectors": "sector",
    },
    "personas": {
        "full_name": "name", "contact_name": "name", "first_name": FIRST, "firstname": FIRST, "last_name": LAST,
        "lastname": LAST, "surname": LAST, "email_address": "email", "e_mail": "email", "phone_number": "phone",
        "mobile": "phone", "mailing_address": "address", "street_address": "address", "company_name": "company",
        "account_name": "company", "associated_company": "company", "organization": "company", "job_title": "role",
        "jobtitle": "role", "title": "role", "linkedin": "linkedin_url", "linkedin_profile": "linkedin_url",
    },
    "products": {
        "product": "name", "product_name": "name", "price": "price_per_unit", "unit_price": "price_per_unit",
        "unit": "unit_type", "family": "category", "product_family": "category", "company": COMPANY,
        "company_name": COMPANY, "brand": COMPANY, "manufacturer": COMPANY,
    },
    "opportunities": {
        "deal": "name", "deal_name": "name", "dealname": "name", "opportunity_name": "name", "amount": "value",
        "deal_value": "value", "stage": STAGE, "deal_stage": STAGE, "dealstage": STAGE, "stagename": STAGE,
        "stage_name": STAGE, "closedate": "close_date", "createdate": "created_date", "create_date": "created_date",
        "createddate": "created_date", "deal_probability": "probability", "hs_deal_stage_probability": "probability",
        "company": COMPANY, "company_name": COMPANY, "account_name": COMPANY, "associated_company": COMPANY,
        "next_step": "next_steps", "nextstep": "next_steps", "campaign_source": "campaign",
    },
}  # fmt: skip
_STAGES: Final = {
    "appointmentscheduled": "prospecting", "new": "prospecting", "lead": "prospecting", "qualifiedtobuy":
    "qualification", "qualified": "qualification", "needsanalysis": "qualification", "valueproposition": "proposal",
    "presentationscheduled": "proposal", "proposalpricequote": "proposal", "perceptionanalysis": "proposal",
    "iddecisionmakers": "proposal", "quote": "proposal", "decisionmakerboughtin": "negotiation", "contractsent":
    "negotiation", "negotiationreview": "negotiation", "contract": "negotiation", "closedwon": names.WON,
    "won": names.WON, "closedlost": names.LOST, "lost": names.LOST,
    **{stage.replace("_", ""): stage for stage in names.STAGES},
}  # fmt: skip
_TRUE: Final = frozenset({"true", "yes", "y", "1", "x"})
_FALSE: Final = frozenset({"false", "no", "n", "0"})
_THOUSANDS: Final = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_MONEY: Final = re.compile(r"^[$€£¥]\s*|\s*[$€£¥]$|\s*(USD|EUR|GBP|CHF)$|^(USD|EUR|GBP|CHF)\s*")
_LISTS: Final = re.compile(r"\s*[;|\n]\s*")
_SECONDS_BELOW: Final = 10**11
"""A whole number below is seconds since 1970 (until the year 5138), above it milliseconds (from 1973 on)."""


def plain_header(header: str) -> str:
    """A header in the one form in which the lists above have it."""
    return re.sub(r"[^\w@]+", "_", header.strip().casefold()).strip("_")


def target_of(sort: str, header: str, given: Mapping[str, str]) -> str | None:
    """The column, or one of SPECIAL, that a header's cells go to; None where nothing says so."""
    if header in given:
        return given[header]
    plain = plain_header(header)
    if plain in given:
        return given[plain]
    if plain in fields.FIELDS[SORTS[sort]]:
        return plain
    return _OF_SORT[sort].get(plain) or _COMMON.get(plain)


def check_map(sort: str, given: Mapping[str, str]) -> None:
    """Raises InvalidInput where a mapping goes to what is no field."""
    if sort not in SORTS:
        raise InvalidInput(f"market: what is imported is one of {', '.join(SORTS)}, not {sort!r:.60}")
    allowed = [*fields.FIELDS[SORTS[sort]], *(name for name in SPECIAL if sort in _FOR.get(name, (sort,)))]
    for header, target in given.items():
        if target not in allowed:
            raise InvalidInput(f"--map {header}={target}: {sort} have no {target!r}; they have {', '.join(allowed)}")


def value_of(sort: str, target: str, cell: Any) -> Any:
    """A cell as the value of its column; None where it is empty. Raises InvalidInput, saying what is wrong with it."""
    if isinstance(cell, str):
        cell = cell.strip()
        if not cell:
            return None
    if target == STAGE:
        return stage_of(cell)
    if target == MODIFIED:
        return None if cell is None else time_of(cell)
    if target in SPECIAL:
        return None if cell is None else str(cell)
    column = fields.TABLES[SORTS[sort]].column(target)
    if cell is None:
        return None
    try:
        return _value(column, cell)
    except (ValueError, TypeError, InvalidOperation, msgspec.DecodeError):
        shown = "what is there" if column.pii else f"{cell!r:.60}"
        raise InvalidInput(f"{target}: {shown} is no {column.type}") from None


def stage_of(cell: Any) -> str | None:
    """The stage that a CRM's word means. Raises InvalidInput where it is none that is known."""
    if cell is None:
        return None
    plain = re.sub(r"[\W_]+", "", str(cell)).casefold()
    if plain not in _STAGES:
        raise InvalidInput(f"stage: {cell!r:.60} is none of {', '.join(names.STAGES)}, nor a common CRM's word for one")
    return _STAGES[plain]


def time_of(cell: Any) -> int:
    """Milliseconds since 1970 from ISO 8601 text, seconds or milliseconds. Raises InvalidInput."""
    if isinstance(cell, str) and re.fullmatch(r"-?\d{1,15}", cell):
        cell = int(cell)
    if isinstance(cell, bool) or not isinstance(cell, int | str):
        raise InvalidInput(f"a time: {cell!r:.60} is none")
    if isinstance(cell, int):
        return cell * 1_000 if abs(cell) < _SECONDS_BELOW else cell
    return times.to_ms(cell)


def _value(column: Column, cell: Any) -> Any:
    match column.type:
        case Type.TEXT:
            return cell if isinstance(cell, str) else str(cell)
        case Type.ENUM:
            text = str(cell)
            return next((value for value in column.values if value.casefold() == text.casefold()), text)
        case Type.INTEGER:
            whole = _number(cell)
            if whole != whole.to_integral_value():
                raise ValueError
            return int(whole)
        case Type.DECIMAL:
            return _number(cell)
        case Type.BOOLEAN:
            return _boolean(cell)
        case Type.DATE:
            return times.iso(time_of(cell))[:10]
        case Type.TIMESTAMP:
            return time_of(cell)
        case Type.LIST | Type.SET:
            return _list(cell)
        case _:  # JSON, points, vectors
            return msgspec.json.decode(cell) if isinstance(cell, str) and cell[:1] in "[{" else cell


def _number(cell: Any) -> Decimal:
    if isinstance(cell, bool):
        raise TypeError
    if not isinstance(cell, str):
        return Decimal(str(cell))
    text = _MONEY.sub("", cell).strip()
    share = text.endswith("%")
    text = text.removesuffix("%").strip()
    if "," in text:
        if not _THOUSANDS.fullmatch(text):  # 1,5 may be one and a half, or fifteen
            raise ValueError
        text = text.replace(",", "")
    found = Decimal(text)
    if not found.is_finite():
        raise ValueError
    return found / 100 if share else found


def _boolean(cell: Any) -> bool:
    if isinstance(cell, bool):
        return cell
    text = str(cell).casefold()
    if text not in _TRUE | _FALSE:
        raise ValueError
    return text in _TRUE


def _list(cell: Any) -> list[Any]:
    if isinstance(cell, list):
        return cell
    if not isinstance(cell, str):
        raise TypeError
    if cell.startswith("["):
        return msgspec.json.decode(cell, type=list[Any])
    parts = _LISTS.split(cell) if _LISTS.search(cell) else cell.split(",")
    return [part.strip() for part in parts if part.strip()]
