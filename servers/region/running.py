"""One run of the region demo, from greeting to exit status; whatever ends it, nothing stays."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from antiphon.model.errors import AntiphonError
from servers import NotReady, ServerMissing
from servers.region import page
from servers.region.interrupts import Interrupts
from servers.region.story import Figures, Story
from servers.region.talks import MESSAGES_MAX

INTERRUPTED = 130
MESSAGES_MIN = 100
REMOVED_TRIES_MAX = 50


def run(console: Console, *, messages_max: int = MESSAGES_MAX) -> Figures:
    """The whole demo; whatever ends it, no process and no folder stays. Call it in the main thread."""
    before = os.environ.get("ANTIPHON_STATE")
    ending = ExitStack()
    with Interrupts() as interrupts:
        try:
            try:
                with interrupts.shield():
                    folder = Path(tempfile.mkdtemp(prefix=f"antiphon-region-{os.getpid()}-", dir="/var/tmp"))
                    ending.callback(_remove, folder)
                    folder.chmod(0o711)  # servers do not run as root, and look below it
                os.environ["ANTIPHON_STATE"] = str(folder / "state")
                return Story(folder, console, interrupts, ending, messages_max=messages_max).tell()
            finally:
                interrupts.end()
        finally:
            ending.close()
            if before is None:
                os.environ.pop("ANTIPHON_STATE", None)
            else:
                os.environ["ANTIPHON_STATE"] = before


def _remove(folder: Path) -> None:
    """Deletes it all, again where a server that was just killed wrote its last meanwhile."""
    for _ in range(REMOVED_TRIES_MAX):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def main() -> int:
    """Exit status 0 where all is equal in the end, 1 where not, 3 where it could not be done, 130 after ^C."""
    parser = argparse.ArgumentParser(prog="make demo-region", description="real servers follow one file")
    parser.add_argument("--messages", type=int, default=MESSAGES_MAX, help="how many messages, about")
    messages_max = parser.parse_args().messages
    if messages_max < MESSAGES_MIN:
        parser.error(f"--messages is {MESSAGES_MIN} at least")
    console = Console(width=page.COLUMNS)
    try:
        page.greet(console)
        figures = run(console, messages_max=messages_max)
        page.show(console, figures)
    except KeyboardInterrupt:
        console.print("\nStopped: no server runs any more, and nothing is left behind.")
        return INTERRUPTED
    except (AntiphonError, NotReady, ServerMissing) as error:
        print(f"demo-region: {error}", file=sys.stderr)
        return 3
    return 0 if figures.right else 1
