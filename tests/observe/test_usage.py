"""What is read out of the statistics of Envoys, and what is said of dependencies that nobody uses or that cannot be measured."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.cells.shop import FRONT, compile_shop
from xds_server.observe.metrics import Metrics, State
from xds_server.observe.usage import Report, usage_report, usage_view

EAST, SOUTH = "acme/dev/front/east", "acme/dev/front/south"
STATS = """
cluster.east|back.api.http.upstream_rq_2xx: 7
cluster.east|back.api.http.upstream_rq_5xx: 2
cluster.east|back.api.http.external.upstream_rq_2xx: 7
cluster.east|back.api.http.retry.upstream_rq_5xx: 1
cluster.east|back.api.http.upstream_cx_total: 3
cluster.cellway_xds.upstream_rq_2xx: 99
http.admin.rq_direct_response: 5
http.async-client.rq_direct_response: 5
http.front/front-east/http-15001.rq_direct_response: 4
"""
OUTSIDE = """
cluster.south|mail.upstream_rq_2xx: 2
cluster.south|mail.upstream_rq_time: B0.5(0,0) B1(0,1) B1000(1,2)
cluster.south|mail.upstream_cx_total: 1
"""


def report(**stats: str) -> Report:
    names = {"east": EAST, "south": SOUTH}
    return usage_report(compile_shop(), {names[name]: (text,) for name, text in stats.items()})


def test_requests_are_counted_once_by_class_of_their_answers() -> None:
    cells, outside = usage_view(report(east=STATS, south=OUTSIDE))["items"]
    assert cells == {
        "stage": "dev", "consumer": "front", "dependency": "back", "provider": "back", "endpoint": "api.http",
        "measured": True, "requests": 9, "byClass": {"1xx": 0, "2xx": 7, "3xx": 0, "4xx": 0, "5xx": 2}, "connections": 3,
    }  # fmt: skip
    assert (outside["external"], outside["requests"], outside["connections"]) == ("mail", 2, 1)


def test_what_nobody_uses_is_there_with_0_and_what_nobody_measures_is_not() -> None:
    unused, unknown = usage_view(report(east=""))["items"]
    assert (unused["measured"], unused["requests"]) == (True, 0)
    assert (unknown["measured"], "requests" in unknown) == (False, False)


def test_what_a_gateway_refuses_is_counted() -> None:
    assert usage_view(report(east=STATS, south=OUTSIDE))["refused"] == {EAST: 4, SOUTH: 0}
    assert usage_view(report(east=STATS), "prod") == {"items": [], "refused": {}}


def test_counts_of_several_envoys_add_up() -> None:
    found = usage_view(usage_report(compile_shop(), {EAST: (STATS, STATS)}))["items"][0]
    assert (found["requests"], found["connections"]) == (18, 6)


def test_a_refused_dependency_says_why() -> None:
    compiled = compile_shop(front=FRONT.replace("component: api", "component: apo"))
    found = usage_view(usage_report(compiled, {}))["items"][0]
    assert (found["refused"], found["endpoint"]) == ("undeclared-dependency", "apo.http")


def test_metrics_have_every_class_and_buckets_in_seconds() -> None:
    metrics = Metrics("1", "1", lambda: State(usage=report(east=STATS, south=OUTSIDE)))
    samples = {
        (one.name, frozenset(one.labels.values())): one.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for one in family.samples
    }
    assert (
        samples[
            "cellway_cell_requests_total",
            frozenset(
                (
                    "dev",
                    "front",
                    "back",
                    "api.http",
                    "2xx",
                )
            ),
        ]
        == 7
    )
    assert (
        samples[
            "cellway_cell_requests_total",
            frozenset(
                (
                    "dev",
                    "front",
                    "back",
                    "api.http",
                    "4xx",
                )
            ),
        ]
        == 0
    )
    assert (
        samples[
            "cellway_external_requests_total",
            frozenset(
                (
                    "dev",
                    "front",
                    "mail",
                    "2xx",
                )
            ),
        ]
        == 2
    )
    assert (
        samples[
            "cellway_external_connections_total",
            frozenset(
                (
                    "dev",
                    "front",
                    "mail",
                )
            ),
        ]
        == 1
    )
    assert (
        samples[
            "cellway_external_seconds_bucket",
            frozenset(
                (
                    "dev",
                    "front",
                    "mail",
                    "0.001",
                )
            ),
        ]
        == 1
    )
    assert (
        samples[
            "cellway_external_seconds_bucket",
            frozenset(
                (
                    "dev",
                    "front",
                    "mail",
                    "+Inf",
                )
            ),
        ]
        == 2
    )
    assert samples["cellway_refused_requests_total", frozenset((EAST,))] == 4
