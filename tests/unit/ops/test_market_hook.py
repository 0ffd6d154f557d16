"""Webhooks: what is signed, what is taken twice, who wins field by field, and that nothing goes round in circles."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from antiphon import Fleet, InvalidInput, NotFound, ProtocolViolation, Rejected, Unavailable
from antiphon.domains.market import MARKET, Market, names
from antiphon.home import default_folder
from antiphon.model.text import id_text
from antiphon.ops import market_hook
from antiphon.ops.market_hook import CHANGES_MAX, MESSAGE_BYTES_MAX, SENDS_MAX, Answered, Inbound, Outbound, Reply
from antiphon.ops.market_people import People
from antiphon.ops.market_signed import (
    KEY_HEADER,
    REPLAY_WINDOW_MS,
    SIGNATURE_HEADER,
    TIME_HEADER,
    check_secret,
    check_signed,
    digest_of,
    secret_in,
    signed_headers,
)
from antiphon.world.clock import ManualClock

START = 1_800_000_000_000
SECRET = b"0123456789abcdef"
ACME = {"type": "company", "id": "7", "modified": START - 10, "fields": {"name": "Acme", "employees": 5}}


class Crm:
    """Another system: it keeps what it is told, and says what it likes."""

    def __init__(self, name: str = "hubspot") -> None:
        self.name = name
        self.answers: list[Answered | Exception] = []
        self.got: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.keys: set[str] = set()
        self.waited: list[float] = []
        self.ids: dict[str, str] = {}

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        key = check_signed(SECRET, self.name, headers, body, now_ms=int(headers[TIME_HEADER]))
        self.got.append((url, json.loads(body), dict(headers)))
        self.keys.add(key)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return Answered(200, json.dumps({"ids": self.ids}).encode())

    def changes(self) -> list[dict[str, Any]]:
        return [change for _, message, _ in self.got for change in message["changes"]]


class Desk:
    """One agent with a book, and a CRM beside it."""

    def __init__(self, fleet: Fleet, clock: ManualClock) -> None:
        self.fleet, self.clock, self.crm = fleet, clock, Crm()
        self.agent = fleet.add("ada")
        self.market = Market(self.agent)
        self.inbound = Inbound(self.market, "hubspot", SECRET)
        self._key = 0

    def say(self, *changes: dict[str, Any], key: str | None = None, **more: Any) -> Reply:
        """A message of the CRM's, well signed."""
        self._key += 1
        return self.raw(json.dumps({"changes": changes, **more}).encode(), key or f"k{self._key}")

    def raw(self, body: bytes, key: str = "k") -> Reply:
        return self.inbound.receive(signed_headers(SECRET, "hubspot", key, self.clock.now_ms(), body), body)

    def outbound(self, **how: Any) -> Outbound:
        return Outbound(self.market, self.agent, "hubspot", "http://crm.example/", how.pop("secret", SECRET),
                        post=self.crm.post, sleep=self.crm.waited.append)  # fmt: skip

    def events(self) -> int:
        return sum(head.size for head in self.fleet.replica.heads())

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [row.values for row in self.fleet.replica.tables.all_rows(self.fleet.replica.registry.tables[table])]


@pytest.fixture
def desk() -> Iterator[Desk]:
    clock = ManualClock(START)
    with Fleet.create(default_folder(), clock=clock, domains=[MARKET]) as fleet:
        yield Desk(fleet, clock)


# -- signatures --------------------------------------------------------------------------------------------------


