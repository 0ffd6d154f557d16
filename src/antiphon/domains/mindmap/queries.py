"""Room `domains` (imports `views` and below): the designs' persistent queries, over whatever serves typed reads.

Each is a function of a `Reads`: the rows of tables by name, as `Agent.table` gives them from a file, and as any engine
with a `Source` can. They ask for nothing but equal values, ranges and orders that declared indexes have, and for
neighbours. What is counted is counted in integers, as of a time that is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol

import msgspec

from antiphon.domains.mindmap import checks, names
from antiphon.domains.mindmap.formulas import MILLION, decayed, most_said, spread
from antiphon.model import limits
from antiphon.model.errors import LimitExceeded, NotFound
from antiphon.model.places import DAY_MS, HOUR_MS
from antiphon.model.values import units
from antiphon.views.commands import Range, TableRows

Row = Mapping[str, Any]
_Step = tuple[int, str | None, tuple[str, ...]]


class NearRow(Protocol):
    """A row with a vector, and how far that is from the one asked for."""

    @property
    def row(self) -> Row: ...

    @property
    def distance(self) -> float: ...


class VectorRows(TableRows, Protocol):
    """Rows of a table that may have vectors."""

    def neighbours(
        self, column: str, vector: Sequence[float] | bytes, *, k: int = 10, metric: str | None = None, **equal: Any
    ) -> Sequence[NearRow]:
        """The k rows whose vectors are nearest, nearest first."""
        ...


class Reads(Protocol):
    """Typed reads of tables by name, as one agent may read them."""

    def table(self, name: str, /) -> VectorRows:
        """The rows of one declared table."""
        ...


class Branch(msgspec.Struct, frozen=True):
    """A node of a tree of agreements; `path` are the keys from its root to itself. *Units*: resonance in [0, 1]."""

    node_key: str
    label: str | None
    resonance_score: float
    depth: int
    path: tuple[str, ...]


class Hour(msgspec.Struct, frozen=True):
    """How active minds were about one key in one hour; the deviation is None of one point. *Units*: ms since 1970."""

    hour: int
    node_key: str
    avg_atp: float
    atp_deviation: float | None
    active_minds: int


class Similar(msgspec.Struct, frozen=True):
    """Another mind's node that means much the same. *Units*: similarity in [0, 1]."""

    node_id: bytes
    user_id: bytes
    node_key: str
    label: str | None
    metadata: Any
    similarity: float


class History(msgspec.Struct, frozen=True):
    """An agreement, and how active the nodes of its key were. *Shapes*: `points` are (ms since 1970, ATP), by time."""

    node_key: str
    resonance_score: float
    points: tuple[tuple[int, float], ...]


def consensus_tree(
    reads: Reads, *, above: float = 0.8, depth: int = names.TREE_DEPTH_MAX, limit: int = names.TREE_PATHS_MAX
) -> list[Branch]:
    """What follows from the agreements of more than this resonance along their minds' links, each path once.

    The most resonant first, then the nearest to its root. A link leads from any mind's node of a key to another node's
    key, never back into the path, and takes a tenth of the resonance. Raises LimitExceeded for more than `limit` paths,
    or over TREE_LINKS_MAX rows.
    """
    checks.number("consensus_nodes.resonance_score", above, most=1)
    checks.count("the depth of the tree", depth, least=0, most=names.TREE_DEPTH_MAX, limit="TREE_DEPTH_MAX")
    checks.count("the number of paths", limit, least=1, most=names.TREE_PATHS_MAX, limit="TREE_PATHS_MAX")
    walk = _Walk(reads)
    found: list[tuple[int, Branch]] = []
    edge: list[_Step] = [(score, label, (key,)) for key, (score, label) in _roots(reads, above).items()]
    for level in range(depth + 1):
        if len(found) + len(edge) > limit:
            _too_many("TREE_PATHS_MAX", len(found) + len(edge), limit, "the number of paths")
        found += [(score, Branch(path[-1], label, score / MILLION, level, path)) for score, label, path in edge]
        if level < depth:
            edge = list(_onward(walk, edge, limit - len(found)))
    return [branch for _, branch in sorted(found, key=lambda one: (-one[0], one[1].depth, one[1].path))]


