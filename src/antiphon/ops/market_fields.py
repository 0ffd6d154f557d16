"""Room `ops` (imports `engines` and below): what CRMs call the market's fields.

Pure. Headers that are no column's name and stand in no list below are left out, and said; `--map` decides otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from antiphon.domains.market import fields, names
from antiphon.model.errors import InvalidInput

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


def plain_header(header: str) -> str:
    """A header in the one form in which the lists above have it."""
    return re.sub(r"[^\w@]+", "_", header.strip().casefold()).strip("_")


def is_percent(header: str) -> bool:
    """Whether a header says that its cells are percentages: `Probability (%)`."""
    return header.strip().rstrip(")]").rstrip().endswith("%")


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