def test_a_signature_is_of_all_that_is_said() -> None:
    headers = signed_headers(SECRET, "crm", "k", START, b"body")
    assert check_signed(SECRET, "crm", headers, b"body", now_ms=START) == "k"
    assert check_signed(SECRET, "crm", {n.upper(): v for n, v in headers.items()}, b"body", now_ms=START) == "k"
    wrong: list[Callable[[], Any]] = [
        lambda: check_signed(SECRET, "crm", headers, b"Body", now_ms=START),
        lambda: check_signed(SECRET, "crn", headers, b"body", now_ms=START),
        lambda: check_signed(b"0123456789abcdeF", "crm", headers, b"body", now_ms=START),
        lambda: check_signed(SECRET, "crm", {**headers, KEY_HEADER: "l"}, b"body", now_ms=START),
        lambda: check_signed(SECRET, "crm", {**headers, TIME_HEADER: str(START + 1)}, b"body", now_ms=START),
        lambda: check_signed(SECRET, "crm", {**headers, SIGNATURE_HEADER: "é"}, b"body", now_ms=START),
        lambda: check_signed(SECRET, "crm", {**headers, SIGNATURE_HEADER: ""}, b"body", now_ms=START),
    ]
    for one in wrong:
        with pytest.raises(ProtocolViolation, match="signature is not that of this message"):
            one()
    for said in ("", "-1", "1e9", "٣", "1" * 17):
        with pytest.raises(ProtocolViolation, match="no time"):
            check_signed(SECRET, "crm", {**headers, TIME_HEADER: said}, b"body", now_ms=START)
    for key in ("", "k" * 257, "k\n", "é"):
        with pytest.raises(ProtocolViolation, match="no key"):
            check_signed(SECRET, "crm", {**headers, KEY_HEADER: key}, b"body", now_ms=START)


@pytest.mark.parametrize("away", [REPLAY_WINDOW_MS + 1, -REPLAY_WINDOW_MS - 1])
def test_what_was_signed_at_another_time_is_refused(away: int) -> None:
    headers = signed_headers(SECRET, "crm", "k", START, b"")
    check_signed(SECRET, "crm", headers, b"", now_ms=START + away - (1 if away > 0 else -1))
    with pytest.raises(ProtocolViolation, match="REPLAY_WINDOW_MS"):
        check_signed(SECRET, "crm", headers, b"", now_ms=START + away)


def test_fields_cannot_be_taken_for_each_other() -> None:
    one = signed_headers(SECRET, "crm", "k1", START, b"23")
    other = signed_headers(SECRET, "crm", "k", START, b"123")
    assert one[SIGNATURE_HEADER] != other[SIGNATURE_HEADER]


def test_a_secret_is_long_and_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o644)
    with pytest.raises(InvalidInput, match="chmod 600"):
        secret_in(path)
    path.chmod(0o600)
    assert secret_in(path) == SECRET
    with pytest.raises(NotFound, match="there is no file"):
        secret_in(tmp_path / "nowhere")
    for secret in (b"short", b"x" * 2_000):
        with pytest.raises(InvalidInput, match="SECRET_BYTES_MIN"):
            check_secret(secret)


# -- inbound -----------------------------------------------------------------------------------------------------


def test_a_change_is_taken_once(desk: Desk) -> None:
    first = desk.say(ACME, key="one")
    assert (first.status, first.said["changes"][0]["status"]) == (200, "added")
    before = desk.events()
    assert desk.say(ACME, key="one") == Reply(200, {"status": "known"})
    again = desk.say(ACME, key="two")
    assert again.said["changes"][0]["status"] == "same"
    assert desk.events() == before
    (row,) = desk.rows(names.COMPANIES)
    assert (row["name"], row["employee_count"]) == ("Acme", 5)


def test_a_replay_after_the_window_is_refused(desk: Desk) -> None:
    body = json.dumps({"changes": [ACME]}).encode()
    headers = signed_headers(SECRET, "hubspot", "k", START, body)
    assert desk.inbound.receive(headers, body).status == 200
    assert desk.inbound.receive(headers, body).said == {"status": "known"}
    desk.clock.pass_ms(REPLAY_WINDOW_MS + 1)
    assert desk.inbound.receive(headers, body).status == 401


def test_what_is_not_signed_changes_nothing_and_learns_nothing(desk: Desk) -> None:
    before = desk.events()
    reply = desk.inbound.receive({}, json.dumps({"changes": [ACME]}).encode())
    assert reply.status == 401
    wrong = Inbound(desk.market, "hubspot", b"another secret, as long")
    body = json.dumps({"changes": [ACME]}).encode()
    assert wrong.receive(signed_headers(SECRET, "hubspot", "k", START, body), body).status == 401
    assert desk.events() == before


