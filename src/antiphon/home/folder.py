"""Room `home` (imports all below it): the folder itself: its ring of keys, its files, and the principal's file.

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import platformdirs

from antiphon.domains import BUILT_IN
from antiphon.domains.dashboards import DASHBOARDS
from antiphon.engines.configured import configured
from antiphon.engines.homefiles import make_folder, new_ring, unlock, wipe, write_private
from antiphon.engines.keyfiles import KeyRing, Unlock, given_key
from antiphon.engines.sqlite.file import network_file_system
from antiphon.model import limits
from antiphon.model.errors import InvalidInput, NotFound, WrongKey
from antiphon.model.text import id_text
from antiphon.replica import enrol, granting
from antiphon.replica.core import Replica
from antiphon.views.domain import Domain, Registry
from antiphon.world.entropy import SystemEntropy
from antiphon.world.host import exclusive

SUFFIX: Final = ".antiphon"
PRINCIPAL_KEY: Final = "principal"
"""The setting of the principal's file that names its log."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LOCK: Final = "making.lock"


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


class Folder:
    """What a home's public methods stand on."""

    def __init__(self, folder: Path, ring: KeyRing, domains: Iterable[Domain] = (), **world: Any) -> None:
        self.folder = folder
        self.ring = ring
        given = {domain.name: domain for domain in domains}  # another version of a built-in one takes its place
        self.registry = Registry(
            [*(one for one in BUILT_IN if one.name not in given), *given.values()], dashboards=DASHBOARDS
        )
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
    ) -> Self:
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
            wipe(kept)
            return
        if not self.ring.opens_by_passphrase:
            raise InvalidInput(f"{self.folder} opens by a key: there is no passphrase to remove")
        key = given_key()
        if key is None:
            key = SystemEntropy().bytes(32)
            wipe(kept)  # it opens nothing: an interrupted change has left it
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
        key = self.ring.put_new({name: SystemEntropy().bytes(32)})[name]
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
                    replica.file.put(PRINCIPAL_KEY, made.log)
                    self._write_recovery_key(made)  # first: it is nowhere else
            self._principal = self.open_file(path)
        return self._principal

    def principal_log(self) -> bytes:
        """The id of the principal's log."""
        found = self.principal().file.get(PRINCIPAL_KEY)
        if found is None:
            raise NotFound(f"{self.folder} has no principal")
        return found

    @property
    def principal_path(self) -> Path:
        """Where the principal's file is."""
        return self.folder / f"principal{SUFFIX}"

    def _write_recovery_key(self, made: enrol.NewPrincipal) -> None:
        path = self.folder / "recovery-key.txt"
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


def warn_of_network_folder(folder: Path) -> str | None:
    """Why this folder is a bad place, None when nothing is known against it."""
    kind = network_file_system(folder)
    if kind is None:
        return None
    return f"{folder} is on a network file system ({kind}): its locks can fail; keep agents on a local disk"
