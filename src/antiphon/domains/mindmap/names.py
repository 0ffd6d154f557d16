"""Room `domains` (imports nothing of ours): what mind maps call their tables and kinds of event, and their limits."""

from __future__ import annotations

from typing import Final

NODES: Final = "nodes"
EDGES: Final = "edges"
LINKS: Final = "node_links"
EMBEDDINGS: Final = "node_embeddings"
STREAMS: Final = "consciousness_streams"
ARCHIVE: Final = "consciousness_archive"
HOURLY: Final = "consciousness_node_hourly"
CONSENSUS: Final = "consensus_nodes"
CONTRIBUTIONS: Final = "consensus_contributions"

GROWN: Final = "node.grown"
CHANGED: Final = "node.changed"
REMOVED: Final = "node.removed"
EMBEDDED: Final = "node.embedded"
STREAMED: Final = "node.streamed"
DRAWN: Final = "edge.drawn"
ERASED: Final = "edge.erased"
FOUNDED: Final = "consensus.founded"
CONTRIBUTED: Final = "consensus.contributed"
LEFT: Final = "consensus.left"
CALCULATE: Final = "consensus.calculate"
CALCULATED: Final = "consensus.calculated"

VECTOR_SIZE: Final = 384
ATP: Final = 1.0
NETWORK: Final = "default"
RELATIONSHIP: Final = "child"
ATP_MAX: Final = 1_000
"""What a node's energy is at most; it is kept in thousandths."""
WEIGHT_MAX: Final = 1_000_000
KEY_CHARS_MAX: Final = 255
WORD_CHARS_MAX: Final = 50
LABEL_CHARS_MAX: Final = 4_096

POINTS_MAX: Final = 1_000
"""Points of one freeze."""
THAWED_POINTS_MAX: Final = 100
"""The newest points that come back with a node."""
MINDS_MIN: Final = 3
"""Minds that it takes to agree."""
THRESHOLD: Final = 700_000
"""From which similarity on two nodes resonate, in millionths."""
MEMBERS_MAX: Final = 1_000
"""Contributions that are looked at for one agreement."""

TREE_DEPTH_MAX: Final = 5
"""How far a tree of agreements reaches from its roots."""
TREE_PATHS_MAX: Final = 10_000
"""Paths of one answer: there can be very many more than nodes."""
TREE_LINKS_MAX: Final = 100_000
"""Nodes and edges that are read for one tree."""
SIMILAR_MAX: Final = 20
"""Nodes of one answer about what is similar."""
HOURS_MAX: Final = 24 * 31
EVOLUTION_BUCKETS_MAX: Final = 100_000
"""Hours of nodes that are read for one answer about how energy evolved."""
HISTORY_DAYS_MAX: Final = 92
HISTORY_POINTS_MAX: Final = 100_000
"""Points that are read for one answer about the histories of agreements."""
