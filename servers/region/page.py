"""The screen that the region demo ends in: sections with figures and marks, 80 columns wide."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Final

from rich.console import Console, Group, JustifyMethod
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from antiphon.model.text import counted
from servers.region.asking import Asked
from servers.region.searching import Place
from servers.region.story import CACHE, STORE, Figures
from servers.region.watching import Sample, bar

COLUMNS: Final = 80
CHART: Final = 58
SQL_COLUMNS: Final = 36
ANSWER_COLUMNS: Final = 38
WORDS_COLUMNS: Final = 32
YES: Final = "[green]✓[/green]"
NO: Final = "[red]✗[/red]"


def greet(console: Console) -> None:
    """What is about to happen."""
    console.print()
    console.print("[bold]A region[/bold]  one encrypted file, and two servers that follow it", highlight=False)
    console.print("[dim]real chats are written; PostgreSQL is killed; somebody is forgotten[/dim]")
    console.print()


def show(console: Console, figures: Figures) -> None:
    """All of it."""
    console.print()
    for title, body in (
        ("what follows what", _parts(figures)),
        ("lag", _lag(figures)),
        ("the same rows", _rows(figures)),
        ("forgotten", _forgotten(figures)),
        ("asked in SQL", _asked(figures.asked)),
    ):
        console.print(
            Panel(body, title=f"[bold]{title}[/bold]", title_align="left", border_style="dim", padding=(0, 1)),
            highlight=False,
        )
    said = f"{YES} file, PostgreSQL and Valkey are equal" if figures.right else f"{NO} not as it should be"
    console.print(f"{said}  [dim]nothing is left behind[/dim]")


def _grid(*justify: JustifyMethod) -> Table:
    table = Table.grid(padding=(0, 2))
    for one in justify:
        table.add_column(justify=one)
    return table


def _parts(figures: Figures) -> Table:
    wrote, seconds = figures.wrote, figures.writing[1] - figures.writing[0]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row(
        "the file", f"[bold]{figures.agents}[/bold] agents with keys of their own: [bold]{wrote.messages:,}[/bold] "
        f"messages of {wrote.talks} conversations, {counted(wrote.memories, 'memory', 'memories')}, "
        f"{counted(wrote.insights, 'insight')}, {counted(wrote.tasks, 'task')} in {seconds:.1f} s"
    )  # fmt: skip
    lacks = f", without {', '.join(figures.lacks)}" if figures.lacks else ""
    for name in (STORE, CACHE):
        with_what = ", with timescaledb and pgvector" if name == STORE and not figures.lacks else ""
        table.add_row(
            name, f"{figures.versions[name]}{with_what}{lacks if name == STORE else ''}: "
            f"{figures.tables[name]} tables, made from their declarations"
        )  # fmt: skip
    return table


def _lag(figures: Figures) -> Group:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    most = max(one.events for listed in figures.samples.values() for one in listed)
    for name, listed in figures.samples.items():
        table.add_row(f"[bold]{name}[/bold]", _chart(listed, figures.whole_s, most))
    for line in _marks(figures):
        table.add_row("", line)
    said = Table.grid(padding=(0, 2))
    said.add_column(style="dim", no_wrap=True)
    said.add_column()
    for name, listed in figures.samples.items():
        up = [one.seconds * 1000 for one in listed if _is_fed(figures, name, one)]
        if not up:
            continue
        said.add_row(
            name, f"{statistics.median(up):,.0f} ms behind at the median of {len(up)} looks while the fleet wrote, "
            f"{max(up):,.0f} ms at most{' (but for the outage)' * (name == STORE)}"
        )  # fmt: skip
    said.add_row(
        "the outage", f"[bold]{figures.down_s:.1f} s[/bold] without PostgreSQL, {figures.behind_max:,} events behind "
        f"at most; caught up {figures.caught_up_s:.1f} s after it answered again"
    )  # fmt: skip
    with_both, alone = figures.message_us
    said.add_row(
        "the fleet", f"went on: {with_both:.0f} µs a message with PostgreSQL, {alone:.0f} µs without"
    )  # fmt: skip
    return Group(table, Text(), said)


def _is_fed(figures: Figures, name: str, one: Sample) -> bool:
    """Whether the fleet wrote then, and the server was there."""
    at = {mark: when for when, mark in figures.marks}
    began, ended = figures.writing
    down = name == STORE and at["kill -9"] <= one.at_s <= at["caught up"]
    return began <= one.at_s <= ended and not down


def _chart(listed: Sequence[Sample], whole_s: float, most: int) -> Text:
    found = Text()
    for at in range(CHART):
        here = [one for one in listed if at <= one.at_s / whole_s * CHART < at + 1]
        if not here:
            found.append(" ")
            continue
        worst = max(here, key=lambda one: one.events)
        down = any(one.state == "retrying" for one in here)
        found.append(bar(worst.events, most), style="red" if down else "cyan" if worst.events else "dim")
    return found


def _marks(figures: Figures) -> list[Text]:
    """What happened when, below the chart: each in the first line that has room for it."""
    lines: list[list[str]] = []
    for at, mark in figures.marks:
        label = f"▲{mark} "
        begin = max(0, min(CHART - len(label) + 1, int(at / figures.whole_s * CHART)))
        place = next((line for line in lines if all(cell == " " for cell in line[begin : begin + len(label)])), None)
        if place is None:
            place = [" "] * (CHART + 1)
            lines.append(place)
        place[begin : begin + len(label)] = label
    return [Text("".join(line).rstrip(), style="dim") for line in lines]


def _rows(figures: Figures) -> Group:
    shown = sorted((one for one in figures.rows if one.store is not None), key=lambda one: (-one.file, one.table))
    hidden = [one for one in figures.rows if one.store is None and one.cache is None]
    table = _grid("left", "right", "right", "right", "left")
    table.add_row("[dim]table", "[dim]the file", f"[dim]{STORE}", f"[dim]{CACHE}", "")
    for one in shown:
        equal = all(count in (None, one.file) for count in (one.store, one.cache))
        table.add_row(
            one.table, f"{one.file:,}", f"{one.store:,}", "[dim]–[/dim]" if one.cache is None else f"{one.cache:,}",
            YES if equal else NO,
        )  # fmt: skip
    said = Table.grid(padding=(0, 2))
    said.add_column(style="dim", no_wrap=True)
    said.add_column()
    for name, differences in figures.checked.items():
        mark = (
            f"{YES} every row and column is the file's" if not differences else f"{NO} {len(differences)} rows differ"
        )
        said.add_row(name, mark)
    if hidden:
        kept = ", ".join(f"{one.table} ({one.file:,})" for one in hidden)
        said.add_row("only in the file", f"{kept}: private")
    return Group(table, Text(), said)


def _forgotten(figures: Figures) -> Group:
    said = Table.grid(padding=(0, 2))
    said.add_column(style="dim", no_wrap=True)
    said.add_column()
    said.add_row(
        "who", f"[bold]{figures.person}[/bold]: {figures.forgotten:,} events in {figures.forget_s:.2f} s, their own "
        f"and what {figures.remembered_by} others remembered; gone from both servers {figures.gone_s:.2f} s later"
    )  # fmt: skip
    said.add_row("looked for", Text(f"“{figures.words[0][:60]}”"))
    said.add_row("", f"and {len(figures.words) - 1} more that nobody else said; and the name")
    table = _grid("left", "left", "left", "left")
    table.add_row("[dim]place", "[dim]searched", "[dim]before", "[dim]after")
    for before, after in zip(figures.before, figures.after, strict=True):
        table.add_row(before.name, after.searched, _found(before), _found(after, wanted=False))
    good, every = figures.verified
    mark = YES if good == every else NO
    left = Table.grid(padding=(0, 2))
    left.add_column(style="dim", no_wrap=True)
    left.add_column()
    left.add_row("proofs", f"{mark} {good} of {every} logs verify, every byte hashed again")
    left.add_row("not searched", "what PostgreSQL has yet to vacuum, and its write-ahead log")
    return Group(said, Text(), table, Text(), left)


def _found(place: Place, *, wanted: bool = True) -> str:
    if not place.words and not place.named:
        return f"{NO} nothing" if wanted else f"{YES} nothing"
    said = f"{place.words} of {place.of} said{', the name' * place.named}"
    return said if wanted else f"{NO} {said}"


def _asked(asked: Sequence[Asked]) -> Group:
    parts: list[Text | Table] = []
    for one in asked:
        if parts:
            parts.append(Text())
        parts.append(Text.assemble((one.title, "bold"), (f"   {one.took_ms:.1f} ms", "dim")))
        table = Table.grid(padding=(0, 2))
        table.add_column(width=SQL_COLUMNS, no_wrap=True)
        table.add_column(width=ANSWER_COLUMNS, no_wrap=True)
        table.add_row(Text(one.sql, style="cyan"), _answer(one))
        parts.append(table)
    return Group(*parts)


def _answer(one: Asked) -> Table:
    table = Table.grid(padding=(0, 1))
    for at, name in enumerate(one.columns):
        right = bool(one.rows) and not isinstance(one.rows[0][at], str)
        table.add_column(justify="right" if right else "left", no_wrap=True, min_width=len(name) if right else None)
    chart = "level" in one.columns
    table.add_row(*(Text(name, style="dim") for name in one.columns), *([""] if chart else []))
    for row in one.rows:
        cells = [Text(_value(value)) for value in row]
        for cell in cells:
            cell.truncate(WORDS_COLUMNS, overflow="ellipsis")
        if chart:
            cells.append(Text("█" * round(float(row[-1]) / 100 * 12), style="cyan"))
        table.add_row(*cells)
    return table


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value.removeprefix("person-")
    return f"{value:,}" if isinstance(value, int) else f"{float(value):.2f}"
