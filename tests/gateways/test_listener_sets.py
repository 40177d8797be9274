"""ListenerSets: who may add listeners to a Gateway, what comes first, and what routes and policies see of it."""

from __future__ import annotations

import pytest

from tests.documents import compiled
from tests.gateways.rig import Rig, condition, route, service
from xds_server.compile import Compiled
from xds_server.status import Status
from xds_server.types import GATEWAY_GROUP, Condition, Key

HTTP = "{name: http, protocol: HTTP, port: 10080, hostname: own.example}"


def gateway(allowed: str = "", listeners: str = HTTP) -> str:
    said = f"  allowedListeners: {{namespaces: {allowed}}}\n" if allowed else ""
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n"
        f"  addresses: [{{value: ADDR.1}}]\n{said}  listeners: [{listeners}]\n---\n"
    )


def listener_set(name: str, *listeners: str, namespace: str = "default", created: str = "2026-01-01") -> str:
    meta = f"{{name: {name}, namespace: {namespace}, creationTimestamp: '{created}T00:00:00Z'}}"
    return (
        f"apiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {meta}\nspec:\n"
        f"  parentRef: {{name: edge, namespace: default}}\n  listeners: [{', '.join(listeners)}]\n---\n"
    )


def http(name: str, hostname: str, port: int = 10080) -> str:
    return f"{{name: {name}, protocol: HTTP, port: {port}, hostname: {hostname}}}"


def to_set(name: str, section: str = "") -> str:
    more = f", sectionName: {section}" if section else ""
    return f"kind: ListenerSet, name: {name}{more}"


def of(result: Compiled, kind: str, name: str, namespace: str = "default") -> Status:
    return result.statuses[Key(GATEWAY_GROUP, kind, namespace, name)]


def listeners_of(status: Status) -> dict[str, tuple[Condition, ...]]:
    return {one.name: one.conditions for one in status.listeners}


SELECTOR = "{from: Selector, selector: {matchLabels: {team: web}}}"
WEB = "apiVersion: v1\nkind: Namespace\nmetadata: {name: web, labels: {team: web}}\n---\n"


@pytest.mark.parametrize(
    ("allowed", "namespace", "admitted"),
    [
        ("", "default", False),
        ("{from: None}", "default", False),
        ("{from: Same}", "default", True),
        ("{from: Same}", "web", False),
        ("{from: All}", "web", True),
        (SELECTOR, "web", True),
        (SELECTOR, "default", False),
    ],
)
def test_a_gateway_says_who_may_add_listeners(allowed: str, namespace: str, admitted: bool) -> None:
    more = listener_set("more", http("more", "more.example"), namespace=namespace)
    result = compiled((WEB + gateway(allowed) + more).replace("ADDR", "127.0.0"))
    status = of(result, "ListenerSet", "more", namespace)
    expected = (True, "Accepted") if admitted else (False, "NotAllowed")
    assert condition(status.conditions, "Accepted") == expected
    assert condition(status.conditions, "Programmed")[0] is admitted
    assert [one.name for one in status.listeners] == (["more"] if admitted else [])
    assert [one.name for one in of(result, "Gateway", "edge").listeners] == ["http"]
    assert of(result, "Gateway", "edge").listener_sets == int(admitted)
    assert [one.code for one in result.diagnostics] == ([] if admitted else ["A130"])


def test_a_set_of_no_gateway_is_told() -> None:
    result = compiled(listener_set("more", http("more", "more.example")))
    assert condition(of(result, "ListenerSet", "more").conditions, "Accepted") == (False, "ParentNotAccepted")


def test_the_gateway_comes_first_and_then_the_older_set() -> None:
    text = gateway("{from: Same}") + listener_set(
        "a", http("x", "own.example"), http("v", "a.example"), created="2026-02-01"
    )
    text += listener_set("b", http("z", "a.example"), "{name: w, protocol: HTTPS, port: 10080}")
    result = compiled(text.replace("ADDR", "127.0.0"))
    assert condition(listeners_of(of(result, "Gateway", "edge"))["http"], "Conflicted")[0] is False
    older, younger = (listeners_of(of(result, "ListenerSet", name)) for name in ("b", "a"))
    assert condition(older["z"], "Accepted") == (True, "Accepted")
    assert condition(older["w"], "Conflicted") == (True, "ProtocolConflict")
    for name in ("x", "v"):
        assert condition(younger[name], "Conflicted") == (True, "HostnameConflict")
        assert condition(younger[name], "Accepted") == (False, "HostnameConflict")
        assert condition(younger[name], "Programmed") == (False, "HostnameConflict")
    for type_ in ("Accepted", "Programmed"):
        assert condition(of(result, "ListenerSet", "a").conditions, type_) == (False, "ListenersNotValid")
    assert of(result, "Gateway", "edge").listener_sets == 1
    assert condition(of(result, "ListenerSet", "b").conditions, "Accepted") == (True, "ListenersNotValid")
    assert condition(of(result, "Gateway", "edge").conditions, "Accepted") == (True, "Accepted")


