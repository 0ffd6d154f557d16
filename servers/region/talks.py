"""A day's conversations out of the corpus that `make demo` reads: who said what to whom, and how well it went."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from antiphon.demo.corpus import NO_TEXT, Liking, Meeting, Message, Opinion, read_opinions
from antiphon.model.times import to_ms

DAY: Final = "2018-05-09"
"""The day on which most was said between few."""
MESSAGES_MAX: Final = 4_000
TITLE_CHARS_MAX: Final = 60
_NEEDS: Final = re.compile(
    r"\bi (?:really |still |also )?(?:need|have|want) to (?!go |say |admit |leave |be )((?:[a-z']+ ){1,7}[a-z']{3,})",
    re.I,
)


class Task(msgspec.Struct, frozen=True):
    """What somebody said that they need or want to do. *Units*: ms since 1970."""

    person: str
    title: str
    said_ms: int


class Talk(msgspec.Struct, frozen=True):
    """A conversation of two, in the order in which it was said."""

    meeting: Meeting
    messages: tuple[Message, ...]
    opinions: tuple[Opinion, ...]
    tasks: tuple[Task, ...]
    likings: tuple[Liking, ...] = ()

    def other(self, person: str) -> str:
        """Whom this person talked with."""
        one, two = self.meeting.people
        return two if person == one else one


class _Raw(msgspec.Struct, gc=False):
    text: str
    timestamp: str
    sender: str


class _Conversation(msgspec.Struct, gc=False):
    messages: list[list[_Raw]]
    ratings: dict[str, float | None] = {}


def read_talks(path: Path, *, messages_max: int = MESSAGES_MAX, day: str = DAY) -> list[Talk]:
    """The day's conversations of two, in the order in which they ended, up to so many messages."""
    read = msgspec.json.decode(path.read_bytes(), type=dict[str, _Conversation])
    found = [talk for one in read.values() if (talk := _talk(one, day)) is not None]
    found.sort(key=lambda talk: (talk.meeting.ended_ms, talk.meeting.people))
    chosen: list[Talk] = []
    for talk in found:
        messages_max -= len(talk.messages)
        if messages_max < 0 and chosen:
            break
        chosen.append(talk)
    opinions, likings = read_opinions(path)
    said = {(one.person, one.said_ms, one.text): one for one in opinions}
    liked = {(one.person, one.said_ms, one.text): one for one in likings}
    return [_seeing(talk, said, liked) for talk in chosen]


def _talk(one: _Conversation, day: str) -> Talk | None:
    raws = [raw for run in one.messages for raw in run]
    if not raws or not raws[0].timestamp.startswith(day):
        return None
    messages = sorted(
        (Message(_name(raw), raw.text if raw.text.strip() else NO_TEXT, to_ms(raw.timestamp)) for raw in raws),
        key=lambda message: message.sent_ms,
    )
    turns = Counter(_name(run[0]) for run in one.messages if run)
    if len(turns) != 2:
        return None
    (first, many), (second, some) = turns.items()
    given = [rating for rating in one.ratings.values() if rating is not None]
    rating = sum(given) / len(given) if given else None
    meeting = Meeting((first, second), (many, some), messages[-1].sent_ms, rating)
    tasks = [_task(message) for message in messages]
    return Talk(meeting, tuple(messages), (), tuple(task for task in tasks if task is not None))


_Said = tuple[str, int, str]
"""(who, when, what)"""


def _seeing(talk: Talk, said: dict[_Said, Opinion], liked: dict[_Said, Liking]) -> Talk:
    keys = [(message.person, message.sent_ms, message.text) for message in talk.messages]
    opinions = tuple(said[key] for key in keys if key in said and said[key].other == talk.other(key[0]))
    return msgspec.structs.replace(talk, opinions=opinions, likings=tuple(liked[key] for key in keys if key in liked))


def _name(raw: _Raw) -> str:
    return f"person-{raw.sender[:8]}"


def _task(message: Message) -> Task | None:
    found = _NEEDS.search(message.text)
    if found is None or len(found[1]) > TITLE_CHARS_MAX:
        return None
    return Task(message.person, " ".join(found[1].split()), message.sent_ms)
