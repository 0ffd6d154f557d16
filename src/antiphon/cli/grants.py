"""Room `cli` (imports everything): `grants`: which agents hold which role, and what that lets them write."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from antiphon.cli import show as out
from antiphon.cli.plugged import own_domains
from antiphon.cli.session import Session, verb, wrong_use
from antiphon.model import errors, times
from antiphon.model.text import counted, parse_id

if TYPE_CHECKING:
    from antiphon.fleet import Fleet
    from antiphon.home import Home
    from antiphon.replica.granting import Granted


@verb("grants", short_help="See, give and withdraw roles: who may write what is not theirs.")
@click.argument("action", type=click.Choice(["list", "give", "withdraw"]), default="list")
@click.argument("whom", required=False, metavar="[AGENT|GRANT]")
@click.argument("role", required=False)
@click.option("--table", "tables", multiple=True, metavar="TABLE", help="In this table alone (may be said again).")
@click.option("--ceiling", type=int, help="The most it may declare where the highest number counts.")
@click.option(
    "--accept", "accepted", multiple=True, metavar="LOG=SIZE",
    help="What stands of a log when a grant is withdrawn: its first SIZE events (may be said again).",
)  # fmt: skip
@click.option("--by", metavar="NAME", help="The agent whose principal grants, in a fleet where each has its own.")
def grants(
    session: Session,
    *,
    action: str,
    whom: str | None,
    role: str | None,
    tables: Sequence[str],
    ceiling: int | None,
    accepted: Sequence[str],
    by: str | None,
) -> int:
    """Lists what the principal of this home has granted, or gives an agent a role, or withdraws a grant.

    A table whose writers are a role (`antiphon tables`) takes only what agents with that role write. `give` names an
    agent of this home, or any agent's id; the agent's events then cite the grant by themselves. `withdraw` names the
    grant by its id: what its agent has written so far stands, what comes later does not count.

    \b
      antiphon grants
      antiphon grants give bob monitor --table alarms
      antiphon grants give bob editor --ceiling 80
      antiphon grants withdraw bzmal…/5
    """
    if action == "list":
        _no_more(whom, role, *tables, *accepted, *([] if ceiling is None else [str(ceiling)]))
        with _granting(session) as place:
            return _list(session, place)
    if whom is None or (action == "give") != (role is not None):
        usage = "give AGENT ROLE" if action == "give" else "withdraw GRANT"
        raise click.UsageError(f"say `antiphon grants {usage}`")
    with _granting(session) as place:
        if action == "give":
            if accepted:
                raise click.UsageError("--accept goes with withdraw")
            found = _give(place, whom, role or "", tables, ceiling, by)
            said = f"{whom} has the role {role}" + (f" in {', '.join(tables)}" if tables else "")
        else:
            if tables or ceiling is not None or by:
                raise click.UsageError("--table, --ceiling and --by go with give")
            found = place.withdraw(whom, sizes=_sizes(accepted) if accepted else None)
            said = f"{whom} is withdrawn: {_ended(found)}"
    if session.as_json:
        out.emit(found)
        return 0
    out.say(said, state="ok")
    if action == "give":
        out.fields([("grant", found.id)])
    return 0


def _give(
    place: Home | Fleet, agent: str, role: str, tables: Sequence[str], ceiling: int | None, by: str | None
) -> Granted:
    from antiphon.fleet import Fleet

    named = list(tables) or None
    with wrong_use():
        if isinstance(place, Fleet):
            return place.grant(agent, role, tables=named, ceiling=ceiling, by=by)
        if by is not None:
            raise click.UsageError("--by is for fleets where agents have principals of their own; this home has one")
        return place.grant(agent, role, tables=named, ceiling=ceiling)


@contextlib.contextmanager
def _granting(session: Session) -> Iterator[Home | Fleet]:
    """The home, or the fleet where agents share a file."""
    home = session.home()
    with contextlib.ExitStack() as stack:
        stack.callback(home.close)
        if (home.folder / "fleet.antiphon").exists() and not home.names():
            from antiphon.fleet import Fleet

            yield stack.enter_context(Fleet.open(home.folder, passphrase=session.passphrase(), domains=own_domains()))
            return
        if not home.principal_path.exists():
            raise errors.InvalidInput(f"{home.folder} has no principal yet: make an agent with `antiphon init NAME`")
        yield home


def _no_more(*given: str | None) -> None:
    more = [one for one in given if one is not None]
    if more:
        raise click.UsageError(f"a list takes nothing more, and here is {more[0]!r}")


def _sizes(accepted: Sequence[str]) -> dict[bytes, int]:
    found = {}
    for one in accepted:
        log, sign, size = one.partition("=")
        if not sign or not (size.isascii() and size.isdigit()):
            raise click.UsageError(f"--accept says LOG=SIZE, as bzmal…=12; not {out.one_line(one, most=80)}")
        found[parse_id(log)] = int(size)
    return found


def _ended(grant: Granted) -> str:
    if not grant.ended:
        return "nothing that cites it counts"
    return ", ".join(f"{counted(size, 'event')} of {log} {'stands' if size == 1 else 'stand'}"
                     for log, size in grant.ended.items())  # fmt: skip


def _list(session: Session, place: Home | Fleet) -> int:
    found = place.grants()
    if session.as_json:
        out.emit_list(found)
        return 0
    if not found:
        out.aside("nothing is granted: `antiphon grants give AGENT ROLE`")
        return 0
    names = _names(place, {one.agent for one in found})
    rows = [
        (
            one.id,
            names.get(one.agent, one.agent),
            one.role,
            "all" if one.tables is None else ", ".join(one.tables),
            "" if one.ceiling is None else f"{one.ceiling:,}",
            times.iso(one.given_ms),
            "stands" if one.ended is None else "withdrawn",
        )
        for one in found
    ]
    if out.is_terminal():
        out.table(("grant", "agent", "role", "tables", "ceiling", "given", "state"), rows, right=(4,))
        return 0
    for row in rows:
        print("\t".join(row))
    return 0


def _names(place: Home | Fleet, wanted: set[str]) -> dict[str, str]:
    from antiphon.cli.known import known_names
    from antiphon.fleet import Fleet

    if isinstance(place, Fleet):
        return known_names(place.replica, wanted)
    return known_names(place.principal(), wanted, place)
