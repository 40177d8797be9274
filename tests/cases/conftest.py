from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cases.rig import Rig
from tests.cases.test_cases import compile_given
from tests.e2e.running import Block, reserve_block


@pytest.fixture(scope="session")
def block() -> Block:
    """The addresses of this test process."""
    return reserve_block()


@pytest.fixture(scope="session")
def rig(block: Block, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One Envoy for all cases of this process."""
    compiled, _ = compile_given("", block)
    running = Rig(block, tmp_path_factory.mktemp("cases"), compiled.snapshots)
    yield running
    running.close()
