"""Dumps of Envoys beside what is sent, and statistics as traffic: from texts as Envoy writes them."""

from __future__ import annotations

import json

import pytest

from tests.documents import compiled
from tests.observe.test_policies_view import WORLD
from xds_server.cli.top import rates
from xds_server.observe.dump_view import compare, dump_view, is_same, read_dump
from xds_server.observe.proxies_view import Fleet
from xds_server.observe.traffic_view import percentiles, traffic_of
from xds_server.serve.records import ProxyRecord, TypeRecord
from xds_server.snapshot.resource import CLUSTER, HOST, LISTENER, Resource

STATS = """
http.default/edge/http-8080.downstream_rq_2xx: 6
http.default/edge/http-8080.downstream_rq_5xx: 2
http.default/edge/http-8080.upstream_rq_5xx: 9
http.default/edge/http-8080.downstream_rq_time: P0(nan,1) P50(3.5,2.5) P99(nan,8.1)
http.admin.downstream_rq_2xx: 70
cluster.default/one.upstream_rq_2xx: 4
cluster.default/one.internal.upstream_rq_2xx: 4
cluster.cellway_xds.upstream_rq_2xx: 1
cluster.default/one.upstream_rq_time: No recorded values
vhost.web_example.route.web.read.upstream_rq_2xx: 4
"""


def resource(kind: str, name: str, version: str) -> Resource:
    return Resource(kind, name, b"", version)


def dump(**sections: object) -> str:
    return json.dumps({"configs": [{"@type": "x", **sections}]})


def test_what_is_on_both_sides_is_compared_by_version() -> None:
    listener = {"version_info": "2", "listener": {"name": "l"}}
    text = dump(
        dynamic_active_clusters=[{"version_info": "1", "cluster": {"name": "a"}}, {"cluster": {"name": "old"}}],
        dynamic_warming_clusters=[{"version_info": "1", "cluster": {"name": "slow"}}],
        dynamic_listeners=[{"name": "l", "active_state": listener, "error_state": {"details": "no"}}],
    )
    sent = [resource(CLUSTER, "a", "1"), resource(CLUSTER, "b", "1"), resource(CLUSTER, "slow", "1")]
    sent += [resource(LISTENER, "l", "3"), resource(HOST, "h", "1")]
    found = list(compare({(one.type_url, one.name): one for one in sent}, read_dump(text)))
    assert {one["name"]: one["state"] for one in found} == {
        "a": "same",
        "b": "missing",
        "slow": "warming",
        "l": "refused: no",
        "h": "not shown",
        "old": "not ours any more",
    }
    assert not is_same([{"envoys": [{"resources": found}]}])
    assert is_same([{"envoys": [{"resources": found[:1]}]}])


async def test_an_envoy_elsewhere_is_known_by_what_it_acknowledged_also_of_a_group() -> None:
    found = compiled(WORLD.replace("{name: edge}\nspec", "{name: edge, labels: {cellway.dev/group: near}}\nspec", 1))
    versions = found.snapshots["near"].versions

    def record(node: str, **changed: bool) -> ProxyRecord:
        known = {"synced": True, "held": False, **changed}
        types = tuple(
            TypeRecord(kind, version, version, 1.0, 0.0, known["synced"], known["held"], (), None)
            for kind, version in versions.items()
        )
        return ProxyRecord(node, "near", "delta", "peer", "1.40.0", "", 1.0, 2.0, types)

    fleet = Fleet((record("a"), record("b", synced=False)), (), (), str)
    edge, near = await dump_view(found, fleet)
    assert (edge["gateway"], edge["envoys"]) == ("default/edge", [])
    good, late = near["envoys"]
    assert {one["state"] for one in good["resources"]} == {"acknowledged"}
    assert {one["state"] for one in late["resources"]} == {"not acknowledged"}
    assert good["resources"][0]["has"] in versions.values()
    assert is_same([edge, {"envoys": [good]}])
    assert not is_same([near])


def test_another_version_differs() -> None:
    held = read_dump(dump(dynamic_active_clusters=[{"version_info": "1", "cluster": {"name": "a"}}]))
    (one,) = compare({(CLUSTER, "a"): resource(CLUSTER, "a", "2")}, held)
    assert (one["has"], one["state"]) == ("1", "differs")


def test_statistics_become_traffic_of_what_the_gateway_is_made_of() -> None:
    found = compiled(WORLD)
    (gateway,) = found.gateways
    items = {(one["kind"], one["name"]): one for one in traffic_of(STATS, found.snapshots[gateway.name], gateway)}
    listener = items["listener", "default/edge/http-8080"]
    assert (listener["requests"], listener["errors"], listener["p50"], listener["p99"]) == (8, 2, 3.5, 8.1)
    cluster = items["cluster", "default/one"]
    assert (cluster["requests"], cluster["p50"]) == (4, None)
    assert items["route", "web.read"]["requests"] == 4
    assert {name for _, name in items} == {"default/edge/http-8080", "default/one", "web.read"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("No recorded values", {}), ("P50(nan,nan) P99(1,2)", {"99": 1.0}), ("P99.9(nan,7e+02)", {"99.9": 700.0})],
)
def test_percentiles(text: str, wanted: dict[str, float]) -> None:
    assert percentiles(text) == wanted


def test_rates_are_of_what_happened_in_between() -> None:
    def look(time: float, requests: int, errors: int, quiet: int = 0) -> tuple[float, list[dict[str, object]]]:
        names = {"node": "n", "gateway": "g", "kind": "cluster"}
        counts = [{**names, "name": "a", "requests": requests, "errors": errors}]
        return time, [{**names, "name": "b", "requests": quiet, "errors": 0}, *counts]

    first, second = rates(look(1.0, 10, 1), look(3.0, 20, 6))
    assert (first["name"], first["perSecond"], first["errorShare"]) == ("a", 5.0, 0.5)
    assert (second["name"], second["perSecond"], second["errorShare"]) == ("b", 0.0, 0.0)
    first, _ = rates(look(1.0, 1000, 0), look(2.0, 7, 0))
    assert first["perSecond"] == 7.0, "the Envoy started anew"
