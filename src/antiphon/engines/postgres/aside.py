"""Room `engines` (imports all below it): what migrations keep, once something was forgotten: it goes.

No change reaches what was put aside, nor a column that is declared no more, so nobody could say whether the forgotten
stands there. Until something is forgotten the way back stays open; it leads by the feed in any case.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import psycopg

from antiphon.engines.postgres.connection import Session
from antiphon.engines.postgres.ddl import Dialect, quoted
from antiphon.engines.postgres.founding import noted_sql
from antiphon.engines.postgres.migrate import dropped
from antiphon.engines.postgres.migrating import declaration_of
from antiphon.engines.postgres.shape import put_aside
from antiphon.model.table import Table


def forget(session: Session, schema: str, count: int, tables: Mapping[str, Table], dialect: Dialect) -> list[str]:
    """Drops what is kept of former declarations and alterations, unless that was done when the file had forgotten
    `count` times; which it could not drop: somebody reads it, or has made something of it. Inside a transaction that
    holds the fence.
    """
    q = quoted(schema)
    if session.execute(f"SELECT FROM {q}._fence WHERE forgets = %s", (count,)).fetchone() is not None:
        return []
    steps = put_aside(session, schema)
    for name, said in session.execute(f"SELECT name, former::text FROM {q}._tables").fetchall():
        formers = [declaration_of(one) for one in msgspec.json.decode(said)] if name in tables else []
        steps += [step for former in formers for step in dropped(former, tables[name], dialect)]
    left = []
    for step in dict.fromkeys(steps):
        try:
            with session.transaction():
                session.execute(step.sql.encode())
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DependentObjectsStillExist):
            left.append(step.table)
    if left:
        return sorted(set(left))
    if steps:
        session.execute(f"UPDATE {q}._tables SET former = '[]' WHERE name = ANY(%s)", (list(tables),))
        session.execute(
            noted_sql(
                schema, "all tables", None, "what was kept of before is dropped: something was forgotten"
            ).encode()
        )
    session.execute(f"UPDATE {q}._fence SET forgets = %s", (count,))
    return []