def test_a_later_value_wins_field_by_field(desk: Desk) -> None:
    entity = desk.say(ACME).said["changes"][0]["entity"]
    desk.market.revise(entity, employee_count=6, at=START - 3)
    late = {**ACME, "fields": {"employees": 7, "budget_season": "fall"}, "modified": START - 5}
    (change,) = desk.say(late).said["changes"]
    assert (change["status"], change["stale"]) == ("changed", ["employee_count"])
    newer = {**ACME, "fields": {"employees": 8, "budget_season": "spring"}, "times": {"employees": START - 1},
             "modified": START - 9}  # fmt: skip
    assert desk.say(newer).said["changes"][0]["stale"] == ["budget_season"]
    (row,) = desk.rows(names.COMPANIES)
    assert (row["employee_count"], row["budget_season"]) == (8, "fall")
    assert (
        desk.say({**ACME, "fields": {"employees": None}, "modified": START}).said["changes"][0]["status"] == "changed"
    )
    assert desk.rows(names.COMPANIES)[0]["employee_count"] is None


def test_deals_move_and_contacts_come(desk: Desk) -> None:
    desk.say(ACME)
    said = {"dealname": "Oats", "amount": "10", "company": "acme"}
    deal = {"type": "deal", "id": "d", "modified": START - 9, "fields": said, "stage": "Closed Won"}
    contact = {"type": "contact", "id": "c", "fields": {"firstname": "Ada", "lastname": "Meyer", "email": "a@x.org"}}
    assert [one["status"] for one in desk.say(deal, contact).said["changes"]] == ["added", "added"]
    assert desk.rows(names.OPPORTUNITIES)[0]["stage"] == "closed_won"
    assert desk.say({**deal, "stage": "proposal", "modified": START - 20}).said["changes"][0]["status"] == "same"
    assert desk.say({**deal, "stage": "proposal", "modified": START - 2}).said["changes"][0]["status"] == "changed"
    assert desk.rows(names.OPPORTUNITIES)[0]["stage"] == "proposal"
    assert desk.rows(names.PERSONAS)[0]["email"] == "a@x.org"


def test_a_message_is_taken_whole_or_not_at_all(desk: Desk) -> None:
    before = desk.events()
    reply = desk.say(ACME, {"type": "company", "id": "8", "fields": {"name": "Zeta", "employees": "many"}})
    assert reply.status == 422
    assert "change 2 (company 8): employee_count: 'many' is no integer" in reply.said["error"]
    assert desk.events() == before


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no message"), (b"[]", "no message"), (b'{"changes": 1}', "no message"), (b"\xff", "no message"),
        (b'{"changes": [{"type": "ghost"}]}', "there are company, contact"),
        (b'{"changes": [{"type": "company", "fields": {"employees": 1}}]}', "needs a name"),
        (b'{"changes": [{"type": "deal", "fields": {"name": "x", "amount": 1}, "stage": "lost in space"}]}', "stage"),
        (b'{"changes": [{"type": "company", "modified": "soon", "fields": {"name": "x"}}]}', "not a time"),
        (json.dumps({"changes": [{"type": "company"}] * (CHANGES_MAX + 1)}).encode(), "CHANGES_MAX"),
    ],
)  # fmt: skip
def test_messages_that_make_no_sense_are_refused(desk: Desk, body: bytes, words: str) -> None:
    before = desk.events()
    reply = desk.raw(body)
    assert reply.status == 422
    assert words in reply.said["error"]
    assert desk.events() == before


def test_a_message_has_a_size(desk: Desk) -> None:
    assert desk.raw(b"x" * (MESSAGE_BYTES_MAX + 1)).status == 413


