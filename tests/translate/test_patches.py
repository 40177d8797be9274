"""EnvoyPatchPolicies: what a patch changes, what is refused, and that everything else stays as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format

from tests.documents import compiled, parse
from xds_server.compile import Compiled, Options
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_server.envoy_api.envoy.extensions.filters.http.aws_lambda.v3.aws_lambda_pb2 import Config
from xds_server.envoy_api.udpa.type.v1.typed_struct_pb2 import TypedStruct
from xds_server.snapshot.resource import CLUSTER, LISTENER, ROUTES
from xds_server.translate.payloads import settle
from xds_server.types import ENVOY_GATEWAY_GROUP, Key

WORLD = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, protocol: HTTP, port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  hostnames: [a.example, b.example]
  rules:
  - {matches: [{path: {value: /x}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}
  - {backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 1}}]}
"""
NAMES = {LISTENER: "default/edge/http-80", ROUTES: "default/edge/http-80", CLUSTER: "default/up"}
MESSAGES: dict[str, Any] = {LISTENER: Listener, ROUTES: RouteConfiguration, CLUSTER: Cluster}
MANAGER = "/filter_chains/0/filters/0/typed_config"
_SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
ALLOWED = Options(extenders=("default",))


def policy(*patches: tuple[str, dict[str, Any]], name: str = "one", more: str = "") -> str:
    """A policy with a patch a line: (type, operation)."""
    lines = "".join(
        f"  - {json.dumps({'type': kind, 'name': operation.pop('of', NAMES.get(kind, 'x')), 'operation': operation})}\n"
        for kind, operation in patches
    )
    return (
        f"---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyPatchPolicy\nmetadata: {{name: {name}}}\n"
        "spec:\n  type: JSONPatch\n  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}\n"
        f"{more}  jsonPatches:\n{lines}"
    )


def resource(found: Compiled, kind: str) -> dict[str, Any]:
    """A resource as JSON."""
    one = found.snapshots["default/edge"].get(kind)[NAMES[kind]]
    message = MESSAGES[kind].FromString(one.body)
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def conditions(found: Compiled, name: str = "one") -> dict[str, tuple[bool, str]]:
    (place,) = found.statuses[Key(ENVOY_GATEWAY_GROUP, "EnvoyPatchPolicy", "default", name)].ancestors
    return {one.type: (one.status, one.reason) for one in place.conditions}


def bodies(found: Compiled) -> dict[tuple[str, str], bytes]:
    snapshot = found.snapshots["default/edge"]
    return {(kind, one.name): one.body for kind, named in snapshot.resources.items() for one in named.values()}


