"""Gateways and listeners: addresses, parameters, protocols, kinds, namespaces, and the conditions that say so."""

from __future__ import annotations

import pytest

from tests.documents import compiled, parse
from tests.gateways.rig import Rig, condition, route, service
from xds_server.compile import Compiled, Options
from xds_server.observe.status_view import Live, Programming, objects_view
from xds_server.status import Status
from xds_server.types import GATEWAY_GROUP, Condition, Key

HTTP = "{name: http, protocol: HTTP, port: 10080}"


def gateway(listeners: str = HTTP, *fields: str, name: str = "edge") -> str:
    lines = "".join(f"  {line}\n" for line in fields)
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec:\n"
        f"{lines}  listeners: [{listeners}]\n---\n"
    )


def of(result: Compiled, name: str = "edge", kind: str = "Gateway", namespace: str = "default") -> Status:
    return result.statuses[Key(GATEWAY_GROUP, kind, namespace, name)]


@pytest.mark.parametrize(
    ("addresses", "type_", "expected", "used"),
    [
        ("[{value: 127.0.0.9}]", "Programmed", (True, "Programmed"), ("127.0.0.9",)),
        ("[{value: '::1'}, {value: 127.0.0.9}]", "Programmed", (True, "Programmed"), ("::1", "127.0.0.9")),
        ("[{type: IPAddress}]", "Programmed", (True, "Programmed"), ("0.0.0.0",)),
        ("[{value: 192.0.2.1}]", "Programmed", (False, "AddressNotUsable"), ()),
        ("[{value: 255.255.255.255}]", "Programmed", (False, "AddressNotUsable"), ()),
        ("[{value: 224.0.0.1}, {value: 127.0.0.9}]", "Programmed", (False, "AddressNotUsable"), ("127.0.0.9",)),
        ("[{type: Hostname, value: a.example}]", "Accepted", (False, "UnsupportedAddress"), ()),
        ("[{type: test/odd, value: a}, {value: 127.0.0.9}]", "Accepted", (False, "UnsupportedAddress"), ()),
        ("[{value: nonsense}]", "Accepted", (False, "UnsupportedAddress"), ()),
    ],
)
def test_addresses(addresses: str, type_: str, expected: tuple[bool, str], used: tuple[str, ...]) -> None:
    result = compiled(gateway(HTTP, f"addresses: {addresses}"))
    assert condition(of(result).conditions, type_) == expected
    assert of(result).addresses == used
    assert [port.addresses for port in result.gateways[0].ports] == ([used] if used else [])
    assert [one.code for one in result.diagnostics] == ([] if expected[0] else ["A102"])


def test_the_pool_runs_out() -> None:
    result = compiled(gateway(name="one") + gateway(name="two"), Options(address_pool="127.9.0.0/31"))
    reasons = sorted(condition(of(result, name).conditions, "Programmed") for name in ("one", "two"))
    assert reasons == [(False, "AddressNotAssigned"), (False, "AddressNotAssigned")]
    result = compiled(gateway(name="one") + gateway(name="two"), Options(address_pool="127.9.0.0/30"))
    assert sorted(of(result, name).addresses for name in ("one", "two")) == [("127.9.0.1",), ("127.9.0.2",)]


CLASS = "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: c}\nspec:\n  "
PARAMETERS = "parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: p"


@pytest.mark.parametrize(
    "text",
    [
        gateway(HTTP, f"infrastructure: {{{PARAMETERS}}}}}"),
        f"{CLASS}controllerName: cellway.dev/gateway-controller\n  {PARAMETERS}, namespace: here}}\n---\n"
        + gateway(HTTP, "gatewayClassName: c"),
    ],
)
def test_parameters_that_nothing_reads_are_refused(text: str) -> None:
    result = compiled(text)
    assert condition(of(result).conditions, "Accepted") == (False, "InvalidParameters")
    assert condition(of(result).conditions, "Programmed") == (False, "Invalid")
    assert result.gateways[0].ports == ()
    assert {one.code for one in result.diagnostics} == {"A105"}
    found = [key for key, status in result.statuses.items() if key.kind == "GatewayClass" and status.conditions]
    assert all(condition(result.statuses[key].conditions, "Accepted")[1] == "InvalidParameters" for key in found)


