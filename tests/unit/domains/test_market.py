"""A book of the market: what is one thing however it is spelled, which of two values counts, what is refused."""

import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from antiphon import Agent, Conflict, Fleet, InvalidInput, LimitExceeded, NotFound
from antiphon.domains.market import MARKET, Market, fields, keys, names
from antiphon.home import default_folder
from antiphon.model.event import NEW, Draft, Scope, encode_body
from antiphon.model.limits import CLOCK_AHEAD_MS_MAX
from antiphon.model.places import DAY_MS
from antiphon.model.text import entity_text, id_text, parse_entity, parse_id
from antiphon.replica.commit import Batch
from antiphon.world.clock import ManualClock

START = 1_800_000_000_000
NOWHERE = "01890000-0000-7000-8000-000000000000"


class Fair:
    """Three agents in one file; Ada keeps a book."""

    def __init__(self, fleet: Fleet, clock: ManualClock) -> None:
        self.fleet, self.clock = fleet, clock
        self.agents: dict[str, Agent] = {name: fleet.add(name) for name in ("ada", "bob", "cyd")}
        self.ada, self.bob, self.cyd = (Market(agent) for agent in self.agents.values())
        self.public = Market(self.agents["ada"], publish_people=True)
        self.book = id_text(self.agents["ada"].log_id)

    def events(self) -> int:
        return sum(head.size for head in self.fleet.replica.heads())

    def rows(self, table: str) -> list[dict[str, Any]]:
        declared = self.fleet.replica.registry.tables[table]
        return [row.values for row in self.fleet.replica.tables.all_rows(declared)]

    def forge(self, who: str, kind: str, body: Any, entity: bytes = NEW) -> None:
        """Records what no command would, straight into an agent's log."""
        draft = Draft(kind, encode_body(body), entity=entity, scope=Scope.PUBLIC)
        self.fleet.replica.commit(Batch(self.agents[who].log_id, [draft], [None]))


@pytest.fixture
def fair() -> Iterator[Fair]:
    clock = ManualClock(START)
    with Fleet.create(default_folder(), clock=clock, domains=[MARKET]) as fleet:
        yield Fair(fleet, clock)


def refuses(fair: Fair, error: type[Exception], words: str, act: Callable[[], Any]) -> None:
    """The act is refused in these words, and nothing is recorded."""
    before = fair.events()
    with pytest.raises(error, match=words):
        act()
    assert fair.events() == before


# -- keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ACME Foods, Inc.", "acme  foods"), ("Müller & Söhne GmbH", "MULLER AND SOHNE"), ("L’Oréal S.A.", "loreal"),
        ("Ｔｅａ Co Ltd", "tea"), ("Smith's Pies LLC", "Smiths Pies"),
    ],
)  # fmt: skip
def test_spellings_of_one_company_have_one_key(one: str, other: str) -> None:
    assert keys.company_key(one) == keys.company_key(other)


@pytest.mark.parametrize(("name", "key"), [("Co", "co"), ("Inc Ltd", "inc"), ("!!!", "!!!"), ("Oats 24", "oats 24")])
def test_a_key_is_never_empty(name: str, key: str) -> None:
    assert keys.company_key(name) == key


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://www.Acme.com/about?x=1", "acme.com"), ("acme.com", "acme.com"), ("HTTP://ACME.COM:8080/", "acme.com"),
        ("shop.acme.com.", "shop.acme.com"), ("https://müsli.de", "xn--msli-0ra.de"),
    ],
)  # fmt: skip
def test_a_site_is_its_host(url: str, host: str) -> None:
    assert keys.site_key(url) == host


@pytest.mark.parametrize("url", ["", "nowhere", "http://", "http://[", "a b.com", "https://x..y", "mailto:ada@x.org"])
def test_what_is_no_site_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="is no site"):
        keys.site_key(url)


def test_ids_are_of_the_book() -> None:
    one, other = bytes(32), bytes([1]) * 32
    assert keys.company_id(one, "site:x.com") != keys.company_id(other, "site:x.com")
    assert keys.product_id(one, None, "tea") != keys.product_id(one, bytes(16), "tea")
    assert keys.email_key(" Ada@X.org ") == "ada@x.org"
    with pytest.raises(InvalidInput, match=r"personas\.email is no address: write it like name@example\.com$"):
        keys.email_key("ada at home")


# -- companies and products --------------------------------------------------------------------------------------


