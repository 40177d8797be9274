"""External authorisation in a real Envoy, by HTTP and by gRPC: who is refused, what the service hears, and what if it is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import httpx
import pytest

from tests.e2e.tokens import bearer, jwks
from tests.translate.graphs import Reporter, backend, feature, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.envoy_api.envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from xds_server.features.ext_auth import ExtAuthSpec
from xds_server.features.jwt import JwtSpec
from xds_server.graph import Backend, Gateway, Setting

IDP = {"name": "idp", "localJWKS": {"inline": jwks()}, "claimToHeaders": [{"claim": "sub", "header": "x-sub"}]}
JWT = setting("jwt", JwtSpec, {"providers": [IDP]})


class HttpService:
    """Lets those pass who have `x-pass`, and says their name in `x-user` if they have `x-name`."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, dict[str, str], str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                headers = {name.lower(): text for name, text in self.headers.items()}
                service.heard.append((self.command, self.path, headers, body))
                self.send_response(200 if "x-pass" in headers else 403)
                if "x-name" in headers:
                    self.send_header("x-user", headers["x-name"])
                self.send_header("x-internal", "service")
                self.send_header("content-length", "0" if "x-pass" in headers else "6")
                self.end_headers()
                self.wfile.write(b"" if "x-pass" in headers else b"no way")

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.address = ("127.0.0.1", int(self._http.server_address[1]))
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._http.shutdown()
        self._http.server_close()


class GrpcService:
    """Lets those pass whose path does not start with /no, and tells backends what it was told."""

    def __init__(self) -> None:
        self.heard: list[CheckRequest] = []
        self._grpc = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=CheckRequest.FromString,
            response_serializer=CheckResponse.SerializeToString,
        )
        handlers = grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": handler})
        self._grpc.add_generic_rpc_handlers((handlers,))
        self.address = ("127.0.0.1", self._grpc.add_insecure_port("127.0.0.1:0"))
        self._grpc.start()

    def _check(self, request: CheckRequest, context: grpc.ServicerContext) -> CheckResponse:
        del context
        self.heard.append(request)
        answer = CheckResponse()
        if request.attributes.request.http.path.startswith("/no"):
            answer.status.code = grpc.StatusCode.PERMISSION_DENIED.value[0]
            answer.denied_response.body = "not you"
            return answer
        answer.status.code = 0
        told = answer.ok_response.headers.add()
        told.header.key, told.header.value = "x-tier", dict(request.attributes.context_extensions).get("tier", "none")
        return answer

    def close(self) -> None:
        """Stop."""
        self._grpc.stop(None).wait(5)


@pytest.fixture(scope="module")
def http() -> Iterator[HttpService]:
    service = HttpService()
    yield service
    service.close()


@pytest.fixture(scope="module")
def rpc() -> Iterator[GrpcService]:
    service = GrpcService()
    yield service
    service.close()