def test_a_gateway_of_another_controller_is_left_alone() -> None:
    text = f"{CLASS}controllerName: other.example/controller\n---\n" + gateway(HTTP, "gatewayClassName: c")
    more = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {name: more}\n"
        f"spec: {{parentRef: {{name: edge}}, listeners: [{HTTP}]}}\n---\n"
    )
    result = compiled(text + more)
    assert (result.gateways, result.diagnostics) == ((), ())
    assert {key.kind for key in result.statuses} == set()


def test_one_listener_that_cannot_be_served_leaves_the_others() -> None:
    odd = "{name: odd, protocol: example.com/odd, port: 10081}"
    kinds = "{name: kinds, protocol: HTTP, port: 10082, allowedRoutes: {kinds: [{kind: HTTPRoute}, {kind: OddRoute}]}}"
    none = "{name: none, protocol: HTTP, port: 10083, allowedRoutes: {kinds: [{group: g.example, kind: HTTPRoute}]}}"
    result = compiled(gateway(f"{HTTP}, {odd}, {kinds}, {none}") + route("web", "one"))
    found = {one.name: one for one in of(result).listeners}
    assert condition(of(result).conditions, "Accepted") == (True, "ListenersNotValid")
    assert condition(found["odd"].conditions, "Accepted") == (False, "UnsupportedProtocol")
    assert condition(found["odd"].conditions, "Programmed") == (False, "Invalid")
    assert condition(found["kinds"].conditions, "ResolvedRefs") == (False, "InvalidRouteKinds")
    assert condition(found["kinds"].conditions, "Accepted") == (True, "Accepted")
    supported = {name: one.supported_kinds for name, one in found.items()}
    both = ("HTTPRoute", "GRPCRoute")
    assert supported == {"http": both, "odd": (), "kinds": ("HTTPRoute",), "none": ()}
    assert {name: one.attached_routes for name, one in found.items()} == {"http": 1, "odd": 0, "kinds": 1, "none": 0}


def test_routes_count_where_the_listener_is_not_served() -> None:
    twice = "{name: a, protocol: HTTP, port: 1}, {name: b, protocol: HTTP, port: 1}"
    result = compiled(gateway(twice) + route("web", "one"))
    assert [one.attached_routes for one in of(result).listeners] == [1, 1]
    (parent,) = of(result, "web", "HTTPRoute").parents
    assert condition(parent.conditions, "Accepted") == (True, "Accepted")
    assert condition(of(result).conditions, "Accepted") == (False, "ListenersNotValid")
    assert condition(of(result).conditions, "Programmed") == (False, "Invalid")


@pytest.mark.parametrize(
    ("selector", "attached"),
    [
        ("{matchLabels: {team: web}}", True),
        ("{matchLabels: {team: db}}", False),
        ("{matchLabels: {kubernetes.io/metadata.name: far}}", True),
        ("{matchExpressions: [{key: team, operator: In, values: [db, web]}]}", True),
        ("{matchExpressions: [{key: team, operator: NotIn, values: [web]}]}", False),
        ("{matchExpressions: [{key: size, operator: NotIn, values: [big]}]}", True),
        ("{matchExpressions: [{key: team, operator: Exists}]}", True),
        ("{matchExpressions: [{key: team, operator: DoesNotExist}]}", False),
        ("{matchLabels: {team: web}, matchExpressions: [{key: size, operator: Exists}]}", False),
        ("{}", True),
    ],
)
def test_namespaces_are_selected_by_labels(selector: str, attached: bool) -> None:
    listener = f"{{name: http, protocol: HTTP, port: 1, allowedRoutes: {{namespaces: {{from: Selector, selector: {selector}}}}}}}"
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: far, labels: {team: web}}\n---\n"
    text = gateway(listener) + namespace + route("web", "one", "name: edge, namespace: default", namespace="far")
    (parent,) = of(compiled(text), "web", "HTTPRoute", "far").parents
    expected = (True, "Accepted") if attached else (False, "NotAllowedByListeners")
    assert condition(parent.conditions, "Accepted") == expected


