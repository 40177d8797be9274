"""What differs between two sets of documents, and between what Envoys would get: no noise, no secret, every place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from xds_server.changes.comparison import Side, compared, shadowed
from xds_server.changes.leaves import ABSENT, compare
from xds_server.changes.secrets import Hasher
from xds_server.changes.view import lines
from xds_server.compile import Options, compile_objects
from xds_server.load.objects import parse_documents_of
from xds_server.load.yaml import parse_documents

EDGE = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: cellway}
spec: {controllerName: cellway.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: cellway
  addresses: [{type: IPAddress, value: 127.0.0.9}]
  listeners:
  - {name: http, protocol: HTTP, port: 8080}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: 127.0.0.10, port: 80}}]}
---
"""
ROUTE = """apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules:
  - timeouts: {request: 3s}
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]
"""
SAME_ROUTE = """# the same, otherwise written
kind: HTTPRoute
apiVersion: gateway.networking.k8s.io/v1
status: {parents: []}
metadata: {name: web, namespace: default, generation: 7}
spec:
  rules:
  - backendRefs:
    - {name: one, kind: Backend, group: gateway.envoyproxy.io}
    timeouts: {request: 3s}
  parentRefs: [{name: edge}]
"""
KEYS = """apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}]}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, annotations: {copy: PLANTED}}
stringData: {ann: PLANTED}
---
"""
SHADOW = """---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: later, labels: {cellway.dev/shadow: "true"}}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  retry: {numRetries: 4}
"""
A, B = Hasher(b"a" * 32), Hasher(b"b" * 32)


def side(text: str, file: str = "one.yaml") -> Side:
    documents, problems = parse_documents(file, text.encode())
    assert not problems
    return Side(documents, compile_objects(parse_documents_of(documents).objects, Options()))


def differs(old: str, new: str, hasher: Hasher = A) -> dict[str, Any]:
    return compared(side(old, "old.yaml"), side(new, "new.yaml"), hasher, xds=True)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, [("a", 1, True)]),
        ({"a": {"b": 1}}, {"a": {}}, [("a.b", 1, ABSENT)]),
        ([1, 2, 3], [1, 3], [("[1]", 2, ABSENT)]),
        ([{"x": 1}, {"x": 2}], [{"x": 0}, {"x": 1}, {"x": 2}], [("[0]", ABSENT, {"x": 0})]),
        ({"l": [{"name": "a", "v": 1}]}, {"l": [{"name": "a", "v": 2}]}, [("l[a].v", 1, 2)]),
        (
            [{"name": "a"}, {"name": "b"}],
            [{"name": "b"}, {"name": "c"}, {"name": "a"}],
            [("[c]", ABSENT, {"name": "c"}), (": order", ["a", "b"], ["b", "a"])],
        ),
        ({"h": {"x/y": 1}}, {"h": {"x/y": 2}}, [('h["x/y"]', 1, 2)]),
    ],
)
def test_leaves(old: Any, new: Any, found: list[tuple[str, Any, Any]]) -> None:
    assert [(one.path, one.old, one.new) for one in compare(old, new)] == found


def test_order_comments_and_what_clusters_write_are_no_difference() -> None:
    other = "---\n".join(reversed((EDGE.rstrip("-\n") + "\n", SAME_ROUTE)))
    assert differs(EDGE + ROUTE, other) == {"same": True, "objects": [], "resources": []}


def test_a_changed_leaf_has_both_places_and_what_it_means_for_envoys() -> None:
    view = differs(EDGE + ROUTE, "\n" + EDGE + ROUTE.replace("3s", "5s"))
    (item,) = view["objects"]
    assert (item["object"], item["change"]) == ("HTTPRoute default/web", "changed")
    assert item["changes"] == [
        {
            "path": "spec.rules[0].timeouts.request",
            "old": "3s",
            "new": "5s",
            "oldPlace": "old.yaml:27:25",
            "newPlace": "new.yaml:28:25",
        }
    ]
    (resource,) = view["resources"]
    assert (resource["gateway"], resource["type"]) == ("default/edge", "RouteConfiguration")
    assert [(one["old"], one["new"]) for one in resource["changes"]] == [("3s", "5s")]
    assert '"3s" (old.yaml:27:25) -> "5s" (new.yaml:28:25)' in "\n".join(lines(view))


def test_objects_that_come_and_go() -> None:
    view = differs(EDGE + ROUTE, EDGE + KEYS.rstrip("-\n"))
    assert [(one["change"], one["object"]) for one in view["objects"]] == [
        ("removed", "HTTPRoute default/web"),
        ("added", "Secret default/keys"),
        ("added", "SecurityPolicy default/keys"),
    ]


