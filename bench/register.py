"""P3: agents registered at a region: inception and certificate verified, two signatures each, recorded, on disk.

Beside it, in turns: `pynacl` that verifies as many signatures over messages of the same length, on two processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter

from antiphon.engines.keyfiles import Unlock
from antiphon.identity.keystore import wrap_public
from antiphon.identity.signing import SigningKey
from antiphon.identity.statements import AgentInception, InstanceCertificate
from antiphon.region import Region
from bench.figures import Figure, Size, alternate, figure
from bench.places import scratch

AGENTS, BATCH = 2_000, 500


def verify(signed: list[tuple[bytes, bytes, bytes]]) -> int:
    """Verifies (key, message, signature); how many. In a process of its own."""
    from nacl.bindings import crypto_sign_open

    return sum(len(crypto_sign_open(signature + message, key)) > 0 for key, message, signature in signed)


def run(size: Size) -> Iterator[Figure]:
    """All figures of P3."""
    with scratch() as folder, ProcessPoolExecutor(2) as pool:
        yield from _run(folder, size, pool)


def _run(folder: Path, size: Size, pool: ProcessPoolExecutor) -> Iterator[Figure]:
    agents = size.of(AGENTS, least=20)
    unlock = Unlock(key=bytes(32))
    with Region.create(folder / "region", domains=(), unlock=unlock, log_files=4, row_files=1) as region:
        made = region.add_principal()
        home = region.file_of(made.log)
        enrol = home.signer(home.head(made.log))

        def claims() -> list[tuple[bytes, bytes]]:
            found = []
            for _ in range(agents):
                instance = SigningKey(os.urandom(32))
                begun = AgentInception(made.id, enrol.public, instance.public, os.urandom(16)).statement()
                begun = begun.signed_by(enrol, instance)
                wrap = wrap_public(os.urandom(32))
                said = InstanceCertificate(begun.id, instance.public, wrap, b"", 0, b"", enrol.public).statement()
                found.append((begun.encode(), said.signed_by(enrol, instance).encode()))
            return found

        key = SigningKey(os.urandom(32))
        message = os.urandom(250)
        signature = key.sign(message)
        loops = [[(key.public, message, signature)] * (2 * agents)] * 2

        def ours() -> float:
            waiting = claims()
            begin = perf_counter()
            for at in range(0, agents, BATCH):
                region.register(made.log, waiting[at : at + BATCH])
            return agents / (perf_counter() - begin)

        def theirs() -> float:
            begin = perf_counter()
            assert sum(pool.map(verify, loops)) == 4 * agents
            return agents / (perf_counter() - begin)

        found = alternate({"ours": ours, "theirs": theirs}, size.rounds)
        yield figure(
            "agents registered, four signatures each, batches of 500", "/s", found["ours"], found["theirs"],
            target="≥ 5,000/s and ≥ 0.6×", value_min=5_000, ratio_min=0.6,
        )  # fmt: skip