def test_a_company_from_two_imports_is_one_row(fair: Fair) -> None:
    first = fair.ada.company("ACME Foods Inc.", website="https://www.acme.com/x", sector=["ingredients"])
    assert (first.what, first.fields) == ("added", ("name", "website", "sector"))
    fair.clock.pass_ms(1)
    second = fair.ada.company("Acme Foods", employee_count=12)
    third = fair.ada.company("Something Else", website="acme.com", annual_revenue="12.50")
    assert first.entity == second.entity == third.entity
    (row,) = fair.rows(names.COMPANIES)
    assert (row["name"], row["site_key"], row["employee_count"]) == ("Something Else", "acme.com", 12)
    assert (row["annual_revenue"], row["sector"]) == (Decimal("12.50"), ["ingredients"])
    assert fair.ada.get(first.entity)["name_key"] == "something else"


def test_a_company_gets_its_site_later(fair: Fair) -> None:
    named = fair.ada.company("Zeta")
    assert fair.ada.company("Zeta Ltd", website="zeta.io").entity == named.entity
    assert fair.ada.company("Zeta", website="zeta.org").what == "added", "another site, another company"
    refuses(fair, InvalidInput, "needs a name", lambda: fair.ada.company(website="new.example"))
    fair.ada.company("Omega", website="omega.io")
    fair.ada.company("Omega", website="omega.org")
    refuses(fair, InvalidInput, "2 companies of this book are called 'Omega'", lambda: fair.ada.company("Omega"))


def test_what_is_known_is_not_recorded_again(fair: Fair) -> None:
    said = {"website": "acme.com", "sector": ["x"], "headquarters_location": [7.5, 47.25], "pain_points": {"a": [1]}}
    fair.ada.company("Acme", **said)
    before = fair.events()
    assert fair.ada.company("Acme", **said).what == "same"
    assert fair.events() == before


def test_of_two_values_the_later_stands_field_by_field(fair: Fair) -> None:
    entity = fair.ada.company("Acme", at=START - 100, employee_count=10, budget_season="autumn").entity
    put = fair.ada.company("Acme", at=START - 200, employee_count=9, procurement_cycle="yearly")
    assert (put.what, put.fields, put.stale) == ("changed", ("procurement_cycle",), ("employee_count",))
    fair.ada.company("Acme", since={"employee_count": START - 50, "budget_season": START - 500}, employee_count=11,
                     budget_season="spring")  # fmt: skip
    row = fair.ada.get(entity)
    assert row is not None
    assert (row["employee_count"], row["budget_season"], row["procurement_cycle"]) == (11, "autumn", "yearly")
    assert row["field_times"]["employee_count"] == START - 50


def test_at_one_time_the_order_in_which_they_come_is_all_one(fair: Fair) -> None:
    for name, values in (("One", (3, 5, 4)), ("Two", (5, 4, 3))):
        for value in values:
            fair.ada.company(name, at=START - 7, employee_count=value)
    assert {row["employee_count"] for row in fair.rows(names.COMPANIES)} == {5}


