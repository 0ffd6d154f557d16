"""The dashboards' figures by plain SQL on the server that follows."""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql


class Asked(msgspec.Struct, frozen=True):
    """A question, as it was asked, and its answer."""

    title: str
    sql: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    took_ms: float


QUESTIONS: Final = (
    (
        "agents and what they said",
        "SELECT count(DISTINCT sender)\n       AS agents,\n       count(*) AS messages\nFROM messages",
    ),
    (
        "who talks most with whom",
        "SELECT a.codename AS one,\n       b.codename AS other, count(*)\nFROM messages\n"
        "JOIN agents a ON a.id = least(\n     sender, recipient)\nJOIN agents b ON b.id = greatest(\n"
        "     sender, recipient)\nGROUP BY 1, 2\nORDER BY 3 DESC, 1 LIMIT 5",
    ),
    (
        "coherence per hour",
        "SELECT extract(hour FROM time)::int\n       AS h, count(*) AS talks,\n"
        "       avg(coherence_level) AS level\nFROM field_measurements\nGROUP BY 1 ORDER BY 1",
    ),
    ("tasks by status", "SELECT status, count(*)\nFROM tasks\nGROUP BY 1 ORDER BY 2 DESC, 1"),
    (
        "what rang true",
        "SELECT resonance AS n, content\nFROM insights\nORDER BY 1 DESC, created_at LIMIT 4",
    ),
    (
        "top tasks",
        "SELECT score AS votes, title\nFROM tasks\nWHERE status <> 'complete'\n"
        "ORDER BY 1 DESC, created_at LIMIT 5",
    ),
    (
        "mean trust",
        "SELECT avg(score) AS trust,\n       count(*) AS links\nFROM agent_links\nWHERE successes + failures > 0",
    ),
)  # fmt: skip


def ask(url: str, *, schema: str = "antiphon") -> list[Asked]:
    """Each question's answer, as the server gives it."""
    found = []
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
        for title, question in QUESTIONS:
            began = time.monotonic()
            with session.cursor() as cursor:
                cursor.execute(question.encode())
                rows = tuple(cursor.fetchall())
                columns = tuple(column.name for column in cursor.description or ())
            found.append(Asked(title, question, columns, rows, (time.monotonic() - began) * 1000))
    return found


def count_rows(url: str, tables: list[str], *, schema: str = "antiphon") -> dict[str, int]:
    """How many rows the server has of each table."""
    with psycopg.connect(url, autocommit=True) as session:
        found = {}
        for table in tables:
            query = sql.SQL("SELECT count(*) FROM {}.{}").format(sql.Identifier(schema), sql.Identifier(table))
            row = session.execute(query).fetchone()
            found[table] = 0 if row is None else int(row[0])
    return found
