"""Room `domains` (imports `views` and below): the commands of users, loops, blessings and prophecies.

What is decided is asked of the row's home: where that is in the same file, the answer is there when the command
returns, and Conflict says why not; else the command returns what can be waited for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from antiphon.domains.audience import EVERYBODY, of_agent, of_circle, of_row
from antiphon.domains.loops import bodies, names
from antiphon.domains.loops.decide import FORK_DEPTH_MAX
from antiphon.domains.loops.guilding import Guilding, decimal, words
from antiphon.domains.loops.hiding import tokenized
from antiphon.model.errors import InvalidInput, NotFound
from antiphon.model.text import parse_entity, parse_id
from antiphon.model.times import Time
from antiphon.views.commands import Answer, Receipt

SCORE_MAX: Final = "9.99"
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


class Loops(Guilding):
    """Loops as one agent uses them. `recorder` is an `Agent`, or anything that records as one."""

    # -- users -----------------------------------------------------------------------------------------------------

    def register_user(
        self, username: str, email: str, *, tier: str = bodies.TIER, emotional_credits: int = bodies.CREDITS,
        agents: Sequence[str] = (), circle: bytes | None = None, public: bool = False,
    ) -> Receipt:  # fmt: skip
        """A new user, kept by this agent: its log decides about names and credits. Conflict where one is taken.

        The event is about that person: `forget(person=username)` erases it. It is for this agent alone; with `circle`
        for that circle, with `public` for whoever has the log. What is said of the user afterwards is for nobody else.
        """
        words("users.username", username)
        _check_email(email)
        if type(emotional_credits) is not int or emotional_credits < 0:
            raise InvalidInput(f"users.emotional_credits is a whole number from 0 on, not {emotional_credits!r:.60}")
        said = {
            "username": username, "email": email, "subscription_tier": words("users.subscription_tier", tier),
            "emotional_credits": emotional_credits, "agents": [parse_id(one) for one in agents],
        }  # fmt: skip
        if public and circle is not None:
            raise InvalidInput("users: a user is for a circle, or public: choose one")
        whose = EVERYBODY if public else of_agent(self.me) if circle is None else of_circle(circle)
        return self._recorder.record(names.USER_REGISTERED, said, about=[username], **whose.how)

    def change_user(self, user: str, *, agents: Sequence[str] | None = None, **changes: Any) -> Receipt:
        """New values (username, email, subscription_tier, agents) for a user that this agent keeps."""
        row = self._own(names.USERS, "created_by", user)
        if "email" in changes:
            _check_email(changes["email"])
        if agents is not None:
            changes["agents"] = [parse_id(one) for one in agents]
        if not changes:
            raise InvalidInput("users: nothing to change: name a column and its new value")
        about = sorted({row["username"], str(changes.get("username", row["username"]))})
        return self._recorder.record(names.USER_CHANGED, changes, entity=user, about=about, **of_row(row).how)

    def retire_user(self, user: str) -> Receipt:
        """Takes a user that this agent keeps off the list; what was recorded of them stays until it is forgotten."""
        row = self._own(names.USERS, "created_by", user)
        return self._recorder.record(names.USER_RETIRED, {}, entity=user, about=[row["username"]], **of_row(row).how)

    def credit(self, user: str, amount: int, *, reason: str | None = None) -> Answer:
        """Adds to a user's credits: for the agent that keeps the user."""
        return self._ask(names.CREDIT, names.USERS, user, amount=_amount(amount), reason=reason)

    def spend(self, user: str, amount: int, *, reason: str | None = None, home: str | None = None) -> Answer:
        """Takes from a user's credits, never below none: for the user's agents too.

        They may not see the user's row, so they name its `home`, the log of the agent that keeps the user. What they
        ask is public: ids, the amount and the reason.
        """
        said = {"amount": _amount(amount), "reason": reason}
        if home is None:
            return self._ask(names.SPEND, names.USERS, user, **said)
        return self._recorder.request(names.SPEND, said, home=parse_id(home), entity=user)

    # -- loops -----------------------------------------------------------------------------------------------------

    def whisper(
        self, text: str | None, *, creator: str | None = None, tone: str | None = None,
        consciousness: dict[str, Any] | None = None, mythology: str | None = None, fork_of: str | None = None,
        hide: Sequence[str] = (), home: str | None = None,
    ) -> Receipt:  # fmt: skip
        """A prompt that may become a loop; with `fork_of`, a fork of that one, or (Conflict) nothing at all.

        The names of people in `hide` stand in the text as `[person 1]` and so on, however they are spelled there, and
        the event is about them; one that is not in the text is refused. Without a text (None) the whisper is anonymous.
        `home` is the log that decides, as text: this agent's own when not given.
        """
        named = None if home is None else parse_id(home)
        said = {
            "whisper_origin": self._hidden(text, hide),
            "creator_id": None if creator is None else parse_entity(creator), "emotional_tone": tone,
            "consciousness_state": consciousness, "home": named,
            "mythology_id": self._key("mythologies", mythology, column="loops.mythology_id"),
        }  # fmt: skip
        if fork_of is None:
            return self._shared(names.WHISPERED, said, about=hide)
        parent = self._there(names.LOOPS, fork_of, column="loops.fork_parent")["loop_id"]
        with self._recorder.together():
            made = self._shared(names.WHISPERED, said, about=hide)
            assert made.entity is not None  # it is a new thing
            self._recorder.request(
                names.FORK, {"parent": parent}, home=named or self._recorder.log_id, entity=made.entity, **self._for.how
            )
        return made

    @staticmethod
    def _hidden(text: str | None, hide: Sequence[str]) -> str | None:
        if text is not None:
            return tokenized(words("loops.whisper_origin", text), hide)
        if hide:
            raise InvalidInput("hide: an anonymous whisper has no text that a name could be hidden in")
        return None

    def feel(self, loop: str, **state: Any) -> Receipt:
        """How a loop of the agent's own is now: emotional_tone, consciousness_state, mythology_id (an id as text)."""
        self._own(names.LOOPS, "created_by", loop)
        if not state:
            raise InvalidInput("loops: nothing to change: name emotional_tone, consciousness_state or mythology_id")
        if isinstance(state.get("mythology_id"), str):
            state["mythology_id"] = self._key("mythologies", state["mythology_id"], column="loops.mythology_id")
        return self._shared(names.FELT, state, entity=loop)

    def begin(self, loop: str) -> Answer:
        """A whisper of the agent's own becomes a loop."""
        return self._ask(names.BEGIN, names.LOOPS, loop)

    def archive(self, loop: str) -> Answer:
        """A loop (or whisper) of the agent's own is over."""
        return self._ask(names.ARCHIVE, names.LOOPS, loop)

    def sanctify(self, loop: str, consensus: str) -> Answer:
        """Asks a loop's home to call it blessed, because a guild has decided so."""
        key = self._there(names.CONSENSUS, consensus, column="loops.blessed_in")["id"]
        return self._ask(names.BLESS, names.LOOPS, loop, consensus=key)

    def note(
        self, loop: str, event_type: str, *, tone: str = "neutral", content: dict[str, Any] | None = None,
        occurred: Time | None = None,
    ) -> Receipt:  # fmt: skip
        """Something that happened in a loop, in a tone: drift is counted from these."""
        key = self._there(names.LOOPS, loop, column="loop_events.loop_id")["loop_id"]
        said = {
            "loop": key, "event_type": words("loop_events.event_type", event_type),
            "tone": words("loop_events.tone", tone), "content": content,
        }  # fmt: skip
        return self._shared(names.NOTED, said, occurred=occurred)

    def forecast(
        self, loop: str, forecast: dict[str, Any], *, horizon: int | None = None,
        confidence: Decimal | float | str | None = None,
    ) -> Receipt:  # fmt: skip
        """What the agent expects of a loop. *Units*: `horizon` in ms; `confidence` from 0 to 1."""
        key = self._there(names.LOOPS, loop, column="loop_forecasts.loop_id")["loop_id"]
        share = None if confidence is None else decimal("loop_forecasts.confidence", confidence, most=1)
        said = {"loop": key, "forecast": forecast, "horizon": horizon, "confidence": share}
        return self._shared(names.FORECAST, said)

    def lineage(self, loop: str) -> list[Mapping[str, Any]]:
        """A loop and those that it was forked from, itself first, as far as they are here."""
        found = [self._there(names.LOOPS, loop)]
        seen = {found[0]["loop_id"]}
        table = self._recorder.table(names.LOOPS)
        while (parent := found[-1]["fork_parent"]) is not None and parent not in seen:
            row = table.get(parent)
            if row is None or len(found) > FORK_DEPTH_MAX:
                break
            seen.add(parent)
            found.append(row)
        return found

    def forks(self, loop: str, *, limit: int = 1_000) -> Sequence[Mapping[str, Any]]:
        """The loops that were forked from one."""
        return self._recorder.table(names.LOOPS).select(fork_parent=parse_entity(loop), limit=limit)

    # -- blessings -------------------------------------------------------------------------------------------------

    def bless(
        self, loop: str, blessing_type: str | None = None, *, consensus_score: Decimal | float | str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Receipt:  # fmt: skip
        """The agent's blessing of a loop; `consensus_score` from 0 to 9.99."""
        score = (
            None if consensus_score is None else decimal("blessings.consensus_score", consensus_score, most=SCORE_MAX)
        )
        said = {
            "loop": self._there(names.LOOPS, loop, column="blessings.loop_id")["loop_id"],
            "blessing_type": blessing_type, "consensus_score": score, "metadata": metadata,
        }  # fmt: skip
        return self._shared(names.GRANTED, said)

    def unbless(self, loop: str) -> list[Receipt]:
        """Takes every blessing of the agent's own of a loop back. Raises NotFound when there is none."""
        key = parse_entity(loop)
        mine = [row for row in self._recorder.table(names.BLESSINGS).every({"loop_id": key})
                if row["blessed_by"] == self.me]  # fmt: skip
        if not mine:
            raise NotFound(f"blessings: this agent has not blessed {loop}")
        with self._recorder.together():
            return [self._shared(names.WITHDRAWN, {"loop": key, "id": row["id"]}) for row in mine]

    # -- prophecies --------------------------------------------------------------------------------------------------

    def prophesy(
        self, text: str, *, loops: Sequence[str] = (), hide: Sequence[str] = (), home: str | None = None
    ) -> Receipt:
        """What will be, about some loops. The names of people in `hide` stand in it as `[person 1]` and so on.

        `home` is the log that decides whether it came so, as text: this agent's own when not given.
        """
        said = {
            "prophecy_text": tokenized(words("prophecies.prophecy_text", text), hide),
            "related_loops": self._keys(names.LOOPS, loops, column="prophecies.related_loops"),
            "home": None if home is None else parse_id(home),
        }  # fmt: skip
        return self._shared(names.PROPHESIED, said, about=hide)

    def judge(
        self, prophecy: str, *, fulfilled: bool, evidence: str | None = None, reason: str | None = None
    ) -> Answer:
        """Says whether a prophecy came so, by which of its loops: for its author, or a maker of one of these."""
        key = self._key(names.LOOPS, evidence, column="prophecies.fulfilled_by")
        return self._ask(names.JUDGE, names.PROPHECIES, prophecy, fulfilled=fulfilled, evidence=key, reason=reason)

    # -- reading -----------------------------------------------------------------------------------------------------

    def get(self, loop: str) -> Mapping[str, Any] | None:
        """One loop, None when there is none that this agent may see."""
        return self._recorder.table(names.LOOPS).get(parse_entity(loop))

    def newest(self, state: str = "loop", *, limit: int = 100) -> Sequence[Mapping[str, Any]]:
        """The newest loops in a state: whisper, loop or archive."""
        if state not in names.LOOP_STATES:
            raise InvalidInput(f"loops.state is one of {', '.join(names.LOOP_STATES)}, not {state!r:.60}")
        return self._recorder.table(names.LOOPS).select(state=state, order="created_at", descending=True, limit=limit)

    def drifting(self, *, limit: int = 100) -> list[str]:
        """The loops that this agent has rated critical, as ids."""
        rows = self._recorder.table("drift_ratings").select(level="critical", order="as_of", limit=limit)
        return [row["entity_id"] for row in rows if row["rated_by"] == self.me]


def _amount(amount: object) -> int:
    if type(amount) is not int or amount < 1:
        raise InvalidInput(f"users.emotional_credits: an amount is a whole number from 1 on, not {amount!r:.60}")
    return amount


def _check_email(email: object) -> None:
    if not isinstance(email, str) or not _EMAIL.fullmatch(email):
        raise InvalidInput("users.email is an address like name@host")