def test_what_claims_to_be_from_later_is_from_now(fair: Fair) -> None:
    entity = fair.ada.company("Acme", at=START + 10**9, employee_count=1).entity
    fair.clock.pass_ms(5)
    fair.ada.company("Acme", employee_count=2)
    assert fair.ada.get(entity)["employee_count"] == 2


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"nmae": 1}, "food_companies has no field 'nmae'"), ({"home": bytes(32)}, "no field 'home'"),
        ({"field_times": {}}, "no field 'field_times'"), ({"employee_count": -1}, r"employee_count: .*less than 0"),
        ({"employee_count": "many"}, r"food_companies\.employee_count"), ({"annual_revenue": math.nan}, "finite"),
        ({"priority_score": 101}, "more than 100"), ({"close_probability": "1.5"}, "more than 1"),
        ({"headquarters_location": [181, 0]}, "not on the globe"), ({"website": "nowhere"}, "is no site"),
        ({"sector": "ingredients"}, "no list"), ({"suppliers": ["x"]}, "not an entity id"), ({"name": ""}, "is empty"),
        ({"name": "x" * 513}, "longer than 512"), ({"name": "\ud800"}, "lone surrogate"),
        ({"name": None}, "needs a name"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_field(fair: Fair, said: dict[str, Any], words: str) -> None:
    refuses(fair, InvalidInput, words, lambda: fair.ada.company(**{"name": "Acme", **said}))


def test_a_record_has_so_many_fields(fair: Fair) -> None:
    with pytest.raises(LimitExceeded, match="FIELDS_MAX"):
        fields.checked(names.COMPANIES, {f"f{n}": n for n in range(names.FIELDS_MAX + 1)})


def test_a_product_is_one_of_its_company(fair: Fair) -> None:
    acme, zeta = fair.ada.company("Acme").entity, fair.ada.company("Zeta").entity
    bar = fair.ada.product("Oat Bar", company=acme, allergens=["nuts"], demand_trend="growing")
    assert fair.ada.product("oat  bar", company=acme, fda_approved=True).entity == bar.entity
    assert fair.ada.product("Oat Bar", company=zeta).entity != bar.entity
    assert fair.ada.product("Oat Bar").entity not in (bar.entity,)
    row = fair.ada.get(bar.entity)
    assert (row["company_id"], row["fda_approved"], row["allergens"]) == (parse_entity(acme), True, ["nuts"])
    refuses(fair, InvalidInput, "demand_trend", lambda: fair.ada.product("Tea", demand_trend="up"))
    refuses(fair, InvalidInput, "is empty", lambda: fair.ada.product("  "))
    assert fair.ada.revise(bar.entity, name="Oat Bar XL").what == "changed"
    assert fair.ada.get(bar.entity)["name"] == "Oat Bar XL"


# -- people ------------------------------------------------------------------------------------------------------


def test_a_person_is_found_by_address_and_else_by_name_and_company(fair: Fair) -> None:
    company = fair.ada.company("Acme Foods").entity
    ada = fair.ada.persona("Ada Meyer", email="Ada@X.org", company="ACME foods Inc", trust_score=0.7, phone="1 23")
    assert fair.ada.persona("A. Meyer", email="ada@x.org", role="buyer").entity == ada.entity
    assert fair.ada.persona("ada MEYER", company="Acme Foods").entity == ada.entity
    other = fair.ada.persona("Ada Meyer", company="Acme Foods", email="meyer@y.org")
    assert other.entity != ada.entity, "a namesake in the same house"
    assert fair.ada.persona("Ada Meyer", company="Acme Foods", email="meyer@y.org").entity == other.entity
    row = fair.ada.get(ada.entity)
    assert (row["email"], row["role"], row["company_id"]) == ("ada@x.org", "buyer", parse_entity(company))
    assert len({one["fingerprint"] for one in fair.rows(names.PERSONAS)}) == 2


def test_what_names_a_person_is_in_events_of_its_own(fair: Fair) -> None:
    """The topic of enrichments carries nothing that names anybody."""
    fair.ada.persona(
        "Ada Meyer", email="ada@x.org", phone="1", address="2", linkedin_url="3", role="buyer", big_five={"O": 1}
    )
    enriched = [event for event in fair.agents["ada"].log() if event.kind == names.PERSONA_ENRICHED]
    assert enriched
    for event in enriched:
        assert all(word not in (event.body or b"") for word in (b"Ada", b"Meyer", b"ada@x.org"))
    stream = next(iter(MARKET.tables[0].places.streams))
    assert (stream.topic, stream.kinds) == ("persona.enriched", (names.PERSONA_ENRICHED,))


def test_a_person_can_be_forgotten_by_name(fair: Fair) -> None:
    ada = fair.ada.persona("Ada Meyer", email="ada@x.org", role="buyer")
    fair.ada.meet(ada.entity, success=True)
    fair.ada.persona("Bob Ray", role="cook")
    fair.agents["ada"].forget(person="ada meyer")
    assert [row["name"] for row in fair.rows(names.PERSONAS)] == ["Bob Ray"]
    assert fair.rows(names.INTERACTIONS) == []
    assert b"ada@x.org" not in b"".join(event.body or b"" for event in fair.agents["ada"].log())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"trust_score": 1.1}, "more than 1"), ({"consciousness_level": 0}, "not above 0"),
        ({"mbti_type": "ABCD"}, "mbti_type"), ({"semantic_embedding": [1.0]}, "has 1 numbers, not 1536"),
        ({"behavioral_embedding": [math.inf] * 768}, "finite"), ({"fingerprint": "x"}, "no field 'fingerprint'"),
        ({"interaction_count": 3}, "no field"), ({"big_five": {"O": {"a": object()}}}, "big_five"),
    ],
)  # fmt: skip
def test_a_person_that_does_not_fit_is_refused(fair: Fair, said: dict[str, Any], words: str) -> None:
    refuses(fair, InvalidInput, words, lambda: fair.ada.persona("Ada", **said))


