"""Snapshots: what is left out and why, and that nothing but the messages themselves decides the bytes.

In: small messages with origins and needs. Out: failures when the order of messages, the process or the hash seed
changes a byte, when a refused message is served, and when a listener without its route configuration is.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from xds_server.diagnostics import Diagnostic, Span
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from xds_server.rules import Rules
from xds_server.snapshot.build import build_snapshot, merge_snapshots
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, Snapshot
from xds_server.translate.message import Translated
from xds_server.types import Key, Origin

ROOT = Path(__file__).resolve().parents[2]
WEB = Origin(Key("", "Gateway", "default", "web"), Span("web.yaml", 3, 1))
SHOP = Origin(Key("", "HTTPRoute", "default", "shop"), Span("shop.yaml", 7, 5))


def accept(message: Message) -> str | None:
    return None


def refuse(name: str) -> Callable[[Message], str | None]:
    return lambda message: "field: is wrong" if getattr(message, "name", "") == name else None


def cluster(name: str, *origins: Origin, needs: tuple[tuple[str, str], ...] = ()) -> Translated:
    return Translated(name, Cluster(name=name), origins, needs)


def routes(name: str, *needs: tuple[str, str]) -> Translated:
    return Translated(name, RouteConfiguration(name=name), (SHOP,), needs)


def listener(name: str, *needs: tuple[str, str]) -> Translated:
    return Translated(name, Listener(name=name), (WEB, SHOP), needs)


def secret(name: str) -> Translated:
    return Translated(name, Secret(name=name), (WEB,))


def names(snapshot: Snapshot) -> dict[str, list[str]]:
    return {type_url: list(named) for type_url, named in snapshot.resources.items()}


def test_a_resource_holds_its_bytes_origins_and_needs() -> None:
    needs = ((SECRET, "tls"), (ENDPOINTS, "a"), (SECRET, "tls"))
    snapshot, _ = build_snapshot("default/web", [cluster("a", SHOP, WEB, needs=needs)], accept)
    resource = snapshot.get(CLUSTER)["a"]
    assert snapshot.gateway == "default/web"
    assert (resource.type_url, resource.name) == (CLUSTER, "a")
    assert Cluster.FromString(resource.body) == Cluster(name="a")
    assert resource.origins == (SHOP, WEB)
    assert resource.needs == ((ENDPOINTS, "a"), (SECRET, "tls"))


def test_a_version_follows_the_content_only() -> None:
    one, _ = build_snapshot("web", [cluster("a", SHOP)], accept)
    two, _ = build_snapshot("web", [cluster("a", WEB)], accept)
    three, _ = build_snapshot("web", [Translated("a", Cluster(name="a", alt_stat_name="b"))], accept)
    versions = [snapshot.get(CLUSTER)["a"].version for snapshot in (one, two, three)]
    assert versions[0] == versions[1] != versions[2]
    assert one.versions == two.versions != three.versions


def test_a_refused_message_is_left_out() -> None:
    snapshot, problems = build_snapshot("web", [cluster("bad", SHOP, WEB), cluster("good")], refuse("bad"))
    assert names(snapshot) == {CLUSTER: ["good"]}
    message = "Envoy would refuse the cluster 'bad', so it is left out: field: is wrong"
    assert problems == (Diagnostic("T120", message, SHOP.span, "HTTPRoute default/shop"),)


def test_the_rules_of_envoy_are_such_a_check() -> None:
    _, problems = build_snapshot("web", [Translated("nameless", Cluster())], Rules().check)
    expected = "error T120 Envoy would refuse the cluster 'nameless', so it is left out: name: must not be empty"
    assert [str(problem) for problem in problems] == [expected]


def test_a_listener_without_its_route_configuration_is_left_out() -> None:
    given_ = [routes("bad"), listener("lost", (ROUTES, "bad")), listener("good", (ROUTES, "r")), routes("r")]
    snapshot, problems = build_snapshot("web", given_, refuse("bad"))
    assert names(snapshot) == {LISTENER: ["good"], ROUTES: ["r"]}
    refused, lost = problems
    assert (refused.code, lost.code) == ("T120", "T122")
    assert (lost.span, lost.subject) == (WEB.span, "Gateway default/web")
    assert "the listener 'lost' is left out" in lost.message
    assert lost.message.endswith("route configuration 'bad'")


def test_a_reference_to_what_nothing_made_is_told() -> None:
    snapshot, problems = build_snapshot("web", [listener("lost", (SECRET, "tls"), (ROUTES, "r")), routes("r")], accept)
    assert names(snapshot) == {ROUTES: ["r"]}
    assert [problem.code for problem in problems] == ["T121", "T122"]
    assert "the secret 'tls'" in problems[0].message


def test_a_route_configuration_may_name_a_missing_cluster() -> None:
    given_ = [routes("r", (CLUSTER, "bad"), (CLUSTER, "never")), cluster("bad"), listener("web", (ROUTES, "r"))]
    snapshot, problems = build_snapshot("web", given_, refuse("bad"))
    assert names(snapshot) == {LISTENER: ["web"], ROUTES: ["r"]}
    told = [problem.message for problem in problems if problem.code == "T121"]
    assert told == [
        "the route configuration 'r' refers to the cluster 'never', which nothing made: a bug in Cellway",
    ]


def test_a_listener_may_name_a_missing_cluster() -> None:
    snapshot, problems = build_snapshot("web", [listener("web", (CLUSTER, "keys"))], accept)
    assert names(snapshot) == {LISTENER: ["web"]}
    assert [problem.code for problem in problems] == ["T121"]


def test_equal_messages_are_one_resource_with_all_origins() -> None:
    snapshot, _ = build_snapshot("web", [cluster("a", WEB), cluster("a", SHOP), cluster("a", WEB)], accept)
    assert snapshot.get(CLUSTER)["a"].origins == (WEB, SHOP)


def test_different_messages_of_one_name_are_a_bug() -> None:
    with pytest.raises(ValueError, match="two different resources are named 'a'"):
        build_snapshot("web", [cluster("a"), Translated("a", Cluster(name="b"))], accept)


def test_a_group_has_what_its_gateways_have() -> None:
    one, _ = build_snapshot("one", [cluster("a", WEB), cluster("b")], accept)
    two, _ = build_snapshot("two", [cluster("a", SHOP), routes("r")], accept)
    group, problems = merge_snapshots("group", [one, two])
    assert not problems
    assert (group.gateway, names(group)) == ("group", {CLUSTER: ["a", "b"], ROUTES: ["r"]})
    assert group.get(CLUSTER)["a"].origins == (WEB, SHOP)
    assert group.versions[CLUSTER] == one.versions[CLUSTER]
    assert pickle.dumps(group) == pickle.dumps(merge_snapshots("group", [two, one])[0])
    assert merge_snapshots("group", [one]) == (replace(one, gateway="group"), ())
    assert merge_snapshots("group", []) == (Snapshot("group", {}, {}), ())


def test_a_gateway_that_means_something_else_by_a_name_is_left_out_of_its_group() -> None:
    one, _ = build_snapshot("one", [cluster("a"), cluster("b")], accept)
    two, _ = build_snapshot("two", [Translated("a", Cluster(name="other"), (SHOP,)), cluster("c")], accept)
    group, problems = merge_snapshots("group", [two, one])
    assert names(group) == {CLUSTER: ["a", "b"]}
    assert [(problem.code, problem.subject) for problem in problems] == [("T123", str(SHOP.key))]


def test_a_secret_that_nothing_refers_to_is_not_there() -> None:
    snapshot, problems = build_snapshot(
        "web", [secret("used"), secret("unused"), listener("web", (SECRET, "used"))], accept
    )
    assert names(snapshot) == {SECRET: ["used"], LISTENER: ["web"]}
    assert not problems


# ------------------------------------------------------------------------------------------------ properties

NAMES = st.sampled_from(["a", "b", "bad", "c"])
TYPES = st.sampled_from([CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET])
ORIGINS = st.lists(st.sampled_from([WEB, SHOP]), max_size=2).map(tuple)
MADE = {"cluster": Cluster, "listener": Listener, "routes": RouteConfiguration}


@st.composite
def translated(draw: st.DrawFn) -> Translated:
    """Messages whose content and needs follow from type and name, as translation makes them."""
    name = draw(NAMES)
    message = MADE[draw(st.sampled_from(sorted(MADE)))](name=name)
    needs = {"a": ((ROUTES, "b"),), "b": ((CLUSTER, "a"), (SECRET, "c")), "c": ((CLUSTER, "bad"),)}.get(name, ())
    return Translated(name, message, draw(ORIGINS), needs)


def content(built: tuple[Snapshot, tuple[Diagnostic, ...]]) -> bytes:
    """All of it as bytes, by value: pickle alone would tell equal objects from the same object."""
    snapshot, problems = built
    found = [
        (type_url, name, resource.body, resource.version, resource.needs, resource.origins)
        for type_url, named in snapshot.resources.items()
        for name, resource in named.items()
    ]
    return repr((snapshot.gateway, found, dict(snapshot.versions), [str(problem) for problem in problems])).encode()


@settings(deadline=None)
@given(st.lists(translated(), max_size=12).flatmap(lambda items: st.tuples(st.just(items), st.permutations(items))))
def test_any_order_gives_the_same_bytes(pair: tuple[list[Translated], list[Translated]]) -> None:
    one, two = (build_snapshot("web", messages, refuse("bad")) for messages in pair)
    assert one[0] == two[0]
    assert content(one) == content(two)
    assert content(one) == content(pickle.loads(pickle.dumps(two)))


@settings(deadline=None)
@given(st.lists(translated(), max_size=12))
def test_no_listener_lacks_what_it_needs(messages: list[Translated]) -> None:
    snapshot, problems = build_snapshot("web", messages, refuse("bad"))
    for resource in snapshot.get(LISTENER).values():
        assert all(name in snapshot.get(type_url) for type_url, name in resource.needs if type_url in (ROUTES, SECRET))
    assert not any("bad" in named for named in snapshot.resources.values())
    made = {(f"type.googleapis.com/{item.message.DESCRIPTOR.full_name}", item.name) for item in messages}
    served = {(type_url, name) for type_url, named in snapshot.resources.items() for name in named}
    told = {problem.code for problem in problems}
    assert served <= made
    assert bool(made - served) == bool(told & {"T120", "T122"})


PROGRAM = """
import hashlib
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_server.rules import Rules
from xds_server.snapshot.build import build_snapshot
from xds_server.translate.message import Translated

messages = []
for name in {f"name-{number}" for number in range(50)}:  # a set: its order follows the hash seed
    cluster, routes = Cluster(name=name), RouteConfiguration(name=name)
    for key in {f"key-{number}" for number in range(20)}:
        cluster.metadata.filter_metadata[key]["a"] = key
        routes.metadata.filter_metadata[key]["a"] = key
    messages += [Translated(name, cluster), Translated(name, routes)]
snapshot, problems = build_snapshot("web", messages, Rules().check)
assert not problems
digest = hashlib.sha256()
for type_url, named in snapshot.resources.items():
    for name, resource in named.items():
        digest.update(repr((type_url, name, resource.body, resource.version)).encode())
print(digest.hexdigest(), sorted(snapshot.versions.items()))
"""


def test_another_process_with_another_hash_seed_gives_the_same_bytes() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(said) == 1
