"""Room `query` (imports `knowledge` and below): who may read which rows: one rule, put into every engine's query.

| access | rows that an agent sees |
|---|---|
| all | every row, where the table is shared (an unshared one also folds private events: then as `own`) |
| own | those it speaks for: the row's event stands in one of its logs, or the key names it as the author |
| parties | as `own`, and those that name it in one of the columns; of shared tables also what is open `besides` |

A bucket of a rollup sums the rows of several agents. It is seen where all of them are: where the group has a column
by which the rows themselves would be seen; or where nobody else writes in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.model.errors import InvalidInput
from antiphon.model.table import Table, Type


class Reader(msgspec.Struct, frozen=True):
    """The agent that asks, and the numbers of its logs in the file. `alone`: nobody else's logs are folded there."""

    agent: bytes
    logs: tuple[int, ...]
    alone: bool = False


class Seen(msgspec.Struct, frozen=True):
    """Which rows: all; or those of these logs, and those that name the agent in one of these columns."""

    all: bool = False
    logs: tuple[int, ...] = ()
    columns: tuple[str, ...] = ()
    besides: tuple[str, tuple[str, ...]] | None = None
    """Rows whose column has one of these values, whoever asks."""

    def holds(self, agent: bytes, log: int, values: Mapping[str, Any]) -> bool:
        """Whether this row is among them."""
        if self.all or log in self.logs:
            return True
        if self.besides is not None and values[self.besides[0]] in self.besides[1]:
            return True
        return any(values[name] == agent for name in self.columns)


EVERY_ROW = Seen(all=True)


def seen_by(reader: Reader, table: Table, tables: Mapping[str, Table]) -> Seen:
    """What this agent sees of a table. Raises InvalidInput for a rollup that nobody may read alone."""
    source = tables[table.rollup_of] if table.rollup_of is not None else table
    if source.access.rule == "all" and source.shared:
        return EVERY_ROW
    columns = [name for name in source.access.columns if source.column(name).type == Type.AGENT]
    if source.agent_in_key is not None and source.writers.rule != "anyone":
        columns.append(source.agent_in_key)
    if table is source:
        besides = source.access.besides if source.shared else None
        return Seen(logs=reader.logs, columns=tuple(dict.fromkeys(columns)), besides=besides)
    if reader.alone:
        return EVERY_ROW
    kept = tuple(name for name in dict.fromkeys(columns) if name in table.key)
    if not kept:
        raise InvalidInput(
            f"the rollup {table.name!r} sums rows of several agents, each of whom may read only its own rows of "
            f"{source.name!r}: give it a group that names the agent, or read the rows",
            table=table.name,
        )
    return Seen(columns=kept)