def test_a_refusal_repeats_nothing_personal(fair: Fair) -> None:
    for said in ({"email": "secret person"}, {"phone": "4711" * 500}, {"address": 4711}):
        with pytest.raises(InvalidInput) as refused:
            fair.ada.persona("Ada", **said)
        assert "secret" not in str(refused.value)
        assert "4711" not in str(refused.value)


def test_what_names_a_person_is_short(fair: Fair) -> None:
    ada = parse_entity(fair.ada.persona("Ada").entity)
    refuses(fair, InvalidInput, r"personas\.name is longer than 512", lambda: fair.ada.persona("x" * 513))
    refuses(fair, InvalidInput, "longer than 2,048", lambda: fair.ada.persona("Bob", linkedin_url="x" * 2_049))
    with pytest.raises(InvalidInput, match="phone is longer than 512"):
        fair.forge("ada", names.PERSONA_RECORDED, {"fields": {"phone": "1" * 513}, "times": {}}, ada)


def test_vectors_are_kept(fair: Fair) -> None:
    ada = fair.ada.persona("Ada", semantic_embedding=[0.5] * 1_536, behavioral_embedding=[0.25] * 768)
    row = fair.ada.get(ada.entity)
    assert (row["semantic_embedding"], row["behavioral_embedding"]) == ([0.5] * 1_536, [0.25] * 768)


def test_trust_is_counted_and_fades(fair: Fair) -> None:
    ada = fair.public.persona("Ada").entity
    assert fair.ada.trust(ada) == 0.5
    for market, success in ((fair.ada, True), (fair.bob, True), (fair.bob, None), (fair.cyd, False)):
        fair.clock.pass_ms(1)
        market.meet(ada, success=success, channel="fair")
    assert fair.ada.trust(ada) == pytest.approx(0.6)
    assert fair.ada.trust(ada, as_of=START - DAY_MS) == 0.5
    fair.clock.pass_ms(300 * DAY_MS)
    assert 0.5 < fair.ada.trust(ada) < 0.501
    row = fair.ada.get(ada)
    assert (row["interaction_count"], row["last_interaction"]) == (4, START + 4)
    refuses(fair, InvalidInput, "true or false", lambda: fair.ada.meet(ada, success=1))  # type: ignore[arg-type]
    refuses(fair, NotFound, "there is no person", lambda: fair.ada.meet(NOWHERE))


def test_a_person_leaves_the_book_by_its_agent(fair: Fair) -> None:
    ada = fair.public.persona("Ada").entity
    refuses(fair, InvalidInput, "another agent's book", lambda: fair.bob.remove(ada))
    fair.ada.remove(ada)
    assert fair.ada.get(ada) is None
    assert fair.ada.persona("Ada").entity != ada


def test_a_circle_keeps_what_is_recorded_for_it(fair: Fair) -> None:
    circle = bytes(range(16))
    market = Market(fair.agents["ada"], circle=circle)
    market.persona("Ada", role="buyer")
    market.company("Acme")
    events = [event for event in fair.agents["ada"].log() if event.kind in {kind.name for kind in MARKET.kinds}]
    assert {(event.header.scope, event.header.circle) for event in events} == {(Scope.CIRCLE, circle)}
    with pytest.raises(InvalidInput, match="leave `circle` out"):
        Market(fair.agents["ada"], book=fair.book, circle=circle)


# -- others' books -----------------------------------------------------------------------------------------------


