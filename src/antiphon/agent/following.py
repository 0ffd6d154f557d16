"""Room `agent` (imports all below it): engines that follow an agent's file."""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.agent.listing import Listing
from antiphon.engines.sealing import SealedSink
from antiphon.engines.sqlite.followers import SqliteFollowers
from antiphon.model.errors import InvalidInput, NotFound
from antiphon.model.text import check_text
from antiphon.replica.follow import Follower, Standing, followers_of
from antiphon.replica.streams import EventFollower, topics_of
from antiphon.views.feed import EventSink, Sink

NAME_CHARS_MAX = 64


class Following(Listing):
    """What an agent's followers are reached by."""

    def follow(
        self,
        sink: Sink,
        *,
        name: str,
        tables: Iterable[str] | None = None,
        background: bool = False,
        take_over: bool = False,
    ) -> Follower:
        """Keeps rows in an engine in step with this file, from where the follower of this name stopped.

        `tables` are all that there are when none are named. Call `run` or `step`, or say `background`: then a thread
        does, until the agent is closed. Of a fleet's file, the rows of all its agents are followed. An engine that is
        fed from another file is refused, unless this one is to `take_over`: then that one's rows go. An engine that is
        `elsewhere` never sees personal data: it is sealed under this home's keys, here where nobody has done it.
        """
        registry = self.replica.registry
        chosen = [registry.table(one) for one in (registry.tables if tables is None else tables)]
        if any(table.personal for table in chosen) and getattr(sink, "elsewhere", False):
            sink = SealedSink(sink, self.seals)
        follower = Follower(self.replica, sink, _checked(name), chosen, take_over=take_over)
        self._begin(follower, background=background)
        return follower

    def follow_events(
        self,
        sink: EventSink,
        *,
        name: str,
        topics: Iterable[str] | None = None,
        from_start: bool = True,
        background: bool = False,
        take_over: bool = False,
    ) -> EventFollower:
        """Carries the events of declared topics to an engine, in order within each log, at least once: each has an id.

        `topics` are all that there are when none are named; without `from_start`, only what comes from now on counts.
        """
        chosen = list(topics_of(self.replica.registry) if topics is None else topics)
        follower = EventFollower(self.replica, sink, _checked(name), chosen, from_start=from_start, take_over=take_over)
        self._begin(follower, background=background)
        return follower

    def _begin(self, follower: Follower | EventFollower, *, background: bool) -> None:
        self.replica.endings.append(follower.close)
        if background:
            follower.start()

    def followers(self) -> list[Standing]:
        """Who follows this file, here or in other processes, and how far each is behind."""
        return followers_of(self.replica)

    def unfollow(self, name: str) -> None:
        """Forgets a follower: the feed is no longer kept for it. What its engine has stays there. Raises NotFound."""
        with self.replica.file.transaction():
            kept = SqliteFollowers(self.replica.file)
            if kept.load(name) is None:
                raise NotFound(f"nobody named {name[:NAME_CHARS_MAX]!r} follows this file")
            kept.remove(name)


def _checked(name: str) -> str:
    check_text(name, what="the name of a follower")
    if not name or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise InvalidInput(f"a follower's name is one line of 1 to {NAME_CHARS_MAX} characters")
    return name
