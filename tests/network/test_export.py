"""What the exported policies let through: the rows of the promise one by one, and the same grants as Envoy's for any cells."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from tests.cells.shop import SHOP, binding, cell, external, objects_of, organization, policy
from tests.network.cluster import Pod, may_connect, may_enter, may_reach
from xds_server.compile import Compiled, Options, compile_objects
from xds_server.graph import Forward
from xds_server.network.export import Exported, network_policies
from xds_server.network.flows import CELL, COMPONENT, GATEWAY, STAGE, Surroundings

Json = dict[str, Any]
DIRECTIONS = ("north", "west", "east", "south")


def compiled(**changes: str) -> Compiled:
    files = SHOP | {name.replace("_", "-"): text for name, text in changes.items()}
    return compile_objects(objects_of(files)[0], Options())


def exported(*, cilium: bool = False, stage: str | None = None, **changes: str) -> Exported:
    return network_policies(compiled(**changes), stage, Surroundings(), cilium=cilium)


def pod(cell_name: str, labels: dict[str, str], stage: str = "dev") -> Pod:
    return Pod(f"cell-{cell_name}-{stage}", labels, {CELL: cell_name, STAGE: stage})


def gateway(cell_name: str, direction: str, stage: str = "dev") -> Pod:
    return pod(cell_name, {GATEWAY: direction}, stage)


def component(cell_name: str, name: str) -> Pod:
    return pod(cell_name, {COMPONENT: name})


DNS = Pod("kube-system", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"})
CONTROL = Pod("s", {"app.kubernetes.io/name": "cellway"}, {"kubernetes.io/metadata.name": "cellway-system"})
PROMETHEUS = Pod("m", {"app.kubernetes.io/name": "prometheus"}, {"kubernetes.io/metadata.name": "monitoring"})
STRANGER = Pod("other", {COMPONENT: "web", GATEWAY: "east"}, {"kubernetes.io/metadata.name": "other"})


def test_a_what_nobody_allowed_is_refused_in_both_directions() -> None:
    documents = exported().documents
    unknown = pod("front", {"app": "unknown"})
    assert not may_connect(documents, unknown, component("front", "web"), 80)
    assert not may_connect(documents, component("front", "web"), STRANGER, 80)
    assert not may_connect(documents, STRANGER, component("front", "web"), 80)
    assert not may_reach(documents, component("front", "web"), "192.0.2.1", 443)


def test_b_every_pod_asks_for_names() -> None:
    documents = exported().documents
    for one in (component("front", "web"), gateway("back", "west")):
        assert may_connect(documents, one, DNS, 53, "UDP")
        assert may_connect(documents, one, DNS, 53)
        assert not may_connect(documents, one, DNS, 80)


def test_c_components_of_a_cell_talk_to_each_other_on_the_ports_that_pods_listen_on() -> None:
    documents = exported().documents
    assert may_connect(documents, component("back", "api"), component("back", "next"), 80)
    assert not may_connect(documents, component("back", "api"), component("back", "next"), 81)
    assert not may_connect(documents, component("front", "web"), component("back", "api"), 80)
    moved = ", endpoints: {api.http: [{address: 127.0.9.202, port: 9000}], next.http: [{address: 127.0.9.203}]}"
    documents = exported(back_at=binding("back", 16, moved)).documents
    assert may_connect(documents, component("back", "next"), component("back", "api"), 9000)
    assert not may_connect(documents, component("back", "next"), component("back", "api"), 80)
    assert may_connect(documents, gateway("back", "west"), component("back", "api"), 9000)


def test_d_components_reach_their_own_gateways_as_far_as_they_depend_on_something() -> None:
    front = (
        "{components: [{name: web, endpoints: [{name: http, port: 80, visibility: [public]}]}, {name: job}],"
        " dependencies: [{name: back, cell: back, component: api, from: [web]}, {name: mail, external: mail}],"
        " gateways: {north: {hostnames: [front.example]}}}"
    )
    documents = exported(front=cell("front", front)).documents
    assert may_connect(documents, component("front", "web"), gateway("front", "east"), 15001)
    assert not may_connect(documents, component("front", "job"), gateway("front", "east"), 15001)
    assert may_connect(documents, component("front", "job"), gateway("front", "south"), 15002)
    assert may_connect(documents, component("front", "web"), gateway("front", "east"), 15053, "UDP"), "east answers DNS"
    assert not may_connect(documents, component("back", "api"), gateway("front", "east"), 15001)
    assert not may_connect(documents, component("front", "web"), gateway("back", "west"), 15443)


def test_components_with_a_sidecar_reach_the_control_plane_and_let_in_whom_an_endpoint_names() -> None:
    back = (
        "{components: [{name: api, endpoints: [{name: http, port: 80, visibility: [organization]},"
        " {name: admin, port: 81, from: [next]}]}, {name: next}, {name: job}]}"
    )
    places = "{api.http: [{address: 127.0.9.202}], api.admin: [{address: 127.0.9.202}]}"
    sidecars = "{api: {application: 127.0.9.212}, next: {}}"
    bound = binding("back", 16, f", endpoints: {places}, sidecars: {sidecars}")
    documents = exported(back=cell("back", back), back_at=bound).documents
    assert may_connect(documents, component("back", "api"), CONTROL, 18000)
    assert not may_connect(documents, component("back", "job"), CONTROL, 18000)
    assert may_connect(documents, PROMETHEUS, component("back", "api"), 19100)
    assert may_connect(documents, component("back", "job"), component("back", "api"), 80)
    assert may_connect(documents, component("back", "next"), component("back", "api"), 81)
    assert not may_connect(documents, component("back", "job"), component("back", "api"), 81)
    users = ", dependencies: [{name: mail, external: mail, from: [next]}]}"
    documents = exported(back=cell("back", back[:-1] + users), back_at=bound).documents
    assert may_connect(documents, component("back", "next"), gateway("back", "south"), 15012)
    assert not may_connect(documents, component("back", "job"), gateway("back", "south"), 15012)


def test_e_gateways_reach_the_components_that_they_route_to_and_no_others() -> None:
    documents = exported().documents
    assert may_connect(documents, gateway("front", "north"), component("front", "web"), 80)
    assert may_connect(documents, gateway("back", "west"), component("back", "api"), 80)
    assert not may_connect(documents, gateway("back", "west"), component("back", "next"), 80)
    canary = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: canary, namespace: back}\n"
        "spec:\n  parentRefs: [{group: cellway.dev, kind: Cell, name: back, sectionName: west.api.http}]\n"
        "  rules: [{backendRefs: [{group: cellway.dev, kind: Endpoint, name: next.http}]}]\n"
    )
    documents = exported(canary=canary).documents
    assert may_connect(documents, gateway("back", "west"), component("back", "next"), 80)


def test_f_north_is_open_to_the_internet_or_to_the_cdn_alone() -> None:
    documents = exported().documents
    assert may_enter(documents, "198.51.100.7", gateway("front", "north"), 8080)
    assert may_enter(documents, "2001:db8::7", gateway("front", "north"), 8080)
    assert not may_enter(documents, "198.51.100.7", gateway("front", "north"), 8081)
    assert not may_enter(documents, "198.51.100.7", gateway("back", "west"), 15443)
    edge = organization(spec="{stages: [{name: dev}], edge: {trustedProxies: [203.0.113.0/24]}}")
    documents = exported(org=edge).documents
    assert may_enter(documents, "203.0.113.9", gateway("front", "north"), 8080)
    assert not may_enter(documents, "198.51.100.7", gateway("front", "north"), 8080)


def test_g_h_only_east_of_a_granted_cell_of_the_same_stage_reaches_west() -> None:
    documents = exported().documents
    east, west = gateway("front", "east"), gateway("back", "west")
    assert may_connect(documents, east, west, 15443)
    assert not may_connect(documents, east, west, 80)
    assert not may_connect(documents, gateway("front", "north"), west, 15443)
    assert not may_connect(documents, gateway("front", "east", "prod"), west, 15443)
    documents = exported(back=SHOP["back"].replace("cells: [front]", "cells: [other]")).documents
    assert not may_connect(documents, east, west, 15443)


def test_every_stage_has_namespaces_of_its_own() -> None:
    both = organization(spec="{stages: [{name: dev}, {name: prod}]}")
    more = {"p1": binding("front", 64, stage="prod", name="p1"), "p2": binding("back", 80, stage="prod", name="p2")}
    more = {name: text.replace("stage: prod", "stage: prod, release: working-copy") for name, text in more.items()}
    result = compiled(org=both, **more)
    found = network_policies(result, None, Surroundings(), cilium=False)
    spaces = {one["metadata"]["name"] for one in found.documents if one["kind"] == "Namespace"}
    assert spaces == {"cell-front-dev", "cell-back-dev", "cell-front-prod", "cell-back-prod"}
    assert may_connect(found.documents, gateway("front", "east", "prod"), gateway("back", "west", "prod"), 15443)
    assert not may_connect(found.documents, gateway("front", "east", "prod"), gateway("back", "west"), 15443)
    only = network_policies(result, "dev", Surroundings(), cilium=False)
    assert {one["metadata"].get("namespace", "cell-front-dev")[-4:] for one in only.documents} == {"-dev"}


def test_i_south_reaches_public_addresses_and_the_export_says_that_names_are_not_enforced() -> None:
    found = exported()
    south = gateway("front", "south")
    assert may_reach(found.documents, south, "198.51.100.7", 80)
    assert not may_reach(found.documents, south, "198.51.100.7", 443)
    for private in ("10.1.2.3", "169.254.169.254", "192.168.0.1", "127.0.0.1", "fd00::1"):
        assert not may_reach(found.documents, south, private, 80)
    (note,) = found.notes
    assert "mail.example" in note
    (marked,) = [one for one in found.documents if "annotations" in one["metadata"]]
    assert marked["metadata"]["name"] == "south"
    assert marked["metadata"]["annotations"]["cellway.dev/degraded"].startswith("FQDNNotEnforceable: mail.example")


def test_i_an_address_of_the_binding_is_that_address_alone() -> None:
    where = ", overrides: {externals: {mail: {endpoints: [{address: 10.9.9.9, port: 2525}]}}}"
    found = exported(front_at=binding("front", 0, f", endpoints: {{web.http: [{{address: 127.0.9.201}}]}}{where}"))
    assert may_reach(found.documents, gateway("front", "south"), "10.9.9.9", 2525)
    assert not may_reach(found.documents, gateway("front", "south"), "198.51.100.7", 80)
    assert found.notes == ()


def test_i_cilium_enforces_names_and_keeps_stages_apart() -> None:
    found = exported(cilium=True)
    assert found.notes == ()
    assert not may_reach(found.documents, gateway("front", "south"), "198.51.100.7", 80)
    (by_name,) = [one for one in found.documents if one["kind"] == "CiliumNetworkPolicy"]
    asked, allowed = by_name["spec"]["egress"]
    assert asked["toPorts"][0]["rules"] == {"dns": [{"matchName": "mail.example"}]}
    assert allowed == {
        "toFQDNs": [{"matchName": "mail.example"}],
        "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}],
    }
    (ceiling,) = [one for one in found.documents if one["kind"] == "CiliumClusterwideNetworkPolicy"]
    assert "169.254.169.254/32" in str(ceiling["spec"]["egressDeny"])


def test_j_gateways_have_their_control_plane_and_are_measured() -> None:
    documents = exported().documents
    assert may_connect(documents, gateway("back", "west"), CONTROL, 18000)
    assert may_connect(documents, PROMETHEUS, gateway("back", "west"), 19100)
    assert not may_connect(documents, component("back", "api"), CONTROL, 18000)
    assert not may_connect(documents, PROMETHEUS, component("back", "api"), 80)


def test_whom_filters_of_a_gateway_ask_is_reachable() -> None:
    keys = "providers: [{name: idp, issuer: https://idp.example, remoteJWKS: {uri: https://idp.example/keys}}]"
    found = exported(cilium=True, p=policy("p", "front", "north", f"jwt: {{{keys}}}", "SecurityPolicy"))
    by_name = [one for one in found.documents if one["kind"] == "CiliumNetworkPolicy"]
    assert {one["metadata"]["name"] for one in by_name} == {"north", "south"}
    assert "idp.example" in str(by_name)


class Strict(BaseModel):
    """A kind as its API describes it: nothing else may be there."""

    model_config = ConfigDict(extra="forbid")


class Expression(Strict):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: list[str] = []


class LabelSelector(Strict):
    matchLabels: dict[str, str] = {}
    matchExpressions: list[Expression] = []


class IpBlock(Strict):
    cidr: str
    except_: list[str] = []
    model_config = ConfigDict(extra="forbid", alias_generator=lambda name: name.rstrip("_"))


class NetworkPeer(Strict):
    podSelector: LabelSelector | None = None
    namespaceSelector: LabelSelector | None = None
    ipBlock: IpBlock | None = None


class NetworkPort(Strict):
    protocol: Literal["TCP", "UDP", "SCTP"]
    port: int


class Ingress(Strict):
    model_config = ConfigDict(extra="forbid", alias_generator=lambda name: name.rstrip("_"))
    from_: list[NetworkPeer]
    ports: list[NetworkPort] = []


class Egress(Strict):
    to: list[NetworkPeer]
    ports: list[NetworkPort] = []


class PolicySpec(Strict):
    podSelector: LabelSelector
    policyTypes: list[Literal["Ingress", "Egress"]]
    ingress: list[Ingress] = []
    egress: list[Egress] = []


@pytest.mark.parametrize("cilium", [False, True])
def test_every_policy_has_the_structure_of_its_kind(cilium: bool) -> None:
    for document in exported(cilium=cilium).documents:
        assert set(document) <= {"apiVersion", "kind", "metadata", "spec"}
        if document["kind"] == "NetworkPolicy":
            assert document["apiVersion"] == "networking.k8s.io/v1"
            spec = PolicySpec.model_validate(document["spec"])
            peers = [peer for into in spec.ingress for peer in into.from_]
            peers += [peer for out in spec.egress for peer in out.to]
            for peer in peers:
                assert peer.ipBlock is None or (peer.podSelector is None and peer.namespaceSelector is None)


NAMES = ("ann", "bob", "cid", "dan")
ENDPOINTS = st.tuples(st.booleans(), st.none() | st.just("all") | st.sets(st.sampled_from(NAMES)))
WORLDS = st.fixed_dictionaries({name: st.tuples(ENDPOINTS, st.sets(st.sampled_from(NAMES))) for name in NAMES})
World = dict[str, tuple[tuple[bool, Any], set[str]]]


def world_of(world: World) -> Compiled:
    files = {"org": organization(), "x": external("x", "{hosts: [x.example], ports: [{port: 80, protocol: HTTP}]}")}
    for number, (name, ((visible, allow), wanted)) in enumerate(world.items()):
        admits = (
            ""
            if allow is None
            else ", allow: {all: true}"
            if allow == "all"
            else f", allow: {{cells: {sorted(allow)}}}"
        )
        seen = ", visibility: [organization]" if visible else ""
        needs = ", ".join(f"{{name: {one}, cell: {one}, component: api}}" for one in sorted(wanted - {name}))
        spec = f"{{components: [{{name: api, endpoints: [{{name: http, port: 80{seen}{admits}}}]}}], dependencies: [{needs}]}}"
        files[name] = cell(name, spec.replace("'", ""))
        files[f"{name}-at"] = binding(
            name, number * 8, f", endpoints: {{api.http: [{{address: 127.0.9.{200 + number}}}]}}"
        )
    return compile_objects(objects_of(files)[0], Options())


def granted_by_envoy(result: Compiled) -> set[tuple[str, str]]:
    """Which east gateway forwards requests to which west gateway: read off what Envoys get."""
    listening = {
        (address, port.port): one.key.namespace
        for one in result.gateways
        for port in one.ports
        for address in port.addresses
    }
    found = set()
    for one in result.gateways:
        chains = [chain for port in one.ports for chain in port.http_chains]
        for route in (route for chain in chains for host in chain.hosts for route in host.routes):
            if one.key.name.endswith("-east") and isinstance(route.action, Forward):
                backends = [share.backend for share in route.action.destinations if share.backend is not None]
                found |= {(one.key.namespace, listening[at.address, at.port]) for of in backends for at in of.endpoints}
    return found


@settings(max_examples=60, deadline=None)
@given(WORLDS)
def test_for_every_pair_of_cells_the_policies_grant_what_envoys_grant(world: World) -> None:
    result = world_of(world)
    granted = granted_by_envoy(result)
    documents = network_policies(result, None, Surroundings(), cilium=False).documents
    for one, other in itertools.permutations(NAMES, 2):
        allowed = may_connect(documents, gateway(one, "east"), gateway(other, "west"), 15443)
        assert allowed == ((one, other) in granted), (one, other)
        for direction in DIRECTIONS:
            assert not may_connect(documents, gateway(one, direction), component(other, "api"), 80)
        assert not may_connect(documents, component(one, "api"), component(other, "api"), 80)
        assert not may_connect(documents, component(one, "api"), gateway(other, "west"), 15443)
