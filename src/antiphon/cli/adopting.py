"""Room `cli` (imports everything): `adopt`."""

from __future__ import annotations

import sys

import click

from antiphon.cli import show as out
from antiphon.cli.asking import confirmed
from antiphon.cli.session import Session, verb
from antiphon.model import errors


@verb("adopt", short_help="Say that a restored home is now the only one.")
@click.option("--yes", is_flag=True, help="Do not ask: the home it was copied or restored from is gone for good.")
def adopt(session: Session, *, yes: bool) -> int:
    """Lets a home that was copied, moved to another machine or restored from a backup take the place of the original:
    its principal enrols agents here again, and the new logs that its agents began are certified.

    Only when the original is gone for good. If both go on, both write one log, and whoever sees both can prove it.

    \b
      antiphon adopt
    """
    if not yes:
        if not sys.stdin.isatty():
            raise errors.InvalidInput("nobody is there to ask: say --yes if the original of this home is gone for good")
        if not confirmed("Is the home that this one was copied or restored from gone for good?"):
            out.aside("Nothing was changed.")
            return 1
    home = session.home()
    try:
        certified = home.adopt()
    finally:
        home.close()
    if session.as_json:
        out.emit({"home": str(home.folder), "certified": certified})
        return 0
    out.say(f"{home.folder} is adopted: its principal enrols agents here", state="ok")
    if certified:
        out.aside(f"certified: the new logs of {', '.join(certified)}")
    return 0
