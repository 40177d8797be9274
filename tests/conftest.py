"""How long properties may take, which examples they get, and what all requests of tests share.

A busy machine is no failure, so no example has a deadline. The gate tries the same examples on every run: one that is
red today and green tomorrow tells nobody anything. New ones are tried wherever people work.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.strict_skips import VARIABLE

settings.register_profile(
    "cellway",
    settings(),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=settings().derandomize or os.environ.get(VARIABLE) == "1",
)
settings.load_profile("cellway")


@pytest.fixture(scope="session", autouse=True)
def _public_authorities_are_read_once() -> Iterator[None]:
    """By itself httpx reads them for each client, 25 ms of a processor, and tests make thousands of them."""
    public = httpx.create_ssl_context()

    def context(verify: Any, **others: Any) -> ssl.SSLContext:
        return public if verify is True and others["cert"] is None else httpx.create_ssl_context(verify, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", context)
        yield
