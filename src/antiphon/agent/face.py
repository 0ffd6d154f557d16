"""Room `agent` (imports all below it): an agent's own database in one object."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from antiphon.agent.forgetting import Forgetting
from antiphon.home import Home
from antiphon.log.verify import Verdict
from antiphon.model.errors import InvalidInput, NotFound
from antiphon.replica import archive, prove
from antiphon.replica import forget as forgetting
from antiphon.replica.core import Replica
from antiphon.replica.enrol import homes_of
from antiphon.replica.records import AgentRecord
from antiphon.replica.states import held_erasures
from antiphon.views.domain import Domain

RUNS_TO_PACK_AT_CLOSE = 16
"""Fewer loose commits than this are left as they are: a script that opens, writes once and closes stays quick."""


class Agent(Forgetting):
    """One agent. Threads may share it; several processes may open the same agent at once."""

    @classmethod
    def create(
        cls,
        name: str,
        *,
        home: Path | str | None = None,
        passphrase: str | None = None,
        domains: Iterable[Domain] = (),
        **world: Any,
    ) -> Agent:
        """A new agent in this home (made when it is not there). Raises Conflict when the name is taken."""
        place = Home.open(home, create=True, passphrase=passphrase, domains=domains, **world)
        return cls._in(place, *place.create_agent(name))

    @classmethod
    def open(
        cls,
        name: str,
        *,
        home: Path | str | None = None,
        create: bool = False,
        passphrase: str | None = None,
        domains: Iterable[Domain] = (),
        read_only: bool = False,
        **world: Any,
    ) -> Agent:
        """An agent of this home; with `create`, made when it is not there. Raises NotFound, WrongKey, Busy."""
        place = Home.open(home, create=create, passphrase=passphrase, domains=domains, **world)
        if create and not place.path_of(name).exists():
            return cls._in(place, *place.create_agent(name))
        return cls._in(place, *place.open_agent(name, read_only=read_only))

    @classmethod
    def _in(cls, home: Home, replica: Replica, record: AgentRecord) -> Agent:
        def principal() -> Replica | None:
            return home.principal() if home.principal_path.exists() else None

        return cls(replica, record, principal=principal, closer=home.close)

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Packs what is loose and closes the file."""
        closer, self._closer = self._closer, None
        if closer is not None:
            self.replica.tidy(runs_min=RUNS_TO_PACK_AT_CLOSE)
            self.replica.close()
            closer()

    # -- proofs --------------------------------------------------------------------------------------------------

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint (a C2SP note). Keep it elsewhere: `verify(since=…)` then finds a rollback."""
        return prove.hand_out_checkpoint(self.replica, self._read_log.id)

    def prove(self, event: str | int) -> bytes:
        """A proof file that this event is in the log, checkable by anyone with `antiphon.verify_proof`."""
        head, seq = self._place(event)
        return prove.prove_event(self.replica, head.id, seq, principal_log=self.record_of_agent.principal_log)

    def prove_growth(self, since: bytes) -> bytes:
        """A proof file that the log under an older checkpoint is a prefix of today's."""
        return prove.prove_growth(self.replica, since, principal_log=self.record_of_agent.principal_log)

    def verify(self, *, since: bytes | None = None, progress: Callable[[int], None] = lambda count: None) -> Verdict:
        """Hashes the whole log again; names the first bad block. With an older checkpoint, finds a rollback too."""
        worst: Verdict | None = None
        for head in self._heads():
            checked = prove.verify_log_of(
                self.replica,
                head,
                since=since if since is not None and prove.is_about(since, head) else None,
                principal_log=self.record_of_agent.principal_log,
                progress=progress,
            )
            if worst is None or (worst.ok and not checked.ok) or (worst.ok and head.id == self._read_log.id):
                worst = checked
        if worst is None:
            raise NotFound("this agent has no log here")
        if since is not None and not any(prove.is_about(since, head) for head in self._heads()):
            raise InvalidInput("the checkpoint given is of another log")
        return worst

    # -- the file ------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Sizes and counts: events, logs, rows, file, backlog, clock."""
        held = [msgspec.structs.asdict(one) for one in held_erasures(self.replica)]
        return {**prove.stats_of(self.replica, self._heads()), "held_erasures": held}

    def snapshot(self, path: Path | str) -> Path:
        """A consistent, encrypted copy of the file while it is in use; opened elsewhere it starts a log of its own."""
        place = Path(path)
        self.replica.keep_mark()
        self.replica.file.copy_to(place)
        forgetting.note_copy(self.replica, str(place.resolve()), "snapshot")
        return place

    def export(self, path: Path | str, *, good_only: bool = False, damage: list[archive.Damaged] | None = None) -> int:
        """All events as plain JSON lines, or (a path ending in .archive) with the proofs; how many events.

        With `good_only`, leaves out the bad blocks of a damaged log, listing them in `damage`, instead of raising
        Corrupt.
        """
        if good_only and damage is None:
            damage = []
        place = Path(path)
        homes, own = homes_of(self.replica, self.record_of_agent.principal), self._heads()
        if place.suffix == ".archive":
            for head in own:
                if head.size:  # a copy's new log is empty until something is recorded in it
                    prove.hand_out_checkpoint(self.replica, head.id)
            count = archive.write_archive(self.replica, [*homes, *own], place)
        else:
            count = archive.write_json_lines(self.replica, own, place, damage=damage)
        forgetting.note_copy(self.replica, str(place.resolve()), "export")
        return count
