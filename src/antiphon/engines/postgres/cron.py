"""Room `engines` (imports all below it): jobs in a server's pg_cron, which lives in one database for all of them.

Where it lives elsewhere than the tables, jobs are made by a second connection, with the same user. Whatever is in the
way is a reason in words: what jobs do is done by the feeder too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
import psycopg

from antiphon.engines.postgres.connection import Server, Session, bounds
from antiphon.engines.postgres.ddl import literal, quoted
from antiphon.model.errors import AntiphonError, NotFound

SCHEDULE: Final = "* * * * *"
"""Each minute."""
DATABASE: Final = "postgres"
"""Where pg_cron lives when nobody has said otherwise."""
TRIM_SCHEDULE: Final = "7 4 * * *"
"""Once a day: pg_cron notes each run of a job, and never deletes the notes."""


class Job(msgspec.Struct, frozen=True):
    """A job: when, what and in which database."""

    name: str
    schedule: str
    command: str
    database: str


def schedule(server: Server, schema: str, commands: Mapping[str, str]) -> str | None:
    """Makes the jobs of a schema these alone, each run each minute; why that is not to be had, None where it is done.

    *Shapes*: `commands` are SQL by name. Doing it twice is doing it once.
    """
    try:
        with server.transaction() as session:
            here, there = _places(session)
        mark = f"antiphon {quoted(here)}.{quoted(schema)}."
        wanted = {mark + quoted(name): command for name, command in commands.items()}
        with contextlib.ExitStack() as stack:
            cron = server
            if there != here:
                cron = Server(in_database(server.url, there))
                stack.callback(cron.close)
            _scheduled(cron, mark, {name: Job(name, SCHEDULE, said, here) for name, said in wanted.items()}, there)
    except AntiphonError as error:
        return " ".join(str(error).split())
    return None


def _places(session: Session) -> tuple[str, str]:
    """This database, and the one where pg_cron lives. Raises NotFound where it is not loaded."""
    row = session.execute("SELECT current_database()").fetchone()
    assert row is not None
    here = str(row[0])
    if session.execute("SELECT FROM pg_extension WHERE extname = 'pg_cron'").fetchone() is not None:
        return here, here
    try:
        with session.transaction():
            said = session.execute("SELECT current_setting('cron.database_name', true)").fetchone()
    except psycopg.errors.InsufficientPrivilege:  # for superusers' eyes; but it is loaded
        return here, DATABASE
    if said is None or said[0] is None:
        raise NotFound("it is not loaded in that server")
    return here, str(said[0])


def in_database(url: str, database: str) -> str:
    """The same URL, of another database of the server."""
    parts = urlsplit(url)
    rest = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name != "dbname"]
    return parts._replace(path=f"/{quote(database, safe='')}", query=urlencode(rest)).geturl()


def _scheduled(cron: Server, mark: str, wanted: dict[str, Job], database: str) -> None:
    with cron.transaction() as session:
        bounds(session)
        if session.execute("SELECT FROM pg_extension WHERE extname = 'pg_cron'").fetchone() is None:
            if not wanted:
                return
            session.execute("CREATE EXTENSION IF NOT EXISTS pg_cron")
        if wanted:
            trim = f"{mark}trim"
            done = (
                "DELETE FROM cron.job_run_details WHERE end_time < now() - INTERVAL '1 day' AND jobid IN (SELECT jobid "
                f"FROM cron.job WHERE starts_with(jobname, {literal(mark)}))"
            )
            wanted = {**wanted, trim: Job(trim, TRIM_SCHEDULE, done, database)}
        _differing(session, mark, wanted, database)


def _differing(session: Session, mark: str, wanted: Mapping[str, Job], database: str) -> None:
    """Makes what differs, and takes away what is not wanted any more."""
    rows = session.execute(
        "SELECT jobid, jobname, schedule, command, database FROM cron.job WHERE starts_with(jobname, %s) AND "
        "username = CURRENT_USER AND active",
        (mark,),
    ).fetchall()
    there = {name: (number, Job(name, *rest)) for number, name, *rest in rows}
    for name, job in wanted.items():
        if name in there and there[name][1] == job:
            continue
        if job.database == database:
            session.execute("SELECT cron.schedule(%s, %s, %s)", (name, job.schedule, job.command))
        else:
            session.execute(
                "SELECT cron.schedule_in_database(%s, %s, %s, %s)", (name, job.schedule, job.command, job.database)
            )
    for name in there.keys() - wanted.keys():
        session.execute("SELECT cron.unschedule(%s::bigint)", (there[name][0],))
