"""Real servers for tests, benches and the region demo: installed from packages, started on loopback, hurt on purpose.

Nothing of the library imports this, and nothing here but `servers.region` imports the library. What was installed is
kept between runs in `cache.home()`; every process is started here and stopped by its own pid.
"""

from servers.cache import ServerMissing
from servers.pgbouncer import Pgbouncer
from servers.postgres import Postgres
from servers.pretender import Pretender
from servers.process import NotReady
from servers.proxy import Proxy
from servers.valkey import Valkey

__all__ = ["NotReady", "Pgbouncer", "Postgres", "Pretender", "Proxy", "ServerMissing", "Valkey"]
