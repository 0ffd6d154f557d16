"""Room `domains` (imports `views` and below): what declarations of several domains say alike."""

from __future__ import annotations

from typing import Any, Final

from antiphon.model.places import Places, Relational
from antiphon.model.table import READ_ALL, Check, Column, Table, Type
from antiphon.views.domain import AssertRow

HASH_PARTITIONS: Final = 16
"""Into how many parts PostgreSQL divides a table by the hash of a column."""
SHARE: Final = Check(least=0, most=1)
PERCENT: Final = Check(least=0, most=100)
COUNT: Final = Check(least=0)


def hashed(*columns: str, **places: Any) -> Places:
    """In PostgreSQL by the hash of these columns, and in those other places."""
    return Places(relational=Relational(hash=columns, partitions=HASH_PARTITIONS), **places)


def by_agent(name: str, thing: str, of: str, *said: Column, **declared: Any) -> Table:
    """A shared table in which each agent has one row on a thing, its own word; `thing` is the column that names it."""
    columns = (
        Column(thing, Type.ID, nullable=False, references=of),
        Column("agent_id", Type.AGENT, nullable=False),
        *said,
        Column("timestamp", Type.TIMESTAMP),
    )
    return Table(
        name, key=(thing, "agent_id"), columns=columns, shared=True, access=READ_ALL, places=hashed(thing), **declared
    )


def columns_of(table: Table, body: type, **others: str) -> dict[str, str]:
    """What AssertRow and UpdateRow take: each column that the body has a field for, and some others."""
    return {**{name: name for name in table.names if name in body.__annotations__}, **others}


def asserted(table: Table, body: type, **others: str) -> AssertRow:
    """The fold that makes a row of the body's fields, and of these others."""
    return AssertRow(table, **columns_of(table, body, **others))
