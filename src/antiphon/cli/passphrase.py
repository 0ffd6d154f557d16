"""Room `cli` (imports everything): `passphrase`."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, verb
from antiphon.model import errors

_NEW: Final = "ANTIPHON_NEW_PASSPHRASE"


@verb("passphrase", short_help="Set, change or remove the passphrase of a home.")
@click.option("--remove", is_flag=True, help="Let the home open by a key file (or ANTIPHON_KEY) again.")
def passphrase(session: Session, *, remove: bool) -> int:
    """Sets a passphrase, or changes the one there is. Identities, proofs and files stay as they are, and agents that
    are open go on; if it is interrupted, the home opens by the old passphrase or by the new one.

    Scripts give the old one in ANTIPHON_PASSPHRASE and the new one in ANTIPHON_NEW_PASSPHRASE. Copies and backups of
    the key ring still open by the old one.

    \b
      antiphon passphrase
      antiphon passphrase --remove
    """
    given = os.environ.get(_NEW)
    if remove and given is not None:
        raise errors.InvalidInput(f"--remove leaves no passphrase, but {_NEW} gives one: unset it")
    home = session.home()
    try:
        had = home.ring.opens_by_passphrase
        new = None if remove else _asked() if given is None else given
        home.change_passphrase(new)
    finally:
        home.close()
    done = "removed" if remove else "changed" if had else "set"
    if session.as_json:
        out.emit({"home": str(home.folder), "passphrase": done})
        return 0
    out.say(f"The passphrase of {home.folder} is {done}.", state="ok")
    if remove and (home.folder / "key").exists():
        out.aside(f"Whoever can read {home.folder / 'key'} can open it now.")
    if not remove and os.environ.get("ANTIPHON_PASSPHRASE"):
        out.aside("ANTIPHON_PASSPHRASE still holds what it did: set it to the new one.")
    return 0


def _asked() -> str:
    if not sys.stdin.isatty():
        raise errors.InvalidInput(f"nobody is there to type a passphrase: set {_NEW}, or say --remove")
    typed: str = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return typed
