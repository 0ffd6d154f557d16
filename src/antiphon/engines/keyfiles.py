"""Room `engines` (imports all below it): the key store as one file of wrapped secrets, a line each.

The first line says how the key-encryption key is made; the second proves that the right one was given. Adding a
secret appends a line; destroying one, or changing the passphrase, writes the file anew and overwrites the old one then.
"""

from __future__ import annotations

import base64
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from antiphon.identity import keystore
from antiphon.model.errors import Conflict, Corrupt, InvalidInput, NotFound, Unavailable, WrongKey
from antiphon.world.entropy import Entropy, SystemEntropy

try:
    import fcntl
except ImportError:  # Windows: one process at a time
    fcntl = None  # type: ignore[assignment]

_CHECK: Final = "check"
_ZERO: Final = bytes(32)


class _Head(msgspec.Struct):
    antiphon: str = "keyring/v1"
    kdf: str = "none"
    salt: str = ""
    ops: int = 0
    memory_bytes: int = 0


class Unlock(msgspec.Struct, frozen=True):
    """What opens a key ring: a passphrase, or 32 raw bytes from a key file or the environment."""

    passphrase: str | None = None
    key: bytes | None = None

    def __repr__(self) -> str:
        return "Unlock(passphrase)" if self.passphrase is not None else "Unlock(key)"


