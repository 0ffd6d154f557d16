"""Webhooks and feeds among slow, hostile and dying peers, on loopback; and two servers that point at each other."""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon import Agent, Unavailable
from antiphon.domains.market import MARKET, Market, names
from antiphon.ops import market_feed, market_server
from antiphon.ops.market_feed import fetch
from antiphon.ops.market_hook import SENDS_MAX, Inbound, Outbound
from antiphon.ops.market_server import CONNECTIONS_MAX, WebhookServer, post
from antiphon.ops.market_signed import signed_headers
from antiphon.ops.market_web import REDIRECTS_MAX, check_led, is_public
from antiphon.world.clock import SystemClock, sleep_ms

KEY = b"0123456789abcdef"
PAIR = "pair"
LONG_AGO = 1_700_000_000_000


@pytest.fixture
def agent() -> Iterator[Agent]:
    with Agent.create("ada", domains=[MARKET]) as made:
        yield made


@contextmanager
def serving(agent: Agent, system: str = "crm") -> Iterator[str]:
    server = WebhookServer({system: Inbound(Market(agent), system, KEY)})
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server.url + system
    finally:
        server.stop()
        thread.join()


def message(name: str = "Acme", **more: Any) -> bytes:
    return json.dumps({"changes": [{"type": "company", "fields": {"name": name, **more}}]}).encode()


def send(url: str, body: bytes, key: str = "k") -> int:
    return post(url, body, signed_headers(KEY, "crm", key, SystemClock().now_ms(), body)).status


def asked(url: str, method: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, bytes]:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=10)) as line:
        line.request(method, parts.path, body, headers)
        answer = line.getresponse()
        return answer.status, answer.headers, answer.read()


def count(agent: Agent, kind: str) -> int:
    return sum(event.kind == kind for event in agent.log())


# -- who comes in ----------------------------------------------------------------------------------------------------


def test_methods_paths_and_lengths(agent: Agent) -> None:
    with serving(agent) as url:
        for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS"):
            status, headers, raw = asked(url, method)
            assert (status, headers["Allow"]) == (405, "POST")
            assert (raw == b"") == (method == "HEAD")
        assert asked(url.replace("/crm", "/other"), "POST", b"{}")[0] == 404
        assert asked(url + "/more", "POST", b"{}")[0] == 404
        assert asked(url, "POST", **{"Transfer-Encoding": "chunked"})[0] == 411
        assert asked(url, "POST", **{"Content-Length": "-1"})[0] == 411
        assert asked(url, "POST", b"{}")[0] == 401
        assert asked(url, "POST", **{"Content-Length": str(2 << 20)})[0] == 413
        assert send(url, message()) == 200


def test_a_message_that_breaks_off_is_none(agent: Agent) -> None:
    body = message()
    headers = signed_headers(KEY, "crm", "k", SystemClock().now_ms(), body)
    with serving(agent) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as line:
            said = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            line.sendall(f"POST {parts.path} HTTP/1.0\r\n{said}Content-Length: {len(body)}\r\n\r\n".encode() + body[:9])
            line.shutdown(socket.SHUT_WR)
            assert b"400 " in line.recv(1 << 16)
        assert count(agent, names.DELIVERED) == 0
        assert send(url, body) == 200, "the same message, whole, is taken"


def test_who_sends_a_byte_now_and_then_is_cut_off(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_server, "REQUEST_TIMEOUT_S", 0.5)
    with serving(agent) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as line:
            start = time.monotonic()
            line.sendall(f"POST {parts.path} HTTP/1.0\r\nContent-Length: 1000\r\n\r\n".encode())
            with pytest.raises(OSError, match=r"pipe|reset"):  # noqa: PT012  # which byte is too many is chance
                for _ in range(100):
                    line.sendall(b"x")
                    time.sleep(0.1)
            assert time.monotonic() - start < 5
        assert send(url, message()) == 200


