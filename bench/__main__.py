"""`python -m bench [NAME …] [--json] [--markdown] [--quick] [--slow]`: all benchmarks, or those named."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import msgspec

from bench.figures import Figure, Size, as_markdown, as_table

BENCHMARKS = {
    "commit": "P1: events a second through the public API",
    "read": "P6: one row, one event",
    "start": "P13: import, open, help",
    "size": "P14: bytes on disk",
    "network": "messages a second; P1 in a home with all domains",
    "links": "P4: connections formed",
    "coherence": "P5: coherence of a field",
    "register": "P3: agents registered, verified",
    "tables": "folding: refold, what others wrote, one more table",
    "board": "the first hundred of 100,000 tasks, by rank",
    "live": "P2: from a commit to a subscriber in another process",
    "engines": "rows a second into real servers",
}
_MODULES = {"read": "point_read"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmarks and prints their figures; 1 when one missed its target."""
    listed = "\n".join(f"  {name:8}{what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        "python -m bench",
        description="Figures beside a baseline measured in the same run.",
        epilog=f"benchmarks:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which benchmarks (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON object a figure, one a line")
    parser.add_argument("--markdown", action="store_true", help="a table for docs/benchmarks.md")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, two rounds: to see that it runs")
    parser.add_argument("--slow", action="store_true", help="also what takes minutes: 100,000 agents in one file")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}; choose from {', '.join(BENCHMARKS)}")
    size = Size(rounds=2, scale=0.1, slow=given.slow) if given.quick else Size(slow=given.slow)
    figures: list[Figure] = []
    for name in given.names or BENCHMARKS:
        if not given.json:
            print(f"{name}: {BENCHMARKS[name]} …", file=sys.stderr, flush=True)
        module = importlib.import_module(f"bench.{_MODULES.get(name, name)}")
        for one in module.run(size):
            figures.append(one)
            if given.json:
                print(msgspec.json.encode(one).decode(), flush=True)
    if given.markdown:
        print(as_markdown(figures))
    elif not given.json:
        from rich.console import Console

        Console().print(as_table(figures))
    return int(any(one.met is False for one in figures))


if __name__ == "__main__":
    sys.exit(main())
