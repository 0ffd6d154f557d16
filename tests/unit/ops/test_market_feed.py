"""Feeds: what they say, what hostile ones come to, when each is read, and that no item comes twice."""

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from antiphon import Fleet, InvalidInput, LimitExceeded, NotFound, Unavailable
from antiphon.domains.market import MARKET, Market, names
from antiphon.home import default_folder
from antiphon.model.times import to_ms
from antiphon.ops import market_parse
from antiphon.ops.market_feed import BACKOFF_MS_MAX, FEEDS_MAX, Fetched, Poller, path_of, read_file, read_url
from antiphon.ops.market_html import plain
from antiphon.ops.market_parse import moment, parse
from antiphon.ops.market_web import check_url
from antiphon.world.clock import ManualClock

START = 1_800_000_000_000
URL = "http://feed.example/rss"
RSS = b"""<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/">
<channel><title>Food &amp; News</title><link>http://feed.example/</link>
<item><title>Acme Foods buys <b>Zeta</b></title><link>/1</link><guid isPermaLink="false">g1</guid>
 <description><![CDATA[<p>All of it.<script>evil()</script></p>]]></description>
 <pubDate>Tue, 03 Nov 2026 10:00:00 GMT</pubDate><category>deals</category><category>oats</category></item>
<item><title>Second</title><guid>http://feed.example/2</guid><dc:date>2026-11-04T10:00:00+01:00</dc:date>
 <content:encoded>Long &amp;amp; short</content:encoded></item>
<item><title></title><link>http://feed.example/3</link></item>
<item><title>No link</title></item>
</channel></rss>"""
ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom"><title>Atoms</title>
<entry><title type="html">One &amp;lt;b&amp;gt;</title><id>tag:x,1</id><updated>2026-11-03T10:00:00Z</updated>
 <link rel="self" href="http://a.example/self"/><link href="one"/><category term="tea"/><summary>Words</summary></entry>
</feed>"""
RDF = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel><title>Old</title></channel><item><title>Item</title><link>http://o.example/1</link></item></rdf:RDF>"""


def test_rss_is_read() -> None:
    feed = parse(RSS, base=URL)
    assert (feed.title, feed.left) == ("Food & News", 2)
    one, two = feed.items
    assert (one.title, one.link, one.guid) == ("Acme Foods buys Zeta", "http://feed.example/1", "g1")
    assert (one.summary, one.categories) == ("All of it.", ("deals", "oats"))
    assert one.published == to_ms("2026-11-03T10:00:00Z")
    assert (two.link, two.summary) == ("http://feed.example/2", "Long & short")
    assert two.published == to_ms("2026-11-04T09:00:00Z")


def test_atom_and_old_rss_are_read() -> None:
    (entry,) = parse(ATOM, base="http://a.example/").items
    assert (entry.link, entry.guid, entry.summary) == ("http://a.example/one", "tag:x,1", "Words")
    assert entry.categories == ("tea",)
    assert parse(RDF).items[0].link == "http://o.example/1"


BOMB = b"""<!DOCTYPE rss [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<rss><channel><title>&b;</title></channel></rss>"""
OUTSIDE = (
    b"""<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss><channel><title>&x;</title></channel></rss>"""
)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (BOMB, "document type"), (OUTSIDE, "document type"), (b"<!DOCTYPE html><html/>", "document type"),
        (b"", "no XML"), (b"<rss>", "no XML"), (b"not xml", "no XML"), (b"<html></html>", "neither RSS nor Atom"),
        (b"<feed/>", "neither RSS nor Atom"), (b'<?xml version="1.0" encoding="nonsense"?><rss/>', "no XML"),
        (b"<rss>&unknown;</rss>", "no XML"), (b"\xff\xfe\x00", "no XML"),
    ],
)  # fmt: skip
def test_what_is_no_feed_or_a_hostile_one_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse(raw)


def test_limits_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimitExceeded, match="FEED_DEPTH_MAX"):
        parse(b"<rss>" + b"<a>" * 100)
    monkeypatch.setattr(market_parse, "FEED_ELEMENTS_MAX", 50)
    with pytest.raises(LimitExceeded, match="FEED_ELEMENTS_MAX"):
        parse(b"<rss>" + b"<a/>" * 100 + b"</rss>")
    monkeypatch.setattr(market_parse, "FEED_TEXT_CHARS_MAX", 100)
    with pytest.raises(LimitExceeded, match="FEED_TEXT_CHARS_MAX"):
        parse(b"<rss><title>" + b"x" * 200 + b"</title></rss>")
    monkeypatch.setattr(market_parse, "FEED_ITEMS_MAX", 1)
    with pytest.raises(LimitExceeded, match="FEED_ITEMS_MAX"):
        parse(RSS, base=URL)
    monkeypatch.setattr(market_parse, "FEED_BYTES_MAX", 10)
    with pytest.raises(LimitExceeded, match="FEED_BYTES_MAX"):
        parse(RSS)


