"""Limits as `explain` tells of them: never surer than the request lets it be."""

from __future__ import annotations

import pytest

from xds_server.envoy_api.envoy.extensions.filters.http.local_ratelimit.v3.local_rate_limit_pb2 import LocalRateLimit
from xds_server.explain.limits import local
from xds_server.explain.predicates import Asked
from xds_server.explain.request import Request


def limit_by(header: str) -> LocalRateLimit:
    config = LocalRateLimit()
    config.token_bucket.max_tokens = 2**32 - 1
    config.filter_enforced.default_value.numerator = 100
    action = config.rate_limits.add().actions.add().request_headers
    action.header_name, action.descriptor_key = header, "who"
    config.descriptors.add(token_bucket={"max_tokens": 5}).entries.add(key="who")
    return config


@pytest.mark.parametrize(
    ("header", "settled", "decision"),
    [("x-user", True, "passes"), ("x-user", False, "mayAnswer"), (":path", False, "passes")],
)
def test_a_header_that_a_filter_before_may_set_may_count(header: str, settled: bool, decision: str) -> None:
    request = Request("GET", "http", "shop.example", None, "/", {})
    assert local(limit_by(header), Asked(request, settled=settled)).decision == decision
