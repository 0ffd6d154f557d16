"""Room `domains` (imports `views` and below): the tables of a book: persons, companies, products, who may add to it.

A *book* is what one home keeps. Its rows change by its home's decisions alone; ids of companies and products contain
the home, so none can be made in another's book. Agents that the book's agent admits may ask it to take what they know.
"""

from __future__ import annotations

from typing import Final

from antiphon.domains import audience
from antiphon.domains.market import names
from antiphon.model.places import DAY_MS, ENGLISH, Edge, Node, Places, Relational, Search, Stream, Vectors
from antiphon.model.table import ANYONE, READ_ALL, Check, Column, Derived, Index, Merge, Table, Type

SEMANTIC_SIZE: Final = 1_536
BEHAVIORAL_SIZE: Final = 768
SHARE: Final = Check(least=0, most=1)
PERCENT: Final = Check(least=0, most=100)
COUNT: Final = Check(least=0)
NAME: Final = Check(length_max=names.SHORT_TEXT_MAX)
LIST: Final = Check(length_max=256)
MBTI: Final = tuple(f"{a}{b}{c}{d}" for a in "EI" for b in "NS" for c in "FT" for d in "JP")
DECIDED: Final = Merge.DECIDED


def home_columns() -> tuple[Column, ...]:
    """What every row of a book has beside its fields."""
    return (
        Column("created_at", Type.TIMESTAMP, merge=Merge.ONCE),
        Column("updated_at", Type.TIMESTAMP, merge=DECIDED),
        Column("field_times", Type.MAP, of=Type.TIMESTAMP, default={}, merge=DECIDED,
               doc="since when each field has its value, at its source: the later one wins, field by field"),
        Column("home", Type.LOG, nullable=False, merge=Merge.ONCE, doc="the log that decides"),
    )  # fmt: skip


PERSONAS_TABLE: Final = Table(
    names.PERSONAS,
    key="id",
    columns=(
        Column("id", Type.ID, nullable=False),
        Column("fingerprint", Type.TEXT, nullable=False, merge=DECIDED, pii=True, blind=True,
               doc="SHA-256 of name, company and, where these are not enough, address: personal, as it can be guessed"),
        Column("name", Type.TEXT, nullable=False, merge=DECIDED, pii=True, blind=True),
        Column("email", Type.TEXT, merge=DECIDED, pii=True, blind=True),
        Column("phone", Type.TEXT, merge=DECIDED, pii=True),
        Column("address", Type.TEXT, merge=DECIDED, pii=True),
        Column("linkedin_url", Type.TEXT, merge=DECIDED, pii=True),
        Column("company", Type.TEXT, merge=DECIDED, check=NAME),
        Column("company_id", Type.ID, merge=DECIDED, references="food_companies.id"),
        Column("decides_for", Type.ID, merge=DECIDED, references="food_companies.id"),
        Column("authority", Type.TEXT, merge=DECIDED, check=NAME, doc="what it decides: budget, purchase, …"),
        Column("influences", Type.SET, of=Type.ID, merge=DECIDED, check=LIST, references="personas.id"),
        Column("role", Type.TEXT, merge=DECIDED, check=NAME),
        Column("industry", Type.TEXT, merge=DECIDED, check=NAME),
        Column("mbti_type", Type.ENUM, values=MBTI, merge=DECIDED),
        Column("sdi_color", Type.TEXT, merge=DECIDED, check=Check(length_max=10), doc="Blue, Green, Red and blends"),
        Column("big_five", Type.JSON, merge=DECIDED, doc="O, C, E, A, N from 0 to 1"),
        Column("communication_style", Type.JSON, merge=DECIDED),
        Column("decision_patterns", Type.JSON, merge=DECIDED),
        Column("pain_points", Type.LIST, of=Type.TEXT, merge=DECIDED, check=LIST),
        Column("company_revenue", Type.DECIMAL, scale=2, merge=DECIDED),
        Column("employee_count", Type.INTEGER, merge=DECIDED, check=COUNT),
        Column("technologies_used", Type.LIST, of=Type.TEXT, merge=DECIDED, check=LIST),
        Column("trust_score", Type.DECIMAL, default="0.5", merge=DECIDED, check=SHARE),
        Column("last_interaction", Type.TIMESTAMP, derived=Derived("max", names.INTERACTIONS, "time", ("persona_id",))),
        Column("interaction_count", Type.INTEGER, default=0,
               derived=Derived("count", names.INTERACTIONS, match=("persona_id",))),
        Column("conversion_probability", Type.DECIMAL, merge=DECIDED, check=SHARE),
        Column("semantic_embedding", Type.VECTOR, size=SEMANTIC_SIZE, merge=DECIDED),
        Column("behavioral_embedding", Type.VECTOR, size=BEHAVIORAL_SIZE, merge=DECIDED),
        Column("source", Type.TEXT, merge=DECIDED, check=NAME, doc="hubspot, manual, a file's name, …"),
        Column("consciousness_level", Type.DECIMAL, default=100, merge=DECIDED, check=Check(above=0, most=200)),
        *audience.columns(),
        *home_columns(),
    ),
    indexes=(
        Index(("trust_score",), descending=True),
        Index(("industry",)),
        Index(("fingerprint", "home")),
        Index(("email", "home")),
        Index(("company_id",)),
    ),
    unique=(("fingerprint",),),
    shared=True,
    access=audience.ACCESS,
    home="home",
    places=Places(
        relational=Relational(hash=("id",), partitions=16),
        vectors=(Vectors("semantic_embedding"), Vectors("behavioral_embedding", metric="l2")),
        nodes=(Node("Persona", ("role", "industry", "trust_score")),),
        edges=(
            Edge("WORKS_AT", "id", "company_id", "Persona", "Company"),
            Edge("DECIDES_FOR", "id", "decides_for", "Persona", "Company", ("authority",)),
            Edge("INFLUENCES", "id", "influences", "Persona", "Persona"),
        ),
        streams=(Stream("persona.enriched", 3, 90 * DAY_MS, kinds=(names.PERSONA_ENRICHED,)),),
    ),
    doc="People in the market, each once in its book; for its agent alone, unless it says otherwise.",
)  # fmt: skip

