"""Room `ops` (imports `engines` and below): an agent's loops as the folders of the designs: JSON files and SQLite.

`antiphon migrate-from` reads them again. Nothing in them is encrypted: they are the owner's alone (0600).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from antiphon.domains.loops import names
from antiphon.engines.sqlite.plain import PlainFile
from antiphon.model import times
from antiphon.model.errors import Conflict, InvalidInput, Unavailable
from antiphon.model.table import Table
from antiphon.model.text import parse_entity
from antiphon.ops.installation_map import OURS
from antiphon.ops.installation_read import ALSO_IN
from antiphon.query.shown import as_plain
from antiphon.views.commands import Recorder
from antiphon.views.domain import Registry

_MEMORY_SCHEMA: Final = """
CREATE TABLE memories (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, type TEXT NOT NULL, content TEXT,
  emotional_context TEXT, loop_context TEXT, significance REAL DEFAULT 0.5, compressed BOOLEAN DEFAULT 0,
  metadata TEXT);
CREATE TABLE reflections (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, prompt TEXT NOT NULL,
  response TEXT, memory_context TEXT, emotional_state TEXT, insights TEXT);
CREATE TABLE tone_shifts (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, from_tone TEXT, to_tone TEXT,
  trigger_type TEXT, trigger_content TEXT, magnitude REAL);
