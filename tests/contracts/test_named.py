"""Servers that are installed here or named by URL: what tests leave on them, what is refused, and what ^C leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from servers import ServerMissing, debian, named
from servers.cache import Told, installed
from servers.places import PostgresPlace, RedisPlace, aimed, own_name
from servers.process import free_port
from servers.proxy import until

ROOT = Path(__file__).resolve().parents[2]
ENDS_S_MAX = 300
of_servers = pytest.mark.needs("own postgres", "own valkey")  # others' tests leave and take databases meanwhile


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command of this project, beside variables."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=ENDS_S_MAX,
        check=False,
    )


# -- named ---------------------------------------------------------------------------------------------------------


def there(postgres: PostgresPlace, valkey: RedisPlace) -> tuple[set[str], set[str], set[bytes]]:
    """Databases, roles and keys of two servers."""
    with psycopg.connect(postgres.url(), autocommit=True) as session:
        databases = {name for (name,) in session.execute("SELECT datname FROM pg_database").fetchall()}
        roles = {name for (name,) in session.execute("SELECT rolname FROM pg_roles").fetchall()}
    client = redis.Redis.from_url(valkey.url())
    keys = set(client.scan_iter())
    client.close()
    return databases, roles, keys


@of_servers
@pytest.mark.server
def test_on_servers_that_are_named_what_needs_a_url_runs_and_nothing_stays(
    postgres: PostgresPlace, valkey: RedisPlace
) -> None:
    before = there(postgres, valkey)
    done = run(
        "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-m", "server", "tests/contracts/test_sink.py",
        "tests/contracts/test_faults.py", "tests/contracts/test_live.py",
        "-k", "comes_back_as_it_went_in or hangs or fails_over or told_without",
        **{named.POSTGRES: postgres.url(), named.REDIS: valkey.url(), named.SHARED: "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout, done.stdout
    assert f"2 left out: {named.NEEDS['own postgres']}" in done.stdout
    assert f"2 left out: {named.NEEDS['own valkey']}" in done.stdout
    assert there(postgres, valkey) == before


@of_servers
@pytest.mark.server
def test_places_are_dropped_where_they_are_lent(postgres: PostgresPlace, valkey: RedisPlace) -> None:
    before = there(postgres, valkey)
    one, other = (PostgresPlace(postgres.url(), lent=True) for _ in range(2))
    shared = {"antiphon_agent", "antiphon_public"}
    assert shared <= there(postgres, valkey)[1]
    assert one.database != other.database
    one.close()
    databases, roles, *_ = there(postgres, valkey)
    assert shared <= roles, "another process still feeds under these roles"
    assert one.database not in databases
    other.close()
    databases, roles, *_ = there(postgres, valkey)
    assert databases == before[0]
    assert roles <= before[1], "roles of databases that tests before have dropped go too"


@of_servers
@pytest.mark.server
def test_a_redis_with_keys_of_others_is_refused_unless_somebody_says_so(
    valkey: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = valkey.url(11)
    client = redis.Redis.from_url(url)
    client.set("somebody's", "own")
    monkeypatch.delenv(named.SHARED, raising=False)
    with pytest.raises(ServerMissing, match=r"keys of others \(1 seen\)"):
        named.look_at_redis(url)
    monkeypatch.setenv(named.SHARED, "1")
    assert "beside 1 keys of others" in named.look_at_redis(url)
    place = RedisPlace(url, lent=True, shared=True)
    client.set(f"{place.prefix()}x", "of a test")
    place.close()
    assert client.keys() == [b"somebody's"]
    strict = RedisPlace(url, lent=True)
    with pytest.raises(AssertionError, match="without a prefix"):
        strict.close()
    client.delete("somebody's")
    client.close()


@of_servers
@pytest.mark.server
def test_a_postgres_whose_user_may_not_do_it_is_one_line(postgres: PostgresPlace) -> None:
    user = own_name("plain")
    with psycopg.connect(postgres.url(), autocommit=True) as session:
        session.execute(f"CREATE ROLE {user} LOGIN CREATEDB CREATEROLE PASSWORD 'x'".encode())
    done = run("servers", "--or-named", **{named.POSTGRES: postgres.url(user=user, password="x"), named.REDIS: ""})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"{user} is no superuser" in line
    assert named.look_at_postgres(postgres.url()).startswith("17.")


WRONG = {
    "no such kind": (named.POSTGRES, "mysql://host/db", "is no URL of this kind"),
    "no port": (named.POSTGRES, "postgresql://ada:se%cret@host:port/db", "is no URL of this kind"),
    "no option": (named.POSTGRES, "postgresql://ada:se%cret@host/db?colour=red", "own clients would take"),
    "nobody there": (named.POSTGRES, "postgresql://ada:secret@127.0.0.1:{port}/db", "refused"),
    "no redis": (named.REDIS, "postgresql://host/0", "is no URL of this kind"),
    "no redis there": (named.REDIS, "redis://:secret@127.0.0.1:{port}/0", "refused"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_url_is_one_line_and_exit_code_1(what: str) -> None:
    variable, url, said = WRONG[what]
    other = named.POSTGRES if variable == named.REDIS else named.REDIS
    done = run("servers", "--or-named", **{other: "", variable: url.format(port=free_port())})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert variable in line
    assert said in line
    assert "cret" not in line


def test_a_url_is_aimed_elsewhere() -> None:
    url = "postgresql://ada:pw@[::1]:5433/db?sslmode=disable"
    assert aimed(url, path="x", user="b ob", password="a/b") == "postgresql://b%20ob:a%2Fb@[::1]:5433/x?sslmode=disable"
    assert aimed(url, port=6000, query="x=1") == "postgresql://ada:pw@[::1]:6000/db?sslmode=disable&x=1"
    assert aimed("redis://host", path="3", password="p") == "redis://:p@host/3"


# -- installed -----------------------------------------------------------------------------------------------------


def test_what_is_interrupted_leaves_nothing_and_what_was_killed_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_SERVERS", str(tmp_path))
    made: list[str] = []

    def interrupted(folder: Path, told: Told) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    def install(folder: Path, told: Told) -> None:
        made.append(folder.name)
        assert list(folder.iterdir()) == []
        (folder / "whole").touch()

    with pytest.raises(KeyboardInterrupt):
        installed("server", interrupted)
    assert not (tmp_path / "server").exists()
    (tmp_path / "server").mkdir()  # as if killed
    (tmp_path / "server" / "half").touch()
    for _ in range(2):
        assert (installed("server", install) / "whole").exists()
    assert made == ["server"]


def test_a_place_that_cannot_hold_it_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ANTIPHON_SERVERS", str(tmp_path / "file" / "below"))
    with pytest.raises(ServerMissing, match="ANTIPHON_SERVERS names another place"):
        installed("server", lambda folder, told: None)


def test_an_interrupt_while_installing_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    """A mirror that takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as mirror:
        mirror.settimeout(60)
        env = {
            **os.environ, "ANTIPHON_SERVERS": str(tmp_path), "TMPDIR": str(tmp_path),
            debian.MIRROR: f"http://127.0.0.1:{mirror.getsockname()[1]}/debian", "no_proxy": "127.0.0.1",
        }  # fmt: skip
        command = [sys.executable, "-m", "servers"]
        with subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running:
            until(lambda: any(tmp_path.glob("antiphon-apt-*")), within_s=60, what="asking the mirror")
            running.send_signal(signal.SIGINT)
            _, error = running.communicate(timeout=ENDS_S_MAX)
    assert running.returncode == 130
    assert error.strip().splitlines() == [
        "PostgreSQL: interrupted; nothing half made is left, and the next run begins it anew"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["postgresql-17.lock"]


RELEASES = {
    "debian": ("ID=debian\nVERSION_CODENAME=bookworm\n", ("debian", "bookworm")),
    "ubuntu": ('ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n', ("ubuntu", "noble")),
    "mint": ('ID=linuxmint\nID_LIKE="ubuntu debian"\nUBUNTU_CODENAME=noble\n', ("ubuntu", "noble")),
    "fedora": ('ID=fedora\nPRETTY_NAME="Fedora Linux 44"\n', None),
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASES)
def test_which_machine_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, expected = RELEASES[name]
    (tmp_path / "os-release").write_text(text)
    monkeypatch.setattr(debian, "OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(debian.shutil, "which", lambda program: f"/usr/bin/{program}")
    if expected is not None:
        assert debian._machine() == expected
        return
    with pytest.raises(ServerMissing, match=r"Fedora Linux 44.* is neither Debian nor Ubuntu") as error:
        debian._machine()
    assert "\n" not in str(error.value)
    assert named.POSTGRES in named.WAY_OUT


def test_mirrors_are_those_of_the_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "deb [arch=amd64 signed-by=/k.gpg] https://one.example/ubuntu/ noble main universe\n"
        "deb-src https://src.example/ubuntu noble main\n# deb https://gone.example/ubuntu noble main\n"
    )
    (tmp_path / "sources.list.d" / "a.sources").write_text(
        "Types: deb\nURIs: mirror+file:/etc/apt/apt-mirrors.txt https://sec.example/debian-security/\nSuites: noble\n"
    )
    (tmp_path / "sources.list.d" / "b.list").write_text("deb https://packages.example/editor stable main\n")
    (tmp_path / "sources.list.d" / "b.list.save").write_text("deb https://saved.example/ubuntu stable main\n")
    monkeypatch.setattr(debian, "SOURCES", (tmp_path / "sources.list", tmp_path / "sources.list.d"))
    assert debian._mirrors() == [
        "https://one.example/ubuntu", "mirror+file:/etc/apt/apt-mirrors.txt", "https://sec.example/debian-security",
    ]  # fmt: skip
    (tmp_path / "sources.list").unlink()
    (tmp_path / "sources.list.d" / "a.sources").unlink()
    with pytest.raises(ServerMissing, match=debian.MIRROR):
        debian._mirrors()
