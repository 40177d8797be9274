"""An Envoy of the state of the world and one of the incremental protocol, under load while everything changes."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.load import Load
from tests.e2e.running import ENVOY, Cellway, ask_envoy
from tests.e2e.test_live import get, prepare, route
from tests.e2e.test_serving import command

BACKEND = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: NAME}
spec: {endpoints: [{ip: {address: ADDR.12, port: 3000}}]}
"""
CLIENT = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: edge}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  headers: {earlyRequestHeaders: {set: [{name: x-early, value: VALUE}]}}
"""


@pytest.mark.parametrize("kind", ["DELTA_GRPC", "GRPC"])
def test_clusters_are_replaced_and_listeners_changed_without_a_failed_request(
    cellway: Cellway, tmp_path: Path, kind: str
) -> None:
    prepare(cellway)
    cellway.arguments = ("--no-envoy", "--xds-insecure")
    cellway.start()
    admin, xds = f"{cellway.block.address(251)}:19000", f"{cellway.block.address(250)}:18000"
    printed = command("bootstrap", "default/edge", "--xds", xds, "--admin", admin).stdout
    assert "api_type: DELTA_GRPC" in printed
    path = tmp_path / "envoy.yaml"
    path.write_text(printed.replace("api_type: DELTA_GRPC", f"api_type: {kind}"), encoding="utf-8")
    envoy = subprocess.Popen([str(ENVOY), "-c", str(path), "--use-dynamic-base-id", "--log-level", "error"])
    try:
        deadline = time.monotonic() + 60
        while not cellway.api("proxies")["items"] and time.monotonic() < deadline:
            time.sleep(0.02)
        cellway.wait()
        protocol = cellway.api("proxies")["items"][0]["protocol"]
        assert protocol == ("delta" if kind == "DELTA_GRPC" else "sotw")
        while time.monotonic() < deadline:
            try:
                get(cellway, "web.example")
                break
            except httpx.ConnectError:
                time.sleep(0.02)
        with Load(cellway.block.address(1), 8080, "web.example") as steady:
            for edit in range(15):
                name = f"new{edit}"
                # What a route refers to must be there before it, and after it: a reload may come between two files.
                cellway.write(f"backends/{name}.yaml", BACKEND.replace("NAME", name))
                cellway.write("routes/web.yaml", route("web", edit, name))
                (cellway.folder / "backends" / f"new{edit - 1}.yaml").unlink(missing_ok=True)
                if edit % 3 == 0:
                    cellway.write("client.yaml", CLIENT.replace("VALUE", f'"{edit}"'))
                cellway.wait()
                assert get(cellway, "web.example").headers["x-edit"] == str(edit)
        assert steady.total > 50
        assert steady.failures() == {}
        stats = ask_envoy(admin, "/stats?filter=update_rejected|init_fetch_timeout").text
        assert all(line.endswith(": 0") for line in stats.splitlines()), stats
        deadline = time.monotonic() + 60
        while "default/new3" in clusters(admin) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "default/new3" not in clusters(admin)
    finally:
        envoy.terminate()
        envoy.wait(20)


def clusters(admin: str) -> str:
    return ask_envoy(admin, "/clusters").text
