"""Room `log` (imports `model`): the RFC 6962 Merkle tree: frontier, roots, inclusion and consistency proofs.

The frontier of a tree of n leaves holds one hash for each set bit of n: the complete subtrees from which
the root, and every later root, follows. Appending touches nothing else.
*Source*: RFC 6962 section 2.1; RFC 9162 section 2.1.3-2.1.4 for the verifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from antiphon.model.errors import ProtocolViolation

EMPTY_ROOT: Final = sha256(b"").digest()
HASH_BYTES: Final = 32


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an interior node."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The complete subtrees of a growing tree, by level (0 = a leaf)."""

    __slots__ = ("_levels", "size")

    def __init__(self, size: int = 0, packed: bytes = b"") -> None:
        self.size = size
        self._levels: list[bytes | None] = []
        at = 0
        for level in range(size.bit_length()):
            if size >> level & 1:
                self._levels.append(packed[at : at + HASH_BYTES])
                at += HASH_BYTES
            else:
                self._levels.append(None)
        if at != len(packed):
            raise ProtocolViolation("a frontier whose length does not fit its size")

    def packed(self) -> bytes:
        """The hashes from the smallest subtree up; with the size, all that `Frontier` needs."""
        return b"".join(node for node in self._levels if node is not None)

    def copy(self) -> Frontier:
        """An independent frontier at the same size."""
        twin = Frontier()
        twin.size = self.size
        twin._levels = self._levels.copy()
        return twin

    def extend(self, leaves: Sequence[bytes], *, keep_level: int) -> list[bytes]:
        """Appends leaf hashes; returns the hashes of the subtrees of 2^keep_level leaves that became complete.

        *Cost*: about one SHA-256 a leaf, level by level.
        """
        self.size += len(leaves)
        levels = self._levels
        nodes = list(leaves)
        kept: list[bytes] = []
        level = 0
        while nodes:
            if level == keep_level:
                kept = nodes.copy()
            if level == len(levels):
                levels.append(None)
            waiting = levels[level]
            if waiting is not None:
                nodes.insert(0, waiting)
            levels[level] = nodes.pop() if len(nodes) & 1 else None
            nodes = [sha256(b"\x01" + a + b).digest() for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
            level += 1
        return kept

    def root(self) -> bytes:
        """The root of the whole tree."""
        root: bytes | None = None
        for node in self._levels:
            if node is not None:
                root = node if root is None else node_hash(node, root)
        return EMPTY_ROOT if root is None else root


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes."""
    frontier = Frontier()
    frontier.extend(leaves, keep_level=-1)
    return frontier.root()


SubtreeRoot = Callable[[int, int], bytes]
"""(first leaf, one past the last) -> root of those leaves; the range is one RFC 6962 subtree."""


def split(n: int) -> int:
    """The largest power of two below n (n > 1)."""
    return 1 << (n - 1).bit_length() - 1


def inclusion_path(index: int, size: int, subtree: SubtreeRoot) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves, from the leaf up."""
    path: list[bytes] = []
    first, last = 0, size
    while last - first > 1:
        middle = first + split(last - first)
        if index < middle:
            path.append(subtree(middle, last))
            last = middle
        else:
            path.append(subtree(first, middle))
            first = middle
    path.reverse()
    return path


def root_from_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an audit path leads to. Raises ProtocolViolation when its length cannot be right."""
    if not 0 <= index < size:
        raise ProtocolViolation("an inclusion proof for a leaf outside its tree")
    node, fn, sn = leaf, index, size - 1
    for sibling in path:
        if sn == 0:
            raise ProtocolViolation("an inclusion proof that is too long")
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            node = node_hash(node, sibling)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise ProtocolViolation("an inclusion proof that is too short")
    return node


def consistency_path(old: int, new: int, subtree: SubtreeRoot) -> list[bytes]:
    """The proof that the tree of `old` leaves is a prefix of the tree of `new` leaves (0 < old <= new)."""
    if not 0 < old <= new:
        raise ProtocolViolation("a consistency proof needs 0 < old <= new")
    path: list[bytes] = []
    first, last, whole = 0, new, True
    while old != last:
        middle = first + split(last - first)
        if old <= middle:
            path.append(subtree(middle, last))
            last = middle
        else:
            path.append(subtree(first, middle))
            first = middle
            whole = False
    if not whole:
        path.append(subtree(first, last))
    path.reverse()
    return path


def check_consistency(*, old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path proves that the old tree is a prefix of the new one."""
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    if not 0 < old < new:
        return False
    nodes = list(path)
    if old & (old - 1) == 0:
        nodes.insert(0, old_root)
    if not nodes:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    fr = sr = nodes[0]
    for node in nodes[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr = node_hash(node, fr)
            sr = node_hash(node, sr)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            sr = node_hash(sr, node)
        fn >>= 1
        sn >>= 1
    return sn == 0 and fr == old_root and sr == new_root
