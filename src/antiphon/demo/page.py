"""Room `demo` (imports everything below it): the page that the demo ends in."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from antiphon.demo.figures import Figures
from antiphon.demo.seeing import Seen
from antiphon.demo.society import Society

HTML_COLUMNS: Final = 128
_THEME: Final = TerminalTheme(
    (253, 252, 248), (38, 38, 44),
    [(38, 38, 44), (176, 42, 48), (40, 120, 66), (158, 108, 0), (32, 84, 160), (124, 58, 140), (0, 116, 128),
     (110, 110, 116)],
)  # fmt: skip
_HTML: Final = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Antiphon: what 1,315 people said</title>
<style>
{stylesheet}
html {{ background: {background}; color: {foreground}; }}
body {{ margin: 2rem auto; width: max-content; max-width: 100%; }}
pre {{ font: 14px/1.35 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
pre {{ overflow-x: auto; padding: 0 1rem; }}
</style>
<pre><code style="font-family: inherit">{code}</code></pre>
</html>
"""
_MARK = {
    "done": ("✓", "green"),
    "pending": ("…", "yellow"),
    "cannot": ("✗", "red"),
    "kept": ("·", "yellow"),
    "held": ("·", "yellow"),
}


def greet(console: Console) -> None:
    """What is about to happen."""
    console.print()
    console.print("[bold]Antiphon[/bold]  every agent its own encrypted, provable database", highlight=False)
    console.print("[dim]real chats: each person gets a principal, an agent, keys and a log of their own[/dim]")
    console.print()


