"""Room `cli` (imports everything): `antiphon rows`: the rows of a declared table that the agent may read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, verb
from antiphon.model.errors import InvalidInput

if TYPE_CHECKING:
    from antiphon.model.table import Table
    from antiphon.query.plan import Range

VALUE_MAX: Final = 60
"""So many characters of a value are shown on a terminal."""
_CONDITION: Final = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=|=|>|<)(.*)", re.S)
_ENDS: Final = {">=": "least", ">": "above", "<=": "most", "<": "under"}


@verb("rows", short_help="List rows of a table by one of its indexes.")
@click.argument("table")
@click.option("--where", "conditions", multiple=True, metavar="COL=VALUE", help="Also > >= < <= on one column.")
@click.option("--order", "order", multiple=True, metavar="COL", help="As an index has them; n is the order of making.")
@click.option("--desc", "descending", is_flag=True, help="The last first.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many.")
@click.option("--after", metavar="CURSOR", help="Go on where a page ended.")
def rows(
    session: Session,
    *,
    table: str,
    conditions: Sequence[str],
    order: Sequence[str],
    descending: bool,
    limit: int,
    after: str | None,
) -> int:
    """Lists rows of one declared table that this agent may read.

    An index must serve the question; what none serves is refused, and the indexes there are are named. Times are ISO
    8601 or milliseconds; ids as they are shown.

    \b
      antiphon rows memories --order timestamp --desc --limit 5
      antiphon rows memories --where type=chat --json
      antiphon rows memories --where "timestamp>=2025-01-01"
    """
    from antiphon.query.shown import as_plain

    with session.agent() as agent:
        found = agent.table(table)
        equal, within = asked(found.table, conditions)
        page = found.page(equal, within=within, order=order, descending=descending, limit=limit, after=after)
        plain = [as_plain(found.table, row) for row in page.rows]
        if session.as_json:
            out.emit({"table": table, "by": page.by, "rows": plain, "cursor": page.cursor})
        else:
            _show(found.table, plain)
            if page.cursor is not None:
                out.aside(f"there are more: --after {page.cursor}")
    return 0


def asked(table: Table, conditions: Sequence[str]) -> tuple[dict[str, Any], Range | None]:
    """What the conditions say: equal values, and a range of one column. Raises InvalidInput."""
    from antiphon.query.plan import Range
    from antiphon.query.shown import from_text

    equal: dict[str, Any] = {}
    ends: dict[str, dict[str, Any]] = {}
    for condition in conditions:
        read = _CONDITION.fullmatch(condition)
        if read is None:
            raise InvalidInput(f"{condition!r:.80} is no condition: write COLUMN=VALUE, or one of > >= < <=")
        name, sign, text = read.groups()
        value = from_text(table.column(name), text.strip())
        given = equal if sign == "=" else ends.setdefault(name, {})
        place = name if sign == "=" else _ENDS[sign]
        if place in given:
            raise InvalidInput(f"{condition!r:.80}: {name} {sign} is said twice")
        given[place] = value
    if len(ends) > 1:
        raise InvalidInput(f"a question has a range of one column, not of {' and '.join(ends)}")
    return equal, next((Range(name, **both) for name, both in ends.items()), None)


def _show(table: Table, plain: list[dict[str, Any]]) -> None:
    from antiphon.query.shown import as_text, for_people

    if not out.is_terminal():
        print("\t".join(table.names))
        for row in plain:
            print("\t".join(out.one_line(as_text(row[name])) for name in table.names))
        return
    shown = [name for name in table.names if any(row[name] is not None for row in plain)]
    if plain:
        texts = [[for_people(table.column(name), row[name]) for name in shown] for row in plain]
        out.table(shown, [[out.one_line(text, most=VALUE_MAX) for text in row] for row in texts])
    else:
        out.aside(f"no row of {table.name} answers that")
