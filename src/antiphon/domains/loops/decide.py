"""Room `domains` (imports `views` and below): how a home answers what is asked about its loops. Pure but for reading.

a loop    whisper ── begin ──▶ loop ── archive ──▶ archive        (a whisper may be archived too)
a run     queued ── take ──▶ running ── finish, fail ──▶ done, failed
            ▲└── cancel ──▶ cancelled    │
            └───────── release ──────────┘
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from antiphon.domains.deciders import Refused, decider
from antiphon.domains.loops import bodies, names
from antiphon.domains.loops.runtime import GUILD_VOTES
from antiphon.model import limits
from antiphon.model.event import Event
from antiphon.model.text import entity_text
from antiphon.model.values import key_of
from antiphon.views.domain import Decider, Decision, Rows

FORK_DEPTH_MAX: Final = 4_096
"""A line of forks longer than this is begun anew."""
CREDITS_MAX: Final = 1 << 53
MILLION: Final = 1_000_000
Row = Mapping[str, Any]


def _row(rows: Rows, table: str, event: Event, body: Any) -> Row:
    """The row that a request is about. Raises Refused when it is not there, or decided elsewhere."""
    row = None if event.entity is None else rows.row(table, event.entity)
    if row is None:
        said = "nothing" if event.entity is None else entity_text(event.entity)
        raise Refused(f"{event.kind}: there is no {said} in {table} here")
    if row["home"] != body.home:
        raise Refused(f"{event.kind}: {entity_text(event.entity or b'')} in {table} names another home")
    return row


def _only(row: Row, who: str, event: Event, words: str) -> None:
    if row[who] != event.author:
        raise Refused(f"{event.kind}: that is for {words} alone to ask")


# -- users ---------------------------------------------------------------------------------------------------------


@decider()
def credit(rows: Rows, event: Event, body: bodies.Amount) -> Decision:
    """More credits, by the agent that keeps the user."""
    user = _row(rows, names.USERS, event, body)
    _only(user, "created_by", event, "the agent that keeps the user")
    balance = user["emotional_credits"] + body.amount
    if balance > CREDITS_MAX:
        raise Refused(f"users.emotional_credits: {balance:,} is more than CREDITS_MAX ({CREDITS_MAX:,})")
    said = bodies.Balanced(balance, body.amount, body.reason)
    return Decision(names.BALANCED, said, derived=body.reason is not None)


@decider()
def spend(rows: Rows, event: Event, body: bodies.Amount) -> Decision:
    """Fewer credits, never below none: by the agent that keeps the user, or one that acts for the user."""
    user = _row(rows, names.USERS, event, body)
    if event.author not in (user["created_by"], *(user["agents"] or ())):
        raise Refused("user.spend: that is for the user's own agents to ask, or for the agent that keeps the user")
    balance = user["emotional_credits"] - body.amount
    if balance < 0:
        raise Refused(
            f"users.emotional_credits: {body.amount:,} are asked for, and the user has {user['emotional_credits']:,}"
        )
    said = bodies.Balanced(balance, -body.amount, body.reason)
    return Decision(names.BALANCED, said, derived=body.reason is not None)


# -- loops ---------------------------------------------------------------------------------------------------------


@decider()
def fork(rows: Rows, event: Event, body: bodies.Fork) -> Decision:
    """A whisper becomes a fork once, of what is a loop: so no line leads back to itself, and no depth changes."""
    loop = _row(rows, names.LOOPS, event, body)
    _only(loop, "created_by", event, "the agent that whispered it")
    if loop["state"] != "whisper" or loop["fork_parent"] is not None:
        raise Refused(f"loop.fork: {entity_text(loop['loop_id'])} has begun, or is a fork already: whisper another one")
    parent = rows.row(names.LOOPS, body.parent)
    if parent is None:
        raise Refused(f"loops.fork_parent: there is no loop {entity_text(body.parent)} here")
    if parent["state"] == "whisper":
        raise Refused(
            f"loops.fork_parent: {entity_text(body.parent)} is a whisper still: only what has begun can be forked"
        )
    depth = parent["fork_depth"] + 1
    if depth > FORK_DEPTH_MAX:
        raise Refused(
            f"loops.fork_depth: {depth:,} is more than FORK_DEPTH_MAX ({FORK_DEPTH_MAX:,}): begin a line anew"
        )
    return Decision(names.FORKED, bodies.Forked(body.parent, depth))


@decider()
def begin(rows: Rows, event: Event, body: bodies.Ask) -> Decision:
    """A whisper becomes a loop."""
    loop = _row(rows, names.LOOPS, event, body)
    _only(loop, "created_by", event, "the agent that whispered it")
    if loop["state"] != "whisper":
        raise Refused(
            f"loop.begin: {entity_text(loop['loop_id'])} is in the state {loop['state']}: only a whisper begins"
        )
    return Decision(names.CREATED, bodies.Nothing())


@decider()
def archive(rows: Rows, event: Event, body: bodies.Ask) -> Decision:
    """It is over."""
    loop = _row(rows, names.LOOPS, event, body)
    _only(loop, "created_by", event, "the agent that whispered it")
    if loop["state"] == "archive":
        raise Refused(f"loop.archive: {entity_text(loop['loop_id'])} is in the archive already")
    return Decision(names.ARCHIVED, bodies.Nothing())


@decider()
def bless(rows: Rows, event: Event, body: bodies.Bless) -> Decision:
    """A loop is blessed by what a guild has decided about it; the guild's own home must have said so."""
    loop = _row(rows, names.LOOPS, event, body)
    if loop["blessed"]:
        raise Refused(f"loop.bless: {entity_text(loop['loop_id'])} is blessed already")
    found = rows.row(names.CONSENSUS, body.consensus)
    if found is None or found["loop_id"] != loop["loop_id"]:
        raise Refused(f"loops.blessed_in: no guild was asked about this loop in {entity_text(body.consensus)}")
    guild = None if found["guild_id"] is None else rows.row(names.GUILDS, found["guild_id"])
    if guild is None or guild["home"] != found["home"]:
        raise Refused(f"loops.blessed_in: {entity_text(body.consensus)} was not decided by its guild's home")
    if found["status"] != "passed":
        raise Refused(f"loops.blessed_in: {entity_text(body.consensus)} is {found['status']}, not passed")
    return Decision(names.BLESSED, bodies.Blessed(body.consensus))


