"""Room `cli` (imports everything): `market`: exports of CRMs and feeds into an agent's book, and webhooks both ways."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from antiphon.cli import show as out
from antiphon.cli.session import Session, verb
from antiphon.model import errors
from antiphon.model.text import counted

if TYPE_CHECKING:
    from antiphon.agent import Agent
    from antiphon.domains.market import Market
    from antiphon.ops.market_feed import Read
    from antiphon.ops.market_import import Report

SHOWN_MAX: Final = 20
INTERRUPTED: Final = 130
SECRET: Final = "ANTIPHON_MARKET_SECRET"


@click.group("market", short_help="Import companies, people, deals and news; exchange them with CRMs.")
def market() -> None:
    """Takes exports of CRMs and feeds into the agent's book, and exchanges changes with CRM systems."""


@verb("import", short_help="Take a CRM's export, CSV or JSON, into the book.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "sort", required=True, type=click.Choice(["companies", "products", "opportunities", "personas"]))
@click.option(
    "--map", "mapped", multiple=True, metavar="HEADER=FIELD", help="Where a header's cells go; `-` leaves out."
)
@click.option("--system", metavar="NAME", help="Whose export it is; its ids are kept, so that records are found again.")
@click.option("--format", "form", type=click.Choice(["auto", "csv", "json"]), default="auto", show_default=True)
@click.option("--decimal", type=click.Choice([".", ","]), help="What stands before fractions in this file.")
@click.option("--again", is_flag=True, help="Take people again who were forgotten here.")
@click.option("--dry-run", is_flag=True, help="Say what would become of it, and record nothing.")
@click.option("--circle", metavar="ID", help="All of it is for the members of a circle.")
@click.option("--publish-people", is_flag=True, help="Let whoever has the agent's log read who people are.")
def import_(
    session: Session, *, file: Path, sort: str, mapped: tuple[str, ...], system: str | None, form: str,
    decimal: str | None, again: bool, dry_run: bool, circle: str | None, publish_people: bool,
) -> int:  # fmt: skip
    """Takes each record once, however often it comes: companies by site or name, people by address, products and deals
    by name and company. Of two values the one that is so since later stands. People are for this agent alone, unless
    --circle or --publish-people say otherwise when they first come; who was forgotten here stays so. Refused rows are
    said with their lines; exit code 1 when there are some.

    \b
      antiphon market import companies.csv --as companies --system hubspot
      antiphon market import deals.json --as opportunities --map 'Deal Owner=-' --dry-run
    """
    from antiphon.domains.market import Market
    from antiphon.model.text import parse_entity
    from antiphon.ops.market_ahead import look_ahead
    from antiphon.ops.market_import import import_records
    from antiphon.ops.market_people import People
    from antiphon.ops.market_rows import Rows

    rows = Rows(file, sort, mapped=_pairs(mapped), form=form, mark=decimal)
    with session.agent(writes=True) as agent:
        book = Market(agent, circle=None if circle is None else parse_entity(circle), publish_people=publish_people)
        with out.progress(f"reading {file.name}") as advance:
            ahead = look_ahead(sort, rows, progress=advance)
        with out.progress(f"importing {file.name}", ahead.records) as advance:
            report = import_records(
                book, sort, rows, system=system, dry_run=dry_run, ahead=ahead,
                people=People(agent.replica.file, again=again, entropy=agent.replica.entropy), progress=advance,
            )  # fmt: skip
    _show_report(session, file, report)
    return 1 if report.rejected else 0


def _pairs(mapped: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in mapped:
        header, equal, target = pair.rpartition("=")
        if not equal or not header:
            raise errors.InvalidInput(f"--map {pair}: write it like --map 'Company name=name'")
        found[header] = target.strip()
    return found


def _market(agent: Agent) -> Market:
    from antiphon.domains.market import Market

    return Market(agent)


def _show_report(session: Session, file: Path, report: Report) -> None:
    import msgspec

    if session.as_json:
        out.emit({"file": str(file), **msgspec.to_builtins(report)})
        return
    at = ":" if report.unit == "line" else f": {report.unit} "
    for one in report.refused[:SHOWN_MAX]:
        out.aside(f"{file}{at}{one.line}: {one.reason}")
    if report.rejected > SHOWN_MAX:
        out.aside(f"{file}: and {counted(report.rejected - SHOWN_MAX, 'more refused row')}: --json has them")
    if report.unmapped:
        out.aside(f"left out, as no field is called so: {', '.join(report.unmapped)}; --map says otherwise")
    if report.forgotten:
        people = f"{report.forgotten:,} people that were" if report.forgotten > 1 else "1 person that was"
        out.aside(f"left out: {people} forgotten here, or taken out of the book; --again takes them")
    said = [("added", report.added), ("changed", report.changed), ("the same", report.same), ("asked", report.asked),
            ("said again below", report.repeated), ("forgotten", report.forgotten), ("moved", report.moved),
            ("older fields", report.stale), ("refused", report.rejected)]  # fmt: skip
    words = ", ".join(f"{count:,} {what}" for what, count in said if count) or "nothing in it"
    print(f"{out.one_line(str(file))}: {'would be ' if report.dry else ''}{words}")


@verb("feed", short_help="Take RSS or Atom publications, from files and the web.")
@click.argument("source", nargs=-1, required=True)
@click.option("--every", metavar="AGE", help="Go on, and read each so often, as 15m or 6h, until interrupted.")
def feed(session: Session, *, source: tuple[str, ...], every: str | None) -> int:
    """Takes what feeds publish, each item of a feed once, and notes which companies of the book it names. What has not
    changed since the last time is not sent again by its server. A source that cannot be read is said, and holds no
    other up; exit code 1 then.

    \b
      antiphon market feed foodnavigator.xml
      antiphon market feed https://www.bakingbusiness.com/rss --every 15m
    """
    from antiphon.model.times import age_ms
    from antiphon.ops.market_feed import EVERY_MS, Poller
    from antiphon.world.clock import sleep_ms

    pause_ms, code = EVERY_MS if every is None else age_ms(every), 0
    with session.agent(writes=True) as agent:
        poller = Poller(_market(agent), [(one, pause_ms) for one in source])
        try:
            while True:
                while (asked := poller.next_due()) is not None:
                    with out.progress(f"asking {out.one_line(asked)}"):
                        read = poller.read(asked)
                    _show_read(session, read)
                    code = 1 if read.error is not None else code
                if every is None:
                    return code
                sleep_ms(min(1_000.0, poller.due_in_ms()))
        except KeyboardInterrupt:
            return INTERRUPTED


def _show_read(session: Session, read: Read) -> None:
    import msgspec

    if session.as_json:
        out.emit(msgspec.to_builtins(read))
    elif read.error is not None:
        out.aside(read.error)
    elif read.unchanged:
        print(f"{out.one_line(read.url)}: nothing new")
    else:
        said = [("twice", read.repeated), ("without a title or a link", read.left), ("refused", read.refused)]
        more = "".join(f", {count:,} {what}" for what, count in said if count)
        print(f"{out.one_line(read.url)}: {counted(read.new, 'new publication')}, {read.known:,} known{more}")


_secret = click.option(
    "--secret-file", type=click.Path(path_type=Path), help=f"Where the shared secret is; else in {SECRET}."
)


@click.group("webhook", short_help="Exchange changes with a CRM, signed, both ways.")
def webhook() -> None:
    """Exchanges changes with CRM systems: signed by HMAC-SHA256 under a secret that both know."""


@verb("serve", short_help="Listen for what a system says.")
@click.argument("system")
@_secret
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=8_765, show_default=True)
def serve(session: Session, *, system: str, secret_file: Path | None, host: str, port: int) -> int:
    """Listens for a system's messages until interrupted.

    \b
      antiphon market webhook serve hubspot --secret-file hubspot.secret
    """
    from antiphon.ops.market_hook import Inbound
    from antiphon.ops.market_people import People
    from antiphon.ops.market_server import WebhookServer

    secret = _secret_of(secret_file)
    with session.agent(writes=True, background=True) as agent:
        people = People(agent.replica.file, entropy=agent.replica.entropy)
        inbound = Inbound(_market(agent), system, secret, people=people)
        server = WebhookServer({system: inbound}, host=host, port=port)
        out.aside(f"listening for {system} at {server.url}{system}; ^C ends it")
        try:
            server.serve()
        except KeyboardInterrupt:
            return INTERRUPTED
        finally:
            server.close()
    return 0


@verb("send", short_help="Tell a system what has changed.")
@click.argument("system")
@click.argument("url")
@_secret
def send(session: Session, *, system: str, url: str, secret_file: Path | None) -> int:
    """Tells a system all changes that it has not been told, but its own; nothing where there are none.

    \b
      antiphon market webhook send hubspot https://crm.example.com/antiphon --secret-file hubspot.secret
    """
    import msgspec

    from antiphon.ops.market_hook import SENDS_MAX, TELLING, Outbound
    from antiphon.ops.market_server import post
    from antiphon.replica.forget import note_copy
    from antiphon.world.clock import sleep_ms

    def waiting(sends: int, said: str, pause_ms: float) -> None:
        why = said.removeprefix(f"{url}: ")
        out.aside(f"{url}: {why}: sent again in {pause_ms / 1_000:g} s ({sends} of {SENDS_MAX} sends)")

    secret = _secret_of(secret_file)
    with session.agent(writes=True) as agent:
        sent = Outbound(
            _market(agent), agent, system, url, secret, post=post, sleep=sleep_ms, waiting=waiting,
            telling=lambda: note_copy(agent.replica, url, f"the CRM {system}", kinds=TELLING),
        ).send()  # fmt: skip
    if session.as_json:
        out.emit(msgspec.to_builtins(sent))
    else:
        print(f"{system}: {counted(sent.changes, 'change')} in {counted(sent.messages, 'message')}")
    return 0


def _secret_of(path: Path | None) -> bytes:
    from antiphon.ops.market_signed import check_secret, secret_in

    if path is not None:
        return secret_in(path)
    given: Any = os.environ.get(SECRET)
    if not given:
        raise errors.InvalidInput(f"a webhook needs a secret: name a file with --secret-file, or set {SECRET}")
    return check_secret(given.encode())


webhook.add_command(serve)
webhook.add_command(send)
market.add_command(import_)
market.add_command(feed)
market.add_command(webhook)
