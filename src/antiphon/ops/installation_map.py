"""Room `ops` (imports `engines` and below): from an old installation's record to the event that makes its row here.

Pure but for looking up who is who. What fits no column is left over, to be kept beside the row: nothing is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import Any, Final, Protocol

import msgspec

from antiphon.domains.loops import names
from antiphon.model import times
from antiphon.model.errors import InvalidInput
from antiphon.model.text import entity_text
from antiphon.ops.installation_read import Thing

_TIME_MAX: Final = 1 << 53
_SECONDS_BELOW: Final = 1e11  # as seconds the year 5138, as milliseconds 1973


class Refs(Protocol):
    """Which thing of the old installation is which here."""

    def entity(self, sort: str, former_id: str) -> bytes | None:
        """The entity that a record has become, None where it has not (yet)."""
        ...

    def depth(self, loop: bytes) -> int:
        """How many forks a loop is away from where its line began."""
        ...

    def now_ms(self) -> int:
        """What the time is."""
        ...


class Mapped(msgspec.Struct):
    """An event to be: its kind and body, when it happened, what was left over, and whom it is about."""

    kind: str
    body: dict[str, Any]
    occurred: int | None = None
    left: dict[str, Any] = {}
    about: list[str] = []
    entity: bytes | None = None
    private: bool = False


class Unmapped(Exception):
    """Why a record has no row here."""


class _Unfit(Exception):
    """That a value does not fit its column."""


Reader = Callable[[Any, Refs], Any]


def _text(value: Any, refs: Refs) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise _Unfit
    return value


def _word(most: int) -> Reader:
    def read(value: Any, refs: Refs) -> str:
        found = _text(value, refs)
        if len(found) > most:
            raise _Unfit
        return found

    return read


def _integer(least: int, most: int) -> Reader:
    def read(value: Any, refs: Refs) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _Unfit
        return value

    return read


def _decimal(scale: int, most: str) -> Reader:
    unit = Decimal(1).scaleb(-scale)

    def read(value: Any, refs: Refs) -> Decimal:
        try:
            found = Decimal("nan" if isinstance(value, bool) else str(value))
            if found.is_finite() and 0 <= found <= Decimal(most) and found == found.quantize(unit):
                return found
        except InvalidOperation:
            pass
        raise _Unfit

    return read


def _share(value: Any, refs: Refs) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _Unfit
    return float(value)


def _real(value: Any, refs: Refs) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Unfit
    return float(value)


def _boolean(value: Any, refs: Refs) -> bool:
    if value not in (0, 1, True, False):
        raise _Unfit
    return bool(value)


def _any(value: Any, refs: Refs) -> Any:
    return value


def _object(value: Any, refs: Refs) -> dict[str, Any]:
    """A JSON object, from itself or from its text."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise _Unfit from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _Unfit
    return value


