"""Room `engines` (imports `query` and below): the small files of a home: its folder, its keys; how its ring opens."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from antiphon.engines.keyfiles import KeyRing, Unlock, given_key, kept_key
from antiphon.model.errors import Conflict, InvalidInput, ReadOnly, Unavailable
from antiphon.world.entropy import SystemEntropy


def make_folder(place: Path) -> None:
    """Makes a folder that its owner alone can enter. Raises ReadOnly, Unavailable."""
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    except PermissionError:
        raise ReadOnly(f"cannot make the folder {place}: the one above does not let us write") from None
    except OSError as error:
        raise Unavailable(f"cannot make the folder {place}: {error.strerror}") from None


def given_passphrase(passphrase: str | None) -> str | None:
    """The passphrase, from here or from ANTIPHON_PASSPHRASE. Raises InvalidInput for an empty one."""
    given = passphrase if passphrase is not None else os.environ.get("ANTIPHON_PASSPHRASE")
    if given == "":
        raise InvalidInput("the passphrase given is empty: unset ANTIPHON_PASSPHRASE, or give one that protects")
    return given


def unlock(place: Path, passphrase: str | None) -> Unlock:
    """Everything that may open the ring; its first line says which of them it wants."""
    key = given_key()
    return Unlock(given_passphrase(passphrase), kept_key(place) if key is None else key)


def new_ring(place: Path, ring_path: Path, passphrase: str | None) -> KeyRing:
    """A new key ring, which opens by the passphrase, else by the key given, else by one that is kept beside it."""
    given = given_passphrase(passphrase)
    if given is not None:
        return KeyRing(ring_path, Unlock(passphrase=given), create=True)
    key = given_key() or kept_key(place)  # one that an interrupted start has left
    if key is None:
        key = SystemEntropy().bytes(32)
        write_private(place / "key", key.hex() + "\n")
    return KeyRing(ring_path, Unlock(key=key), create=True)


def write_private(path: Path, text: str) -> None:
    """A new file that its owner alone can read, on disk when this returns. Raises Conflict, Unavailable."""
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


def wipe(path: Path) -> None:
    """Overwrites and removes a file, if it is there."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        file.write(bytes(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())
        path.unlink()