def test_operations_change_what_they_name() -> None:
    text = WORLD + policy(
        (LISTENER, {"op": "replace", "path": f"{MANAGER}/stream_idle_timeout", "value": "7s"}),
        (LISTENER, {"op": "add", "path": f"{MANAGER}/local_reply_config/body_format/text_format", "value": "no"}),
        (LISTENER, {"op": "test", "path": "/name", "value": "default/edge/http-80"}),
        (CLUSTER, {"op": "copy", "from": "/connect_timeout", "path": "/cleanup_interval"}),
        (CLUSTER, {"op": "move", "from": "/cleanup_interval", "path": "/dns_refresh_rate"}),
        (ROUTES, {"op": "remove", "jsonPath": "$.virtual_hosts[*].routes[?@.match.path_separated_prefix == '/x']"}),
        (ROUTES, {"op": "add", "jsonPath": "$.virtual_hosts[*].routes[*]", "path": "/response_headers_to_add/-",
                  "value": {"header": {"key": "x-a", "value": "1"}}}),
    )  # fmt: skip
    found = compiled(text, ALLOWED)
    assert found.diagnostics == ()
    manager = resource(found, LISTENER)["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["stream_idle_timeout"] == "7s"
    assert manager["local_reply_config"]["body_format"] == {"text_format": "no"}
    cluster = resource(found, CLUSTER)
    assert cluster["dns_refresh_rate"] == cluster["connect_timeout"]
    (host,) = resource(found, ROUTES)["virtual_hosts"]
    assert [route["response_headers_to_add"] for route in host["routes"]] == [
        [{"header": {"key": "x-a", "value": "1"}}]
    ]
    assert conditions(found) == {"Accepted": (True, "Accepted"), "Programmed": (True, "Programmed")}
    listener = found.snapshots["default/edge"].get(LISTENER)[NAMES[LISTENER]]
    assert [str(one) for one in listener.origins if one.key.kind == "EnvoyPatchPolicy"] == [
        f"EnvoyPatchPolicy default/one (test.yaml:{line}:{column})"
        for line, column in ((29, 116), (30, 116), (31, 116))
    ]


@pytest.mark.parametrize(
    ("kind", "operation", "reason", "words"),
    [
        (LISTENER, {"op": "replace", "path": "/nope/0", "value": 1}, "Invalid", "no such place"),
        (LISTENER, {"op": "remove", "path": "/filter_chains/7"}, "Invalid", "no such place"),
        (LISTENER, {"op": "test", "path": "/name", "value": "other"}, "Invalid", "something else"),
        (LISTENER, {"op": "remove", "jsonPath": "$.nope"}, "Invalid", "nowhere"),
        (LISTENER, {"op": "remove", "jsonPath": "$.[["}, "Invalid", "cannot be read"),
        (LISTENER, {"op": "remove", "jsonPath": "$[?match(@, '(a+)+$')]"}, "Invalid", "cannot be read"),
        (LISTENER, {"op": "add", "path": "/nope", "value": 1}, "Invalid", "no Listener"),
        (LISTENER, {"op": "add", "path": "/stat_prefix", "value": {"a": 1}}, "Invalid", "no Listener"),
        (LISTENER, {"op": "add", "path": "/filter_chains/0/filters/0/typed_config/route_config", "value": {}}, "Invalid", ""),
        (LISTENER, {"op": "replace", "path": f"{MANAGER}/stat_prefix", "value": ""}, "Invalid", "would refuse"),
        (LISTENER, {"op": "replace", "path": f"{MANAGER}/@type", "value": "type.googleapis.com/no.Such"}, "Invalid", ""),
        (LISTENER, {"op": "add", "path": "", "of": "new", "value": {"name": "new"}}, "Invalid", "cannot be added"),
        (LISTENER, {"op": "remove", "path": ""}, "Invalid", "as a whole"),
        (LISTENER, {"op": "replace", "path": "/name", "value": "other"}, "Invalid", "another name"),
        (LISTENER, {"op": "replace", "path": "/address/socket_address/port_value", "value": 81}, "Invalid", "keeps its address"),
        (LISTENER, {"op": "replace", "path": f"{MANAGER}/rds/route_config_name", "value": "x"}, "Invalid", "not there"),
        (CLUSTER, {"op": "remove", "path": "/type", "of": "nope"}, "ResourceNotFound", "no Cluster 'nope'"),
        (CLUSTER, {"op": "add", "path": "", "of": "new", "value": {"name": "other"}}, "Invalid", "another name"),
    ],
)  # fmt: skip
def test_a_set_with_a_bad_patch_changes_nothing_and_the_next_one_counts(
    kind: str, operation: dict[str, Any], reason: str, words: str
) -> None:
    good = (CLUSTER, {"op": "replace", "path": "/connect_timeout", "value": "7s"})
    other = policy((CLUSTER, {"op": "add", "path": "/alt_stat_name", "value": "up"}), name="two")
    found = compiled(WORLD + policy(good, (kind, operation)) + other, ALLOWED)
    (problem,) = found.diagnostics
    assert problem.code == "T131"
    assert words in problem.message
    assert problem.span is not None
    assert problem.span.line == 30
    assert conditions(found)["Programmed"] == (False, reason)
    assert conditions(found, "two")["Programmed"] == (True, "Programmed")
    assert bodies(found) == bodies(compiled(WORLD + other, ALLOWED))


@pytest.mark.parametrize("source", [{"filename": "/etc/passwd"}, {"environment_variable": "HOME"}])
def test_files_and_the_environment_are_out_of_reach(source: dict[str, str]) -> None:
    remove = {"op": "remove", "path": "/virtual_hosts/0/routes/0/route"}
    answer = {"status": 200, "body": source}
    first = {"op": "add", "path": "/virtual_hosts/0/routes/0/direct_response", "value": answer}
    found = compiled(WORLD + policy((ROUTES, remove), (ROUTES, first)), ALLOWED)
    assert [one.code for one in found.diagnostics] == ["T131"]
    assert "files or to the environment" in found.diagnostics[0].message
    assert bodies(found) == bodies(compiled(WORLD))


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "copy", "from": "/generic_secret", "path": "/tls_certificate"},
        {"op": "move", "from": "/generic_secret", "path": "/tls_certificate"},
        {"op": "test", "path": "/generic_secret/secret/inline_string", "value": "hidden"},
        {"op": "remove", "path": "/generic_secret"},
        {"op": "remove", "jsonPath": "$.generic_secret[?@.inline_string >= 'h']"},
        {"op": "add", "jsonPath": "$.generic_secret[?@.inline_string >= 'h']", "path": "/x", "value": "y"},
        {"op": "replace", "jsonPath": "$.generic_secret[?@.inline_string >= 'z']", "value": {"inline_string": "y"}},
    ],
)
def test_what_is_secret_stays_in_its_place_and_is_not_asked_about(operation: dict[str, Any]) -> None:
    value = {"name": "cert", "generic_secret": {"secret": {"inline_string": "hidden"}}}
    made = {"op": "add", "path": "", "of": "cert", "value": value}
    found = compiled(WORLD + policy((_SECRET, made), (_SECRET, operation | {"of": "cert"})), ALLOWED)
    assert [("stays in its place" in one.message, one.code) for one in found.diagnostics] == [(True, "T131")]
    assert bodies(found) == bodies(compiled(WORLD))


