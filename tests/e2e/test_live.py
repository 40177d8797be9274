"""Edits, mistakes, crashes and restarts while requests go on."""

from __future__ import annotations

import os
import signal
import time

import httpx

from tests.e2e.load import Load
from tests.e2e.running import Cellway, ask_envoy
from tests.gateways.stamps import MODULE

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  addresses: [{type: IPAddress, value: ADDR.1}]
  listeners: [{name: http, protocol: HTTP, port: 8080}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: ADDR.11, port: 3000}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: two}
spec: {endpoints: [{ip: {address: ADDR.12, port: 3000}}]}
"""

ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME}
spec:
  parentRefs: [{name: edge}]
  hostnames: [NAME.example]
  rules:
  - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-edit, value: "EDIT"}]}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: TARGET}]
"""


EXTENSION = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: stamp}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  wasm: [{code: {type: File, file: {path: m.wasm}}}]
"""


def route(name: str, edit: object = 0, target: str = "one") -> str:
    return ROUTE.replace("NAME", name).replace("EDIT", str(edit)).replace("TARGET", target)


def prepare(cellway: Cellway) -> None:
    cellway.write("gateway.yaml", GATEWAY)
    cellway.write("routes/web.yaml", route("web"))
    cellway.write("routes/other.yaml", route("other"))
    cellway.upstream(11, name="one")
    cellway.upstream(12, name="two")


def get(cellway: Cellway, host: str) -> httpx.Response:
    return httpx.get(f"http://{cellway.block.address(1)}:8080/", headers={"Host": host}, timeout=10)


def load(cellway: Cellway, host: str = "web.example", rate: float = 200) -> Load:
    return Load(cellway.block.address(1), 8080, host, rate=rate)


def diagnostics(cellway: Cellway) -> str:
    return str(cellway.api("diagnostics"))


def test_200_edits_under_load_lose_nothing_and_all_take_effect(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    with load(cellway) as steady:
        for edit in range(200):
            cellway.write("routes/web.yaml", route("web", edit, "one" if edit % 3 else "two"))
            cellway.wait()
            answer = get(cellway, "web.example")
            assert answer.headers["x-edit"] == str(edit)
            assert answer.json()["server"] == ("one" if edit % 3 else "two")
    assert steady.failures() == {}
    assert steady.total > 200


def test_a_broken_file_is_named_and_changes_no_other_route(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    versions = [proxy["types"] for proxy in cellway.api("proxies")["items"]]
    with load(cellway, "other.example") as other, load(cellway) as own:
        cellway.write("routes/web.yaml", route("web").replace("hostnames: [web.example]", "hostnames: [web.example"))
        cellway.wait()
        assert "web.yaml:" in diagnostics(cellway)
        time.sleep(0.3)
        cellway.write("routes/other.yaml", route("other", "still-live"))
        cellway.wait()
        assert get(cellway, "other.example").headers["x-edit"] == "still-live", "other files are not held up"
        cellway.write("routes/web.yaml", route("web", "mended"))
        cellway.wait()
    assert get(cellway, "web.example").headers["x-edit"] == "mended"
    assert "web.yaml" not in diagnostics(cellway)
    assert other.failures() == {}
    assert own.failures() == {}
    assert versions


def test_a_field_that_does_not_exist_keeps_the_route_as_it_was(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    cellway.write("routes/web.yaml", route("web", 7).replace("backendRefs", "backendrefs"))
    cellway.wait()
    assert get(cellway, "web.example").headers["x-edit"] == "0"
    found = diagnostics(cellway)
    assert "web.yaml:10:5" in found
    assert "did you mean 'backendRefs'" in found


def test_a_module_beside_the_policies_runs_and_a_changed_one_takes_its_place(cellway: Cellway) -> None:
    cellway.arguments = ("--allow-extensions", "default")
    prepare(cellway)
    cellway.write("wasm.yaml", EXTENSION)
    (cellway.folder / "m.wasm").write_bytes(MODULE)
    cellway.start()
    assert get(cellway, "web.example").headers["x-wasm"] == "yes"
    assert "x-wasm" not in get(cellway, "other.example").headers
    (cellway.folder / "m.wasm").write_bytes(MODULE.replace(b"x-wasmyes", b"x-wasmnew"))
    deadline = time.monotonic() + 20
    while get(cellway, "web.example").headers["x-wasm"] != "new":
        assert time.monotonic() < deadline, cellway.log()
        time.sleep(0.05)


def test_every_way_of_saving_is_seen(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    path = cellway.folder / "routes" / "web.yaml"

    def effective(edit: str) -> bool:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if get(cellway, "web.example").headers.get("x-edit") == edit:
                return True
            time.sleep(0.02)
        return False

    path.write_text(route("web", "in-place"), encoding="utf-8")
    assert effective("in-place")
    path.rename(path.with_name("web.yaml~"))
    path.write_text(route("web", "like-vim"), encoding="utf-8")
    assert effective("like-vim")
    cellway.write("a/new/folder/more.yaml", route("more", "deep"))
    deadline = time.monotonic() + 60
    while get(cellway, "more.example").status_code != 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert get(cellway, "more.example").headers["x-edit"] == "deep"
    (cellway.folder / "a/new/folder/more.yaml").unlink()
    deadline = time.monotonic() + 60
    while get(cellway, "more.example").status_code != 404 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert get(cellway, "more.example").status_code == 404


def test_a_folder_mounted_like_a_config_map_is_reloaded_as_a_whole(cellway: Cellway) -> None:
    prepare(cellway)
    mounted = cellway.folder / "mounted"
    for version in ("1", "2"):
        (mounted / f"..{version}").mkdir(parents=True)
        (mounted / f"..{version}" / "m.yaml").write_text(route("m", version), encoding="utf-8")
    (mounted / "..data").symlink_to("..1")
    (mounted / "m.yaml").symlink_to("..data/m.yaml")
    cellway.start()
    assert get(cellway, "m.example").headers["x-edit"] == "1"
    (mounted / "..data_tmp").symlink_to("..2")
    (mounted / "..data_tmp").rename(mounted / "..data")
    deadline = time.monotonic() + 60
    while get(cellway, "m.example").headers["x-edit"] != "2" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert get(cellway, "m.example").headers["x-edit"] == "2"


def test_a_folder_that_is_gone_removes_nothing(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    away = cellway.folder.with_name("away")
    with load(cellway) as steady:
        cellway.folder.rename(away)
        time.sleep(1.5)
        assert get(cellway, "web.example").status_code == 200
        assert "L1" in diagnostics(cellway), "it is told"
        away.rename(cellway.folder)
        cellway.write("routes/web.yaml", route("web", "back"))
        cellway.wait()
    assert get(cellway, "web.example").headers["x-edit"] == "back"
    assert steady.failures() == {}


def test_an_empty_folder_at_start_is_not_ready_until_there_is_something(cellway: Cellway) -> None:
    cellway.start(wait=False)
    cellway.until_up()
    assert httpx.get(f"{cellway.admin}/readyz", timeout=30).status_code == 503
    prepare(cellway)
    cellway.wait()
    assert httpx.get(f"{cellway.admin}/readyz", timeout=30).status_code == 200
    assert get(cellway, "web.example").status_code == 200


def test_a_killed_server_loses_no_request_and_repeats_nothing(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    admin = cellway.api("proxies")["items"][0]["admin"]

    def updates() -> str:
        names = "cluster_manager.cds.update_success|listener_manager.lds.update_success|rds.*update_success"
        return ask_envoy(admin, f"/stats?filter={names}").text

    with load(cellway) as steady:
        cellway.kill()
        time.sleep(1)
        before = updates()
        cellway.start()
        assert cellway.api("proxies")["items"][0]["admin"] == admin, "the same Envoy goes on"
        assert updates() == before, "nothing that it has is sent again"
        cellway.write("routes/web.yaml", route("web", "after"))
        cellway.wait()
    assert get(cellway, "web.example").headers["x-edit"] == "after"
    assert steady.failures() == {}


def test_a_killed_envoy_comes_back_by_itself(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    pid = int(cellway.api("proxies")["items"][0]["pid"])
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if get(cellway, "web.example").status_code == 200:
                break
        except httpx.TransportError:
            time.sleep(0.05)
    assert get(cellway, "web.example").status_code == 200


def test_sigterm_ends_the_server_and_its_envoys(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    pid = int(cellway.api("proxies")["items"][0]["pid"])
    assert cellway.stop() == 0
    deadline = time.monotonic() + 60
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_sighup_reloads(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.start()
    assert cellway.process is not None
    cellway.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert cellway.process.poll() is None
    cellway.wait()
    assert get(cellway, "web.example").status_code == 200
