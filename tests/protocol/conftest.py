"""A server on a port of loopback, and both protocols."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from xds_server.serve.grpc import XdsServer


@pytest.fixture
async def server() -> AsyncIterator[tuple[XdsServer, int]]:
    """A server without any snapshot yet, and its port."""
    served = XdsServer(time.monotonic, drain_delay=0.2)
    port = served.listen("127.0.0.1:0")
    await served.start()
    yield served, port
    await served.stop(0)


@pytest.fixture(params=[True, False], ids=["delta", "state of the world"])
def delta(request: pytest.FixtureRequest) -> bool:
    """Which protocol."""
    return bool(request.param)