class KeyRing:
    """Named secrets in one file; see `identity.KeyStore` for the promises."""

    def __init__(self, path: Path, unlock: Unlock, *, create: bool = False, entropy: Entropy | None = None) -> None:
        self._path = path
        self._entropy: Entropy = entropy or SystemEntropy()
        self._lock = threading.RLock()
        self._sealed: dict[str, bytes] = {}
        self._waiting: dict[str, bytes] | None = None
        self._read_to = 0
        self._begins = b""
        self._changed = False
        if create:
            self._create(unlock)
        self._head = self._read_head()
        self._kek = _kek(unlock, self._head)
        self._refresh()
        check = self._sealed.get(_CHECK)
        if check is None:
            raise Corrupt(f"{path} has lost its check line: restore it from a backup")
        with contextlib.suppress(WrongKey):
            if keystore.unwrap(check, name=_CHECK, kek=self._kek) == _ZERO:
                return
        raise WrongKey(
            f"the {'passphrase' if self._head.kdf == 'argon2id' else 'key'} given does not open {path}: "
            "check ANTIPHON_PASSPHRASE, ANTIPHON_KEY, ANTIPHON_KEY_FILE or the file `key` beside it",
            path=str(path),
        )

    def __repr__(self) -> str:
        return f"KeyRing({str(self._path)!r}, {len(self._sealed) - 1} secrets)"

    def _create(self, unlock: Unlock) -> None:
        head = _Head()
        if unlock.passphrase is not None:
            salt = self._entropy.bytes(keystore.ARGON2_SALT_BYTES)
            head = _Head(
                kdf="argon2id",
                salt=salt.hex(),
                ops=keystore.ARGON2_OPS,
                memory_bytes=keystore.ARGON2_MEMORY_BYTES,
            )
        check = keystore.wrap(_ZERO, name=_CHECK, kek=_kek(unlock, head), entropy=self._entropy)
        text = msgspec.json.encode(head) + b"\n" + _line(_CHECK, check)
        fresh = self._path.with_suffix(".new")
        try:
            with self._locked():  # of two that create it at once, the second must not take the first one's place
                if self._path.exists():
                    raise Conflict(f"{self._path} exists already")
                handle = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                fresh.replace(self._path)  # whole or not at all
        except OSError as error:
            raise Unavailable(f"cannot create {self._path}: {error.strerror}") from None

    def _read_head(self) -> _Head:
        try:
            with self._path.open("rb") as file:
                first = file.readline()
            head = msgspec.json.decode(first, type=_Head)
        except FileNotFoundError:
            raise NotFound(f"there is no key ring {self._path}") from None
        except OSError as error:
            raise Unavailable(f"cannot read {self._path}: {error.strerror}") from None
        except (msgspec.DecodeError, msgspec.ValidationError):
            raise Corrupt(f"{self._path} is not a key ring") from None
        if head.antiphon != "keyring/v1":
            raise Corrupt(f"{self._path} is a key ring of a kind this Antiphon does not know: {head.antiphon}")
        return head

    @property
    def opens_by_passphrase(self) -> bool:
        """Whether it is a passphrase, and not a key, that opens it."""
        return self._head.kdf == "argon2id"

    def _refresh(self) -> None:
        """Reads the lines that were added since the last look, by whichever process.

        Where another process has changed the passphrase, what was read before stays as it was: it can still be opened.
        """
        with self._path.open("rb") as file:
            begins = file.readline() + file.readline()  # the head and a check that no other writing of the file has
            anew = begins != self._begins or os.fstat(file.fileno()).st_size < self._read_to
            if anew:
                self._begins = begins
                self._changed = bool(self._sealed) and not self._opens(begins)
            if self._changed:
                return
            if anew:
                self._sealed.clear()
                self._read_to = len(begins.partition(b"\n")[0]) + 1
            file.seek(self._read_to)
            tail = file.read()
        whole, _, _ = tail.rpartition(b"\n")
        for line in whole.split(b"\n") if whole else ():
            with contextlib.suppress(ValueError):
                name, sealed = _parsed(line)
                self._sealed[name] = sealed
        self._read_to += len(whole) + 1 if whole else 0

    def _opens(self, begins: bytes) -> bool:
        """Whether a ring that begins with these lines opens by our key."""
        with contextlib.suppress(WrongKey, ValueError, IndexError):
            name, sealed = _parsed(begins.split(b"\n")[1])
            return name != _CHECK or keystore.unwrap(sealed, name=_CHECK, kek=self._kek) == _ZERO
        return False

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock, self._path.with_suffix(".lock").open("ab") as guard:
            if fcntl is not None:
                fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def get(self, name: str) -> bytes:
        if self._waiting is not None and name in self._waiting:
            return self._waiting[name]
        sealed = self._sealed.get(name)
        if sealed is None:
            with self._lock:
                self._refresh()
                sealed = self._sealed.get(name)
        if sealed is None:
            raise NotFound(f"{self._path} holds no secret {name!r}", secret=name)
        return keystore.unwrap(sealed, name=name, kek=self._kek)

    def put(self, name: str, secret: bytes) -> None:
        self.put_all({name: secret})

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        with self._lock:
            if self._waiting is not None:
                yield
                return
            self._waiting = {}
            try:
                yield
                waiting, self._waiting = self._waiting, None
                if waiting:
                    self.put_all(waiting)
            finally:
                self._waiting = None

    def put_all(self, secrets: dict[str, bytes]) -> None:
        with self._lock:  # another thread's `together` is waited for
            if self._waiting is not None:
                self._waiting.update(secrets)
                return
        lines = self._lines(secrets)
        with self._locked():
            self._refresh()
            self._still_opens()
            self._append(lines)

    def put_new(self, secrets: dict[str, bytes]) -> dict[str, bytes]:
        with self._locked():
            self._refresh()
            known = self._sealed.keys() | (self._waiting or {}).keys()
            new = {name: secret for name, secret in secrets.items() if name not in known}
            if new:
                self._still_opens()
                self._append(self._lines(new))
            return {name: self.get(name) for name in secrets}

    def _lines(self, secrets: dict[str, bytes]) -> list[bytes]:
        lines = []
        for name, secret in secrets.items():
            if not name or any(char.isspace() for char in name):
                raise InvalidInput(f"{name!r} is no name for a secret")
            lines.append(_line(name, keystore.wrap(secret, name=name, kek=self._kek, entropy=self._entropy)))
        return lines

    def _append(self, lines: list[bytes]) -> None:
        with self._path.open("r+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a line that a crash has torn: ours must not join it
                    lines.insert(0, b"\n")
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        self._refresh()

    def _still_opens(self) -> None:
        """A secret wrapped under a passphrase that another process has changed meanwhile would be lost."""
        if self._changed:
            raise WrongKey(f"the passphrase or key of {self._path} was changed by another process: open it again")

    def destroy(self, name: str) -> bool:
        with self._locked():
            self._refresh()
            self._still_opens()
            if self._sealed.pop(name, None) is None:
                return False
            self._rewrite({key: _line(key, sealed) for key, sealed in self._sealed.items()}, self._head, self._kek)
            return True

    def rewrap(self, unlock: Unlock) -> None:
        """Wraps every secret under another passphrase or key; no identity changes.

        Killed at any moment it leaves a ring that opens by the old one or by the new one. Others that have the ring
        open go on reading what was in it, and must open it again before they put or destroy.
        """
        with self._locked():
            self._refresh()
            self._still_opens()
            secrets = {name: keystore.unwrap(sealed, name=name, kek=self._kek) for name, sealed in self._sealed.items()}
            head = _Head()
            if unlock.passphrase is not None:
                salt = self._entropy.bytes(keystore.ARGON2_SALT_BYTES).hex()
                head = _Head("keyring/v1", "argon2id", salt, keystore.ARGON2_OPS, keystore.ARGON2_MEMORY_BYTES)
            kek = _kek(unlock, head)
            lines = {
                name: _line(name, keystore.wrap(secret, name=name, kek=kek, entropy=self._entropy))
                for name, secret in secrets.items()
            }
            self._rewrite(lines, head, kek)

    def _rewrite(self, lines: dict[str, bytes], head: _Head, kek: bytes) -> None:
        check = _line(_CHECK, keystore.wrap(_ZERO, name=_CHECK, kek=kek, entropy=self._entropy))
        rest = b"".join(line for name, line in lines.items() if name != _CHECK)
        fresh = self._path.with_suffix(".new")
        try:
            handle = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(head) + b"\n" + check + rest)
                file.flush()
                os.fsync(file.fileno())
            with self._path.open("r+b") as old:
                size = os.fstat(old.fileno()).st_size
                fresh.replace(self._path)
                _keep_names(self._path.parent)  # first: a power cut must not leave the name on what is overwritten next
                self._head, self._kek = head, kek
                old.write(bytes(size))
                old.flush()
                os.fsync(old.fileno())
        except OSError as error:
            raise Unavailable(f"cannot write {self._path}: {error.strerror}") from None
        self._sealed.clear()
        self._refresh()

    def names(self) -> Iterator[str]:
        with self._lock:
            self._refresh()
            yield from sorted(name for name in self._sealed if name != _CHECK)


