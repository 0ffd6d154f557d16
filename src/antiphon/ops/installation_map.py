"""Room `ops` (imports `engines` and below): from an old installation's record to the event that makes its row here.

Pure but for looking up who is who. What fits no column is left over, to be kept beside the row: nothing is dropped.
"""

from __future__ import annotations

import contextlib
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from antiphon.domains.loops import names
from antiphon.model.text import entity_text
from antiphon.ops.installation_read import Thing
from antiphon.ops.installation_values import (
    NOBODY,
    TIME_MAX,
    Reader,
    Refs,
    Unfit,
    agent,
    agents,
    any_text,
    anything,
    boolean,
    decimal,
    integer,
    json_object,
    many_refs,
    moment,
    one_ref,
    real,
    share,
    states,
    text,
    word,
)

OURS: Final = "antiphon"
"""Where a memory's metadata, in a file that `migrate-to` wrote, says what the file has no column for."""


class Mapped(msgspec.Struct):
    """An event to be: its kind and body, when it happened, what was left over and why, and whom it is about."""

    kind: str
    body: dict[str, Any]
    occurred: int | None = None
    left: dict[str, Any] = {}
    unfit: dict[str, str] = {}
    """Of what was left over: why it does not fit the column that it has."""
    undated: str = ""
    """Why it is taken as of now, where no time of its own could be read."""
    about: list[str] = []
    entity: bytes | None = None
    private: bool = False


class Unmapped(Exception):
    """Why a record has no row here."""


def _entity(value: Any, refs: Refs) -> str:
    """The id as text of what it names here, else its old name."""
    found = word(100)(value, refs)
    entity = refs.entity("loop", found) or refs.entity("cluster", found)
    return found if entity is None else entity_text(entity)


class Spec(msgspec.Struct, frozen=True):
    """How one sort becomes events: columns, each with a reader and the names that the old one has for it.

    `brought` makes the row, `followed` changes it (None: what has changed is kept); `rows` wraps the columns as those
    of a `*.brought`. `always`: each new content is one more `brought`. `local`: ids count within their file alone.
    """

    brought: str
    columns: dict[str, tuple[Reader, tuple[str, ...]]]
    required: tuple[str, ...] = ()
    at: tuple[str, ...] = ("created_at", "timestamp", "time")
    followed: str | None = None
    rows: bool = True
    always: bool = False
    local: bool = False
    private: bool = False
    table: str = ""


_SORT_OF: Final = (states(loop="", agent="", guild="", cluster=""), ("entity_type",))
_LOOP: Final = (one_ref("loop"), ("loop_id", "loop"))
_RUNS: Final = states(queued="pending waiting", running="active started", done="complete completed finished success",
                       failed="error", cancelled="canceled")  # fmt: skip
