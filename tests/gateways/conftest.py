from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.running import reserve_block
from tests.gateways.rig import Rig
from tests.translate.live import Envoy


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One Envoy for a module."""
    block = reserve_block()
    envoy = Envoy(tmp_path_factory.mktemp("envoy"))
    yield Rig(envoy, block)
    envoy.close()
    block.release()
