"""Installs what the contract suites need, saying what takes long: `python -m servers`."""

from __future__ import annotations

import sys
import time

from servers import ServerMissing, pgbouncer, postgres, valkey
from servers.cache import home


def main() -> int:
    """Exit status 1, with what to do, where a server cannot be had."""
    for name, install in (
        ("PostgreSQL", postgres.install),
        ("pgbouncer", pgbouncer.install),
        ("Valkey", valkey.program),
    ):
        began = time.monotonic()
        print(f"{name}: installing below {home()} where it is not there yet …", flush=True)
        try:
            install()
        except ServerMissing as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"{name}: ready after {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
