"""Antiphon: an embedded, encrypted, provable database for every agent of a fleet."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.agent import Agent, Memory, Recorded
    from antiphon.fleet import Fleet
    from antiphon.log.proof import verify_event as verify_proof
    from antiphon.log.verify import Verdict
    from antiphon.model.errors import (
        AntiphonError,
        Conflict,
        Corrupt,
        InvalidInput,
        LimitExceeded,
        NotFound,
        ProtocolViolation,
        Rejected,
        Unavailable,
        WrongKey,
    )
    from antiphon.model.table import Column, FullText, Index, Table, Type
    from antiphon.replica.forget import Forgotten
    from antiphon.views.domain import AssertRow, Domain, Kind, UpdateRow

__version__ = "0.1.0"
_HOMES = {
    "Agent": "antiphon.agent",
    "AntiphonError": "antiphon.model.errors",
    "AssertRow": "antiphon.views.domain",
    "Column": "antiphon.model.table",
    "Conflict": "antiphon.model.errors",
    "Corrupt": "antiphon.model.errors",
    "Domain": "antiphon.views.domain",
    "Fleet": "antiphon.fleet",
    "Forgotten": "antiphon.replica.forget",
    "FullText": "antiphon.model.table",
    "Index": "antiphon.model.table",
    "InvalidInput": "antiphon.model.errors",
    "Kind": "antiphon.views.domain",
    "LimitExceeded": "antiphon.model.errors",
    "Memory": "antiphon.agent",
    "NotFound": "antiphon.model.errors",
    "ProtocolViolation": "antiphon.model.errors",
    "Recorded": "antiphon.agent",
    "Rejected": "antiphon.model.errors",
    "Table": "antiphon.model.table",
    "Type": "antiphon.model.table",
    "Unavailable": "antiphon.model.errors",
    "UpdateRow": "antiphon.views.domain",
    "Verdict": "antiphon.log.verify",
    "WrongKey": "antiphon.model.errors",
    "verify_proof": "antiphon.log.proof:verify_event",
}
__all__ = [
    "Agent",
    "AntiphonError",
    "AssertRow",
    "Column",
    "Conflict",
    "Corrupt",
    "Domain",
    "Fleet",
    "Forgotten",
    "FullText",
    "Index",
    "InvalidInput",
    "Kind",
    "LimitExceeded",
    "Memory",
    "NotFound",
    "ProtocolViolation",
    "Recorded",
    "Rejected",
    "Table",
    "Type",
    "Unavailable",
    "UpdateRow",
    "Verdict",
    "WrongKey",
    "__version__",
    "verify_proof",
]


def __getattr__(name: str) -> Any:
    """Loads public names when they are first used, so that `import antiphon` is fast."""
    place = _HOMES.get(name)
    if place is None:
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
    module, _, other = place.partition(":")
    value = getattr(importlib.import_module(module), other or name)
    globals()[name] = value
    return value
