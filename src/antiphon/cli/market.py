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
@click.option("--dry-run", is_flag=True, help="Say what would become of it, and record nothing.")
def import_(
    session: Session, *, file: Path, sort: str, mapped: tuple[str, ...], system: str | None, form: str, dry_run: bool
) -> int:
    """Takes each record once, however often it comes: companies by site or name, people by address, products and deals
    by name and company. Of two values the one that is so since later stands. Refused rows are said with their lines;
    exit code 1 when there are some.

    \b
      antiphon market import companies.csv --as companies --system hubspot
      antiphon market import deals.json --as opportunities --map 'Deal Owner=-' --dry-run
    """
    from antiphon.ops.market_import import import_records
    from antiphon.ops.market_rows import Rows

    rows = Rows(file, sort, mapped=_pairs(mapped), form=form)
    with session.agent(writes=True) as agent:
        report = import_records(_market(agent), sort, rows, system=system, dry_run=dry_run)
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
    for one in report.refused[:SHOWN_MAX]:
        out.aside(f"{file}:{one.line}: {one.reason}")
    if report.rejected > SHOWN_MAX:
        out.aside(f"{file}: and {counted(report.rejected - SHOWN_MAX, 'more refused row')}: --json has them")
    if report.unmapped:
        out.aside(f"left out, as no field is called so: {', '.join(report.unmapped)}; --map says otherwise")
    said = [("added", report.added), ("changed", report.changed), ("the same", report.same), ("asked", report.asked),
            ("moved", report.moved), ("older fields", report.stale), ("refused", report.rejected)]  # fmt: skip
    words = ", ".join(f"{count:,} {what}" for what, count in said if count) or "nothing in it"
    print(f"{out.one_line(str(file))}: {'would be ' if report.dry else ''}{words}")


@verb("feed", short_help="Take RSS or Atom publications, from files and the web.")
@click.argument("source", nargs=-1, required=True)
@click.option("--every", metavar="AGE", help="Go on, and read each so often, as 15m or 6h, until interrupted.")
def feed(session: Session, *, source: tuple[str, ...], every: str | None) -> int:
    """Takes what feeds publish, each item once, and notes which companies of the book it names. What has not changed
    since the last time is not sent again by its server. Exit code 1 when a feed could not be read.

    \b
      antiphon market feed foodnavigator.xml
      antiphon market feed https://www.bakingbusiness.com/rss --every 15m
    """
    from antiphon.model.times import age_ms
    from antiphon.ops.market_feed import EVERY_MS, Poller, is_url, read_file
    from antiphon.world.clock import sleep_ms

    files, urls = [one for one in source if not is_url(one)], [one for one in source if is_url(one)]
    code = 0
    with session.agent(writes=True) as agent:
        book = _market(agent)
        for path in files:
            _show_read(session, read_file(book, Path(path)))
        poller = Poller(book, [(url, EVERY_MS if every is None else age_ms(every)) for url in urls])
        try:
            while urls:
                for read in poller.poll():
                    _show_read(session, read)
                    code = 1 if read.error is not None else code
                if every is None:
                    break
                sleep_ms(min(1_000.0, poller.due_in_ms()))
        except KeyboardInterrupt:
            return INTERRUPTED
    return code


def _show_read(session: Session, read: Read) -> None:
    import msgspec

    if session.as_json:
        out.emit(msgspec.to_builtins(read))
    elif read.error is not None:
        out.aside(read.error)
    elif read.unchanged:
        print(f"{out.one_line(read.url)}: nothing new")
    else:
        print(f"{out.one_line(read.url)}: {counted(read.new, 'new publication')}, {read.known:,} known")


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
    from antiphon.ops.market_server import WebhookServer

    secret = _secret_of(secret_file)
    with session.agent(writes=True, background=True) as agent:
        server = WebhookServer({system: Inbound(_market(agent), system, secret)}, host=host, port=port)
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

    from antiphon.ops.market_hook import Outbound
    from antiphon.ops.market_server import post
    from antiphon.world.clock import sleep_ms

    secret = _secret_of(secret_file)
    with session.agent(writes=True) as agent:
        sent = Outbound(_market(agent), agent, system, url, secret, post=post, sleep=sleep_ms).send()
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
