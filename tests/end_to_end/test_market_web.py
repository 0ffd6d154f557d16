"""The market on a real network, on loopback: feeds asked for with conditions, webhooks both ways, and the verbs."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from antiphon import Agent, InvalidInput, LimitExceeded, NotFound, Unavailable
from antiphon.cli.market import SECRET, market
from antiphon.cli.root import Root
from antiphon.cli.session import Session
from antiphon.domains.market import MARKET, Market
from antiphon.ops import market_feed
from antiphon.ops.market_feed import fetch, read_url
from antiphon.ops.market_hook import MESSAGE_BYTES_MAX, Inbound, Outbound
from antiphon.ops.market_server import WebhookServer, post
from antiphon.ops.market_signed import signed_headers
from antiphon.world.clock import SystemClock

KEY = b"0123456789abcdef"
RSS = b"<rss><channel><title>T</title><item><title>Acme grows</title><link>/1</link></item></channel></rss>"


class Site(ThreadingHTTPServer):
    """A site that serves a feed, remembers what it was asked, and misbehaves on demand."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.asked: list[dict[str, str]] = []
        self.told: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Pages(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(dict(self.headers.items()))
        if self.path == "/moved":
            self._say(302, b"", Location="/feed")
        elif self.path == "/away":
            self._say(302, b"", Location="file:///etc/passwd")
        elif self.path == "/gone":
            self._say(410, b"")
        elif self.path == "/broken":
            self._say(500, b"")
        elif self.path == "/short":
            self._say(200, b"", **{"Content-Length": "100"})
        elif self.headers.get("If-None-Match") == '"1"':
            self._say(304, b"")
        else:
            self._say(200, RSS, ETag='"1"', **{"Last-Modified": formatdate(0, usegmt=True)})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/busy":
            self._say(429, b"", **{"Retry-After": "2"})
        elif self.path == "/moved":
            self._say(307, b"", Location="/feed")
        else:
            self.server.told.append(json.loads(body))
            self._say(200, b'{"ids": {}}')

    def _say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def running(server: Any, serve: Any, stop: Any) -> Iterator[Any]:
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stop()
        thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    with running(server, lambda: server.serve_forever(0.05), server.shutdown):
        yield server
    server.server_close()


@pytest.fixture
def agent() -> Iterator[Agent]:
    with Agent.create("ada", domains=[MARKET]) as made:
        yield made


# -- feeds -------------------------------------------------------------------------------------------------------


def test_a_feed_is_asked_for_with_conditions(agent: Agent, site: Site) -> None:
    book = Market(agent)
    first = read_url(book, f"{site.url}/feed")
    assert first.new == 1
    assert "If-None-Match" not in site.asked[0]
    assert read_url(book, f"{site.url}/feed").unchanged
    assert site.asked[1]["If-None-Match"] == '"1"'
    assert site.asked[1]["If-Modified-Since"] == formatdate(0, usegmt=True)
    assert book.publications()[0]["link"] == f"{site.url}/1"
    assert fetch(f"{site.url}/moved").raw == RSS


def test_servers_that_misbehave_are_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="answers 410"):
        fetch(f"{site.url}/gone")
    for path in ("/broken", "/away", "/short"):
        with pytest.raises(Unavailable):
            fetch(site.url + path)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="refused"):
            fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    monkeypatch.setattr(market_feed, "FEED_BYTES_MAX", 10)
    with pytest.raises(LimitExceeded, match="FEED_BYTES_MAX"):
        fetch(f"{site.url}/feed")


# -- webhooks ----------------------------------------------------------------------------------------------------


@contextmanager
def listening(book: Market) -> Iterator[WebhookServer]:
    server = WebhookServer({"crm": Inbound(book, "crm", KEY)})
    with running(server, server.serve, server.stop):
        yield server