def test_many_who_say_nothing_are_shut_out_and_then_let_go(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_server, "REQUEST_TIMEOUT_S", 1.5)
    with serving(agent) as url:
        parts = urlsplit(url)
        silent = [
            socket.create_connection((parts.hostname or "", parts.port or 0)) for _ in range(CONNECTIONS_MAX)
        ]  # fmt: skip
        try:
            time.sleep(0.5)
            before = threading.active_count()
            assert asked(url, "GET")[0] == 503
            assert threading.active_count() <= before, "who is shut out has no thread"
            end = time.monotonic() + 10
            while (status := asked(url, "GET")[0]) == 503:
                assert time.monotonic() < end
                time.sleep(0.1)
            assert status == 405
        finally:
            for one in silent:
                one.close()


def test_of_the_same_message_many_times_at_once_one_is_taken(agent: Agent) -> None:
    body = message(employees=3)
    with serving(agent) as url, ThreadPoolExecutor(12) as many:
        statuses = [*many.map(send, [url] * 12, [body] * 12)]
    assert statuses == [200] * 12
    assert (count(agent, names.COMPANY_RECORDED), count(agent, names.DELIVERED)) == (1, 1)


def test_two_servers_of_one_book_take_a_message_once(agent: Agent) -> None:
    """Each looks in the transaction in which it takes it."""
    body = message(employees=3)
    with Agent.open("ada", domains=[MARKET]) as second, serving(agent) as one, serving(second) as two:
        statuses: list[int] = []
        with ThreadPoolExecutor(6) as many:
            for key in range(8):
                statuses += many.map(send, (one, two) * 3, [body] * 6, [f"k{key}"] * 6)
        assert statuses == [200] * 48
        keys = [row["delivery_key"] for row in agent.table(names.DELIVERIES).every({})]
        assert sorted(keys) == sorted(set(keys))
        assert count(agent, names.DELIVERED) == len(keys)


def test_a_message_that_counts_from_now_is_not_replayed(agent: Agent) -> None:
    """It changed nothing when it came; sent again after a later change, it would undo that one."""
    market = Market(agent)
    entity = market.company("Acme", employee_count=5).entity
    with serving(agent) as url:
        body = message(employees=5)
        headers = signed_headers(KEY, "crm", "k", SystemClock().now_ms(), body)
        assert json.loads(post(url, body, headers).body)["changes"][0]["status"] == "same"
        market.revise(entity, employee_count=9)
        assert json.loads(post(url, body, headers).body) == {"status": "known"}
        found = market.get(entity)
        assert found is not None
        assert found["employee_count"] == 9


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("name", "website", "email", "value", "stage", "employee_count", "sector", "close_date", "annual_revenue", "x",
        "headquarters_location", "semantic_embedding", "big_five", "suppliers")  # fmt: skip
changes = st.fixed_dictionaries(
    {"type": st.sampled_from(("company", "contact", "product", "deal", "?"))},
    optional={
        "id": values, "modified": values, "stage": values, "entity": values,
        "fields": st.dictionaries(st.sampled_from(KEYS), values, max_size=4) | values,
        "times": st.dictionaries(st.sampled_from(KEYS), values, max_size=2) | values,
    },
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(changes, max_size=3), st.dictionaries(st.sampled_from(("origin", "x")), values), st.integers(0, 10**9))
def test_whatever_is_signed_gets_an_answer(agent: Agent, said: list[Any], more: dict[str, Any], key: int) -> None:
    body = json.dumps({"changes": said, **more}).encode()
    headers = signed_headers(KEY, "crm", str(key), SystemClock().now_ms(), body)
    reply = Inbound(Market(agent), "crm", KEY).receive(headers, body)
    assert reply.status in (200, 409, 422)
    json.dumps(reply.said)


# -- killed ----------------------------------------------------------------------------------------------------------

SERVE = """
import sys
from antiphon import Agent
from antiphon.domains.market import MARKET, Market
from antiphon.ops.market_hook import Inbound
from antiphon.ops.market_server import WebhookServer
with Agent.open("ada", domains=[MARKET]) as agent:
    server = WebhookServer({"crm": Inbound(Market(agent), "crm", b"0123456789abcdef")}, port=int(sys.argv[1]))
    print(server.url, flush=True)
    server.serve()
"""