def _time(value: Any, refs: Refs) -> int:
    """Milliseconds since 1970, from these, from seconds or from ISO 8601 text."""
    try:
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return times.to_ms(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _Unfit
        ms = round(value * 1000) if abs(value) < _SECONDS_BELOW else round(value)
    except (InvalidInput, OverflowError):
        raise _Unfit from None
    if abs(ms) > _TIME_MAX:
        raise _Unfit
    return ms


def _states(**words: str) -> Reader:
    known = {word: state for state, said in words.items() for word in (state, *said.split())}

    def read(value: Any, refs: Refs) -> str:
        found = known.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            raise _Unfit
        return found

    return read


def _ref(sort: str) -> Reader:
    def read(value: Any, refs: Refs) -> bytes:
        found = refs.entity(sort, _text(value, refs))
        if found is None:
            raise _Unfit
        return found

    return read


def _refs(sort: str) -> Reader:
    one = _ref(sort)

    def read(value: Any, refs: Refs) -> list[bytes]:
        if isinstance(value, str):  # as PostgreSQL and SQLite write arrays
            value = _array(value)
        if not isinstance(value, list):
            raise _Unfit
        return [one(item.get("loop_id") if isinstance(item, dict) else item, refs) for item in value]

    return read


def _array(text: str) -> list[str]:
    if text.startswith("{") and text.endswith("}"):
        return [part.strip().strip('"') for part in text[1:-1].split(",") if part.strip()]
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        raise _Unfit from None
    if not isinstance(found, list):
        raise _Unfit
    return found


def _entity(value: Any, refs: Refs) -> str:
    """The id as text of what it names here, else its old name."""
    found = _word(100)(value, refs)
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


_LOOP: Final = (_ref("loop"), ("loop_id", "loop"))
_RUNS: Final = _states(queued="pending waiting", running="active started", done="complete completed finished success",
                       failed="error", cancelled="canceled")  # fmt: skip
_CONSENSUS: Final = {
    "former_guild": (_word(100), ("guild_id", "guild")),
    "loop_id": _LOOP,
    "question": (_text, ("question", "topic", "proposal", "subject", "title")),
    "status": (_states(open="active voting pending", passed="approved accepted blessed consensus",
                       failed="rejected declined denied"), ("status", "decision", "outcome")),
    "consensus_score": (_decimal(6, "1"), ("consensus_score", "consensus", "score")),
    "closes_at": (_time, ("closes_at", "deadline", "expires_at")),
    "closed_at": (_time, ("closed_at", "decided_at")),
}  # fmt: skip
_CLUSTER: Final = {
    "name": (_word(100), ("name", "label", "cluster_id", "id")),
    "loops": (_refs("loop"), ("loops", "loop_ids", "members")),
    "metrics": (_object, ("metrics", "stats")),
    "status": (_states(active="live", dissolved="archived"), ("status", "state")),
    "dissolved_at": (_time, ("dissolved_at", "archived_at")),
}  # fmt: skip
SPECS: Final[dict[str, Spec]] = {
    "user": Spec(names.USER_BROUGHT, {
        "username": (_word(255), ("username", "name")), "email": (_word(255), ("email",)),
        "subscription_tier": (_word(50), ("subscription_tier", "tier")),
        "emotional_credits": (_integer(0, _TIME_MAX), ("emotional_credits", "credits")),
    }, ("username", "email"), followed=names.USER_FOLLOWED, table=names.USERS),
    "loop": Spec(names.LOOP_BROUGHT, {
        "creator_id": (_ref("user"), ("creator_id", "user_id", "creator")),
        "whisper_origin": (_text, ("whisper_origin", "whisper", "prompt")),
        "consciousness_state": (_object, ("consciousness_state", "consciousness")),
        "emotional_tone": (_word(50), ("emotional_tone", "tone", "current_tone")),
        "blessed": (_boolean, ("blessed",)),
        "fork_parent": (_ref("loop"), ("fork_parent", "parent", "parent_id", "forked_from")),
        "mythology_id": (_ref("mythology"), ("mythology_id",)),
        "state": (_states(whisper="whispered", loop="active running live", archive="archived closed complete"),
                  ("state", "status")),
        "began_at": (_time, ("began_at", "started_at")), "archived_at": (_time, ("archived_at", "closed_at")),
    }, followed=names.LOOP_FOLLOWED, table=names.LOOPS),
    "blessing": Spec(names.GRANTED, {
        "loop": _LOOP, "blessing_type": (_word(50), ("blessing_type", "type")),
        "consensus_score": (_decimal(2, "9.99"), ("consensus_score", "score")),
        "blessed_for": (_word(100), ("blessed_by", "by", "agent_id")), "metadata": (_object, ("metadata",)),
    }, ("loop",), ("timestamp", "granted_at", "created_at"), rows=False),
    "prophecy": Spec(names.PROPHECY_BROUGHT, {
        "prophecy_text": (_text, ("prophecy_text", "text", "prophecy", "content")),
        "former_author": (_word(100), ("author_agent", "author", "agent_id")),
        "fulfillment_status": (_states(pending="open", fulfilled="true realized", failed="unfulfilled false expired"),
                               ("fulfillment_status", "status")),
        "fulfilled_at": (_time, ("fulfilled_at",)),
        "related_loops": (_refs("loop"), ("related_loops", "loops")),
    }, ("prophecy_text",), followed=names.PROPHECY_FOLLOWED, table=names.PROPHECIES),
    "voting": Spec(names.CONSENSUS_BROUGHT, _CONSENSUS, ("question",), ("opened_at", "created_at", "timestamp"),
                   names.CONSENSUS_FOLLOWED, table=names.CONSENSUS),
    "guild_decision": Spec(names.CONSENSUS_BROUGHT, _CONSENSUS, ("question",), ("opened_at", "created_at", "timestamp"),
                           names.CONSENSUS_FOLLOWED, table=names.CONSENSUS),
    "run": Spec(names.RUN_BROUGHT, {
        "loop_id": _LOOP, "operation": (_word(100), ("operation", "action", "type", "task")),
        "priority": (_integer(1, 10), ("priority",)), "payload": (_object, ("payload", "params", "input")),
        "not_before": (_time, ("not_before", "scheduled_for")), "status": (_RUNS, ("status", "state")),
        "attempts": (_integer(0, 1 << 31), ("attempts", "retries")), "started_at": (_time, ("started_at",)),
        "finished_at": (_time, ("finished_at", "completed_at")), "result": (_object, ("result",)),
        "error": (_text, ("error",)),
    }, at=("queued_at", "created_at", "timestamp"), followed=names.RUN_FOLLOWED, table=names.QUEUE),
    "cluster": Spec(names.CLUSTER_BROUGHT, _CLUSTER, ("name",), ("formed_at", "created_at", "timestamp"),
                    names.CLUSTER_FOLLOWED, table=names.CLUSTERS),
    "mythology": Spec(names.TOLD, {
        "title": (_word(256), ("title", "name")), "content": (_text, ("content", "text", "story", "mythology")),
        "cluster_id": (_ref("cluster"), ("cluster_id", "cluster")), "loop_id": _LOOP,
    }, ("title", "content"), followed=names.RETOLD, rows=False, table="mythologies"),
    "transformation": Spec(names.TRANSFORMED, {
        "entity_id": (_entity, ("entity_id", "loop_id", "agent_id", "target")),
        "transformation_type": (_word(100), ("transformation_type", "transformation", "type", "kind")),
        "before": (_any, ("before", "from")), "after": (_any, ("after", "to")), "reason": (_text, ("reason",)),
    }, ("entity_id", "transformation_type"), ("timestamp", "created_at", "time"), rows=False),
    "drift": Spec(names.RATED, {
        "entity_id": (_entity, ("entity_id",)), "rating": (_decimal(6, "1"), ("rating", "drift", "score")),
        "level": (_states(calm="stable low", unsteady="elevated medium", critical="high"), ("level", "status")),
    }, ("entity_id", "rating"), ("as_of", "timestamp", "updated_at"), rows=False, always=True),
    "drift_index": Spec(names.MEASURED, {
        "index": (_decimal(6, "1"), ("index", "volatility", "value")),
    }, ("index",), ("as_of", "timestamp", "updated_at"), rows=False, always=True),
    "memory": Spec("memory.remembered", {
        "text": (_text, ("content",)), "type": (_text, ("type",)), "significance": (_share, ("significance",)),
        "emotional_context": (_text, ("emotional_context",)), "loop_context": (_text, ("loop_context",)),
        "metadata": (_object, ("metadata",)),
    }, ("text",), followed="memory.updated", rows=False, local=True, private=True, table="memories"),
    "message": Spec("memory.remembered", {
        "text": (_text, ("text",)), "type": (_text, ("type",)), "significance": (_share, ("significance",)),
        "metadata": (_object, ("metadata",)), "tags": (_any, ("tags",)),
    }, ("text",), ("occurred",), rows=False, local=True, private=True, table="memories"),
    "reflection": Spec("reflection.made", {
        "prompt": (_text, ("prompt", "question", "title")), "response": (_text, ("response", "answer", "content")),
        "memory_context": (_text, ("memory_context",)), "emotional_state": (_text, ("emotional_state",)),
        "insights": (_text, ("insights",)),
    }, ("prompt",), rows=False, local=True, private=True),
    "tone_shift": Spec("tone.shifted", {
        "from_tone": (_text, ("from_tone",)), "to_tone": (_text, ("to_tone",)),
        "trigger_type": (_text, ("trigger_type",)), "trigger_content": (_text, ("trigger_content",)),
        "magnitude": (_real, ("magnitude",)),
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
    found: dict[str, Any] = {}
    for column, (read, known) in spec.columns.items():
        key = next((name for name in known if left.get(name) is not None), None)
        if key is None:
            continue
        try:
            found[column] = read(left[key], refs)
        except _Unfit:
            continue
        if read is not _entity or found[column] == str(left[key]):
            del left[key]  # an old name that has become an id here is kept beside it
    occurred = _when(spec, left, refs)
    _finish(thing, spec, found, left, refs)
    if not spec.private and not spec.always and (former := left.pop("former_id", thing.former_id)) is not None:
        found["former_id"] = str(former)[:255]
    if spec.always:
        found["as_of"] = refs.now_ms() if occurred is None else occurred
    missing = [name for name in spec.required if name not in found]
    if missing:
        raise Unmapped(f"a {thing.sort} needs {missing[0]}, and this one has none that fits")
    if thing.former_id is not None:
        left = {key: value for key, value in left.items() if str(value) != thing.former_id or not key.endswith("id")}
    body: dict[str, Any] = {"columns": found} if spec.rows else found
    kind = spec.brought
    if again is not None and not spec.always:
        if spec.followed is None:
            raise Unmapped("it has changed since it was taken, and what it was stays: a ledger is only added to")
        kind, body = spec.followed, _changes(spec, found)
    entity = None if spec.always else again
    return Mapped(kind, body, occurred, left, list(people_in(thing)), entity, spec.private)


def _when(spec: Spec, left: dict[str, Any], refs: Refs) -> int | None:
    for name in spec.at:
        if left.get(name) is not None:
            try:
                when = _time(left[name], refs)
            except _Unfit:
                continue
            del left[name]
            return when
    return None


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
        found["entity_type"] = "agent" if refs.entity("loop", str(thing.fields["entity_id"])) is None else "loop"
    if thing.sort in ("cluster", "dissolved_cluster") and "name" not in found and thing.former_id is not None:
        found["name"] = thing.former_id[:100]
    if spec.private and thing.sort in ("memory", "message"):
        agent = agent_of(thing.path)
        found["namespace"] = f"agents.{agent}" if agent else "archive.chatlogs"
        former = {"path": thing.path, "place": thing.place, **{name: left.pop(name) for name in [*left]}}
        found["metadata"] = {**found.get("metadata", {}), "former": former}


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


def people_in(thing: Thing) -> tuple[str, ...]:
    """The people whom a record is about, by name."""
    known = {"user": ("username", "name"), "message": ("user",)}.get(thing.sort, ())
    named = next((thing.fields[key] for key in known if isinstance(thing.fields.get(key), str)), "")
    fits = named.strip() and named.encode("utf-8", "ignore").decode() == named
    return (named,) if fits else ()


def agent_of(path: str) -> str | None:
    """The old agent that a file belongs to."""
    parts = PurePosixPath(path).parts
    return parts[1] if len(parts) > 2 and parts[0] == "agents" else None