KEYS = """---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {ann: hidden-key, bob: other-key}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  apiKeyAuth: {extractFrom: [{headers: [x-key]}], credentialRefs: [{name: keys}]}
"""


def table(text: str) -> dict[str, Any]:
    """The route table, as it is served."""
    message = RouteConfiguration.FromString(bodies(compiled(text, ALLOWED))[ROUTES, NAMES[ROUTES]])
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def key_path() -> str:
    """Where the first key is in the route table."""
    path, host = "", table(WORLD + KEYS)["virtual_hosts"][0]
    for number, one in enumerate(host["routes"]):
        for name, config in one.get("typed_per_filter_config", {}).items():
            if "credentials" in config:
                path = f"/virtual_hosts/0/routes/{number}/typed_per_filter_config/{name}/credentials/0/key"
    assert path
    return path


@pytest.mark.parametrize("op", ["test", "copy", "move", "above", "filter"])
def test_what_is_secret_elsewhere_is_not_asked_about_either(op: str) -> None:
    path = key_path()
    operation: dict[str, Any] = {
        "test": {"op": "test", "path": path, "value": "hidden-key"},
        "copy": {"op": "copy", "from": path, "path": "/virtual_hosts/0/name"},
        "move": {"op": "move", "from": path, "path": "/virtual_hosts/0/name"},
        "above": {"op": "copy", "from": path.rpartition("/credentials")[0], "path": "/virtual_hosts/0/metadata"},
        "filter": {"op": "remove", "jsonPath": "$.virtual_hosts[0].routes[*].*.*.credentials[?@.key == 'hidden-key']"},
    }[op]
    found = compiled(WORLD + KEYS + policy((ROUTES, operation)), ALLOWED)
    assert [one.code for one in found.diagnostics] == ["T131"]
    assert bodies(found) == bodies(compiled(WORLD + KEYS, ALLOWED))


def test_a_patch_of_something_else_leaves_what_is_secret_as_it_is() -> None:
    before = table(WORLD + KEYS)
    other = {"op": "replace", "path": "/virtual_hosts/0/name", "value": "other"}
    key = {"op": "replace", "path": key_path(), "value": "new"}
    after = table(WORLD + KEYS + policy((ROUTES, other), (ROUTES, key)))
    text = json.dumps(after)
    assert (text.count("hidden-key"), text.count("other-key")) == (
        json.dumps(before).count("hidden-key") - 1,
        json.dumps(before).count("other-key"),
    )
    assert after["virtual_hosts"][0]["name"] == "other"


def test_no_text_of_a_tenant_is_taken_for_a_sign() -> None:
    text = f"cellway:hidden:0 {'0' * 30}0"
    header = f"filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-a, value: '{text}'}}]}}}}]"
    world = WORLD.replace("- {matches", f"- {{{header}, matches") + KEYS
    other = {"op": "replace", "path": "/virtual_hosts/0/name", "value": "other"}
    to = {"op": "add", "path": "/response_headers_to_add", "value": [{"header": {"key": "x-b", "value": text}}]}
    found = compiled(world + policy((ROUTES, other), (ROUTES, to)), ALLOWED)
    assert (found.diagnostics, conditions(found)["Programmed"][0]) == ((), True)
    after = table(world + policy((ROUTES, other), (ROUTES, to)))
    assert (after["virtual_hosts"][0]["name"], json.dumps(after).count(text)) == ("other", 2)
    assert bodies(found) == bodies(compiled(world + policy((ROUTES, other), (ROUTES, to)), ALLOWED))


