"""How a cell fares when one of those that it depends on does badly: others do not notice, and nothing is made worse."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from tests.e2e import shop
from tests.e2e.load import Load
from tests.e2e.running import Cellway, ask_envoy
from tests.e2e.shop import EAST, NORTH, SOUTH, door, url
from tests.e2e.upstream import Upstream

CATALOG, ORDERS, PAYMENTS = (f"{name}.cell.internal" for name in ("catalog.orders", "api.orders", "api.payments"))
OUTLIERS = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: outliers, namespace: storefront}
spec:
  targetRefs: [{group: cellway.dev, kind: Cell, name: storefront, sectionName: east.catalog}]
  healthCheck:
    panicThreshold: 0
    passive: {consecutive5XxErrors: 3, interval: 100ms, baseEjectionTime: 2s, maxEjectionPercent: 100}
"""
FEW = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: few, namespace: storefront}
spec:
  targetRefs: [{group: cellway.dev, kind: Cell, name: storefront, sectionName: east.orders}]
  circuitBreaker: {maxConnections: 2, maxPendingRequests: 1, maxParallelRequests: 2}
"""


@pytest.fixture(scope="module")
def cells(shared: Callable[..., Cellway]) -> Cellway:
    running = shared()
    shop.write_shop(running, quota=False)
    shop.start_servers(running)
    running.write("few.yaml", FEW)
    running.write("outliers.yaml", OUTLIERS)
    running.start()
    return running


def server(cells: Cellway, name: str) -> Upstream:
    return next(one for one in cells.upstreams if one.name == name)


def ask(cells: Cellway, host: str, cell: str = "storefront", direction: int = EAST, path: str = "/") -> httpx.Response:
    return httpx.get(url(cells, cell, direction, path), headers={"Host": host}, timeout=15)


def stat(cells: Cellway, cell: str, direction: str, name: str) -> int:
    """A counter of one gateway of a cell."""
    proxies = cells.api("proxies")["items"]
    admin = next(one["admin"] for one in proxies if one["gateway"].endswith(f"{cell}/{direction}"))
    found = ask_envoy(admin, "/stats?format=json").json()["stats"]
    return sum(int(one["value"]) for one in found if one.get("name") == name)


def test_more_at_once_than_allowed_is_refused_at_once_and_passes_again_afterwards(cells: Cellway) -> None:
    slow = server(cells, "api")
    slow.delay = 0.5
    address, port = door(cells, "storefront", EAST)
    with Load(address, port, ORDERS, rate=800, connections=8) as load:
        deadline = time.monotonic() + 60
        while (answer := ask(cells, ORDERS)).status_code != 503:
            assert time.monotonic() < deadline, "nothing is refused"
        assert ask(cells, CATALOG).status_code == 200, "the other dependency has limits of its own"
    assert answer.headers["x-envoy-overloaded"] == "true"
    assert set(load.outcomes) == {"200", "503"}, load.outcomes
    slow.delay = 0.0
    assert ask(cells, ORDERS).status_code == 200


def test_a_dependency_that_keeps_failing_is_left_alone_for_a_while(cells: Cellway) -> None:
    failing = server(cells, "catalog")
    failing.status = 500
    deadline = time.monotonic() + 60
    while (answer := ask(cells, CATALOG)).text != "no healthy upstream":
        assert answer.status_code == 500
        assert time.monotonic() < deadline, "it is still asked"
    assert (answer.status_code, len(failing.seen) >= 3) == (503, True)
    assert ask(cells, ORDERS).status_code == 200
    failing.status = 200
    deadline = time.monotonic() + 60
    while ask(cells, CATALOG).status_code != 200:
        assert time.monotonic() < deadline, "it is never asked again"
        time.sleep(0.1)


def test_a_refused_connection_is_tried_exactly_once_more(cells: Cellway) -> None:
    mail = server(cells, "mail")
    mail.stop()
    try:
        before = stat(cells, "orders", "south", "cluster.south|mailer.upstream_rq_retry")
        assert ask(cells, "api.mail.example", "orders", SOUTH).status_code == 503
        deadline = time.monotonic() + 60
        while stat(cells, "orders", "south", "cluster.south|mailer.upstream_rq_retry") == before:
            assert time.monotonic() < deadline, "it was not tried again"
            time.sleep(0.05)
        assert stat(cells, "orders", "south", "cluster.south|mailer.upstream_rq_retry") == before + 1
    finally:
        mail.start()


def test_retries_do_not_multiply_along_a_chain(cells: Cellway) -> None:
    """north -> bff -> orders -> payments: three cells, and the last one hears of one request at most twice."""
    bff, api, last = server(cells, "bff"), server(cells, "api"), server(cells, "payments-api")
    bff.calls = (url(cells, "storefront", EAST), ORDERS)
    api.calls = (url(cells, "orders", EAST), PAYMENTS)
    try:
        assert ask(cells, "shop.example.com", direction=NORTH, path="/api").status_code == 200
        last.status = 500
        before = len(last.seen)
        assert ask(cells, "shop.example.com", direction=NORTH, path="/api").status_code == 500
        assert len(last.seen) - before == 1, "an answer is an answer"
        last.stop()
        tried = stat(cells, "payments", "west", "cluster.west|payments.api.http.upstream_cx_connect_fail")
        assert ask(cells, "shop.example.com", direction=NORTH, path="/api").status_code == 503
        deadline = time.monotonic() + 60
        name = "cluster.west|payments.api.http.upstream_cx_connect_fail"
        while (now := stat(cells, "payments", "west", name)) == tried:
            assert time.monotonic() < deadline, "it was not tried"
            time.sleep(0.05)
        assert now - tried <= 2
    finally:
        bff.calls = api.calls = None
        last.status = 200
        last.start()
