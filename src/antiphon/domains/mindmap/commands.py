"""Room `domains` (imports `views` and below): the commands of mind maps: growing one's own, and agreeing with others.

Nodes, edges and agreements are named by their ids as text. A map is for everybody, or for one circle. What minds agree
on is asked of the agreement's home: where that is in the same file, it has answered when the command returns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.domains.mindmap import bodies, checks, names, queries
from antiphon.domains.mindmap.formulas import MILLION
from antiphon.model import times
from antiphon.model.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from antiphon.model.event import Scope
from antiphon.model.text import entity_text, parse_entity, parse_id
from antiphon.model.times import Time
from antiphon.views.commands import Answer, Receipt, Recorder

Row = Mapping[str, Any]


class MindRecorder(Recorder, Protocol):
    """Whoever records for a mind, and reads tables with vectors too: an `Agent`."""

    def table(self, name: str) -> queries.VectorRows:
        """The rows of one declared table."""
        ...


class Thawed(msgspec.Struct, frozen=True):
    """A node as it comes back into a living map: its row, the edges from it, its vector, its newest points."""

    node: Row
    edges: list[Row]
    embedding: list[float] | None
    points: list[Row]


class MindMap:
    """One mind's map, and what it agrees on with others. With a `circle`, what is recorded is for that circle alone."""

    def __init__(self, recorder: MindRecorder, *, circle: bytes | None = None) -> None:
        self._recorder, self._circle = recorder, circle

    @property
    def me(self) -> bytes:
        """The agent's id."""
        return parse_id(self._recorder.id)

    # -- one's own map -----------------------------------------------------------------------------------------------

    def grow(
        self,
        node_key: str,
        *,
        label: str | None = None,
        type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        atp: float = names.ATP,
        network: str = names.NETWORK,
    ) -> Receipt:
        """A new node. Raises Conflict where the map has one of this key."""
        checks.key("nodes.node_key", node_key)
        if self.find(node_key) is not None:
            raise Conflict(f"nodes.node_key: the map has a node {node_key!r} already: change that one")
        body = bodies.Grown(
            node_key, checks.label("nodes.label", label), checks.word("nodes.type", type),
            checks.plain("nodes.metadata", metadata), checks.energy(atp, network),
        )  # fmt: skip
        return self._record(names.GROWN, body)

    def change(
        self,
        node: str,
        *,
        label: str | UnsetType | None = UNSET,
        type: str | UnsetType | None = UNSET,
        metadata: Mapping[str, Any] | UnsetType | None = UNSET,
        atp: float | UnsetType = UNSET,
        network: str | UnsetType = UNSET,
    ) -> Receipt:
        """New values for a node of the map."""
        now, body = self._own(node)["energy"], bodies.Changed()
        if label is not UNSET:
            body.label = checks.label("nodes.label", label)
        if type is not UNSET:
            body.type = checks.word("nodes.type", type)
        if metadata is not UNSET:
            body.metadata = checks.plain("nodes.metadata", metadata)
        if atp is not UNSET or network is not UNSET:
            body.energy = checks.energy(
                now["ATP"] if atp is UNSET else atp, now["network"] if network is UNSET else network
            )
        if body == bodies.Changed():
            raise InvalidInput("nodes: nothing to change; choose label, type, metadata, atp or network")
        return self._record(names.CHANGED, body, node)

    def pulse(self, node: str, energy: float, *, attention: float | None = None) -> Receipt:
        """Adds to a node's energy (takes away below 0), and keeps how it is now as a point of its series."""
        if isinstance(energy, bool) or not isinstance(energy, int | float) or not math.isfinite(energy):
            raise InvalidInput(f"nodes.energy: a pulse is a number, not {energy!r:.60}")
        before = self._own(node)["energy"]["ATP"]
        after = round(before + energy, 3)
        if not 0 <= after <= names.ATP_MAX:
            raise InvalidInput(
                f"nodes.energy: a pulse of {energy:g} would bring the node from {before:g} to {after:g}: ATP is from 0 "
                f"to ATP_MAX ({names.ATP_MAX:,})"
            )
        point = {"time": self._recorder.clock.now_ms(), "atp_level": after, "attention_score": attention}
        checks.point(point)
        with self._recorder.together():
            self.change(node, atp=after)
            return self.stream(node, [point])

    def stream(self, node: str, points: Sequence[Mapping[str, Any]]) -> Receipt:
        """Keeps how a node of the map was over time, as a living map has gathered it since the last time.

        *Shapes*: each point has a `time`, and any of `atp_level`, `attention_score`, `resonance_vector`.
        """
        self._own(node)
        said: Any = points
        if not isinstance(said, Sequence) or isinstance(said, str | bytes):
            raise InvalidInput(f"consciousness_streams: points are a list of points, not {points!r:.60}")
        if not points or len(points) > names.POINTS_MAX:
            raise LimitExceeded(
                "POINTS_MAX", got=len(points), allowed=names.POINTS_MAX, what="the number of points (at least 1)"
            )
        made = [checks.point(point) for point in points]
        if len({point.time for point in made}) < len(made):
            raise InvalidInput("consciousness_streams.time: two points of one node have one time; keep the later one")
        return self._record(names.STREAMED, bodies.Streamed(made), node)

    def embed(self, node: str, vector: Sequence[float], model_version: str) -> Receipt:
        """Says what a node of the map means. *Shapes*: `vector` has VECTOR_SIZE numbers, of one model."""
        self._own(node)
        checks.key("node_embeddings.model_version", model_version, most=names.WORD_CHARS_MAX)
        return self._record(names.EMBEDDED, bodies.Embedded(checks.vector(vector), model_version), node)

    def remove(self, node: str) -> Receipt:
        """Takes a node out of the map, with its vector and all links of the agent's own from and to it."""
        key = self._own(node)["id"]
        edges = self._recorder.table(names.EDGES)
        found = [*edges.every({"from_node": key}), *edges.every({"to_node": key})]
        with self._recorder.together():
            for edge in found:
                if edge["user_id"] == self.me:
                    self._erase(edge)
            return self._record(names.REMOVED, bodies.Removed(), node)

    def link(
        self,
        from_node: str,
        to_node: str,
        *,
        relationship_type: str = names.RELATIONSHIP,
        weight: float = 1.0,
        metadata: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """A link from a node of the map to another, of this mind or of any."""
        source, target = self._own(from_node)["id"], self._there(names.NODES, to_node)["id"]
        if source == target:
            raise InvalidInput(f"edges.to_node: {to_node} is the node itself: link it to another")
        checks.key("edges.relationship_type", relationship_type, most=names.WORD_CHARS_MAX)
        body = bodies.Drawn(
            source, target, relationship_type, checks.number("edges.weight", weight, most=names.WEIGHT_MAX),
            checks.plain("edges.metadata", metadata),
        )  # fmt: skip
        return self._record(names.DRAWN, body)

    def unlink(self, edge: str) -> Receipt:
        """Takes a link of the agent's own back."""
        key = parse_entity(edge)
        found = [row for row in self._recorder.table(names.EDGES).every({"id": key}) if row["user_id"] == self.me]
        if not found:
            raise NotFound(f"edges.id: this agent has drawn no {edge} that is here")
        return self._erase(found[0])

    def _erase(self, edge: Row) -> Receipt:
        return self._record(names.ERASED, bodies.Erased(edge["from_node"]), entity_text(edge["id"]))

    # -- with others ---------------------------------------------------------------------------------------------------

    def found(self, node: str, *, node_key: str | None = None) -> Receipt:
        """An agreement to be, about a node of the map and under its key, that this agent's log decides.

        The node is the first that is contributed to it. Raises Conflict where this home has one of that key.
        """
        seed = self._own(node)
        name = seed["node_key"] if node_key is None else checks.key("consensus_nodes.node_key", node_key)
        body = bodies.Founded(name, seed["label"], seed["metadata"])
        with self._recorder.together():
            made = self._recorder.record(names.FOUNDED, body, scope=Scope.PUBLIC)
            self.contribute(made.entity or "", node)
        return made

    def contribute(self, consensus: str, node: str) -> Answer:
        """Says that a node of the map belongs to an agreement, in place of what the agent said before.

        Its label and its metadata can become those of the agreement, which everybody reads. The node needs a vector:
        without, it is counted among the contributors and says nothing. *Cost*: 0.3 ms for each contributor, at the
        agreement's home.
        """
        found, mine = self._there(names.CONSENSUS, consensus), self._own(node)
        if found["contributor_count"] >= names.MEMBERS_MAX and self.me not in (found["minds"] or ()):
            raise LimitExceeded(
                "MEMBERS_MAX", got=found["contributor_count"] + 1, allowed=names.MEMBERS_MAX,
                what=f"the number of contributors to {consensus}",
            )  # fmt: skip
        with self._recorder.together():
            body = bodies.Contributed(found["id"], mine["id"])
            self._recorder.record(names.CONTRIBUTED, body, scope=Scope.PUBLIC)
            return self._calculate(found)

    def leave(self, consensus: str) -> Answer:
        """Takes the agent's contribution back. Raises NotFound where it has made none."""
        found = self._there(names.CONSENSUS, consensus)
        if self._recorder.table(names.CONTRIBUTIONS).get(found["id"], self.me) is None:
            raise NotFound(f"consensus_contributions: this agent has contributed nothing to {consensus}")
        with self._recorder.together():
            self._recorder.record(names.LEFT, bodies.Left(found["id"]), scope=Scope.PUBLIC)
            return self._calculate(found)

    def calculate(self, consensus: str) -> Answer:
        """Asks the agreement's home to look again: nodes or vectors that were contributed may have changed."""
        return self._calculate(self._there(names.CONSENSUS, consensus))

    def _calculate(self, consensus: Row) -> Answer:
        entity = entity_text(consensus["id"])
        return self._recorder.request(names.CALCULATE, {}, home=consensus["home"], entity=entity)

    # -- reading -------------------------------------------------------------------------------------------------------

    def find(self, node_key: str, *, mind: str | None = None) -> Row | None:
        """The node of a key in this mind's map, or in another's; None when there is none."""
        whose = self.me if mind is None else parse_id(mind)
        found = self._recorder.table(names.NODES).select(user_id=whose, node_key=node_key, limit=1)
        return found[0] if found else None

    def nodes(self, *, mind: str | None = None, limit: int = 100) -> Sequence[Row]:
        """The nodes of a map, those changed last first."""
        whose = self.me if mind is None else parse_id(mind)
        table = self._recorder.table(names.NODES)
        return table.select(user_id=whose, order="updated_at", descending=True, limit=limit)

    def thaw(self, node_key: str, *, mind: str | None = None, points: int = names.THAWED_POINTS_MAX) -> Thawed:
        """A node with what a living map needs of it. Raises NotFound.

        What agents say of others' nodes is left out; `points` are at most THAWED_POINTS_MAX, the newest first.
        """
        checks.count("the number of points", points, least=0, most=names.THAWED_POINTS_MAX, limit="THAWED_POINTS_MAX")
        node = self.find(node_key, mind=mind)
        if node is None:
            raise NotFound(f"nodes.node_key: there is no {node_key!r} in this map here")
        own = {"user_id": node["user_id"]}
        edges = list(self._recorder.table(names.EDGES).every({"from_node": node["id"], **own}))
        vector = self._recorder.table(names.EMBEDDINGS).get(node["id"], node["user_id"])
        stream = self._recorder.table(names.STREAMS)
        newest = stream.page({"node_id": node["id"], **own}, order="time", descending=True, limit=points or 1).rows
        return Thawed(node, edges, None if vector is None else vector["embedding"], list(newest[:points]))

    def similar(
        self, node: str, *, above: float = names.THRESHOLD / MILLION, limit: int = names.SIMILAR_MAX
    ) -> list[queries.Similar]:
        """Other minds' nodes that mean nearly the same as one of this map or any."""
        return queries.similar_nodes(self._recorder, parse_entity(node), above=above, limit=limit)

    def tree(self, *, above: float = 0.8, depth: int = names.TREE_DEPTH_MAX) -> list[queries.Branch]:
        """What follows from the agreements of more than this resonance, along links, the most resonant first."""
        return queries.consensus_tree(self._recorder, above=above, depth=depth)

    def evolution(self, *, as_of: Time | None = None, hours: int = 24, minds: int = 4) -> list[queries.Hour]:
        """How active minds were in the last hours, by hour and key, where so many minds were."""
        return queries.hourly_evolution(self._recorder, as_of=self._at(as_of), hours=hours, minds=minds)

    def histories(self, *, as_of: Time | None = None, days: int = 7, points: int = 101) -> list[queries.History]:
        """The agreements about which there was much in the last days, with the points."""
        return queries.consensus_histories(self._recorder, as_of=self._at(as_of), days=days, points=points)

    def _at(self, as_of: Time | None) -> int:
        return self._recorder.clock.now_ms() if as_of is None else times.to_ms(as_of)

    def _record(self, kind: str, body: Any, entity: str | None = None) -> Receipt:
        scope = Scope.PUBLIC if self._circle is None else Scope.CIRCLE
        return self._recorder.record(kind, body, entity=entity, scope=scope, circle=self._circle)

    def _there(self, table: str, entity: str) -> Row:
        found = self._recorder.table(table).get(parse_entity(entity))
        if found is None:
            raise NotFound(f"{table}: there is no {entity} here, or not for this agent to see")
        return found

    def _own(self, node: str) -> Row:
        found = self._there(names.NODES, node)
        if found["user_id"] != self.me:
            raise InvalidInput(f"nodes: {node} is in another mind's map: only that mind may change it or speak for it")
        return found