def _mb(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def write_html(path: Path, figures: Figures) -> None:
    """The whole page for a browser, in one file that needs nothing else."""
    console = Console(record=True, file=StringIO(), width=HTML_COLUMNS, force_terminal=True, color_system="truecolor")
    greet(console)
    show(console, figures)
    path.write_text(console.export_html(theme=_THEME, code_format=_HTML, inline_styles=False), "utf-8")


def show(console: Console, figures: Figures) -> None:
    """The whole page."""
    console.print()
    for title, body in (
        ("written", _written(figures)),
        ("size", _sizes(figures)),
        ("recalled", _recalls(figures)),
        ("a network of them", _network(figures.society)),
        ("what they agree on", _wisdom(figures.seen)),
        ("a board", _board(figures.society)),
        ("proved", _proved(figures)),
        ("forgotten", _forgotten(figures)),
    ):
        console.print(
            Panel(body, title=f"[bold]{title}[/bold]", title_align="left", border_style="dim", padding=(0, 1))
        )
    where = f"The files are in {figures.folder}" if figures.kept else "Nothing is left behind (--keep keeps the files)"
    console.print(f"[dim]{where}. Next: `. .venv/bin/activate` and `antiphon init ada`.[/dim]")


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table


def _written(figures: Figures) -> Table:
    table = _grid()
    rate = figures.messages / figures.write_s
    table.add_row(
        "people", f"[bold]{figures.people:,}[/bold] principals and agents in {figures.enrol_s:.1f} s, "
        f"{figures.people / figures.enrol_s:,.0f}/s, each statement signed twice"
    )  # fmt: skip
    table.add_row(
        "messages", f"[bold]{figures.messages:,}[/bold] in {figures.write_s:.1f} s: [bold]{rate:,.0f}/s[/bold] "
        "hashed, signed, folded, encrypted and fsynced"
    )  # fmt: skip
    table.add_row("indexed and packed", f"{figures.pack_s:.1f} s")
    table.add_row(
        "verified", f"[green]✓[/green] {figures.verified_logs:,} logs, {figures.verified_events:,} events, every byte "
        f"hashed again, in {figures.verify_s:.1f} s"
    )  # fmt: skip
    return table


def _sizes(figures: Figures) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    most = max(figures.file_bytes, figures.raw_bytes)
    for name, count in (
        ("raw text", figures.raw_bytes),
        ("raw text, zstd -3", figures.zstd_bytes),
        ("the logs, provable", figures.log_bytes),
        ("keys and statements", figures.identity_bytes),
        ("whole encrypted file", figures.file_bytes),
    ):
        bar = "█" * max(1, round(40 * count / most))
        ratio = f"{count / figures.zstd_bytes:.2f}×"
        table.add_row(name, _mb(count), ratio, Text(bar, style="cyan"))
    table.add_row("", "", "[dim]of zstd[/dim]", "[dim]the file holds logs, tables, their indexes and full text[/dim]")
    return table


def _recalls(figures: Figures) -> Group:
    parts: list[Table | Text | Padding] = []
    for question, seconds, hits in figures.recalls:
        parts.append(Text.assemble(("? ", "bold cyan"), (question, "bold"), (f"   {seconds * 1000:.0f} ms", "dim")))
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right", style="dim")
        table.add_column(no_wrap=True, style="dim")
        table.add_column(no_wrap=True, style="dim")
        table.add_column(overflow="fold")
        for hit in hits:
            log, _, seq = hit.event.rpartition("/")
            table.add_row(f"{hit.score:.2f}", hit.time[:10], f"{hit.author} {log[:8]}…/{seq}", hit.text[:160])
        parts.append(Padding(table, (0, 0, 0, 2)))
    return Group(*parts)


def _network(society: Society) -> Group:
    rows = society.rows
    table = _grid()
    table.add_row(
        "who meets whom", f"[bold]{society.events:,}[/bold] events in {society.seconds:.1f} s: "
        f"{rows['agent_links']:,} links, {rows['agent_interactions']:,} meetings, "
        f"trust by day in {rows['trust_daily']:,} rows"
    )  # fmt: skip
    table.add_row(
        "coherence", f"[bold]{society.coherence:.1f}[/bold] of 100 over {society.minutes:,} minutes; "
        f"the busiest days: [cyan]{society.bars}[/cyan]"
    )  # fmt: skip
    same = "[green]✓[/green] the same rows" if society.rebuilt_same else "[red]✗ other rows[/red]"
    table.add_row(
        "made anew", f"{society.rebuilt_rows:,} rows beside the old ones in {society.rebuilt_s:.1f} s, while "
        f"{society.rebuilt_beside:,} memories were written: {same}"
    )  # fmt: skip
    pairs = Table.grid(padding=(0, 2))
    for _ in range(4):
        pairs.add_column(no_wrap=True)
    for pair in society.pairs:
        pairs.add_row(
            f"[dim]{_short(pair.one)} and {_short(pair.other)}[/dim]", f"met {pair.meetings}×",
            f"trust {pair.trust:.2f}", f"resonance {pair.resonance:.2f}",
        )  # fmt: skip
    return Group(table, Text(), Padding(pairs, (0, 0, 0, 2)))


def _short(person: str) -> str:
    return person.removeprefix("person-")


def _wisdom(seen: Seen) -> Group:
    table = _grid()
    table.add_row(
        "insights", f"[bold]{seen.insights:,}[/bold] of {seen.people:,} people, {seen.acknowledged:,} of them "
        f"acknowledged by the one they were said to; {seen.events:,} events in {seen.seconds:.1f} s"
    )  # fmt: skip
    table.add_row(
        "crystals", f"[bold]{seen.crystals:,}[/bold] things that three people or more agree on; how many say so, and "
        "what share of those who spoke of it"
    )  # fmt: skip
    said = Table.grid(padding=(0, 2))
    said.add_column(style="dim", no_wrap=True)
    said.add_column(overflow="fold")
    for who, what, other, answer in seen.said:
        said.add_row(_short(who), Text(f"“{what}”"))
        said.add_row(f"  {_short(other)}", Text(f"“{answer[:100]}{'…' if len(answer) > 100 else ''}”", style="green"))
    crystals = Table.grid(padding=(0, 2))
    crystals.add_column(justify="right")
    crystals.add_column(justify="right")
    crystals.add_column()
    for one in seen.agreed:
        crystals.add_row(f"[cyan]{one.agents}[/cyan]", f"[dim]{one.score:.0%}[/dim]", Text(f"“{one.text}”"))
    return Group(table, Text(), Padding(said, (0, 0, 0, 2)), Text(), Padding(crystals, (0, 0, 0, 2)))


def _board(society: Society) -> Table:
    table = _grid()
    table.add_row("claimed", f"by two at the same moment: [bold]{society.claimed}[/bold] has it")
    table.add_row("the other", f"[yellow]Conflict[/yellow] {society.conflict}")
    table.add_row("votes", society.votes)
    table.add_row("a stranger's write", f"[yellow]refused[/yellow] {society.rejected}")
    return table


def _proved(figures: Figures) -> Table:
    table = _grid()
    verdict = "[green]✓[/green] another process, given the principal's id alone, agrees" if figures.proof_ok else (
        "[red]✗ the other process does not agree[/red]"
    )  # fmt: skip
    table.add_row("one message", f"“{figures.proof_text[:100]}”")
    table.add_row("its proof", f"{figures.proof_bytes:,} bytes: {verdict}")
    found = f"[green]✓[/green] found: {figures.flip_found}" if figures.flip_found else "[red]✗ not found[/red]"
    table.add_row("one byte flipped", f"at offset {figures.flipped_at:,} of a copy: {found}")
    return table


def _forgotten(figures: Figures) -> Group:
    done = figures.forgotten
    assert done is not None
    table = _grid()
    table.add_row("who", f"[bold]{figures.person}[/bold]: {len(done.events):,} events in {figures.forget_s:.2f} s")
    for place in done.places:
        mark, colour = _MARK[place.state]
        table.add_row(place.name, f"[{colour}]{mark}[/{colour}] {place.detail}")
    search = _grid()
    search.add_row("searched for", f"“{figures.needle}”")
    search.add_row("before", f"found in {'; '.join(figures.before) or 'nothing'}")
    after = "[green]✓ nowhere[/green]" if not figures.after else f"[red]✗ {'; '.join(figures.after)}[/red]"
    search.add_row("after", f"{after}: all pages decrypted, all frames inflated, indexes and write-ahead log")
    proof = "[green]✓[/green] every remaining log still verifies" if figures.still_verified else "[red]✗[/red]"
    search.add_row("proofs", proof)
    return Group(table, Text(), search)
