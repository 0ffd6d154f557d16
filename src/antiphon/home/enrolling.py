"""Room `home` (imports all below it): a home's agents: made, opened, adopted; they hear what its principal says."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from antiphon.engines.homefiles import make_folder
from antiphon.home.folder import Folder
from antiphon.identity.signing import SigningKey
from antiphon.log.store import LogRole
from antiphon.model.errors import Conflict, NotFound
from antiphon.replica import enrol, homes
from antiphon.replica.core import Replica
from antiphon.replica.records import AgentRecord, add_agent_log, single_record

RECOVERING: Final = "recovering"
GRANTING: Final = "granting"


class Enrolling(Folder):
    """How a home makes its agents."""

    def create_agent(self, name: str) -> tuple[Replica, AgentRecord]:
        """A new agent of this home's principal, in a file of its own. Raises Conflict when the name is taken."""
        path = self.path_of(name)
        make_folder(path.parent)
        with self._alone():
            if path.exists():
                raise Conflict(f"there is an agent {name!r} already: choose another name, or just use it")
            self._make_agent(name, path)
        return self.open_agent(name)

    def _make_agent(self, name: str, path: Path) -> None:
        principal = self.principal()
        log = self.principal_log()
        if principal.head(log).role != LogRole.OWN:
            raise Conflict(
                "this home is a copy of another one, or was restored: its principal enrols agents where the original "
                "is. Make the agent there; or, if the original is gone for good, say so with `antiphon adopt`"
            )
        with principal.transaction():
            made = enrol.enrol_agent(principal, log)
        record = AgentRecord(name, made.id, made.principal, log)
        with self.making(path) as replica:
            enrol.follow_homes(principal, log, replica)
            with replica.transaction():
                add_agent_log(replica, made, record, SigningKey(self.ring.get(f"log:{made.log.hex()}")))

    def adopt(self) -> list[str]:
        """Declares that this home is now the only one of its kind: what it was copied or restored from is gone.

        Its principal's log is written here from now on, and the agents' new logs are certified; which agents. If the
        other home is still used, both write one log: anyone who sees both can prove it. Raises Conflict when there is
        nothing to adopt.
        """
        with self._alone():
            principal, log = self.principal(), self.principal_log()
            head = principal.head(log)
            if head.role == LogRole.OWN:
                raise Conflict("this home enrols its own agents already: there is nothing to adopt")
            with principal.transaction():
                head.role = LogRole.OWN
                principal.logs.save_head(head)
            principal.forget_caches()
            certified = []
            for name in self.names():
                replica, record = self.open_agent(name)
                with replica:
                    for own in replica.heads_of(record.agent):
                        if own.role == LogRole.OWN and own.size and enrol.is_provisional(replica, own):
                            key = SigningKey(self.ring.get(f"log:{own.id.hex()}"))
                            enrol.certify(principal, log, replica, own.id, key)
                            certified.append(name)
                    homes.hear_homes(principal, log, replica)  # so that they may decide
            return certified

    def open_agent(self, name: str, *, read_only: bool = False) -> tuple[Replica, AgentRecord]:
        """An agent's file. Raises NotFound."""
        path = self.path_of(name)
        if not path.exists():
            known = ", ".join(self.names()) or "none yet"
            raise NotFound(f"there is no agent {name!r} in {self.folder} (known: {known}): `antiphon init {name}`")
        replica = self.open_file(path, read_only=read_only)
        if not read_only and self._has_news() and self.principal_path.exists():
            log = self.principal_log()
            enrol.follow_homes(self.principal(), log, replica)
            homes.hear_homes(replica, log, replica)
        return replica, single_record(replica)

    def _has_news(self) -> bool:
        """Whether the principal has said what agents may not have heard."""
        return any((self.folder / marker).exists() for marker in (RECOVERING, GRANTING))
