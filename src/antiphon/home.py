"""The folder where agents and their keys live (`ANTIPHON_HOME`): a key ring, a principal, an agent a file.

key                    the key-encryption key, unless a passphrase or ANTIPHON_KEY opens the ring
keys                   the ring of wrapped secrets
recovery-key.txt       the principal's root keys: to be moved away from this machine
recovering             there while agents have not all heard of a recovery
principal.antiphon     the principal's log
antiphon.toml          optional: `cipher = "sqlcipher"` in place of AEGIS-256; set it before the first agent
agents/NAME.antiphon   one agent's database
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import platformdirs

from antiphon.domains.items import ITEMS
from antiphon.domains.memory import MEMORY
from antiphon.domains.network import NETWORK
from antiphon.domains.tasks import TASKS
from antiphon.domains.wisdom import WISDOM
from antiphon.engines.keyfiles import KeyRing, Unlock, given_key, kept_key
from antiphon.engines.sqlite.file import CIPHERS, network_file_system
from antiphon.identity.signing import SigningKey
from antiphon.log.store import LogHead, LogRole
from antiphon.model import limits
from antiphon.model.errors import AntiphonError, Conflict, InvalidInput, NotFound, ReadOnly, Unavailable, WrongKey
from antiphon.model.text import id_text
from antiphon.replica import enrol, recovery
from antiphon.replica.archive import adopt_archive
from antiphon.replica.core import Replica
from antiphon.views.domain import Domain, Registry
from antiphon.world.entropy import SystemEntropy
from antiphon.world.host import exclusive

SUFFIX: Final = ".antiphon"
BUILT_IN: Final = (MEMORY, ITEMS, NETWORK, TASKS, WISDOM)
"""The domains that every home knows."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PRINCIPAL_KEY: Final = "principal"
_LOCK: Final = "making.lock"
_RECOVERING: Final = "recovering"


class AgentRecord(msgspec.Struct, frozen=True):
    """Which agent a file (or a fleet's entry) is about."""

    name: str
    agent: bytes
    principal: bytes
    principal_log: bytes


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
            _make_folder(place)
            with exclusive(place / _LOCK):
                if not ring_path.exists():
                    _new_ring(place, ring_path, passphrase)
            ring = KeyRing(ring_path, _unlock(place, passphrase))
        else:
            ring = KeyRing(ring_path, _unlock(place, passphrase))
        world.setdefault("cipher", _cipher_of(place))
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
            _write_private(kept, key.hex() + "\n")
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
        return Replica.create(path, key, self.registry, self.ring, **self._world)

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
                return Replica.open(
                    path, self.ring.get(name), self.registry, self.ring, read_only=read_only, **self._world
                )
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
        _make_folder(path.parent)
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
            return certified

    def open_agent(self, name: str, *, read_only: bool = False) -> tuple[Replica, AgentRecord]:
        """An agent's file. Raises NotFound."""
        path = self.path_of(name)
        if not path.exists():
            known = ", ".join(self.names()) or "none yet"
            raise NotFound(f"there is no agent {name!r} in {self.folder} (known: {known}): `antiphon init {name}`")
        replica = self.open_file(path, read_only=read_only)
        if not read_only and (self.folder / _RECOVERING).exists() and self.principal_path.exists():
            enrol.follow_homes(self.principal(), self.principal_log(), replica)
        return replica, single_record(replica)

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
                    replica.file.put(_PRINCIPAL_KEY, made.log)
                    _write_recovery_key(self.folder / "recovery-key.txt", made)
            return Recovered(made.id, made.log, [], {})


def add_agent_log(replica: Replica, made: enrol.NewAgent, record: AgentRecord, key: SigningKey) -> LogHead:
    """The agent's log and its record in this file. In a transaction."""
    head = replica.add_log(made.id, key, made.log)
    put_record(replica, record)
    replica.name_log(head.no, record.name)
    return head


