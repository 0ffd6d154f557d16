"""How far behind each engine is: measured ten times a second, shown four times; plain lines where nobody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from antiphon.model.errors import Unavailable
from antiphon.replica.follow import Follower
from servers.region.writing import Chatting

SAMPLE_S: Final = 0.1
SCREEN_HZ: Final = 4
LINE_S: Final = 1.0
RECENT: Final = 28
LOOKS: Final = 5
"""How many bars are shown, and how many looks each stands for."""
BAR_COLUMNS: Final = 24
BARS: Final = "▁▂▃▄▅▆▇█"
_COLOURS: Final = {"following": "green", "bootstrapping": "cyan", "new": "dim"}


class Sample(msgspec.Struct, frozen=True):
    """How one engine stood. *Units*: seconds since the beginning; events and seconds behind."""

    at_s: float
    state: str
    events: int
    seconds: float


def bar(events: int, most: int) -> str:
    """A bar whose steps are doublings, since an outage dwarfs all else; nothing behind is a dot."""
    if events <= 0:
        return "·"
    return BARS[round((len(BARS) - 1) * (events.bit_length() - 1) / max(1, most.bit_length() - 1))]


@contextmanager
def waiting(console: Console, words: str) -> Iterator[None]:
    """Says what takes a while; to a person, with a sign that it goes on, and for how long."""
    if not console.is_terminal:
        console.print(f"{words} …", highlight=False)
        yield
        return
    shown = (SpinnerColumn(), TextColumn("[dim]{task.description}[/dim]"), TimeElapsedColumn())
    with Progress(*shown, console=console, transient=True) as bar:
        bar.add_task(words, total=None)
        yield


class Watch:
    """Samples followers in a thread, and shows the newest on a console until `close`."""

    def __init__(self, console: Console, chatting: Chatting, followers: Sequence[Follower]) -> None:
        self.began = time.monotonic()
        self.samples: dict[str, list[Sample]] = {follower.name: [] for follower in followers}
        self.marks: list[tuple[float, str]] = []
        self._console, self._chatting, self._followers = console, chatting, followers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self._live: Live | None = None
        self._doing = ("", 0.0)
        self._spinner = Spinner("dots")
        self._lined = 0.0

    @property
    def now_s(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began

    def start(self) -> Watch:
        """Begins to look and to show."""
        self._sample()
        if self._console.is_terminal:
            self._live = Live(
                console=self._console, get_renderable=self._screen, refresh_per_second=SCREEN_HZ, transient=True
            )
            self._live.start(refresh=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Ends it; what was sampled stays."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def say(self, words: str, *, mark: str = "") -> float:
        """A line of the story that stays, with its time, which is returned; `mark` names it in the chart."""
        at = self.now_s
        self._doing = ("", at)
        if mark:
            self.marks.append((at, mark))
        self._console.print(f"[dim]{at:6.1f} s[/dim]  {words}", highlight=False)
        return at

    def doing(self, words: str) -> None:
        """What is going on from now on, shown with how long it takes; nothing: until something is said of it again."""
        self._doing = (words, self.now_s)

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._sample()
            if not self._console.is_terminal and self.now_s - self._lined >= LINE_S:
                self._lined = self.now_s
                for name, listed in self.samples.items():
                    last = listed[-1]
                    said = f"{name}  {last.state}  {last.events:,} events, {last.seconds:.2f} s behind"
                    self._console.print(f"{last.at_s:6.1f} s  {said}", highlight=False)

    def _sample(self) -> None:
        for follower in self._followers:
            try:
                lag = follower.lag()
            except Unavailable:  # the file is just being swapped or cleared: the next look will do
                continue
            self.samples[follower.name].append(Sample(self.now_s, follower.state, lag.events, lag.seconds))

    def _screen(self) -> Any:
        wrote, talks = self._chatting.wrote, self._chatting.talks
        table = Table.grid(padding=(0, 2))
        for justify in ("left", "left", "right", "right", "left"):
            table.add_column(justify=justify, no_wrap=True)
        recent = {name: _worst(list(listed)) for name, listed in self.samples.items()}
        most = max(events for listed in recent.values() for events in listed)
        for name, listed in recent.items():
            last = self.samples[name][-1]
            colour = _COLOURS.get(last.state, "red")
            table.add_row(
                f"[bold]{name}[/bold]", f"[{colour}]{last.state:<13}[/{colour}]", f"{last.events:,} behind",
                f"{last.seconds:.2f} s", Text("".join(bar(events, most) for events in listed), style=colour),
            )  # fmt: skip
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text("the fleet", style="bold"), ProgressBar(total=len(talks), completed=wrote.talks, width=BAR_COLUMNS),
            f"{wrote.messages:,} messages, {wrote.talks} of {len(talks)} conversations",
        )  # fmt: skip
        words, since = self._doing
        if not words:
            return Group(Text(), head, table)
        self._spinner.update(text=Text(f"{words}  {self.now_s - since:.0f} s", style="dim"))
        return Group(Text(), head, table, self._spinner)


def _worst(listed: list[Sample]) -> list[int]:
    """The newest bars: the most events behind among a few looks each."""
    begin = max(0, len(listed) // LOOKS + 1 - RECENT) * LOOKS
    return [max(one.events for one in listed[at : at + LOOKS]) for at in range(begin, len(listed), LOOKS)]
