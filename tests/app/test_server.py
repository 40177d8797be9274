"""The running server with real Envoys: gateways that come and go, refusals, ports, signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.commands import cellway as command_here
from tests.e2e.running import Cellway
from xds_server.serve.tokens import Tokens
from xds_server.supervise.records import default_state_folder, read_xds_key

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: NAME}
spec:
  addresses: [{type: IPAddress, value: ADDR.NUMBER}]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}, {name: second}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: ADDR.11, port: 3000}}]}
"""


def gateway(name: str, number: int) -> str:
    return GATEWAY.replace("NAME", name).replace("NUMBER", str(number))


def prepare(cellway: Cellway) -> None:
    cellway.write("edge.yaml", gateway("edge", 1))
    cellway.write("route.yaml", ROUTE)
    cellway.upstream(11)


def get(cellway: Cellway, number: int = 1, path: str = "/") -> httpx.Response:
    return httpx.get(f"http://{cellway.block.address(number)}:8080{path}", timeout=10)


def proxies(cellway: Cellway) -> dict[str, Any]:
    return {proxy["gateway"]: proxy for proxy in cellway.api("proxies")["items"]}


def condition(item: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in item["status"]["conditions"] if one["type"] == kind)
    return found


def until(check: Any, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def command(cellway: Cellway, *words: str) -> subprocess.CompletedProcess[str]:
    if words[0] in ("status", "wait"):
        return command_here(*words, "--admin", f"{cellway.block.address(250)}:19001")
    line = [sys.executable, "-m", "xds_server.cli.main", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def test_gateways_come_and_go_with_their_envoys(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    cellway.write("second.yaml", gateway("second", 2))
    cellway.wait()
    both = proxies(cellway)
    assert sorted(both) == ["default/edge", "default/second"]
    assert get(cellway, 2).status_code == 200
    (cellway.folder / "second.yaml").unlink()
    cellway.wait()
    until(lambda: not alive(both["default/second"]["pid"]))
    with pytest.raises(httpx.ConnectError):
        get(cellway, 2)
    assert proxies(cellway).keys() == {"default/edge"}
    assert proxies(cellway)["default/edge"]["pid"] == both["default/edge"]["pid"]
    cellway.write("second.yaml", gateway("second", 2))
    cellway.wait()
    assert get(cellway, 2).status_code == 200, "and it may come back"


def test_programmed_counts_the_envoys_that_have_it(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    edge = cellway.object("Gateway", "edge")
    programmed = condition(edge, "Programmed")
    assert (programmed["status"], programmed["message"]) == ("True", "1 of 1 proxies")
    assert edge["status"]["addresses"] == [{"type": "IPAddress", "value": cellway.block.address(1)}]
    assert edge["status"]["listeners"][0]["attachedRoutes"] == 1
    assert edge["source"].endswith("edge.yaml:2:1")
    time.sleep(0.1)
    assert condition(cellway.object("Gateway", "edge"), "Programmed") == programmed, "times stand still"


def test_a_refusal_is_shown_with_the_line_to_blame_and_heals(cellway: Cellway) -> None:
    prepare(cellway)
    with socket.create_server((cellway.block.address(2), 8080)):
        cellway.write("second.yaml", gateway("second", 2))
        cellway.start(wait=False)
        cellway.until_up()
        began = time.monotonic()
        waited = command(cellway, "wait", "--timeout", "5m")
        assert waited.returncode == 1, waited
        assert time.monotonic() - began < 200, "it does not wait in vain"
        assert "second.yaml:2:1" in waited.stdout
        shown = command(cellway, "status")
        assert shown.returncode == 1
        assert "rejected" in shown.stdout
        assert "second.yaml:2:1" in shown.stdout
        programmed = condition(cellway.object("Gateway", "second"), "Programmed")
        assert (programmed["status"], programmed["reason"]) == ("False", "Rejected")
        assert "second.yaml:2:1" in programmed["message"]
        assert condition(cellway.object("Gateway", "edge"), "Programmed")["status"] == "True"
        assert get(cellway).status_code == 200, "the other gateway is served"
    cellway.write("second.yaml", gateway("second", 3))
    cellway.wait()
    shown = command(cellway, "status")
    assert (shown.returncode, "rejected" in shown.stdout) == (0, False)


def test_status_as_json_and_metrics(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    shown = json.loads(command(cellway, "status", "-o", "json").stdout)
    assert shown["synced"]
    (proxy,) = shown["items"]
    assert proxy["state"] == "synced"
    assert proxy["types"]["Listener"]["acknowledged"] == proxy["types"]["Listener"]["wanted"]
    text = httpx.get(f"{cellway.admin}/metrics", timeout=30).text
    for sample in (
        'cellway_proxies{gateway="default/edge",state="synced"} 1.0',
        'cellway_streams{protocol="delta"} 1.0',
        'cellway_reloads_total{result="applied"} 1.0',
        'cellway_documents{kind="Gateway"} 1.0',
        'cellway_resources{gateway="default/edge",type="Listener"} 1.0',
        "cellway_config_last_reload_successful 1.0",
    ):
        assert sample in text
    assert 'cellway_acks_total{type="Listener"}' in text
    assert "_created" not in text


@pytest.mark.parametrize("taken", ["--admin", "--xds"])
def test_a_port_in_use_is_one_clear_line(cellway: Cellway, taken: str) -> None:
    prepare(cellway)
    with socket.create_server((cellway.block.address(3), 0)) as other:
        place = f"{cellway.block.address(3)}:{other.getsockname()[1]}"
        free = {"--admin": f"{cellway.block.address(4)}:0", "--xds": f"{cellway.block.address(4)}:0", taken: place}
        free["--state-dir"] = str(cellway.state)
        options = [word for pair in free.items() for word in pair]
        done = command(cellway, "serve", str(cellway.folder), *options)
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert place in lines[0]


def test_a_second_server_on_the_same_state_is_refused(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    address = f"{cellway.block.address(5)}:0"
    done = command(
        cellway, "run", str(cellway.folder), "--admin", address, "--xds", address, "--state-dir", str(cellway.state)
    )
    assert (done.returncode, "another cellway" in done.stderr) == (2, True)
    assert get(cellway).status_code == 200


def test_serve_needs_no_more_than_the_policies_and_bootstrap_finds_its_key(cellway: Cellway) -> None:
    cellway.write("edge.yaml", gateway("edge", 1))
    home = {"XDG_STATE_HOME": str(cellway.state)}
    address, where = f"{cellway.block.address(5)}:0", default_state_folder((cellway.folder,), home, Path("/"))
    line = [sys.executable, "-m", "xds_server.cli.main"]
    process = subprocess.Popen(
        [*line, "serve", str(cellway.folder), "--admin", address, "--xds", "127.0.0.1:0"],
        env={**os.environ, **home},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: (where / "addresses.json").is_file() or process.poll() is not None)
        assert process.poll() is None, "it ended"
        words = [*line, "bootstrap", "default/edge", str(cellway.folder)]
        done = subprocess.run(words, env={**os.environ, **home}, capture_output=True, text=True, check=True, timeout=60)
    finally:
        process.terminate()
        process.wait(60)
    key = read_xds_key(where)
    assert key is not None
    assert f"Bearer {Tokens(key).word('default/edge')}" in done.stdout
    assert done.stderr == ""


def test_free_ports_are_told_and_found_again(cellway: Cellway) -> None:
    prepare(cellway)
    address = f"{cellway.block.address(5)}:0"
    line = [sys.executable, "-m", "xds_server.cli.main", "run", str(cellway.folder), "--state-dir", str(cellway.state)]
    pids = []
    addresses = cellway.state / "addresses.json"

    def admin() -> str:
        return str(json.loads(addresses.read_text(encoding="utf-8"))["admin"])

    for _ in range(2):
        process = subprocess.Popen(
            [*line, "--admin", address, "--xds", address], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            until(lambda: addresses.is_file() and _answers(admin()))
            assert httpx.get(f"http://{admin()}/api/v1/wait?timeout=60s", timeout=70).status_code == 200
            pids.append(httpx.get(f"http://{admin()}/api/v1/proxies", timeout=30).json()["items"][0]["pid"])
        finally:
            process.send_signal(signal.SIGKILL if len(pids) == 1 else signal.SIGTERM)
            process.wait(60)
    assert pids[0] == pids[1], "the Envoy of the killed server was kept"


def _answers(admin: str) -> bool:
    try:
        return httpx.get(f"http://{admin}/livez", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def test_sigterm_lets_a_request_under_way_end(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(get(cellway, path="/delay/2").status_code))
    thread.start()
    time.sleep(0.5)
    assert cellway.stop() == 0
    thread.join(10)
    assert answers == [200]


def test_a_second_signal_ends_at_once(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    thread = threading.Thread(target=_hopeless, args=(cellway,))
    thread.start()
    time.sleep(0.5)
    pid = proxies(cellway)["default/edge"]["pid"]
    assert cellway.process is not None
    began = time.monotonic()
    cellway.process.send_signal(signal.SIGTERM)
    until(lambda: httpx.get(f"{cellway.admin}/readyz", timeout=30).status_code == 503)
    cellway.process.send_signal(signal.SIGTERM)
    assert cellway.process.wait(10) == 0
    assert time.monotonic() - began < 7, "the request under way takes ten seconds"
    assert not alive(pid)
    cellway.process = None
    thread.join(20)


def _hopeless(cellway: Cellway) -> None:
    with contextlib.suppress(httpx.TransportError):
        get(cellway, path="/delay/9")


def test_secrets_are_in_no_answer(cellway: Cellway, tmp_path: Path) -> None:
    prepare(cellway)
    cellway.write("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n")
    cellway.write("bad.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: t}\ndata: {password: 'hunter2!'}\n")
    cellway.start()
    for path in ("objects", "objects?derived", "proxies", "diagnostics"):
        assert "hunter2" not in json.dumps(cellway.api(path)), path
    assert "hunter2" not in httpx.get(f"{cellway.admin}/metrics", timeout=30).text
    assert "hunter2" not in cellway.log()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != cellway.folder]
    holders = [path for path in kept if b"hunter2" in path.read_bytes()]
    own = {cellway.state / "in-force", cellway.state / "history" / "contents"}
    assert {path.parent for path in holders} == own, "the policy files themselves, kept"
    assert {path.stat().st_mode & 0o077 for path in holders} == {0}


def test_a_running_server_explains_requests(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    url = f"http://{cellway.block.address(1)}:8080/a"
    answer = httpx.get(f"{cellway.admin}/api/v1/explain", params={"method": "GET", "url": url}).json()
    (item,) = answer["items"]
    assert item["routes"][0]["forwards"]["clusters"][0]["endpoints"] == [f"{cellway.block.address(11)}:3000"]
    assert get(cellway, path="/a").status_code == 200
