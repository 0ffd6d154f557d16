"""Runs the region demo: `make demo-region`, or `python -m servers.region` where the servers are installed."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from servers.region.running import main
    except KeyboardInterrupt:  # before anything has begun
        sys.exit(130)
    sys.exit(main())
