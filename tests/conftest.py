"""What every test gets: a home of its own, and a search whose depth one variable chooses.

`ANTIPHON_HYPOTHESIS`: `dev` (quick, random; the default), `ci` (the same examples each run), `slow` (deep).
"""

import os
import signal
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.simulation.views_world import Cast

# A shell that starts this in the background ignores ^C for it and all its children, and some tests press ^C.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "slow", max_examples=2_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("ANTIPHON_HYPOTHESIS", "dev"))


@pytest.fixture(scope="session")
def _next_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """A maker of fresh paths. *Cost*: no folder is made until the code under test makes it."""
    root, number = tmp_path_factory.mktemp("antiphon"), count()
    return lambda: root / str(next(number))


@pytest.fixture(autouse=True)
def own_home(_next_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder below which this test's agents, keys and state live; the user's own is out of reach."""
    folder = _next_home()
    monkeypatch.setenv("ANTIPHON_HOME", str(folder / "home"))
    monkeypatch.setenv("ANTIPHON_STATE", str(folder / "state"))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "xdg-state"))
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "xdg-data"))
    return folder


@pytest.fixture
def sim_seed() -> int:
    """The seed of this run's simulations, 1 unless `make sim SEED=…` says otherwise; a failure shows it."""
    seed = int(os.environ.get("ANTIPHON_SIM_SEED", "1"))
    print(f"to repeat: make sim SEED={seed}")
    return seed


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> "Cast":
    """Two principals with two agents each, for worlds of `tests/simulation/views_world.py`; made once a module."""
    from tests.simulation.views_world import cast  # most tests need nobody

    return cast(tmp_path_factory.mktemp("people"))
