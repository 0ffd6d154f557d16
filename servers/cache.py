"""Where servers are installed, and that two processes never install one at once."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

VARIABLE = "ANTIPHON_SERVERS"


class ServerMissing(RuntimeError):
    """A server could not be had on this machine: what is missing, and what to do."""


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


def installed(name: str, install: Callable[[Path], None]) -> Path:
    """The folder of one installed server. `install` fills it where it is not there yet, whoever comes first.

    Files hold their own absolute paths, so they are made where they will stay; a mark written last says that all are
    there.
    """
    folder, mark = home() / name, home() / f"{name}.installed"
    if mark.exists() and folder.is_dir():
        return folder
    home().mkdir(parents=True, exist_ok=True)
    with (home() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if mark.exists() and folder.is_dir():
            return folder
        mark.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        folder.chmod(0o755)
        install(folder)
        mark.touch()
    return folder