_CONSENSUS: Final = {
    "former_guild": (word(100), ("guild_id", "guild")),
    "loop_id": _LOOP,
    "question": (text, ("question", "topic", "proposal", "subject", "title")),
    "status": (states(open="active voting pending", passed="approved accepted blessed consensus",
                       failed="rejected declined denied"), ("status", "decision", "outcome")),
    "consensus_score": (decimal(6, "1"), ("consensus_score", "consensus", "score")),
    "closes_at": (moment, ("closes_at", "deadline", "expires_at")),
    "closed_at": (moment, ("closed_at", "decided_at")),
}  # fmt: skip
_CLUSTER: Final = {
    "name": (word(100), ("name", "label", "cluster_id", "id")),
    "loops": (many_refs("loop"), ("loops", "loop_ids", "members")),
    "agents": (agents, ("agents",)),
    "metrics": (json_object, ("metrics", "stats")),
    "status": (states(active="live", dissolved="archived"), ("status", "state")),
    "dissolved_at": (moment, ("dissolved_at", "archived_at")),
}  # fmt: skip
SPECS: Final[dict[str, Spec]] = {
    "user": Spec(names.USER_BROUGHT, {
        "username": (word(255), ("username", "name")), "email": (word(255), ("email",)),
        "subscription_tier": (word(50), ("subscription_tier", "tier")),
        "emotional_credits": (integer(0, TIME_MAX), ("emotional_credits", "credits")),
        "agents": (agents, ("agents",)),
    }, ("username", "email"), followed=names.USER_FOLLOWED, table=names.USERS),
    "loop": Spec(names.LOOP_BROUGHT, {
        "creator_id": (one_ref("user"), ("creator_id", "user_id", "creator")),
        "whisper_origin": (text, ("whisper_origin", "whisper", "prompt")),
        "consciousness_state": (json_object, ("consciousness_state", "consciousness")),
        "emotional_tone": (word(50), ("emotional_tone", "tone", "current_tone")),
        "blessed": (boolean, ("blessed",)),
        "fork_parent": (one_ref("loop"), ("fork_parent", "parent", "parent_id", "forked_from")),
        "mythology_id": (one_ref("mythology"), ("mythology_id",)),
        "state": (states(whisper="whispered", loop="active running live", archive="archived closed complete"),
                  ("state", "status")),
        "began_at": (moment, ("began_at", "started_at")), "archived_at": (moment, ("archived_at", "closed_at")),
    }, followed=names.LOOP_FOLLOWED, table=names.LOOPS),
    "blessing": Spec(names.GRANTED, {
        "loop": _LOOP, "blessing_type": (word(50), ("blessing_type", "type")),
        "consensus_score": (decimal(2, "9.99"), ("consensus_score", "score")),
        "blessed_for": (word(100), ("blessed_by", "by", "agent_id")), "metadata": (json_object, ("metadata",)),
    }, ("loop",), ("timestamp", "granted_at", "created_at"), rows=False),
    "prophecy": Spec(names.PROPHECY_BROUGHT, {
        "prophecy_text": (text, ("prophecy_text", "text", "prophecy", "content")),
        "former_author": (word(100), ("author_agent", "author", "agent_id")),
        "fulfillment_status": (states(pending="open", fulfilled="true realized", failed="unfulfilled false expired"),
                               ("fulfillment_status", "status")),
        "fulfilled_at": (moment, ("fulfilled_at",)), "fulfilled_by": (one_ref("loop"), ("fulfilled_by",)),
        "related_loops": (many_refs("loop"), ("related_loops", "loops")),
    }, ("prophecy_text",), followed=names.PROPHECY_FOLLOWED, table=names.PROPHECIES),
    "voting": Spec(names.CONSENSUS_BROUGHT, _CONSENSUS, ("question",), ("opened_at", "created_at", "timestamp"),
                   names.CONSENSUS_FOLLOWED, table=names.CONSENSUS),
    "guild_decision": Spec(names.CONSENSUS_BROUGHT, _CONSENSUS, ("question",), ("opened_at", "created_at", "timestamp"),
                           names.CONSENSUS_FOLLOWED, table=names.CONSENSUS),
    "run": Spec(names.RUN_BROUGHT, {
        "loop_id": _LOOP, "operation": (word(100), ("operation", "action", "type", "task")),
        "priority": (integer(1, 10), ("priority",)), "payload": (json_object, ("payload", "params", "input")),
        "not_before": (moment, ("not_before", "scheduled_for")), "status": (_RUNS, ("status", "state")),
        "worker": (agent, ("worker",)),
        "attempts": (integer(0, 1 << 31), ("attempts", "retries")), "started_at": (moment, ("started_at",)),
        "finished_at": (moment, ("finished_at", "completed_at")), "result": (json_object, ("result",)),
        "error": (text, ("error",)),
    }, at=("queued_at", "created_at", "timestamp"), followed=names.RUN_FOLLOWED, table=names.QUEUE),
    "cluster": Spec(names.CLUSTER_BROUGHT, _CLUSTER, ("name",), ("formed_at", "created_at", "timestamp"),
                    names.CLUSTER_FOLLOWED, table=names.CLUSTERS),
    "mythology": Spec(names.TOLD, {
        "title": (word(256), ("title", "name")), "content": (text, ("content", "text", "story", "mythology")),
        "cluster_id": (one_ref("cluster"), ("cluster_id", "cluster")), "loop_id": _LOOP,
    }, ("title", "content"), followed=names.RETOLD, rows=False, table="mythologies"),
    "transformation": Spec(names.TRANSFORMED, {
        "entity_id": (_entity, ("entity_id", "loop_id", "agent_id", "target")), "entity_type": _SORT_OF,
        "transformation_type": (word(100), ("transformation_type", "transformation", "type", "kind")),
        "before": (anything, ("before", "from")), "after": (anything, ("after", "to")), "reason": (text, ("reason",)),
    }, ("entity_id", "transformation_type"), ("timestamp", "created_at", "time"), rows=False),
    "drift": Spec(names.RATED, {
        "entity_id": (_entity, ("entity_id",)), "entity_type": _SORT_OF,
        "rating": (decimal(6, "1"), ("rating", "drift", "score")),
        "level": (states(calm="stable low", unsteady="elevated medium", critical="high"), ("level", "status")),
    }, ("entity_id", "rating"), ("as_of", "timestamp", "updated_at"), rows=False, always=True),
    "drift_index": Spec(names.MEASURED, {
        "index": (decimal(6, "1"), ("index", "volatility", "value")), "metrics": (json_object, ("metrics",)),
        "entities": (integer(0, 1 << 31), ("entities",)), "critical": (integer(0, 1 << 31), ("critical",)),
    }, ("index",), ("as_of", "timestamp", "updated_at"), rows=False, always=True),
    "memory": Spec("memory.remembered", {
        "text": (any_text, ("content",)), "type": (any_text, ("type",)), "significance": (share, ("significance",)),
        "emotional_context": (any_text, ("emotional_context",)), "loop_context": (any_text, ("loop_context",)),
        "metadata": (json_object, ("metadata",)),
    }, ("text",), followed="memory.updated", rows=False, local=True, private=True, table="memories"),
    "message": Spec("memory.remembered", {
        "text": (any_text, ("text",)), "type": (any_text, ("type",)), "significance": (share, ("significance",)),
        "metadata": (json_object, ("metadata",)), "tags": (anything, ("tags",)),
    }, ("text",), ("occurred",), rows=False, local=True, private=True, table="memories"),
    "reflection": Spec("reflection.made", {
        "prompt": (any_text, ("prompt", "question", "title")),
        "response": (any_text, ("response", "answer", "content")),
        "memory_context": (any_text, ("memory_context",)), "emotional_state": (any_text, ("emotional_state",)),
        "insights": (any_text, ("insights",)),
    }, ("prompt",), rows=False, local=True, private=True),
    "tone_shift": Spec("tone.shifted", {
        "from_tone": (any_text, ("from_tone",)), "to_tone": (any_text, ("to_tone",)),
        "trigger_type": (any_text, ("trigger_type",)), "trigger_content": (any_text, ("trigger_content",)),
        "magnitude": (real, ("magnitude",)),
    }, rows=False, local=True, private=True),
}  # fmt: skip
LINKS: Final = ("cluster_id", "loop_id")
"""What a story is about, which may come after it."""
SAME: Final = {"blessed_loop": "loop", "dissolved_cluster": "cluster"}
"""Sorts that speak of another's things."""