def test_an_admitted_agent_adds_to_a_book(fair: Fair) -> None:
    bob = Market(fair.agents["bob"], book=fair.book)
    refuses(fair, Conflict, "not among those", lambda: bob.company("Acme"))
    fair.ada.admit(fair.agents["bob"].id)
    acme = bob.company("Acme", website="acme.com", employee_count=3)
    assert acme.what == "asked"
    assert fair.ada.company("ACME Inc", website="www.acme.com").entity == acme.entity
    assert bob.company("Acme", website="acme.com", employee_count=3, at=START - 1).what == "same"
    bob.product("Bar", company=acme.entity, category="snacks")
    ada = fair.public.persona("Ada").entity
    assert bob.enrich(ada, mbti_type="INTJ").what == "asked"
    refuses(fair, InvalidInput, "has no field 'name'", lambda: bob.enrich(ada, name="Eve"))
    refuses(fair, InvalidInput, "own book; `enrich`", lambda: bob.persona("Eve"))
    assert fair.ada.get(ada)["mbti_type"] == "INTJ"
    assert [row["home"] for row in fair.rows(names.PRODUCTS)] == [fair.agents["ada"].log_id]
    fair.ada.dismiss(fair.agents["bob"].id)
    refuses(fair, Conflict, "not among those", lambda: bob.company("Zeta"))
    refuses(fair, NotFound, "not among those", lambda: fair.ada.dismiss(fair.agents["bob"].id))


def test_a_book_does_not_believe_the_future(fair: Fair) -> None:
    fair.ada.admit(fair.agents["bob"].id)
    entity = fair.ada.company("Acme", employee_count=1).entity
    body = {"fields": {"name": "Acme", "employee_count": 2}, "at": START + 10**12, "since": {"employee_count": 10**15}}
    fair.clock.pass_ms(1)
    fair.agents["bob"].request(names.COMPANY_PUT, body, home=fair.agents["ada"].log_id, entity=entity)
    fair.clock.pass_ms(CLOCK_AHEAD_MS_MAX)
    fair.ada.company("Acme", employee_count=3)
    assert fair.ada.get(entity)["employee_count"] == 3


def test_requests_that_make_no_sense_are_refused(fair: Fair) -> None:
    fair.ada.admit(fair.agents["bob"].id)
    home, bob = fair.agents["ada"].log_id, fair.agents["bob"]
    acme = fair.ada.company("Acme").entity

    def ask(kind: str, said: dict[str, Any], entity: str = acme) -> Callable[[], Any]:
        return lambda: bob.request(kind, {"at": START, "fields": said}, home=home, entity=entity)

    refuses(fair, Conflict, "knows this as", ask(names.COMPANY_PUT, {"name": "Zeta"}))
    refuses(fair, Conflict, "no field 'home'", ask(names.COMPANY_PUT, {"home": "x"}))
    refuses(fair, Conflict, "needs a name", ask(names.COMPANY_PUT, {"employee_count": 1}))
    refuses(fair, Conflict, "nothing of this is news", ask(names.COMPANY_PUT, {"name": "Acme"}))
    refuses(fair, Conflict, "needs a name", ask(names.PRODUCT_PUT, {"category": "x"}))
    refuses(fair, Conflict, "no such person", ask(names.PERSONA_ENRICH, {"role": "x"}))


# -- hostile writers ---------------------------------------------------------------------------------------------


def test_nobody_writes_in_anothers_book(fair: Fair) -> None:
    entity = parse_entity(fair.ada.company("Acme", employee_count=1).entity)
    home = fair.agents["ada"].log_id
    before = fair.rows(names.COMPANIES)
    body = {"home": home, "key": "name:acme", "fields": {"name": "Evil"}, "times": {"name": 10**15}}
    for said in (body, {**body, "key": ""}, {**body, "fields": {}}):
        with pytest.raises(InvalidInput, match="decided by the row's home"):
            fair.forge("bob", names.COMPANY_RECORDED, said, entity)
    with pytest.raises(InvalidInput, match="decided by the row's home"):
        fair.forge("bob", names.COMPANY_RECORDED, {**body, "key": "name:new"}, keys.company_id(home, "name:new"))
    with pytest.raises(InvalidInput, match="not the id that its body makes"):
        fair.forge("bob", names.COMPANY_RECORDED, {**body, "home": fair.agents["bob"].log_id}, entity)
    with pytest.raises(InvalidInput, match="may write"):
        fair.forge("bob", names.COMPANY_RECORDED, {**body, "fields": {"home": fair.agents["bob"].log_id}}, entity)
    mine = fair.agents["bob"].log_id
    for said in ({"name": 7}, {"name": "x", "website": 7}, {"name": "x", "website": "nowhere"}, {"name": ["x"]}):
        with pytest.raises(InvalidInput):
            fair.forge("bob", names.COMPANY_RECORDED, {"home": mine, "key": "k", "fields": said, "times": {}},
                       keys.company_id(mine, "k"))  # fmt: skip
    assert fair.rows(names.COMPANIES) == before
    assert entity_text(entity) == fair.ada.company("Acme").entity


