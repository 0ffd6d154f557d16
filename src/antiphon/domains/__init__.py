"""Room `domains` (imports `views` and below): the domains that every home has."""

from __future__ import annotations

from typing import Final

from antiphon.domains.items import ITEMS
from antiphon.domains.loops import LOOPS
from antiphon.domains.market import MARKET
from antiphon.domains.memory import MEMORY
from antiphon.domains.mindmap import MINDMAP
from antiphon.domains.network import NETWORK
from antiphon.domains.tasks import TASKS
from antiphon.domains.wisdom import WISDOM
from antiphon.views.domain import Domain

BUILT_IN: Final[tuple[Domain, ...]] = (MEMORY, ITEMS, NETWORK, TASKS, WISDOM, MARKET, MINDMAP, LOOPS)
"""The domains that every home knows."""
