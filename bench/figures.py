"""What a benchmark hands back, how rounds are taken in turns, and how figures are shown."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec


class Size(msgspec.Struct, frozen=True):
    """How much to do. `scale` multiplies the amount of work of a round; `slow` adds the optional figures."""

    rounds: int = 5
    scale: float = 1.0
    slow: bool = False

    def of(self, count: int, *, least: int = 1) -> int:
        """A count of things, scaled."""
        return max(least, round(count * self.scale))


class Figure(msgspec.Struct, frozen=True):
    """One measured thing. `ratio` is value / baseline; `met` is None where there is only something to report."""

    name: str
    value: float | None
    unit: str
    baseline: float | None
    ratio: float | None
    target: str
    met: bool | None
    runs: dict[str, Any]


def alternate(contestants: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """One result a round of each contestant, taken in turns (A B A B …) after a round that does not count."""
    for run in contestants.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            found[name].append(run())
    return found


def figure(
    name: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float] = (),
    *,
    target: str = "reported",
    value_min: float | None = None,
    value_max: float | None = None,
    ratio_min: float | None = None,
    ratio_max: float | None = None,
    **about: Any,
) -> Figure:
    """A figure from the results of rounds: medians, with the least and the most in `runs`; limits decide `met`."""
    value = statistics.median(ours) if ours else None
    baseline = statistics.median(theirs) if theirs else None
    ratio = value / baseline if value is not None and baseline else None
    limits = [
        (value, value_min, value_max),
        (ratio, ratio_min, ratio_max),
    ]
    judged = [
        measured is not None and (least is None or measured >= least) and (most is None or measured <= most)
        for measured, least, most in limits
        if least is not None or most is not None
    ]
    runs: dict[str, Any] = {
        "count": len(ours),
        "min": _round(min(ours, default=None)),
        "max": _round(max(ours, default=None)),
    }
    if theirs:
        runs |= {"baseline_min": _round(min(theirs)), "baseline_max": _round(max(theirs))}
    runs |= about
    met = all(judged) if judged else None
    return Figure(name, _round(value), unit, _round(baseline), _round(ratio), target, met, runs)


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}") if abs(value) < 10_000 else float(round(value))


def shown(value: float | None) -> str:
    """A number as people read it."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_table(figures: Sequence[Figure]) -> Any:
    """The figures for a terminal of 80 columns or more: beneath a figure its target, beneath its value the spread."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, header_style="bold", pad_edge=False)
    table.add_column("figure", ratio=1)
    for column in ("value", "baseline", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for one in figures:
        spread = f"\n{shown(one.runs.get('min'))} to {shown(one.runs.get('max'))}" if one.runs["count"] > 1 else ""
        verdict = Text("") if one.met is None else Text("met", "green") if one.met else Text("missed", "red")
        table.add_row(
            Text(one.name).append("" if one.met is None else f"\ntarget {one.target}", "dim"),
            Text(f"{shown(one.value)} {one.unit}".replace(" /s", "/s")).append(spread, "dim"),
            Text(shown(one.baseline)).append("" if one.ratio is None else f"\n{shown(one.ratio)}×", "dim"),
            verdict,
        )
    return table


def as_markdown(figures: Sequence[Figure]) -> str:
    """The same as a table for a document."""
    lines = ["| figure | value | min to max | baseline | ratio | target | |", "|---|---|---|---|---|---|---|"]
    for one in figures:
        spread = f"{shown(one.runs.get('min'))} to {shown(one.runs.get('max'))}" if one.runs["count"] > 1 else ""
        verdict = "" if one.met is None else "met" if one.met else "**missed**"
        unit = re.sub(r"\|", "/", one.unit)
        lines.append(
            f"| {one.name} | {shown(one.value)} {unit} | {spread} | {shown(one.baseline)} | {shown(one.ratio)} "
            f"| {one.target} | {verdict} |"
        )
    return "\n".join(lines)
