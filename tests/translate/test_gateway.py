"""Translation as a pure function: names, references, order, isolation of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.e2e.tokens import jwks
from tests.translate.graphs import ORIGIN, backend, forward, gateway, host, route, setting
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute
from xds_server.envoy_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features import FEATURES
from xds_server.features.circuit_breaker import CircuitBreakerSpec
from xds_server.features.jwt import JwtSpec
from xds_server.features.url_rewrite import UrlRewriteSpec
from xds_server.graph import (
    Backend,
    BackendTls,
    Certificate,
    Endpoint,
    Gateway,
    HttpChain,
    PathType,
    Port,
    Redirect,
    Respond,
    Route,
    ValueMatch,
    VirtualHost,
)
from xds_server.rules.messages import Rules
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from xds_server.translate.gateway import translate_gateway
from xds_server.translate.message import Translated

RULES = Rules()
ONE = backend(("192.0.2.1", 80), name="one")
TWO = backend(("192.0.2.2", 80), name="two")
PREFIX = "type.googleapis.com/"


def translate(
    wanted: Gateway, check: Callable[[Message], str | None] = RULES.check
) -> dict[tuple[str, str], Translated]:
    """All messages by type URL and name; there must be no problem."""
    messages, problems = translate_gateway(wanted, FEATURES, check)
    assert not problems
    return by_name(messages)


def by_name(messages: Iterable[Translated]) -> dict[tuple[str, str], Translated]:
    return {(PREFIX + type(one.message).DESCRIPTOR.full_name, one.name): one for one in messages}


def token(**changes: Any) -> Any:
    provider = {"name": "idp", "issuer": "https://idp.example", "localJWKS": {"inline": jwks()}, **changes}
    return setting("jwt", JwtSpec, {"providers": [provider]})


def table(messages: Iterable[Translated]) -> RouteConfiguration:
    found = next(one.whole for one in messages if isinstance(one.message, RouteConfiguration))
    assert isinstance(found, RouteConfiguration)
    return found


def test_names_and_references() -> None:
    found = translate(gateway(host("a.example", route(forward(ONE, None)))))
    assert list(found) == [
        (CLUSTER, "one"),
        (ENDPOINTS, "one"),
        (LISTENER, "default/edge/http-8080"),
        (ROUTES, "default/edge/http"),
    ]
    assert found[CLUSTER, "one"].needs == ((ENDPOINTS, "one"),)
    assert found[LISTENER, "default/edge/http-8080"].needs == ((ROUTES, "default/edge/http"),)
    assert found[ROUTES, "default/edge/http"].needs == ((CLUSTER, "one"),)
    assert all(one.origins == (ORIGIN,) for one in found.values())


def test_every_need_is_met() -> None:
    remote = token(localJWKS=None, remoteJWKS={"uri": "https://idp.example/keys"})
    found = translate(gateway(host("a.example", route(forward(ONE, TWO), remote))))
    assert all(need in found for one in found.values() for need in one.needs)
    listener = next(one for one in found.values() if isinstance(one.message, Listener))
    assert (CLUSTER, "jwks/https/idp.example/443") in listener.needs


def test_certificates_are_secrets_and_stand_nowhere_else() -> None:
    certificate = Certificate("default/shop", b"chain", b"canary-key", (ORIGIN,))
    chains = tuple(
        HttpChain(f"default/edge/{name}", (host("*", route(Respond(200))),), (f"{name}.example",), (certificate,))
        for name in ("a", "b")
    )
    port = Port("default/edge/https-8443", ("127.0.0.1", "127.0.0.2"), 8443, chains, tls=True)
    found = translate(Gateway(ORIGIN.key, (port,)))
    listener = found[LISTENER, port.name]
    assert isinstance(listener.message, Listener)
    assert (SECRET, "default/shop") in listener.needs
    assert [one.name for one in listener.message.filter_chains] == ["default/edge/a", "default/edge/b"]
    assert len(listener.message.additional_addresses) == 1
    holders = [key for key, one in found.items() if b"canary-key" in one.whole.SerializeToString()]
    assert holders == [(SECRET, "default/shop")]


def test_all_filters_are_in_every_chain_and_off() -> None:
    found = translate(gateway(host("a.example", route(forward(ONE)))))
    manager = HttpConnectionManager()
    listener = next(one.message for one in found.values() if isinstance(one.message, Listener))
    listener.filter_chains[0].filters[0].typed_config.Unpack(manager)
    names = [one.name for one in manager.http_filters]
    wanted = [name for one in FEATURES for name, _ in one.http_filters(())]
    assert names == [*wanted, "envoy.filters.http.router"]
    assert {one.filter_name for one in FEATURES if one.filter_name} <= set(names)
    assert [one.disabled for one in manager.http_filters] == [True] * (len(names) - 1) + [False]


def test_the_table_is_named_after_what_its_filters_must_know() -> None:
    def name(*settings: Any) -> str:
        messages, _ = translate_gateway(
            gateway(host("a.example", route(forward(ONE), *settings))), FEATURES, RULES.check
        )
        return table(messages).name

    assert name() == "default/edge/http"
    first, second = name(token()), name(token(audiences=["shop"]))
    assert first.startswith("default/edge/http@")
    assert first != second
    assert name(token()) == first


def test_a_change_of_endpoints_changes_endpoints_only() -> None:
    def bodies(*addresses: str) -> dict[tuple[str, str], bytes]:
        one = Backend("one", tuple(Endpoint(address, 80) for address in addresses))
        found = translate(gateway(host("a.example", route(forward(one), token()))))
        return {key: each.whole.SerializeToString(deterministic=True) for key, each in found.items()}

    before, after = bodies("192.0.2.1"), bodies("192.0.2.1", "192.0.2.2")
    assert [key for key in before if before[key] != after[key]] == [(ENDPOINTS, "one")]


def test_a_change_of_an_answer_changes_the_table_only() -> None:
    def bodies(status: int) -> dict[tuple[str, str], bytes]:
        found = translate(gateway(host("a.example", route(Respond(status)), route(forward(ONE), token()))))
        return {key: each.whole.SerializeToString(deterministic=True) for key, each in found.items()}

    before, after = bodies(200), bodies(201)
    assert [key[0] for key in before if before[key] != after[key]] == [ROUTES]


def test_settings_of_routes_shape_their_clusters() -> None:
    few = setting("circuit_breaker", CircuitBreakerSpec, {"maxConnections": 1})
    routes = (route(forward(ONE), path="/a"), route(forward(ONE, suffix="~own"), few, path="/b"))
    found = translate(gateway(host("a.example", *routes)))
    clusters = [one.message for one in found.values() if isinstance(one.message, Cluster)]
    limits = {one.name: one.circuit_breakers.thresholds[0].max_connections.value for one in clusters}
    assert limits == {"one": 1024, "one~own": 1}


def test_zones_are_localities() -> None:
    zoned = Backend("z", (Endpoint("192.0.2.1", 1, "b"), Endpoint("192.0.2.2", 1, "a"), Endpoint("192.0.2.3", 1, "a")))
    found = translate(gateway(host("a.example", route(forward(zoned)))))
    assignment: Any = found[ENDPOINTS, "z"].message
    assert [(one.locality.zone, len(one.lb_endpoints)) for one in assignment.endpoints] == [("a", 2), ("b", 1)]


NEW_PREFIX = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"}}
WRONG: list[tuple[Route, str, str]] = [
    (route(Respond(200, "x" * 4097), path="/bad"), "T100", "4097 bytes"),
    (route(Redirect(302, prefix="/x"), path_type=PathType.REGEX, path="/bad.*"), "T100", "by prefix"),
    (route(forward(ONE), setting("url_rewrite", UrlRewriteSpec, NEW_PREFIX), path_type=PathType.REGEX, path="/bad.*"),
     "T100", "url_rewrite"),
    (route(Respond(200), path_type=PathType.REGEX, path="a{200}"), "T103", "size 204"),
    (route(Respond(200), path_type=PathType.REGEX, path="(?=a)"), "T103", "(?="),
    (route(Respond(200), headers=(ValueMatch("x-a", "(", regex=True),)), "T103", "missing"),
    (route(Respond(200), query=(ValueMatch("a", "[", regex=True),)), "T103", "missing"),
    (route(Respond(42), path="/bad"), "T100", "status"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "code", "words"), WRONG, ids=range(len(WRONG)))
def test_one_bad_route_stays_alone(bad: Route, code: str, words: str) -> None:
    good = (route(forward(ONE), path="/a", name="a"), route(forward(TWO), path="/z", name="z"))
    wanted, problems = translate_gateway(gateway(host("a.example", good[0], bad, good[1])), FEATURES, RULES.check)
    assert [(one.code, one.span, one.subject) for one in problems] == [(code, ORIGIN.span, str(ORIGIN.key))]
    assert words in problems[0].message
    built = list(table(wanted).virtual_hosts[0].routes)
    alone, _ = translate_gateway(gateway(host("a.example", *good)), FEATURES, RULES.check)
    kept = [one for one in built if one.name != "r"]
    assert kept == list(table(alone).virtual_hosts[0].routes)
    assert [one.direct_response.status for one in built if one.name == "r"] == ([500] if code == "T100" else [])


def test_a_refused_cluster_is_left_out_and_its_share_answers_500() -> None:
    def check(message: Message) -> str | None:
        return "no" if isinstance(message, Cluster) and message.name == "two" else RULES.check(message)

    messages, problems = translate_gateway(gateway(host("a.example", route(forward(ONE, TWO)))), FEATURES, check)
    assert [one.code for one in problems] == ["T101"]
    found = by_name(messages)
    assert (CLUSTER, "two") not in found
    assert (ENDPOINTS, "two") not in found
    weights = {
        one.name: one.weight.value
        for one in table(messages).virtual_hosts[0].routes[0].route.weighted_clusters.clusters
    }
    assert weights == {"one": 1, "no-backend": 1}
    assert all(need in found for one in messages for need in one.needs)


def test_tls_that_proves_nothing_is_refused() -> None:
    blind = Backend("blind", (Endpoint("192.0.2.1", 443),), tls=BackendTls())
    messages, problems = translate_gateway(gateway(host("a.example", route(forward(blind)))), FEATURES, RULES.check)
    assert [one.code for one in problems] == ["T101"]
    assert table(messages).virtual_hosts[0].routes[0].direct_response.status == 500


def test_a_refused_listener_is_left_out() -> None:
    def check(message: Message) -> str | None:
        return "no" if isinstance(message, Listener) else None

    messages, problems = translate_gateway(gateway(host("a.example", route(forward(ONE)))), FEATURES, check)
    assert [one.code for one in problems] == ["T102"]
    assert {type(one.message).__name__ for one in messages} == {"Cluster", "ClusterLoadAssignment"}


def test_a_port_without_chains_is_no_listener() -> None:
    assert translate(Gateway(ORIGIN.key, (Port("p", ("127.0.0.1",), 80, ()),))) == {}


MATCHES: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    path_type=st.sampled_from([PathType.EXACT, PathType.PREFIX]),
    path=st.text("ab/", max_size=6).map(lambda text: "/" + "/".join(part for part in text.split("/") if part)),
    method=st.sampled_from(["", "GET", "CONNECT"]),
    headers=st.lists(st.builds(ValueMatch, st.sampled_from(["x-a", "x-b"]), st.text("a*", min_size=1)), max_size=2).map(
        tuple
    ),
)
ACTIONS = st.sampled_from(
    [forward(ONE), forward(ONE, TWO, weights=(1, 9)), forward(None), Respond(404, "%"), Redirect(301, "https")]
)
HOSTS = st.lists(st.tuples(MATCHES, ACTIONS), min_size=1, max_size=4)


@given(st.lists(HOSTS, max_size=4))
@settings(deadline=None)
def test_the_same_graph_gives_the_same_bytes_and_no_problem(hosts: list[list[tuple[dict[str, Any], Any]]]) -> None:
    def build() -> list[bytes]:
        made = tuple(
            VirtualHost(f"h{place}.example", tuple(route(action, **match) for match, action in each))
            for place, each in enumerate(hosts)
        )
        found = translate(gateway(*made))
        assert all(need in found for one in found.values() for need in one.needs)
        return [one.whole.SerializeToString(deterministic=True) for one in found.values()]

    assert build() == build()


def test_redirects_keep_what_they_do_not_name() -> None:
    messages, _ = translate_gateway(gateway(host("a.example", route(Redirect(308, "https")))), FEATURES, RULES.check)
    redirect = table(messages).virtual_hosts[0].routes[0].redirect
    assert (redirect.scheme_redirect, redirect.host_redirect, redirect.port_redirect) == ("https", "", 0)
    assert EnvoyRoute(redirect=redirect).redirect.response_code == 4
