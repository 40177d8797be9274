"""What the server and its Envoys listen on is not reached through a gateway, whatever its policies say."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx
import pytest

from tests.e2e.running import Cellway
from tests.e2e.test_live import GATEWAY, get, route
from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from xds_server.serve.tokens import Tokens
from xds_server.snapshot.resource import SECRET
from xds_server.supervise.records import read_xds_key

PARAMETERS = """  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: tells}}
  listeners:"""
PROXY = """---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: tells}
spec: {telemetry: {metrics: {prometheus: {address: ADDR.1}}}}
"""
OWN = {
    "api": "ip: {address: ADDR.250, port: 19001}",
    "xds": "ip: {address: '::ffff:ADDR.250', port: 18000}",
    "named": "fqdn: {hostname: far.example, port: 19001}",
}
BACKEND = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: NAME}
spec: {endpoints: [{PLACE}]}
"""
SCRIPT = """
function envoy_on_request(handle)
  local path = handle:headers():get(":path")
  if path ~= "/" then
    local said, page = handle:httpCall("cellway" .. "_" .. "admin", {
      [":method"] = "GET", [":path"] = path, [":authority"] = "x",
    }, nil, 5000)
    handle:respond({[":status"] = "200", ["x-status"] = said[":status"]}, page)
    return
  end
  local own = "cellway" .. "_" .. "xds"
  local heads = {
    [":method"] = "POST", [":path"] = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    [":authority"] = "x", ["content-type"] = "application/grpc", ["te"] = "trailers",
  }
  local told, body = handle:httpCall(own, heads, "FRAME", 5000)
  handle:respond({[":status"] = "200", ["x-status"] = told["grpc-status"] or told[":status"]}, body)
end
"""


def script() -> str:
    """Asks for the configuration of its own gateway, over the Envoy's own connection to the server."""
    asked = DeltaDiscoveryRequest(type_url=SECRET)
    asked.node.id, asked.node.cluster = "script", "default/edge"
    data = asked.SerializeToString()
    frame = bytes([0, *len(data).to_bytes(4, "big"), *data])
    return SCRIPT.replace("FRAME", "".join(f"\\{byte:03}" for byte in frame))


@pytest.fixture
def running(cellway: Cellway) -> Cellway:
    """One gateway, whose authors may run code in its Envoy."""
    cellway.arguments = ("--allow-extensions", "default")
    cellway.write("gateway.yaml", GATEWAY.replace("  listeners:", PARAMETERS, 1) + PROXY)
    cellway.write("web.yaml", route("web"))
    policy = {
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": "EnvoyExtensionPolicy",
        "metadata": {"name": "asks"},
        "spec": {
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "asks"}],
            "lua": [{"type": "Inline", "inline": script()}],
        },
    }
    cellway.write("asks.yaml", route("asks") + "---\n" + json.dumps(policy))
    for name, place in OWN.items():
        backend = BACKEND.replace("NAME", name).replace("PLACE", place)
        cellway.write(f"{name}.yaml", f"{route(name, target=name)}---{backend}")
    cellway.upstream(11)
    cellway.start()
    return cellway


def test_neither_scripts_nor_routes_get_to_the_server(running: Cellway) -> None:
    assert get(running, "web.example").status_code == 200
    refused = get(running, "asks.example")
    assert (refused.status_code, refused.headers["x-status"], refused.content) == (200, "16", b""), refused.headers
    metrics = httpx.get(f"{running.admin}/metrics", timeout=30).text
    assert 'cellway_refused_streams_total{code="UNAUTHENTICATED"} 1.0' in metrics
    assert "it has no token of this server" in running.log()
    asks = f"http://{running.block.address(1)}:8080"
    for path in ("/config_dump", "/stats/prometheus"):
        answer = httpx.get(f"{asks}{path}", headers={"Host": "asks.example"}, timeout=10)
        assert (answer.status_code, answer.headers["x-status"]) == (200, "503"), path
    assert httpx.get(f"http://{running.block.address(1)}:19100/stats/prometheus", timeout=10).status_code == 200
    for name in OWN:
        assert get(running, f"{name}.example").status_code == 500, name
    found = [one for one in running.api("diagnostics")["items"] if "where no backend may lead" in str(one)]
    assert len(found) == len(OWN)
    key = read_xds_key(running.state)
    assert key is not None
    *_, proof = Tokens(key).word("default/edge").rpartition(".")
    told = [running.log(), metrics, *(str(running.api(path)) for path in ("dump", "proxies", "traffic", "objects"))]
    assert [text for text in told if proof in text or key.hex() in text] == []
    (envoy,) = running.api("proxies")["items"]
    assert envoy["gateway"] == "default/edge"
    assert stat.S_IMODE(Path(envoy["admin"]).stat().st_mode) == 0o600
    assert stat.S_ISSOCK(Path(envoy["admin"]).stat().st_mode)
