from __future__ import annotations

from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Cellway]]:
    """Makes servers that a whole module shares."""
    made: list[Cellway] = []

    def make(*arguments: str) -> Cellway:
        root = tmp_path_factory.mktemp("cellway")
        (root / "policies").mkdir()
        running = Cellway(root / "policies", root / "state", reserve_block(), arguments)
        made.append(running)
        return running

    yield make
    for running in made:
        running.close()