def test_what_is_secret_can_be_replaced() -> None:
    value = {"name": "cert", "generic_secret": {"secret": {"inline_string": "hidden"}}}
    path = "/generic_secret/secret/inline_string"
    text = policy(
        (_SECRET, {"op": "add", "path": "", "of": "cert", "value": value}),
        (_SECRET, {"op": "replace", "path": path, "of": "cert", "value": "other"}),
    )
    found = compiled(WORLD + text, ALLOWED)
    assert found.diagnostics == ()
    assert conditions(found)["Programmed"] == (True, "Programmed")


def test_no_operator_tells_of_the_environment() -> None:
    header = {"header": {"key": "x-a", "value": "%ENVIRONMENT(HOME)%"}}
    add = {"op": "add", "path": "/virtual_hosts/0/routes/0/response_headers_to_add/-", "value": header}
    found = compiled(WORLD + policy((ROUTES, add)), ALLOWED)
    assert [one.code for one in found.diagnostics] == ["T131"]
    assert bodies(found) == bodies(compiled(WORLD))


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/tmp/x"}, "path"),
        ({"@type": "type.googleapis.com/envoy.extensions.access_loggers.wasm.v3.WasmAccessLog",
          "config": {"vm_config": {"code": {"local": {"filename": "/x"}}}}}, "filename"),
    ],
)  # fmt: skip
def test_nothing_that_is_packed_reaches_a_file_either(config: dict[str, Any], word: str) -> None:
    log = {"op": "add", "path": f"{MANAGER}/access_log/-", "value": {"name": "x", "typed_config": config}}
    found = compiled(WORLD + policy((LISTENER, log)), ALLOWED)
    assert [one.code for one in found.diagnostics] == ["T131"]
    assert word in found.diagnostics[0].message


