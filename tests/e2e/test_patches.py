"""EnvoyPatchPolicies through `cellway run`: patches are served, and one that Envoy refuses is blamed and holds up nobody."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.running import Cellway
from tests.e2e.test_delivery import gateway
from tests.e2e.test_live import get, load, route

HEADER = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: header}
spec:
  type: JSONPatch
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
  jsonPatches:
  - type: type.googleapis.com/envoy.config.route.v3.RouteConfiguration
    name: default/edge/http-8080
    operation:
      op: add
      jsonPath: $.virtual_hosts[*]
      path: /response_headers_to_add/-
      value: {header: {key: x-patched, value: "VALUE"}}
"""
AFTER_THE_ROUTER = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: last}
spec:
  type: JSONPatch
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
  jsonPatches:
  - type: type.googleapis.com/envoy.config.listener.v3.Listener
    name: default/edge/http-8080
    operation:
      op: add
      path: /filter_chains/0/filters/0/typed_config/http_filters/-
      value:
        name: late
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
          max_request_bytes: 1000
"""


@pytest.fixture
def patching(cellway: Cellway) -> Cellway:
    cellway.arguments = ("--allow-extensions", "default")
    cellway.write("gateway.yaml", gateway())
    cellway.write("web.yaml", route("web"))
    cellway.upstream(11)
    return cellway


def programmed(cellway: Cellway, name: str) -> dict[str, str]:
    items = cellway.api("objects")["items"]
    places = [
        place
        for item in items
        if (item["kind"], item["metadata"]["name"]) == ("EnvoyPatchPolicy", name)
        for place in item["status"]["ancestors"]
    ]
    found = [one for place in places for one in place["conditions"] if one["type"] == "Programmed"]
    assert len(found) <= 1
    return dict(found[0]) if found else {"reason": "it is not there"}


def until_reason(cellway: Cellway, name: str, reason: str) -> dict[str, str]:
    deadline = time.monotonic() + 60
    while (found := programmed(cellway, name))["reason"] != reason:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_patches_are_served_and_a_refused_one_is_blamed_while_all_else_goes_on(patching: Cellway) -> None:
    patching.write("header.yaml", HEADER.replace("VALUE", "first"))
    patching.start()
    assert get(patching, "web.example").headers["x-patched"] == "first"
    assert programmed(patching, "header")["reason"] == "Programmed"
    with load(patching) as steady:
        late: Path = patching.write("late.yaml", AFTER_THE_ROUTER)
        found = until_reason(patching, "last", "Rejected")
        assert found["status"] == "False"
        assert "late.yaml:12:7" in found["message"]
        patching.write("header.yaml", HEADER.replace("VALUE", "second"))
        patching.write("web.yaml", route("web", "after"))
        deadline = time.monotonic() + 60
        while (answer := get(patching, "web.example")).headers["x-edit"] != "after":
            assert time.monotonic() < deadline, "what was refused holds up what was not"
        while (answer := get(patching, "web.example")).headers["x-patched"] != "second":
            assert time.monotonic() < deadline, answer.headers
        late.unlink()
        patching.wait()
    assert steady.failures() == {}
    assert programmed(patching, "header")["reason"] == "Programmed"
    refused = httpx.get(f"{patching.admin}/api/v1/objects", timeout=10)
    assert "Rejected" not in refused.text