@decider()
def judge(rows: Rows, event: Event, body: bodies.Judge) -> Decision:
    """Its author, or whoever made a loop that it is about, says whether it came so; once said, that stays."""
    told = _row(rows, names.PROPHECIES, event, body)
    if told["fulfillment_status"] != "pending":
        raise Refused(f"prophecy.judge: {entity_text(told['id'])} was judged {told['fulfillment_status']} already")
    related = [rows.row(names.LOOPS, loop) for loop in told["related_loops"]]
    makers = {loop["created_by"] for loop in related if loop is not None}
    if event.author != told["author_agent"] and event.author not in makers:
        raise Refused("prophecy.judge: that is for its author, or for whoever made a loop that it is about")
    if body.evidence is not None and body.evidence not in told["related_loops"]:
        raise Refused(f"prophecies.fulfilled_by: {entity_text(body.evidence)} is none of the loops that it is about")
    if not body.fulfilled:
        return Decision(names.JUDGED, bodies.Judged("failed"))
    return Decision(names.JUDGED, bodies.Judged("fulfilled", body.evidence, event.header.hlc >> 16))


# -- guilds --------------------------------------------------------------------------------------------------------


@decider()
def admit(rows: Rows, event: Event, body: bodies.Member) -> Decision:
    """Its founder takes agents in; in an open guild, each may come by itself."""
    guild = _row(rows, names.GUILDS, event, body)
    if event.author != guild["created_by"] and not (guild["is_open"] and body.agent == event.author):
        raise Refused("guild.admit: that is for the guild's founder; in an open guild, for whoever wants to be in it")
    members = sorted({*guild["members"], body.agent})
    if len(members) > limits.ITEMS_MAX:
        raise Refused(f"guilds.members: {len(members):,} is more than ITEMS_MAX ({limits.ITEMS_MAX:,})")
    return Decision(names.MEMBERED, bodies.Membered(members))


@decider()
def dismiss(rows: Rows, event: Event, body: bodies.Member) -> Decision:
    """An agent leaves, or the founder lets it go."""
    guild = _row(rows, names.GUILDS, event, body)
    if event.author not in (guild["created_by"], body.agent):
        raise Refused("guild.dismiss: that is for the guild's founder, or for the agent itself")
    if body.agent not in guild["members"]:
        raise Refused("guild.dismiss: the agent is not in the guild")
    return Decision(names.MEMBERED, bodies.Membered([one for one in guild["members"] if one != body.agent]))


