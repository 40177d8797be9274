"""Other answers, upgrades and credentials for backends, in a real Envoy."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.translate.graphs import Listed, Reporter, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.admission_control import AdmissionControlSpec
from xds_server.features.credential_injection import CredentialInjectionSpec
from xds_server.features.fault import FaultSpec
from xds_server.features.http_upgrade import UpgradeSpec
from xds_server.features.response_override import ResponseOverrideSpec
from xds_server.graph import Setting

CODES = {"statusCodes": [{"value": 404}, {"type": "Range", "range": {"start": 500, "end": 511}}]}
PAGE = {"contentType": "text/html", "body": {"inline": "<p>100% sorry</p>"}, "statusCode": 503}
HEADERS = {
    "set": [{"name": "x-a", "value": "%REQ(x)%"}],
    "add": [{"name": "x-b", "value": "1"}, {"name": "x-b", "value": "2"}],
}
MAPPED = {"body": {"type": "ValueRef", "valueRef": {"kind": "ConfigMap", "name": "page"}}}
WEB = {"responseHeaders": [{"name": "X-From-Backend", "value": {"type": "RegularExpression", "value": "[0-9]"}}]}
SECRET = Reporter(secrets={"backend": {"credential": "Bearer t-1"}}, owner="shop/key")
MOVED = {
    "scheme": "https",
    "hostname": "other.example",
    "port": 8443,
    "path": {"type": "ReplaceFullPath", "replaceFullPath": "/100%REQ(x)%"},
    "statusCode": 301,
}
LOGIN = {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/login"}}
FAULT = setting("fault", FaultSpec, {"abort": {"httpStatus": 503}})


def override(*written: dict[str, Any]) -> Setting:
    reporter = Reporter({"page": {"response.body": "from a map"}})
    return setting("response_override", Listed(ResponseOverrideSpec), written, reporter)


def upgrade(*written: dict[str, Any]) -> Setting:
    return setting("http_upgrade", Listed(UpgradeSpec), written)


def credential(**written: Any) -> Setting:
    whole = {"credential": {"valueRef": {"name": "backend"}}, **written}
    return setting(
        "credential_injection",
        CredentialInjectionSpec,
        whole,
        Reporter(secrets=SECRET.secrets, owner=f"shop/{len(written)}"),
    )


def admission(**written: Any) -> Setting:
    return setting("admission_control", AdmissionControlSpec, written)


ADMISSIONS = {
    "admit": admission(samplingWindow="60s"),
    "lenient": admission(successCriteria={"http": {"statusCodes": [500]}, "grpc": {"statusCodes": ["Ok"]}}),
    "gentle": admission(maxRejectionPercent=0),
    "quiet": admission(minRequestRate=10_000, minSuccessRate=50, rejectionAggression=2),
}
OVERRIDES: dict[str, tuple[Setting, ...]] = {
    "codes": (override({"match": CODES, "response": PAGE}),),
    "moved": (override({"match": CODES, "redirect": MOVED}),),
    "login": (override({"match": CODES, "redirect": LOGIN}),),
    "host": (override({"match": CODES, "redirect": {"hostname": "other.example"}}),),
    "headers": (override({"match": CODES, "response": {"header": HEADERS, "body": {"inline": "gone"}}}),),
    "first": (override({"match": CODES, "response": MAPPED}, {"match": WEB, "response": PAGE}),),
    "backend": (override({"match": CODES, "response": PAGE, "source": "Backend"}),),
    "backend-fault": (FAULT, override({"match": CODES, "response": PAGE, "source": "Backend"})),
    "local": (override({"match": CODES, "response": PAGE, "source": "Local"}),),
    "local-fault": (FAULT, override({"match": CODES, "response": PAGE, "source": "Local"})),
    "both": (override({"match": {**CODES, **WEB}, "response": PAGE}),),
    "plain": (),
    "spdy": (upgrade({"type": "Spdy/3.1".replace("/", "-")}),),
    "websocket": (upgrade({"type": "websocket"}),),
    "key": (credential(),),
    "over": (credential(overwrite=True),),
    "named": (credential(header="X-Key", overwrite=True),),
}


@pytest.fixture(scope="module")
def edge(envoy: Envoy) -> Envoy:
    web = backend(envoy.server().address)
    action = forward(web)
    tunnel = route(action, upgrade({"type": "CONNECT", "connect": {"terminate": True}}), method="CONNECT")
    hosts = [host(f"{name}.example", route(action, *here)) for name, here in OVERRIDES.items()]
    # Each in a cluster of its own, as attachment gives it to a route whose settings touch clusters.
    hosts += [
        host(f"{name}.example", route(forward(web, suffix=f"-{name}"), here)) for name, here in ADMISSIONS.items()
    ]
    envoy.apply(gateway(*hosts, host("tunnel.example", tunnel)))
    return envoy


def test_answers_by_status(edge: Envoy) -> None:
    for status in (404, 500, 509, 511):
        answer = edge.get("codes.example", f"/status/{status}")
        assert (answer.status_code, answer.text) == (503, "<p>100% sorry</p>"), status
        assert answer.headers["content-type"] == "text/html"
        assert "x-from-backend" not in answer.headers
    for status in (200, 403, 512):
        answer = edge.get("codes.example", f"/status/{status}")
        assert (answer.status_code, answer.headers["x-from-backend"]) == (status, "1")


def test_headers_of_the_new_answer_are_literal_and_its_status_is_the_old_one(edge: Envoy) -> None:
    answer = edge.get("headers.example", "/status/404")
    assert (answer.status_code, answer.text) == (404, "gone")
    assert answer.headers["x-a"] == "%REQ(x)%"
    assert answer.headers.get_list("x-b") == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "status", "location"),
    [
        ("moved", 301, "https://other.example:8443/100%REQ(x)%"),
        ("login", 302, "/login"),
        ("host", 302, "//other.example/status/503?q=1"),
    ],
)
def test_clients_are_sent_elsewhere(edge: Envoy, name: str, status: int, location: str) -> None:
    answer = edge.get(f"{name}.example", "/status/503?q=1")
    assert (answer.status_code, answer.headers["location"], answer.text) == (status, location, "")
    assert edge.get(f"{name}.example").status_code == 200


def test_the_first_that_fits_counts(edge: Envoy) -> None:
    answer = edge.get("first.example", "/status/404")
    assert (answer.status_code, answer.text) == (404, "from a map")
    assert edge.get("first.example").status_code == 503, "by a header of the answer"
    assert edge.get("both.example").status_code == 200
    assert edge.get("both.example", "/status/500").text == "<p>100% sorry</p>"


def test_whose_answer_it_is(edge: Envoy) -> None:
    page = "<p>100% sorry</p>"
    assert edge.get("backend.example", "/status/500").text == page
    assert edge.get("backend-fault.example").text == "fault filter abort"
    assert edge.get("local.example", "/status/500").text != page
    assert edge.get("local-fault.example").text == page


def switched(edge: Envoy, name: str, protocol: str) -> str:
    head = f"GET / HTTP/1.1\r\nHost: {name}.example\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
        connection.sendall(head.encode())
        return connection.recv(4096).split(b" ")[1].decode()


def test_only_what_is_listed_may_be_switched_to(edge: Envoy) -> None:
    assert switched(edge, "plain", "websocket") == "101"
    assert switched(edge, "websocket", "websocket") == "101"
    assert switched(edge, "spdy", "websocket") == "403"
    assert switched(edge, "spdy", "spdy-3.1") == "101"
    assert switched(edge, "plain", "spdy-3.1") == "403"


def test_a_tunnel_ends_at_the_gateway(edge: Envoy) -> None:
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
        connection.sendall(b"CONNECT tunnel.example:80 HTTP/1.1\r\nHost: tunnel.example:80\r\n\r\n")
        assert b" 200 " in connection.recv(4096)
        connection.sendall(b"GET /inside HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n")
        inside = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b'"path": "/inside"' in inside


def failures(edge: Envoy, name: str) -> set[str]:
    return {edge.get(f"{name}.example", "/status/500").text[:9] for _ in range(40)}


def test_a_failing_backend_is_asked_less(edge: Envoy) -> None:
    assert failures(edge, "admit") == {'{"server"', ""}, "some reach the backend, some are refused"
    assert failures(edge, "lenient") == {'{"server"'}, "500 is a success here"
    assert failures(edge, "gentle") == {'{"server"'}, "none may be refused"
    assert failures(edge, "quiet") == {'{"server"'}, "too few requests a second"
    assert failures(edge, "plain") == {'{"server"'}


def told(edge: Envoy, name: str, **headers: str) -> dict[str, str]:
    found = edge.get(f"{name}.example", **headers).json()["headers"]
    return {key.lower(): text for key, text in found.items()}


def test_the_backend_gets_a_credential(edge: Envoy) -> None:
    assert told(edge, "key")["authorization"] == "Bearer t-1"
    assert told(edge, "key", authorization="mine")["authorization"] == "mine"
    assert told(edge, "over", authorization="mine")["authorization"] == "Bearer t-1"
    named = told(edge, "named", authorization="mine", x_key="mine")
    assert (named["authorization"], named["x-key"]) == ("mine", "Bearer t-1")
    assert "authorization" not in told(edge, "plain")
