"""What may be changed in a bootstrap, and what stays as it is whatever is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor

from xds_server.envoy_api.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap as BootstrapMessage
from xds_server.features.parts.bootstrap_fields import FIELDS, PACKED
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
ENDPOINT = """
static_resources:
  clusters:
  - name: collector
    load_assignment:
      cluster_name: collector
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: HOST, port_value: 9901}}}}]}]
"""
SINK = "stats_sinks: [{name: x, typed_config: {'@type': type.googleapis.com/"
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cluster_manager: {outlier_detection: {event_log_path: /tmp/x}}", "outlier_detection is not among"),
        (CLUSTER + "    health_checks: [{event_log_path: /tmp/x}]", "event_log_path is not among"),
        (
            CLUSTER + "    health_checks: [{http_health_check: {path: /quitquitquit, method: POST}}]",
            "http_health_check",
        ),
        (CLUSTER + "    health_checks: [{tcp_health_check: {send: {text: '50'}}}]", "send is not among"),
        (CLUSTER + "    type: ORIGINAL_DST", "none of STATIC, STRICT_DNS, LOGICAL_DNS"),
        (CLUSTER + "    type: 77", "none of STATIC, STRICT_DNS, LOGICAL_DNS"),
        (ENDPOINT + "    cluster_type: {name: x}", "cluster_type is not among"),
        (CLUSTER + "    filters: [{name: x}]", "filters is not among"),
        (
            CLUSTER + "    transport_socket: {name: t, typed_config: {'@type': type.googleapis.com/"
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {key_log: {path: /x}}}}",
            "key_log is not among",
        ),
        (
            CLUSTER + "    transport_socket: {name: t, typed_config: {'@type': type.googleapis.com/"
            "envoy.extensions.transport_sockets.tap.v3.Tap}}",
            "transport_sockets.tap.v3.Tap is not for a bootstrap",
        ),
        (CLUSTER + "    transport_socket: {name: envoy.transport_sockets.tap}", "needs a typed_config"),
        (
            SINK + "envoy.extensions.stat_sinks.wasm.v3.Wasm, config: {vm_config: {runtime: envoy.wasm.runtime.v8, "
            "code: {local: {inline_bytes: AGFzbQ==}}}}}}]",
            "stat_sinks.wasm.v3.Wasm is not for a bootstrap",
        ),
        (SINK + "xds.type.v3.TypedStruct, type_url: x}}]", "TypedStruct"),
        (SINK + "google.protobuf.Struct, value: {a: 1}}}]", "google.protobuf.Struct is not for a bootstrap"),
        (SINK + "envoy.config.metrics.v3.StatsdSink, address: {pipe: {path: /x}}}}]", "a socket in the file system"),
        (
            SINK + 'envoy.config.metrics.v3.StatsdSink, tcp_cluster_name: c, prefix: "POST /quitquitquit\\r\\n"}}]',
            "control characters",
        ),
        (
            SINK + "envoy.config.metrics.v3.MetricsServiceConfig, grpc_service: {envoy_grpc: {cluster_name: c}, "
            "initial_metadata: [{key: x, value: '%ENVIRONMENT(HOME)%'}]}}}]",
            "the environment",
        ),
        (
            "overload_manager: {resource_monitors: [{name: x, typed_config: {'@type': type.googleapis.com/"
            "envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig, filename: /etc/passwd}}]}",
            "InjectedResourceConfig is not for a bootstrap",
        ),
        (
            "watchdogs: {worker_watchdog: {actions: [{config: {name: x, typed_config: {'@type': type.googleapis.com/"
            "envoy.extensions.watchdog.profile_action.v3.ProfileActionConfig, profile_path: /x}}}]}}",
            "actions is not among",
        ),
        *((ENDPOINT.replace("HOST", host), "own machine") for host in ("127.0.0.1", "127.9.9.9", "'::1'")),
        *((ENDPOINT.replace("HOST", host), "own machine") for host in ("0.0.0.0", "'::'", "'::ffff:127.0.0.1'")),
        *((ENDPOINT.replace("HOST", host), "own machine") for host in ("localhost", "Localhost.", "a.localhost")),
    ],
)
def test_what_would_leave_the_bootstrap(text: str, words: str) -> None:
    assert words in fragment_problem(yaml.safe_load(text))
    with pytest.raises(ValueError, match=words):
        changed(BASE, merge(text))


@pytest.mark.parametrize(
    "layer",
    [
        "{re2: {max_program_size: {error_level: 1}}}",
        "{re2: {max_program_size.error_level: 1}}",
        "{re2.max_program_size: {error_level: 1}}",
        "{re2.max_program_size: {error_level: {numerator: 1}}}",
        "{'': {re2.max_program_size.error_level: 1}}",
    ],
)
def test_a_runtime_key_is_the_same_in_parts(layer: str) -> None:
    text = f"layered_runtime: {{layers: [{{name: x, static_layer: {layer}}}]}}"
    assert "re2.*" in fragment_problem(yaml.safe_load(text))


def test_a_bootstrap_that_reports_loads_may_be_changed() -> None:
    base = yaml.safe_load(Bootstrap("default/edge", "here", Address("127.0.0.1", 18000), reports=True).text())
    assert changed(base, merge("stats_flush_interval: 2s"))["cluster_manager"] == base["cluster_manager"]
    at = "/cluster_manager/load_stats_config/grpc_services/0/initial_metadata/0/value"
    for place in (at, "/cluster_manager/load_stats_config", "/cluster_manager"):
        for step in (
            {"op": "test", "path": place, "value": "Bearer x"},
            {"op": "copy", "from": place, "path": "/stats_config/stats_tags"},
            {"op": "move", "from": place, "path": "/stats_config/stats_tags"},
        ):
            with pytest.raises(ValueError, match="is not read"):
                changed(base, [step])
    with pytest.raises(ValueError, match="--report-load"):
        changed(base, [{"op": "remove", "path": "/cluster_manager/load_stats_config"}])


def test_a_collector_with_tls_may_be_added() -> None:
    text = (
        ENDPOINT.replace("HOST", "192.0.2.1")
        + "    transport_socket: {name: t, typed_config: {'@type': type.googleapis.com/"
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: collector.example, common_tls_context: "
        '{validation_context: {trusted_ca: {inline_string: "-----BEGIN\\n"}}}}}\n'
        + SINK
        + "envoy.config.metrics.v3.StatsdSink, tcp_cluster_name: collector}}]\n"
        "layered_runtime: {layers: [{name: x, static_layer: {upstream: {healthy_panic_threshold: 0}}}]}"
    )
    assert fragment_problem(yaml.safe_load(text)) == ""
    assert len(changed(BASE, merge(text))["static_resources"]["clusters"]) == 2


def test_every_field_that_may_be_changed_is_one_of_envoys() -> None:
    fragment_problem({"@type": "", "x": [{"@type": name} for name in FIELDS]})  # their modules are imported
    reached: set[str] = set()

    def reach(message: Descriptor) -> None:
        if message.full_name in reached:
            return
        reached.add(message.full_name)
        known = message.fields_by_name
        fields = set(known) if message.GetOptions().map_entry else FIELDS.get(message.full_name, frozenset())
        assert not set(fields) - set(known), message.full_name
        for name in fields:
            if (inner := known[name].message_type) is not None:
                reach(inner)

    for name in (BootstrapMessage.DESCRIPTOR.full_name, *PACKED):
        reach(descriptor_pool.Default().FindMessageTypeByName(name))
    assert {one for one in reached if not one.endswith("Entry")} - {"google.protobuf.Any"} == set(FIELDS)


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
        ({"op": "remove", "path": f"{MONITOR}/5"}, "no such place"),
        ({"op": "add", "path": "/stats_config/a/b", "value": 1}, "no such place"),
        ({"op": "add", "path": f"{MONITOR}/9", "value": {}}, "no such place"),
        ({"op": "test", "path": "/overload_manager/refresh_interval", "value": "9s"}, "than the test expects"),
        ({"op": "add", "path": "/stats_flush_interval", "value": []}, "stats"),
    ],
)
def test_patches_that_cannot_be_made_change_nothing(step: dict[str, Any], words: str) -> None:
    before = yaml.safe_dump(BASE)
    with pytest.raises(ValueError, match=words.replace("*", ".")):
        changed(BASE, [step])
    assert yaml.safe_dump(BASE) == before
