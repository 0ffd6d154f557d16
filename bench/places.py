"""Where a benchmark works: a folder of its own, removed afterwards, and the domains that it declares."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from antiphon.model.table import Column, Index, Table, Type
from antiphon.views.domain import AssertRow, Domain, Kind


class Noted(msgspec.Struct):
    """A body like most: some text, a word to group by, a number."""

    text: str
    topic: str
    weight: float


def _domain(name: str, *, indexes: tuple[Index, ...], folded: bool) -> Domain:
    kind = Kind(f"{name}.noted", Noted)
    if not folded:
        return Domain(name, kinds=(kind,))
    table = Table(
        f"{name}_notes",
        key="id",
        columns=(
            Column("id", Type.ID, nullable=False),
            Column("timestamp", Type.TIMESTAMP, nullable=False),
            Column("text", Type.TEXT),
            Column("topic", Type.TEXT),
            Column("weight", Type.REAL),
        ),
        indexes=indexes,
        subject="text",
    )
    fold = AssertRow(table, timestamp="@time", text="text", topic="topic", weight="weight")
    return Domain(name, kinds=(kind,), tables=(table,), folds={kind.name: (fold,)})


PLAIN = _domain("plain", indexes=(), folded=True)
"""One view with its key index."""
INDEXED = _domain("indexed", indexes=(Index(("timestamp",)), Index(("topic",)), Index(("weight",))), folded=True)
"""The same with three more indexes."""
UNFOLDED = _domain("unfolded", indexes=(), folded=False)
"""No view: the log and the feed alone."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk that `TMPDIR` names, with the state folder in it too. Gone afterwards."""
    before = os.environ.get("ANTIPHON_STATE")
    with tempfile.TemporaryDirectory(prefix="antiphon-bench-", ignore_cleanup_errors=True) as name:
        os.environ["ANTIPHON_STATE"] = str(Path(name) / "state")
        try:
            yield Path(name)
        finally:
            if before is None:
                del os.environ["ANTIPHON_STATE"]
            else:
                os.environ["ANTIPHON_STATE"] = before