def test_links_that_lead_elsewhere_are_none() -> None:
    for link in ("javascript:alert(1)", "file:///etc/passwd", "http://[", "http://" + "x" * 3_000 + ".com"):
        item = f"<rss><channel><item><title>x</title><link>{link}</link><guid>g</guid></item></channel></rss>"
        (found,) = parse(item.encode()).items
        assert (found.link, found.guid) == (None, "g")


@pytest.mark.parametrize("text", ["soon", "", "32 Foo 2026", "Tue, 99 Nov 2026 10:00:00 GMT", None])
def test_a_date_that_is_none_is_none(text: str | None) -> None:
    assert moment(text) is None


def test_html_becomes_words() -> None:
    assert plain("a <b>b</b>\n c") == "a b c"
    assert plain("<style>x</style>y &lt;z&gt;") == "y <z>"
    assert plain("</script></script>a<b") in ("a<b", "a")


# -- into a book -------------------------------------------------------------------------------------------------


class Wire:
    """A server of feeds without a network: what it serves, and what it was asked."""

    def __init__(self) -> None:
        self.raw, self.etag = RSS, '"1"'
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.down = False

    def __call__(self, url: str, etag: str | None, last_modified: str | None) -> Fetched:
        self.asked.append((url, etag, last_modified))
        if self.down:
            raise Unavailable(f"{url}: down")
        if etag == self.etag:
            return Fetched(None, etag, last_modified)
        return Fetched(self.raw, self.etag, "Tue, 03 Nov 2026 10:00:00 GMT")


class Desk:
    """One agent with a book."""

    def __init__(self, fleet: Fleet, clock: ManualClock) -> None:
        self.fleet, self.clock, self.wire = fleet, clock, Wire()
        self.market = Market(fleet.add("ada"))

    def events(self) -> int:
        return sum(head.size for head in self.fleet.replica.heads())


@pytest.fixture
def desk() -> Iterator[Desk]:
    clock = ManualClock(START)
    with Fleet.create(default_folder(), clock=clock, domains=[MARKET]) as fleet:
        yield Desk(fleet, clock)


def test_items_come_once_and_unchanged_feeds_are_not_sent(desk: Desk) -> None:
    desk.market.company("Acme Foods Ltd")
    first = read_url(desk.market, URL, fetching=desk.wire)
    assert (first.new, first.known) == (2, 0)
    before = desk.events()
    assert read_url(desk.market, URL, fetching=desk.wire).unchanged
    assert desk.wire.asked[-1] == (URL, '"1"', "Tue, 03 Nov 2026 10:00:00 GMT")
    desk.wire.etag = '"2"'
    again = read_url(desk.market, URL, fetching=desk.wire)
    assert (again.new, again.known) == (0, 2)
    assert desk.events() == before + 1, "what its server wants to be asked with"
    rows = {row["title"]: row for row in desk.market.publications()}
    assert len(rows["Acme Foods buys Zeta"]["mentions"]) == 1
    assert rows["Second"]["categories"] == []


def test_a_feed_that_breaks_off_is_read_again(desk: Desk) -> None:
    desk.wire.raw = RSS[:-20]
    with pytest.raises(InvalidInput, match="no XML"):
        read_url(desk.market, URL, fetching=desk.wire)
    assert desk.market.feed(URL) is None
    desk.wire.raw = RSS
    assert read_url(desk.market, URL, fetching=desk.wire).new == 2


def test_a_feed_in_a_file(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "feed.xml"
    path.write_bytes(ATOM)
    assert (read_file(desk.market, path).new, read_file(desk.market, path).known) == (1, 1)
    with pytest.raises(NotFound, match="there is no file"):
        read_file(desk.market, tmp_path / "nowhere.xml")


def test_feeds_are_read_when_they_are_due(desk: Desk) -> None:
    poller = Poller(desk.market, [(URL, 60_000), ("http://b.example/", 600_000)], fetching=desk.wire)
    assert [read.new for read in poller.poll()] == [2, 2], "each feed has items of its own"
    assert poller.poll() == []
    assert poller.due_in_ms() == 60_000
    desk.clock.pass_ms(60_000)
    (read,) = poller.poll()
    assert (read.url, read.unchanged, read.next_ms) == (URL, True, desk.clock.now_ms() + 60_000)


def test_the_clock_on_the_wall_may_jump(desk: Desk) -> None:
    poller = Poller(desk.market, [(URL, 60_000)], fetching=desk.wire)
    poller.poll()
    desk.clock.set_wall(START - 10**9)
    assert poller.due_in_ms() == 60_000


def test_a_feed_that_fails_is_asked_less_and_less_and_holds_no_other_up(desk: Desk) -> None:
    poller = Poller(desk.market, [(URL, 60_000), ("http://b.example/", 60_000)], fetching=desk.wire)
    desk.wire.down = True
    assert [read.error is not None for read in poller.poll()] == [True, True]
    waits = []
    for _ in range(14):
        waits.append(poller.due_in_ms())
        desk.clock.pass_ms(int(poller.due_in_ms()))
        poller.poll()
    assert waits[:3] == [120_000, 240_000, 480_000]
    assert waits[-1] == BACKOFF_MS_MAX
    desk.wire.down = False
    desk.clock.pass_ms(int(poller.due_in_ms()))
    assert all(read.error is None for read in poller.poll())
    assert poller.due_in_ms() == 60_000


def test_what_makes_no_sense_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="EVERY_MS_MIN"):
        Poller(desk.market, [(URL, 1)])
    with pytest.raises(LimitExceeded, match="FEEDS_MAX"):
        Poller(desk.market, [(f"http://f.example/{at}", 60_000) for at in range(FEEDS_MAX + 1)])
    for url in ("ftp://x.org", "file:///etc/passwd", "http://", "http://x y", "x.org", "http://x:port/", "http://x\n"):
        with pytest.raises(InvalidInput, match="no address of the web"):
            check_url(url)


