"""Room `home` (imports all below it): a home in one object; and how its principal is taken back."""

from __future__ import annotations

from pathlib import Path

import msgspec

from antiphon.home.enrolling import RECOVERING
from antiphon.home.folder import PRINCIPAL_KEY
from antiphon.home.granting import Granting
from antiphon.model.errors import AntiphonError, Conflict, NotFound
from antiphon.replica import enrol, recovery
from antiphon.replica.archive import adopt_archive
from antiphon.replica.moving import learn


class Recovered(msgspec.Struct, frozen=True):
    """What a recovery did. `left` are agents whose files could not be opened, and why; they were not revoked."""

    principal: bytes
    log: bytes
    revoked: list[str]
    left: dict[str, str]


class Home(Granting):
    """A folder with agents and keys. Use `open`, which makes it when asked to."""

    def recover(self, key: bytes, *, revoke_instances: bool = False) -> Recovered:
        """Takes the principal back with its recovery key: new root keys, enrol key and log; the old ones are void.

        With `revoke_instances`, so are the keys of its agents: what they wrote so far stands, and each begins a new
        log. Interrupted before the principal's log says so, nothing has happened; after that, agents hear of it when
        they are next opened. The new recovery key is in `recovery-key.txt` first. Raises WrongKey, NotFound.
        """
        if not self.principal_path.exists():
            raise NotFound(f"{self.folder} has no principal's log: recover from an archive that holds it")
        with self._alone():
            principal, log = self.principal(), self.principal_log()
            recovery.committed_key(enrol.standing_in(principal, log), key)
            (self.folder / RECOVERING).touch()
            revoked, left, cuts = [], {}, []
            for name in self.names() if revoke_instances else ():
                try:
                    replica, record = self.open_agent(name)
                    with replica:
                        cuts += recovery.retire(replica, record.agent)
                except AntiphonError as error:
                    left[name] = str(error)
                else:
                    revoked.append(name)
            with principal.transaction():
                made = recovery.begin_home(principal, log, key, cuts)
                learn(principal, made.log)
                principal.file.put(PRINCIPAL_KEY, made.log)
                self._write_recovery_key(made)  # first: it is nowhere else
            principal.forget_caches()
            for name in self.names():
                try:
                    self.open_agent(name)[0].close()  # it hears of it
                except AntiphonError as error:
                    left[name] = str(error)
            if not left:
                (self.folder / RECOVERING).unlink()
            return Recovered(made.id, made.log, revoked, left)

    def recover_archive(self, path: Path, key: bytes) -> Recovered:
        """Makes the principal whose log is in an archive this home's, under new keys. Agents' files are not in it.

        Raises Conflict where this home has a principal, or files that none of its keys opens.
        """
        found = recovery.principal_in_archive(path, key)
        with self._alone():
            if self.principal_path.exists():
                raise Conflict(f"{self.folder} has a principal already: recover into another folder (--home)")
            with self.making(self.principal_path) as replica:
                adopt_archive(replica, path, of=found.principal)
                with replica.transaction():
                    made = recovery.begin_home(replica, found.home, key, ())
                    learn(replica, made.log)
                    replica.file.put(PRINCIPAL_KEY, made.log)
                    self._write_recovery_key(made)
            return Recovered(made.id, made.log, [], {})
