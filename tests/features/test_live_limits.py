"""Rate limits in a real Envoy: buckets, bursts, selectors, and a bucket for each value."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.translate.graphs import backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.parts.rate_limits import RateLimitSpec
from xds_server.graph import Setting

MINUTE = {"requests": 2, "unit": "Minute"}


def limits(*rules: dict[str, Any]) -> Setting:
    return setting("local_rate_limit", RateLimitSpec, {"local": {"rules": list(rules)}})


def selected(*selectors: dict[str, Any], **limit: Any) -> dict[str, Any]:
    return {"clientSelectors": list(selectors), "limit": limit or MINUTE}


HOURLY = {"limit": {"requests": 3, "unit": "Hour"}}
DISTINCT = {"headers": [{"type": "Distinct", "name": "x-user"}]}
BASIC = {"name": "x-plan", "value": "basic"}
PRO = {"name": "x-plan", "value": "pro", "invert": True}
STARTS_WITH_B = {"type": "RegularExpression", "name": "x-plan", "value": "b.*"}
SILENT = {"xRateLimitHeaders": "Off"}
WRITES = [{"value": "POST"}, {"value": "DELETE"}]
LOOPBACK = {"value": "127.0.0.0/8"}
A_OR_B = (
    {"headers": [{"name": "x-a", "value": "1"}]},
    {"sourceCIDR": LOOPBACK, "headers": [{"name": "x-b", "value": "1"}]},
)
RULES: dict[str, list[dict[str, Any]]] = {
    "burst": [{"limit": {"requests": 60, "unit": "Minute"}, "burst": 20}],
    "slow": [{"limit": {"requests": 30, "unit": "Minute"}, "burst": 1}],
    "user": [selected(DISTINCT), HOURLY],
    "units": [selected(DISTINCT, requests=1, unit="Second"), HOURLY],
    "header": [selected({"headers": [BASIC]})],
    "inverted": [selected({"headers": [PRO]})],
    "regex": [selected({"headers": [STARTS_WITH_B]})],
    "either": [selected({"path": {"value": "/x"}}, {"methods": WRITES})],
    "both": [selected({"path": {"value": "/x"}, "methods": [{"value": "POST", "invert": True}]})],
    "exact": [selected({"path": {"type": "Exact", "value": "/a.b"}})],
    "query": [selected({"queryParams": [{"name": "k", "value": "1"}, {"name": "no", "value": "1", "invert": True}]})],
    "value": [selected({"queryParams": [{"type": "Distinct", "name": "k"}]})],
    "near": [selected({"sourceCIDR": LOOPBACK})],
    "far": [selected({"sourceCIDR": {**LOOPBACK, "invert": True}})],
    "address": [selected({"sourceCIDR": {"type": "Distinct", "value": "0.0.0.0/0"}})],
    "shadow": [{"limit": MINUTE, "shadowMode": True}],
    "shadows": [{**selected(DISTINCT), "shadowMode": True}, HOURLY],
    "mixed": [selected(*A_OR_B)],
    "silent": [{**selected({"headers": [BASIC]}), **SILENT}, {**HOURLY, **SILENT}],
    "partly": [{**selected({"headers": [BASIC]}), **SILENT}, HOURLY],
}


@pytest.fixture(scope="module")
def edge(envoy: Envoy) -> Envoy:
    action = forward(backend(envoy.server().address))
    every = limits({"limit": MINUTE})
    hosts = [host(f"{name}.example", route(action, limits(*rules))) for name, rules in RULES.items()]
    two_routes = host("all.example", route(action, every, path="/a"), route(action, every, path="/b"))
    envoy.apply(gateway(two_routes, host("free.example", route(action)), *hosts))
    return envoy


def codes(edge: Envoy, name: str, count: int, path: str = "/", method: str = "GET", **headers: str) -> list[int]:
    return [edge.get(name, path, method, **headers).status_code for _ in range(count)]


def test_above_the_limit_the_answer_is_429(edge: Envoy) -> None:
    assert codes(edge, "all.example", 3, "/a") == [200, 200, 429]
    answer = edge.get("all.example", "/a")
    assert (answer.status_code, answer.text) == (429, "local_rate_limited")
    assert answer.headers["x-ratelimit-limit"].startswith("2")
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert int(answer.headers["x-ratelimit-reset"]) <= 60
    assert codes(edge, "all.example", 2, "/b") == [200, 200], "every route has its own bucket"


def test_a_burst_passes_at_once_and_then_the_rate_holds(edge: Envoy) -> None:
    start = time.monotonic()
    passed = codes(edge, "burst.example", 40).count(200)
    assert 20 <= passed <= 21 + (time.monotonic() - start), "20 at once, one a second after them"


def test_a_bucket_refills_evenly(edge: Envoy) -> None:
    assert 429 in codes(edge, "slow.example", 4)
    deadline = time.monotonic() + 60
    while edge.get("slow.example").status_code != 200:
        assert time.monotonic() < deadline, "30 a minute are one in two seconds"


def test_every_value_has_its_own_bucket(edge: Envoy) -> None:
    for user in ("ann", "bob", "eve"):
        assert codes(edge, "user.example", 3, x_user=user) == [200, 200, 429]
    assert codes(edge, "user.example", 4) == [200, 200, 200, 429], "requests without the header are the rest"
    assert codes(edge, "user.example", 1, x_user="joe") == [200]


def test_rules_of_different_units(edge: Envoy) -> None:
    assert codes(edge, "units.example", 2, x_user="ann") == [200, 429]
    assert codes(edge, "units.example", 4) == [200, 200, 200, 429]


def test_many_values_are_remembered(edge: Envoy) -> None:
    for number in range(60):
        assert codes(edge, "user.example", 1, x_user=f"many-{number}") == [200]
    assert codes(edge, "user.example", 2, x_user="many-0") == [200, 429]


def test_without_a_limit_there_are_no_headers_of_it(edge: Envoy) -> None:
    assert not [name for name in edge.get("free.example").headers if name.startswith("x-ratelimit")]
    assert not [name for name in edge.get("header.example").headers if name.startswith("x-ratelimit")]
    assert edge.get("header.example", x_plan="basic").headers["x-ratelimit-remaining"] == "1"


@pytest.mark.parametrize(
    ("name", "counted", "free"),
    [
        ("header.example", {"x_plan": "basic"}, {"x_plan": "pro"}),
        ("inverted.example", {"x_plan": "basic"}, {"x_plan": "pro"}),
        ("regex.example", {"x_plan": "basic"}, {"x_plan": "a-basic"}),
        ("either.example", {"path": "/x/y"}, {"path": "/xy"}),
        ("either.example", {"path": "/z", "method": "POST"}, {"path": "/z"}),
        ("both.example", {"path": "/x?a=/"}, {"path": "/x", "method": "POST"}),
        ("exact.example", {"path": "/a.b?c"}, {"path": "/a-b"}),
        ("query.example", {"path": "/?k=1"}, {"path": "/?k=1&no=1"}),
        ("value.example", {"path": "/?k=1"}, {"path": "/?n=1"}),
        ("near.example", {}, None),
        ("address.example", {}, None),
        ("mixed.example", {"x_b": "1"}, {"x_c": "1"}),
    ],
)
def test_selectors(edge: Envoy, name: str, counted: dict[str, str], free: dict[str, str] | None) -> None:
    found = codes(edge, name, 4, **counted)
    assert 429 in found, found
    if free is not None:
        assert codes(edge, name, 4, **free) == [200] * 4


def test_selectors_of_a_rule_share_its_bucket(edge: Envoy) -> None:
    codes(edge, "mixed.example", 2, x_a="1")
    assert codes(edge, "mixed.example", 1, x_b="1") == [429]


def test_a_range_that_does_not_fit_counts_nothing(edge: Envoy) -> None:
    assert codes(edge, "far.example", 5) == [200] * 5


def test_shadow_mode_refuses_nothing(edge: Envoy) -> None:
    assert codes(edge, "shadow.example", 5) == [200] * 5
    assert codes(edge, "shadows.example", 5, x_user="ann") == [200] * 5
    assert codes(edge, "shadows.example", 4) == [200, 200, 200, 429]


def test_a_rule_may_keep_to_itself_how_much_is_left(edge: Envoy) -> None:
    for name, headers in (("silent", {}), ("silent", {"x_plan": "basic"}), ("partly", {"x_plan": "basic"})):
        answer = edge.get(f"{name}.example", **headers)
        assert not [one for one in answer.headers if one.startswith("x-ratelimit")], (name, headers)
    assert edge.get("partly.example").headers["x-ratelimit-remaining"] == "2"
    assert codes(edge, "silent.example", 2, x_plan="basic") == [200, 429], "it counts all the same"
