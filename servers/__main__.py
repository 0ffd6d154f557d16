"""Installs what the contract suites need, saying what takes long: `python -m servers`.

With `--or-named`, servers that somebody names by URL are looked at instead, and nothing is installed for them.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from servers import ServerMissing, named, pgbouncer, postgres, valkey
from servers.cache import Told, home, quiet

INTERRUPTED: Final = 130
INSTALLS: Final[tuple[tuple[str, str, Callable[[Told], Path]], ...]] = (
    ("PostgreSQL", named.POSTGRES, postgres.install),
    ("pgbouncer", named.POSTGRES, pgbouncer.install),
    ("Valkey", named.REDIS, valkey.install),
)
"""(what, the variable that may name one instead, how it is installed)"""
LOOKS: Final = {named.POSTGRES: named.look_at_postgres, named.REDIS: named.look_at_redis}


@contextlib.contextmanager
def _shown(name: str) -> Iterator[Told]:
    """A bar, where a person looks."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield quiet
        return
    said = TextColumn(f"  {name}: {{task.description:<26}}")
    with Progress(
        said, BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task("looking", total=None)
        yield lambda doing, done, of: bar.update(task, description=doing, completed=done, total=of)


def _install(name: str, install: Callable[[Told], Path]) -> None:
    began = time.monotonic()
    print(f"{name}: installing below {home()} where it is not there yet …", flush=True)
    with _shown(name) as told:
        install(told)
    print(f"{name}: ready after {time.monotonic() - began:.1f} s", flush=True)


def main() -> int:
    """Exit status 1, with what to do, where a server cannot be had; 130 after ^C."""
    parser = argparse.ArgumentParser(prog="python -m servers", description="installs PostgreSQL, pgbouncer and Valkey")
    parser.add_argument("--or-named", action="store_true",
                        help=f"take the servers that {named.POSTGRES} and {named.REDIS} name instead")  # fmt: skip
    or_named = parser.parse_args().or_named
    name = ""
    try:
        looked_at: set[str] = set()
        for name, variable, install in INSTALLS:
            url = named.named(variable) if or_named else ""
            if not url:
                _install(name, install)
            elif variable not in looked_at:
                looked_at.add(variable)
                print(f"{name}: {LOOKS[variable](url)}; nothing is installed for it", flush=True)
    except ServerMissing as error:
        print(f"{name}: {error}{'' if str(error).startswith('ANTIPHON_') else f'; {named.WAY_OUT}'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted; nothing half made is left, and the next run begins it anew", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
