"""One document -> one object, or diagnostics with their places."""

from __future__ import annotations

import textwrap

import pytest

from tests.documents import objects_of, parse
from xds_server.features import FEATURES
from xds_server.model.core import SecretBody
from xds_server.model.kinds import KINDS
from xds_server.spec import Spec
from xds_server.types import ENVOY_GATEWAY_GROUP

ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches:
    - path: {type: Prefix, value: /a}
    backendRefs:
    - {name: web, port: 80, wieght: 3}
"""


def findings(text: str) -> list[str]:
    return [str(problem) for problem in parse(text)[1]]


def test_every_mistake_has_its_place_and_a_suggestion() -> None:
    assert findings(ROUTE) == [
        "test.yaml:8:20: error M112 type: must be 'Exact', 'PathPrefix' or 'RegularExpression' (did you mean 'PathPrefix'?)",
        "test.yaml:10:29: error M110 unknown field 'wieght' (did you mean 'weight'?)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("kind: HTTPRoute", "kind: HttpRoute", "test.yaml:2:7: error M102 there is no kind HttpRoute in API group "
         "gateway.networking.k8s.io (did you mean 'HTTPRoute'?)"),
        ("gateway.networking.k8s.io/v1", "gateway.envoyproxy.io/v1", "test.yaml:1:13: error M102 there is no kind "
         "HTTPRoute in API group gateway.envoyproxy.io (HTTPRoute is in apiVersion gateway.networking.k8s.io/v1)"),
        ("k8s.io/v1", "k8s.io/v9", "test.yaml:1:13: error M103 version v9 of HTTPRoute is not known; known: "
         "v1, v1beta1, v1alpha2"),
        ("{name: web}\nspec", "{nmae: web}\nspec", "test.yaml:3:11: error M104 this HTTPRoute has no metadata.name"),
        ("{name: web}\nspec", "{name: We_b}\nspec", "test.yaml:3:18: error M105 'We_b' is not a name: lower-case letters, "
         "digits, '-' and '.', at most 253 characters"),
        ("spec:", "sepc:", "test.yaml:4:1: error M110 unknown field 'sepc' (did you mean 'spec'?)"),
        ("port: 80,", "port: '80',", "test.yaml:10:25: error M112 port: input should be a valid integer"),
        ("port: 80,", "port: 70000,", "test.yaml:10:25: error M112 port: input should be less than or equal to 65535"),
        ("{type: Prefix, value: /a}", "{type: RegularExpression, value: '/(?=a)'}", "test.yaml:8:13: error M112 path: this is no "
         "regular expression that Envoy takes (RE2): invalid perl operator: (?="),
        ("{type: Prefix, value: /a}", "{type: Exact, value: a}", "test.yaml:8:13: error M112 path: a path must start with '/', "
         "this is 'a'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(old: str, new: str, expected: str) -> None:
    assert expected in findings(ROUTE.replace(old, new))


@pytest.mark.parametrize(
    ("version", "kind", "said"),
    [
        ("apps/v1", "Deployment", "warning M107 Deployment of API group apps is not read"),
        ("v1", "ServiceAccount", "warning M107 ServiceAccount of API group v1 is not read"),
        ("v1", "Sercet", "error M102 there is no kind Sercet in API group v1 (did you mean 'Secret'?)"),
        ("gateway.networking.x-k8s.io/v1alpha1", "XMesh", "error M102 there is no kind XMesh in API group"),
        ("gateway.envoyproxy.io/v1alpha1", "EnvoyPolicy", "error M102 there is no kind EnvoyPolicy in API group"),
        ("x.example/v1", "HTTPRoute", "error M102 there is no kind HTTPRoute in API group x.example"),
    ],
)
def test_what_is_foreign_is_told_from_what_is_mistaken(version: str, kind: str, said: str) -> None:
    (found,) = findings(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert said in found


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha2"])
def test_older_versions_load(version: str) -> None:
    text = ROUTE.replace("Prefix,", "PathPrefix,").replace(", wieght: 3", "").replace("k8s.io/v1", f"k8s.io/{version}")
    (route,) = objects_of(text)
    assert (route.namespace, route.name) == ("default", "web")


def test_metadata_that_a_cluster_adds_is_no_mistake() -> None:
    text = (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, uid: x, resourceVersion: '1'}\nstatus: {phase: Active}\n"
    )
    assert parse(text)[1] == ()


def test_a_policy_with_mistakes_still_says_what_it_is_for() -> None:
    text = textwrap.dedent("""\
        apiVersion: gateway.envoyproxy.io/v1alpha1
        kind: SecurityPolicy
        metadata: {name: p}
        spec:
          targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
          jwtt: {}
        """)
    (policy,), problems = parse(text)
    assert policy.broken
    assert [target.name for target in getattr(policy.spec, "targets")] == ["web"]  # noqa: B009 - any kind of policy
    assert [str(problem) for problem in problems] == [
        "test.yaml:6:3: error M110 unknown field 'jwtt' (did you mean 'jwt'?)"
    ]


def test_a_policy_whose_targets_are_unreadable_is_no_object() -> None:
    text = (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: p}\nspec: {targetRefs: 3}\n"
    )
    found, problems = parse(text)
    assert found == ()
    assert problems


def test_a_secret_never_shows_its_values() -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: hunter2}\ndata: {b: aHVudGVyMg==}\n"
    (secret,) = objects_of(text)
    assert isinstance(secret.spec, SecretBody)
    assert secret.spec.values() == {"a": b"hunter2", "b": b"hunter2"}
    for shown in (repr(secret), str(secret.document), secret.spec.model_dump_json(), repr(secret.spec)):
        assert "hunter2" not in shown
        assert "aHVudGVyMg" not in shown


def test_every_field_of_a_policy_kind_belongs_to_a_feature() -> None:
    carried = {carrier for feature in FEATURES for carrier in feature.carriers}
    for kind in KINDS.values():
        if kind.group == ENVOY_GATEWAY_GROUP and kind.name not in ("Backend", "EnvoyPatchPolicy"):
            fields = {info.alias or name for name, info in kind.spec.model_fields.items()}
            fields -= {
                "targetRef",
                "targetRefs",
                "targetSelectors",
                "mergeType",
                "matches",
            }  # those say where it counts
            if kind.name == "EnvoyProxy":
                fields -= {"concurrency", "logging", "shutdown", "bootstrap", "extraArgs"}  # how the process is run
            assert fields == {field for owner, field in carried if owner == kind.name}, kind.name


def test_every_carrier_exists() -> None:
    kinds = {kind.name: kind.spec for kind in KINDS.values()}
    for feature in FEATURES:
        for owner, field in feature.carriers:
            if owner in kinds:
                spec: type[Spec] = kinds[owner]
                assert field in {info.alias for info in spec.model_fields.values()}, (feature.name, field)
