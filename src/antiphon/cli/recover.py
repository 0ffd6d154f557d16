"""Room `cli` (imports everything): `recover`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from antiphon.cli import show as out
from antiphon.cli.asking import confirmed
from antiphon.cli.session import Session, verb, wrong_use
from antiphon.model import errors

if TYPE_CHECKING:
    from antiphon.home import Home, Recovered

_KEY_BYTES_MAX: Final = 65_536
_ASK: Final = "May the agents' own keys be stolen too? They are revoked then, and each agent begins a new log"
_ADVICE: Final = (
    "The one used is void, and so are all before it: keep the new one away from this machine, delete it here."
)


@verb("recover", short_help="Take the principal back with its recovery key, after theft or loss.")
@click.argument("key", required=False, metavar="[KEYFILE]")
@click.option(
    "--archive", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
    help="Where the key ring is lost: an exported .archive that holds the principal's log.",
)  # fmt: skip
@click.option(
    "--revoke-instances/--keep-instances", "revoke", default=None,
    help="Whether the agents' keys may be stolen too (asked on a terminal; kept if nobody is there).",
)  # fmt: skip
def recover(session: Session, *, key: str | None, archive: Path | None, revoke: bool | None) -> int:
    """Takes a principal back with the recovery key that `antiphon init` wrote: from a file, from `-` (standard input),
    or typed. Makes new root keys, a new enrol key and a new log for the principal, and a new recovery key. What a thief
    certifies with the old enrol key from there on counts nowhere that has heard of it; older proofs still verify.

    Without the key ring (`keys`) no file of the home can be read, not by the recovery key either. The identity is taken
    back in a new folder, from an archive; what an archive holds of memories, `antiphon import` reads.

    \b
      antiphon recover /media/usb/recovery-key.txt
      antiphon recover --revoke-instances - < recovery-key.txt
      antiphon --home ~/again recover recovery-key.txt --archive ada.archive
    """
    place = session.place()
    _can_begin(place, archive)
    secret = _recovery_key(key)
    if archive is not None:
        done, home = _from_archive(session, place, archive, secret)
    else:
        home = session.home()
        try:
            if revoke is None:
                revoke = sys.stdin.isatty() and confirmed(_ASK)
            with wrong_use(), out.progress("recovering"):
                done = home.recover(secret, revoke_instances=revoke)
        finally:
            home.close()
    _show(session, done, place / "recovery-key.txt")
    return 3 if done.left else 0


def _can_begin(place: Path, archive: Path | None) -> None:
    """Says what to do where the key ring, or the principal's log, is not to be had. Raises InvalidInput."""
    ring = (place / "keys").exists()
    if archive is None and not ring:
        raise errors.InvalidInput(
            f"{place} has no key ring (`keys`), and no file in it can be read without: restore a backup of `keys`, or "
            "take the identity back in a new folder with --home NEW and --archive FILE (what `antiphon export` wrote)"
        )
    if archive is not None and ((place / "principal.antiphon").exists() or (not ring and any(place.glob("agents/*")))):
        raise errors.InvalidInput(
            f"{place} holds a principal or agents already: recover without --archive, or into a new folder (--home NEW)"
        )
    if (place / "fleet.antiphon").exists() and not (place / "principal.antiphon").exists():
        raise errors.InvalidInput(f"{place} is a fleet in one file: its principal cannot be recovered by this verb yet")


def _recovery_key(key: str | None) -> bytes:
    from antiphon.replica.recovery import read_recovery_key

    if key is None:
        if not sys.stdin.isatty():
            raise errors.InvalidInput("which recovery key? Name the file that `antiphon init` wrote, or `-` to read it")
        return read_recovery_key(click.prompt("Recovery key", hide_input=True, err=True))
    try:
        if key == "-":
            return read_recovery_key(sys.stdin.read(_KEY_BYTES_MAX))
        with Path(key).open(encoding="utf-8") as file:
            return read_recovery_key(file.read(_KEY_BYTES_MAX))
    except UnicodeDecodeError:
        raise errors.InvalidInput(f"{key} holds no recovery key: it is not text") from None


def _from_archive(session: Session, place: Path, archive: Path, secret: bytes) -> tuple[Recovered, Home]:
    from antiphon.home import Home
    from antiphon.replica.recovery import principal_in_archive

    principal_in_archive(archive, secret)  # before a folder is made
    home = Home.open(place, create=True, passphrase=session.passphrase())
    try:
        with wrong_use(), out.progress("recovering"):
            return home.recover_archive(archive, secret), home
    finally:
        home.close()


def _show(session: Session, done: Recovered, key: Path) -> None:
    from antiphon.model.text import id_text

    if session.as_json:
        out.emit({
            "principal": id_text(done.principal), "log": id_text(done.log), "revoked": done.revoked,
            "left": done.left, "recovery_key": str(key),
        })  # fmt: skip
        return
    out.say("The principal is recovered.", state="ok")
    revoked = ", ".join(done.revoked) or None
    out.fields([("principal", id_text(done.principal)), ("log", id_text(done.log)), ("revoked", revoked)])
    for name, reason in done.left.items():
        out.say(f"{name} was not reached: {reason}", state="wrong")
    out.say(f"A new recovery key: {key}", state="note")
    out.aside(_ADVICE)
    out.aside("If the ring or its key was stolen too, change what opens it: antiphon passphrase.")
