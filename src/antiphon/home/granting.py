"""Room `home` (imports all below it): what a principal grants agents, and to whom it moves the homes of rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from antiphon.home.enrolling import GRANTING, Enrolling
from antiphon.log.store import LogRole
from antiphon.model.errors import AntiphonError, Conflict, InvalidInput, NotFound
from antiphon.model.text import parse_id
from antiphon.replica import granting, homes
from antiphon.replica.authority import Move
from antiphon.replica.core import Replica
from antiphon.replica.records import single_record


class Granting(Enrolling):
    """What a home's principal says about its agents."""

    def grant(
        self, agent: str, role: str, *, tables: str | Sequence[str] | None = None, ceiling: int | None = None
    ) -> granting.Granted:
        """Lets an agent (a name of this home's, or any agent's id) write where this role is asked for: in these tables,
        or in all, to rows of this home's agents; `ceiling` is the most it may declare where the highest counts.

        Recorded by this home's principal; all its agents have heard of it when this returns, others do as logs reach
        them. *Cost*: each agent's file is opened. Raises InvalidInput, Conflict.
        """
        with self._alone(), self._telling():
            return granting.give(
                self.principal(), self.principal_log(), agent=self._agent_id(agent), role=role, tables=tables,
                ceiling=ceiling,
            )  # fmt: skip

    def withdraw(self, grant: str, *, sizes: Mapping[bytes, int] | None = None) -> granting.Granted:
        """Ends a grant: what its agent wrote so far, as far as it is known here, stands; `sizes` says how many events
        of which log do instead. Said again with sizes, the last word counts. Raises NotFound, Conflict.
        """
        with self._alone(), self._telling():
            given = next((one for one in self.grants() if one.id == grant), None)
            if given is not None and given.ended is not None and sizes is None:
                raise Conflict(f"the grant {grant} is withdrawn already; say sizes to put right what is accepted")
            if sizes is None:
                sizes = {} if given is None else self._sizes_of(parse_id(given.agent))
            return granting.withdraw(self.principal(), self.principal_log(), grant, sizes=sizes)

    def grants(self) -> list[granting.Granted]:
        """What this home's principal has granted, oldest first, with what was withdrawn."""
        principal = self.principal()
        return granting.grants_by(principal, principal.head(self.principal_log()).owner)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Lets every agent's file hear what the block makes the principal say; those that cannot at their next open."""
        marker = self.folder / GRANTING
        late = marker.exists()
        marker.touch()
        try:
            yield
        except BaseException:
            if not late:
                marker.unlink()
            raise
        left = False
        for name in self.names():
            try:
                self.open_agent(name)[0].close()
            except AntiphonError:
                left = True
        if not left:
            marker.unlink()

    def _agent_id(self, agent: str) -> bytes:
        if agent not in self.names():
            try:
                return parse_id(agent)
            except InvalidInput:
                known = ", ".join(self.names()[:12]) or "none yet"
                raise NotFound(
                    f"there is no agent {agent[:80]!r} in {self.folder} (known: {known}), nor is that an agent's id"
                ) from None
        replica, record = self.open_agent(agent, read_only=True)
        replica.close()
        return record.agent

    def _sizes_of(self, agent: bytes) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        for name in self.names():
            replica, _ = self.open_agent(name, read_only=True)
            with replica:
                for log, size in granting.sizes_in([replica], agent).items():
                    found[log] = max(size, found.get(log, 0))
        return found

    def move_home(self, agent: str, source: str, target: str | None = None, *, size: int | None = None) -> Move:
        """`Agent.move_home`, with logs named by id or by agents of this home, who have all heard when it returns."""
        with self._alone(), self._telling(), self.open_agent(agent)[0] as replica:
            old, new = (self._log_for(named, replica) for named in (source, target or agent))
            return homes.move_home(self.principal(), self.principal_log(), replica, source=old, target=new, size=size)

    def _log_for(self, named: str, replica: Replica) -> bytes:
        if named not in self.names():
            try:
                return parse_id(named)
            except InvalidInput:
                known = ", ".join(self.names()[:12]) or "none yet"
                raise InvalidInput(
                    f"there is no agent {named[:80]!r} in {self.folder} (known: {known}), nor is that a log's id"
                ) from None
        with self.open_agent(named)[0] as other:
            head = max(other.heads_of(single_record(other).agent), key=lambda one: (one.role == LogRole.OWN, one.no))
            homes.take_in(other, head.id, replica)  # what it has decided since would be void
            return head.id
