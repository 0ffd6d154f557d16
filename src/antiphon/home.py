"""The folder where agents and their keys live (`ANTIPHON_HOME`): a key ring, a principal, an agent a file.

key                    the key-encryption key, unless a passphrase or ANTIPHON_KEY opens the ring
keys                   the ring of wrapped secrets
recovery-key.txt       the principal's root keys: to be moved away from this machine
recovering             there while agents have not all heard of a recovery
granting               there while agents have not all heard of a grant, or of its end
principal.antiphon     the principal's log
antiphon.toml          optional: `cipher = "sqlcipher"` in place of AEGIS-256; set it before the first agent. `trust =
                       ["b…"]`: the principals whose grants count for rows that are nobody's, in place of its own
agents/NAME.antiphon   one agent's database
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import platformdirs

from antiphon.domains import BUILT_IN
from antiphon.engines.configured import configured
from antiphon.engines.homefiles import make_folder, new_ring, unlock, write_private
from antiphon.engines.homefiles import wipe as _wipe
from antiphon.engines.keyfiles import KeyRing, Unlock, given_key
from antiphon.engines.sqlite.file import network_file_system
from antiphon.identity.signing import SigningKey
from antiphon.log.store import LogRole
from antiphon.model import limits
from antiphon.model.errors import AntiphonError, Conflict, InvalidInput, NotFound, WrongKey
from antiphon.model.text import id_text, parse_id
from antiphon.replica import enrol, granting, homes, recovery
from antiphon.replica.archive import adopt_archive
from antiphon.replica.authority import Move
from antiphon.replica.core import Replica
from antiphon.replica.moving import learn
from antiphon.replica.records import AgentRecord, add_agent_log, single_record
from antiphon.views.domain import Domain, Registry
from antiphon.world.entropy import SystemEntropy
from antiphon.world.host import exclusive

SUFFIX: Final = ".antiphon"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PRINCIPAL_KEY: Final = "principal"
_LOCK: Final = "making.lock"
_RECOVERING: Final = "recovering"
_GRANTING: Final = "granting"


class Recovered(msgspec.Struct, frozen=True):
    """What a recovery did. `left` are agents whose files could not be opened, and why; they were not revoked."""

    principal: bytes
    log: bytes
    revoked: list[str]
    left: dict[str, str]


def default_folder() -> Path:
    """`ANTIPHON_HOME`, else the system's place for such data."""
    chosen = os.environ.get("ANTIPHON_HOME")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("antiphon", appauthor=False))


def check_name(name: str) -> str:
    """The name itself when it can be a file's name everywhere. Raises InvalidInput."""
    if not _NAME.fullmatch(name) or len(name) > limits.NAME_CHARS_MAX:
        raise InvalidInput(
            f"{name[:80]!r} is no name for an agent: use letters, digits, dots, dashes and underscores, "
            f"at most NAME_CHARS_MAX ({limits.NAME_CHARS_MAX}), beginning with a letter or digit"
        )
    return name


