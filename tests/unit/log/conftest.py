from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.log.written import Store, Written


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("logs")
    store = Store(folder / "logs.antiphon")
    yield store
    store.file.close()


@pytest.fixture
def log(store: Store) -> Written:
    return store.new_log()
