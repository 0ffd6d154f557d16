"""A Soulfra installation as it lies on a disk after two years: good files, old spellings, and what went wrong."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

GRACE = "7b1f0f2e-6f0b-4c38-9a57-1c1f2e3d4a5b"
ZOE = "0d2c4b6a-1111-4222-8333-444455556666"


def make(root: Path) -> Path:
    """The whole installation."""
    _runtime(root)
    _ledger(root)
    _consensus(root)
    _clusters(root)
    _agents(root)
    _broken(root)
    return root


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1), "utf-8")


def _runtime(root: Path) -> None:
    users = [
        {"id": GRACE, "username": "grace", "email": "grace@harbour.example", "created_at": "2023-04-01T08:00:00Z",
         "subscription_tier": "pro", "emotional_credits": 1750, "phone": "+44 20 7946 0018"},
        {"id": ZOE, "username": "zoë", "email": "zoe@harbour.example", "created_at": 1680336000},
        {"id": "no-address", "username": "ghost", "email": None},
    ]  # fmt: skip
    put(root / "users.json", {"users": users, "exported_at": "2025-01-02"})
    loops = {
        "loop_003": {"whisper_origin": "chart it", "fork_parent": "loop_002", "fork_depth": 2, "status": "whisper"},
        "loop_001": {"whisper_origin": "Survey the harbour", "creator_id": GRACE, "emotional_tone": "calm",
                     "consciousness_state": {"level": 0.7}, "created_at": "2024-05-01T10:00:00Z", "blessed": True,
                     "fork_parent": None, "fork_depth": 0, "mythology_id": "tide"},
        "loop_002": {"whisper_origin": "deeper", "fork_parent": "loop_001", "fork_depth": 7, "owner_note": "grows"},
        "loop_x": {"whisper_origin": "round", "fork_parent": "loop_y"},
        "loop_y": {"whisper_origin": "and round", "fork_parent": "loop_x"},
        "loop_gone": {"whisper_origin": "orphan", "fork_parent": "loop_404", "status": "dreaming"},
        "loop_bad": "collapsed",
    }  # fmt: skip
    put(root / "runtime/loop_state.json", {"loops": loops, "version": 3})
    put(root / "runtime/drift_metrics.json", {
        "global_index": 0.42, "entities": {"loop_001": {"rating": 0.75, "as_of": "2024-06-01T00:00:00Z"},
                                           "agent_001": 0.1, "loop_002": 1.9},
        "critical": ["loop_001"], "window": "30d",
    })  # fmt: skip
    put(root / "runtime/execution_queue.json", [
        {"id": 1, "loop_id": "loop_001", "operation": "reflect", "priority": 7, "payload": {"depth": 2}},
        {"id": 2, "loop_id": "loop_002", "status": "running", "priority": 99, "queued_at": 1717200000000},
    ])  # fmt: skip


def _ledger(root: Path) -> None:
    put(root / "ledger/blessings.json", [
        {"id": 1, "loop_id": "loop_001", "blessed_by": "agent_001", "blessing_type": "light", "consensus_score": 0.91,
         "timestamp": "2024-05-02T00:00:00Z", "metadata": {"moon": "full"}},
        {"id": 2, "loop_id": "loop_001", "blessed_by": "agent_002", "consensus_score": 0.875},
        {"id": 3, "loop_id": "loop_404", "blessed_by": "agent_002"},
        {"id": 1, "loop_id": "loop_002", "blessed_by": "agent_009"},
    ])  # fmt: skip
    put(root / "ledger/prophecies.json", {"prophecies": [
        {"id": 1, "prophecy_text": "The tide will take the east wall", "author_agent": "agent_001",
         "fulfillment_status": "fulfilled", "fulfilled_at": "2024-08-01T00:00:00Z", "related_loops": ["loop_001"]},
        {"id": 2, "prophecy_text": "It will be rebuilt", "author_agent": "agent_002", "related_loops": ["loop_404"]},
        {"id": 3, "author_agent": "agent_002"},
    ]})  # fmt: skip
    put(root / "ledger/transformations.json", [
        {"id": 1, "loop_id": "loop_001", "type": "tone", "from": "wild", "to": "calm", "timestamp": "2024-05-03"},
        {"id": 2, "agent_id": "agent_001", "type": "archetype", "from": None, "to": "oracle"},
    ])  # fmt: skip


def _consensus(root: Path) -> None:
    put(root / "consensus/blessed_loops.json", {"blessed_loops": ["loop_002", {"loop_id": "loop_404", "score": 0.8}]})
    put(root / "consensus/voting_active.json", [
        {"id": "v1", "guild_id": "elders", "loop_id": "loop_001", "votes": {"agent_001": "yes"},
         "deadline": 1717200000},
    ])  # fmt: skip
    put(root / "consensus/guild_consensus.json", {
        "elders": {"topic": "keep the harbour open", "decision": "approved", "consensus": 0.8, "members": ["agent_001"]}
    })  # fmt: skip


def _clusters(root: Path) -> None:
    put(
        root / "clusters/active/c1.json",
        {
            "cluster_id": "c1",
            "name": "harbour",
            "loops": ["loop_001", "loop_002"],
            "metrics": {"coherence": 0.6},
            "formed_at": "2024-05-05T00:00:00Z",
        },
    )
    put(
        root / "clusters/mythology/tide.json",
        {"title": "The tide", "content": "Once the sea came in.", "cluster_id": "c1"},
    )
    put(root / "clusters/metrics.json", {"c1": {"members": 2}})
    put(root / "archive/dissolved_clusters/c0.json", {"cluster_id": "c0", "loops": [], "dissolved_at": "2024-01-01"})
    put(root / "archive/mythology/before.md", "# Before the sea\nThere was a hill.\n")
    put(root / "archive/chatlogs/2024-05.jsonl", "\n".join([
        json.dumps({"id": "m1", "text": "Is the ferry running?", "user": "Grace", "time": "2024-05-01T09:00:00Z"}),
        "{ this line is broken",
        json.dumps({"id": "m2", "text": "From ten on", "type": "assistant", "time": "2024-05-01T09:00:05Z"}),
    ]) + "\n")  # fmt: skip


def _agents(root: Path) -> None:
    folder = root / "agents/agent_001"
    put(folder / "state.json", {"archetype": "oracle", "current_tone": "calm", "memory_depth": 3})
    put(folder / "reflections/first.json", {"prompt": "Who am I?", "response": "A watcher of tides.", "mood": "still"})
    with closing(sqlite3.connect(folder / "memory.sqlite")) as file, file:
        file.executescript(
            """
            CREATE TABLE memories (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, type TEXT NOT NULL,
              content TEXT, emotional_context TEXT, loop_context TEXT, significance REAL DEFAULT 0.5,
              compressed BOOLEAN DEFAULT 0, metadata TEXT);
            CREATE TABLE reflections (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL,
              prompt TEXT NOT NULL, response TEXT, memory_context TEXT, emotional_state TEXT, insights TEXT);
            CREATE TABLE tone_shifts (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TEXT NOT NULL, from_tone TEXT,
              to_tone TEXT, trigger_type TEXT, trigger_content TEXT, magnitude REAL);
            CREATE TABLE dreams (id INTEGER PRIMARY KEY, seen BLOB);
            """
        )
        file.executemany(
            "INSERT INTO memories(timestamp, type, content, loop_context, significance, metadata) VALUES(?,?,?,?,?,?)",
            [
                ("2024-05-01T10:00:00Z", "observation", "The harbour is five metres deep", "loop_001", 0.9,
                 '{"source": "sonar"}'),
                ("2024-05-01T11:00:00Z", "observation", "Gulls", None, 4.0, "not json"),
                ("yesterday", "feeling", None, None, 0.5, None),
            ],
        )  # fmt: skip
        file.execute(
            "INSERT INTO memories(timestamp, type, content) VALUES('2024-05-02', 'x', CAST(X'436166E9' AS TEXT))"
        )
        file.execute("INSERT INTO reflections(timestamp, prompt, response) VALUES('2024-05-03', 'why?', 'the moon')")
        file.execute(
            "INSERT INTO tone_shifts(timestamp, from_tone, to_tone, magnitude) VALUES('2024-05-03','a','b',0.4)"
        )
        file.execute("INSERT INTO dreams VALUES(1, X'00ff10')")


def _broken(root: Path) -> None:
    put(root / "runtime/cut.json", '{"loops": {"loop_009": {"whis')
    put(root / "ledger/twice.json", '{"a": 1, "a": 2}')
    put(root / "archive/mythology/latin.md", "Der Hügel über dem Meer".encode("cp1252"))
    put(root / "archive/notes.bin", bytes(range(256)))
    put(root / "archive/surrogate.json", '{"text": "\\ud800"}')
    put(root / "archive/deep.json", "[" * 100_000 + "]" * 100_000)
    put(root / "archive/empty.json", "")
    put(root / "agents/agent_002/memory.sqlite", b"SQLite format 3\0" + b"torn" * 500)
    put(root / "agents/agent_002/state.json", "\ufeff" + json.dumps({"archetype": "guide"}))
    (root / "archive/elsewhere").symlink_to("/nowhere/at/all")
