"""Room `cli` (imports everything): the root of the command line, and what becomes of every error.

Exit codes: 0 right, 1 the answer is no, 2 wrong use, 3 could not, 130 interrupted. Nothing heavy is imported here:
`antiphon --help` must answer at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from antiphon import __version__
from antiphon.cli import (
    adopting,
    engines,
    follow,
    forgetting,
    grants,
    homes,
    keeping,
    market,
    migrate,
    migrate_from,
    passphrase,
    proving,
    reading,
    recover,
    replay,
    rows,
    tables,
    upkeep,
    views,
    writing,
)
from antiphon.cli import show as out
from antiphon.cli.session import Session
from antiphon.model import errors

INTERRUPTED: Final = 130
_SECTIONS: Final = {
    "Begin": ("init", "demo"),
    "Write": ("remember", "import", "market", "migrate-from", "compress"),
    "Find": ("recall", "show", "history", "log", "rows", "follow", "tables"),
    "Prove": ("prove", "checkpoint", "verify"),
    "Forget": ("forget",),
    "Look after": (
        "export", "stats", "views", "rejections", "requests", "homes", "grants", "replay", "engines", "migrate",
        "doctor", "passphrase", "recover", "adopt", "migrate-to",
        "mcp",
    ),
}  # fmt: skip


class Root(click.Group):
    """The group of all verbs; the one place that turns errors into exit codes."""

    def main(  # type: ignore[override]  # it never returns
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Runs the command line and exits with its code."""
        words = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in words[: words.index("--") if "--" in words else None]
        out.speak_json(on=as_json)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is no error
        extra.pop("standalone_mode", None)
        try:
            code = super().main(words, prog_name or "antiphon", standalone_mode=False, **extra)
            sys.exit(code if isinstance(code, int) else 0)
        except (click.ClickException, errors.AntiphonError, click.Abort, OSError) as error:
            sys.exit(_report(error, as_json=as_json))
        except Exception as error:  # noqa: BLE001  # a mistake of ours: one line, and how to see more
            sys.exit(_report(error, as_json=as_json))

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a verb. A reader that has gone away (`| head`) is no error."""
        try:
            found = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123  # not a path of ours
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            return 0
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs by what one wants to do."""
        width = max(map(len, self.commands))
        for section, names in _SECTIONS.items():
            with formatter.section(section):
                rows = [(name.ljust(width), self.commands[name].get_short_help_str(90)) for name in names]
                formatter.write_dl(rows)


def code_of(error: BaseException) -> int:
    """The exit code for an error."""
    match error:
        case click.Abort():
            return INTERRUPTED
        case click.ClickException() | errors.AntiphonError(context={"exit": 2}):
            return 2
        case errors.NotFound():
            return 1
        case errors.InvalidInput():
            return 2
        case _:
            return 3


def _report(error: BaseException, *, as_json: bool) -> int:
    """Says in one line, of text or of JSON, what went wrong and what to do; the exit code."""
    if os.environ.get("ANTIPHON_DEBUG") == "1":
        traceback.print_exception(error)
    code = code_of(error)
    is_bare = isinstance(error, click.exceptions.NoArgsIsHelpError)
    if isinstance(error, click.ClickException) and is_bare and not as_json:
        print(error.format_message(), file=sys.stderr)
        return code
    if isinstance(error, click.Abort):
        message = "stopped; everything acknowledged is on disk"
        if sys.stderr.isatty() and not as_json:
            print(file=sys.stderr)  # the line that ^C stands on is not ours
    elif isinstance(error, click.ClickException):
        message = "which verb" if is_bare else error.format_message()
        if isinstance(error, click.UsageError) and error.ctx is not None:
            message = f"{message.rstrip('.')}: see `{error.ctx.command_path} --help`"
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        message = f"{place}{error.strerror or error}: check the path and its permissions"
    elif isinstance(error, errors.AntiphonError):
        message = str(error)
    else:
        message = (
            f"{type(error).__name__}: {error}. A mistake of Antiphon's: run again with ANTIPHON_DEBUG=1 and report it"
        )
    line = out.one_line(message)
    if not as_json:
        print(f"antiphon: {line}", file=sys.stderr)
    else:
        import msgspec

        kind = {2: "Usage", INTERRUPTED: "Interrupted"}.get(code, type(error).__name__)
        if isinstance(error, errors.AntiphonError):
            kind = type(error).__name__
        context = {key: out.clean(str(value)) for key, value in getattr(error, "context", {}).items() if key != "exit"}
        said = {"error": kind, "message": line, "exit": code, "context": context}
        print(msgspec.json.encode(said).decode(), file=sys.stderr)
    return code


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 right, 1 the answer is no, 2 wrong use, 3 could not. "
    "These options may also stand behind a verb; `antiphon VERB --help` shows examples of each.",
)
@click.option("-a", "--agent", metavar="NAME", help="Which agent (ANTIPHON_AGENT; else the only one there is).")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where agents and keys are (ANTIPHON_HOME).",
)
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, errors too.")
@click.version_option(__version__, "-V", "--version", message="antiphon %(version)s")
@click.pass_context
def main(ctx: click.Context, agent: str | None, home: Path | None, as_json: bool) -> None:
    """A database of its own for every agent: encrypted, searchable, provable, offline.

    \b
      antiphon init ada
      antiphon remember "Grace prefers tea over coffee"
      antiphon recall "what does Grace drink?"
    """
    ctx.obj = Session(agent or os.environ.get("ANTIPHON_AGENT") or None, home, as_json)


for verb in (
    writing.init,
    upkeep.demo,
    writing.remember,
    writing.take_in,
    writing.compress,
    reading.recall,
    reading.show,
    reading.history,
    reading.log,
    rows.rows,
    follow.follow,
    tables.tables,
    proving.prove,
    proving.checkpoint,
    proving.verify,
    forgetting.forget,
    keeping.export,
    keeping.stats,
    views.views,
    views.rejections,
    homes.requests,
    homes.homes,
    grants.grants,
    replay.replay,
    engines.engines,
    migrate.migrate,
    market.market,
    migrate_from.migrate_from,
    migrate_from.migrate_to,
    upkeep.doctor,
    passphrase.passphrase,
    recover.recover,
    adopting.adopt,
    upkeep.mcp,
):
    main.add_command(verb)