def test_a_server_that_is_killed_takes_everything_once(agent: Agent) -> None:
    """Killed in the midst of a message; the sender goes on sending the same until it is taken."""
    agent.close()
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    bodies = [
        json.dumps({"changes": [{"type": "company", "fields": {"name": f"C{n} {k}"}} for k in range(20)]}).encode()
        for n in range(12)
    ]  # fmt: skip
    taken, kills = 0, 0
    while taken < len(bodies):
        process = subprocess.Popen([sys.executable, "-c", SERVE, str(port)], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip() + "crm"
            if kills < 4:
                kills += 1
                late = threading.Timer(0.02 + 0.04 * kills, process.kill)
                late.start()
            while taken < len(bodies):
                try:
                    assert send(url, bodies[taken], f"k{taken}") == 200
                except Unavailable:
                    break
                taken += 1
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    with Agent.open("ada", domains=[MARKET]) as again:
        assert count(again, names.COMPANY_RECORDED) == 240
        assert count(again, names.DELIVERED) == 12
        assert again.verify().ok


# -- two that point at each other ------------------------------------------------------------------------------------


def test_two_servers_that_point_at_each_other_come_to_rest(agent: Agent, tmp_path: Path) -> None:
    """Both change the same things while both tell each other: in the end both have the same, and are quiet."""
    with Agent.create("bob", home=tmp_path / "bob", domains=[MARKET]) as bob:
        sides = (agent, bob)
        for n, side in enumerate(sides):
            market = Market(side)
            for number in range(6):
                market.company(f"C{number}", website=f"c{number}.com", employee_count=10 * n + number, at=LONG_AGO + n)
            market.persona("Grace", email="g@x.org", role=f"r{n}")
            market.opportunity(f"Deal {n}", 5)
        with serving(agent, PAIR) as here, serving(bob, PAIR) as there:
            told = []
            for _ in range(6):
                ways = ((agent, there), (bob, here))
                out = [Outbound(Market(side), side, PAIR, url, KEY, post=post, sleep=sleep_ms) for side, url in ways]
                with ThreadPoolExecutor(2) as both:
                    told.append(sum(sent.changes for sent in both.map(Outbound.send, out)))
            assert told[0] > 0
            assert told[1:] == [0] * 5, "what came from the other is not told to it again"
        sizes = [sum(head.size for head in side.replica.heads()) for side in sides]
        with serving(agent, PAIR) as here:
            Outbound(Market(bob), bob, PAIR, here, KEY, post=post, sleep=len).send()
        assert sizes == [sum(head.size for head in side.replica.heads()) for side in sides]
        for table, columns in (
            (names.COMPANIES, ("name", "website", "employee_count")), (names.PERSONAS, ("name", "email", "role")),
            (names.OPPORTUNITIES, ("name", "value")),
        ):  # fmt: skip
            seen = [
                sorted(repr([row[name] for name in columns]) for row in side.table(table).every({})) for side in sides
            ]
            assert seen[0] == seen[1], table


# -- feeds -----------------------------------------------------------------------------------------------------------


class Site(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.leads = "/feed"


class _Pages(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/lead":
            self.send_response(302)
            self.send_header("Location", self.server.leads)
            self.end_headers()
            return
        if self.path.startswith("/hop/"):
            left = int(self.path.removeprefix("/hop/"))
            self.send_response(302)
            self.send_header("Location", f"/hop/{left - 1}" if left else "/feed")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        if self.path == "/drip":
            try:
                for _ in range(100):
                    self.wfile.write(b" ")
                    time.sleep(0.1)
            except OSError:
                return
        self.wfile.write(b"<rss><channel/></rss>")

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def site() -> Iterator[Site]:
    server = Site()
    thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_redirects_are_counted(site: Site) -> None:
    assert fetch(f"{site.url}/hop/{REDIRECTS_MAX - 1}").raw
    with pytest.raises(Unavailable):
        fetch(f"{site.url}/hop/{REDIRECTS_MAX + 5}")
    assert len(site.asked) <= 2 * (REDIRECTS_MAX + 2)


def test_who_drips_is_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_feed, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(market_server, "ANSWER_TIMEOUT_S", 0.5)
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"longer than 0\.5 s"):
        fetch(f"{site.url}/drip")
    with pytest.raises(Unavailable, match=r"longer than 0\.5 s"):
        post(f"{site.url}/drip", b"{}", {})
    assert time.monotonic() - start < 5


def test_a_feed_is_not_led_out_of_tls() -> None:
    with pytest.raises(Exception, match="from https to http"):
        check_led("https://a.example/feed", "http://a.example/feed")
    check_led("https://a.example/feed", "https://b.example/feed")


def test_a_feed_that_leads_inside_is_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user named may be inside; where a server leads from there may not be, whatever its name says."""
    assert fetch(f"{site.url}/hop/0").raw
    port = site.server_address[1]
    site.leads = f"http://127.0.0.2:{port}/feed"
    for said in (
        site.leads,
        f"http://localhost.:{port}/x",
        f"http://2130706434:{port}/x",
        f"http://127.0.0.%32:{port}/x",
    ):
        site.leads = said
        before = len(site.asked)
        monkeypatch.setattr(socket, "getaddrinfo", _Names({"localhost.": "127.0.0.3"}))
        with pytest.raises(Unavailable, match="not on the public network"):
            fetch(f"{site.url}/lead")
        assert site.asked[before:] == ["/lead"]


def test_a_name_that_changes_its_address_leads_nowhere(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that was checked is the one that is connected to: a name is looked up once."""
    names_of = _Names({"rebound.example": ["127.0.0.1", "127.0.0.2"]})
    monkeypatch.setattr(socket, "getaddrinfo", names_of)
    assert fetch(f"http://rebound.example:{site.server_address[1]}/feed").raw
    assert names_of.asked.count("rebound.example") == 1
    site.leads = f"http://rebound.example:{site.server_address[1]}/feed"
    with pytest.raises(Unavailable, match="not on the public network"):
        fetch(f"{site.url}/lead")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("127.0.0.1", False), ("10.1.2.3", False), ("169.254.169.254", False), ("192.168.0.1", False), ("::1", False),
        ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False), ("0.0.0.0", False),
        ("224.0.0.1", False), ("100.64.0.1", False), ("8.8.8.8", True), ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
    ],
)  # fmt: skip
def test_addresses_that_everybody_can_ask(address: str, public: bool) -> None:
    assert is_public(address) is public


