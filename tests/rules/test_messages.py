"""Whole messages: paths, payloads of Any, secrets, and Envoy's own word.

In: messages that break a rule somewhere deep. Out: failures when the path is wrong, when a payload is not looked
into, when a secret is shown, and when Envoy accepts what is refused here (or the other way round).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import any_pb2, json_format
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.envoy_api.envoy.config.listener.v3.listener_pb2 import Listener
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.config.route.v3.route_pb2 import RouteConfiguration
from xds_server.envoy_api.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsCertificate
from xds_server.envoy_api.envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from xds_server.envoy_api.envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from xds_server.rules import Rules

ROOT = Path(__file__).resolve().parents[2]


def route(**fields: Any) -> Route:
    return json_format.ParseDict({"match": {"prefix": "/"}, "route": {"cluster": "a"}} | fields, Route())


def routes(*items: Route) -> RouteConfiguration:
    config = RouteConfiguration(name="web")
    config.virtual_hosts.add(name="shop", domains=["*"]).routes.extend(items)
    return config


def test_a_path_names_every_step() -> None:
    bad = route()
    bad.route.retry_policy.retry_back_off.base_interval.seconds = -1
    problem = Rules().check(routes(route(), bad))
    path = "virtual_hosts[0].routes[1].route.retry_policy.retry_back_off.base_interval"
    assert problem == f"{path}: must be more than 0s, is -1s"


def test_a_payload_of_a_known_type_is_checked() -> None:
    bad = route()
    bad.typed_per_filter_config["regex"].Pack(RegexMatcher())
    assert Rules().check(bad) == 'typed_per_filter_config["regex"].regex: must not be empty'
    packed = any_pb2.Any()
    packed.Pack(bad)
    assert Rules().check(packed) == 'typed_per_filter_config["regex"].regex: must not be empty'


def test_a_payload_that_cannot_be_read() -> None:
    bad = route()
    any_value = bad.typed_per_filter_config["a"]
    any_value.type_url, any_value.value = "type.googleapis.com/envoy.type.matcher.v3.RegexMatcher", b"\xff"
    problem = Rules().check(bad)
    assert problem == 'typed_per_filter_config["a"]: must hold a message of type envoy.type.matcher.v3.RegexMatcher'


def test_a_payload_of_an_unknown_type_passes() -> None:
    good = route()
    good.typed_per_filter_config["a"].type_url = "type.googleapis.com/example.Unknown"
    assert Rules().check(good) is None


def test_one_object_checks_many_messages() -> None:
    rules = Rules()
    found = [rules.check(route()), rules.check(Route()), rules.check(route()), rules.check(Route())]
    assert found == [None, "match: is required", None, "match: is required"]


def test_a_choice_that_is_not_taken_is_not_required() -> None:
    assert (
        Rules().check(route(match={"prefix": "/", "headers": [{"name": "a", "stringMatch": {"exact": "b"}}]})) is None
    )


def test_secrets_are_not_shown() -> None:
    certificate = TlsCertificate()
    certificate.private_key.environment_variable = ""
    certificate.password.filename = ""
    assert Rules().check(certificate) == "private_key.environment_variable: must not be empty"
    header = routes()
    header.request_headers_to_add.add().header.key = "line\nfeed"
    assert "\n" not in str(Rules().check(header))


def test_every_line_is_short() -> None:
    bad = routes(route())
    bad.request_headers_to_add.add().header.value = "x" * 20_000
    problem = Rules().check(bad)
    assert problem is not None
    assert len(problem) < 200


# ------------------------------------------------------------------------------------------ Envoy's own word


def envoy_binary() -> Path:
    binary = Path(os.environ.get("CELLWAY_ENVOY") or ROOT / ".envoy" / "bin" / "envoy")
    if not binary.is_file():
        pytest.skip("no Envoy: run make setup, or set CELLWAY_ENVOY")
    return binary


def listener(config: RouteConfiguration) -> Listener:
    manager = HttpConnectionManager(stat_prefix="web", route_config=config)
    manager.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(Router())
    made = Listener(name="web")
    made.address.socket_address.address = "127.0.0.1"
    made.address.socket_address.port_value = 0
    made.filter_chains.add().filters.add(name="hcm").typed_config.Pack(manager)
    return made


def envoy_accepts(tmp_path: Path, *resources: Message) -> tuple[bool, str]:
    """Whether Envoy starts with these resources, and what it says."""
    static: dict[str, list[Any]] = {"listeners": [], "clusters": []}
    for resource in resources:
        kind = "listeners" if isinstance(resource, Listener) else "clusters"
        static[kind].append(json_format.MessageToDict(resource))
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps({"staticResources": static}), encoding="utf-8")
    done = subprocess.run(
        [str(envoy_binary()), "--mode", "validate", "-c", str(file)], capture_output=True, text=True, check=False
    )
    return done.returncode == 0, done.stderr


def cluster(**fields: Any) -> Cluster:
    return json_format.ParseDict({"name": "a", "connectTimeout": "1s"} | fields, Cluster())


def cluster_with_options(**fields: Any) -> Cluster:
    options = json_format.ParseDict({"explicitHttpConfig": {"httpProtocolOptions": {}}} | fields, HttpProtocolOptions())
    made = cluster()
    made.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].Pack(options)
    return made


# Each with a word of what Envoy says about it.
VIOLATIONS: dict[str, tuple[Message, str]] = {
    "a negative back-off": (
        listener(routes(route(route={"cluster": "a", "retryPolicy": {"retryBackOff": {"baseInterval": "-1s"}}}))),
        "Invalid duration",
    ),
    "no back-off at all": (
        listener(routes(route(route={"cluster": "a", "retryPolicy": {"retryBackOff": {}}}))),
        "BaseInterval",
    ),
    "a route without a path": (listener(routes(route(match={}))), "path_specifier"),
    "a virtual host without a name": (listener(RouteConfiguration(virtual_hosts=[{"domains": ["*"]}])), "Name"),
    "a virtual host without domains": (listener(RouteConfiguration(virtual_hosts=[{"name": "a"}])), "Domains"),
    "a status that is none": (listener(routes(Route(direct_response={"status": 99}, match={"prefix": "/"}))), "Status"),
    "a prefix with a slash at its end": (
        listener(routes(route(match={"pathSeparatedPrefix": "/a/"}))),
        "PathSeparatedPrefix",
    ),
    "a payload": (
        cluster_with_options(upstreamHttpProtocolOptions={"overrideAutoSniHeader": "a b"}),
        "OverrideAutoSni",
    ),
    "an undefined enum value": (cluster(lbPolicy=99), "LbPolicy"),
    "no time to connect": (cluster(connectTimeout="0s"), "ConnectTimeout"),
    "a percentage above 100": (cluster(commonLbConfig={"healthyPanicThreshold": {"value": 101}}), "Value"),
    "outlier detection above 100": (cluster(outlierDetection={"maxEjectionPercent": 101}), "MaxEjectionPercent"),
    "a health check without an interval": (
        cluster(healthChecks=[{"timeout": "1s", "healthyThreshold": 1, "unhealthyThreshold": 1, "tcpHealthCheck": {}}]),
        "Interval",
    ),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_envoy_refuses_it_too(name: str, tmp_path: Path) -> None:
    message, word = VIOLATIONS[name]
    assert Rules().check(message) is not None
    accepted, said = envoy_accepts(tmp_path, *([message] if isinstance(message, Cluster) else [message, cluster()]))
    assert not accepted
    assert word in said


def test_envoy_accepts_what_is_sound(tmp_path: Path) -> None:
    options = cluster_with_options(upstreamHttpProtocolOptions={"overrideAutoSniHeader": ""})
    options.name = "b"
    sound = [options, listener(routes(route(), route(match={"pathSeparatedPrefix": "/a"}))), cluster()]
    assert [Rules().check(message) for message in sound] == [None, None, None]
    accepted, said = envoy_accepts(tmp_path, *sound)
    assert accepted, said
