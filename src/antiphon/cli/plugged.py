"""Room `cli` (imports everything): domains of the user's own, named by `ANTIPHON_DOMAINS`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from antiphon.model import errors

if TYPE_CHECKING:
    from antiphon.views.domain import Domain


def own_domains() -> list[Domain]:
    """The domains that the variable names, as `module:NAME` joined by commas. Raises InvalidInput."""
    given = os.environ.get("ANTIPHON_DOMAINS", "")
    if not given.strip():
        return []
    from antiphon.views.domain import Domain

    if "" not in sys.path:
        sys.path.insert(0, "")  # a module beside where this is run, as with `python -m`
    found = []
    for named in filter(None, (one.strip() for one in given.split(","))):
        module, _, name = named.partition(":")
        if not (module and name):
            raise errors.InvalidInput(f"ANTIPHON_DOMAINS: {named} is not of the form module:NAME")
        try:
            domain = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise errors.InvalidInput(f"ANTIPHON_DOMAINS: {named} names nothing that is there: {error}") from None
        if not isinstance(domain, Domain):
            raise errors.InvalidInput(f"ANTIPHON_DOMAINS: {named} is no Domain")
        found.append(domain)
    return found