def build(envoy: Envoy, http: HttpService, rpc: GrpcService, **changes: Any) -> Gateway:
    """The gateway of this module; keywords change what `changing.example` asks."""
    action = forward(backend(envoy.servers[0].address))
    services = {
        "http": backend(http.address, name="shop/http-auth"),
        "grpc": backend(rpc.address, name="shop/grpc-auth"),
        "gone": backend(("127.0.0.1", 9), name="shop/gone"),
    }

    def by_http(name: str = "http", refs: tuple[str, ...] = (), **more: Any) -> Setting:
        written = {"backendRefs": [{"name": one, "port": 80} for one in refs or (name,)], **more.pop("http", {})}
        spec = {"http": written, "headersToExtAuth": ["x-pass", "x-name"], **more}
        return setting("ext_auth", ExtAuthSpec, spec, Reporter(backends=services))

    def by_grpc(**more: Any) -> Setting:
        written = {"grpc": {"backendRefs": [{"name": "grpc", "port": 80}]}, **more}
        return setting(
            "ext_auth", ExtAuthSpec, written, Reporter(backends=services, secrets={"held": {"tier": "silver"}})
        )

    told: dict[str, Any] = {"http": {"headersToBackend": ["X-User"]}}
    tier = [{"name": "tier", "value": "gold"}]
    held = [{"name": "tier", "type": "ValueRef", "valueRef": {"kind": "Secret", "name": "held", "key": "tier"}}]
    probes = {"active": {"type": "TCP", "tcp": {}, "interval": "100ms", "unhealthyThreshold": 1}}
    spare = {
        "backendRefs": [{"name": "gone", "port": 80}, {"name": "http", "port": 80, "fallback": True}],
        "backendSettings": {"healthCheck": probes},
    }
    shut = {"maxConnections": 0, "maxPendingRequests": 0}
    left_out = by_http(failOpen=True, **told)
    left_out = replace(left_out, value=replace(left_out.value, backend=None))  # type: ignore[type-var]
    return gateway(
        host("open.example", route(action)),
        host("http.example", route(action, by_http())),
        host("told.example", route(action, by_http(**told))),
        host("below.example", route(action, by_http(http={"path": "/auth"}))),
        host("instead.example", route(action, by_http(http={"pathOverride": "/check?x=1"}))),
        host("body.example", route(action, by_http(bodyToExtAuth={"maxRequestBytes": 8}))),
        host("gone.example", route(action, by_http("gone"))),
        host("status.example", route(action, by_http("gone", statusOnError=503))),
        host("fail-open.example", route(action, by_http("gone", failOpen=True, **told))),
        host("left-out.example", route(action, left_out)),
        host("both.example", route(action, by_http(refs=("http", "gone")))),
        host("spare.example", route(action, by_http(http=spare))),
        host("shut.example", route(action, by_http(http={"backendSettings": {"circuitBreaker": shut}}))),
        host("changing.example", route(action, by_http(**changes))),
        host("tokens.example", route(action, JWT, by_http(headersToExtAuth=["x-pass", "x-sub"]))),
        host("grpc.example", route(action, by_grpc())),
        host("secret.example", route(action, by_grpc(contextExtensions=held))),
        host(
            "route.example",
            replace(route(action, by_grpc(includeRouteMetadata=True)), name="httproute/shop/web/rule/api/match/0"),
        ),
        host("tier.example", route(action, by_grpc(contextExtensions=tier, headersToExtAuth=["x-shown"]))),
    )


@pytest.fixture(scope="module")
def edge(envoy: Envoy, http: HttpService, rpc: GrpcService) -> Envoy:
    envoy.server()
    envoy.apply(build(envoy, http, rpc))
    return envoy


def seen(answer: httpx.Response) -> dict[str, str]:
    """Headers that the backend saw, in lower case."""
    return {name.lower(): text for name, text in answer.json()["headers"].items()}


def test_the_service_decides(edge: Envoy) -> None:
    refused = edge.get("http.example", x_name="eve")
    assert (refused.status_code, refused.text) == (403, "no way")
    assert edge.get("http.example", x_pass="1").status_code == 200
    assert edge.get("open.example").status_code == 200


def test_the_service_hears_what_it_needs_and_no_more(edge: Envoy, http: HttpService) -> None:
    edge.get("http.example", "/a/b?c=d", x_pass="1", x_other="x", cookie="a=b")
    method, path, headers, body = http.heard[-1]
    assert (method, path, body) == ("GET", "/a/b?c=d", "")
    assert headers["host"] == "http.example"
    assert not {"x-other", "cookie"} & headers.keys()
    edge.get("below.example", "/a?c=d")
    assert http.heard[-1][1] == "/auth/a?c=d"
    edge.get("instead.example", "/a?c=d")
    assert http.heard[-1][1] == "/check?x=1"


def test_backends_hear_the_service_and_not_the_client(edge: Envoy) -> None:
    told = seen(edge.get("told.example", x_pass="1", x_name="ann", x_user="root"))
    assert told["x-user"] == "ann"
    assert "x-internal" not in told
    assert "x-user" not in seen(edge.get("told.example", x_pass="1", x_user="root")), "the service said nothing"


def test_a_fallback_is_asked_while_the_others_are_ill(edge: Envoy) -> None:
    deadline = time.monotonic() + 60
    while edge.get("spare.example", x_pass="1").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert edge.get("spare.example").status_code == 403


def test_settings_of_a_service_are_its_own(edge: Envoy, http: HttpService) -> None:
    heard = len(http.heard)
    assert edge.get("shut.example", x_pass="1").status_code == 403
    assert len(http.heard) == heard
    assert edge.get("http.example", x_pass="1").status_code == 200


