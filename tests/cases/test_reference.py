"""Which rule a request meets, against a plain model written from Gateway API's words: hostnames, matches, precedence.

In: random listeners, HTTPRoutes, GRPCRoutes and requests. Out: failures where Envoy answers by another rule than the
model. A rule redirects to a host of its own name or sets a header, so the answer says which it was. The model shares no
code with Cellway.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cases.explained import disagreement
from tests.cases.reading import Request
from tests.cases.rig import GATEWAY, Rig
from tests.cases.test_cases import compile_given
from tests.e2e.running import Block
from xds_server.attach.hostnames import intersect

HOSTS = ("x.test", "a.x.test", "b.x.test", "c.a.x.test", "y.test")
HOSTNAMES = ("x.test", "a.x.test", "*.x.test", "*.a.x.test", "y.test", "*.test")
PATHS = ("/", "/a", "/a/", "/ab", "/a/b", "/a/b/c", "/1")
WRITTEN_PATHS = (
    *(("Exact", path) for path in ("/", "/a", "/a/b")),
    *(("PathPrefix", path) for path in ("/", "/a", "/a/b", "/ab")),
    *(("RegularExpression", path) for path in ("/[0-9]", "/a.*", "/.*/b")),
)
VALUES = st.dictionaries(st.sampled_from(("p", "q")), st.sampled_from(("1", "2")), max_size=2)


@dataclass(frozen=True)
class Asked:
    """A request."""

    host: str
    path: str
    method: str
    headers: dict[str, str]
    query: dict[str, str]


matches = st.fixed_dictionaries(
    {"path": st.sampled_from(WRITTEN_PATHS).map(lambda one: {"type": one[0], "value": one[1]})},
    optional={
        "method": st.sampled_from(("GET", "PUT")),
        "headers": VALUES.map(lambda some: [{"name": name, "value": value} for name, value in some.items()]),
        "queryParams": VALUES.map(lambda some: [{"name": name, "value": value} for name, value in some.items()]),
    },
)
routes = st.fixed_dictionaries(
    {
        "created": st.sampled_from(("", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z")),
        "hostnames": st.lists(st.sampled_from(HOSTNAMES), max_size=2, unique=True),
        "rules": st.lists(st.lists(matches, min_size=1, max_size=2), min_size=1, max_size=3),
    }
)
requests = st.builds(
    Asked, st.sampled_from(HOSTS), st.sampled_from(PATHS), st.sampled_from(("GET", "PUT")), VALUES, VALUES
)
listeners = st.lists(st.sampled_from(("", *HOSTNAMES)), min_size=1, max_size=3, unique=True)


# -- the model ------------------------------------------------------------------------------------------------


def stands_for(hostname: str, host: str) -> bool:
    """A hostname without a value stands for every host; `*.` for one or more labels."""
    if hostname.startswith("*."):
        return host.endswith(hostname[1:]) and len(host) > len(hostname[1:])
    return hostname in ("", host)


def how_specific(hostname: str) -> tuple[int, int]:
    """More characters without a wildcard first, then more characters."""
    return (0 if hostname.startswith("*") else len(hostname), len(hostname))


def chosen(listening: list[str], written: list[dict[str, Any]], asked: Asked) -> str | None:
    """The name of the rule that answers, None for 404."""
    listener = max((one for one in listening if stands_for(one, asked.host)), key=how_specific, default=None)
    if listener is None:
        return None
    found = [
        (max(hostname, listener, key=how_specific), how_specific(hostname), number)
        for number, route in enumerate(written)
        for hostname in route["hostnames"] or [""]
        if stands_for(hostname, asked.host)
    ]
    if not found:
        return None
    best = max(how_specific(common) for common, _, _ in found)
    candidates: dict[int, tuple[int, int]] = {}
    for common, own, number in found:
        if how_specific(common) == best:
            candidates[number] = max(own, candidates.get(number, own))
    fitting = [
        ([-one for one in own], _precedence(match), written[number]["created"] or "9999", number, rule, place)
        for number, own in candidates.items()
        for rule, several in enumerate(written[number]["rules"])
        for place, match in enumerate(several)
        if _fits(match, asked)
    ]
    return f"r{min(fitting)[3]}-{min(fitting)[4]}.test" if fitting else None


def _fits(match: dict[str, Any], asked: Asked) -> bool:
    kind, path = match["path"]["type"], match["path"]["value"]
    elements = path.rstrip("/")
    fits = {
        "Exact": asked.path == path,
        "PathPrefix": asked.path == elements or asked.path.startswith(elements + "/"),
        "RegularExpression": kind == "RegularExpression" and re.fullmatch(path, asked.path) is not None,
    }
    return (
        fits[kind]
        and match.get("method", asked.method) == asked.method
        and all(asked.headers.get(one["name"]) == one["value"] for one in match.get("headers", ()))
        and all(asked.query.get(one["name"]) == one["value"] for one in match.get("queryParams", ()))
    )


def _precedence(match: dict[str, Any]) -> tuple[int, ...]:
    kind, path = match["path"]["type"], match["path"]["value"]
    rank = ("Exact", "RegularExpression", "PathPrefix").index(kind)
    conditions = (-len(match.get("headers", ())), -len(match.get("queryParams", ())))
    return (rank, -len(path), 0 if "method" in match else 1, *conditions)


# -- the comparison -------------------------------------------------------------------------------------------


def documents(listening: list[str], written: list[dict[str, Any]]) -> str:
    """The Gateway and the routes as YAML (JSON is YAML)."""
    ports = [
        {"name": f"l{place}", "protocol": "HTTP", "port": 10080, **({"hostname": one} if one else {})}
        for place, one in enumerate(listening)
    ]
    gateway = {"addresses": [{"type": "IPAddress", "value": "ADDR.1"}], "listeners": ports}
    found = [_document("Gateway", "edge", "", gateway)]
    for number, route in enumerate(written):
        rules = [
            {
                "matches": several,
                "filters": [{"type": "RequestRedirect", "requestRedirect": {"hostname": f"r{number}-{rule}.test"}}],
            }
            for rule, several in enumerate(route["rules"])
        ]
        spec = {"parentRefs": [{"name": "edge"}], "hostnames": route["hostnames"], "rules": rules}
        found.append(_document("HTTPRoute", f"route-{number}", route["created"], spec))
    return "\n---\n".join(json.dumps(one) for one in found)


def _document(kind: str, name: str, created: str, spec: dict[str, Any]) -> dict[str, Any]:
    stamp = {"creationTimestamp": created} if created else {}
    version = "gateway.networking.k8s.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **stamp}, "spec": spec}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(listeners, st.lists(routes, min_size=1, max_size=4), st.lists(requests, min_size=6, max_size=12))
def test_envoy_answers_by_the_rule_of_the_model(
    rig: Rig, block: Block, listening: list[str], written: list[dict[str, Any]], asked: list[Asked]
) -> None:
    compiled, _ = compile_given(documents(listening, written), block)
    rig.apply(compiled.snapshots)
    for one in asked:
        query = "&".join(f"{name}={value}" for name, value in one.query.items())
        path = f"{one.path}?{query}" if query else one.path
        sent = Request(1, one.method, "http", one.host, 0, path, tuple(one.headers.items()), "")
        answer = rig.send(sent)
        found = re.match(r"http://([^:/]+)", answer.headers.get("location", ""))
        assert (found[1] if found else None) == chosen(listening, written, one), one
        assert answer.status == (302 if found else 404)
        assert disagreement(compiled.snapshots[GATEWAY], block, sent, [answer]) == ""


SERVICES, METHODS = ("a.B", "a.C", "a.BB"), ("Get", "GetAll")
calls = st.fixed_dictionaries(
    {},
    optional={
        "method": st.fixed_dictionaries(
            {}, optional={"service": st.sampled_from(SERVICES), "method": st.sampled_from(METHODS)}
        ).filter(bool),
        "headers": VALUES.map(lambda some: [{"name": name, "value": value} for name, value in some.items()]),
    },
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(calls, min_size=1, max_size=2), min_size=1, max_size=5),
    st.lists(st.tuples(st.sampled_from(SERVICES), st.sampled_from(METHODS), VALUES), min_size=3, max_size=6),
)
def test_envoy_answers_calls_by_the_rule_of_the_model(
    rig: Rig, block: Block, written: list[list[dict[str, Any]]], asked: list[tuple[str, str, dict[str, str]]]
) -> None:
    rules = [
        {
            "matches": several,
            "filters": [
                {
                    "type": "ResponseHeaderModifier",
                    "responseHeaderModifier": {"set": [{"name": "x-rule", "value": str(rule)}]},
                }
            ],
            "backendRefs": [{"name": "grpc-1", "port": 9000}],
        }
        for rule, several in enumerate(written)
    ]
    route = _document("GRPCRoute", "rpc", "", {"parentRefs": [{"name": "edge"}], "rules": rules})
    compiled, _ = compile_given(json.dumps(route), block)
    rig.apply(compiled.snapshots)
    for service, method, headers in asked:
        fitting = [
            (-len(wanted.get("service", "")), -len(wanted.get("method", "")), -len(match.get("headers", ())), rule)
            for rule, several in enumerate(written)
            for match in several
            for wanted in (match.get("method", {}),)
            if wanted.get("service", service) == service
            and wanted.get("method", method) == method
            and all(headers.get(one["name"]) == one["value"] for one in match.get("headers", ()))
        ]
        call = Request(1, "GRPC", "http", "rpc.test", 0, f"/{service}/{method}", tuple(headers.items()), "")
        answer = rig.send(call)
        assert answer.headers.get("x-rule") == (str(min(fitting)[3]) if fitting else None), (service, method, headers)
        assert answer.grpc == ("OK" if fitting else "UNIMPLEMENTED")


@given(st.sampled_from(HOSTNAMES), st.sampled_from(HOSTNAMES), st.sampled_from(HOSTS))
def test_common_hostnames_stand_for_the_hosts_of_both(first: str, second: str, host: str) -> None:
    common = intersect(first, second)
    assert (common is not None and stands_for(common, host)) == (stands_for(first, host) and stands_for(second, host))
