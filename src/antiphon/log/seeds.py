"""Room `log` (imports `model`): blinds and salts from a shallow tree of seeds, and how seeds are destroyed.

Each aligned block of 1,024 leaves has one random seed. It expands to 32 child seeds, one for each aligned 32
leaves, and a child to 32 blinds and 32 salts:

    SHAKE-256("antiphon/seed/v1\\0" ‖ label ‖ log id 32 ‖ first seq u64be ‖ seed 32), label child / blind / salt

Forgetting a leaf destroys its ancestors' seeds and keeps what its siblings need, about 2 KB once a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import shake_256
from struct import Struct
from typing import Final

import msgspec

from antiphon.model.errors import Corrupt
from antiphon.model.limits import BLOCK_LEAVES, NODE_LEAVES

SEED_BYTES: Final = 32
VALUE_BYTES: Final = 16
_DOMAIN: Final = b"antiphon/seed/v1\0"
_SEQ: Final = Struct(">Q").pack
_NODES: Final = BLOCK_LEAVES // NODE_LEAVES

Leaves = list[bytes | None]
"""One 16-byte value a leaf; None where it was destroyed."""
Node = bytes | tuple[Leaves, Leaves] | None
"""A node of 32 leaves: its seed, or what is left of its (blinds, salts), or nothing at all."""


def _expand(label: bytes, log_id: bytes, first: int, seed: bytes, width: int) -> list[bytes]:
    count = NODE_LEAVES if label != b"child" else _NODES
    raw = shake_256(_DOMAIN + label + log_id + _SEQ(first) + seed).digest(count * width)
    return [raw[at : at + width] for at in range(0, count * width, width)]


class Seeds:
    """The seeds of one block: whole (one seed), or what forgetting has left of it."""

    __slots__ = ("_log_id", "_nodes", "_root", "_values", "first")

    def __init__(self, log_id: bytes, first: int, packed: bytes) -> None:
        if first % BLOCK_LEAVES:
            raise ValueError("a block starts at a multiple of BLOCK_LEAVES")
        self._log_id = log_id
        self.first = first
        self._root: bytes | None = None
        self._nodes: list[Node] | None = None
        self._values: dict[int, tuple[Leaves, Leaves]] = {}
        if len(packed) == SEED_BYTES:
            self._root = packed
        else:
            self._nodes = _unpack(packed)

    def packed(self) -> bytes:
        """The bytes to store: 32 for a whole seed, about 2 KB once something was forgotten."""
        if self._root is not None:
            return self._root
        return msgspec.msgpack.encode(self._nodes)

    def _node(self, at: int) -> Node:
        if self._nodes is None:
            if self._root is None:
                raise Corrupt("a block without seeds", first=self.first)
            self._nodes = list(_expand(b"child", self._log_id, self.first, self._root, SEED_BYTES))
        return self._nodes[at]

    def _pair(self, at: int) -> tuple[Leaves, Leaves]:
        pair = self._values.get(at)
        if pair is None:
            node = self._node(at)
            if isinstance(node, bytes):
                first = self.first + at * NODE_LEAVES
                pair = (
                    list(_expand(b"blind", self._log_id, first, node, VALUE_BYTES)),
                    list(_expand(b"salt", self._log_id, first, node, VALUE_BYTES)),
                )
            else:
                pair = ([None] * NODE_LEAVES, [None] * NODE_LEAVES) if node is None else node
            self._values[at] = pair
        return pair

    def of(self, seq: int) -> tuple[bytes | None, bytes | None]:
        """The blind and the salt of one leaf; None where forgetting destroyed it."""
        offset = seq - self.first
        blinds, salts = self._pair(offset // NODE_LEAVES)
        return blinds[offset % NODE_LEAVES], salts[offset % NODE_LEAVES]

    def span(self, first: int, count: int) -> tuple[list[bytes | None], list[bytes | None]]:
        """Blinds and salts of `count` leaves from `first`, all in this block."""
        start = first - self.first
        low, high = start // NODE_LEAVES, -(-(start + count) // NODE_LEAVES)
        blinds: list[bytes | None] = []
        salts: list[bytes | None] = []
        for at in range(low, high):
            pair = self._pair(at)
            blinds += pair[0]
            salts += pair[1]
        skip = start - low * NODE_LEAVES
        return blinds[skip : skip + count], salts[skip : skip + count]

    def destroy(self, seqs: Iterable[int]) -> None:
        """Forgets blind and salt of these leaves: their ancestors go, their siblings' values stay."""
        touched = False
        for seq in seqs:
            offset = seq - self.first
            at, leaf = divmod(offset, NODE_LEAVES)
            blinds, salts = self._pair(at)
            blinds[leaf] = None
            salts[leaf] = None
            self._node(at)
            assert self._nodes is not None
            self._nodes[at] = (blinds, salts)
            touched = True
        if touched:
            self._root = None

    def shared(self, count: int) -> bytes:
        """The bytes to hand to somebody else while the block has `count` leaves: nothing about later ones."""
        if count >= BLOCK_LEAVES:
            return self.packed()
        nodes: list[Node] = [self._node(at) for at in range(count // NODE_LEAVES)]
        rest = count % NODE_LEAVES
        if rest:
            blinds, salts = self._pair(count // NODE_LEAVES)
            none: Leaves = [None] * (NODE_LEAVES - rest)
            nodes.append((blinds[:rest] + none, salts[:rest] + none))
        return msgspec.msgpack.encode(nodes + [None] * (_NODES - len(nodes)))

    def joined(self, newer: Seeds, held: int) -> bytes:
        """The bytes to store when the block grows: of its first `held` leaves what we have, of the rest what is new."""
        if None not in newer.span(self.first, held)[0] and None not in self.span(self.first, held)[0]:
            return newer.packed()
        nodes: list[Node] = []
        for at in range(_NODES):
            here = held - at * NODE_LEAVES
            if here >= NODE_LEAVES:
                nodes.append(self._node(at))
            elif here <= 0:
                nodes.append(newer._node(at))
            else:
                ours, theirs = self._pair(at), newer._pair(at)
                nodes.append((ours[0][:here] + theirs[0][here:], ours[1][:here] + theirs[1][here:]))
        return msgspec.msgpack.encode(nodes)


def _unpack(packed: bytes) -> list[Node]:
    try:
        nodes = msgspec.msgpack.decode(packed, type=list[Node])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Corrupt(f"a block's seeds cannot be read: {error}") from None
    if len(nodes) != _NODES or not all(_is_sound(node) for node in nodes):
        raise Corrupt("a block's seeds have the wrong shape")
    return nodes


def _is_sound(node: Node) -> bool:
    """Widths matter: bytes that could move between salt and body would open one leaf in two ways."""
    if node is None or isinstance(node, bytes):
        return node is None or len(node) == SEED_BYTES
    return all(
        len(values) == NODE_LEAVES and all(value is None or len(value) == VALUE_BYTES for value in values)
        for values in node
    )
