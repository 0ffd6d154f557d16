"""Room `domains` (imports `views` and below): which fields records of the market have, and which of two values counts.

One rule for commands, imports, other agents' requests and CRM systems alike: field by field, the value that is from
later at its source; at the same time the one that sorts last, so that the order in which they come is all one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from antiphon.domains.market import keys, names
from antiphon.domains.market.parties import COMPANIES_TABLE, PERSONAS_TABLE, PRODUCTS_TABLE
from antiphon.domains.market.pipeline import OPPORTUNITIES_TABLE
from antiphon.model.errors import InvalidInput, LimitExceeded
from antiphon.model.table import Column, Table, Type
from antiphon.model.text import check_text, parse_entity, parse_id
from antiphon.model.values import canonical, packed

TABLES: Final = {table.name: table for table in (PERSONAS_TABLE, COMPANIES_TABLE, PRODUCTS_TABLE, OPPORTUNITIES_TABLE)}
IDENTITY: Final = ("name", "email", "phone", "address", "linkedin_url")
"""What says who a person is: recorded apart from the rest, so that the rest names nobody."""
_OURS: Final = frozenset(
    {
        "id", "fingerprint", "name_key", "site_key", "created_at", "updated_at", "field_times", "home", "stage",
        "audience", "circle", "closed_on", "stage_since", "velocity_score", "owner_agent", "support_agents",
        "created_by",
    }
)  # fmt: skip
"""Columns that no record gives: they follow from it, or are decided."""
FIELDS: Final = {
    name: tuple(c.name for c in table.columns if c.name not in _OURS and c.derived is None)
    for name, table in TABLES.items()
}
"""By table, the columns that records can give."""
ENRICHMENT: Final = tuple(name for name in FIELDS[names.PERSONAS] if name not in IDENTITY)

_PARSERS: Final[dict[Type, Callable[[str], bytes]]] = {
    Type.ID: parse_entity, Type.AGENT: parse_id, Type.LOG: parse_id,
}  # fmt: skip

Select = Callable[..., Sequence[Mapping[str, Any]]]
"""(table, column=value, …) -> rows."""


class Taken(msgspec.Struct, frozen=True):
    """What of a record counts: the fields that change, since when every field has its value, and what came too late.

    `confirmed` are fields that have the value already, and have it still at a later time: what is older loses then.
    """

    changes: dict[str, Any]
    times: dict[str, int]
    stale: tuple[str, ...] = ()
    confirmed: tuple[str, ...] = ()

    @property
    def is_news(self) -> bool:
        """Whether there is anything to record."""
        return bool(self.changes or self.confirmed)


def checked(table: str, given: Mapping[str, Any], *, only: Sequence[str] = ()) -> dict[str, Any]:
    """The fields in the form that events carry. Raises InvalidInput, naming the table, the field and what is wrong."""
    allowed = only or FIELDS[table]
    if len(given) > names.FIELDS_MAX:
        raise LimitExceeded("FIELDS_MAX", got=len(given), allowed=names.FIELDS_MAX, what=f"the fields of {table}")
    found = {}
    for name, value in given.items():
        if name not in allowed:
            raise InvalidInput(f"{table} has no field {name!r:.60} to be given here; it has {', '.join(allowed)}")
        found[name] = _form(TABLES[table], name, value)
    return found


def _form(table: Table, name: str, value: Any) -> Any:
    column = table.column(name)
    if value is None and column.nullable:
        return None
    if isinstance(value, str):
        check_text(value, what=f"{table.name}.{name}")
        if column.type == Type.TEXT:
            value = value.strip() if "\n" in value else " ".join(value.split())
            if not value:
                raise InvalidInput(f"{table.name}.{name} is empty: leave it out, or say what it is")
            if name == "website":
                keys.site_key(value)
            if name == "email":
                value = keys.email_key(value)
    try:
        found = canonical(column, _ids(column, value))
    except InvalidInput as error:
        if column.pii:  # what does not fit could still be somebody's
            raise InvalidInput(f"{table.name}.{name} is not what it should be: a text of at most {_most(name):,}"
                               " characters") from None  # fmt: skip
        what = str(error).removeprefix(f"column {name!r}")  # which the table's name stands before
        raise InvalidInput(f"{table.name}.{name}{what if what != str(error) else f': {error}'}") from None
    if column.pii:
        check_identity({name: found})
    return packed(found) if column.type == Type.VECTOR else found


def check_identity(said: Mapping[str, Any]) -> None:
    """Raises InvalidInput where what names a person is too long. No check of the column: in engines it is ciphertext,
    which is longer.
    """
    for name, value in said.items():
        if isinstance(value, str) and len(value) > _most(name):
            raise InvalidInput(f"{names.PERSONAS}.{name} is longer than {_most(name):,} characters")


def _most(name: str) -> int:
    return names.URL_CHARS_MAX if name == "linkedin_url" else names.SHORT_TEXT_MAX


def _ids(column: Column, value: Any) -> Any:
    """Ids as bytes, where they are written as text."""
    parse = _PARSERS.get(column.of or column.type)
    if parse is None:
        return value
    if isinstance(value, str):
        return parse(value)
    if isinstance(value, list | tuple | set):
        return [parse(one) if isinstance(one, str) else one for one in value]
    return value


def only(table: str, fields: Mapping[str, Any], allowed: Sequence[str] = ()) -> dict[str, Any]:
    """An event's fields. Raises InvalidInput where one is none of the table's: who wrote it wanted something else."""
    known = allowed or FIELDS[table]
    for name in fields:
        if name not in known:
            raise InvalidInput(f"{table} has no field {name!r:.60} that such an event may write")
    return dict(fields)


def taken(
    table: str,
    row: Mapping[str, Any] | None,
    given: Mapping[str, Any],
    at: int,
    since: Mapping[str, int] | None = None,
    *,
    now: bool = False,
) -> Taken:
    """What of a record, as of a time, counts beside what is known already; `since` has fields' own times.

    What is said `now`, by who sees what is known, is later than that, whatever the clock says.
    """
    times: dict[str, int] = {} if row is None else dict(row["field_times"] or {})
    changes: dict[str, Any] = {}
    stale, confirmed = [], []
    for name, value in given.items():
        column = TABLES[table].column(name)
        theirs, when = canonical(column, value), (since or {}).get(name, at)
        if row is None or name not in times:
            if theirs is None:
                continue
        else:
            is_now = now and name not in (since or {})
            ours = canonical(column, row[name]) if row[name] is not None else None
            if ours == theirs:
                if when > times[name] and not is_now:
                    confirmed.append(name)
                    times[name] = when
                continue
            if is_now:
                when = max(when, times[name] + 1)
            if (when, _sorted(theirs)) <= (times[name], _sorted(ours)):
                stale.append(name)
                continue
        changes[name], times[name] = value, when
    return Taken(changes, times, tuple(stale), tuple(confirmed))


def _sorted(value: Any) -> bytes:
    """A value as what has one order, nothing before all else."""
    return b"" if value is None else msgspec.json.encode(value, order="sorted")


def find_company(select: Select, home: bytes, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The company of a book that this is about: by its site, else by its name where no site says otherwise.

    Raises InvalidInput where several have the name.
    """
    site = keys.site_key(fields["website"]) if fields.get("website") else None
    if site is not None:
        for row in select(names.COMPANIES, home=home, site_key=site):
            return row
    if not fields.get("name"):
        return None
    named = select(names.COMPANIES, home=home, name_key=keys.company_key(fields["name"]))
    same = [row for row in named if site is None or row["site_key"] is None]
    if len(same) > 1:
        raise InvalidInput(
            f"{names.COMPANIES}.name: {len(same)} companies of this book are called {fields['name']!r:.80}: say the "
            "website of the one that is meant"
        )
    return same[0] if same else None


def company_key(fields: Mapping[str, Any]) -> str:
    """What the id of a new company is made of. Raises InvalidInput where it has no name."""
    if not fields.get("name"):
        raise InvalidInput(f"{names.COMPANIES}.name: a company that is not in the book yet needs a name")
    if fields.get("website"):
        return f"site:{keys.site_key(fields['website'])}"
    return f"name:{keys.company_key(fields['name'])}"
