"""OpenID Connect: people log in at a provider, and the gateway keeps their session.

In: `oidc` of a SecurityPolicy, and Secrets with the client's secret. Out: a filter of Envoy's oauth2 for each policy, the
provider's token endpoint as a further backend, and two secrets that Envoy asks for by name. A request without a session
is redirected to the provider. The session lives in cookies of the client, encrypted and signed with a key that follows
from the client's secret: every Envoy of a gateway knows it, and a new client secret ends all sessions.

Endpoints that are not written are those that the issuer names in its own description, which a server fetches. Until it
is known nothing is let through.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.envoy_api.envoy.extensions.filters.http.oauth2.v3.oauth_pb2 import OAuth2
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.headers import check_forwarded
from xds_server.features.parts.issuers import OidcProviderSpec, Url, described
from xds_server.features.parts.patterns import StringMatchSpec, check_regex
from xds_server.features.parts.secrets import SecretRefSpec, resolve_secret, secret_text
from xds_server.features.parts.servers import asking_problem, parse_server
from xds_server.features.parts.services import resolve_service, with_settings
from xds_server.features.parts.sessions import Session, filter_name, oauth_filter
from xds_server.features.parts.urls import redirect_path, redirect_problem
from xds_server.features.parts.values import seconds
from xds_server.graph import Backend, SecretValue
from xds_server.spec import Bool, Duration, HeaderName, PreciseHostname, Spec, Text
from xds_server.types import Secret

_REDIRECT = "%REQ(x-forwarded-proto)%://%REQ(:authority)%/oauth2/callback"
_LOGOUT = "/logout"


class CookieNamesSpec(Spec):
    """Names of cookies. Their values are encrypted unless `disableTokenEncryption` says otherwise."""

    access_token: HeaderName | None = None
    id_token: HeaderName | None = None


class CookieConfigSpec(Spec):
    """What all cookies of the session carry."""

    same_site: Literal["Lax", "Strict", "None"] | None = None


class DenyHeaderSpec(StringMatchSpec):
    """A header, and how it is compared."""

    name: HeaderName


class DenyRedirectSpec(Spec):
    """Requests that get 401 in place of a redirect: any of these headers fits."""

    headers: Annotated[tuple[DenyHeaderSpec, ...], Field(min_length=1, max_length=16)]


class ForwardIdTokenSpec(Spec):
    """The header in which the backend gets the ID token."""

    header: HeaderName


class OidcSpec(Spec):
    """A client of a provider, and what becomes of its tokens."""

    provider: OidcProviderSpec
    client_id: Annotated[Text | None, Field(alias="clientID", min_length=1)] = None
    client_id_ref: Annotated[SecretRefSpec | None, Field(alias="clientIDRef")] = None
    client_secret: SecretRefSpec
    cookie_names: CookieNamesSpec = CookieNamesSpec()
    cookie_config: CookieConfigSpec = CookieConfigSpec()
    cookie_domain: PreciseHostname | None = None
    scopes: tuple[Annotated[Text, Field(min_length=1)], ...] = ()
    resources: tuple[Url, ...] = ()
    redirect_url: Annotated[Url, Field(alias="redirectURL")] = _REDIRECT
    deny_redirect: DenyRedirectSpec | None = None
    logout_path: Annotated[Text, Field(min_length=1, max_length=1024)] = _LOGOUT
    forward_access_token: Bool = False
    forward_id_token: Annotated[ForwardIdTokenSpec | None, Field(alias="forwardIDToken")] = None
    default_token_ttl: Annotated[Duration | None, Field(alias="defaultTokenTTL")] = None
    refresh_token: Bool = True
    default_refresh_token_ttl: Annotated[Duration | None, Field(alias="defaultRefreshTokenTTL")] = None
    csrf_token_ttl: Annotated[Duration | None, Field(alias="csrfTokenTTL")] = None
    disable_token_encryption: Bool = False
    pass_through_auth_header: Bool = False


@dataclass(frozen=True, slots=True)
class Oidc:
    """A session at a provider, whom to ask for tokens, and the two secrets that make it."""

    session: Session
    secret: Secret
    key: Secret
    backend: Backend = field(repr=False)


class OidcFeature(Feature[OidcSpec, Oidc]):
    """`oidc` of a SecurityPolicy."""

    name = "oidc"
    carriers = (("SecurityPolicy", "oidc"),)
    chain_follows_routes = True
    guards = True

    def resolve(self, spec: OidcSpec, context: Context) -> Oidc | None:
        """The session, or None if the provider or its client cannot be used."""
        provider = described(spec.provider, context)
        if provider is None:
            return None
        spec = spec.model_copy(update={"provider": provider})
        good = _check_urls(spec, context) and _check_forwarding(spec, context) and _check_lengths(spec, context)
        client = _client(spec, context)
        held = resolve_secret(spec.client_secret, "client-secret", context, "clientSecret")
        secret = secret_text(held, "the client's secret", context, "clientSecret") if held else None
        backend = _backend(spec.provider, context)
        if not good or client is None or held is None or secret is None or backend is None:
            return None
        key = hmac.digest(held.value, f"cellway session {context.owner}".encode(), hashlib.sha256)
        return Oidc(_session(spec, client, backend, context.owner), held, Secret(key), backend)

    def http_filters(self, values: Sequence[Oidc]) -> Sequence[tuple[str, Message]]:
        """A filter for each session."""
        found: dict[str, OAuth2] = {filter_name(value.session): oauth_filter(value.session) for value in values}
        return tuple(found.items())

    def route(self, value: Oidc, route: Route) -> None:
        """Switches the filter of this session on, as it is."""
        enable(route, filter_name(value.session), FilterConfig(config=AnyMessage()))

    def backends(self, value: Oidc) -> Sequence[Backend]:
        """Where tokens come from."""
        return (value.backend,)

    def secrets(self, value: Oidc) -> Sequence[SecretValue]:
        """The client's secret, and the key that signs cookies."""
        return (
            SecretValue(value.session.secret_name, value.secret),
            SecretValue(value.session.key_name, value.key),
        )