def test_a_map_and_a_name_are_checked(desk: Desk) -> None:
    mapped = Inbound(desk.market, "hubspot", SECRET, mapped={"company": {"firma": "name", "employees": "-"}})
    body = json.dumps({"changes": [{"type": "company", "fields": {"firma": "Zeta", "employees": "many"}}]}).encode()
    assert mapped.receive(signed_headers(SECRET, "hubspot", "m", START, body), body).status == 200
    for system, given, words in (
        ("antiphon", {}, "a system's name"), ("", {}, "a system's name"), ("x", {"ghost": {}}, "types are"),
        ("x", {"company": {"a": "b"}}, "have no 'b'"),
    ):  # fmt: skip
        with pytest.raises(InvalidInput, match=words):
            Inbound(desk.market, system, SECRET, mapped=given)


# -- outbound ----------------------------------------------------------------------------------------------------


def test_only_changes_are_told_and_only_once(desk: Desk) -> None:
    acme = desk.market.company("Acme", website="acme.com", annual_revenue="1.50").entity
    ada = desk.market.persona("Ada", company="Acme", semantic_embedding=[0.5] * 1_536).entity
    deal = desk.market.opportunity("Oats", 5).entity
    desk.market.move(deal, "proposal")
    desk.crm.ids = {acme: "77"}
    sent = desk.outbound().send()
    assert (sent.changes, sent.messages, sent.sends) == (5, 1, 1)
    by_entity = {(one["type"], one["entity"]): one for one in desk.crm.changes()}
    assert set(by_entity) == {("company", acme), ("contact", ada), ("deal", deal)}
    company = next(one for one in desk.crm.changes() if one["type"] == "company")
    assert company["fields"] == {"name": "Acme", "website": "acme.com", "annual_revenue": "1.50"}
    assert company["times"]["name"] == START
    assert [one["stage"] for one in desk.crm.changes() if "stage" in one] == ["proposal"]
    assert "semantic_embedding" not in json.dumps(desk.crm.got)
    before = desk.events()
    assert desk.outbound().send().changes == 0
    assert (desk.events(), len(desk.crm.got)) == (before, 1)
    desk.clock.pass_ms(1)
    desk.market.company("Acme", employee_count=3)
    desk.outbound().send()
    assert desk.crm.changes()[-1] == {
        "type": "company", "id": "77", "entity": acme, "modified": START + 1, "fields": {"employee_count": 3},
        "times": {"employee_count": START + 1}, "event": desk.crm.changes()[-1]["event"],
    }  # fmt: skip


def test_nothing_goes_round_in_circles(desk: Desk) -> None:
    desk.say(ACME)
    assert desk.outbound().send().changes == 0, "what it said itself is not told to it"
    desk.market.company("Acme", employee_count=9)
    desk.outbound().send()
    ((_, message, _),) = desk.crm.got
    assert desk.say(*message["changes"], origin=message["origin"]).said == {"status": "echo", "changes": []}
    before = desk.events()
    plain = desk.say(*({**change, "event": None} for change in message["changes"]))
    assert plain.said["changes"][0]["status"] == "same", "a system that repeats it without the mark changes nothing"
    assert desk.outbound().send().changes == 0
    assert desk.events() == before
    other = Outbound(desk.market, desk.agent, "salesforce", "http://s.example/", SECRET,
                     post=Crm("salesforce").post, sleep=desk.crm.waited.append)  # fmt: skip
    assert other.send().changes == 2, "a third system is told of both"


