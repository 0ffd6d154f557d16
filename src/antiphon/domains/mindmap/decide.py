"""Room `domains` (imports `views` and below): how a home answers what is asked about its agreements. Pure but for
reading.

An agreement is calculated from the whole set of contributions, never from the last score: so it is the same in
whatever order they came, and who leaves is out of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from antiphon.domains.mindmap import bodies, names
from antiphon.domains.mindmap.formulas import Member, agreed, whole
from antiphon.model.event import Event
from antiphon.model.text import entity_text
from antiphon.views.domain import Decision, Rows


def calculate(rows: Rows, event: Event, body: bodies.Calculate) -> Decision:
    """What the contributions add up to now."""
    consensus = None if event.entity is None else rows.row(names.CONSENSUS, event.entity)
    if consensus is None:
        said = "nothing" if event.entity is None else entity_text(event.entity)
        return Decision(refused=f"{event.kind}: there is no agreement {said} here")
    if consensus["home"] != body.home:
        return Decision(refused=f"{event.kind}: the agreement {entity_text(consensus['id'])} names another home")
    found = agreed(_of_one_model(list(_members(rows, consensus["id"]))))
    label, metadata = found.label, found.metadata
    if not found.resonance:  # too few agree: what its founder called it stays
        label, metadata = consensus["consensus_label"], consensus["consensus_metadata"]
    return Decision(names.CALCULATED, bodies.Calculated(found.resonance, label, metadata), derived=True)


def _members(rows: Rows, consensus: bytes) -> Iterator[tuple[str, Member]]:
    """(model, member) of every contribution that has a vector of its owner's."""
    said = sorted(rows.select(names.CONTRIBUTIONS, consensus_id=consensus), key=lambda row: row["user_id"])
    for vote in said[: names.MEMBERS_MAX]:
        node = rows.row(names.NODES, vote["node_id"])
        if node is None or node["user_id"] != vote["user_id"]:
            continue
        for row in rows.select(names.EMBEDDINGS, node_id=node["id"]):
            vector = whole(row["embedding"]) if row["user_id"] == node["user_id"] else None
            if vector is not None:
                metadata: Mapping[str, Any] | None = node["metadata"]
                yield row["model_version"], Member(node["user_id"], vector, node["label"], metadata)


def _of_one_model(members: list[tuple[str, Member]]) -> list[Member]:
    """The members of the model that most of them have: vectors of two models say nothing about each other."""
    by_model: dict[str, list[Member]] = {}
    for model, member in members:
        by_model.setdefault(model, []).append(member)
    return by_model[min(by_model, key=lambda model: (-len(by_model[model]), model))] if by_model else []
