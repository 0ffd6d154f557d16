"""A source that keeps the plan of each statement that reads ask, in the role in which they ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from antiphon.engines.postgres.access import role_name
from antiphon.engines.postgres.source import PostgresSource
from antiphon.model.table import Table
from antiphon.query.access import Reader


class Explained:
    """A session that asks for the plan of each statement before it runs it."""

    def __init__(self, session: Any, plans: list[str], role: str) -> None:
        self._session, self._plans, self._role = session, plans, role

    def execute(self, text: Any, *values: Any, **how: Any) -> Any:
        if isinstance(text, str) and text.startswith("SELECT "):
            assert self._session.execute("SELECT current_user").fetchone() == (self._role,)
            rows = self._session.execute(f"EXPLAIN (COSTS OFF) {text}", *values).fetchall()
            self._plans.append("\n".join(line for (line,) in rows))
        return self._session.execute(text, *values, **how)


class ExplainedSource(PostgresSource):
    """Keeps the plan of each statement that reads ask."""

    def __init__(self, *given: Any, **how: Any) -> None:
        super().__init__(*given, **how)
        self.plans: list[str] = []
        self.settings: tuple[str, ...] = ()
        """What the planner is told in each transaction: where a test has too few rows for its own choice."""

    @contextmanager
    def _as(self, reader: Reader, table: Table) -> Iterator[Any]:
        with super()._as(reader, table) as session:
            for setting in self.settings:
                session.execute(f"SET LOCAL {setting}".encode())
            yield Explained(session, self.plans, role_name(self._schema, "agent"))
