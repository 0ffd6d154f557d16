"""pgbouncer before a PostgreSQL, handing out its sessions by transaction, as managed databases do."""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
from pathlib import Path

from servers.cache import Told, installed, quiet
from servers.debian import bind_libraries, debian
from servers.postgres import PASSWORD, USER
from servers.process import Process, free_port, hand_over

SESSIONS = 3
"""Sessions of the server that all clients share: so few that they meet each other's."""


def _wanted(package: str) -> bool:
    """A library that the program loads; nothing that only an operating system needs."""
    return package.startswith("lib") and not package.startswith(("libdebconf", "libperl", "libpython", "libpq-dev"))


def _install(folder: Path, told: Told) -> None:
    with debian(told) as apt:
        apt.unpack(apt.closure(["pgbouncer"], keep=_wanted), folder, told)
    bind_libraries(folder, [folder / "usr/sbin/pgbouncer"])


def install(told: Told = quiet) -> Path:
    """The program, installed where it was not. Raises ServerMissing."""
    return installed("pgbouncer", _install, told) / "usr/sbin/pgbouncer"


class Pgbouncer:
    """One pooler before the server on a port of this machine; a server's session is a client's for a transaction."""

    def __init__(self, target: int) -> None:
        program = install()
        self.folder = Path(tempfile.mkdtemp(prefix="antiphon-pgbouncer-", dir="/var/tmp"))
        self.folder.chmod(0o711)
        hand_over(self.folder)
        self.port = free_port()
        settings = self.folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = plain\nauth_file = {self.folder}/users\n"
            f"pool_mode = transaction\ndefault_pool_size = {SESSIONS}\nmax_client_conn = 50\n"
            "ignore_startup_parameters = extra_float_digits\n"
        )
        users = self.folder / "users"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        for file in (settings, users):
            file.chmod(0o644)
        self._process = Process([str(program), str(settings)], log=self.folder / "log", ready=self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def said(self) -> str:
        """The end of its log."""
        return self._process.said()

    def __enter__(self) -> Pgbouncer:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop(signal.SIGINT)
        self._process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