def _session(spec: OidcSpec, client: str, backend: Backend, owner: str) -> Session:
    provider, deny = spec.provider, spec.deny_redirect
    return Session(
        owner=owner,
        client=client,
        cluster=backend.name,
        authorize=provider.authorization_endpoint or "",
        token=provider.token_endpoint or "",
        end_session=provider.end_session_endpoint or "",
        redirect=spec.redirect_url,
        callback=redirect_path(spec.redirect_url),
        logout=spec.logout_path,
        scopes=tuple(dict.fromkeys(("openid", *spec.scopes))),
        resources=spec.resources,
        access_cookie=spec.cookie_names.access_token or "",
        id_cookie=spec.cookie_names.id_token or "",
        same_site=spec.cookie_config.same_site or "",
        domain=spec.cookie_domain or "",
        deny=tuple((one.name.lower(), one.type, one.value) for one in (deny.headers if deny else ())),
        forward_access=spec.forward_access_token,
        forward_id=(spec.forward_id_token.header if spec.forward_id_token else "").lower(),
        token_ttl=seconds(spec.default_token_ttl) or 0.0,
        refresh=spec.refresh_token,
        refresh_ttl=seconds(spec.default_refresh_token_ttl) or 0.0,
        state_ttl=seconds(spec.csrf_token_ttl) or 0.0,
        plain_tokens=spec.disable_token_encryption,
        pass_through=spec.pass_through_auth_header,
    )


def _client(spec: OidcSpec, context: Context) -> str | None:
    """The client's id; None if that was reported."""
    if (spec.client_id is None) == (spec.client_id_ref is None):
        context.problem("F103", "clientID", reason="give either clientID or clientIDRef")
        return None
    if spec.client_id_ref is None:
        return spec.client_id
    held = resolve_secret(spec.client_id_ref, "client-id", context, "clientIDRef")
    return secret_text(held, "the client's id", context, "clientIDRef") if held else None


def _backend(spec: OidcProviderSpec, context: Context) -> Backend | None:
    """Whom to ask for tokens; None if that was reported."""
    assert spec.token_endpoint is not None
    server = parse_server(spec.token_endpoint, "oidc")
    if isinstance(server, str):  # said by _check_urls
        return None
    problem = "" if spec.elsewhere else asking_problem(server, context)
    if problem:
        context.problem("F141", "provider", "tokenEndpoint", reason=problem)
        return None
    if spec.elsewhere:
        backend = resolve_service(spec, context, "provider")
    else:
        backend = with_settings(server.backend, spec, context, "provider")
    if backend is not None and (backend.tls is None or not backend.tls.verified):
        context.problem("F142", "provider", "tokenEndpoint")
    return backend


def _check_urls(spec: OidcSpec, context: Context) -> bool:
    """True if all URLs and paths can be used; else the first that cannot was reported."""
    provider = spec.provider
    for name, url in (
        ("issuer", provider.issuer),
        ("authorizationEndpoint", provider.authorization_endpoint),
        ("tokenEndpoint", provider.token_endpoint),
        ("endSessionEndpoint", provider.end_session_endpoint),
    ):
        server = parse_server(url, "oidc") if url is not None else None
        if isinstance(server, str):
            context.problem("F141", "provider", name, reason=server)
            return False
    if problem := redirect_problem(spec.redirect_url):
        context.problem("F141", "redirectURL", reason=problem)
        return False
    if not spec.logout_path.startswith("/") or set(spec.logout_path) & set("?# "):
        context.problem("F103", "logoutPath", reason="a path starts with '/' and holds no space, '?' or '#'")
        return False
    if spec.logout_path == redirect_path(spec.redirect_url):
        context.problem("F103", "logoutPath", reason="this is the path of redirectURL")
        return False
    return True


def _check_forwarding(spec: OidcSpec, context: Context) -> bool:
    """True if the headers can be set and compared as written; else one that cannot was reported."""
    forward = spec.forward_id_token
    if forward is not None:
        if not check_forwarded(context, forward.header, "forwardIDToken", "header"):
            return False
        if forward.header.lower() == "authorization" and spec.forward_access_token:
            reason = "forwardAccessToken takes the header Authorization already"
            context.problem("F101", "forwardIDToken", "header", name=forward.header, reason=reason)
            return False
    for number, header in enumerate(spec.deny_redirect.headers if spec.deny_redirect else ()):
        place = ("denyRedirect", "headers", number, "value")
        if header.type == "RegularExpression" and not check_regex(context, header.value, *place):
            return False
    return True


def _check_lengths(spec: OidcSpec, context: Context) -> bool:
    """True if every time is longer than nothing; else the first that is not was reported."""
    for name, text in (
        ("defaultTokenTTL", spec.default_token_ttl),
        ("defaultRefreshTokenTTL", spec.default_refresh_token_ttl),
        ("csrfTokenTTL", spec.csrf_token_ttl),
    ):
        if text is not None and (seconds(text) or 0) < 1:
            context.problem("F103", name, reason="it must be 1s or longer")
            return False
    return True


OIDC = OidcFeature()