def test_a_message_over_the_network_is_taken_once(agent: Agent) -> None:
    book = Market(agent)
    body = json.dumps({"changes": [{"type": "company", "id": "1", "fields": {"name": "Acme"}}]}).encode()
    with listening(book) as server:
        headers = signed_headers(KEY, "crm", "k", agent.replica.clock.now_ms(), body)
        first, again = (post(f"{server.url}crm", body, headers) for _ in range(2))
        assert (first.status, json.loads(first.body)["status"]) == (200, "taken")
        assert (again.status, json.loads(again.body)["status"]) == (200, "known")
        assert post(f"{server.url}crm", body + b" ", headers).status == 401
        assert post(f"{server.url}other", body, headers).status == 404
        assert post(server.url, body, headers).status == 404
        with socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))) as raw:
            raw.sendall(b"POST /market/crm HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % (MESSAGE_BYTES_MAX + 1))
            assert b" 413 " in raw.recv(100)
        with socket.create_connection(("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))) as raw:
            raw.sendall(b"POST /market/crm HTTP/1.0\r\nContent-Length: many\r\n\r\n")
            assert b" 411 " in raw.recv(100)
    assert book.find_company("Acme") is not None


def test_changes_go_out_over_the_network(agent: Agent, site: Site) -> None:
    book = Market(agent)
    book.company("Acme")
    sent = Outbound(book, agent, "crm", f"{site.url}/hook", KEY, post=post, sleep=lambda ms: None).send()
    assert (sent.changes, site.told[0]["changes"][0]["fields"]) == (1, {"name": "Acme"})
    busy = post(f"{site.url}/busy", b"{}", {})
    assert (busy.status, busy.after_ms) == (429, 2_000)
    assert post(f"{site.url}/moved", b"{}", {}).status == 307, "a signed message goes nowhere else"
    with pytest.raises(InvalidInput, match="no address of the web"):
        post("file:///etc/passwd", b"", {})


def test_a_port_that_is_taken_is_said(agent: Agent) -> None:
    with listening(Market(agent)) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with pytest.raises(Unavailable, match="cannot listen"):
            WebhookServer({}, port=port)
    with pytest.raises(InvalidInput, match="is no port"):
        WebhookServer({}, port=70_000)


# -- the verbs ---------------------------------------------------------------------------------------------------


@click.group(cls=Root)
@click.pass_context
def root(context: click.Context) -> None:
    context.obj = Session(None, None, False)


root.add_command(market)


def call(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(root, ["market", *args], catch_exceptions=True)
    assert result.exit_code == code, (result.output, result.exception)
    return result


@pytest.fixture
def domains(monkeypatch: pytest.MonkeyPatch, agent: Agent) -> None:
    agent.close()
    monkeypatch.setenv("ANTIPHON_DOMAINS", "antiphon.domains.market:MARKET")


@pytest.mark.usefixtures("domains")
def test_import_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "companies.csv"
    path.write_text("name,employees,Owner\nAcme,3,Joe\nZeta,many,Jane\n")
    dry = call("import", str(path), "--as", "companies", "--dry-run", code=1)
    assert "would be 1 added, 1 refused" in dry.stdout
    done = call("import", str(path), "--as", "companies", "--map", "Owner=-", "--json", code=1)
    report = json.loads(done.stdout)
    assert (report["added"], report["unmapped"]) == (1, [])
    assert report["refused"] == [{"line": 3, "reason": "employees: employee_count: 'many' is no integer"}]
    path.write_text("name,employees\nAcme,3\n")
    assert "1 the same" in call("import", str(path), "--as", "companies").stdout
    path.write_text("name,employees\n")
    assert "nothing in it" in call("import", str(path), "--as", "companies").stdout
    assert "write it like" in call("import", str(path), "--as", "companies", "--map", "x", code=2).output
    assert "no file" in call("import", str(tmp_path / "nowhere"), "--as", "companies", code=1).output


@pytest.mark.usefixtures("domains")
def test_feeds_from_the_command_line(tmp_path: Path, site: Site) -> None:
    path = tmp_path / "feed.xml"
    path.write_bytes(RSS)
    said = call("feed", str(path), f"{site.url}/feed").stdout.splitlines()
    assert [line.rpartition(": ")[2] for line in said] == ["1 new publication, 0 known"] * 2 or "new" in said[0]
    assert "nothing new" in call("feed", f"{site.url}/feed").stdout
    read = json.loads(call("feed", f"{site.url}/broken", "--json", code=1).stdout)
    assert "answers 500" in read["error"]


@pytest.mark.usefixtures("domains")
def test_a_webhook_from_the_command_line(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "companies.csv"
    path.write_text("name\nAcme\n")
    call("import", str(path), "--as", "companies")
    monkeypatch.delenv(SECRET, raising=False)
    assert "needs a secret" in call("webhook", "send", "crm", f"{site.url}/hook", code=2).output
    monkeypatch.setenv(SECRET, KEY.decode())
    assert "crm: 1 change in 1 message" in call("webhook", "send", "crm", f"{site.url}/hook").stdout
    secret = tmp_path / "secret"
    secret.write_bytes(KEY)
    secret.chmod(0o600)
    again = call("webhook", "send", "crm", f"{site.url}/hook", "--secret-file", str(secret), "--json")
    assert json.loads(again.stdout)["changes"] == 0
    assert len(site.told) == 1
    for words in (["--help"], ["import", "--help"], ["feed", "--help"], ["webhook", "serve", "--help"]):
        assert call(*words).stdout.startswith("Usage:")


@pytest.mark.usefixtures("domains")
def test_an_import_says_what_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("name;email;company_revenue\nAnn Meyer;ann@x.org;4.000\nBob;bob@x.org;1\nBob;bob@x.org;2\n")
    done = call("import", str(path), "--as", "personas", code=1)
    assert f"{path}:2: company_revenue: '4.000' may be 4.000 or 4000: say --decimal" in done.stderr
    assert "1 added, 1 said again below, 1 refused" in done.stdout
    assert "1 added" in call("import", str(path), "--as", "personas", "--decimal", ",").stdout
    with Agent.open("ada", domains=[MARKET]) as agent:
        agent.forget(person="Ann Meyer")
    again = call("import", str(path), "--as", "personas", "--decimal", ",")
    assert "1 person that was forgotten here" in again.stderr
    assert "--again takes them" in again.stderr
    assert "Ann" not in again.output
    assert "1 added" in call("import", str(path), "--as", "personas", "--decimal", ",", "--again").stdout
    deals = tmp_path / "deals.json"
    deals.write_text('[{"name": "Oats", "value": 1}, 7]')
    assert (
        f"{deals}: record 2: it is no JSON object" in call("import", str(deals), "--as", "opportunities", code=1).stderr
    )


@pytest.mark.usefixtures("domains")
def test_a_feed_that_cannot_be_read_holds_no_other_up(tmp_path: Path, site: Site) -> None:
    page, good = tmp_path / "page.html", tmp_path / "feed.xml"
    page.write_bytes(b"<html></html>")
    good.write_bytes(RSS.replace(b"/1<", b"http://x.org/1<").replace(b"</channel>", b"<item><title/></item></channel>"))
    done = call("feed", str(page), str(good), f"{site.url}/broken", good.as_uri(), code=1)
    assert f"{page}: it is neither RSS nor Atom" in done.stderr
    assert f"{site.url}/broken: its server answers 500" in done.stderr
    assert "1 new publication, 0 known, 1 without a title or a link" in done.stdout
    for every in ("banana", "0s", "5"):
        assert call("feed", str(good), "--every", every, code=2).stdout == ""
    assert "no address of the web" in call("feed", "ftp://x.org/feed", code=2).output


@pytest.mark.usefixtures("domains")
def test_forgetting_names_whom_we_have_told(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, KEY.decode())
    path = tmp_path / "people.csv"
    path.write_text("name\nAnn Meyer\n")
    call("import", str(path), "--as", "personas")
    call("webhook", "send", "crm", f"{site.url}/hook")
    with Agent.open("ada", domains=[MARKET]) as agent:
        noted = agent.remember("something else")
        assert not [place for place in agent.forget(noted.event).places if "crm" in place.name]
        (place,) = [place for place in agent.forget(person="Ann Meyer").places if "crm" in place.name]
    assert (place.name, place.state) == ("the CRM crm", "cannot")
    assert place.detail == f"{site.url}/hook: out of reach; it was told: ask there to delete it"


@pytest.mark.usefixtures("domains")
def test_sending_says_what_it_waits_for(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, KEY.decode())
    monkeypatch.setattr("antiphon.world.clock.sleep_ms", lambda ms: None)
    path = tmp_path / "companies.csv"
    path.write_text("name\nAcme\n")
    call("import", str(path), "--as", "companies")
    done = call("webhook", "send", "crm", f"{site.url}/busy", code=3)
    assert f"{site.url}/busy: it answers 429: sent again in 2 s (1 of 6 sends)" in done.stderr


SERVE = """
import click
from antiphon.cli.market import market
from antiphon.cli.root import Root
from antiphon.cli.session import Session
root = Root(callback=click.pass_context(lambda context: setattr(context, "obj", Session(None, None, False))))
root.add_command(market)
root(["market", "webhook", "serve", "crm", "--port", "0"])
"""


@pytest.mark.usefixtures("domains")
def test_a_webhook_is_served_until_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET, KEY.decode())
    with subprocess.Popen([sys.executable, "-c", SERVE], stderr=subprocess.PIPE, text=True) as served:
        assert served.stderr is not None
        line = served.stderr.readline()
        url = next((word.rstrip(";") for word in line.split() if word.startswith("http")), "")
        body = json.dumps({"changes": [{"type": "company", "fields": {"name": "Acme"}}]}).encode()
        try:
            reply = post(url, body, signed_headers(KEY, "crm", "k", SystemClock().now_ms(), body))
        finally:
            served.send_signal(signal.SIGINT)
        assert reply.status == 200
        assert (served.wait(30), served.stderr.read()) == (130, "")
    with Agent.open("ada", domains=[MARKET]) as again:
        assert Market(again).find_company("Acme") is not None
