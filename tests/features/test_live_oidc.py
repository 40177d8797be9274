"""Logins at a provider in a real Envoy: who is sent there, what a session needs, and what backends hear of it."""

from __future__ import annotations

from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.e2e.tokens import bearer, jwks
from tests.features.identity_provider import IdentityProvider
from tests.translate.graphs import Reporter, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.jwt import JwtSpec
from xds_server.features.oidc import OidcSpec
from xds_server.graph import Setting

SECRETS = {"client": {"client-secret": "xyzzy-client", "client-id": "shop"}, "wrong": {"client-secret": "xyzzy-wrong"}}
IDP: dict[str, Any] = {"name": "idp", "issuer": "https://idp.acme.example", "localJWKS": {"inline": jwks()}}


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    running = IdentityProvider("shop", "xyzzy-client")
    yield running
    running.close()


@pytest.fixture(scope="module")
def edge(envoy: Envoy, provider: IdentityProvider) -> Envoy:
    action = forward(backend(envoy.server().address))

    def login(owner: str = "shop/web", where: str = provider.url, **more: Any) -> Setting:
        named = {"issuer": where, "authorizationEndpoint": f"{where}/authorize", "tokenEndpoint": f"{where}/token"}
        named |= more.pop("provider", {})
        spec = {"provider": named, "clientIDRef": {"name": "client"}, "clientSecret": {"name": "client"}, **more}
        services = {"idp": backend(provider.address, name="shop/idp")}
        return setting("oidc", OidcSpec, spec, Reporter(owner=owner, secrets=SECRETS, backends=services))

    own = {"accessToken": "at", "idToken": "it"}
    script = {"headers": [{"name": "X-Requested-With", "value": "XMLHttpRequest"}]}
    ending = {"endSessionEndpoint": "https://idp.example/end"}
    behind = {"tokenEndpoint": "https://idp.example/token", "backendRefs": [{"name": "idp", "port": 80}]}
    envoy.apply(
        gateway(
            host("open.example", route(action)),
            host("web.example", route(action, login())),
            host("short.example", route(action, login("shop/short", refreshToken=False))),
            host("other.example", route(action, login("shop/other"))),
            host("told.example", route(action, login("shop/told", forwardAccessToken=True, forwardIDToken={"header": "X-Id"},
                 cookieNames=own, cookieConfig={"sameSite": "Strict"}, cookieDomain="told.example", scopes=["mail"],
                 resources=["https://api.example"], redirectURL="https://told.example/back", logoutPath="/bye",
                 provider=ending))),
            host("script.example", route(action, login("shop/script", denyRedirect=script))),
            host("wrong.example", route(action, login("shop/wrong", clientSecret={"name": "wrong"}))),
            host("behind.example", route(action, login("shop/behind", provider=behind))),
            host("gone.example", route(action, login("shop/gone", provider={"tokenEndpoint": "http://127.0.0.1:9/token"}))),
            host("both.example", route(action, login("shop/both", passThroughAuthHeader=True, forwardAccessToken=True),
                 setting("jwt", JwtSpec, {"providers": [IDP]}))),
        )
    )  # fmt: skip
    return envoy


class Browser:
    """Keeps the cookies of one host, and follows redirects one by one."""

    def __init__(self, edge: Envoy, name: str) -> None:
        self.edge, self.name = edge, name
        self.cookies: dict[str, str] = {}
        self.written: list[str] = []

    def get(self, path: str = "/", **headers: str) -> httpx.Response:
        """A request with the cookies."""
        cookie = "; ".join(f"{name}={text}" for name, text in self.cookies.items())
        answer = self.edge.get(self.name, path, **({"cookie": cookie} if cookie else {}), **headers)
        for line in answer.headers.get_list("set-cookie"):
            self.written.append(line)
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
                if morsel.value in ("", "deleted"):
                    del self.cookies[name]
        return answer

    def callback(self, path: str = "/") -> str:
        """Ask, log in at the provider, and say where it sends back to."""
        location = self.get(path).headers["location"]
        back = urlsplit(httpx.get(location, timeout=30).headers["location"])
        return f"{back.path}?{back.query}"

    def log_in(self, path: str = "/") -> httpx.Response:
        """All of it; the answer to the request that began it."""
        done = self.get(self.callback(path))
        assert done.status_code == 302, (done.status_code, done.text)
        wanted = urlsplit(done.headers["location"])
        return self.get(wanted.path + (f"?{wanted.query}" if wanted.query else ""))


def suffix_of(browser: Browser) -> str:
    """What the names of a policy's cookies end with."""
    return next(iter(browser.cookies)).partition("-")[2].partition(".")[0]


def set_lines(browser: Browser) -> list[str]:
    """The cookies that were set, without those that were deleted."""
    return [line for line in browser.written if "=deleted" not in line]


def seen(answer: httpx.Response) -> dict[str, str]:
    """Headers that the backend saw, in lower case."""
    assert answer.status_code == 200, (answer.status_code, answer.text)
    return {name.lower(): text for name, text in answer.json()["headers"].items()}


