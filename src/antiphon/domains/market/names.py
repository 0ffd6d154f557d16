"""Room `domains` (imports nothing of ours): what the market calls its tables, stages, kinds of event, and limits."""

from __future__ import annotations

from typing import Final

PERSONAS: Final = "personas"
COMPANIES: Final = "food_companies"
PRODUCTS: Final = "food_products"
OPPORTUNITIES: Final = "opportunities"
FORECASTS: Final = "revenue_forecast"
ACTUALS: Final = "revenue_actuals"
VALUES: Final = "task_values"
GENERATED: Final = "generated_values"
INTERACTIONS: Final = "persona_interactions"
CONTRIBUTORS: Final = "market_contributors"
PUBLICATIONS: Final = "publications"
FEEDS: Final = "publication_feeds"
LINKS: Final = "crm_links"
DELIVERIES: Final = "crm_deliveries"
SYSTEMS: Final = "crm_systems"

OPEN: Final = ("prospecting", "qualification", "proposal", "negotiation")
WON: Final = "closed_won"
LOST: Final = "closed_lost"
STAGES: Final = (*OPEN, WON, LOST)
TRENDS: Final = ("growing", "stable", "declining")
PERIODS: Final = ("week", "month", "quarter", "year")

PERSONA_RECORDED: Final = "persona.recorded"
PERSONA_ENRICH: Final = "persona.enrich"
PERSONA_ENRICHED: Final = "persona.enriched"
PERSONA_REMOVED: Final = "persona.removed"
PERSONA_MET: Final = "persona.met"
COMPANY_PUT: Final = "company.put"
COMPANY_RECORDED: Final = "company.recorded"
PRODUCT_PUT: Final = "product.put"
PRODUCT_RECORDED: Final = "product.recorded"
CREATED: Final = "opportunity.created"
CHANGED: Final = "opportunity.changed"
RETIRED: Final = "opportunity.retired"
MOVE: Final = "opportunity.move"
MOVED: Final = "opportunity.moved"
ASSIGN: Final = "opportunity.assign"
ASSIGNED: Final = "opportunity.assigned"
FORECAST: Final = "forecast.made"
VALUED: Final = "task.valued"
UNVALUED: Final = "task.unvalued"
ADMITTED: Final = "market.admitted"
DISMISSED: Final = "market.dismissed"
PUBLISHED: Final = "publication.seen"
FEED_READ: Final = "feed.read"
LINKED: Final = "crm.linked"
DELIVERED: Final = "crm.delivered"
SENT: Final = "crm.sent"

FIELDS_MAX: Final = 64
"""Fields of one record."""
SIMULATED_DEALS_MAX: Final = 10_000
"""Open deals in one forecast."""
SIMULATION_RUNS: Final = 1_000
SHORT_TEXT_MAX: Final = 512
"""Characters of a name, an address, a word of a list."""
URL_CHARS_MAX: Final = 2_048
LONG_TEXT_MAX: Final = 16_384
"""Characters of a text such as next steps or a publication's summary."""
MENTIONS_MAX: Final = 64
"""Companies that one publication is said to mention."""