def spec_of(sort: str) -> Spec:
    """How a sort is mapped."""
    return SPECS[SAME.get(sort, sort)]


def mapped(thing: Thing, refs: Refs, *, again: bytes | None = None) -> Mapped:
    """The event for a record; `again` is the entity that it has here already. Raises Unmapped."""
    if thing.sort == "blessed_loop":
        return _blessed(thing, refs, again)
    spec = spec_of(thing.sort)
    left = {key: value for key, value in thing.fields.items() if value is not None}
    found, unfit = _columns(spec, left, refs)
    occurred, undated = _when(spec, left, refs)
    _finish(thing, spec, found, left, refs)
    if not spec.private and not spec.always and (former := left.pop("former_id", thing.former_id)) is not None:
        found["former_id"] = str(former)[:255]
    if spec.always:
        found["as_of"] = refs.now_ms() if occurred is None else occurred
    missing = [name for name in spec.required if name not in found]
    if missing:
        why = next((f": {unfit[key]}" for key in spec.columns[missing[0]][1] if key in unfit), "")
        raise Unmapped(f"a {thing.sort} needs {missing[0]}, and this one has none that fits{why}")
    if thing.former_id is not None:
        left = {key: value for key, value in left.items() if str(value) != thing.former_id or not key.endswith("id")}
    body: dict[str, Any] = {"columns": found} if spec.rows else found
    kind = spec.brought
    if again is not None and not spec.always:
        if spec.followed is None:
            raise Unmapped("it has changed since it was taken, and what it was stays: a ledger is only added to")
        kind, body = spec.followed, _changes(spec, found)
    entity = None if spec.always else again
    if not undated and occurred is None and again is None and not spec.always:
        undated = "it has no date: taken as of now"
    unfit = {key: why for key, why in unfit.items() if key in left}
    return Mapped(kind, body, occurred, left, unfit, undated, list(people_in(thing)), entity, spec.private)


def _columns(spec: Spec, left: dict[str, Any], refs: Refs) -> tuple[dict[str, Any], dict[str, str]]:
    """(the columns that the record has values for, why others stay left), taken out of what is left."""
    found: dict[str, Any] = {}
    unfit: dict[str, str] = {}
    for column, (read, known) in spec.columns.items():
        key = next((name for name in known if left.get(name) is not None), None)
        if key is None:
            continue
        try:
            found[column] = read(left[key], refs)
        except Unfit as why:
            unfit[key] = str(why) or f"{repr(left[key])[:60]} is none"
            continue
        if read is not _entity or found[column] == str(left[key]):
            del left[key]
        else:
            unfit[key] = "it has become an id of here"
    return found, unfit