def test_strangers_are_sent_to_the_provider(edge: Envoy, provider: IdentityProvider) -> None:
    answer = Browser(edge, "web.example").get("/cart?x=1")
    assert answer.status_code == 302
    location = urlsplit(answer.headers["location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == f"{provider.url}/authorize"
    query = {name: texts[0] for name, texts in parse_qs(location.query).items()}
    assert (query["client_id"], query["response_type"], query["scope"]) == ("shop", "code", "openid")
    assert query["redirect_uri"] == "http://web.example/oauth2/callback"
    assert query["code_challenge_method"] == "S256"
    assert edge.get("open.example").status_code == 200


def test_nobody_comes_in_by_a_header_or_a_made_up_cookie(edge: Envoy) -> None:
    web = Browser(edge, "web.example")
    assert web.get(**bearer()).status_code == 302
    suffix = suffix_of(web)
    made_up = f"AccessToken-{suffix}=x; OauthHMAC-{suffix}=eHh4; OauthExpires-{suffix}=99999999999; IdToken-{suffix}=y"
    assert edge.get("web.example", cookie=made_up).status_code == 302


def test_a_login_brings_back_to_where_it_began(edge: Envoy) -> None:
    web = Browser(edge, "web.example")
    answer = web.log_in("/cart?x=1")
    assert answer.json()["path"] == "/cart?x=1"
    assert "authorization" not in seen(answer)
    assert web.get("/other").status_code == 200
    for line in set_lines(web):
        assert "httponly" in line.lower(), line
        assert "secure" in line.lower(), line


def test_a_changed_cookie_ends_the_session(edge: Envoy) -> None:
    short = Browser(edge, "short.example")
    short.log_in()
    kept = dict(short.cookies)
    for part in ("OauthHMAC", "OauthExpires", "AccessToken", "IdToken"):
        name = next(one for one in kept if one.startswith(part))
        short.cookies = {**kept, name: "1" + kept[name]}
        assert short.get().status_code == 302, part
    short.cookies = kept
    assert short.get().status_code == 200


def test_a_session_is_good_for_its_own_policy_only(edge: Envoy) -> None:
    web, other = Browser(edge, "web.example"), Browser(edge, "other.example")
    web.log_in()
    other.get()
    suffix = suffix_of(other)
    assert suffix != suffix_of(web)
    other.cookies = {f"{name.partition('-')[0]}-{suffix}": text for name, text in web.cookies.items()}
    assert other.get().status_code == 302


def test_answers_that_nobody_asked_for_are_refused(edge: Envoy) -> None:
    back = Browser(edge, "web.example").callback()
    assert Browser(edge, "web.example").get(back).status_code == 401, "another browser's login"
    web = Browser(edge, "web.example")
    back = web.callback()
    assert web.get(back.replace("code=code-", "code=other-")).status_code == 401
    assert web.get("/oauth2/callback?code=x&state=y").status_code == 401


def test_the_client_must_be_known_and_the_provider_there(edge: Envoy) -> None:
    wrong = Browser(edge, "wrong.example")
    assert wrong.get(wrong.callback()).status_code == 401
    gone = Browser(edge, "gone.example")
    assert gone.get(gone.callback()).status_code in (401, 503)
    assert gone.get().status_code == 302


def test_programs_get_401_in_place_of_a_redirect(edge: Envoy) -> None:
    assert edge.get("script.example", x_requested_with="XMLHttpRequest").status_code == 401
    assert edge.get("script.example").status_code == 302


def test_backends_get_the_tokens_and_no_others(edge: Envoy, provider: IdentityProvider) -> None:
    told = Browser(edge, "told.example")
    location = told.get().headers["location"]
    query = parse_qs(urlsplit(location).query)
    assert (query["redirect_uri"], query["scope"]) == (["https://told.example/back"], ["openid mail"])
    assert query["resource"] == ["https://api.example"]
    headers = seen(told.log_in())
    assert provider.asked[-1]["redirect_uri"] == "https://told.example/back"
    again = seen(told.get(authorization="Bearer forged", x_id="forged"))
    for each in (headers, again):
        assert each["authorization"].startswith("Bearer ey")
        assert each["x-id"].startswith("ey")
        assert each["x-id"] not in each["authorization"]
    assert {"at", "it"} <= told.cookies.keys()
    assert all("SameSite=Strict" in line for line in set_lines(told))
    assert any("told.example" in line.lower().partition("domain=")[2] for line in told.written)


def test_leaving(edge: Envoy) -> None:
    web = Browser(edge, "web.example")
    web.log_in()
    assert web.get("/logout").status_code == 302
    assert web.get().headers["location"].partition("?")[0].endswith("/authorize")
    told = Browser(edge, "told.example")
    told.log_in()
    assert told.get("/bye").headers["location"].startswith("https://idp.example/end")
    assert told.get().status_code == 302


def test_tokens_may_be_fetched_at_a_backend(edge: Envoy) -> None:
    assert Browser(edge, "behind.example").log_in().status_code == 200


def test_a_session_that_is_over_is_renewed(edge: Envoy, provider: IdentityProvider) -> None:
    for name, status, asked in (("web.example", 200, ["refresh_token"]), ("short.example", 302, [])):
        web = Browser(edge, name)
        web.log_in()
        before = len(provider.asked)
        web.cookies = {key: text for key, text in web.cookies.items() if not key.startswith("OauthExpires")}
        assert web.get().status_code == status
        assert [one["grant_type"] for one in provider.asked[before:]] == asked


def test_programs_with_a_token_beside_people_with_a_session(edge: Envoy) -> None:
    assert edge.get("both.example").status_code == 302
    assert edge.get("both.example", Authorization="Bearer forged").status_code == 401
    assert edge.get("both.example", **bearer(lifetime=-600)).status_code == 401
    assert edge.get("both.example", **bearer()).status_code == 200
    assert Browser(edge, "both.example").log_in().status_code == 200


def test_envoy_shows_no_secret(edge: Envoy) -> None:
    shown = str(edge.admin("config_dump")) + edge.log()
    assert "oidc/shop/web/client-secret" in shown
    assert "xyzzy" not in shown
