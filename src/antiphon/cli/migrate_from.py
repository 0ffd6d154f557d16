"""Room `cli` (imports everything): `migrate-from` and `migrate-to`: a Soulfra installation's folders, in and out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, verb
from antiphon.model.text import counted

if TYPE_CHECKING:
    from antiphon.ops.installation import FileReport, Report
    from antiphon.ops.installation_follow import Following

INTERRUPTED: Final = 130
_TOTALS: Final = ("read", "added", "changed", "known", "kept", "left", "broken", "refused")


@verb("migrate-from", short_help="Take in an old installation: its JSON and SQLite files.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--dry-run", is_flag=True, help="Say what would become of each file, and record nothing.")
@click.option("--follow", "following", is_flag=True, help="Go on taking what changes there, until interrupted.")
@click.option("--every", "pause_s", type=click.FloatRange(0.1, 3_600), default=2.0, show_default=True,
              metavar="SECONDS", help="How often --follow looks.")  # fmt: skip
@click.option("--name", help="What the installation is called here (its path): for a folder that has moved.")
@click.option("--circle", metavar="ID", help="For the members of a circle, not for this agent alone.")
@click.option("--anyway", is_flag=True, help="Keep a folder, too, that has nothing of an installation.")
@click.option("--publish", type=click.Choice(["loops", "all"]),
              help="Let whoever has the agent's log read the loops; with `all` their users, too.")  # fmt: skip
def migrate_from(
    session: Session, *, folder: Path, dry_run: bool, following: bool, pause_s: float, name: str | None,
    circle: str | None, publish: str | None, anyway: bool,
) -> int:  # fmt: skip
    """Takes a Soulfra installation (runtime, agents, consensus, ledger, archive, clusters) into the agent.

    Loops, users and what is said of them become rows for this agent alone: --circle or --publish say for whom else.
    Memories, and what has no table, stay private. Nothing is lost: what has no column is kept whole, as the report
    says, in `installation_records`. Nothing is written there, and nothing twice here: run it again, or with --follow
    beside the old one until ^C. What was forgotten here is not taken again. Exit code 1 when something could not be
    read: what is broken is kept as it is. A folder that has nothing of an installation is refused.

    \b
      antiphon migrate-from /srv/soulfra --dry-run
      antiphon migrate-from /srv/soulfra
      antiphon migrate-from /srv/soulfra --publish loops --follow
    """
    from antiphon.domains.audience import EVERYBODY, of_circle
    from antiphon.model import errors
    from antiphon.model.text import parse_entity
    from antiphon.ops.installation import Migration
    from antiphon.ops.installation_follow import Following
    from antiphon.ops.installation_trial import Trial
    from antiphon.replica.forget import note_copy

    if dry_run and following:
        raise errors.InvalidInput("--dry-run says what one run would do: leave --follow out")
    if circle is not None and publish is not None:
        raise errors.InvalidInput("--circle and --publish say for whom it is: choose one")
    named = None if circle is None else of_circle(parse_entity(circle))
    out.begun(f"reading {folder}" + (" (dry run)" if dry_run else ""))
    with session.agent(writes=not dry_run) as agent:
        replica = agent.replica
        is_tried = replica.file.read_only
        if not is_tried:
            agent.log_id  # noqa: B018  # a copy starts its own log before, not within, the first transaction
        migration = Migration(
            Trial(agent, replica.registry, replica.entropy) if is_tried else agent,
            replica.file, folder, name=name, dry_run=dry_run, entropy=replica.entropy, anyway=anyway,
            tidy=(lambda: None) if dry_run else replica.pack_some,
            begin=lambda: note_copy(replica, str(folder.resolve()), "old installation"),
            loops_for=EVERYBODY if publish else named, users_for=EVERYBODY if publish == "all" else named,
        )  # fmt: skip
        with out.progress(f"reading {folder}") as advance:
            report = migration.run(progress=advance)
        _show(report, as_json=session.as_json)
        if following:
            return _follow(Following(migration, agent.clock), pause_s * 1_000, as_json=session.as_json)
    return 1 if any(one.skipped or one.broken or one.refused for one in report.files) else 0


def _follow(following: Following, pause_ms: float, *, as_json: bool) -> int:
    from antiphon.world.clock import sleep_ms

    def show(report: Report) -> None:
        if report.files:
            _show(report, as_json=as_json)
            sys.stdout.flush()

    if out.is_terminal() and not as_json:
        out.aside("following; ^C ends it")
    try:
        while True:
            sleep_ms(pause_ms)
            show(following.look())
    except KeyboardInterrupt:
        show(following.finish())
        return INTERRUPTED


def _show(report: Report, *, as_json: bool) -> None:
    totals = {what: report.total(what) for what in _TOTALS}
    if as_json:
        said = {"installation": report.installation, "dry_run": report.dry_run, **totals, "files": report.files}
        out.emit(said)
        return
    for one in report.files:
        out.say(f"{one.path}: {_figures(one)}", state=_state(one))
        for note in one.notes:
            out.say(f"  {out.one_line(note, most=160)}")
        if one.notes_more:
            out.say(f"  and {one.notes_more:,} more")
    told = ", ".join(f"{count:,} {what}" for what, count in totals.items() if count) or "nothing there"
    out.say(
        f"{counted(len(report.files), 'file')}: {told}" + (" (dry run: nothing recorded)" if report.dry_run else "")
    )


def _state(one: FileReport) -> Literal["ok", "note", "wrong"]:
    if one.skipped or one.broken or one.refused:
        return "wrong"
    return "note" if one.kept or one.left else "ok"


def _figures(one: FileReport) -> str:
    if one.skipped:
        return f"skipped: {out.one_line(one.skipped)}"
    figures = [f"{getattr(one, what):,} {what}" for what in _TOTALS if getattr(one, what)]
    sorts = ", ".join(counted(count, *_nouns(sort)) for sort, count in one.sorts.items())
    return ", ".join(figures or ["nothing"]) + (f" ({sorts})" if sorts else "")


def _nouns(sort: str) -> tuple[str, str]:
    one = sort.replace("_", " ")
    return one, f"{one[:-1]}ies" if one.endswith("y") else f"{one}es" if one.endswith("x") else f"{one}s"


@verb("migrate-to", short_help="Write the loops as the folders that migrate-from reads.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def migrate_to(session: Session, *, folder: Path) -> int:
    """Writes the agent's loops, and what is said of them, as folders of JSON and SQLite files. They are not encrypted.

    \b
      antiphon migrate-to /tmp/soulfra
    """
    from antiphon.ops.installation_export import Export
    from antiphon.replica.forget import note_copy

    with session.agent() as agent:
        counts = Export(agent, agent.replica.registry, agent.name, folder).write()
        if not agent.replica.file.read_only:
            note_copy(agent.replica, str(folder.resolve()), "export")
    if session.as_json:
        out.emit({"folder": str(folder), "files": counts})
        return 0
    for place, count in counts.items():
        out.say(f"{place}: {counted(count, 'record')}")
    return 0
