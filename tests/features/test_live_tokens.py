"""Tokens in a real Envoy: what is let in, which headers travel on, where keys come from, and changes of providers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.tokens import bearer, jwks, token
from tests.translate.graphs import Reporter, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.header_modifier import HeaderModifierSpec
from xds_server.features.jwt import JwtSpec
from xds_server.features.parts.authorization_specs import AuthorizationSpec
from xds_server.features.parts.rate_limits import RateLimitSpec
from xds_server.graph import Gateway, Respond, Setting, ValueMatch

IDP: dict[str, Any] = {
    "name": "idp",
    "issuer": "https://idp.acme.example",
    "audiences": ["shop"],
    "localJWKS": {"inline": jwks()},
    "claimToHeaders": [{"claim": "sub", "header": "x-user-sub"}, {"claim": "org.unit", "header": "x-unit"}],
}


def jwt(*providers: dict[str, Any], **more: Any) -> Setting:
    return setting("jwt", JwtSpec, {"providers": list(providers) or [IDP], **more})


def provider(**changes: Any) -> dict[str, Any]:
    return {**IDP, **changes}


def build(envoy: Envoy, **changes: Any) -> Gateway:
    """The gateway of this module; keywords change the provider of `changing.example`."""
    action = forward(backend(envoy.servers[0].address))
    keys = f"http://127.0.0.1:{envoy.servers[1].address[1]}/jwks.json"
    gone = "http://127.0.0.1:9/jwks.json"
    remote = {key: value for key, value in IDP.items() if key != "localJWKS"}
    user = {"clientSelectors": [{"headers": [{"type": "Distinct", "name": "x-user-sub"}]}]}
    limit = {"local": {"rules": [{**user, "limit": {"requests": 2, "unit": "Hour"}}]}}
    other = provider(name="other", issuer="https://other.example", audiences=[])
    late = provider(
        extractFrom={"headers": [{"name": "x-token", "valuePrefix": "T "}], "cookies": ["t"], "params": ["tok"]}
    )
    return gateway(
        host("needed.example", route(action, jwt())),
        host("two.example", route(action, jwt(IDP, other))),
        host("optional.example", route(action, jwt(optional=True))),
        host("open.example", route(action, jwt(failOpen=True))),
        host("public.example", route(action)),
        host("changing.example", route(action, jwt(provider(**changes)))),
        host("places.example", route(action, jwt(late))),
        host("remote.example", route(action, jwt(provider_of(remote, keys)))),
        host("behind.example", route(action, behind(envoy, remote))),
        host("routed.example",
             route(Respond(200, "for admins"), jwt(provider(recomputeRoute=True)), headers=(ValueMatch("x-user-sub", "root"),)),
             route(action, jwt(provider(recomputeRoute=True)))),
        host("denied.example", route(action, jwt(), setting("authorization", AuthorizationSpec, only_ann()),
             setting("local_rate_limit", RateLimitSpec, {"local": {"rules": [{"limit": {"requests": 2, "unit": "Hour"}}]}}))),
        host("late.example", route(action, jwt(late_keys(remote, envoy)))),
        host("gone.example", route(action, jwt(provider_of(remote, gone)))),
        host("limited.example", route(action, jwt(), setting("local_rate_limit", RateLimitSpec, limit))),
        host("answer.example", route(Respond(200, "secret"), jwt())),
        host("marked.example", route(action, jwt(), setting(
            "response_header_modifier", HeaderModifierSpec, {"set": [{"name": "x-a", "value": "b"}]}))),
    )  # fmt: skip


def only_ann() -> dict[str, Any]:
    claims = [{"name": "sub", "values": ["ann"]}]
    return {"rules": [{"action": "Allow", "principal": {"jwt": {"provider": "idp", "claims": claims}}}]}


def behind(envoy: Envoy, remote: dict[str, Any]) -> Setting:
    """Keys of a URL that is asked at a backend."""
    keys = {"uri": "https://idp.acme.example/jwks.json", "backendRefs": [{"name": "keys", "port": 80}]}
    service = backend(envoy.servers[1].address, name="shop/keys")
    written = {"providers": [{**remote, "remoteJWKS": keys}]}
    return setting("jwt", JwtSpec, written, Reporter(backends={"keys": service}))


def late_keys(remote: dict[str, Any], envoy: Envoy) -> dict[str, Any]:
    """Keys of a server that fails now and then."""
    uri = f"http://127.0.0.1:{envoy.servers[2].address[1]}/late.json"
    return {**remote, "remoteJWKS": {"uri": uri, "cacheDuration": "1s", "failedRefetchDuration": "200ms"}}


def provider_of(remote: dict[str, Any], uri: str) -> dict[str, Any]:
    return {**remote, "remoteJWKS": {"uri": uri}}


@pytest.fixture(scope="module")
def edge(envoy: Envoy) -> Envoy:
    envoy.server()
    envoy.server("keys").body = jwks()
    late = envoy.server("late")
    late.body = jwks()
    late.broken.add("/late.json")
    envoy.apply(build(envoy))
    return envoy


def test_tokens_are_checked(edge: Envoy) -> None:
    def ask(**headers: str) -> tuple[int, str]:
        answer = edge.get("needed.example", **headers)
        return answer.status_code, answer.text if answer.status_code != 200 else ""

    assert ask() == (401, "Jwt is missing")
    assert ask(**bearer(lifetime=-600)) == (401, "Jwt is expired")
    assert ask(**bearer(audience="other")) == (403, "Audiences in Jwt are not allowed")
    assert ask(**bearer(issuer="https://evil.example")) == (401, "Jwt issuer is not configured")
    assert ask(Authorization=f"Bearer {token()[:-8]}AAAAAAAA") == (401, "Jwt verification fails")
    malformed = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
    assert ask(Authorization="Bearer nonsense") == (401, malformed)
    assert ask(**bearer()) == (200, "")


def test_claims_travel_on_as_headers_and_spoofed_ones_do_not(edge: Envoy) -> None:
    answer = edge.get("needed.example", x_user_sub="root", x_unit="board", **bearer(sub="ann", org={"unit": "sales"}))
    headers = {name.lower(): text for name, text in answer.json()["headers"].items()}
    assert (headers["x-user-sub"], headers["x-unit"]) == ("ann", "sales")
    assert headers["authorization"].startswith("Bearer ")
    for name in ("optional.example", "open.example"):
        seen = {key.lower() for key in edge.get(name, x_user_sub="root").json()["headers"]}
        assert "x-user-sub" not in seen


def test_optional_tokens(edge: Envoy) -> None:
    assert edge.get("optional.example").status_code == 200
    assert edge.get("optional.example", **bearer(lifetime=-600)).status_code == 401
    assert edge.get("open.example", **bearer(lifetime=-600)).status_code == 200
    assert edge.get("optional.example", **bearer()).json()["headers"].get("X-User-Sub", "user-1") == "user-1"


def test_any_of_several_providers(edge: Envoy) -> None:
    assert edge.get("two.example", **bearer()).status_code == 200
    assert edge.get("two.example", **bearer(issuer="https://other.example", audience="x")).status_code == 200
    assert edge.get("two.example").status_code == 401


def test_routes_without_a_policy_stay_open(edge: Envoy) -> None:
    assert edge.get("public.example").status_code == 200


def test_answers_of_the_gateway_are_guarded_too(edge: Envoy) -> None:
    assert edge.get("answer.example").status_code == 401
    assert edge.get("answer.example", **bearer()).text == "secret"


def test_tokens_from_other_places(edge: Envoy) -> None:
    assert edge.get("places.example", **bearer()).status_code == 401
    assert edge.get("places.example", x_token=f"T {token()}").status_code == 200
    assert edge.get("places.example", cookie=f"t={token()}").status_code == 200
    assert edge.get("places.example", f"/?tok={token()}").status_code == 200


def test_keys_from_a_server(edge: Envoy) -> None:
    assert edge.get("remote.example", **bearer()).status_code == 200
    assert edge.get("remote.example").status_code == 401
    assert edge.get("behind.example", **bearer()).status_code == 200
    assert edge.get("behind.example").status_code == 401
    assert edge.get("gone.example", **bearer()).status_code == 401, "keys that cannot be had open nothing"


def test_a_key_server_that_is_down_closes_its_routes_and_later_no_longer_matters(edge: Envoy) -> None:
    late = edge.servers[2]
    assert edge.get("late.example", **bearer()).status_code == 401
    assert edge.get("public.example").status_code == 200
    late.broken.clear()
    until(lambda: edge.get("late.example", **bearer()).status_code == 200)
    asked = len(late.seen)
    until(lambda: len(late.seen) > asked + 1)  # not only by that request, whose keys count for a second
    late.broken.add("/late.json")
    asked = len(late.seen)
    until(lambda: len(late.seen) > asked + 2)
    assert edge.get("late.example", **bearer()).status_code == 200
    assert edge.get("late.example").status_code == 401


def until(reached: Callable[[], bool]) -> None:
    """Wait for something that Envoy does by itself."""
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_users_have_limits_of_their_own_and_strangers_use_up_none(edge: Envoy) -> None:
    for _ in range(5):
        assert edge.get("limited.example", x_user_sub="ann").status_code == 401
    assert [edge.get("limited.example", **bearer(sub="ann")).status_code for _ in range(3)] == [200, 200, 429]
    assert edge.get("limited.example", x_user_sub="ann", **bearer(sub="bob")).status_code == 200


def test_who_is_refused_uses_up_no_limit(edge: Envoy) -> None:
    for _ in range(5):
        assert edge.get("denied.example").status_code == 401
        assert edge.get("denied.example", **bearer(sub="eve")).status_code == 403
    assert [edge.get("denied.example", **bearer(sub="ann")).status_code for _ in range(3)] == [200, 200, 429]


def test_routes_are_chosen_by_checked_claims_and_by_no_others(edge: Envoy) -> None:
    assert edge.get("routed.example", x_user_sub="root").status_code == 401
    assert edge.get("routed.example", **bearer(sub="ann")).json()["server"] == "web"
    assert edge.get("routed.example", x_user_sub="root", **bearer(sub="ann")).text != "for admins"
    assert edge.get("routed.example", **bearer(sub="root")).text == "for admins"


def test_a_changed_provider_is_in_force_at_once_and_never_open(edge: Envoy) -> None:
    assert edge.get("changing.example", **bearer()).status_code == 200
    edge.apply(build(edge, audiences=["other"]))
    assert edge.get("changing.example", **bearer()).status_code == 403
    assert edge.get("changing.example", **bearer(audience="other")).status_code == 200
    assert edge.get("changing.example").status_code == 401
    edge.apply(build(edge))
    assert edge.get("changing.example", **bearer()).status_code == 200


def test_while_providers_change_nobody_gets_in_and_nothing_breaks(edge: Envoy) -> None:
    seen: Counter[int] = Counter()
    done = threading.Event()

    def poll() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{edge.port}", headers={"Host": "changing.example"}) as client:
            while not done.is_set():
                seen[client.get("/", headers={"Connection": "close"}).status_code] += 1

    poller = threading.Thread(target=poll)
    poller.start()
    for number in range(10):
        edge.apply(build(edge, audiences=[f"audience-{number}"]))
        token_for = bearer(audience=f"audience-{number}")
        assert edge.get("changing.example", **token_for).status_code == 200
    done.set()
    poller.join()
    assert set(seen) == {401}, seen