@decider()
def close(rows: Rows, event: Event, body: bodies.Ask) -> Decision:
    """What the members have voted, once enough of them have; too few by its end is a no.

    A vote of 0 is there and takes no side. The share is in millionths, cut off.
    """
    asked = _row(rows, names.CONSENSUS, event, body)
    guild = None if asked["guild_id"] is None else rows.row(names.GUILDS, asked["guild_id"])
    if guild is None or guild["home"] != body.home:
        raise Refused("guild.close: its guild is not decided by this home")
    if asked["status"] != "open":
        raise Refused(f"guild.close: {entity_text(asked['id'])} is {asked['status']} already")
    if event.author not in guild["members"] and event.author != guild["created_by"]:
        raise Refused("guild.close: that is for the guild's members to ask")
    keys = [key_of(GUILD_VOTES, {"consensus_id": asked["id"], "agent_id": one}) for one in guild["members"]]
    votes = [vote for vote in (rows.row(names.VOTES, key) for key in keys) if vote is not None]
    over = asked["closes_at"] is not None and event.header.hlc >> 16 >= asked["closes_at"]
    if len(votes) < guild["quorum"] and not over:
        raise Refused(f"guild.close: {len(votes)} of its members have voted, and it takes {guild['quorum']}")
    sides = [vote["vote"] for vote in votes if vote["vote"]]
    share = MILLION * sides.count(1) // len(sides) if sides else 0
    passed = len(votes) >= guild["quorum"] and share >= int(guild["threshold"] * MILLION) and share > 0
    said = bodies.Decided(
        "passed" if passed else "failed", Decimal(share).scaleb(-6), sorted(vote["agent_id"] for vote in votes)
    )
    return Decision(names.DECIDED, said)


# -- runs ------------------------------------------------------------------------------------------------------------


def _run(rows: Rows, event: Event, body: Any, state: str, who: tuple[str, ...]) -> Row:
    """The run, where this request may move it on. Raises Refused."""
    run = _row(rows, names.QUEUE, event, body)
    if run["status"] != state:
        raise Refused(f"{event.kind}: the run {entity_text(run['id'])} is {run['status']}, not {state}")
    if who and all(run[one] != event.author for one in who):
        words = {"worker": "the agent that runs it", "created_by": "the agent that queued it"}
        raise Refused(f"{event.kind}: that is for {' or '.join(words[one] for one in who)}")
    return run


@decider()
def take(rows: Rows, event: Event, body: bodies.Ask) -> Decision:
    """The first in the home's order has the run, once it is time."""
    run = _run(rows, event, body, "queued", ())
    now = event.header.hlc >> 16
    if run["not_before"] is not None and now < run["not_before"]:
        raise Refused(f"execution.take: the run {entity_text(run['id'])} is for later")
    said = bodies.Moved("running", worker=event.author, attempts=run["attempts"] + 1, started_at=now)
    return Decision(names.MOVED, said)


@decider()
def release(rows: Rows, event: Event, body: bodies.Ask) -> Decision:
    """It is queued again."""
    _run(rows, event, body, "running", ("worker", "created_by"))
    return Decision(names.MOVED, bodies.Moved("queued", worker=None, started_at=None))


@decider()
def finish(rows: Rows, event: Event, body: bodies.Finish) -> Decision:
    """It is done."""
    _run(rows, event, body, "running", ("worker",))
    said = bodies.Moved("done", finished_at=event.header.hlc >> 16, result=body.result)
    return Decision(names.MOVED, said, derived=body.result is not None)


@decider()
def fail(rows: Rows, event: Event, body: bodies.Fail) -> Decision:
    """It has come to nothing."""
    _run(rows, event, body, "running", ("worker",))
    said = bodies.Moved("failed", finished_at=event.header.hlc >> 16, error=body.error)
    return Decision(names.MOVED, said, derived=body.error is not None)


@decider()
def cancel(rows: Rows, event: Event, body: bodies.Ask) -> Decision:
    """Nobody is to take it."""
    _run(rows, event, body, "queued", ("created_by",))
    return Decision(names.MOVED, bodies.Moved("cancelled", finished_at=event.header.hlc >> 16))


DECIDERS: Final[dict[str, Decider]] = {
    names.CREDIT: credit, names.SPEND: spend, names.FORK: fork, names.BEGIN: begin, names.ARCHIVE: archive,
    names.BLESS: bless, names.JUDGE: judge, names.ADMIT: admit, names.DISMISS: dismiss, names.CLOSE: close,
    names.TAKE: take, names.RELEASE: release, names.FINISH: finish, names.FAIL: fail, names.CANCEL: cancel,
}  # fmt: skip
