"""Room `cli` (imports everything): what appears: colours and tables on a terminal, plain lines in a pipe.

Everything recorded is shown with its control characters made visible: a memory must not be able to move the cursor.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from antiphon.model.text import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PATIENCE_S: Final = 2.0
LAST_MIN: Final = 20
"""A table's last column has room for so many characters at least."""
_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKS: Final = {"ok": ("✓", "green"), "note": ("!", "yellow"), "wrong": ("✗", "red")}


_json = False


def speak_json(*, on: bool) -> None:
    """Whether this run answers in JSON: then standard error, too, holds JSON alone, a line each."""
    global _json  # noqa: PLW0603  # one run of the command line a process
    _json = on


def is_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def console(*, error: bool = False) -> Console:
    """A rich console; it knows about NO_COLOR."""
    from rich.console import Console

    return Console(stderr=error, highlight=False, markup=False, emoji=False, soft_wrap=False)


def clean(text: str) -> str:
    """The text with control and direction characters made visible; new lines and tabs stay."""
    return _UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


def one_line(text: str, *, most: int | None = None) -> str:
    """The text on one line, cut at `most` characters."""
    flat = " ".join(clean(text).split())
    return flat if most is None or len(flat) <= most else flat[: most - 1].rstrip() + "…"


def emit(value: Any) -> None:
    """One JSON value; laid out on a terminal, one line in a pipe."""
    import msgspec

    raw = msgspec.json.encode(value)
    if is_terminal():
        raw = msgspec.json.format(raw, indent=2)
    print(raw.decode())


def json_line(value: Any) -> str:
    """A value as one line of JSON, wherever it is printed."""
    import msgspec

    return msgspec.json.encode(value).decode()


def emit_list(values: Iterable[Any]) -> int:
    """A JSON list, an element a line, written as it comes; how many."""
    import msgspec

    count = 0
    for value in values:
        print(("[" if not count else ",\n ") + msgspec.json.encode(value).decode(), end="")
        count += 1
    print("]" if count else "[]")
    return count


def styled(*parts: str | tuple[str, str]) -> Text:
    """Text from plain parts and (text, style) pairs."""
    from rich.text import Text

    return Text.assemble(*parts)


def fields(pairs: Iterable[tuple[str, object]], *, indent: int = 2) -> None:
    """Labels and values: aligned on a terminal, tab separated in a pipe; values of None are left out."""
    shown = [(label, clean(str(value))) for label, value in pairs if value is not None and value != ""]
    if not is_terminal():
        for label, value in shown:
            print(f"{label}\t{value}".replace("\n", " "))
        return
    from rich.padding import Padding
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    if not any(label for label, _ in shown):
        grid = Table.grid()
        grid.add_column(overflow="fold")
    for label, value in shown:
        grid.add_row(*([label] if len(grid.columns) > 1 else []), value)
    console().print(Padding(grid, (0, 0, 0, indent)))


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[int] = (), wrap: bool = False
) -> None:
    """A table for people. The last column takes the room that is left, on one line (with `wrap` on as many as it
    needs); all others are shown whole. What does not fit on the screen so is shown row by row, a line a column.
    """
    from rich.text import Text

    screen = console()
    lines = [[Text(name, "dim") for name in columns]]
    lines += [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    widths = [max(line[at].cell_len for line in lines) for at in range(len(columns) - 1)]
    left = screen.width - sum(widths) - 2 * len(widths)
    if left < min(LAST_MIN, max(line[-1].cell_len for line in lines)):
        _one_by_one(columns, lines[1:])
        return
    room = max(LAST_MIN, left)
    for line in lines:
        shown = Text()
        for at, width in enumerate(widths):
            blank = " " * (width - line[at].cell_len)
            shown.append_text(Text.assemble(blank, line[at]) if at in right else Text.assemble(line[at], blank))
            shown.append("  ")
        if wrap:
            first, *more = line[-1].wrap(screen, room) or [Text()]
            screen.print(shown.append_text(first), soft_wrap=True)
            for part in more:
                screen.print(Text(" " * (sum(widths) + 2 * len(widths))).append_text(part), soft_wrap=True)
            continue
        line[-1].truncate(room, overflow="ellipsis")
        shown.append_text(line[-1])
        screen.print(shown, soft_wrap=True)


def _one_by_one(columns: Sequence[str], lines: Sequence[Sequence[Text]]) -> None:
    for at, line in enumerate(lines):
        if at:
            print()
        fields(zip(columns, (cell.plain for cell in line), strict=True), indent=0)


def mark(state: str) -> tuple[str, str]:
    """The sign of a state, with its colour."""
    return _MARKS[state]


def say(text: str, *, state: Literal["ok", "note", "wrong"] | None = None) -> None:
    """A line for the person: what happened. With --json it is a note, as words are no part of the answer there."""
    if _json:
        aside(text)
        return
    if not is_terminal():
        print(text)
        return
    sign, colour = mark(state) if state else ("", "")
    console().print(styled((f"{sign} ", colour), text) if state else styled(text), soft_wrap=True)


def aside(text: str) -> None:
    """A line on standard error that is no part of the answer; with --json a JSON object with a note."""
    if _json:
        import msgspec

        print(msgspec.json.encode({"note": clean(text)}).decode(), file=sys.stderr)
    elif sys.stderr.isatty():
        console(error=True).print(styled((clean(text), "dim")), soft_wrap=True)
    else:
        print(clean(text), file=sys.stderr)


def begun(text: str) -> None:
    """A line that says at once what a person waits for, where one looks: scripts are told of the end alone."""
    if not _json and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        aside(text)


def short_time(iso: str) -> str:
    """An ISO time to the minute, without the T."""
    return iso[:16].replace("T", " ")


def ago(ms: float) -> str:
    """A time that is past, in its largest unit."""
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= length:
            return f"{int(ms // length):,} {unit} ago"
    return f"{int(ms // 1_000)} s ago"


def size(count: int) -> str:
    """Bytes as people say them."""
    value = float(count)
    for unit in ("byte", "kB", "MB", "GB"):
        if value < 1000:
            return counted(count, unit) if unit == "byte" else f"{value:,.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


@contextlib.contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A function to call with what was done since the last call. A bar appears on standard error, on a terminal, once
    it has taken longer than two seconds.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda count: None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = [SpinnerColumn(), TextColumn("{task.description}")]
    if total:
        columns += [BarColumn(bar_width=40), TaskProgressColumn()]
    shown = Progress(*columns, TimeElapsedColumn(), console=console(error=True), transient=True)
    task = shown.add_task(label, total=total)
    timer = threading.Timer(PATIENCE_S, shown.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda count: shown.advance(task, count)
    finally:
        timer.cancel()
        timer.join()
        if shown.live.is_started:
            shown.stop()