def test_nobody_writes_anothers_people_forecasts_or_readings(fair: Fair) -> None:
    ada = parse_entity(fair.ada.persona("Ada", role="buyer").entity)
    for kind, body in (
        (names.PERSONA_RECORDED, {"fields": {"name": "Eve"}, "times": {}}),
        (names.PERSONA_RECORDED, {"fields": {"name": "Eve"}, "times": {}, "fingerprint": "x"}),
        (names.PERSONA_ENRICHED, {"fields": {"role": "thief"}, "times": {}}),
        (names.PERSONA_REMOVED, {}),
    ):
        with pytest.raises(InvalidInput, match=r"home|author alone|only the event that made"):
            fair.forge("bob", kind, body, ada)
    said = {"period_start": "2026-01-01", "period_end": "2026-12-31", "base_case": "1"}
    fair.ada.forecast("2026-01-01", "2026-12-31")
    theirs = next(row["id"] for row in fair.rows(names.FORECASTS))
    with pytest.raises(InvalidInput, match="not the id that its body makes"):
        fair.forge("bob", names.FORECAST, said, theirs)
    seen = fair.ada.publish("http://f", "News", link="http://f/1")
    with pytest.raises(InvalidInput, match="not the id that its body makes"):
        fair.forge("bob", names.PUBLISHED, {"key": "http://f/1", "feed": "x", "title": "Lies"},
                   parse_entity(seen.entity or ""))  # fmt: skip
    fair.forge("bob", names.ADMITTED, {"agent": parse_id(fair.agents["bob"].id)})
    refuses(fair, Conflict, "not among those", lambda: Market(fair.agents["bob"], book=fair.book).company("Zeta"))


# -- publications, links -----------------------------------------------------------------------------------------


def test_a_publication_names_the_companies_of_the_book(fair: Fair) -> None:
    acme, zeta = fair.ada.company("Acme Foods Inc").entity, fair.ada.company("Zeta Oils").entity
    fair.ada.company("Tea")  # too short to be looked for
    made = fair.ada.publish("http://f", "ACME FOODS, Inc. buys Zeta-Oils", link="http://f/1", published=START - 5)
    assert made is not None
    (row,) = fair.ada.publications()
    assert row["mentions"] == sorted(map(parse_entity, (acme, zeta)))
    assert row["published_at"] == START - 5
    assert fair.ada.publish("http://f", "ACME FOODS, Inc. buys Zeta-Oils", link="http://f/1") is None
    assert fair.ada.publish("http://f", "Corrected", link="http://f/1") is not None
    assert [row["title"] for row in fair.ada.publications()] == ["Corrected"]
    assert fair.ada.publish("http://g", "Not theirs", link="http://f/1") is not None
    titles = sorted(row["title"] for row in fair.ada.publications())
    assert titles == ["Corrected", "Not theirs"], "no feed rewrites another's"
    refuses(fair, InvalidInput, "needs a title", lambda: fair.ada.publish("http://f", " "))


def test_what_is_known_of_feeds_and_systems_is_kept_once(fair: Fair) -> None:
    acme = fair.ada.company("Acme").entity
    assert fair.ada.feed("http://f") is None
    assert fair.ada.note_feed("http://f", etag='"1"') is not None
    assert fair.ada.note_feed("http://f", etag='"1"') is None
    assert fair.ada.link("hubspot", "company", "7", acme) is not None
    assert fair.ada.link("hubspot", "company", "7", acme) is None
    assert (fair.ada.linked("hubspot", "company", "7"), fair.bob.linked("hubspot", "company", "7")) == (acme, None)
    refuses(fair, InvalidInput, "external_id is from 1", lambda: fair.ada.link("hubspot", "company", "", acme))
    fair.ada.deliver("hubspot", "k")
    assert (fair.ada.delivered("hubspot", "k"), fair.ada.delivered("other", "k")) == (b"", None)
    assert fair.ada.sent_upto("hubspot") == -1
    fair.ada.note_sent("hubspot", 3)
    assert fair.ada.sent_upto("hubspot") == 3
    kept = {names.FEED_READ, names.LINKED, names.DELIVERED, names.SENT}
    events = [event for event in fair.agents["ada"].log() if event.kind in kept]
    assert len(events) == 4
    assert {event.header.scope for event in events} == {Scope.PRIVATE}
