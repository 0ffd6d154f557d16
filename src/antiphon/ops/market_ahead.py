"""Room `ops` (imports `engines` and below): a file of records looked through before it is taken: how many, which twice.

Of two records about one thing that do not say since when they are so, the later one of the file stands; what both say
is taken once. So a file that is taken again changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from antiphon.domains.market import keys
from antiphon.model.errors import LimitExceeded
from antiphon.ops.market_rows import Record, Refused

RECORDS_MAX: Final = 1_000_000
"""Records of one file; about 200 bytes are remembered of each."""


class Ahead(msgspec.Struct):
    """What a file holds: how many records and refused rows; of a line, the next one about the same thing."""

    records: int = 0
    following: dict[int, int] = {}


def look_ahead(
    sort: str, items: Iterable[Record | Refused], *, progress: Callable[[int], None] = lambda count: None
) -> Ahead:
    """Goes through a file once. Raises LimitExceeded where it has more than RECORDS_MAX; what reading it raises."""
    found, last = Ahead(), dict[int, int]()
    for item in items:
        found.records += 1
        if found.records > RECORDS_MAX:
            raise LimitExceeded("RECORDS_MAX", got=found.records, allowed=RECORDS_MAX, what="the records of a file")
        progress(1)
        if isinstance(item, Refused) or item.at is not None:
            continue
        for key in map(hash, keys_of(sort, item)):
            before = last.get(key)
            if before is not None and before != item.line:
                found.following.setdefault(before, item.line)
            last[key] = item.line
    return found


def keys_of(sort: str, record: Record) -> Iterator[tuple[str, ...]]:
    """What a record is found again by, beside the book's own ids."""
    said, by = record.fields, record.company or str(record.fields.get("company_id") or "")
    name = said.get("name")
    if record.id is not None:
        yield "id", record.id
    if sort == "companies" and said.get("website"):
        yield "site", keys.site_key(said["website"])
    elif sort == "personas" and said.get("email"):
        yield "email", said["email"]
    elif name and sort == "companies":
        yield "name", keys.company_key(name)
    elif name and sort == "personas":
        yield "name", keys.fingerprint(name, said.get("company"))
    elif name and sort == "products":
        yield "name", keys.product_key(name), keys.company_key(by)
    elif name:
        yield "name", keys.company_key(name), keys.company_key(by)


class Folded:
    """A file's records, those about one thing as one, in the place of the last; `repeated` counts the others."""

    def __init__(self, items: Iterable[Record | Refused], ahead: Ahead) -> None:
        self._items, self._following = items, ahead.following
        self.repeated = 0

    def __iter__(self) -> Iterator[Record | Refused]:
        kept: dict[int, Record] = {}
        for item in self._items:
            if isinstance(item, Refused):
                yield item
                continue
            earlier = kept.pop(item.line, None)
            record = item if earlier is None else joined(earlier, item)
            following = self._following.get(item.line)
            if following is None:
                yield record
                continue
            self.repeated += 1
            waiting = kept.get(following)
            kept[following] = record if waiting is None else joined(waiting, record)


def joined(earlier: Record, later: Record) -> Record:
    """Two records about one thing as one: what the later one says stands, and what it leaves out of the earlier."""
    called = later.id or earlier.id
    others = dict.fromkeys(filter(None, (*earlier.others, earlier.id, *later.others)))
    return Record(
        later.line, {**earlier.fields, **later.fields}, called, later.at, later.stage or earlier.stage,
        later.company or earlier.company, {**earlier.since, **later.since},
        tuple(one for one in others if one != called),
    )  # fmt: skip
