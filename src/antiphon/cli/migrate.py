"""Room `cli` (imports everything): `migrate`: brings the tables of a PostgreSQL to what is declared now."""

from __future__ import annotations

import contextlib

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, verb
from antiphon.model import errors


@verb("migrate", short_help="Bring the tables of a PostgreSQL to what is declared now.")
@click.argument("name", required=False)
@click.option("--dry-run", is_flag=True, help="Print the SQL and change nothing.")
@click.option("--drop", is_flag=True, help="Also drop what former declarations had, and what was put aside.")
def migrate(session: Session, *, name: str | None, dry_run: bool, drop: bool) -> int:
    """Compares each table with the declaration that it was made from and runs what is between them: adds at once, fills
    by the feed (`antiphon engines feed`), constrains when it is filled: so run it once more then. Readers and writers
    go on; every lock is waited for a few seconds at most. What was altered by hand is put aside. That, and what is no
    longer declared, stays until `--drop`; until then an older version of the code migrates back.

    \b
      antiphon migrate --dry-run
      antiphon migrate store
      antiphon migrate store --drop
    """
    from antiphon.cli.attached import engine_named, named_in
    from antiphon.engines.postgres.migrating import Migration, forgotten
    from antiphon.engines.sealing import Seals

    home = session.place()
    asked = [one for one, url in named_in(home).items() if not url.startswith("redis")] if name is None else [name]
    urls = {one: engine_named(home, one) for one in asked}
    chosen = {one: url for one, url in urls.items() if url.startswith(("postgres:", "postgresql:"))}
    if not chosen:
        raise errors.InvalidInput("no PostgreSQL is named: `antiphon engines add NAME postgresql://…`")
    waits = False
    with session.agent() as agent:
        seals = Seals.of(agent.replica.keys, agent.replica.entropy)
        tables = {name: seals.table(table) for name, table in agent.replica.registry.tables.items()}
        dashboards = agent.replica.registry.dashboards
    for one, url in chosen.items():
        with contextlib.closing(Migration(url, tables, dashboards=dashboards)) as migration:
            due = migration.due()
            steps = [*due.steps, *(due.leftover if drop and not due.waiting else [])]
            steps += [forgotten("antiphon")] if drop and due.leftover and not due.waiting else []
            if session.as_json:
                out.emit({"name": one, "dry_run": dry_run, "steps": steps, "waiting": due.waiting})
            if dry_run and not session.as_json:
                for step in steps:
                    print(f"-- {step.kind} {step.table}".rstrip())
                    print(f"{step.sql};")
            elif not dry_run and steps:
                with out.progress(f"migrating {one}", len(steps)) as advance:
                    migration.run(steps, progress=lambda step: advance(1))  # runs before the next round
            for line in due.waiting:
                out.say(f"{one}: {line}", state="note")
            if not session.as_json and not due.waiting:
                former = "; `--drop` removes what former declarations had, and what was put aside"
                left = "" if drop or not due.leftover else former
                out.say(f"{one} {'would take' if dry_run else 'took'} {len(steps)} steps{left}", state="ok")
            waits = waits or bool(due.waiting)
    return 1 if waits else 0
