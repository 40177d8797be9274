"""What is read out of the statistics of Envoys, and what is said of dependencies that nobody uses or that cannot be measured."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cells.shop import FRONT, compile_shop
from xds_server.observe.metrics import Metrics, State
from xds_server.observe.usage import Report, usage_report, usage_view
from xds_server.serve.loads import Load

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


@pytest.mark.parametrize("reporter", [EAST, "acme/dev/front"])
def test_what_envoys_elsewhere_report_is_counted_with_what_is_known_of_it(reporter: str) -> None:
    reported = {reporter: {"east|back.api.http": Load(5, 2), "east|nobody.knows": Load(9, 9)}}
    alone, unknown = usage_view(usage_report(compile_shop(), {}, reported))["items"]
    assert (alone["measured"], alone["requests"]) == (True, 5)
    assert alone["byClass"] == {"1xx": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 2, "ok": 3}
    assert unknown["measured"] == (reporter != EAST), "of all gateways of a cell together, south is one"
    both = usage_view(usage_report(compile_shop(), {EAST: (STATS,)}, reported))["items"][0]
    assert (both["requests"], both["byClass"]["5xx"]) == (14, 4)
    text = Metrics("0", "0", lambda: State(usage=usage_report(compile_shop(), {}, reported))).text().decode()
    assert 'code="ok",consumer="front",endpoint="api.http",provider="back",stage="dev"} 3.0' in text


def test_a_refused_dependency_says_why() -> None:
    compiled = compile_shop(front=FRONT.replace("component: api", "component: apo"))
    found = usage_view(usage_report(compiled, {}))["items"][0]
    assert (found["refused"], found["endpoint"]) == ("undeclared-dependency", "apo.http")


def samples(given: Report) -> dict[str, float]:
    """The value of each series, by its name and the values of its labels in the order of their names."""
    text = Metrics("1", "1", lambda: State(usage=given)).text().decode()
    found = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return {" ".join((one.name, *(one.labels[key] for key in sorted(one.labels)))): one.value for one in found}


def test_metrics_have_every_class_and_buckets_in_seconds() -> None:
    found = samples(report(east=STATS, south=OUTSIDE))
    assert found["cellway_cell_requests_total 2xx front api.http back dev"] == 7
    assert found["cellway_cell_requests_total 4xx front api.http back dev"] == 0
    assert found["cellway_external_requests_total 2xx front mail dev"] == 2
    assert found["cellway_external_connections_total front mail dev"] == 1
    assert found["cellway_external_seconds_bucket front mail 0.001 dev"] == 1
    assert found["cellway_external_seconds_bucket front mail +Inf dev"] == 2
    assert found[f"cellway_refused_requests_total {EAST}"] == 4
    assert not any("_requests_total" in name and "front" in name for name in samples(report()))
