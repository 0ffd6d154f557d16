"""Room `world` (imports `model`): randomness, as a port and in its real form."""

from __future__ import annotations

import os
from hashlib import shake_256
from typing import Protocol


class Entropy(Protocol):
    """Where random bytes come from."""

    def bytes(self, count: int) -> bytes:
        """`count` bytes nobody can foresee."""
        ...


class SystemEntropy:
    """The operating system's generator."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


class SeededEntropy:
    """Bytes that follow from a seed: for simulations and test vectors, never for keys that matter."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._drawn = 0

    def bytes(self, count: int) -> bytes:
        self._drawn += 1
        return shake_256(b"%d/%d" % (self._seed, self._drawn)).digest(count)
