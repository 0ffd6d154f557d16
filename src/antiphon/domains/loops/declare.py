"""Room `domains` (imports `views` and below): the kinds and folds of loops, as data.

What many may change is decided by the home that its row names (`decide.py`); the rest is its author's own. A row that
an old installation had comes whole (`*.brought`) and then follows it (`*.followed`): the log that brought it is its
home.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import UNSET

from antiphon.domains import audience
from antiphon.domains.loops import bodies, names, runtime, tables
from antiphon.domains.loops.decide import DECIDERS
from antiphon.domains.shapes import asserted, columns_of
from antiphon.model.errors import InvalidInput
from antiphon.model.event import Event
from antiphon.model.table import Table
from antiphon.views.domain import AssertRow, DeleteRow, Domain, Fold, Kind, Op, UpdateRow, Write, time_of, write


def _homed(table: Table, at: str, *fields: str) -> Fold:
    """The fold that makes a row which the home in the body decides, the author's own log where it names none."""

    def fold(event: Event, body: Any) -> Iterable[Write]:
        values = {name: getattr(body, name) for name in fields}
        values |= {table.key[0]: event.entity, "home": getattr(body, "home", None) or event.log, at: time_of(event)}
        if "created_by" in table.by_name:
            values["created_by"] = event.author
        if table is tables.PROPHECIES_TABLE:
            values["author_agent"] = event.author
        if "audience" in table.by_name:
            values |= audience.said_by(event)
        yield write(table, Op.ASSERT, values)

    return fold


def _decides(table: Table, at: str | None = None, /, *, fixed: dict[str, Any] | None = None, **columns: str) -> Fold:
    """The fold of a decision: columns from fields of the body, others with fixed values, one with the time."""

    def fold(event: Event, body: Any) -> Iterable[Write]:
        if event.entity is None:
            return
        said = {name: getattr(body, field) for name, field in columns.items()}
        values = {**(fixed or {}), **{name: value for name, value in said.items() if value is not UNSET}}
        if at is not None:
            values[at] = time_of(event)
        yield Write(table.name, event.entity, Op.UPDATE, values)

    return fold


def _asked(event: Event, body: bodies.Asked) -> Iterable[Write]:
    """A question's row, decided by the guild's home."""
    values = {
        "id": event.entity, "guild_id": body.guild, "loop_id": body.loop, "question": body.question,
        "opened_at": time_of(event), "closes_at": body.closes_at, "created_by": event.author, "home": body.home,
    }  # fmt: skip
    yield write(runtime.GUILD_CONSENSUS, Op.ASSERT, values)


def _founded(event: Event, body: bodies.Founded) -> Iterable[Write]:
    """A guild's row; its founder is in it."""
    values = {
        "guild_id": event.entity, "name": body.name, "quorum": body.quorum, "threshold": body.threshold,
        "is_open": body.is_open, "members": sorted({event.author, *body.members}), "created_at": time_of(event),
        "created_by": event.author, "home": event.log,
    }  # fmt: skip
    yield write(runtime.GUILDS_TABLE, Op.ASSERT, values)


def _queued(event: Event, body: bodies.Queued) -> Iterable[Write]:
    """A run's row."""
    fold = _homed(runtime.EXECUTION_QUEUE, "queued_at", "operation", "priority", "payload", "not_before")
    for made in fold(event, body):
        yield Write(made.table, made.key, made.op, {**made.values, "loop_id": body.loop})


_OF_AUTHOR: Final = ("created_by", "author_agent", "formed_by")
_OF_EVENT: Final = (*_OF_AUTHOR, "home", "audience", "circle")


def _brought_columns(table: Table, body: bodies.Brought) -> dict[str, Any]:
    """The columns that a body brings. Raises InvalidInput for what no event may say."""
    for name in body.columns:
        if table.column(name).derived is not None or name in table.key or name in _OF_EVENT:
            raise InvalidInput(f"table {table.name!r}: {name!r} follows from the event, or from other rows")
    return body.columns


def _brought(table: Table, at: str) -> Fold:
    """The fold that makes a row as it stood elsewhere; from now on the author's log decides about it."""

    def fold(event: Event, body: bodies.Brought) -> Iterable[Write]:
        values: dict[str, Any] = {at: time_of(event), table.key[0]: event.entity}
        values |= {name: event.author for name in _OF_AUTHOR if name in table.by_name}
        if table.home is not None:
            values["home"] = event.log
        if "audience" in table.by_name:
            values |= audience.said_by(event)
        yield write(table, Op.ASSERT, {**values, **_brought_columns(table, body)})

    return fold