def test_routes_attach_to_what_they_name(rig: Rig) -> None:
    text = (
        gateway("{from: All}") + service("one", *rig.server("one").address) + service("two", *rig.server("two").address)
    )
    text += listener_set("a", http("x", "x.example"), http("v", "y.example", 10081)) + listener_set(
        "b", http("x", "b.example")
    )
    text += route("own", "one") + route("all", "one", to_set("a")) + route("part", "two", to_set("b", "x"))
    result = rig.serve(text)
    served = {
        (host, port): rig.ask(host, port).status_code
        for host, port in [("own.example", 10080), ("x.example", 10080), ("y.example", 10081), ("b.example", 10080)]
    }
    assert set(served.values()) == {200}
    assert rig.ask("b.example").json()["server"] == "two"
    counts = {one.name: one.attached_routes for one in of(result, "ListenerSet", "a").listeners}
    assert counts == {"x": 1, "v": 1}
    assert [one.attached_routes for one in of(result, "Gateway", "edge").listeners] == [1]
    (parent,) = of(result, "HTTPRoute", "part").parents
    assert (parent.kind, parent.name, parent.section) == ("ListenerSet", "b", "x")


def test_same_means_the_namespace_of_the_set(rig: Rig) -> None:
    text = gateway("{from: All}") + listener_set("a", http("x", "x.example"), namespace="web")
    text += service("one", *rig.server("one").address, namespace="web")
    result = rig.serve(text + route("near", "one", to_set("a"), namespace="web"))
    assert rig.ask("x.example").status_code == 200
    grant = route("far", "one", to_set("a") + ", namespace: web")
    result = compiled((text + grant).replace("ADDR", rig.block.prefix))
    (parent,) = of(result, "HTTPRoute", "far").parents
    assert condition(parent.conditions, "Accepted") == (False, "NotAllowedByListeners")


@pytest.mark.parametrize("section", ["", "nope"])
def test_a_set_that_adds_nothing_has_no_routes(section: str) -> None:
    more = listener_set("a", http("x", "x.example"))
    text = gateway("{from: Same}" if section else "") + more + route("web", "one", to_set("a", section))
    result = compiled(text.replace("ADDR", "127.0.0"))
    (parent,) = of(result, "HTTPRoute", "web").parents
    assert condition(parent.conditions, "Accepted") == (False, "NoMatchingParent")


def test_policies_of_a_set_cover_its_listeners_alone(rig: Rig) -> None:
    header = "headers: {lateResponseHeaders: {set: [{name: x-from, value: VALUE}]}}"

    def policy(name: str, target: str, value: str) -> str:
        return (
            f"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {{name: {name}}}\nspec:\n"
            f"  targetRefs: [{{group: gateway.networking.k8s.io, {target}}}]\n  {header.replace('VALUE', value)}\n---\n"
        )

    text = gateway("{from: All}") + service("one", *rig.server("one").address)
    text += listener_set("a", http("x", "x.example", 10081), http("v", "y.example", 10082))
    text += route("own", "one") + route("all", "one", to_set("a"))
    text += policy("p1", "kind: Gateway, name: edge", "gateway") + policy("p2", "kind: ListenerSet, name: a", "set")
    text += policy("p3", "kind: ListenerSet, name: a, sectionName: v", "listener")
    rig.serve(text)
    said = [
        rig.ask(*place).headers["x-from"]
        for place in (("own.example", 10080), ("x.example", 10081), ("y.example", 10082))
    ]
    assert said == ["gateway", "set", "listener"]


def test_limits_of_two_sets_are_counted_apart(rig: Rig) -> None:
    text = gateway("{from: All}") + service("one", *rig.server("one").address)
    text += listener_set("a", http("x", "x.example")) + listener_set("b", http("x", "y.example"))
    text += route("both", "one", f"{to_set('a')}}}, {{{to_set('b')}")
    text += (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: closed}\nspec:\n"
        "  targetRefs: [{group: gateway.networking.k8s.io, kind: ListenerSet, name: a}]\n"
        "  circuitBreaker: {maxPendingRequests: 0, maxConnections: 0}\n---\n"
    )
    rig.serve(text)
    assert (rig.ask("x.example").status_code, rig.ask("y.example").status_code) == (503, 200)