class _Names:
    """Names and their addresses, one after the other; the rest as the machine has it."""

    def __init__(self, known: dict[str, Any]) -> None:
        self._known, self.asked, self._real = known, list[str](), socket.getaddrinfo

    def __call__(self, host: Any, *how: Any, **more: Any) -> Any:
        self.asked.append(host)
        found = self._known.get(host, host)
        return self._real(found.pop(0) if isinstance(found, list) else found, *how, **more)


def test_a_loop_of_redirects_is_one_line(site: Site) -> None:
    site.leads = f"{site.url}/lead"
    with pytest.raises(Unavailable) as found:
        fetch(f"{site.url}/lead")
    assert "REDIRECTS_MAX" in str(found.value)
    assert "\n" not in str(found.value)


def test_who_drips_its_headers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_feed, "ANSWER_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            line, _ = server.accept()
            with line:
                line.sendall(b"HTTP/1.0 200 OK\r\nX: ")
                try:
                    for _ in range(100):
                        line.sendall(b"x")
                        time.sleep(0.1)
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        start = time.monotonic()
        with pytest.raises(Unavailable, match=r"longer than 0\.5 s"):
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/")
        assert time.monotonic() - start < 5
        dripping.join()


def test_an_answer_that_is_lost_is_sent_for_again(agent: Agent, tmp_path: Path) -> None:
    """The other has taken it, the answer never came: it is sent again, and changes nothing."""
    with Agent.create("bob", home=tmp_path / "bob", domains=[MARKET]) as bob, serving(bob, PAIR) as there:
        Market(agent).company("Acme", employee_count=3)
        sends = 0

        def lossy(url: str, body: bytes, headers: Any) -> Any:
            nonlocal sends
            sends += 1
            answer = post(url, body, headers)
            if sends < SENDS_MAX + 2:
                raise Unavailable("the line broke")
            return answer

        waits: list[float] = []
        out = Outbound(Market(agent), agent, PAIR, there, KEY, post=lossy, sleep=waits.append)
        with pytest.raises(Unavailable, match="took none of"):
            out.send()
        assert waits == sorted(waits)
        assert len(waits) == SENDS_MAX - 1
        assert out.send().changes == 1
        assert count(bob, names.COMPANY_RECORDED) == 1
        assert out.send().changes == 0
