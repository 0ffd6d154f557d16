"""Room `domains` (imports `views` and below): a market: people and companies in it, products, deals, forecasts, news.

It plugs in by the same public way as anyone's domain: kinds, tables, folds and deciders in a `Domain`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from antiphon.domains.market.declare import MARKET

if TYPE_CHECKING:
    from antiphon.domains.market.commands import Market

__all__ = ["MARKET", "Market"]


def __getattr__(name: str) -> Any:
    """Loads the commands when they are first used: every home needs the declarations, few the commands."""
    if name != "Market":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from antiphon.domains.market.commands import Market

    return Market