def _onward(walk: _Walk, edge: Sequence[_Step], room: int) -> Iterator[_Step]:
    """One level further along every path; at most one more than there is room for."""
    count = 0
    for score, _, path in edge:
        for key, label in walk.following(path[-1]).items():
            if key not in path:
                yield decayed(score), label, (*path, key)
                count += 1
                if count > room:
                    return


def _roots(reads: Reads, above: float) -> dict[str, tuple[int, str | None]]:
    """The best agreement of each key: two homes may have made one of the same."""
    found: dict[str, tuple[int, str | None]] = {}
    within = Range("resonance_score", above=float(above))
    rows = reads.table(names.CONSENSUS).every(within=within, order="resonance_score", descending=True)
    for row in _counted(rows, "TREE_PATHS_MAX", names.TREE_PATHS_MAX, "the number of agreements"):
        said = round(row["resonance_score"] * MILLION), row["consensus_label"]
        known = found.setdefault(row["node_key"], said)
        if known[0] == said[0] and (said[1] or "") < (known[1] or ""):
            found[row["node_key"]] = said  # equally good: the first in the order of words, whatever was made first
    return found


class _Walk:
    """The links between keys, each key looked at once."""

    def __init__(self, reads: Reads) -> None:
        self._nodes, self._edges = reads.table(names.NODES), reads.table(names.EDGES)
        self._known: dict[str, dict[str, str | None]] = {}
        self._read = 0

    def following(self, key: str) -> dict[str, str | None]:
        """The keys to which nodes of this key are linked by their own minds, with what most call them."""
        if key not in self._known:
            labels: dict[str, dict[bytes, str | None]] = {}
            for node in self._count(self._nodes.every({"node_key": key})):
                for edge in self._count(self._edges.every({"from_node": node["id"], "user_id": node["user_id"]})):
                    target = self._nodes.get(edge["to_node"])
                    if target is not None and target["node_key"] != key:
                        labels.setdefault(target["node_key"], {})[target["id"]] = target["label"]
            self._known[key] = {name: most_said(list(said.values())) for name, said in sorted(labels.items())}
        return self._known[key]

    def _count(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self._read += 1
            if self._read > names.TREE_LINKS_MAX:
                _too_many("TREE_LINKS_MAX", self._read, names.TREE_LINKS_MAX, "the number of nodes and links")
            yield row


def hourly_evolution(reads: Reads, *, as_of: int, hours: int = 24, minds: int = names.MINDS_MIN + 1) -> list[Hour]:
    """How active minds were, by hour and key, the newest and most active first; of so many minds at least.

    The hours are whole ones, the last of them that of `as_of`. What an agent says of another's node does not count.
    *Units*: ms since 1970. Raises LimitExceeded over EVOLUTION_BUCKETS_MAX hours of nodes.
    """
    checks.count("the number of hours", hours, least=1, most=names.HOURS_MAX, limit="HOURS_MAX")
    checks.count("the number of minds", minds, least=1, most=limits.ITEMS_MAX, limit="ITEMS_MAX")
    last = as_of - as_of % HOUR_MS
    within = Range("hour", least=last - (hours - 1) * HOUR_MS, most=last)
    buckets = reads.table(names.HOURLY).every(within=within, order="hour")
    nodes, known = reads.table(names.NODES), dict[bytes, Row | None]()
    summed: dict[tuple[int, str], list[int]] = {}
    active: dict[tuple[int, str], set[bytes]] = {}
    for row in _counted(buckets, "EVOLUTION_BUCKETS_MAX", names.EVOLUTION_BUCKETS_MAX, "the number of hours of nodes"):
        if row["node_id"] not in known:
            known[row["node_id"]] = nodes.get(row["node_id"])
        node = known[row["node_id"]]
        if node is None or node["user_id"] != row["user_id"]:
            continue
        at = row["hour"], node["node_key"]
        active.setdefault(at, set()).add(node["user_id"])
        total = summed.setdefault(at, [0, 0, 0])
        total[0] += units(row["avg_atp_sum"], 3)
        total[1] += units(row["atp_squares"], 6)
        total[2] += row["avg_atp_count"]
    found = []
    for at, (total_atp, squares, count) in summed.items():
        if len(active[at]) >= minds and count:
            mean, deviation = spread(total_atp, squares, count)
            found.append((mean, Hour(*at, mean / MILLION, None if deviation is None else deviation / MILLION,
                                     len(active[at]))))  # fmt: skip
    return [hour for _, hour in sorted(found, key=lambda one: (-one[1].hour, -one[0], one[1].node_key))]


def similar_nodes(
    reads: Reads, node: bytes, *, above: float = names.THRESHOLD / MILLION, limit: int = names.SIMILAR_MAX
) -> list[Similar]:
    """Other minds' nodes that mean nearly the same as this one, by vectors of the same model, the most similar first.

    Raises NotFound where the node, or its vector, is not there; LimitExceeded where NEIGHBOURS_MAX vectors do not
    suffice to find so many.
    """
    checks.number("a similarity", above, most=1)
    checks.count("the number of nodes", limit, least=1, most=names.SIMILAR_MAX, limit="SIMILAR_MAX")
    nodes, vectors = reads.table(names.NODES), reads.table(names.EMBEDDINGS)
    mine = nodes.get(node)
    seed = None if mine is None else vectors.get(node, mine["user_id"])
    if mine is None or seed is None:
        raise NotFound("node_embeddings: there is no such node here, or its mind has not said what it means")
    count, found, rest = 2 * limit, list[Similar](), True
    while rest and len(found) < limit:
        if count > limits.NEIGHBOURS_MAX:
            _too_many("NEIGHBOURS_MAX", count, limits.NEIGHBOURS_MAX, "the number of vectors that are near")
        near = vectors.neighbours("embedding", seed["embedding"], k=count, model_version=seed["model_version"])
        found = []
        for one in near:
            if 1 - one.distance <= above:
                break
            other = nodes.get(one.row["node_id"])
            if other is not None and mine["user_id"] != other["user_id"] == one.row["user_id"]:
                found.append(
                    Similar(other["id"], other["user_id"], other["node_key"], other["label"], other["metadata"],
                            1 - one.distance)
                )  # fmt: skip
        rest = len(near) == count and 1 - near[-1].distance > above
        count = 4 * count if count == limits.NEIGHBOURS_MAX else min(4 * count, limits.NEIGHBOURS_MAX)
    return found[:limit]


def consensus_histories(reads: Reads, *, as_of: int, days: int = 7, points: int = 101) -> list[History]:
    """The agreements about whose keys there were so many points in the last days, with those points.

    The most resonant first. Those with `atp_level` alone count, and of a node those of its own mind. *Units*: ms since
    1970. Raises LimitExceeded over HISTORY_POINTS_MAX points.
    """
    checks.count("the number of days", days, least=1, most=names.HISTORY_DAYS_MAX, limit="HISTORY_DAYS_MAX")
    checks.count("the number of points", points, least=1, most=names.HISTORY_POINTS_MAX, limit="HISTORY_POINTS_MAX")
    nodes, streams, found, read = reads.table(names.NODES), reads.table(names.STREAMS), list[History](), 0
    within = Range("time", above=as_of - days * DAY_MS, most=as_of)
    for key, (score, _) in _roots(reads, 0).items():
        said: list[tuple[int, bytes, float]] = []
        for node in nodes.every({"node_key": key}):
            for row in streams.every({"node_id": node["id"]}, within=within, order="time"):
                read += 1
                if read > names.HISTORY_POINTS_MAX:
                    _too_many("HISTORY_POINTS_MAX", read, names.HISTORY_POINTS_MAX, "the number of points")
                if row["user_id"] == node["user_id"] and row["atp_level"] is not None:
                    said.append((row["time"], row["node_id"], float(row["atp_level"])))
        if len(said) >= points:
            found.append(History(key, score / MILLION, tuple((time, atp) for time, _, atp in sorted(said))))
    return sorted(found, key=lambda one: (-one.resonance_score, one.node_key))


def _counted(rows: Iterator[Row], limit: str, most: int, what: str) -> Iterator[Row]:
    for count, row in enumerate(rows, 1):
        if count > most:
            _too_many(limit, count, most, what)
        yield row


def _too_many(limit: str, got: int, allowed: int, what: str) -> NoReturn:
    raise LimitExceeded(limit, got=got, allowed=allowed, what=what)