def _followed(table: Table) -> Fold:
    """The fold that writes what has changed elsewhere."""

    def fold(event: Event, body: bodies.Brought) -> Iterable[Write]:
        if event.entity is not None:
            yield Write(table.name, event.entity, Op.UPDATE, _brought_columns(table, body))

    return fold


_BLESSING: Final = {"loop_id": "loop", "blessed_by": "@author"}
_MOVED: Final[dict[str, Any]] = {
    name: name for name in ("status", "worker", "attempts", "started_at", "finished_at", "result", "error")
}
_REQUESTS: Final[dict[str, type]] = {
    names.CREDIT: bodies.Amount, names.SPEND: bodies.Amount, names.FORK: bodies.Fork, names.BEGIN: bodies.Ask,
    names.ARCHIVE: bodies.Ask, names.BLESS: bodies.Bless, names.JUDGE: bodies.Judge, names.ADMIT: bodies.Member,
    names.DISMISS: bodies.Member, names.CLOSE: bodies.Ask, names.TAKE: bodies.Ask, names.RELEASE: bodies.Ask,
    names.FINISH: bodies.Finish, names.FAIL: bodies.Fail, names.CANCEL: bodies.Ask,
}  # fmt: skip
_BRINGS: Final = {
    (names.USER_BROUGHT, names.USER_FOLLOWED): (tables.USERS_TABLE, "created_at"),
    (names.LOOP_BROUGHT, names.LOOP_FOLLOWED): (tables.LOOPS_TABLE, "created_at"),
    (names.PROPHECY_BROUGHT, names.PROPHECY_FOLLOWED): (tables.PROPHECIES_TABLE, "created_at"),
    (names.CONSENSUS_BROUGHT, names.CONSENSUS_FOLLOWED): (runtime.GUILD_CONSENSUS, "opened_at"),
    (names.RUN_BROUGHT, names.RUN_FOLLOWED): (runtime.EXECUTION_QUEUE, "queued_at"),
    (names.CLUSTER_BROUGHT, names.CLUSTER_FOLLOWED): (runtime.CLUSTERS_TABLE, "formed_at"),
}  # fmt: skip
_FOLDS: Final[dict[str, tuple[type, tuple[Callable[..., Any], ...]]]] = {
    names.USER_REGISTERED: (bodies.UserRegistered, (_homed(tables.USERS_TABLE, "created_at", "username", "email",
                                                           "subscription_tier", "emotional_credits", "agents"),)),
    names.USER_CHANGED: (bodies.UserChanged, (UpdateRow(tables.USERS_TABLE, username="username", email="email",
                                                        subscription_tier="subscription_tier", agents="agents"),)),
    names.USER_RETIRED: (bodies.Nothing, (DeleteRow(tables.USERS_TABLE),)),
    names.BALANCED: (bodies.Balanced, (_decides(tables.USERS_TABLE, emotional_credits="balance"),)),
    names.WHISPERED: (bodies.Whispered, (_homed(tables.LOOPS_TABLE, "created_at", "whisper_origin", "creator_id",
                                                "emotional_tone", "consciousness_state", "mythology_id"),)),
    names.FELT: (bodies.Felt, (UpdateRow(tables.LOOPS_TABLE, **columns_of(tables.LOOPS_TABLE, bodies.Felt)),)),
    names.FORKED: (bodies.Forked, (_decides(tables.LOOPS_TABLE, fork_parent="parent", fork_depth="depth"),)),
    names.CREATED: (bodies.Nothing, (_decides(tables.LOOPS_TABLE, "began_at", fixed={"state": "loop"}),)),
    names.ARCHIVED: (bodies.Nothing, (_decides(tables.LOOPS_TABLE, "archived_at", fixed={"state": "archive"}),)),
    names.BLESSED: (bodies.Blessed, (_decides(tables.LOOPS_TABLE, fixed={"blessed": True}, blessed_in="consensus"),)),
    names.NOTED: (bodies.Noted, (AssertRow(tables.LOOP_EVENTS, loop_id="loop", agent_id="@author", id="@entity",
                                           time="@time", event_type="event_type", tone="tone", content="content"),)),
    names.FORECAST: (bodies.Forecast, (AssertRow(tables.LOOP_FORECASTS, loop_id="loop", made_by="@author",
                                                 made_at="@time", forecast="forecast", horizon="horizon",
                                                 confidence="confidence"),)),
    names.GRANTED: (bodies.Granted, (AssertRow(tables.BLESSINGS_TABLE, **_BLESSING, id="@entity", timestamp="@time",
                                               blessing_type="blessing_type", consensus_score="consensus_score",
                                               metadata="metadata", blessed_for="blessed_for",
                                               former_id="former_id"),)),
    names.WITHDRAWN: (bodies.Withdrawn, (DeleteRow(tables.BLESSINGS_TABLE, {**_BLESSING, "id": "id"}),)),
    names.PROPHESIED: (bodies.Prophesied, (_homed(tables.PROPHECIES_TABLE, "created_at", "prophecy_text",
                                                  "related_loops"),)),
    names.JUDGED: (bodies.Judged, (_decides(tables.PROPHECIES_TABLE, fulfillment_status="status", fulfilled_at="at",
                                            fulfilled_by="evidence"),)),
    names.FOUNDED: (bodies.Founded, (_founded,)),
    names.MEMBERED: (bodies.Membered, (_decides(runtime.GUILDS_TABLE, members="members"),)),
    names.ASKED: (bodies.Asked, (_asked,)),
    names.VOTED: (bodies.Voted, (AssertRow(runtime.GUILD_VOTES, consensus_id="consensus", agent_id="@author",
                                           vote="vote", reason="reason", timestamp="@time"),)),
    names.UNVOTED: (bodies.Unvoted, (DeleteRow(runtime.GUILD_VOTES, {"consensus_id": "consensus",
                                                                     "agent_id": "@author"}),)),
    names.DECIDED: (bodies.Decided, (_decides(runtime.GUILD_CONSENSUS, "closed_at", status="status",
                                              consensus_score="consensus_score", voters="voters"),)),
    names.FORMED: (bodies.Formed, (AssertRow(runtime.CLUSTERS_TABLE, name="name", loops="loops", agents="agents",
                                             metrics="metrics", formed_by="@author", formed_at="@time"),)),
    names.CLUSTER_CHANGED: (bodies.ClusterChanged, (UpdateRow(runtime.CLUSTERS_TABLE, name="name", loops="loops",
                                                              agents="agents", metrics="metrics"),)),
    names.DISSOLVED: (bodies.Nothing, (_decides(runtime.CLUSTERS_TABLE, "dissolved_at",
                                                fixed={"status": "dissolved"}),)),
    names.TOLD: (bodies.Told, (asserted(tables.MYTHOLOGIES, bodies.Told, told_by="@author", created_at="@time"),)),
    names.RETOLD: (bodies.Retold, (UpdateRow(tables.MYTHOLOGIES, **columns_of(tables.MYTHOLOGIES, bodies.Retold)),)),
    names.RATED: (bodies.Rated, (asserted(runtime.DRIFT_RATINGS, bodies.Rated, rated_by="@author"),)),
    names.MEASURED: (bodies.Measured, (asserted(runtime.DRIFT_INDEX, bodies.Measured, measured_by="@author",
                                                volatility="index"),)),
    names.QUEUED: (bodies.Queued, (_queued,)),
    names.MOVED: (bodies.Moved, (_decides(runtime.EXECUTION_QUEUE, None, **_MOVED),)),
    names.TRANSFORMED: (bodies.Transformed, (asserted(runtime.TRANSFORMATIONS, bodies.Transformed,
                                                      transformed_by="@author", timestamp="@time"),)),
    names.KEPT: (bodies.Kept, (asserted(runtime.INSTALLATION_RECORDS, bodies.Kept, taken_at="@time"),)),
    **{kind: (body, ()) for kind, body in _REQUESTS.items()},
    **{brought: (bodies.Brought, (_brought(table, at),)) for (brought, _), (table, at) in _BRINGS.items()},
    **{followed: (bodies.Brought, (_followed(table),)) for (_, followed), (table, _at) in _BRINGS.items()},
}  # fmt: skip


LOOPS: Final = Domain(
    "loops",
    kinds=tuple(Kind(name, body) for name, (body, _) in _FOLDS.items()),
    tables=(
        tables.USERS_TABLE, tables.LOOPS_TABLE, tables.LOOP_EVENTS, tables.LOOP_FORECASTS, tables.BLESSINGS_TABLE,
        tables.PROPHECIES_TABLE, tables.MYTHOLOGIES, runtime.GUILDS_TABLE, runtime.GUILD_CONSENSUS, runtime.GUILD_VOTES,
        runtime.CLUSTERS_TABLE, runtime.DRIFT_RATINGS, runtime.DRIFT_INDEX, runtime.EXECUTION_QUEUE,
        runtime.TRANSFORMATIONS, runtime.INSTALLATION_RECORDS,
    ),
    folds={name: folds for name, (_, folds) in _FOLDS.items()},
    deciders=DECIDERS,
)  # fmt: skip
