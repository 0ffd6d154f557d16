"""Where servers are installed, and that two processes never install one at once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

VARIABLE = "ANTIPHON_SERVERS"
Told = Callable[[str, int, int | None], None]
"""Is called with what an installation is at, how much of it is done, and of how much, where that is known."""


class ServerMissing(RuntimeError):
    """A server could not be had on this machine: what is missing, and what to do."""


def quiet(_doing: str, _done: int, _of: int | None) -> None:
    """Tells nobody how far an installation is."""


def home() -> Path:
    """The folder of installed servers: `ANTIPHON_SERVERS`, or the user's (root's: the machine's) cache.

    Servers do not run as root, so root's must lie where another user may look.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/antiphon-servers")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "antiphon-servers"


def installed(name: str, install: Callable[[Path, Told], None], told: Told = quiet) -> Path:
    """The folder of one installed server. `install` fills it where it is not there yet, whoever comes first.

    Files hold their own absolute paths, so they are made where they will stay; a mark written last says that all are
    there. What was interrupted leaves nothing, and what was killed is made anew. Raises ServerMissing.
    """
    folder, mark = home() / name, home() / f"{name}.installed"
    if mark.exists() and folder.is_dir():
        return folder
    if mark.exists() and folder.is_dir():
        return folder
    try:
        home().mkdir(parents=True, exist_ok=True)
        with (home() / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (mark.exists() and folder.is_dir()):
                mark.unlink(missing_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
                _fill(folder, install, told)
                mark.touch()
    except OSError as error:
        raise ServerMissing(f"{home()} cannot hold it ({VARIABLE} names another place): {error}") from None
    return folder


def _fill(folder: Path, install: Callable[[Path, Told], None], told: Told) -> None:
    folder.mkdir()
    try:
        folder.chmod(0o755)
        install(folder, told)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