CREATE INDEX idx_memories_timestamp ON memories(timestamp);
CREATE INDEX idx_memories_type ON memories(type);
CREATE INDEX idx_memories_significance ON memories(significance) WHERE compressed = 0;
"""
_OF_MEMORY: Final = {
    "memories": ("timestamp", "type", "content", "emotional_context", "loop_context", "significance", "compressed",
                 "metadata"),
    "reflections": ("timestamp", "prompt", "response", "memory_context", "emotional_state", "insights"),
    "tone_shifts": ("timestamp", "from_tone", "to_tone", "trigger_type", "trigger_content", "magnitude"),
}  # fmt: skip
MEMORY_FILE: Final = "memory.sqlite"
CHATLOGS: Final = "archive.chatlogs"
_AGENTS: Final = "agents."
_FOLDER: Final = re.compile(r"[\w-][\w.-]{0,99}")
"""An old agent's name that may be a folder's."""
_OURS: Final = ("home", "created_by", "rated_by", "measured_by", "told_by", "formed_by", "blessed_in",
               "audience", "circle")  # fmt: skip
"""What means nothing to another platform."""


class Export:
    """An agent's rows on their way into a folder, which is made, and must be empty."""

    def __init__(self, recorder: Recorder, registry: Registry, agent: str, folder: Path) -> None:
        self._recorder, self._registry = recorder, registry
        self._agent, self._folder = agent, folder
        self.counts: dict[str, int] = {}
        """By file: how many records."""

    def write(self) -> dict[str, int]:
        """Writes all of it; by file, how many records. Raises Conflict where the folder holds something already."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if any(self._folder.iterdir()):
                raise Conflict(f"{self._folder} is not empty: name a new folder")
            self._loops()
            self._ledger()
            self._consensus()
            self._clusters()
            self._memory()
        except OSError as error:
            raise Unavailable(f"cannot write below {self._folder}: {error.strerror or error}") from None
        return self.counts

    # -- the folders -------------------------------------------------------------------------------------------------

    def _loops(self) -> None:
        users = list(self._rows(names.USERS))
        self._json("users.json", {"users": users}, len(users))
        loops = list(self._rows(names.LOOPS))
        for row in loops:
            row.pop("blessed_by", None)
        self._json("runtime/loop_state.json", {"loops": loops}, len(loops))
        runs = list(self._rows(names.QUEUE))
        self._json("runtime/execution_queue.json", {"queue": runs}, len(runs))
        by_time = sorted(self._rows("drift_ratings"), key=lambda row: str(row["as_of"]))
        ratings = {row["entity_id"]: row for row in by_time}  # of several that rate one thing the newest
        indexes = [row for row in self._rows("drift_index") if row["scope"] == "global"]
        metrics: dict[str, Any] = {"entities": ratings}
        if indexes:
            newest = max(indexes, key=lambda row: str(row["as_of"]))
            metrics["global"] = {"index": newest.pop("volatility"), **newest}
            del metrics["global"]["scope"]
        metrics["critical"] = [one for one, row in ratings.items() if row["level"] == "critical"]
        self._json("runtime/drift_metrics.json", metrics, len(ratings))

    def _ledger(self) -> None:
        prophecies = list(self._rows(names.PROPHECIES))
        for row in prophecies:
            row["author_agent"] = row.pop("former_author", None) or row["author_agent"]
        self._json("ledger/prophecies.json", {"prophecies": prophecies}, len(prophecies))
        blessings = list(self._rows(names.BLESSINGS))
        for row in blessings:
            row["blessed_by"] = row.pop("blessed_for", None) or row["blessed_by"]
        self._json("ledger/blessings.json", {"blessings": blessings}, len(blessings))
        changes = [{key: row[key] for key in row if key != "transformed_by"} for row in self._rows("transformations")]
        self._json("ledger/transformations.json", {"transformations": changes}, len(changes))

    def _consensus(self) -> None:
        blessed = [
            {"loop_id": row["loop_id"]} for row in self._rows(names.LOOPS) if row["blessed"]
        ]  # fmt: skip
        self._json("consensus/blessed_loops.json", {"blessed_loops": blessed}, len(blessed))
        asked = list(self._rows(names.CONSENSUS))
        for row in asked:
            row["guild_id"] = row.pop("former_guild", None) or row.get("guild_id")
            for name in ("votes_for", "votes_against", "voters"):
                row.pop(name, None)
        opened = [row for row in asked if row["status"] == "open"]
        closed = [row for row in asked if row["status"] != "open"]
        self._json("consensus/voting_active.json", {"votings": opened}, len(opened))
        self._json("consensus/guild_consensus.json", {"decisions": closed}, len(closed))

    def _clusters(self) -> None:
        metrics = {}
        active = set()
        for row in self._rows(names.CLUSTERS):
            metrics[row["cluster_id"]] = row.get("metrics")
            live = row["status"] == "active"
            active |= {row["cluster_id"]} if live else set()
            self._json(
                f"{'clusters/active' if live else 'archive/dissolved_clusters'}/{row['cluster_id']}.json", row, 1
            )
        self._json("clusters/metrics.json", metrics, len(metrics))
        for row in self._rows("mythologies"):
            place = "clusters/mythology" if row.get("cluster_id") in active else "archive/mythology"
            self._json(f"{place}/{row['mythology_id']}.json", row, 1)

    def _memory(self) -> None:
        """Memories by the old agent or the archive that they came from, the rest as this agent's."""
        places: dict[str, list[dict[str, Any]]] = {self._agent: []}
        talks = []
        for row in self._rows("memories"):
            namespace = row.get("namespace") or ""
            agent = namespace.removeprefix(_AGENTS)
            if namespace == CHATLOGS:
                talks.append(row)
            elif namespace.startswith(_AGENTS) and _FOLDER.fullmatch(agent):
                places.setdefault(agent, []).append(row)
            else:
                places[self._agent].append(row)
        for agent, rows in places.items():
            own = {table: list(self._rows(table)) if agent == self._agent else [] for table in _OF_MEMORY}
            self._sqlite(agent, {**own, "memories": [self._memorized(row) for row in rows]})
        lines = b"".join(msgspec.json.encode(self._talk(row)) + b"\n" for row in talks)
        self._private(self._folder / "archive/chatlogs/antiphon.jsonl", lines)
        self.counts["archive/chatlogs/antiphon.jsonl"] = len(talks)
        for number, row in enumerate(self._rows("reflections"), 1):
            place = f"agents/{self._agent}/reflections/{number:06}.json"
            self._json(place, {ALSO_IN: MEMORY_FILE, **row}, 1)
        known = [row for row in self._rows("agents") if row["id"] == self._recorder.id]
        state = known[0] if known else {"id": self._recorder.id, "name": self._agent}
        self._json(f"agents/{self._agent}/state.json", state, 1)

    def _sqlite(self, agent: str, rows: Mapping[str, list[dict[str, Any]]]) -> None:
        place = self._folder / "agents" / agent / MEMORY_FILE
        self._make_folder(place)
        file = PlainFile(place, schema=_MEMORY_SCHEMA)
        try:
            for table, columns in _OF_MEMORY.items():
                cells = ({name: row.get(name) for name in columns} for row in rows[table])
                name = f"agents/{agent}/{MEMORY_FILE} {table}"
                self.counts[name] = file.add(table, columns, cells, new=False)
        except BaseException:
            file.abandon()
            raise
        file.close()

    def _memorized(self, row: dict[str, Any]) -> dict[str, Any]:
        """A memory with what its file has no column for in its metadata."""
        said = ("namespace", "tags", "metadata", "expires_at")
        ours = {name: row[name] for name in said if row.get(name) is not None}
        ours.setdefault("namespace", "")
        if row.get("user") is not None:
            person = self._recorder.table("people").get(parse_entity(row["user"]))
            ours |= {} if person is None else {"user": person["label"]}
        return {**row, "metadata": {OURS: ours}}

    def _talk(self, row: dict[str, Any]) -> dict[str, Any]:
        """A message of a conversation, as `antiphon import` reads it."""
        said = self._memorized(row)
        user = said["metadata"][OURS].get("user")
        plain = {"id": row["id"], "text": row["content"], "type": row["type"], "time": row["timestamp"], "user": user,
                 "significance": row["significance"], "metadata": said["metadata"]}  # fmt: skip
        return {name: value for name, value in plain.items() if value is not None}

    # -- rows and files ------------------------------------------------------------------------------------------------

    def _rows(self, table: str) -> Iterator[dict[str, Any]]:
        declared = self._registry.table(table)
        for row in self._recorder.table(table).every({}):
            yield _plain(declared, row)

    def _json(self, name: str, value: Any, count: int) -> None:
        self._private(self._folder / name, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
        self.counts[name] = count

    def _private(self, place: Path, raw: bytes) -> None:
        """A new file that only its owner can read."""
        self._make_folder(place)
        with os.fdopen(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(raw)

    def _make_folder(self, place: Path) -> None:
        if self._folder not in place.resolve().parents and self._folder.resolve() not in place.resolve().parents:
            raise InvalidInput(f"{place} would be outside {self._folder}")
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)


def _plain(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON has it, without what is empty or ours alone. Numbers with decimals are numbers there."""
    shown = as_plain(table, dict(row))
    kept: Iterable[tuple[str, Any]] = ((name, value) for name, value in shown.items() if name not in _OURS)
    made = {name: value for name, value in kept if value is not None}
    for name, value in made.items():
        kind = table.column(name).type if name in table.by_name else ""
        made[name] = float(value) if kind == "decimal" else times.iso(value) if kind == "timestamp" else value
    return made