def test_bodies(edge: Envoy, http: HttpService) -> None:
    def post(body: str) -> int:
        headers = {"Host": "body.example", "x-pass": "1"}
        return httpx.post(f"http://127.0.0.1:{edge.port}/", headers=headers, content=body).status_code

    assert post("12345678") == 200
    assert http.heard[-1][3] == "12345678"
    assert post("123456789") == 413
    assert http.heard[-1][3] == "12345678", "the service was not asked"


def test_a_service_that_is_away_lets_nobody_in(edge: Envoy) -> None:
    assert edge.get("gone.example", x_pass="1").status_code == 403
    assert edge.get("status.example", x_pass="1").status_code == 503


def test_fail_open_lets_in_but_nobody_says_who_it_is(edge: Envoy) -> None:
    for name in ("fail-open.example", "left-out.example"):
        answer = edge.get(name, x_user="root")
        assert answer.status_code == 200
        assert "x-user" not in seen(answer)


def test_strangers_do_not_reach_the_service(edge: Envoy, http: HttpService) -> None:
    before = len(http.heard)
    assert edge.get("tokens.example", x_pass="1", x_sub="root").status_code == 401
    assert len(http.heard) == before
    assert edge.get("tokens.example", x_pass="1", x_sub="root", **bearer(sub="ann")).status_code == 200
    assert [one[2]["x-sub"] for one in http.heard[before:]] == ["ann"]


def test_services_share_the_calls(edge: Envoy) -> None:
    answers = {edge.get("both.example", x_pass="1").status_code for _ in range(8)}
    assert answers == {200, 403}


def test_grpc(edge: Envoy, rpc: GrpcService) -> None:
    refused = edge.get("grpc.example", "/no/entry")
    assert (refused.status_code, refused.text) == (403, "not you")
    told = seen(edge.get("grpc.example", x_tier="platinum"))
    assert told["x-tier"] == "none"
    assert rpc.heard[-1].attributes.request.http.headers["x-tier"] == "platinum"


def test_grpc_context_and_headers(edge: Envoy, rpc: GrpcService) -> None:
    assert seen(edge.get("tier.example", x_shown="1", x_hidden="2"))["x-tier"] == "gold"
    headers = rpc.heard[-1].attributes.request.http.headers
    assert "x-shown" in headers
    assert "x-hidden" not in headers


def test_a_changed_service_is_in_force_at_once(edge: Envoy, http: HttpService, rpc: GrpcService) -> None:
    assert edge.get("changing.example", x_pass="1").status_code == 200
    edge.apply(build(edge, http, rpc, name="gone"))
    assert edge.get("changing.example", x_pass="1").status_code == 403
    edge.apply(build(edge, http, rpc))
    assert edge.get("changing.example").status_code == 403
    assert edge.get("changing.example", x_pass="1").status_code == 200


def test_names_of_filters_do_not_follow_endpoints(http: HttpService, rpc: GrpcService) -> None:
    def names(service: Backend) -> list[str]:
        written = {"http": {"backendRefs": [{"name": "a", "port": 80}]}}
        made = setting("ext_auth", ExtAuthSpec, written, Reporter(backends={"a": service}))
        return [name for name, _ in feature("ext_auth").http_filters([made.value])]

    assert names(backend(http.address)) == names(backend(rpc.address))


def test_a_grpc_service_is_told_values_of_secrets_and_which_route_is_meant(edge: Envoy, rpc: GrpcService) -> None:
    assert seen(edge.get("secret.example"))["x-tier"] == "silver"
    dump = str(edge.admin("config_dump?include_eds"))
    assert "context_extensions" in dump
    assert "silver" not in dump, "Envoy shows what it was told"
    assert not rpc.heard[-1].attributes.route_metadata_context.filter_metadata
    assert edge.get("route.example").status_code == 200
    told = rpc.heard[-1].attributes.route_metadata_context.filter_metadata["envoy-gateway"]
    expected = {"kind": "HTTPRoute", "namespace": "shop", "name": "web", "sectionName": "api"}
    assert [dict(one.struct_value.items()) for one in told.fields["resources"].list_value.values] == [expected]
