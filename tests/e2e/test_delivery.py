"""How resources reach real Envoys: hosts on demand, times to live, and what is refused.

In: `cellway run` on folders that change. Out: failures where an Envoy has what nobody asked for, a port outlives its
control plane, or a refused listener costs a restarted Envoy its ports.
"""

from __future__ import annotations

import os
import signal
import socket
import time

import httpx
import pytest

from tests.e2e.running import Cellway, ask_envoy
from tests.e2e.test_live import get, load, route

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, annotations: {ANNOTATION}}
spec:
  addresses: [ADDRESSES]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: ADDR.11, port: 3000}}]}
"""


def gateway(annotation: str = "", *numbers: int) -> str:
    addresses = ", ".join(f"{{type: IPAddress, value: ADDR.{number}}}" for number in numbers or (1,))
    return GATEWAY.replace("ANNOTATION", annotation).replace("ADDRESSES", addresses)


def envoy(cellway: Cellway) -> dict[str, object]:
    """What is known of the one Envoy."""
    items = cellway.api("proxies")["items"]
    return dict(items[0])


def hosts_in_envoy(cellway: Cellway) -> set[str]:
    dump = ask_envoy(envoy(cellway)["admin"], "/config_dump?resource=dynamic_route_configs").json()
    tables = [one["route_config"] for one in dump.get("configs", [])]
    return {domain for table in tables for host in table.get("virtual_hosts", []) for domain in host["domains"]}


def host_updates(admin: object) -> str:
    return ask_envoy(admin, "/stats?filter=vhds.*update_success").text


def test_hosts_come_when_they_are_asked_for_and_follow_every_change(cellway: Cellway) -> None:
    cellway.write("gateway.yaml", gateway("cellway.dev/virtual-hosts: on-demand"))
    cellway.write("hosts.yaml", "---\n".join(route(f"h{number}") for number in range(300)))
    cellway.write("web.yaml", route("web"))
    cellway.upstream(11)
    cellway.start()
    assert hosts_in_envoy(cellway) == {"first.cellway.invalid"}
    assert get(cellway, "h7.example").status_code == 200
    assert get(cellway, "nobody.example").status_code == 404
    assert hosts_in_envoy(cellway) == {"first.cellway.invalid", "h7.example"}
    with load(cellway) as steady:
        for edit in range(20):
            cellway.write("web.yaml", route("web", edit))
            cellway.wait()
            assert get(cellway, "web.example").headers["x-edit"] == str(edit)
    assert steady.failures() == {}
    admin = envoy(cellway)["admin"]
    cellway.kill()
    before = host_updates(admin)
    assert before
    cellway.start()
    assert get(cellway, "h7.example").status_code == 200
    assert host_updates(admin) == before, "nothing that it has is sent again"
    assert get(cellway, "h8.example").status_code == 200
    (cellway.folder / "web.yaml").unlink()
    cellway.wait()
    assert get(cellway, "web.example").status_code == 404
    cellway.write("nobody.yaml", route("nobody"))
    cellway.wait()
    assert get(cellway, "nobody.example").status_code == 200


def test_a_port_with_a_life_closes_when_nobody_renews_it(cellway: Cellway) -> None:
    cellway.write("gateway.yaml", gateway("cellway.dev/listener-ttl: 3s"))
    cellway.write("web.yaml", route("web"))
    cellway.upstream(11)
    cellway.start()
    with load(cellway) as steady:
        time.sleep(5)
    assert steady.failures() == {}
    cellway.kill()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            get(cellway, "web.example")
        except httpx.ConnectError:
            break
        time.sleep(0.1)
    with pytest.raises(httpx.ConnectError):
        get(cellway, "web.example")
    cellway.start()
    assert get(cellway, "web.example").status_code == 200


def test_a_restarted_envoy_gets_the_listener_that_worked_and_tries_the_refused_one_again(cellway: Cellway) -> None:
    cellway.write("gateway.yaml", gateway())
    cellway.write("web.yaml", route("web"))
    cellway.upstream(11)
    cellway.start()
    with socket.socket() as busy:
        busy.bind((cellway.block.address(2), 8080))
        busy.listen()
        with load(cellway) as steady:
            cellway.write("gateway.yaml", gateway("", 1, 2))
            refused = httpx.get(f"{cellway.admin}/api/v1/wait", params={"timeout": "20s"}, timeout=25)
            assert refused.status_code != 200
            cellway.write("web.yaml", route("web", "after"))
            deadline = time.monotonic() + 60
            while get(cellway, "web.example").headers["x-edit"] != "after":
                assert time.monotonic() < deadline, "what was refused holds up what was not"
        assert steady.failures() == {}
        assert programmed(cellway)["reason"] == "Rejected"
        assert "gateway.yaml:2:1" in programmed(cellway)["message"]
        os.kill(int(str(envoy(cellway)["pid"])), signal.SIGKILL)
        until_answered(cellway)
        until(cellway, "rejected")
        assert get(cellway, "web.example").headers["x-edit"] == "after"
    os.kill(int(str(envoy(cellway)["pid"])), signal.SIGKILL)
    until(cellway, "synced")
    assert programmed(cellway)["status"] == "True"
    both = httpx.get(f"http://{cellway.block.address(2)}:8080/", headers={"Host": "web.example"}, timeout=10)
    assert both.status_code == 200


def programmed(cellway: Cellway) -> dict[str, str]:
    conditions = cellway.object("Gateway", "edge")["status"]["conditions"]
    return next(one for one in conditions if one["type"] == "Programmed")


def until_answered(cellway: Cellway) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if get(cellway, "web.example").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the restarted Envoy does not answer")


def until(cellway: Cellway, state: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        items = cellway.api("proxies")["items"]
        if items and items[0]["state"] == state and items[0]["types"].get("Listener", {}).get("acknowledged"):
            return
        time.sleep(0.05)
    raise AssertionError(f"never {state}: {cellway.api('proxies')}")