COMPANIES_TABLE: Final = Table(
    names.COMPANIES,
    key="id",
    minted=False,
    columns=(
        Column("id", Type.ID, nullable=False, doc="a hash of the book's home and the company's site or name"),
        Column("name", Type.TEXT, nullable=False, merge=DECIDED, check=NAME),
        Column("name_key", Type.TEXT, merge=DECIDED, doc="the name without case, accents, points and legal form"),
        Column("website", Type.TEXT, merge=DECIDED, check=Check(length_max=names.URL_CHARS_MAX)),
        Column("site_key", Type.TEXT, merge=DECIDED, doc="the site's host"),
        Column("headquarters_location", Type.GEO_POINT, merge=DECIDED),
        Column("sector", Type.LIST, of=Type.TEXT, merge=DECIDED, check=LIST,
               doc="ingredients, manufacturing, distribution, …"),
        Column("product_categories", Type.LIST, of=Type.TEXT, merge=DECIDED, check=LIST),
        Column("certifications", Type.LIST, of=Type.TEXT, merge=DECIDED, check=LIST,
               doc="organic, halal, kosher, iso22000, …"),
        Column("annual_revenue", Type.DECIMAL, scale=2, merge=DECIDED),
        Column("employee_count", Type.INTEGER, merge=DECIDED, check=COUNT),
        Column("market_cap", Type.DECIMAL, scale=2, merge=DECIDED, check=COUNT),
        Column("growth_rate", Type.DECIMAL, merge=DECIDED, doc="a share, over the year before"),
        Column("suppliers", Type.SET, of=Type.ID, merge=DECIDED, check=LIST, references="food_companies.id"),
        Column("customers", Type.SET, of=Type.ID, merge=DECIDED, check=LIST, references="food_companies.id"),
        Column("competitors", Type.SET, of=Type.ID, merge=DECIDED, check=LIST, references="food_companies.id"),
        Column("pain_points", Type.JSON, merge=DECIDED),
        Column("technology_stack", Type.LIST, of=Type.TEXT, merge=DECIDED, check=LIST),
        Column("decision_makers", Type.SET, of=Type.ID, merge=DECIDED, check=LIST, references="personas.id"),
        Column("procurement_cycle", Type.TEXT, merge=DECIDED, check=NAME),
        Column("budget_season", Type.TEXT, merge=DECIDED, check=NAME),
        Column("approach_vector", Type.JSON, merge=DECIDED),
        Column("priority_score", Type.DECIMAL, merge=DECIDED, check=PERCENT),
        Column("pipeline_value", Type.DECIMAL, scale=2, merge=DECIDED, check=COUNT),
        Column("close_probability", Type.DECIMAL, merge=DECIDED, check=SHARE),
        Column("last_enriched", Type.TIMESTAMP, merge=DECIDED),
        Column("data_quality_score", Type.DECIMAL, merge=DECIDED, check=PERCENT),
        Column("source_reliability", Type.TEXT, merge=DECIDED, check=NAME),
        *home_columns(),
    ),
    indexes=(Index(("home", "site_key")), Index(("home", "name_key")), Index(("priority_score",), descending=True)),
    writers=ANYONE,
    shared=True,
    access=READ_ALL,
    home="home",
    places=Places(
        relational=Relational(hash=("id",), partitions=16),
        nodes=(Node("Company", ("name", "website", "sector")),),
        edges=(
            Edge("SUPPLIES", "suppliers", "id", "Company", "Company"),
            Edge("COMPETES_WITH", "id", "competitors", "Company", "Company"),
        ),
        search=Search(analyzers=(("name", ENGLISH),)),
    ),
    doc="Companies of the food industry, each once in its book.",
)  # fmt: skip

