"""Envoys elsewhere, Envoys that refuse, and one Envoy for a whole cell."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.commands import cellway as cellway_command
from tests.e2e import shop
from tests.e2e.load import Load
from tests.e2e.running import ENVOY, Cellway, reserve_block
from tests.e2e.shop import EAST, NORTH, WEST
from tests.e2e.test_live import get, prepare, route

BUSY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners:
  - {name: http, protocol: HTTP, port: 8080}
  - {name: busy, protocol: HTTP, port: 8081}
"""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return cellway_command(*arguments)


def test_what_envoy_refuses_is_told_with_its_line_and_everything_else_goes_on(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    gateway = (cellway.folder / "gateway.yaml").read_text(encoding="utf-8")
    with (
        socket.create_server((cellway.block.address(1), 8081)),
        Load(cellway.block.address(1), 8080, "web.example", rate=200) as steady,
    ):
        backends = gateway.split("---\n", 1)[1]
        cellway.write("gateway.yaml", f"{BUSY}---\n{backends}")
        answer = httpx.get(f"{cellway.admin}/api/v1/wait", params={"timeout": "5s"}, timeout=20)
        assert answer.status_code == 504
        assert "gateway.yaml:2:1" in answer.text
        found = str(cellway.api("proxies"))
        assert "8081" in found
        assert "gateway.yaml" in found
        status = command("status", "--admin", cellway.admin.removeprefix("http://"))
        assert status.returncode == 1
        assert "rejected" in status.stdout

        cellway.write("routes/web.yaml", route("web", "still-live"))
        deadline = time.monotonic() + 60
        while get(cellway, "web.example").headers["x-edit"] != "still-live" and time.monotonic() < deadline:
            time.sleep(0.02)
        assert get(cellway, "web.example").headers["x-edit"] == "still-live", "other changes are not held up"

        cellway.write("gateway.yaml", gateway)
        cellway.wait()
    assert steady.failures() == {}
    assert command("status", "--admin", cellway.admin.removeprefix("http://")).returncode == 0


def test_one_envoy_may_serve_all_gateways_of_a_cell(cellway: Cellway, tmp_path: Path) -> None:
    shop.write_shop(cellway, quota=False)
    shop.start_servers(cellway)
    cellway.arguments = ("--no-envoy",)
    cellway.start()
    xds = f"{cellway.block.address(250)}:18000"
    envoys = []
    try:
        for name in ("storefront", "orders"):
            admin = f"{cellway.block.address(251)}:0"
            printed = command(
                *("bootstrap", f"acme/dev/{name}", "--xds", xds, "--node-id", f"test-{name}", "--admin", admin),
                *("--state-dir", str(cellway.state)),
            )
            assert printed.returncode == 0, printed.stderr
            path = tmp_path / f"{name}.yaml"
            path.write_text(printed.stdout, encoding="utf-8")
            options = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error"]
            envoys.append(subprocess.Popen([str(ENVOY), "-c", str(path), *options]))
        deadline = time.monotonic() + 60
        while len(cellway.api("proxies")["items"]) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        cellway.wait()
        inside = httpx.get(
            shop.url(cellway, "storefront", EAST, "/v1"), headers={"Host": "api.orders.cell.internal"}, timeout=5
        )
        assert inside.json()["server"] == "api"
        outside = httpx.get(shop.url(cellway, "storefront", NORTH), headers={"Host": "shop.example.com"}, timeout=30)
        assert outside.json()["server"] == "web"
        with pytest.raises(httpx.TransportError):  # a caller without a certificate
            httpx.get(shop.url(cellway, "orders", WEST), headers={"Host": "api.orders.cell.internal"}, timeout=30)
    finally:
        for envoy in envoys:
            envoy.terminate()
            envoy.wait(20)


def test_a_provider_that_refuses_connections_costs_one_retry(cellway: Cellway, tmp_path: Path) -> None:
    shop.write_shop(cellway, quota=False)
    cellway.arguments = ("--no-envoy",)
    cellway.start()
    admin, path = f"{cellway.block.address(251)}:19000", tmp_path / "storefront.yaml"
    xds = f"{cellway.block.address(250)}:18000"
    printed = command(
        "bootstrap", "acme/dev/storefront", "--xds", xds, "--admin", admin, "--state-dir", str(cellway.state)
    )
    path.write_text(printed.stdout, encoding="utf-8")
    envoy = subprocess.Popen([str(ENVOY), "-c", str(path), "--use-dynamic-base-id", "--log-level", "error"])
    try:
        deadline = time.monotonic() + 60
        while not cellway.api("proxies")["items"] and time.monotonic() < deadline:
            time.sleep(0.05)
        cellway.wait()
        east = shop.url(cellway, "storefront", EAST)
        answer = httpx.get(east, headers={"Host": "api.orders.cell.internal"}, timeout=30)
        assert answer.status_code == 503
        counted = httpx.get(f"http://{admin}/stats?filter=orders.api.http.upstream_rq_retry$", timeout=30).text
        assert counted.strip().endswith(": 1"), counted
    finally:
        envoy.terminate()
        envoy.wait(20)


def test_every_static_bootstrap_is_accepted_by_envoy(tmp_path: Path) -> None:
    folders = [path for path in (Path(__file__).parents[2] / "policies").iterdir() if path.is_dir()]
    for folder in folders:
        printed = command("render", str(folder), "--as", "bootstrap", "--show-secrets")
        assert printed.returncode == 0, printed.stderr
        for number, text in enumerate(printed.stdout.split("\n---\n")):
            path = tmp_path / f"{folder.name}-{number}.yaml"
            path.write_text(text, encoding="utf-8")
            checked = subprocess.run(
                [str(ENVOY), "--mode", "validate", "-c", str(path)],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert checked.returncode == 0, checked.stderr


def test_a_static_bootstrap_has_the_hosts_that_would_come_on_demand(tmp_path: Path) -> None:
    block = reserve_block()
    address = block.address(1)
    (tmp_path / "edge.yaml").write_text(
        f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, annotations: {{cellway.dev/virtual-hosts: on-demand}}}}
spec: {{listeners: [{{name: http, protocol: HTTP, port: 10080}}], addresses: [{{type: IPAddress, value: {address}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [shop.example]
  rules: [{{filters: [{{type: RequestRedirect, requestRedirect: {{hostname: other.example, statusCode: 302}}}}]}}]
""",
        encoding="utf-8",
    )
    printed = command("render", str(tmp_path), "--as", "bootstrap", "--show-secrets")
    assert printed.returncode == 0, printed.stderr
    path = tmp_path / "envoy.yml"
    path.write_text(printed.stdout, encoding="utf-8")
    envoy = subprocess.Popen(
        [str(ENVOY), "-c", str(path), "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]
    )
    try:
        deadline, status = time.monotonic() + 20, 0
        while status != 302 and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                status = httpx.get(f"http://{address}:10080/", headers={"Host": "shop.example"}).status_code
            time.sleep(0.05)
        assert status == 302
    finally:
        envoy.terminate()
        envoy.wait(20)
        block.release()
