"""Room `domains` (imports `views` and below): the kinds and folds of mind maps, as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import UNSET

from antiphon.domains.mindmap import bodies, decide, names, tables
from antiphon.model.errors import InvalidInput
from antiphon.model.event import Event
from antiphon.model.values import canonical
from antiphon.views.domain import AssertRow, DeleteRow, Domain, Fold, Kind, Op, Write, time_of, write

_ATP: Final = tables.STREAMS_TABLE.column("atp_level")


def plain_energy(energy: bodies.Energy) -> dict[str, Any]:
    """An energy as its column has it. Raises InvalidInput where it is out of its range."""
    if not 0 <= energy.ATP <= names.ATP_MAX:
        raise InvalidInput(f"nodes.energy: ATP is a number from 0 to ATP_MAX ({names.ATP_MAX:,}), not {energy.ATP!r}")
    if not energy.network or len(energy.network) > names.WORD_CHARS_MAX:
        raise InvalidInput(f"nodes.energy: network is a word of at most {names.WORD_CHARS_MAX} characters")
    return {"ATP": round(energy.ATP + 0.0, 3), "network": energy.network}


def _grown(event: Event, body: bodies.Grown) -> Iterable[Write]:
    if not body.node_key:
        raise InvalidInput("nodes.node_key: a node needs a key")
    values = {
        "id": event.entity, "user_id": event.author, "node_key": body.node_key, "label": body.label,
        "type": body.type, "metadata": body.metadata, "energy": plain_energy(body.energy),
        "created_at": time_of(event), "updated_at": time_of(event),
    }  # fmt: skip
    yield write(tables.NODES_TABLE, Op.ASSERT, values)


def _changed(event: Event, body: bodies.Changed) -> Iterable[Write]:
    if event.entity is None:
        return
    said = {name: getattr(body, name) for name in body.__struct_fields__}
    values = {name: value for name, value in said.items() if value is not UNSET}
    if isinstance(body.energy, bodies.Energy):
        values["energy"] = plain_energy(body.energy)
    yield Write(names.NODES, event.entity, Op.UPDATE, {**values, "updated_at": time_of(event)})


def _streamed(event: Event, body: bodies.Streamed) -> Iterable[Write]:
    """Each point in the series and in the archive."""
    for point in body.points:
        level = canonical(_ATP, point.atp_level)
        values = {
            "time": point.time, "node_id": event.entity, "user_id": event.author, "atp_level": level,
            "attention_score": point.attention_score, "resonance_vector": point.resonance_vector,
        }  # fmt: skip
        yield write(tables.ARCHIVE_TABLE, Op.ASSERT, values)
        square = None if level is None else level * level
        yield write(tables.STREAMS_TABLE, Op.ASSERT, {**values, "atp_square": square})


def _drawn(event: Event, body: bodies.Drawn) -> Iterable[Write]:
    """The edge, and the link that it is one of."""
    if body.from_node == body.to_node:
        raise InvalidInput("edges: a node is not linked to itself")
    values = {name: getattr(body, name) for name in body.__struct_fields__}
    made = {"id": event.entity, "user_id": event.author, "created_at": time_of(event), "drawn": 1}
    yield write(tables.EDGES_TABLE, Op.ASSERT, {**values, **made})
    yield write(tables.LINKS_TABLE, Op.ASSERT, {"from_node": body.from_node, "to_node": body.to_node})


def _founded(event: Event, body: bodies.Founded) -> Iterable[Write]:
    if not body.node_key:
        raise InvalidInput("consensus_nodes.node_key: an agreement needs a key")
    values = {
        "id": event.entity, "node_key": body.node_key, "consensus_label": body.label,
        "consensus_metadata": body.metadata, "created_by": event.author, "home": event.log,
    }  # fmt: skip
    yield write(tables.CONSENSUS_TABLE, Op.ASSERT, values)


def _calculated(event: Event, body: bodies.Calculated) -> Iterable[Write]:
    if event.entity is None:
        return
    values = {
        "consensus_label": body.label, "consensus_metadata": body.metadata,
        "resonance_score": body.resonance / 1_000_000, "last_calculated": time_of(event),
    }  # fmt: skip
    yield Write(names.CONSENSUS, event.entity, Op.UPDATE, values)


_OF_NODE: Final = {"node_id": "@entity", "user_id": "@author"}
_OF_EDGE: Final = {"from_node": "from_node", "user_id": "@author", "id": "@entity"}
_OF_VOICE: Final = {"consensus_id": "consensus", "user_id": "@author"}
_FOLDS: Final[dict[str, tuple[type[msgspec.Struct], tuple[Fold, ...]]]] = {
    names.GROWN: (bodies.Grown, (_grown,)),
    names.CHANGED: (bodies.Changed, (_changed,)),
    names.REMOVED: (bodies.Removed, (DeleteRow(tables.NODES_TABLE), DeleteRow(tables.EMBEDDINGS_TABLE, _OF_NODE))),
    names.EMBEDDED: (
        bodies.Embedded,
        (AssertRow(tables.EMBEDDINGS_TABLE, **_OF_NODE, embedding="vector", model_version="model_version",
                   updated_at="@time"),),
    ),
    names.STREAMED: (bodies.Streamed, (_streamed,)),
    names.DRAWN: (bodies.Drawn, (_drawn,)),
    names.ERASED: (bodies.Erased, (DeleteRow(tables.EDGES_TABLE, _OF_EDGE),)),
    names.FOUNDED: (bodies.Founded, (_founded,)),
    names.CONTRIBUTED: (
        bodies.Contributed,
        (AssertRow(tables.CONTRIBUTIONS_TABLE, **_OF_VOICE, node_id="node", timestamp="@time"),),
    ),
    names.LEFT: (bodies.Left, (DeleteRow(tables.CONTRIBUTIONS_TABLE, _OF_VOICE),)),
    names.CALCULATE: (bodies.Calculate, ()),
    names.CALCULATED: (bodies.Calculated, (_calculated,)),
}  # fmt: skip

MINDMAP: Final = Domain(
    "mindmap",
    kinds=tuple(Kind(name, body) for name, (body, _) in _FOLDS.items()),
    tables=(
        tables.NODES_TABLE, tables.EDGES_TABLE, tables.LINKS_TABLE, tables.EMBEDDINGS_TABLE, tables.STREAMS_TABLE,
        tables.ARCHIVE_TABLE, tables.CONTRIBUTIONS_TABLE, tables.CONSENSUS_TABLE,
    ),
    folds={name: folds for name, (_, folds) in _FOLDS.items()},
    deciders={names.CALCULATE: decide.calculate},
)  # fmt: skip