def test_two_books_by_webhooks_come_to_the_same(desk: Desk) -> None:
    """Each is the other's CRM: after one round both have the later value of every field, and are quiet."""
    bob = desk.fleet.add("bob")
    theirs = Market(bob)
    theirs_in = Inbound(theirs, "ada", SECRET)
    ours_in = Inbound(desk.market, "bob", SECRET)

    def line(inbound: Inbound) -> Callable[[str, bytes, Mapping[str, str]], Answered]:
        def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
            reply = inbound.receive(headers, body)
            return Answered(reply.status, json.dumps(reply.said).encode())

        return post

    def round_() -> int:
        ours = Outbound(
            desk.market, desk.agent, "bob", "http://b/", SECRET, post=as_system("ada", line(theirs_in)), sleep=len
        )
        back = Outbound(theirs, bob, "ada", "http://a/", SECRET, post=as_system("bob", line(ours_in)), sleep=len)
        return ours.send().changes + back.send().changes

    def as_system(name: str, post: Callable[..., Answered]) -> Callable[..., Answered]:
        def signed_again(url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
            return post(url, body, signed_headers(SECRET, name, headers[KEY_HEADER], int(headers[TIME_HEADER]), body))

        return signed_again

    desk.market.company("Acme", website="acme.com", employee_count=1, at=START - 5)
    theirs.company("Acme Inc", website="www.acme.com", employee_count=2, budget_season="fall", at=START - 3)
    assert round_() > 0
    assert round_() == 0
    mine, other = desk.market.find_company(website="acme.com"), theirs.find_company(website="acme.com")
    assert mine is not None
    assert other is not None
    for name in ("name", "employee_count", "budget_season"):
        assert mine[name] == other[name]
    assert mine["employee_count"] == 2


def test_what_fails_is_sent_again_with_longer_and_longer_waits(desk: Desk) -> None:
    desk.market.company("Acme")
    desk.crm.answers = [Unavailable("down"), Answered(500), Answered(429, after_ms=5_000)]
    sent = desk.outbound().send()
    assert (sent.changes, sent.sends) == (1, 4)
    assert desk.crm.waited == [1_000, 2_000, 5_000]
    assert len(desk.crm.keys) == 1, "under one idempotency key"


def test_a_system_that_stays_down_is_told_the_next_time(desk: Desk) -> None:
    desk.market.company("Acme")
    desk.crm.answers = [Answered(503)] * SENDS_MAX
    with pytest.raises(Unavailable, match=f"took none of {SENDS_MAX} sends: it answers 503"):
        desk.outbound().send()
    assert len(desk.crm.waited) == SENDS_MAX - 1
    assert desk.outbound().send().changes == 1
    assert len(desk.crm.keys) == 1


def test_a_system_that_refuses_is_not_asked_again(desk: Desk) -> None:
    desk.market.company("Acme")
    desk.crm.answers = [Answered(422, b"no such field")]
    with pytest.raises(Rejected, match="it answers 422: b'no such field'"):
        desk.outbound().send()
    assert (len(desk.crm.got), desk.crm.waited, desk.market.sent_upto("hubspot")) == (1, [], -1)


def test_many_changes_go_in_several_messages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_hook, "CHANGES_MAX", 3)
    monkeypatch.setattr(market_hook, "SCANNED_EVENTS_MAX", 4)
    for at in range(7):
        desk.market.company(f"C{at}")
    sent = desk.outbound().send()
    assert (sent.changes, sent.messages) == (7, 3)
    assert [one["fields"]["name"] for one in desk.crm.changes()] == [f"C{at}" for at in range(7)]
    monkeypatch.setattr(market_hook, "MESSAGE_BYTES_MAX", 2_600)
    for at in range(2):
        desk.market.company(f"C{at}", pain_points={"long": "x" * 1_000})
    assert desk.outbound().send().messages == 2
    for at in range(9):
        desk.market.note_feed(f"http://f/{at}")
    assert desk.outbound().send().changes == 0
    assert desk.market.sent_upto("hubspot") > sent.upto


def test_an_answer_that_is_no_json_is_fine(desk: Desk) -> None:
    desk.market.company("Acme")
    desk.crm.answers = [Answered(204, b"<ok/>")]
    assert desk.outbound().send().changes == 1
    with pytest.raises(InvalidInput, match="SECRET_BYTES_MIN"):
        desk.outbound(secret=b"short")
    assert id_text(desk.agent.log_id) == desk.crm.got[0][1]["origin"]["log"]


# -- keys, fields that nobody knows, people who were forgotten ------------------------------------------------------


def test_a_key_is_of_one_message(desk: Desk) -> None:
    assert desk.say(ACME, key="k").said["status"] == "taken"
    assert desk.say(ACME, key="k").said == {"status": "known"}
    before = desk.events()
    other = desk.say({**ACME, "fields": {"name": "Acme", "employees": 6}}, key="k")
    assert other.status == 422
    assert "another message was taken under 'k'" in other.said["error"]
    assert desk.events() == before


