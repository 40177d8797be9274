"""An Envoy that is to tell or send metrics is replaced by one that does, and tells nothing else."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running import Cellway
from tests.e2e.test_replacement import POLICY, the_envoy
from tests.gateways.collectors import GrpcCollector, until
from tests.gateways.proxies import REFS, backend

PROXY: dict[str, Any] = {
    "apiVersion": "gateway.envoyproxy.io/v1alpha1",
    "kind": "EnvoyProxy",
    "metadata": {"name": "how"},
    "spec": {"shutdown": {"drainTimeout": "1s", "minDrainDuration": "0s"}},
}


def test_metrics_begin_with_another_envoy(cellway: Cellway) -> None:
    collector = GrpcCollector()
    cellway.write("policy.yaml", POLICY + "---\n" + backend("collector", collector.address))
    cellway.write("proxy.yaml", yaml.safe_dump(PROXY))
    cellway.start()
    before = the_envoy(cellway)
    metrics = {"sinks": [{"openTelemetry": REFS}], "matches": [{"type": "Prefix", "value": "server.live"}]}
    telling = PROXY | {"spec": {**PROXY["spec"], "telemetry": {"metrics": metrics}}}
    cellway.write("proxy.yaml", yaml.safe_dump(telling))
    cellway.wait()
    assert the_envoy(cellway)["pid"] != before["pid"]
    until(lambda: "server.live" in collector.points, cellway.log)
    assert "server.memory_heap_size" not in collector.points
    collector.close()


OTHERS = (
    *("/", "/help", "/stats", "/stats/", "/stats/prometheus/", "/stats/prometheus?", "/stats/prometheus?usedonly"),
    *("/stats/prometheus?x=/../../quitquitquit", "/stats/prometheus#/", "/stats/prometheus;a", "/stats/prometheusx"),
    *(
        "/stats/../stats/prometheus",
        "/./stats/prometheus",
        "//stats/prometheus",
        "/stats//prometheus",
        "/STATS/PROMETHEUS",
    ),
    *(
        "/stats%2Fprometheus",
        "/stats/%70rometheus",
        "/stats\\prometheus",
        "/stats/prometheus%00",
        "/stats/prometheus%3Fx",
    ),
    *("/stats/prometheus/../../config_dump", "/stats/prometheus/..", "/stats/prometheus%2f..%2f..%2fconfig_dump"),
    *("/config_dump", "/certs", "/clusters", "/logging", "/server_info", "/ready", "/runtime", "/listeners", "/memory"),
    *(
        "/quitquitquit",
        "/healthcheck/fail",
        "/drain_listeners",
        "/reset_counters",
        "/cpuprofiler",
        "/stats/recentlookups",
    ),
    *(
        "http://other/stats/prometheus/",
        "http://other/config_dump",
        "*",
        "/init_dump",
        "/tap",
        "/contention",
        "/hot_restart_version",
    ),
)


def said(cellway: Cellway, line: str, more: str = "") -> int:
    """The status of an answer to a request as it is written; 0 if there is none."""
    with socket.create_connection((cellway.block.address(1), 19100), timeout=10) as connection:
        connection.sendall(f"{line} HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n{more}\r\n".encode())
        words = connection.makefile("rb").readline().split()
    return int(words[1]) if words else 0


def test_prometheus_gets_one_page_of_the_admin_interface_and_nobody_another(cellway: Cellway) -> None:
    told = {"address": cellway.block.address(1)}
    proxy = PROXY | {"spec": {**PROXY["spec"], "telemetry": {"metrics": {"prometheus": told}}}}
    cellway.write("policy.yaml", POLICY)
    cellway.write("proxy.yaml", yaml.safe_dump(proxy))
    cellway.start()
    httpx.get(f"http://{cellway.block.address(1)}:8080/", timeout=10)
    page = httpx.get(f"http://{cellway.block.address(1)}:19100/stats/prometheus", timeout=10)
    families = {one.name: one for one in text_string_to_metric_families(page.text)}
    served = {one.labels["envoy_http_conn_manager_prefix"] for one in families["envoy_http_downstream_rq"].samples}
    assert (page.status_code, "default/edge/http-8080" in served) == (200, True)
    assert len(OTHERS) > 30
    answers = {path: said(cellway, f"GET {path}") for path in OTHERS}
    assert {path: status for path, status in answers.items() if status not in (400, 404)} == {}
    assert answers["/config_dump"] == answers["/stats/prometheus?usedonly"] == 404
    for method in ("POST", "HEAD", "PUT", "OPTIONS", "TRACE"):
        assert said(cellway, f"{method} /stats/prometheus") in (400, 404)
    assert said(cellway, "GET /stats/prometheus", "Content-Length: 0\r\n") == 404
    assert said(cellway, "CONNECT /stats/prometheus") in (400, 404)
    assert said(cellway, "GET /stats/prometheus") == 200