class Home:
    """A folder with agents and keys. Use `open`, which makes it when asked to."""

    def __init__(self, folder: Path, ring: KeyRing, domains: Iterable[Domain] = (), **world: Any) -> None:
        self.folder = folder
        self.ring = ring
        given = {domain.name: domain for domain in domains}  # another version of a built-in one takes its place
        self.registry = Registry([*(one for one in BUILT_IN if one.name not in given), *given.values()])
        self._world = world
        self._principal: Replica | None = None
        self._lock = threading.RLock()
        self._locked = False
        self._trust = configured(folder).trust

    def __repr__(self) -> str:
        return f"Home({str(self.folder)!r})"

    @classmethod
    def open(
        cls,
        folder: Path | str | None = None,
        *,
        create: bool = False,
        passphrase: str | None = None,
        domains: Iterable[Domain] = (),
        **world: Any,
    ) -> Home:
        """The home in this folder (`ANTIPHON_HOME` by default). Raises NotFound, WrongKey, ReadOnly."""
        place = Path(folder) if folder is not None else default_folder()
        ring_path = place / "keys"
        if not ring_path.exists():
            if not create:
                raise NotFound(f"there is no Antiphon home at {place}: make one with `antiphon init NAME`")
            make_folder(place)
            with exclusive(place / _LOCK):
                if not ring_path.exists():
                    new_ring(place, ring_path, passphrase)
            ring = KeyRing(ring_path, unlock(place, passphrase))
        else:
            ring = KeyRing(ring_path, unlock(place, passphrase))
        world.setdefault("cipher", configured(place).cipher)
        return cls(place, ring, domains, **world)

    def change_passphrase(self, passphrase: str | None) -> None:
        """Makes the ring open by this passphrase; None: by ANTIPHON_KEY or ANTIPHON_KEY_FILE, else by a new key file.

        Whatever interrupts it, the ring opens by the old one or by the new one. No identity changes. Others that have
        the home open go on with what they have open, but must open it again to make agents or logs.
        """
        kept = self.folder / "key"
        if passphrase is not None:
            if not passphrase.strip():
                raise InvalidInput("the new passphrase is empty: choose one that protects, or remove it with --remove")
            self.ring.rewrap(Unlock(passphrase=passphrase))
            _wipe(kept)
            return
        if not self.ring.opens_by_passphrase:
            raise InvalidInput(f"{self.folder} opens by a key: there is no passphrase to remove")
        key = given_key()
        if key is None:
            key = SystemEntropy().bytes(32)
            _wipe(kept)  # it opens nothing: an interrupted change has left it
            write_private(kept, key.hex() + "\n")
        self.ring.rewrap(Unlock(key=key))

    def close(self) -> None:
        """Closes the principal's file, if it was opened."""
        if self._principal is not None:
            self._principal.close()
            self._principal = None

    def names(self) -> list[str]:
        """The agents in this home."""
        return sorted(path.name.removesuffix(SUFFIX) for path in (self.folder / "agents").glob(f"*{SUFFIX}"))

    def path_of(self, name: str) -> Path:
        """Where an agent's file is."""
        return self.folder / "agents" / (check_name(name) + SUFFIX)

    # -- files ---------------------------------------------------------------------------------------------------

    def create_file(self, path: Path, *, name: str | None = None) -> Replica:
        """A new file under a key of its own (kept under `name`, by default that of the file)."""
        name = name or f"file:{path.stem}"
        try:
            key = self.ring.get(name)
        except NotFound:
            key = SystemEntropy().bytes(32)
            self.ring.put(name, key)
        replica = Replica.create(path, key, self.registry, self.ring, **self._world)
        granting.trust(replica, self._trust)
        return replica

    @contextlib.contextmanager
    def making(self, path: Path) -> Iterator[Replica]:
        """A new file that appears under its name when the block has filled it; a block that fails leaves nothing.

        One process of a home at a time makes files. What a killed one has left half made is made again.
        """
        half = path.with_name(f"{path.name}.half")
        for leftover in half.parent.glob(f"{half.name}*"):
            leftover.unlink()
        replica = self.create_file(half, name=f"file:{path.stem}")
        try:
            yield replica
        finally:
            replica.close()
        half.replace(path)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Among the threads and processes of this home, one at a time makes principals and agents."""
        with self._lock:
            if self._locked:
                yield
                return
            with exclusive(self.folder / _LOCK):
                self._locked = True
                try:
                    yield
                finally:
                    self._locked = False

    def open_file(self, path: Path, *, read_only: bool = False) -> Replica:
        """An existing file, by the key of its name, or by whichever key of this home opens it."""
        if not path.exists():
            raise NotFound(f"there is no file {path}", path=str(path))
        own = f"file:{path.stem}"
        names = sorted((name for name in self.ring.names() if name.startswith("file:")), key=lambda name: name != own)
        for name in names:
            with contextlib.suppress(WrongKey):
                replica = Replica.open(
                    path, self.ring.get(name), self.registry, self.ring, read_only=read_only, **self._world
                )
                if not read_only:
                    granting.trust(replica, self._trust)
                return replica
        raise WrongKey(
            f"no key of {self.folder} opens {path}: it is damaged, not an Antiphon file, or belongs to another home",
            path=str(path),
        )

    # -- the principal -------------------------------------------------------------------------------------------

    def principal(self) -> Replica:
        """The file with the principal's log; made, with a new principal, when there is none yet."""
        if self._principal is not None:
            return self._principal
        path = self.principal_path
        with self._alone():
            if not path.exists():
                with self.making(path) as replica, replica.transaction():
                    made = enrol.create_principal(replica)
                    replica.file.put(_PRINCIPAL_KEY, made.log)
                    _write_recovery_key(self.folder / "recovery-key.txt", made)  # first: it is nowhere else
            self._principal = self.open_file(path)
        return self._principal

    def principal_log(self) -> bytes:
        """The id of the principal's log."""
        found = self.principal().file.get(_PRINCIPAL_KEY)
        if found is None:
            raise NotFound(f"{self.folder} has no principal")
        return found

    @property
    def principal_path(self) -> Path:
        """Where the principal's file is."""
        return self.folder / f"principal{SUFFIX}"

    # -- agents --------------------------------------------------------------------------------------------------

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
        return any((self.folder / marker).exists() for marker in (_RECOVERING, _GRANTING))

    # -- grants --------------------------------------------------------------------------------------------------

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
        marker = self.folder / _GRANTING
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

    # -- recovery ------------------------------------------------------------------------------------------------

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
            (self.folder / _RECOVERING).touch()
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
                principal.file.put(_PRINCIPAL_KEY, made.log)
                _write_recovery_key(self.folder / "recovery-key.txt", made)  # first: it is nowhere else
            principal.forget_caches()
            for name in self.names():
                try:
                    self.open_agent(name)[0].close()  # it hears of it
                except AntiphonError as error:
                    left[name] = str(error)
            if not left:
                (self.folder / _RECOVERING).unlink()
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
                    replica.file.put(_PRINCIPAL_KEY, made.log)
                    _write_recovery_key(self.folder / "recovery-key.txt", made)
            return Recovered(made.id, made.log, [], {})


def warn_of_network_folder(folder: Path) -> str | None:
    """Why this folder is a bad place, None when nothing is known against it."""
    kind = network_file_system(folder)
    if kind is None:
        return None
    return f"{folder} is on a network file system ({kind}): its locks can fail; keep agents on a local disk"


def _write_recovery_key(path: Path, made: enrol.NewPrincipal) -> None:
    if path.exists():  # of a principal that was here before, or from before a recovery: never overwritten
        before = (path.with_name(f"recovery-key.before-{made.log.hex()[:8]}{n or ''}.txt") for n in range(1 << 20))
        path.rename(next(free for free in before if not free.exists()))
    write_private(
        path,
        "Antiphon recovery key. Whoever has it can take over this principal; without it a stolen or lost\n"
        "machine cannot be revoked. Print it or move it to another device, then delete this file.\n"
        f"principal: {id_text(made.id)}\n"
        f"recovery: {made.recovery.hex()}\n",
    )