LONG = ".".join(["a" * 62] * 4) + "b"


def test_names_of_253_characters_are_served(rig: Rig) -> None:
    assert len(LONG) == 252
    name = LONG + "c"
    listener = f"{{name: {name}, protocol: HTTP, port: 10080, hostname: a.example}}"
    text = gateway(listener, "addresses: [{value: ADDR.1}]", name=name)
    text += service("one", *rig.server("one").address) + route(name, "one", f"name: {name}, sectionName: {name}")
    rig.serve(text)
    assert rig.ask("a.example").status_code == 200


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (gateway(name=LONG + "cd"), "M105"),
        (gateway(name="a..b"), "M105"),
        (gateway(name="a.-b"), "M105"),
        (gateway("{name: Http, protocol: HTTP, port: 1}"), "M112"),
        (gateway("{name: a, protocol: HTTP, port: 0}"), "M112"),
        (gateway("{name: a, protocol: '-', port: 1}"), "M112"),
        (gateway("{name: a, protocol: HTTP, port: 1, hostname: '*'}"), "M112"),
        (gateway("{name: a, protocol: HTTP, port: 1, hostname: A.example}"), "M112"),
        (gateway("{name: a, protocol: HTTP, port: 1}, {name: a, protocol: HTTP, port: 2}"), "M112"),
        (gateway(""), "M112"),
        (gateway(HTTP, "addresses: [{value: '::1'}, {value: '0::1'}]"), "M112"),
        (gateway(HTTP, "infrastructure: {labels: {a b: c}}"), "M112"),
        (gateway(HTTP, "infrastructure: {labels: {" + ", ".join(f"k{n}: a" for n in range(9)) + "}}"), "M112"),
        (gateway(HTTP, "tls: {frontend: {default: {validation: {caCertificateRefs: []}}}}"), "M112"),
        (gateway(HTTP, "tls: {frontend: {perPort: [{port: 1, tls: {}}]}}"), "M101"),
        (gateway(HTTP, "tls: {frontend: {default: {}, perPort: [{port: 1, tls: {}}, {port: 1, tls: {}}]}}"), "M112"),
        (gateway(HTTP, "allowedListeners: {namespaces: {from: Some}}"), "M112"),
        (gateway(HTTP, "allowedListeners: {namespaces: {selector: {matchExpressions: [{key: a, operator: In}]}}}"), "M112"),
        (gateway().replace("name: edge}", "name: edge, namespace: a.b}"), "M106"),
        (f"{CLASS}controllerName: nonsense\n", "M112"),
        (route("web", "one", "name: edge, namespace: A"), "M112"),
    ],
)  # fmt: skip
def test_what_the_definitions_refuse_is_refused_with_its_place(text: str, code: str) -> None:
    _, problems = parse(text)
    assert [one.code for one in problems] == [code]
    assert problems[0].span is not None


def test_listeners_of_a_set_are_programmed_where_the_gateway_is() -> None:
    more = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {name: more}\n"
        "spec: {parentRef: {name: edge}, listeners: [{name: x, protocol: HTTP, port: 10081}]}\n---\n"
    )
    result = compiled(gateway(HTTP, "allowedListeners: {namespaces: {from: Same}}") + more)

    def shown(synced: int) -> tuple[list[str], int]:
        def since(_key: Key, _place: str, _condition: Condition) -> str:
            return ""

        live = Live({Key(GATEWAY_GROUP, "Gateway", "default", "edge"): Programming(synced, 2)}, {}, since)
        views = {one["kind"]: one["status"] for one in objects_view(result, "c", live)}
        (listener,) = views["ListenerSet"]["listeners"]
        every = [*views["ListenerSet"]["conditions"], *listener["conditions"]]
        said = [f"{one['status']} {one['message']}" for one in every if one["type"] == "Programmed"]
        return said, views["Gateway"]["attachedListenerSets"]

    assert shown(1) == (["False 1 of 2 proxies"] * 2, 1)
    assert shown(2) == (["True 2 of 2 proxies"] * 2, 1)
