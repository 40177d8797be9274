"""What may be changed in a bootstrap, and what stays as it is whatever is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from xds_server.features.parts.bootstraps import MERGE, changed, fragment_problem, path_problem
from xds_server.supervise.bootstrap import Address, Bootstrap

BASE: Any = yaml.safe_load(Bootstrap("default/edge", "here", Address("127.0.0.1", 18000)).text())
CLUSTER = """
static_resources:
  clusters:
  - name: NAME
    type: STATIC
    load_assignment: {cluster_name: NAME, endpoints: []}
"""
MONITOR = "/overload_manager/resource_monitors"


def merge(text: str) -> list[dict[str, Any]]:
    return [{MERGE: yaml.safe_load(text)}]


def test_maps_are_merged_and_lists_are_appended() -> None:
    result = changed(BASE, merge("stats_flush_interval: 2s\noverload_manager: {refresh_interval: 1s}" + CLUSTER))
    assert result["stats_flush_interval"] == "2s"
    assert result["overload_manager"] == {**BASE["overload_manager"], "refresh_interval": "1s"}
    assert [one["name"] for one in result["static_resources"]["clusters"]] == ["cellway_xds", "NAME"]
    assert result["admin"] == BASE["admin"]


def test_what_a_gateway_asks_for_itself_may_be_there() -> None:
    own = {"name": "metrics", "type": "STATIC", "load_assignment": {"cluster_name": "metrics", "endpoints": []}}
    more = {"static_resources": {"clusters": [own]}}
    bootstrap = Bootstrap("default/edge", "here", Address("127.0.0.1", 18000), more=json.dumps(more))
    base = yaml.safe_load(bootstrap.text())
    result = changed(base, merge("stats_flush_interval: 2s" + CLUSTER))
    assert [one["name"] for one in result["static_resources"]["clusters"]] == ["cellway_xds", "metrics", "NAME"]
    with pytest.raises(ValueError, match="stay as they are"):
        changed(base, [{"op": "remove", "path": "/static_resources/clusters/1"}])


def test_patches_follow_each_other() -> None:
    heap = f"{MONITOR}/0/typed_config/max_heap_size_bytes"
    steps: list[dict[str, Any]] = [
        {"op": "test", "path": heap, "value": 2147483648},
        {"op": "replace", "path": heap, "value": 1},
        {"op": "copy", "from": f"{MONITOR}/1", "path": f"{MONITOR}/-"},
        {"op": "remove", "path": f"{MONITOR}/1"},
        {"op": "add", "path": "/stats_config", "value": {"use_all_default_tags": True}},
        {"op": "move", "from": "/stats_config/use_all_default_tags", "path": "/stats_flush_on_admin"},
    ]
    result = changed(BASE, steps)
    first, second = result["overload_manager"]["resource_monitors"]
    assert (first["typed_config"]["max_heap_size_bytes"], second) == (
        1,
        BASE["overload_manager"]["resource_monitors"][1],
    )
    assert (result["stats_config"], result["stats_flush_on_admin"]) == ({}, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("admin: {address: {socket_address: {address: 0.0.0.0, port_value: 9901}}}", "admin stays as it is"),
        ("node: {cluster: other/gateway}", "node stays as it is"),
        ("dynamicResources: {adsConfig: {apiType: GRPC}}", "dynamic_resources stays as it is"),
        ("bootstrap_extensions: [{name: x}]", "bootstrap_extensions stays as it is"),
        ("static_resources: {listeners: [{name: x}]}", "clusters only"),
        ("static_resources: {secrets: [{name: x}]}", "clusters only"),
        (CLUSTER.replace("NAME", "cellway_xds"), "begin with cellway"),
        (CLUSTER + "    eds_cluster_config: {eds_config: {ads: {}}}", "another source of configuration"),
        ("layered_runtime: {layers: [{name: x, disk_layer: {symlink_root: /etc}}]}", "a folder of the Envoy"),
        ("layered_runtime: {layers: [{name: x, rtds_layer: {name: y}}]}", "another source"),
        ("layered_runtime: {layers: [{name: x, static_layer: {re2.max_program_size.error_level: 9}}]}", "re2.*"),
        (
            CLUSTER + "    transport_socket: {name: t, typed_config: {'@type': type.googleapis.com/"
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {validation_context: "
            "{trusted_ca: {filename: /etc/passwd}}}}}",
            "filename",
        ),
        ("stats_flush_interval: soon", "stats"),
        ("nothing: 1", "nothing"),
        ("stats_sinks: [{name: x, typed_config: {'@type': type.googleapis.com/envoy.no.Such}}]", "envoy.no.Such"),
        ("[]", "a bootstrap is a map"),
    ],
)
def test_what_stays(text: str, words: str) -> None:
    assert words in fragment_problem(yaml.safe_load(text))


@pytest.mark.parametrize("path", ["admin", "/admin/address", "/node", "/dynamic_resources/ads_config", "", "/"])
def test_paths_that_lead_nowhere(path: str) -> None:
    assert path_problem(path)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"op": "remove", "path": "/static_resources/clusters/0"}, "stay as they are"),
        ({"op": "replace", "path": "/static_resources/clusters/0/type", "value": "STRICT_DNS"}, "stay as they are"),
        ({"op": "replace", "path": "/static_resources", "value": {}}, "stay as they are"),
        ({"op": "replace", "path": "/layered_runtime/layers/0/static_layer", "value": {}}, "stay as they are"),
        ({"op": "add", "path": "/static_resources/listeners", "value": [{"name": "x"}]}, "clusters only"),
        ({"op": "add", "path": "/cluster_manager", "value": {"local_cluster_name": "x"}}, "--zone"),
        ({"op": "remove", "path": f"{MONITOR}/5"}, "nothing at"),
        ({"op": "add", "path": "/stats_config/a/b", "value": 1}, "nothing at"),
        ({"op": "add", "path": f"{MONITOR}/9", "value": {}}, "nothing can be added"),
        ({"op": "test", "path": "/overload_manager/refresh_interval", "value": "9s"}, "not what the test expects"),
        ({"op": "add", "path": "/stats_flush_interval", "value": []}, "stats"),
    ],
)
def test_patches_that_cannot_be_made_change_nothing(step: dict[str, Any], words: str) -> None:
    before = yaml.safe_dump(BASE)
    with pytest.raises(ValueError, match=words.replace("*", ".")):
        changed(BASE, [step])
    assert yaml.safe_dump(BASE) == before