def test_what_is_kept_of_a_message_is_its_secrets(desk: Desk) -> None:
    desk.say(ACME, key="k")
    (row,) = desk.rows(names.DELIVERIES)
    body = json.dumps({"changes": (ACME,)}).encode()
    assert row["digest"] == digest_of(SECRET, body) != digest_of(b"another-secret-16", body)


def test_fields_that_nobody_knows_are_said(desk: Desk) -> None:
    desk.say(ACME)
    before = desk.events()
    (done,) = desk.say({"type": "company", "id": "7", "fields": {"foo": 12}}).said["changes"]
    assert (done["status"], done["unknown"]) == ("ignored", ["foo"])
    (done,) = desk.say({"type": "company", "fields": {"foo": 12}}).said["changes"]
    assert done["status"] == "ignored", "though nothing says which company is meant"
    assert desk.events() == before + 2, "they count from now, so nobody sends them again once a map says what foo is"
    (done,) = desk.say({"type": "company", "id": "7", "fields": {"foo": 12, "employees": 9}}).said["changes"]
    assert (done["status"], done["unknown"]) == ("changed", ["foo"])
    assert "unknown" not in desk.say(ACME).said["changes"][0]


@pytest.mark.parametrize("when", [{"modified": START + 10**9}, {"times": {"employees": START + 10**9}}, {}])
def test_what_counts_from_now_is_not_replayed(desk: Desk, when: dict[str, Any]) -> None:
    """A time that is still to come counts as now, whenever now is."""
    desk.market.company("Acme", employee_count=5)
    body = json.dumps({"changes": [{"type": "company", "fields": {"name": "Acme", "employees": 5}, **when}]}).encode()
    headers = signed_headers(SECRET, "hubspot", "k", desk.clock.now_ms(), body)
    desk.inbound.receive(headers, body)
    desk.clock.pass_ms(1_000)
    desk.market.company("Acme", employee_count=9)
    desk.clock.pass_ms(1_000)
    assert desk.inbound.receive(headers, body).said == {"status": "known"}
    assert desk.rows(names.COMPANIES)[0]["employee_count"] == 9


def test_a_contact_who_was_forgotten_stays_so(desk: Desk) -> None:
    desk.inbound = Inbound(desk.market, "hubspot", SECRET, people=People(desk.agent.replica.file))
    ann = {"type": "contact", "id": "1", "fields": {"name": "Ann Meyer", "email": "ann@x.org"}}
    assert desk.say(ann).said["changes"][0]["status"] == "added"
    desk.agent.forget(person="Ann Meyer")
    for change in (ann, {**ann, "id": "2"}, {"type": "contact", "fields": {"name": "Ann Meyer"}}):
        (done,) = desk.say(change).said["changes"]
        assert done["status"] == "forgotten"
    assert desk.rows(names.PERSONAS) == []


@pytest.mark.parametrize("status", [100, 301, 307, 400, 404, 410, 501, 505, 511])
def test_what_would_not_pass_is_not_sent_again(desk: Desk, status: int) -> None:
    desk.market.company("Acme")
    desk.crm.answers = [Answered(status, b"no")] * SENDS_MAX
    with pytest.raises(Rejected, match=f"it answers {status}"):
        desk.outbound().send()
    assert (len(desk.crm.got), desk.crm.waited) == (1, [])


def test_what_is_waited_for_is_said(desk: Desk) -> None:
    desk.market.company("Acme")
    desk.crm.answers = [Unavailable("down"), Answered(503)]
    said: list[tuple[int, str, float]] = []
    told: list[int] = []
    out = Outbound(desk.market, desk.agent, "hubspot", "http://crm.example/", SECRET, post=desk.crm.post,
                   sleep=lambda ms: None, waiting=lambda *what: said.append(what),
                   telling=lambda: told.append(len(desk.crm.got)))  # fmt: skip
    assert out.send().sends == 3
    assert said == [(1, "down", 1_000), (2, "it answers 503", 2_000)]
    assert told == [0], "before anything is told"
    out.send()
    assert told == [0], "and not where nothing is"