def test_a_changed_secret_is_seen_and_not_its_value() -> None:
    old = EDGE + KEYS.replace("PLANTED", "first-value") + ROUTE
    new = EDGE + KEYS.replace("PLANTED", "second-value") + ROUTE
    view, again = differs(old, new), differs(old, new, B)
    text = json.dumps([view, again]) + "\n".join(lines(view))
    assert "first-value" not in text
    assert "second-value" not in text
    (item,) = view["objects"]
    assert [one["path"] for one in item["changes"]] == ["metadata.annotations.copy", "stringData.ann"]
    assert item["changes"][1]["old"] != item["changes"][1]["new"]
    assert view["resources"], "what Envoys get differs, too"
    assert item["changes"][1]["old"] != again["objects"][0]["changes"][1]["old"], (
        "hashes of two runs cannot be compared"
    )


PATCHES = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: keys, annotations: {last: planted-ANNOTATED}}
spec:
  type: JSONPatch
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
  priority: 1
  jsonPatches:
  - type: type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
    name: own
    operation: {op: add, path: /generic_secret, value: {secret: {inline_string: planted-IN-SECRET}}}
  - type: type.googleapis.com/envoy.config.cluster.v3.Cluster
    name: web
    operation: {op: add, path: /transport_socket/tls_certificates/0/private_key/inline_string, value: planted-IN-CLUSTER}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: proxy}
spec:
  concurrency: 1
  bootstrap:
    type: JSONPatch
    value: "password: planted-IN-YAML"
    jsonPatches: [{op: add, path: /a, value: [{type: planted-IN-BOOTSTRAP, path: planted-DEEPER}]}]
"""


def test_what_patches_and_bootstraps_put_into_resources_is_seen_and_not_shown() -> None:
    other = PATCHES.replace("planted", "sown")
    for old, new in (
        (PATCHES, other),
        (PATCHES, PATCHES.replace("operation:", "operations:").replace("planted", "sown")),
    ):
        text = json.dumps(differs(old, new))
        assert "(secret " in text
        assert "planted" not in text
        assert "sown" not in text
    (patches, proxy) = differs(PATCHES, other)["objects"]
    paths = [one["path"] for one in (*patches["changes"], *proxy["changes"])]
    assert "spec.jsonPatches[own].operation.value.secret.inline_string" in paths
    assert "spec.bootstrap.value" in paths
    (shown,) = differs(PATCHES, PATCHES.replace("path: /a", "path: /b"))["objects"]
    assert [(one["old"], one["new"]) for one in shown["changes"]] == [("/a", "/b")]
    (shown,) = differs(PATCHES, PATCHES.replace("concurrency: 1", "concurrency: 2"))["objects"]
    assert [(one["old"], one["new"]) for one in shown["changes"]] == [(1, 2)]


def test_shadows_are_checked_and_change_nothing() -> None:
    plain, with_shadow = side(EDGE + ROUTE), side(EDGE + ROUTE + SHADOW)
    assert compared(plain, with_shadow, A, xds=True)["resources"] == []
    view = shadowed(with_shadow, A, xds=True)
    assert [one["object"] for one in view["objects"]] == ["BackendTrafficPolicy default/later"]
    assert any("retry_policy" in leaf["path"] for leaf in view["resources"][0]["changes"])
    (told,) = with_shadow.compiled.diagnostics
    assert (told.code, told.subject) == ("A160", "BackendTrafficPolicy default/later")
    (key,) = (item.key for item in with_shadow.compiled.shadows)
    (condition,) = with_shadow.compiled.statuses[key].conditions
    assert (condition.type, condition.status, condition.reason) == ("Accepted", False, "Shadow")


def test_a_shadow_with_a_mistake_is_told_so() -> None:
    wrong = side(EDGE + ROUTE + SHADOW.replace("name: web", "name: wbe"))
    assert {one.code for one in wrong.compiled.diagnostics if one.subject.endswith("/later")} > {"A160"}
    assert wrong.snapshots["default/edge"].versions == side(EDGE + ROUTE).snapshots["default/edge"].versions


def test_a_shadow_may_stand_for_an_object_in_force() -> None:
    labelled = ROUTE.replace("{name: web}", '{name: web, labels: {cellway.dev/shadow: "true"}}', 1)
    both = side(EDGE + ROUTE + "---\n" + labelled.replace("3s", "8s"))
    assert both.snapshots["default/edge"].versions == side(EDGE + ROUTE).snapshots["default/edge"].versions
    (item,) = shadowed(both, A, xds=False)["objects"]
    assert [(one["path"], one.get("old"), one["new"]) for one in item["changes"]][-1][1:] == ("3s", "8s")


def test_a_label_that_could_be_a_slip_loses_no_guard() -> None:
    guard = KEYS.replace(
        "metadata: {name: keys}", "metadata: {name: keys, labels: {cellway.dev/shadow: yes-please}}", 1
    )
    found = side(EDGE + guard.replace("PLANTED", "x") + ROUTE)
    assert "A161" in {one.code for one in found.compiled.diagnostics}
    assert found.snapshots["default/edge"].versions == (
        side(EDGE + KEYS.replace("PLANTED", "x") + ROUTE).snapshots["default/edge"].versions
    )
