"""Room `domains` (imports `views` and below): the commands of guilds, clusters, drift, runs and changes.

What is decided is asked of the row's home: where that is in the same file, the answer is there when the command
returns, and Conflict says why not; else the command returns what can be waited for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from antiphon.domains.audience import EVERYBODY, of_circle, of_row
from antiphon.domains.loops import bodies, names
from antiphon.domains.network import formulas
from antiphon.model import limits, times
from antiphon.model.errors import InvalidInput, LimitExceeded, NotFound
from antiphon.model.places import DAY_MS
from antiphon.model.text import parse_entity, parse_id
from antiphon.model.times import Time
from antiphon.views.commands import Answer, Receipt, Recorder

USUAL_DAYS: Final = 30
"""Drift compares the last day with so many."""
UNSTEADY: Final = 250_000
CRITICAL: Final = 600_000
"""From which rating on, in millionths, something is unsteady, and critical."""


class Guilding:
    """What an agent does in guilds and clusters, with runs, and about drift. All are named by their ids as text.

    With a `circle` (16 bytes) all of it is for that circle, else for everybody.
    """

    def __init__(self, recorder: Recorder, *, circle: bytes | None = None) -> None:
        self._recorder = recorder
        self._for = EVERYBODY if circle is None else of_circle(circle)

    @property
    def me(self) -> bytes:
        """The agent's id."""
        return parse_id(self._recorder.id)

    def _shared(self, kind: str, body: Any, **how: Any) -> Receipt:
        return self._recorder.record(kind, body, **self._for.how, **how)

    def _there(self, table: str, entity: str, *, column: str = "") -> Mapping[str, Any]:
        """A row. Raises NotFound: what is said of nothing would be lost."""
        found = self._recorder.table(table).get(parse_entity(entity))
        if found is None:
            raise NotFound(f"{column or table}: there is no {entity} in {table} here, or not for this agent to see")
        return found

    def _key(self, table: str, entity: str | None, *, column: str) -> bytes | None:
        if entity is None:
            return None
        self._there(table, entity, column=column)
        return parse_entity(entity)

    def _keys(self, table: str, entities: Sequence[str], *, column: str) -> list[bytes]:
        if isinstance(entities, str):
            raise InvalidInput(f"{column} is a list of ids, not one: put it into brackets")
        if len(entities) > limits.ITEMS_MAX:
            raise LimitExceeded(
                "ITEMS_MAX", got=len(entities), allowed=limits.ITEMS_MAX, what=f"the length of {column}"
            )
        return [parse_entity(one) for one in entities if self._there(table, one, column=column)]

    def _own(self, table: str, who: str, entity: str) -> Mapping[str, Any]:
        found = self._there(table, entity)
        if found[who] != self.me:
            raise InvalidInput(f"{table}: {entity} is another agent's: only its author may change it")
        return found

    def _ask(self, kind: str, table: str, entity: str, **body: Any) -> Answer:
        row = self._there(table, entity)
        whose = of_row(row) if "audience" in row else self._for
        return self._recorder.request(kind, body, home=row["home"], entity=entity, **whose.how)

    # -- guilds --------------------------------------------------------------------------------------------------

    def found(
        self, name: str, *, quorum: int = bodies.QUORUM, threshold: Decimal | float | str = bodies.THRESHOLD,
        members: Sequence[str] = (), is_open: bool = False,
    ) -> Receipt:  # fmt: skip
        """A new guild, which this agent's log decides about. An open one takes in whoever asks.

        *Shapes*: `quorum` is how many members must vote; `threshold`, above 0 and up to 1, the share that must be for.
        """
        share = decimal("guilds.threshold", threshold, most=1)
        if not share:
            raise InvalidInput("guilds.threshold is above 0: else what nobody is for would pass")
        said = {
            "name": words("guilds.name", name), "quorum": quorum, "threshold": share, "is_open": is_open,
            "members": [parse_id(one) for one in members],
        }  # fmt: skip
        return self._shared(names.FOUNDED, said)

    def join(self, guild: str) -> Answer:
        """Asks an open guild to take the agent in."""
        return self._ask(names.ADMIT, names.GUILDS, guild, agent=self.me)

    def admit(self, guild: str, agent: str) -> Answer:
        """Takes an agent into a guild that this agent has founded."""
        return self._ask(names.ADMIT, names.GUILDS, guild, agent=parse_id(agent))

    def dismiss(self, guild: str, agent: str | None = None) -> Answer:
        """Leaves a guild; or lets an agent go, as its founder."""
        return self._ask(names.DISMISS, names.GUILDS, guild, agent=self.me if agent is None else parse_id(agent))

    def ask(self, guild: str, question: str, *, loop: str | None = None, closes: Time | None = None) -> Receipt:
        """Puts a question to a guild: about a loop, whether it is to be blessed."""
        row = self._there(names.GUILDS, guild, column="guild_consensus.guild_id")
        said = {
            "guild": row["guild_id"], "home": row["home"], "question": words("guild_consensus.question", question),
            "loop": self._key(names.LOOPS, loop, column="guild_consensus.loop_id"),
            "closes_at": None if closes is None else times.to_ms(closes),
        }  # fmt: skip
        return self._shared(names.ASKED, said)

    def vote(self, consensus: str, vote: int = 1, *, reason: str | None = None) -> Receipt:
        """For (1), against (-1), or neither (0); a second vote takes the place of the first."""
        if type(vote) is not int or vote not in (-1, 0, 1):
            raise InvalidInput(f"guild_votes.vote is 1 (for), -1 (against) or 0 (neither), not {vote!r:.60}")
        row = self._there(names.CONSENSUS, consensus, column="guild_votes.consensus_id")
        if row["status"] != "open":
            raise InvalidInput(f"guild_votes: {consensus} is {row['status']} already: nothing more is counted")
        return self._shared(names.VOTED, {"consensus": row["id"], "vote": vote, "reason": reason})

    def unvote(self, consensus: str) -> Receipt:
        """Takes the agent's vote back. Raises NotFound when it has none."""
        key = parse_entity(consensus)
        if self._recorder.table(names.VOTES).get(key, self.me) is None:
            raise NotFound(f"guild_votes: this agent has no vote on {consensus}")
        return self._shared(names.UNVOTED, {"consensus": key})

    def close(self, consensus: str) -> Answer:
        """Asks the guild's home to count: Conflict while too few members have voted and its end has not come."""
        return self._ask(names.CLOSE, names.CONSENSUS, consensus)

    # -- clusters and stories --------------------------------------------------------------------------------------

    def form(
        self, name: str, loops: Sequence[str], *, agents: Sequence[str] = (), metrics: dict[str, Any] | None = None
    ) -> Receipt:
        """Says that these loops (and agents) belong together."""
        said = {
            "name": words("clusters.name", name), "loops": self._keys(names.LOOPS, loops, column="clusters.loops"),
            "agents": [parse_id(one) for one in agents], "metrics": metrics,
        }  # fmt: skip
        return self._shared(names.FORMED, said)

    def change_cluster(self, cluster: str, *, loops: Sequence[str] | None = None, **changes: Any) -> Receipt:
        """New values for a cluster of the agent's own: name, loops, agents (ids as text), metrics."""
        self._own(names.CLUSTERS, "formed_by", cluster)
        if loops is not None:
            changes["loops"] = self._keys(names.LOOPS, loops, column="clusters.loops")
        if "agents" in changes:
            changes["agents"] = [parse_id(one) for one in changes["agents"]]
        return self._shared(names.CLUSTER_CHANGED, _some(names.CLUSTERS, changes), entity=cluster)

    def dissolve(self, cluster: str) -> Receipt:
        """Says that a cluster of the agent's own is no more; its row stays."""
        if self._own(names.CLUSTERS, "formed_by", cluster)["status"] == "dissolved":
            raise InvalidInput(f"clusters: {cluster} is dissolved already")
        return self._shared(names.DISSOLVED, {}, entity=cluster)

    def tell(self, title: str, content: str, *, cluster: str | None = None, loop: str | None = None) -> Receipt:
        """A story of a cluster or a loop."""
        said = {
            "title": words("mythologies.title", title), "content": words("mythologies.content", content),
            "cluster_id": self._key(names.CLUSTERS, cluster, column="mythologies.cluster_id"),
            "loop_id": self._key(names.LOOPS, loop, column="mythologies.loop_id"),
        }  # fmt: skip
        return self._shared(names.TOLD, said)

    def retell(
        self, mythology: str, *, title: str | None = None, content: str | None = None, cluster: str | None = None,
        loop: str | None = None,
    ) -> Receipt:  # fmt: skip
        """New words for a story of the agent's own, or what it is about; what is not given stays."""
        self._own("mythologies", "told_by", mythology)
        said = {
            "title": title, "content": content,
            "cluster_id": self._key(names.CLUSTERS, cluster, column="mythologies.cluster_id"),
            "loop_id": self._key(names.LOOPS, loop, column="mythologies.loop_id"),
        }  # fmt: skip
        changes = _some("mythologies", {name: value for name, value in said.items() if value is not None})
        return self._shared(names.RETOLD, changes, entity=mythology)

    # -- drift -----------------------------------------------------------------------------------------------------

    def drift(self, loop: str, *, as_of: Time) -> float:
        """How far the tones of a loop's last day are from those of its last 30, in [0, 1]; 0 where nothing is known.

        The Jensen-Shannon distance between counts by UTC day: exact, and the same for everyone who has the events.
        """
        return self._drift(parse_entity(loop), times.to_ms(as_of)) / formulas.MILLION

    def _drift(self, loop: bytes, now: int) -> int:
        today = now // DAY_MS * DAY_MS
        recent, usual = Counter[str](), Counter[str]()
        for row in self._recorder.table("loop_tones_daily").every({"loop_id": loop}):
            if today - (USUAL_DAYS - 1) * DAY_MS <= row["day"] <= today:
                usual[row["tone"]] += row["times"]
            if row["day"] == today:
                recent[row["tone"]] += row["times"]
        return formulas.drift(recent, usual)

    def rate(self, loop: str, *, as_of: Time | None = None) -> Receipt:
        """Publishes a loop's drift as this agent counts it, as of a time (now when not given)."""
        key = self._there(names.LOOPS, loop, column="drift_ratings.entity_id")["loop_id"]
        now = self._recorder.clock.now_ms() if as_of is None else times.to_ms(as_of)
        rating = self._drift(key, now)
        said = {
            "entity_id": loop.lower(), "rating": Decimal(rating).scaleb(-6), "level": level_of(rating), "as_of": now,
        }  # fmt: skip
        return self._shared(names.RATED, said)

    def measure(self, *, scope: str = "global", as_of: Time | None = None) -> Receipt:
        """Publishes how volatile the platform is: the mean of the ratings that this agent has published."""
        rows = [row for row in self._recorder.table("drift_ratings").every({}) if row["rated_by"] == self.me]
        total = sum(int(row["rating"].scaleb(6)) for row in rows)
        said = {
            "scope": words("drift_index.scope", scope), "entities": len(rows),
            "index": Decimal(total // len(rows) if rows else 0).scaleb(-6),
            "critical": sum(row["level"] == "critical" for row in rows),
            "as_of": self._recorder.clock.now_ms() if as_of is None else times.to_ms(as_of),
        }  # fmt: skip
        return self._shared(names.MEASURED, said)

    # -- runs and changes --------------------------------------------------------------------------------------------

    def queue(
        self, loop: str | None = None, *, operation: str = "run", priority: int = bodies.PRIORITY,
        payload: dict[str, Any] | None = None, not_before: Time | None = None, home: str | None = None,
    ) -> Receipt:  # fmt: skip
        """Queues a run of a loop. `home` is the log that decides who has it, as text: this agent's own if not given."""
        said = {
            "loop": self._key(names.LOOPS, loop, column="execution_queue.loop_id"),
            "operation": words("execution_queue.operation", operation), "priority": priority, "payload": payload,
            "not_before": None if not_before is None else times.to_ms(not_before),
            "home": None if home is None else parse_id(home),
        }  # fmt: skip
        return self._shared(names.QUEUED, said)

    def waiting(self, *, limit: int = 100) -> Sequence[Mapping[str, Any]]:
        """The runs that wait, the highest priority first, then the newest."""
        order = ("priority", "queued_at")
        return self._recorder.table(names.QUEUE).select(status="queued", order=order, descending=True, limit=limit)

    def take(self, run: str) -> Answer:
        """Asks for a run: the first in its home's order has it. Raises Conflict where it is taken."""
        return self._ask(names.TAKE, names.QUEUE, run)

    def release(self, run: str) -> Answer:
        """Gives a run back to the queue."""
        return self._ask(names.RELEASE, names.QUEUE, run)

    def finish(self, run: str, *, result: dict[str, Any] | None = None) -> Answer:
        """Ends a run well."""
        return self._ask(names.FINISH, names.QUEUE, run, result=result)

    def fail(self, run: str, *, error: str | None = None) -> Answer:
        """Ends a run that came to nothing."""
        return self._ask(names.FAIL, names.QUEUE, run, error=error)

    def cancel(self, run: str) -> Answer:
        """Takes a run that this agent has queued off the queue."""
        return self._ask(names.CANCEL, names.QUEUE, run)

    def transform(
        self, entity: str, transformation_type: str, *, entity_type: str = "loop", before: Any = None,
        after: Any = None, reason: str | None = None,
    ) -> Receipt:  # fmt: skip
        """Writes into the ledger what became of a loop, an agent, a guild or a cluster (by its id as text)."""
        _one_of("transformations.entity_type", entity_type, names.ENTITY_TYPES)
        known = parse_id(entity) if entity_type == "agent" else parse_entity(entity)
        if known is not None and entity_type == "loop":
            self._there(names.LOOPS, entity, column="transformations.entity_id")
        said = {
            "entity_id": entity, "entity_type": entity_type, "before": before, "after": after, "reason": reason,
            "transformation_type": words("transformations.transformation_type", transformation_type),
        }  # fmt: skip
        return self._shared(names.TRANSFORMED, said)


def level_of(rating: int) -> str:
    """What a rating, in millionths, is called."""
    return "critical" if rating >= CRITICAL else "unsteady" if rating >= UNSTEADY else "calm"


def words(column: str, value: object) -> str:
    """The text. Raises InvalidInput where there is none."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{column} needs words, not {value!r:.60}")
    return value


def decimal(column: str, value: object, *, most: int | str) -> Decimal:
    """The number, from 0 to `most`. Raises InvalidInput."""
    try:
        if isinstance(value, bool):
            raise TypeError
        found = Decimal(str(value))
        if not 0 <= found <= Decimal(most):
            raise ValueError
    except (InvalidOperation, TypeError, ValueError):
        raise InvalidInput(f"{column} is a number from 0 to {most}, not {value!r:.60}") from None
    return found


def _one_of(column: str, value: object, among: Sequence[str]) -> None:
    if value not in among:
        raise InvalidInput(f"{column} is one of {', '.join(among)}, not {value!r:.60}")


def _some(table: str, changes: dict[str, Any]) -> dict[str, Any]:
    if not changes:
        raise InvalidInput(f"{table}: nothing to change: name a column and its new value")
    return changes
