"""Limits that a service counts for all Envoys, with a real Envoy and a real service over gRPC."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.features.rate_limit_service import RateLimitService
from tests.translate.graphs import Reporter, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.parts.rate_limits import RateLimitSpec
from xds_server.graph import Setting

MINUTE = {"requests": 2, "unit": "Minute"}
BIG = {"requests": 10, "unit": "Hour"}
EACH_USER = {"headers": [{"type": "Distinct", "name": "x-user"}]}
BASIC = {"headers": [{"name": "x-plan", "value": "basic"}]}
METADATA = {"namespace": "test", "key": "none"}
RULES: dict[str, list[dict[str, Any]]] = {
    "plain": [{"limit": MINUTE}],
    "none": [{"limit": {"requests": 0, "unit": "Day"}}],
    "user": [{"clientSelectors": [EACH_USER], "limit": MINUTE}],
    "plan": [{"clientSelectors": [BASIC, {"methods": [{"value": "POST"}]}], "limit": MINUTE}],
    "address": [{"clientSelectors": [{"sourceCIDR": {"type": "Distinct", "value": "0.0.0.0/0"}}], "limit": MINUTE}],
    "shared": [{"limit": MINUTE, "shared": True}],
    "shadow": [{"limit": MINUTE, "shadowMode": True}, {"clientSelectors": [BASIC], "limit": MINUTE}],
    "silent": [{"limit": MINUTE, "xRateLimitHeaders": "Off"}],
    "cost": [{"limit": BIG, "cost": {"request": {"from": "Number", "number": 4}}}],
    "answer": [{"limit": MINUTE, "cost": {"request": {"from": "Number", "number": 0},
                                          "response": {"from": "Number", "number": 2}}}],
    "left": [{"limit": {**MINUTE, "fromMetadata": METADATA},
              "cost": {"request": {"from": "Metadata", "metadata": METADATA}}}],
}  # fmt: skip


def limits(service: RateLimitService, owner: str, *rules: dict[str, Any], **options: Any) -> Setting:
    known = replace(backend(service.address), name="limits")
    if options.pop("gone", False):
        known = replace(backend(("127.0.0.1", 9)), name="gone")
    reporter = Reporter(owner=owner, backends={"limits": known})
    written = {"backendRefs": [{"name": "limits", "port": 1}], "timeout": "10s", **options}
    return setting("global_rate_limit", RateLimitSpec, {"global": {"service": written, "rules": list(rules)}}, reporter)


@pytest.fixture(scope="module")
def service() -> Iterator[RateLimitService]:
    running = RateLimitService()
    yield running
    running.close()


@pytest.fixture(scope="module")
def edge(envoy: Envoy, service: RateLimitService) -> Envoy:
    action = forward(backend(envoy.server().address))
    hosts = [
        host(
            f"{name}.example",
            route(action, limits(service, name, *rules), path="/a", name=f"{name}-a"),
            route(action, limits(service, name, *rules), name=f"{name}-b"),
        )
        for name, rules in RULES.items()
    ]
    for name, options in (("open", {}), ("closed", {"failClosed": True})):
        bound = limits(service, name, {"limit": MINUTE}, gone=True, **options)
        hosts.append(host(f"{name}.example", route(action, bound)))
    together = limits(service, "together", {"limit": {"requests": 7, "unit": "Hour"}})
    hosts.append(host("together.example", route(action, together, name="together")))
    own = limits(service, "own", {"limit": MINUTE}, domain="of-its-own")
    envoy.apply(gateway(host("own.example", route(action, own)), host("free.example", route(action)), *hosts))
    return envoy


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, service: RateLimitService) -> Iterator[Envoy]:
    """Another Envoy under one of the policies."""
    running = Envoy(tmp_path_factory.mktemp("other"))
    action = forward(backend(running.server().address))
    bound = limits(service, "together", {"limit": {"requests": 7, "unit": "Hour"}})
    running.apply(gateway(host("together.example", route(action, bound, name="together"))))
    yield running
    running.close()


def codes(edge: Envoy, name: str, count: int, path: str = "/", method: str = "GET", **headers: str) -> list[int]:
    return [edge.get(f"{name}.example", path, method, **headers).status_code for _ in range(count)]


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_above_the_limit_the_answer_is_429(edge: Envoy) -> None:
    assert codes(edge, "plain", 3) == [200, 200, 429]
    answer = edge.get("plain.example")
    assert (answer.status_code, answer.headers["x-ratelimit-remaining"]) == (429, "0")
    assert answer.headers["x-ratelimit-limit"].startswith("2")
    assert not [name for name in answer.headers if "envoy" in name]
    assert codes(edge, "plain", 2, "/a") == [200, 200], "another route has a count of its own"


def test_all_envoys_together_keep_to_the_limit(edge: Envoy, other: Envoy) -> None:
    answers = [one.get("together.example").status_code for _ in range(8) for one in (edge, other)]
    assert answers == [200] * 7 + [429] * 9


def test_a_shared_limit_is_one_for_all_routes(edge: Envoy) -> None:
    assert codes(edge, "shared", 2, "/a") + codes(edge, "shared", 1) == [200, 200, 429]


def test_a_limit_of_nothing_refuses_all(edge: Envoy) -> None:
    assert codes(edge, "none", 2) == [429, 429]


def test_what_the_service_is_told(edge: Envoy, service: RateLimitService) -> None:
    edge.get("user.example", x_user="told")
    asked = service.requests[-1]
    entries = {entry.key: entry.value for entry in asked.descriptors[0].entries}
    assert (asked.domain, entries["policy"], entries["route"]) == ("cellway", "user", "user-b")
    assert entries["rule-0/header/x-user"] == "told"
    assert asked.descriptors[0].limit.requests_per_unit == 2
    edge.get("own.example")
    assert service.requests[-1].domain == "of-its-own"


def test_every_value_has_its_own_count(edge: Envoy) -> None:
    for user in ("ann", "bob"):
        assert codes(edge, "user", 3, x_user=user) == [200, 200, 429]
    assert codes(edge, "user", 4) == [200] * 4, "without the header there is nothing to count"
    assert codes(edge, "address", 3) == [200, 200, 429]


def test_selectors_of_a_rule_share_its_count(edge: Envoy) -> None:
    assert codes(edge, "plan", 4) == [200] * 4
    assert codes(edge, "plan", 1, x_plan="basic") + codes(edge, "plan", 1, method="POST") == [200, 200]
    assert codes(edge, "plan", 1, x_plan="basic") == [429]


def test_shadow_mode_counts_and_refuses_nothing(edge: Envoy, service: RateLimitService) -> None:
    assert codes(edge, "shadow", 5) == [200] * 5
    assert max(count for key, count in service.counts.items() if ("policy", "shadow") in key) == 5
    assert codes(edge, "shadow", 3, x_plan="basic") == [200, 200, 429], "the other rule holds"


def test_how_much_is_left_may_be_kept(edge: Envoy) -> None:
    assert not [name for name in edge.get("silent.example").headers if name.startswith("x-ratelimit")]


def test_a_request_may_cost_more(edge: Envoy) -> None:
    assert codes(edge, "cost", 3) == [200, 200, 429]


def test_an_answer_may_cost(edge: Envoy, service: RateLimitService) -> None:
    def counted() -> int:
        return sum(count for key, count in service.counts.items() if ("policy", "answer") in key)

    for taken in (2, 4):
        assert codes(edge, "answer", 1) == [200]
        until(lambda taken=taken: counted() == taken)  # type: ignore[misc]
    assert codes(edge, "answer", 1) == [429]


def test_metadata_that_nobody_left_means_no_limit(edge: Envoy) -> None:
    assert codes(edge, "left", 3) == [200] * 3


def test_a_service_that_does_not_answer(edge: Envoy) -> None:
    assert codes(edge, "open", 3) == [200] * 3
    assert codes(edge, "closed", 2) == [500, 500]