PRODUCTS_TABLE: Final = Table(
    names.PRODUCTS,
    key="id",
    minted=False,
    columns=(
        Column("id", Type.ID, nullable=False, doc="a hash of the book's home, the company and the name"),
        Column("company_id", Type.ID, merge=DECIDED, references="food_companies.id"),
        Column("name", Type.TEXT, nullable=False, merge=DECIDED, check=NAME),
        Column("category", Type.TEXT, merge=DECIDED, check=NAME),
        Column("subcategory", Type.TEXT, merge=DECIDED, check=NAME),
        Column("ingredients", Type.JSON, merge=DECIDED),
        Column("nutritional_info", Type.JSON, merge=DECIDED),
        Column("allergens", Type.LIST, of=Type.TEXT, merge=DECIDED, check=LIST),
        Column("price_per_unit", Type.DECIMAL, merge=DECIDED, check=COUNT),
        Column("unit_type", Type.TEXT, merge=DECIDED, check=NAME),
        Column("market_share", Type.DECIMAL, merge=DECIDED, check=SHARE),
        Column("fda_approved", Type.BOOLEAN, merge=DECIDED),
        Column("health_claims", Type.LIST, of=Type.TEXT, merge=DECIDED, check=LIST),
        Column("regulatory_issues", Type.JSON, merge=DECIDED),
        Column("competitor_products", Type.SET, of=Type.ID, merge=DECIDED, check=LIST, references="food_products.id"),
        Column("substitutes", Type.SET, of=Type.ID, merge=DECIDED, check=LIST, references="food_products.id"),
        Column("demand_trend", Type.ENUM, values=names.TRENDS, merge=DECIDED),
        *home_columns(),
    ),
    indexes=(Index(("company_id",)), Index(("category",))),
    writers=ANYONE,
    shared=True,
    access=READ_ALL,
    home="home",
    places=Places(
        relational=Relational(hash=("id",), partitions=16),
        nodes=(Node("Product", ("name", "category")),),
        edges=(Edge("SUBSTITUTES", "id", "substitutes", "Product", "Product"),),
        search=Search(analyzers=(("name", ENGLISH),)),
    ),
    doc="What the companies make, each once in its book.",
)  # fmt: skip

INTERACTIONS_TABLE: Final = Table(
    names.INTERACTIONS,
    key=("persona_id", "agent_id", "time"),
    columns=(
        Column("persona_id", Type.ID, nullable=False, references="personas.id"),
        Column("agent_id", Type.AGENT, nullable=False),
        Column("time", Type.TIMESTAMP, nullable=False),
        Column("success", Type.BOOLEAN),
        Column("channel", Type.TEXT, check=NAME),
    ),
    indexes=(Index(("agent_id", "time")),),
    shared=True,
    access=READ_ALL,
    places=Places(relational=Relational(hash=("persona_id",), partitions=16)),
    doc="When which agent had to do with whom, and whether it went well.",
)

CONTRIBUTORS_TABLE: Final = Table(
    names.CONTRIBUTORS,
    key=("admitted_by", "agent_id"),
    columns=(
        Column("admitted_by", Type.AGENT, nullable=False),
        Column("agent_id", Type.AGENT, nullable=False),
        Column("book", Type.LOG, nullable=False, doc="the log that said so, which is the book's home"),
        Column("admitted_at", Type.TIMESTAMP),
    ),
    indexes=(Index(("book", "agent_id")),),
    shared=True,
    access=READ_ALL,
    places=Places(relational=Relational(hash=("admitted_by",), partitions=16)),
    doc="Who may ask which book to take what they know.",
)