def feed_of(*items: tuple[str, str, str]) -> bytes:
    said = "".join(
        f"<item><title>{title}</title><guid>{guid}</guid><link>{link}</link></item>" for title, guid, link in items
    )
    return f"<rss><channel><title>t</title>{said}</channel></rss>".encode()


def test_items_are_known_by_what_their_feed_calls_them(desk: Desk) -> None:
    """Podcasts link all their items to one page; and no feed rewrites another's."""
    page = "http://pod.example/"
    raw = feed_of(("One", "g1", page), ("Two", "g2", page), ("One again", "g1", page))
    for new, known in ((2, 0), (0, 2)):
        read = read_url(desk.market, URL, fetching=lambda *asked: Fetched(raw))
        assert (read.new, read.known, read.repeated) == (new, known, 1)
    evil = feed_of(("Rewritten", "g1", page))
    assert read_url(desk.market, "http://evil.example/", fetching=lambda *asked: Fetched(evil)).new == 1
    assert sorted(row["title"] for row in desk.market.publications()) == ["One", "Rewritten", "Two"]


@pytest.mark.parametrize("odd", ["<![<x", "<!--", "&#" + "9" * 9_000 + ";", "<a href='", "<script>", "</", "<!DOCTYPE"])
def test_odd_html_is_nobodys_fault(desk: Desk, odd: str) -> None:
    said = odd.replace("&", "&amp;").replace("<", "&lt;")
    raw = feed_of((f"Odd {said}", "g1", "http://x.example/1"), ("Good", "g2", "http://x.example/2"))
    poller = Poller(desk.market, [(URL, 60_000)], fetching=lambda *asked: Fetched(raw))
    (read,) = poller.poll()
    assert (read.error, read.new) == (None, 2)


@pytest.mark.parametrize(
    "part", ["<a ", "<![", "<!--", "<script>", '<a href="', '<a =">', "</", "&#x", "<a ='>", "= '"]
)
def test_html_takes_time_by_its_length_alone(part: str) -> None:
    def taken(size: int) -> float:
        start = perf_counter()
        plain("<" + part * (size // len(part)))
        return perf_counter() - start

    taken(1_000)
    assert taken(1 << 20) < 5, "a megabyte took the standard library hours"


def test_an_item_that_the_book_refuses_is_its_own_fault(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = desk.market.publish

    def picky(feed: str, title: str, **how: Any) -> Any:
        if title == "Second":
            raise InvalidInput("no")
        return publish(feed, title, **how)

    monkeypatch.setattr(desk.market, "publish", picky)
    read = read_url(desk.market, URL, fetching=desk.wire)
    assert (read.new, read.refused, read.left, read.error) == (1, 1, 2, None)


def test_files_and_addresses_are_read_side_by_side(desk: Desk, tmp_path: Path) -> None:
    page, good = tmp_path / "page.html", tmp_path / "a b.xml"
    page.write_bytes(b"<html></html>")
    good.write_bytes(ATOM)
    sources = [str(page), good.as_uri(), "ftp://x.org/feed", str(tmp_path / "none"), URL]
    with pytest.raises(InvalidInput, match="no address of the web"):
        Poller(desk.market, [(source, 60_000) for source in sources], fetching=desk.wire)
    del sources[2]
    poller = Poller(desk.market, [(source, 60_000) for source in sources], fetching=desk.wire)
    reads = poller.poll()
    assert [read.new for read in reads] == [0, 1, 0, 2]
    assert str(reads[0].error).startswith(f"{page}: it is neither RSS nor Atom")
    assert "there is no file" in str(reads[2].error)
    assert poller.next_due() is None
    desk.clock.pass_ms(60_000)
    assert poller.next_due() == good.as_uri()
    with pytest.raises(InvalidInput, match="no file of this machine"):
        path_of("file://elsewhere/feed.xml")


def test_publications_are_rows(desk: Desk) -> None:
    read_url(desk.market, URL, fetching=desk.wire)
    table = desk.fleet.replica.registry.tables[names.PUBLICATIONS]
    rows = [row.values for row in desk.fleet.replica.tables.all_rows(table)]
    assert {row["feed"] for row in rows} == {URL}
    assert {row["published_at"] for row in rows} == {to_ms("2026-11-03T10:00:00Z"), to_ms("2026-11-04T09:00:00Z")}
