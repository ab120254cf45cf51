import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ketchup_cli.store.layout import Store

MEMORY = Path("/dev/shm")


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a disk only makes every fsync slow."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(dir=MEMORY))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def store(memory: Path) -> Store:
    return Store.open(memory / "runs")
