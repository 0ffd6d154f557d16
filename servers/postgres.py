"""PostgreSQL 17 with TimescaleDB, pgvector and pg_cron: without the machine's own libraries, one cluster a folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from servers.cache import Told, installed, quiet
from servers.debian import bind_libraries, debian
from servers.process import Process, free_port, hand_over, run

MAJOR = 17
EXTENSIONS = ("timescaledb", "pgvector", "cron")
PRELOADED = ("timescaledb", "pg_cron", "pg_stat_statements")
USER = "antiphon_test"
PASSWORD = "correct horse"  # of clusters that live as long as a test


def _wanted(package: str) -> bool:
    """A library that the server loads; nothing that only an operating system needs."""
    if package.startswith(("libllvm", "libz3", "libperl", "libpython", "libdebconf")):
        return False
    return package.startswith("lib") or package == "zlib1g"


def _install(folder: Path, told: Told) -> None:
    with debian(told) as apt:
        names = [f"postgresql-{MAJOR}", f"postgresql-client-{MAJOR}", *(f"postgresql-{MAJOR}-{e}" for e in EXTENSIONS)]
        apt.unpack(apt.closure(names, keep=_wanted), folder, told)
    home = folder / f"usr/lib/postgresql/{MAJOR}"
    shutil.rmtree(home / "lib/bitcode", ignore_errors=True)
    for name in ("llvmjit.so", "llvmjit_types.bc"):
        (home / "lib" / name).unlink(missing_ok=True)
    bind_libraries(folder, sorted((home / "bin").iterdir()))


def install(told: Told = quiet) -> Path:
    """The folder of the programs, installed where it was not. Raises ServerMissing."""
    return installed(f"postgresql-{MAJOR}", _install, told) / f"usr/lib/postgresql/{MAJOR}/bin"


class Postgres:
    """One cluster in a folder of its own, listening on loopback alone.

    `extensions=False` makes one whose libraries are not preloaded, as a server looks that has none of the extensions
    loaded. `folder` may lie on a small file system, to see a disk fill up.
    """

    def __init__(self, folder: Path | None = None, *, preload: tuple[str, ...] = PRELOADED) -> None:
        self._bin = install()
        self._made = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="antiphon-pg-", dir="/var/tmp"))
        self.folder.chmod(0o711)
        hand_over(self.folder)
        self.data = self.folder / "data"
        self.port = free_port()
        self._preload = preload
        self._process = Process(
            [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port)],
            log=self.folder / "log",
            ready=self._answers,
            env=self._environment(),
        )

    @staticmethod
    def _environment() -> dict[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": "/"}

    def _answers(self) -> bool:
        try:
            asked = subprocess.run(
                [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                env=self._environment(),
                check=False,
                capture_output=True,
                timeout=10,
            )
        except subprocess.TimeoutExpired:
            return False
        return asked.returncode == 0

    def _configure(self) -> None:
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{self.folder}'",
            "shared_preload_libraries": f"'{','.join(self._preload)}'",
            "max_connections": "60",
            "max_worker_processes": "24",
            "shared_buffers": "128MB",
            "wal_level": "replica",
            "max_wal_senders": "6",
            "wal_retrieve_retry_interval": "200ms",
            "jit": "off",
            "password_encryption": "'scram-sha-256'",
        }
        if "pg_cron" in self._preload:
            settings["cron.use_background_workers"] = "on"
        if "timescaledb" in self._preload:
            settings["timescaledb.telemetry_level"] = "off"
        with (self.data / "postgresql.auto.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> Postgres:
        """Makes the cluster where there is none, and starts it."""
        if not (self.data / "PG_VERSION").exists():
            secret = self.folder / "password"
            secret.write_text(PASSWORD)
            secret.chmod(0o644)
            run(
                [
                    str(self._bin / "initdb"),
                    "-D",
                    str(self.data),
                    "-U",
                    USER,
                    f"--pwfile={secret}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale-provider=builtin",
                    "--locale=C.UTF-8",
                    "--no-sync",
                ],
                env=self._environment(),
            )
            secret.unlink()
            self._configure()
        self._process.start()
        return self

    def url(
        self, database: str = "postgres", *, user: str = USER, password: str = PASSWORD, port: int | None = None
    ) -> str:
        """What a client connects by."""
        return f"postgresql://{user}:{password.replace(' ', '%20')}@127.0.0.1:{port or self.port}/{database}"

    def standby(self) -> Postgres:
        """A streaming standby of this cluster, made by a base backup and started."""
        other = Postgres(preload=self._preload)
        run(
            [
                str(self._bin / "pg_basebackup"),
                "-d",
                self.url(),
                "-D",
                str(other.data),
                "-R",
                "-X",
                "stream",
                "--checkpoint=fast",
                "--no-sync",
            ],
            env=self._environment(),
        )
        with (other.data / "postgresql.auto.conf").open("a") as conf:
            conf.write(f"unix_socket_directories = '{other.folder}'\n")
        return other.start()

    def promote(self) -> None:
        """Makes a standby the primary."""
        run([str(self._bin / "pg_ctl"), "promote", "-D", str(self.data), "-w", "-t", "180"], env=self._environment())

    def dump(self, database: str = "postgres") -> str:
        """Everything that a database holds, as text."""
        return run([str(self._bin / "pg_dump"), "-d", self.url(database)], env=self._environment())

    @property
    def running(self) -> bool:
        return self._process.running

    def said(self) -> str:
        """The end of its log."""
        return self._process.said()

    def stop(self) -> None:
        """Ends it in good order ("fast": open sessions are ended)."""
        self._process.stop(signal.SIGINT)

    def kill(self) -> None:
        """kill -9 to it and all its workers."""
        self._process.kill()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def hang(self) -> None:
        """Nothing answers any more, and no connection is closed."""
        self._process.hang()

    def wake(self) -> None:
        """Goes on after `hang`."""
        self._process.wake()

    def remove(self) -> None:
        """Stops it and deletes what it kept."""
        self.kill()
        shutil.rmtree(self.folder if self._made else self.data, ignore_errors=True)

    def __enter__(self) -> Postgres:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()
