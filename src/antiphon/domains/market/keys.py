"""Room `domains` (imports `views` and below): what two spellings of one thing have in common, and the ids from it.

Companies and products are no people, so their ids are hashes that everybody can compute, of the book's home and a key:
nobody can make a row in another's book. People's ids are minted, since a hash of a name can be guessed.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date, timedelta
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from antiphon.domains.market import names
from antiphon.model.errors import InvalidInput
from antiphon.model.text import name_key, natural_id

_LEGAL: Final = frozenset(
    {
        "ab", "ag", "aps", "as", "asa", "bv", "co", "company", "corp", "corporation", "gmbh", "inc", "incorporated",
        "kg", "kk", "limited", "llc", "llp", "lp", "ltd", "nv", "oy", "oyj", "plc", "pty", "pvt", "sa", "sarl",
        "sas", "se", "spa", "srl", "sro",
    }
)  # fmt: skip
_HOST: Final = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")
_EMAIL: Final = re.compile(r"[^\s@<>\",;:]{1,64}@[^\s@<>\",;:]{1,253}")


def company_key(name: str) -> str:
    """What spellings of one company's name share: no case, accents, punctuation or legal form; never empty."""
    plain = unicodedata.normalize("NFD", name_key(name).replace("&", " and "))
    kept = "".join(c if c.isalnum() else "" if unicodedata.combining(c) or c in ".'’" else " " for c in plain)
    words = kept.split()
    while len(words) > 1 and words[-1] in _LEGAL:
        words.pop()
    return " ".join(words) or name_key(name)


def product_key(name: object) -> str:
    """What spellings of one product's name share. Raises InvalidInput where there is no name."""
    if not isinstance(name, str) or not name.strip():
        raise InvalidInput(f"{names.PRODUCTS}.name: a product needs a name")
    return name_key(name)


def site_key(url: str) -> str:
    """The host of a site without `www.`, in ASCII. Raises InvalidInput where it is no site."""
    text = url.strip()
    fault = InvalidInput(f"{names.COMPANIES}.website: {url[:80]!r} is no site: write it like https://example.com")
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host = (parts.hostname or "") if parts.scheme in ("", "http", "https") and "@" not in parts.netloc else ""
        host = host.rstrip(".").encode("idna").decode("ascii").lower().removeprefix("www.")
    except (UnicodeError, ValueError):
        raise fault from None
    if not _HOST.fullmatch(host):
        raise fault
    return host


def email_key(email: str) -> str:
    """An address in the one form that it is looked up by. Raises InvalidInput, without repeating what it is not."""
    found = unicodedata.normalize("NFKC", email).strip().casefold()
    if not _EMAIL.fullmatch(found):
        raise InvalidInput(f"{names.PERSONAS}.email is no address: write it like name@example.com")
    return found


def fingerprint(name: str, company: str | None, email: str | None = None) -> str:
    """SHA-256 of what tells one person from another: the name, the company, and the address where these are not
    enough. Personal data: whoever knows a name can compute it.
    """
    core = "\0".join((name_key(name), company_key(company) if company else "", email or ""))
    return sha256(b"antiphon/persona/v1\0" + core.encode()).hexdigest()


def company_id(home: bytes, key: str) -> bytes:
    """The company that this book knows by a key: `site:` or `name:` and what follows."""
    return natural_id("market/company", f"{home.hex()}/{key}")


def product_id(home: bytes, company: bytes | None, key: str) -> bytes:
    """The product of a company (or of none) that this book knows by a key."""
    return natural_id("market/product", f"{home.hex()}/{(company or b'').hex()}/{key}")


def forecast_id(agent: bytes, start: date, end: date) -> bytes:
    """An agent's forecast for a period."""
    return natural_id("market/forecast", f"{agent.hex()}/{start.isoformat()}/{end.isoformat()}")


def publication_id(agent: bytes, feed: str, key: str) -> bytes:
    """What an agent has read in a feed, by what that calls it, else by its link: no feed writes another's."""
    return natural_id("market/publication", f"{agent.hex()}/{len(feed)}/{feed}/{key}")


def periods_of(day: date) -> tuple[tuple[date, date], ...]:
    """The week (from Monday), month, quarter and year that a day is in: first and last day of each."""
    quarter = 3 * ((day.month - 1) // 3) + 1
    monday = day.toordinal() - day.weekday()
    week = (date.fromordinal(max(1, monday)), date.fromordinal(min(date.max.toordinal(), monday + 6)))
    months = (day.month, day.month), (quarter, quarter + 2), (1, 12)
    return week, *((date(day.year, first, 1), _last(day.year, last)) for first, last in months)


def _last(year: int, month: int) -> date:
    if month == 12:
        return date(year, 12, 31)
    return date(year, month + 1, 1) - timedelta(days=1)


def check_period(start: date, end: date) -> None:
    """Raises InvalidInput where these are not the first and last day of a week, month, quarter or year."""
    if (start, end) not in periods_of(start):
        raise InvalidInput(
            f"{names.FORECASTS}: {start} to {end} is no period: take the first and last day of one "
            f"{', '.join(names.PERIODS[:-1])} or {names.PERIODS[-1]}, into which closed deals are counted"
        )