def put_record(replica: Replica, record: AgentRecord) -> None:
    """Keeps who an agent of this file is."""
    replica.file.put(f"agent/{record.name}", msgspec.msgpack.encode(record))


def record_of(replica: Replica, name: str) -> AgentRecord:
    """An agent's record by its name. Raises NotFound."""
    raw = replica.file.get(f"agent/{name}")
    if raw is None:
        raise NotFound(f"there is no agent {name!r} in {replica.file.path}")
    return msgspec.msgpack.decode(raw, type=AgentRecord)


def single_record(replica: Replica) -> AgentRecord:
    """The record of the one agent that a file is about."""
    found = replica.file.settings("agent/")
    if len(found) != 1:
        raise InvalidInput(f"{replica.file.path} holds {len(found)} agents: open it as a fleet")
    return msgspec.msgpack.decode(found[0][1], type=AgentRecord)


def warn_of_network_folder(folder: Path) -> str | None:
    """Why this folder is a bad place, None when nothing is known against it."""
    kind = network_file_system(folder)
    if kind is None:
        return None
    return f"{folder} is on a network file system ({kind}): its locks can fail; keep agents on a local disk"


def _make_folder(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    except PermissionError:
        raise ReadOnly(f"cannot make the folder {place}: the one above does not let us write") from None
    except OSError as error:
        raise Unavailable(f"cannot make the folder {place}: {error.strerror}") from None


def _cipher_of(place: Path) -> str:
    """The cipher that `antiphon.toml` in the home names, AEGIS-256 when it names none."""
    try:
        found = tomllib.loads((place / "antiphon.toml").read_text()).get("cipher", CIPHERS[0])
    except FileNotFoundError:
        return CIPHERS[0]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{place / 'antiphon.toml'} cannot be read: {error}") from None
    if found not in CIPHERS:
        raise InvalidInput(f"{place / 'antiphon.toml'}: cipher must be one of {', '.join(CIPHERS)}, not {found!r}")
    return str(found)


def _given_passphrase(passphrase: str | None) -> str | None:
    given = passphrase if passphrase is not None else os.environ.get("ANTIPHON_PASSPHRASE")
    if given == "":
        raise InvalidInput("the passphrase given is empty: unset ANTIPHON_PASSPHRASE, or give one that protects")
    return given


def _unlock(place: Path, passphrase: str | None) -> Unlock:
    """Everything that may open the ring; its first line says which of them it wants."""
    key = given_key()
    return Unlock(_given_passphrase(passphrase), kept_key(place) if key is None else key)


def _new_ring(place: Path, ring_path: Path, passphrase: str | None) -> KeyRing:
    given = _given_passphrase(passphrase)
    if given is not None:
        return KeyRing(ring_path, Unlock(passphrase=given), create=True)
    key = given_key() or kept_key(place)  # one that an interrupted start has left
    if key is None:
        key = SystemEntropy().bytes(32)
        _write_private(place / "key", key.hex() + "\n")
    return KeyRing(ring_path, Unlock(key=key), create=True)


def _write_private(path: Path, text: str) -> None:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise Conflict(f"{path} exists already; move it away if it is not needed") from None
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from None
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _wipe(path: Path) -> None:
    """Overwrites and removes a file, if it is there."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        file.write(bytes(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())
        path.unlink()


def _write_recovery_key(path: Path, made: enrol.NewPrincipal) -> None:
    if path.exists():  # of a principal that was here before, or from before a recovery: never overwritten
        before = (path.with_name(f"recovery-key.before-{made.log.hex()[:8]}{n or ''}.txt") for n in range(1 << 20))
        path.rename(next(free for free in before if not free.exists()))
    _write_private(
        path,
        "Antiphon recovery key. Whoever has it can take over this principal; without it a stolen or lost\n"
        "machine cannot be revoked. Print it or move it to another device, then delete this file.\n"
        f"principal: {id_text(made.id)}\n"
        f"recovery: {made.recovery.hex()}\n",
    )
