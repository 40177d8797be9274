"""Usage: what real Envoys counted, as the admin API and Prometheus see it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e import shop
from tests.e2e.running import ENVOY, Cellway
from tests.e2e.shop import EAST, SOUTH, url
from tests.e2e.test_serving import command


@pytest.fixture(scope="module")
def cells(shared: Callable[..., Cellway]) -> Cellway:
    running = shared()
    shop.write_shop(running, quota=False)
    shop.start_servers(running)
    running.start()
    return running


def ask(cells: Cellway, cell: str, direction: int, host: str, path: str = "/") -> int:
    return httpx.get(url(cells, cell, direction, path), headers={"Host": host}, timeout=10).status_code


def edge(cells: Cellway, consumer: str, dependency: str) -> dict[str, Any]:
    found = cells.api("usage?stage=dev")["items"]
    return dict(next(one for one in found if (one["consumer"], one["dependency"]) == (consumer, dependency)))


def sample(cells: Cellway, name: str, *labels: str) -> float | None:
    """The value of a series, found by its name and the values of its labels."""
    text = httpx.get(f"{cells.admin}/metrics", timeout=10).text
    families = text_string_to_metric_families(text)
    found = [one for family in families for one in family.samples if one.name == name]
    return next((one.value for one in found if set(one.labels.values()) == set(labels)), None)


def until(looked: Callable[[], Any], wanted: Any) -> None:
    """Envoy counts on other threads than those that answer."""
    deadline = time.monotonic() + 60
    while (found := looked()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == wanted


def test_32_the_edge_and_the_metric_rise_by_as_many_as_were_sent_and_the_unused_one_shows_0(cells: Cellway) -> None:
    before = edge(cells, "storefront", "orders")["byClass"]
    wanted = {"/v1/x": 200, "/status/404": 404, "/status/503": 503}
    for path, status in wanted.items():
        assert [ask(cells, "storefront", EAST, "api.orders.cell.internal", path) for _ in range(4)] == [status] * 4
    risen = {**before, **{name: before[name] + 4 for name in ("2xx", "4xx", "5xx")}}
    until(lambda: edge(cells, "storefront", "orders")["byClass"], risen)
    for name, count in risen.items():
        labels = ("dev", "storefront", "orders", "api.http", name)
        assert sample(cells, "cellway_cell_requests_total", *labels) == count
    edges = {(one["from"], one["dependency"]): one["requests"] for one in cells.api("topology")["edges"]}
    assert edges["storefront", "orders"] == sum(risen.values())
    assert edges["storefront", "catalog"] == 0
    unused = edge(cells, "storefront", "catalog")
    assert (unused["measured"], unused["requests"]) == (True, 0)
    labels = ("dev", "storefront", "orders", "catalog.http", "2xx")
    assert sample(cells, "cellway_cell_requests_total", *labels) == 0


def test_attempts_at_what_is_not_declared_are_seen(cells: Cellway) -> None:
    (gateway,) = [name for name in cells.api("usage")["refused"] if name.endswith("/storefront/east")]
    before = cells.api("usage")["refused"][gateway]
    for _ in range(3):
        assert ask(cells, "storefront", EAST, "api.payments.cell.internal") == 403
    until(lambda: cells.api("usage")["refused"][gateway], before + 3)
    assert sample(cells, "cellway_refused_requests_total", gateway) == before + 3


def test_an_external_service_has_rate_errors_and_times(cells: Cellway) -> None:
    before = edge(cells, "orders", "mailer")["byClass"]
    for path in ("/v1/messages", "/status/500"):
        ask(cells, "orders", SOUTH, "api.mail.example", path)
    until(
        lambda: edge(cells, "orders", "mailer")["byClass"],
        {**before, "2xx": before["2xx"] + 1, "5xx": before["5xx"] + 1},
    )
    place = ("dev", "orders", "mailer")
    assert sample(cells, "cellway_external_requests_total", *place, "5xx") == before["5xx"] + 1
    assert (sample(cells, "cellway_external_connections_total", *place) or 0) >= 1
    until(lambda: (sample(cells, "cellway_external_seconds_bucket", *place, "+Inf") or 0) >= 2, True)


def _first_counted(cellway: Cellway) -> int:
    """An Envoy counts from when it is asked to report, every five seconds: ask until a request is in a report."""
    for _ in range(6):
        assert ask(cellway, "orders", SOUTH, "api.mail.example", "/v1/messages") == 200
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if count := edge(cellway, "orders", "mailer").get("requests"):
                return int(count)
            time.sleep(0.05)
    raise AssertionError("no report")


def test_what_an_envoy_elsewhere_reports_is_counted(cellway: Cellway, tmp_path: Path) -> None:
    """Nobody asks this Envoy: its admin interface could as well be on another machine."""
    shop.write_shop(cellway, quota=False)
    shop.start_servers(cellway)
    cellway.arguments = ("--no-envoy", "--xds", "127.0.0.1:0")
    cellway.start()
    assert edge(cellway, "orders", "mailer")["measured"] is False
    port = cellway.log().partition("xDS on 127.0.0.1:")[2].partition(",")[0]
    options = ("--xds", f"127.0.0.1:{port}", "--report-load")
    printed = command("bootstrap", "acme/dev/orders/south", *options, "--state-dir", str(cellway.state))
    assert printed.returncode == 0, printed.stderr
    path = tmp_path / "far.yaml"
    path.write_text(printed.stdout, encoding="utf-8")
    envoy = subprocess.Popen([str(ENVOY), "-c", str(path), "--use-dynamic-base-id", "--concurrency", "1"], cwd=tmp_path)
    try:
        until(lambda: len(cellway.api("proxies")["items"]), 1)
        cellway.wait()
        assert (tmp_path / "envoy-acme-dev-orders-south.sock").stat().st_mode & 0o777 == 0o600
        before = _first_counted(cellway)
        assert ask(cellway, "orders", SOUTH, "api.mail.example", "/v1/messages") == 200
        until(lambda: edge(cellway, "orders", "mailer")["requests"], before + 1)
        assert edge(cellway, "orders", "mailer")["byClass"]["ok"] == before + 1
        until(lambda: sample(cellway, "cellway_external_requests_total", "dev", "orders", "mailer", "ok"), before + 1)
    finally:
        envoy.terminate()
        envoy.wait(20)
