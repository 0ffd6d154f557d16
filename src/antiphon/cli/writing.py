"""Room `cli` (imports everything): beginning and writing: `init`, `remember`, `import`, `compress`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, moment, verb, wrong_use
from antiphon.model import errors
from antiphon.model.text import counted

_RECOVERY: Final = "It alone can take this principal back after theft or loss: print or copy it, then delete it here."


@verb("init", short_help="Make an agent, and a home for it where there is none.")
@click.argument("name")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase that a new home opens by (asked hidden).")
def init(session: Session, *, name: str, passphrase: bool) -> int:
    """Makes an agent with a database of its own, and the home with its keys where there is none yet.

    Tells where the recovery key is: keep it away from this machine. ANTIPHON_PASSPHRASE is a passphrase for scripts.

    \b
      antiphon init ada
      antiphon --home ~/agents init grace --passphrase
    """
    from antiphon.agent import Agent
    from antiphon.home import warn_of_network_folder

    place = session.place()
    fresh = not (place / "keys").exists()
    phrase = session.passphrase()
    if passphrase and fresh:
        if not sys.stdin.isatty():
            raise errors.InvalidInput("--passphrase asks on a terminal; a script sets ANTIPHON_PASSPHRASE instead")
        phrase = click.prompt("A passphrase for this home", hide_input=True, confirmation_prompt=True, err=True)
    with wrong_use():
        agent = Agent.create(name, home=place, passphrase=phrase)
    with agent:
        recovery = place / "recovery-key.txt"
        warning = warn_of_network_folder(place)
        said = {
            "agent": agent.name, "id": agent.id, "principal": agent.principal, "home": str(place),
            "file": str(agent.replica.file.path), "new_home": fresh,
            "recovery_key": str(recovery) if recovery.exists() else None, "warning": warning,
        }  # fmt: skip
    if session.as_json:
        out.emit(said)
    elif not out.is_terminal():
        out.fields((key, value) for key, value in said.items() if key != "new_home")
        if recovery.exists():
            out.aside(f"Keep the recovery key away from this machine: {recovery}. {_RECOVERY}")
        if warning:
            out.aside(f"Warning: {warning}")
    else:
        _welcome(said)
    return 0


def _welcome(said: dict[str, object]) -> None:
    out.say(f"{said['agent']} is ready.", state="ok")
    out.fields([("agent", said["id"]), ("principal", said["principal"]), ("file", said["file"])])
    if said["recovery_key"]:
        print()
        out.say("Keep the recovery key away from this machine.", state="note")
        out.fields([("", said["recovery_key"]), ("", _RECOVERY)])
    if said["warning"]:
        print()
        out.say(f"{said['warning']}.", state="note")


@verb("remember", short_help="Write a memory.")
@click.argument("text", nargs=-1)
@click.option("-t", "--tag", multiple=True, help="A tag; may be repeated.")
@click.option("--user", metavar="NAME", help="The person it concerns (kept as a pseudonym).")
@click.option("--significance", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Its weight.")
@click.option("--namespace", default="", help="A namespace to keep it in.")
@click.option("--type", "of_type", default="memory", show_default=True, help="What sort of memory it is.")
@click.option("--occurred", metavar="TIME", help="When it happened, if not now: ISO 8601, or an age like 2d.")
@click.option("--expires", metavar="TIME", help="When it ends: ISO 8601, or a span from now like 30d.")
@click.option("--supersedes", metavar="ENTITY", help="The memory that this corrects.")
def remember(
    session: Session,
    *,
    text: tuple[str, ...],
    tag: tuple[str, ...],
    user: str | None,
    significance: float,
    namespace: str,
    of_type: str,
    occurred: str | None,
    expires: str | None,
    supersedes: str | None,
) -> int:
    """Writes a memory; it is on disk when this returns. `-`, or nothing in a pipe, reads it from standard input.

    In a pipe it prints the event's id.

    \b
      antiphon remember "Grace prefers tea over coffee" --user Grace --tag drinks
      git log -1 | antiphon remember - --namespace work
      antiphon remember "The meeting was moved to Friday" --supersedes 01a2b3c4-…
    """
    said = _text(text)
    with session.agent(writes=True) as agent:
        done = agent.remember(
            said, type=of_type, significance=significance, namespace=namespace, user=user,
            tags=list(tag) or None, expires=moment(expires, future=True), occurred=moment(occurred),
            supersedes=supersedes,
        )  # fmt: skip
    if session.as_json:
        from antiphon.model.times import iso

        said_back = {"event": done.event, "entity": done.entity, "recorded": iso(done.recorded_ms)}
        out.emit(said_back)
    elif out.is_terminal():
        out.say(f"Remembered as event {done.event.rpartition('/')[2]}.", state="ok")
        out.fields([("event", done.event), ("entity", done.entity)])
    else:
        print(done.event)
    return 0


def _text(words: tuple[str, ...]) -> str:
    if words and words != ("-",):
        text = " ".join(words)
    elif not words and sys.stdin.isatty():
        raise click.UsageError('what shall be remembered? antiphon remember "…"', click.get_current_context())
    else:
        try:
            text = sys.stdin.buffer.read().decode().rstrip("\n")
        except UnicodeDecodeError as error:
            raise errors.InvalidInput(
                f"standard input is not UTF-8 at byte {error.start}: convert it first (iconv -t utf-8)"
            ) from None
    return text


@verb("import", short_help="Take in JSON lines, transcripts, chats or archives.")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True)
)
@click.option(
    "--format", "form", type=click.Choice(["auto", "jsonl", "transcript", "chat"]), default="auto", show_default=True,
    help="What the files are; auto looks inside.",
)  # fmt: skip
@click.option("--source", metavar="NAME", help="What the source is called (else its path, or stdin).")
@click.option("--rejects", type=click.Path(path_type=Path), metavar="PATH", help="Where bad lines go (FILE.rejected).")
@click.option("--namespace", help="A namespace for records that name none.")
@click.option("--user", metavar="NAME", help="The person for records that name none.")
@click.option("-t", "--tag", multiple=True, help="A tag for every record; may be repeated.")
def take_in(
    session: Session,
    *,
    files: tuple[Path, ...],
    form: str,
    source: str | None,
    rejects: Path | None,
    namespace: str | None,
    user: str | None,
    tag: tuple[str, ...],
) -> int:
    """Takes in other people's files. Running it again adds nothing twice: a record is known by its source and its
    id, or by its source and its content.

    \b
    JSON lines   {"text": "…", "time": "2025-03-01T12:00:00Z", "user": "grace", "tags": ["a"]}
                 (content; occurred, timestamp; id, type, namespace, significance, metadata)
    transcripts  [{"role": "user", "content": "…"}, …] or {"messages": […]}, a session a file
    chats        {"CONVERSATION": {"messages": [[{"text", "timestamp", "sender"}]]}}
    archives     FILE.archive of another agent, kept as its own logs, read only

    Old times are kept as the time it happened. Bad lines are shown, counted and kept aside in FILE.rejected. `-` reads
    standard input. Exit code 1 when everything was rejected.

    \b
      antiphon import notes.jsonl
      jq -c .notes[] big.json | antiphon import - --source big
      antiphon import sessions/*.json --namespace support
    """
    from antiphon.cli.intake import Defaults, import_file

    with session.agent(writes=True) as agent:
        defaults = Defaults(namespace, user, tag)
        done = [
            import_file(agent, path, form=form, source=source, rejects=rejects, defaults=defaults, append=at > 0)
            for at, path in enumerate(files)
        ]
    added, known, rejected = (sum(getattr(d, what) for d in done) for what in ("added", "known", "rejected"))
    nothing = rejected and not (added or known or any(d.logs for d in done))
    if session.as_json:
        out.emit({"added": added, "known": known, "rejected": rejected, "files": done})
        return 1 if nothing else 0
    for item in done:
        note = f", {item.known:,} already there" if item.known else ""
        note += f", {item.rejected:,} rejected (kept in {item.rejects})" if item.rejected else ""
        logs = f", {counted(len(item.logs), 'log')} of others" if item.logs else ""
        out.say(f"{item.file}: {item.added:,} added{note}{logs}", state="note" if item.rejected else "ok")
    if nothing:
        out.aside(f"Nothing was imported: {counted(rejected, 'record')} read, and every one rejected.")
    return 1 if nothing else 0


@verb("compress", short_help="Fold old, insignificant memories into summaries.")
@click.option("--older-than", default="30d", show_default=True, metavar="AGE", help="Only memories older than this.")
@click.option(
    "--significance-max", type=click.FloatRange(0, 1), default=0.3, show_default=True, help="Only up to this weight."
)
@click.option("--namespace", help="Only this namespace.")
def compress(session: Session, *, older_than: str, significance_max: float, namespace: str | None) -> int:
    """Folds old, insignificant memories into summaries by rule; no model is needed. Nothing is erased: the sources
    stay in the log, and each summary names them.

    \b
      antiphon compress --older-than 90d
    """
    with session.agent(writes=True) as agent, out.progress("compressing"):
        made = agent.compress(older_than=older_than, significance_max=significance_max, namespace=namespace)
    if session.as_json:
        out.emit_list(made)
    elif not made:
        out.say("Nothing to fold: no two memories are that old and insignificant.")
    else:
        out.say(f"{counted(len(made), 'summary', 'summaries')} made.", state="ok")
        for item in made:
            print(f"  {item.event}" if out.is_terminal() else item.event)
    return 0
