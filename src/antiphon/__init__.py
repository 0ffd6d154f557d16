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
    from antiphon.model.event import Scope
    from antiphon.model.table import (
        ANYONE,
        AUTHOR,
        PRINCIPAL,
        READ_ALL,
        READ_OWN,
        Check,
        Column,
        Derived,
        FullText,
        Index,
        Measure,
        Merge,
        Retention,
        Rollup,
        Table,
        Type,
        owners,
        parties,
        role,
    )
    from antiphon.replica.forget import Forgotten
    from antiphon.views.domain import AssertRow, DeleteRow, Domain, Kind, OnlyWith, UpdateRow

__version__ = "0.1.0"
_HOMES = {
    "ANYONE": "antiphon.model.table",
    "AUTHOR": "antiphon.model.table",
    "Agent": "antiphon.agent",
    "AntiphonError": "antiphon.model.errors",
    "AssertRow": "antiphon.views.domain",
    "Check": "antiphon.model.table",
    "Column": "antiphon.model.table",
    "Conflict": "antiphon.model.errors",
    "Corrupt": "antiphon.model.errors",
    "DeleteRow": "antiphon.views.domain",
    "Derived": "antiphon.model.table",
    "Domain": "antiphon.views.domain",
    "Fleet": "antiphon.fleet",
    "Forgotten": "antiphon.replica.forget",
    "FullText": "antiphon.model.table",
    "Index": "antiphon.model.table",
    "InvalidInput": "antiphon.model.errors",
    "Kind": "antiphon.views.domain",
    "LimitExceeded": "antiphon.model.errors",
    "Measure": "antiphon.model.table",
    "Memory": "antiphon.agent",
    "Merge": "antiphon.model.table",
    "NotFound": "antiphon.model.errors",
    "OnlyWith": "antiphon.views.domain",
    "PRINCIPAL": "antiphon.model.table",
    "ProtocolViolation": "antiphon.model.errors",
    "READ_ALL": "antiphon.model.table",
    "READ_OWN": "antiphon.model.table",
    "Recorded": "antiphon.agent",
    "Rejected": "antiphon.model.errors",
    "Retention": "antiphon.model.table",
    "Rollup": "antiphon.model.table",
    "Scope": "antiphon.model.event",
    "Table": "antiphon.model.table",
    "Type": "antiphon.model.table",
    "Unavailable": "antiphon.model.errors",
    "UpdateRow": "antiphon.views.domain",
    "Verdict": "antiphon.log.verify",
    "WrongKey": "antiphon.model.errors",
    "owners": "antiphon.model.table",
    "parties": "antiphon.model.table",
    "role": "antiphon.model.table",
    "verify_proof": "antiphon.log.proof:verify_event",
}
__all__ = [
    "ANYONE",
    "AUTHOR",
    "PRINCIPAL",
    "READ_ALL",
    "READ_OWN",
    "Agent",
    "AntiphonError",
    "AssertRow",
    "Check",
    "Column",
    "Conflict",
    "Corrupt",
    "DeleteRow",
    "Derived",
    "Domain",
    "Fleet",
    "Forgotten",
    "FullText",
    "Index",
    "InvalidInput",
    "Kind",
    "LimitExceeded",
    "Measure",
    "Memory",
    "Merge",
    "NotFound",
    "OnlyWith",
    "ProtocolViolation",
    "Recorded",
    "Rejected",
    "Retention",
    "Rollup",
    "Scope",
    "Table",
    "Type",
    "Unavailable",
    "UpdateRow",
    "Verdict",
    "WrongKey",
    "__version__",
    "owners",
    "parties",
    "role",
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