_TYPE = "type.googleapis.com/"
_TLS = {
    "common_tls_context": {
        "tls_certificates": [{"private_key": {"filename": "/etc/shadow"}, "certificate_chain": {"inline_string": "x"}}]
    }
}
_LUA = "envoy.extensions.filters.http.lua.v3"
_TLS_NAME = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_EVIL = {"grpc_services": [{"google_grpc": {"target_uri": "evil:1", "stat_prefix": "x"}}], "api_type": "GRPC"}
_PLAIN = {"@type": f"{_TYPE}envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}


@pytest.mark.parametrize(
    "packed",
    [
        {"@type": f"{_TYPE}xds.type.v3.TypedStruct", "type_url": f"{_TYPE}{_TLS_NAME}", "value": _TLS},
        {"@type": f"{_TYPE}google.protobuf.Struct", "value": _TLS},
        {"@type": f"{_TYPE}google.protobuf.Value", "value": _TLS},
        {"@type": f"{_TYPE}google.protobuf.Any",
         "value": {"@type": f"{_TYPE}xds.type.v3.TypedStruct", "type_url": f"{_TYPE}{_TLS_NAME}", "value": _TLS}},
    ],
)  # fmt: skip
def test_what_cannot_be_looked_into_is_refused(packed: dict[str, Any]) -> None:
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": packed}
    found = compiled(WORLD + policy((CLUSTER, {"op": "add", "path": "/transport_socket", "value": socket})), ALLOWED)
    assert [one.code for one in found.diagnostics] == ["T131"]
    assert "without a type of its own" in found.diagnostics[0].message
    assert bodies(found) == bodies(compiled(WORLD))


def test_the_older_typed_struct_is_refused_too() -> None:
    message = Cluster()
    message.transport_socket.typed_config.Pack(TypedStruct(type_url=f"{_TYPE}{_TLS_NAME}"))
    assert settle(message).outside == {"a payload without a type of its own, udpa.type.v1.TypedStruct"}


@pytest.mark.parametrize(
    "source", [{"api_config_source": _EVIL}, {"self": {}}, {"ads": {}, "authorities": [{"name": "evil"}]}]
)
def test_no_other_server_is_asked_for_configuration(source: dict[str, Any]) -> None:
    discovery = {"config_source": source, "type_urls": [f"{_TYPE}envoy.extensions.filters.http.cors.v3.Cors"]}
    add = {"op": "add", "path": f"{MANAGER}/http_filters/0", "value": {"name": "x", "config_discovery": discovery}}
    found = compiled(WORLD + policy((LISTENER, add)), ALLOWED)
    assert [one.code for one in found.diagnostics] == ["T131"]
    assert "ConfigSource." in found.diagnostics[0].message
    assert bodies(found) == bodies(compiled(WORLD))


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        (ROUTES, "/virtual_hosts/0/routes/0/route", {"cluster": "cellway_xds"}),
        (ROUTES, "/virtual_hosts/0/routes/0/route", {"cluster_header": "x-cluster"}),
        (ROUTES, "/virtual_hosts/0/routes/0/route/request_mirror_policies", [{"cluster": "cellway_xds"}]),
        (ROUTES, "/virtual_hosts/0/routes/0/route", {"weighted_clusters": {"clusters": [{"name": "cellway_xds", "weight": 1}]}}),
        (LISTENER, f"{MANAGER}/access_log", [{"name": "x", "typed_config": {
            "@type": f"{_TYPE}envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            "common_config": {"log_name": "x", "grpc_service": {"envoy_grpc": {"cluster_name": "cellway_xds"}}}}}]),
        (LISTENER, f"{MANAGER}/access_log", [{"name": "x", "typed_config": {
            "@type": f"{_TYPE}envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
            "common_config": {"log_name": "x", "grpc_service": {"google_grpc": {"target_uri": "evil:1", "stat_prefix": "x"}}}}}]),
    ],
)  # fmt: skip
def test_nobody_gets_the_envoys_own_connection(kind: str, path: str, value: Any) -> None:
    found = compiled(WORLD + policy((kind, {"op": "add", "path": path, "value": value})), ALLOWED)
    assert [one.code for one in found.diagnostics] == ["T131"]
    assert "past the server" in found.diagnostics[0].message
    assert bodies(found) == bodies(compiled(WORLD))


@pytest.mark.parametrize(
    "config",
    [
        {"default_source_code": {"inline_string": "x = io"}},
        {"inline_code": "x = io"},
        {"source_codes": {"a": {"inline_string": "x = io"}}},
        {"shared_vm_id": "all"},
    ],
)
def test_a_patch_brings_no_script(config: dict[str, Any]) -> None:
    value = {"name": "x", "typed_config": {"@type": f"{_TYPE}{_LUA}.Lua", **config}}
    found = compiled(
        WORLD + policy((LISTENER, {"op": "add", "path": f"{MANAGER}/http_filters/0", "value": value})), ALLOWED
    )
    assert [one.code for one in found.diagnostics] == ["T131"]
    assert f"Lua.{next(iter(config))}" in found.diagnostics[0].message
    assert bodies(found) == bodies(compiled(WORLD))


def test_a_patch_brings_no_script_to_a_route() -> None:
    script = {"@type": f"{_TYPE}{_LUA}.LuaPerRoute", "source_code": {"inline_string": "x = io"}}
    path = "/virtual_hosts/0/routes/0/typed_per_filter_config"
    found = compiled(WORLD + policy((ROUTES, {"op": "add", "path": path, "value": {"x": script}})), ALLOWED)
    assert [one.code for one in found.diagnostics] == ["T131"]
    assert "LuaPerRoute.source_code" in found.diagnostics[0].message
    assert bodies(found) == bodies(compiled(WORLD))


def test_a_patch_makes_no_other_script_of_one_that_is_there() -> None:
    spec = {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web"}],
        "lua": [{"inline": "function envoy_on_request(handle) end"}],
    }
    head = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {name: more}\n"
    world = f"{WORLD}{head}spec: {json.dumps(spec)}\n"
    config = "$.filter_chains[0].filters[0].typed_config.http_filters[*].typed_config"
    script = {"op": "replace", "jsonPath": f"{config}.source_codes.script.inline_string", "value": "x = io"}
    changed = compiled(world + policy((LISTENER, script)), ALLOWED)
    assert [one.code for one in changed.diagnostics] == ["T131"]
    assert "Lua.source_codes" in changed.diagnostics[0].message
    assert bodies(changed) == bodies(compiled(world, ALLOWED))
    named = {"op": "add", "path": "/stat_prefix", "value": "edge"}
    assert compiled(world + policy((LISTENER, named)), ALLOWED).diagnostics == ()


def test_a_profile_of_credentials_and_texts_in_bytes_are_files_too() -> None:
    aws = Config(arn="arn:aws:lambda:x:1:function:f", credentials_profile="default")
    assert settle(aws).outside == {"Config.credentials_profile default"}
    answer = RouteConfiguration()
    text = b"%FILE_CONTENT(/etc/passwd)%"
    answer.virtual_hosts.add().routes.add().direct_response.body.inline_bytes = text
    assert settle(answer).outside == {"%FILE_CONTENT(...)%"}


def test_what_is_packed_with_its_type_can_be_patched() -> None:
    socket = {"op": "add", "path": "/transport_socket", "value": {"name": "raw", "typed_config": _PLAIN}}
    found = compiled(WORLD + policy((CLUSTER, socket)), ALLOWED)
    assert found.diagnostics == ()
    assert resource(found, CLUSTER)["transport_socket"]["typed_config"] == _PLAIN


@pytest.mark.parametrize("again", [1, 2, 3])
def test_what_is_nested_too_deep_is_no_patch(again: int) -> None:
    steps = [
        (CLUSTER, {"op": "add", "path": "/metadata" + "/a" * (330 * number), "value": {}}) for number in range(again)
    ]
    found = compiled(
        WORLD + policy(*steps, (CLUSTER, {"op": "add", "path": "/metadata" + "/a" * 500, "value": 1})), ALLOWED
    )
    assert [one.code for one in found.diagnostics] == ["T131"]
    assert bodies(found) == bodies(compiled(WORLD))


def test_a_namespace_must_be_permitted() -> None:
    text = WORLD + policy((CLUSTER, {"op": "replace", "path": "/connect_timeout", "value": "7s"}))
    for options in (Options(), Options(extenders=("other",))):
        found = compiled(text, options)
        assert [one.code for one in found.diagnostics] == ["A150"]
        assert conditions(found) == {"Accepted": (False, "Disabled")}
        assert bodies(found) == bodies(compiled(WORLD))
    assert compiled(text, Options(extenders=("*",))).diagnostics == ()


def test_only_a_gateway_of_its_own_namespace_is_patched() -> None:
    patch = (CLUSTER, {"op": "replace", "path": "/connect_timeout", "value": "7s"})
    foreign = policy(patch).replace("{name: one}", "{name: one, namespace: other}")
    found = compiled(WORLD + foreign, Options(extenders=("*",)))
    assert [one.code for one in found.diagnostics] == ["A120"]
    part = compiled(WORLD + policy(patch).replace("name: edge}", "name: edge, sectionName: http}"), ALLOWED)
    assert [one.code for one in part.diagnostics] == ["A120"]
    assert bodies(found) == bodies(part) == bodies(compiled(WORLD))


def test_the_lowest_priority_comes_first() -> None:
    def named(value: str, priority: int) -> str:
        patch = (CLUSTER, {"op": "replace", "path": "/connect_timeout", "value": value})
        return policy(patch, name=f"p{value}", more=f"  priority: {priority}\n")

    found = compiled(WORLD + named("7s", 5) + named("8s", -5) + named("9s", 0), ALLOWED)
    assert resource(found, CLUSTER)["connect_timeout"] == "7s"


def test_a_cluster_can_be_added_and_equal_patches_have_equal_bytes() -> None:
    value = {"name": "new", "connect_timeout": "1s", "metadata": {"filter_metadata": {f"k{n}": {} for n in range(20)}}}
    text = WORLD + policy((CLUSTER, {"op": "add", "path": "", "of": "new", "value": value}))
    turned = text.replace(json.dumps(value), json.dumps(dict(reversed(list(value.items())))))
    first, second = compiled(text, ALLOWED), compiled(turned, ALLOWED)
    assert first.diagnostics == ()
    assert (CLUSTER, "new") in bodies(first)
    assert bodies(first) == bodies(second)


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/a"},
        {"op": "remove", "path": "/a", "value": 1},
        {"op": "remove"},
        {"op": "move", "path": "/a"},
        {"op": "remove", "path": "/a", "from": "/b"},
        {"op": "remove", "path": "a"},
        {"op": "merge", "path": "/a"},
    ],
)
def test_an_operation_has_what_it_needs_and_no_more(operation: dict[str, Any]) -> None:
    _, problems = parse(WORLD + policy((CLUSTER, operation)))
    assert [one.code for one in problems] == ["M112"]
