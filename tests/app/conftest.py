from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import Cellway, reserve_block


@pytest.fixture
def cellway(tmp_path: Path) -> Iterator[Cellway]:
    """A policy folder with nothing in it, and a server that is not started yet."""
    folder, state = tmp_path / "policies", tmp_path / "state"
    folder.mkdir()
    running = Cellway(folder, state, reserve_block())
    yield running
    running.close()