def given_key() -> bytes | None:
    """The key in ANTIPHON_KEY, or in the file that ANTIPHON_KEY_FILE names. Raises WrongKey."""
    text = os.environ.get("ANTIPHON_KEY")
    if text is None:
        path = os.environ.get("ANTIPHON_KEY_FILE")
        if path is None:
            return None
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise WrongKey(f"ANTIPHON_KEY_FILE ({path}) cannot be read: {error}") from None
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise WrongKey("ANTIPHON_KEY, or the file that ANTIPHON_KEY_FILE names, must be 64 hexadecimal digits")
    return key


def kept_key(place: Path) -> bytes | None:
    """The key in the file `key` of this folder."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return bytes.fromhex((place / "key").read_text().strip())
    return None


def _line(name: str, sealed: bytes) -> bytes:
    return name.encode() + b" " + base64.b64encode(sealed) + b"\n"


def _parsed(line: bytes) -> tuple[str, bytes]:
    name, _, sealed = line.partition(b" ")
    return name.decode(), base64.b64decode(sealed, validate=True)


def _keep_names(folder: Path) -> None:
    """A file's new name is on disk when this returns, where folders can be flushed at all."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _kek(unlock: Unlock, head: _Head) -> bytes:
    if head.kdf == "argon2id":
        if unlock.passphrase is None:
            raise WrongKey("this key ring opens with a passphrase: set ANTIPHON_PASSPHRASE or type it when asked")
        try:
            salt = bytes.fromhex(head.salt)
        except ValueError:
            raise Corrupt("the key ring's salt is damaged: restore it from a backup") from None
        return keystore.stretch(unlock.passphrase, salt, ops=head.ops, memory_bytes=head.memory_bytes)
    if unlock.key is None:
        raise WrongKey("this key ring opens with a key: set ANTIPHON_KEY or ANTIPHON_KEY_FILE")
    if len(unlock.key) != keystore.KEK_BYTES:
        raise InvalidInput(f"a key-encryption key is {keystore.KEK_BYTES} bytes, not {len(unlock.key)}")
    return unlock.key
