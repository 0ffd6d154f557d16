"""A small disk, to see it fill up: a tmpfs, mounted by root, or by anybody in a mount namespace of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

READY: Final = b"mounted\n"
_HOLDER: Final = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
folder, size = os.fsencode(sys.argv[1]), sys.argv[2].encode()
if libc.mount(b"tmpfs", folder, b"tmpfs", 0, b"mode=755,size=" + size):
    sys.exit(os.strerror(ctypes.get_errno()))
os.write(1, b"mounted\\n")
sys.stdin.read()
"""


class NoSmallDisk(RuntimeError):
    """This machine lets nobody mount anything: why."""


@contextlib.contextmanager
def small_disk(size_bytes: int) -> Iterator[Path]:
    """A folder that holds so many bytes. Raises NoSmallDisk."""
    folder = Path(tempfile.mkdtemp(prefix="antiphon-small-", dir="/var/tmp"))
    mounted = _mounted if os.geteuid() == 0 else _in_a_namespace
    try:
        with mounted(folder, size_bytes) as seen:
            yield seen
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _mounted(folder: Path, size_bytes: int) -> Iterator[Path]:
    options = f"size={size_bytes},mode=755"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise NoSmallDisk(f"root may mount nothing here: {' '.join(done.stderr.split())}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


@contextlib.contextmanager
def _in_a_namespace(folder: Path, size_bytes: int) -> Iterator[Path]:
    """The disk is seen through the process that holds the namespace, under `/proc`, and is gone with it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        raise NoSmallDisk("only root may mount a small disk, and there is no `unshare`")
    command = [unshare, "--user", "--map-current-user", "--keep-caps", "--mount"]
    with subprocess.Popen(
        [*command, sys.executable, "-c", _HOLDER, str(folder), str(size_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != READY:
            said = " ".join(holder.stderr.read().decode(errors="replace").split())
            raise NoSmallDisk(f"only root may mount a small disk here, and user namespaces are not to be had: {said}")
        try:
            yield Path(f"/proc/{holder.pid}/root{folder}")
        finally:
            holder.stdin.close()