def _when(spec: Spec, left: dict[str, Any], refs: Refs) -> tuple[int | None, str]:
    """(when it happened, why that is not known although something is said of it)."""
    undated = ""
    for name in spec.at:
        if left.get(name) is not None:
            try:
                when = moment(left[name], refs)
            except Unfit:
                undated = undated or f"{name}: {repr(left[name])[:60]} is no time: taken as of now"
                continue
            del left[name]
            return when, ""
    return None, undated


def _finish(thing: Thing, spec: Spec, found: dict[str, Any], left: dict[str, Any], refs: Refs) -> None:
    """What a sort says besides its columns."""
    if thing.sort == "loop":
        found.setdefault("state", "loop")
        depth = refs.depth(found["fork_parent"]) + 1 if "fork_parent" in found else 0
        found["fork_depth"] = depth
        if left.get("fork_depth") == depth:
            del left["fork_depth"]
    elif thing.sort in ("voting", "guild_decision"):
        loop = thing.fields.get("loop_id")
        if "question" not in found and loop is not None:
            found["question"] = f"about {loop}"
    elif thing.sort == "run":
        found.setdefault("operation", "run")
    elif thing.sort == "dissolved_cluster":
        found["status"] = "dissolved"
    elif thing.sort == "mythology" and "title" not in found and thing.former_id is not None:
        found["title"] = thing.former_id[:256]
    elif thing.sort == "drift":
        found.setdefault("level", "calm")
        is_loop = refs.entity("loop", str(thing.fields["entity_id"])) is not None
        found.setdefault("entity_type", "loop" if is_loop else "agent")
    if thing.sort in ("cluster", "dissolved_cluster") and "name" not in found and thing.former_id is not None:
        found["name"] = thing.former_id[:100]
    if spec.private and thing.sort in ("memory", "message"):
        if ours := ours_in(thing):
            _restore(found, ours)
            left.clear()
            return
        agent = agent_of(thing.path)
        found["namespace"] = f"agents.{agent}" if agent else "archive.chatlogs"
        former = {"path": thing.path, "place": thing.place, **{name: left.pop(name) for name in [*left]}}
        found["metadata"] = {**found.get("metadata", {}), "former": former}


def ours_in(thing: Thing) -> dict[str, Any]:
    """What `migrate-to` has put into a memory's metadata: all that its file has no column for. Else nothing."""
    try:
        said = json_object(thing.fields.get("metadata"), NOBODY).get(OURS)
    except Unfit:
        return {}
    return said if isinstance(said, dict) and isinstance(said.get("namespace"), str) else {}


def _restore(found: dict[str, Any], ours: dict[str, Any]) -> None:
    for name in ("namespace", "tags", "metadata"):
        found.pop(name, None)
        if ours.get(name) is not None:
            found[name] = ours[name]
    with contextlib.suppress(Unfit):
        found["expires"] = moment(ours.get("expires_at"), NOBODY)


def _changes(spec: Spec, found: dict[str, Any]) -> dict[str, Any]:
    """What a changed record writes: a loop that was blessed by another file stays so."""
    if spec.brought == names.TOLD:
        return {name: found[name] for name in ("title", "content", *LINKS) if name in found}
    if not spec.rows:
        return found
    return {"columns": {name: value for name, value in found.items() if not (name == "blessed" and not value)}}


def _blessed(thing: Thing, refs: Refs, again: bytes | None) -> Mapped:
    loop = refs.entity("loop", thing.former_id) if thing.former_id is not None else None
    if loop is None:
        raise Unmapped(f"the blessed loop {thing.former_id!r:.100} is nowhere in this installation")
    left = {key: value for key, value in thing.fields.items() if value is not None and key not in ("loop_id", "id")}
    return Mapped(names.LOOP_FOLLOWED, {"columns": {"blessed": True}}, None, left, entity=loop)


def why_left(made: Mapped) -> str:
    """In words: what of a record stays beside its row, and why."""
    bare = sorted(made.left.keys() - made.unfit.keys())
    said = [f"no column for {', '.join(bare)[:200]}"] if bare else []
    said += [f"{key}: {why}" for key, why in sorted(made.unfit.items())]
    return f"{'; '.join(said)}: kept beside it"


def people_in(thing: Thing) -> tuple[str, ...]:
    """The people whom a record is about, by name."""
    known = {"user": ("username", "name"), "message": ("user",)}.get(thing.sort, ())
    fields = {**thing.fields, **ours_in(thing)} if thing.sort == "memory" else thing.fields
    known = ("user",) if thing.sort == "memory" else known
    named = next((fields[key] for key in known if isinstance(fields.get(key), str)), "")
    fits = named.strip() and named.encode("utf-8", "ignore").decode() == named
    return (named,) if fits else ()


def agent_of(path: str) -> str | None:
    """The old agent that a file belongs to."""
    parts = PurePosixPath(path).parts
    return parts[1] if len(parts) > 2 and parts[0] == "agents" else None
