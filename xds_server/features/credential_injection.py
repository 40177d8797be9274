"""Credentials for backends: the gateway shows what the client must not know.

In: `credentialInjection` of an HTTPRouteFilter, and a Secret. Out: a filter of Envoy's credential injector, and a secret
that it asks for by name: a new value reaches Envoy without a new listener. Until Envoy has the secret, or the token that
it fetches with it, it answers 401, and no request goes on without it.

What is shown: the whole value of a header (`valueRef`), a user name with its password (`basicRef`), or a token that is
fetched with a client's secret (`clientCredentials`). The last two are Cellway's own fields.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from pydantic import Field, model_validator

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.envoy_api.envoy.extensions.filters.http.credential_injector.v3.credential_injector_pb2 import (
    CredentialInjector,
)
from xds_server.envoy_api.envoy.extensions.http.injected_credentials.generic.v3.generic_pb2 import Generic
from xds_server.envoy_api.envoy.extensions.http.injected_credentials.oauth2.v3.oauth2_pb2 import OAuth2
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from xds_server.features.contract import Context, Feature, enable, pack
from xds_server.features.parts.headers import check_forwarded
from xds_server.features.parts.secrets import SecretRefSpec, resolve_secret, secret_text
from xds_server.features.parts.servers import asking_problem, parse_server
from xds_server.features.parts.values import ads, duration
from xds_server.graph import Backend, SecretValue
from xds_server.spec import Bool, HeaderName, Spec, Text
from xds_server.types import Secret

_FILTER = "envoy.filters.http.credential_injector"
_KEY = "credential"
_AUTHORIZATION = "Authorization"
_TOKEN_TIMEOUT = 5.0


class ClientCredentialsSpec(Spec):
    """Where a token is fetched (RFC 6749, section 4.4). The Secret's key `client-secret` holds the client's secret."""

    token_endpoint: Annotated[Text, Field(min_length=1, max_length=2048)]
    client_id: Annotated[Text, Field(alias="clientID", min_length=1)]
    client_secret: SecretRefSpec
    scopes: tuple[Annotated[Text, Field(min_length=1)], ...] = ()


class CredentialSpec(Spec):
    """Where the value is."""

    value_ref: SecretRefSpec | None = None
    basic_ref: SecretRefSpec | None = None
    client_credentials: ClientCredentialsSpec | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> CredentialSpec:
        if sum(one is not None for one in (self.value_ref, self.basic_ref, self.client_credentials)) != 1:
            raise ValueError("give one of 'valueRef', 'basicRef' and 'clientCredentials'")
        return self


class CredentialInjectionSpec(Spec):
    """The header, and whether one that the client sent gives way."""

    header: HeaderName | None = None
    overwrite: Bool = False
    credential: CredentialSpec


@dataclass(frozen=True, slots=True)
class TokenClient:
    """Whom to ask for tokens, and as who."""

    uri: str
    client: str
    scopes: tuple[str, ...]
    backend: Backend = field(repr=False)


@dataclass(frozen=True, slots=True)
class CredentialInjection:
    """A header and its value, or the secret of the client that fetches it; `owner` is the filter that says so."""

    owner: str
    header: str
    overwrite: bool
    secret: Secret
    tokens: TokenClient | None = None


class CredentialInjectionFeature(Feature[CredentialInjectionSpec, CredentialInjection]):
    """`credentialInjection` of an HTTPRouteFilter."""

    name = "credential_injection"
    carriers = (("HTTPRouteFilter", "credentialInjection"),)
    chain_follows_routes = True

    def resolve(self, spec: CredentialInjectionSpec, context: Context) -> CredentialInjection | None:
        """The credential, or None if there is none that can be sent."""
        good = check_forwarded(context, spec.header, "header")
        tokens, told = spec.credential.client_credentials, None
        if tokens is not None:
            if spec.header is not None and spec.header.lower() != _AUTHORIZATION.lower():
                context.problem("F103", "header", reason=f"tokens are sent in {_AUTHORIZATION}: leave the header out")
                return None
            told, held = _tokens(tokens, context), _client_secret(tokens, context)
        elif spec.credential.basic_ref is not None:
            held = _basic(spec.credential.basic_ref, context)
        else:
            assert spec.credential.value_ref is not None
            held = _plain(spec.credential.value_ref, context)
        if held is None or not good or (tokens is not None and told is None):
            return None
        header = (spec.header or _AUTHORIZATION).lower()
        return CredentialInjection(context.owner, header, spec.overwrite, held, told)

    def http_filters(self, values: Sequence[CredentialInjection]) -> Sequence[tuple[str, Message]]:
        """A filter for each credential."""
        found: dict[str, Message] = {_filter_name(value): _filter(value) for value in values}
        return tuple(found.items())

    def route(self, value: CredentialInjection, route: Route) -> None:
        """Switches the filter of this credential on."""
        enable(route, _filter_name(value), FilterConfig(config=AnyMessage()))

    def backends(self, value: CredentialInjection) -> Sequence[Backend]:
        """Where tokens come from."""
        return (value.tokens.backend,) if value.tokens else ()

    def secrets(self, value: CredentialInjection) -> Sequence[SecretValue]:
        """The value of the header, or the client's secret."""
        return (SecretValue(_secret_name(value), value.secret),)


def _plain(spec: SecretRefSpec, context: Context) -> Secret | None:
    place = ("credential", "valueRef")
    held = resolve_secret(spec, _KEY, context, *place)
    return held if held and secret_text(held, "the credential", context, *place) else None


def _basic(spec: SecretRefSpec, context: Context) -> Secret | None:
    """User name and password as RFC 7617 joins them."""
    place = ("credential", "basicRef")
    user, password = (resolve_secret(spec, key, context, *place) for key in ("username", "password"))
    if user is None or password is None:
        return None
    texts = [
        secret_text(user, "the user name", context, *place),
        secret_text(password, "the password", context, *place),
    ]
    if texts[0] is None or texts[1] is None:
        return None
    if ":" in texts[0]:
        context.problem("F140", *place, reason="the user name holds a ':', which ends it")
        return None
    return Secret(b"Basic " + base64.b64encode(f"{texts[0]}:{texts[1]}".encode()))


def _client_secret(spec: ClientCredentialsSpec, context: Context) -> Secret | None:
    place = ("credential", "clientCredentials", "clientSecret")
    held = resolve_secret(spec.client_secret, "client-secret", context, *place)
    return held if held and secret_text(held, "the client's secret", context, *place) else None


def _tokens(spec: ClientCredentialsSpec, context: Context) -> TokenClient | None:
    place = ("credential", "clientCredentials", "tokenEndpoint")
    server = parse_server(spec.token_endpoint, "tokens")
    problem = server if isinstance(server, str) else asking_problem(server, context)
    if problem or isinstance(server, str):
        context.problem("F141", *place, reason=problem)
        return None
    if not server.tls:
        context.problem("F142", *place)
    return TokenClient(spec.token_endpoint, spec.client_id, spec.scopes, server.backend)


def _filter_name(value: CredentialInjection) -> str:
    kind = f"/{value.header}" if value.tokens is None else "/token"
    return f"{_FILTER}/{value.owner}{kind}{'/overwrite' if value.overwrite else ''}"


def _secret_name(value: CredentialInjection) -> str:
    return f"{value.owner}/credential-injection"


def _filter(value: CredentialInjection) -> CredentialInjector:
    held = SdsSecretConfig(name=_secret_name(value), sds_config=ads())
    if value.tokens is None:
        name, config = "generic", pack(Generic(credential=held, header=value.header))
    else:
        fetched = OAuth2(scopes=value.tokens.scopes)
        fetched.token_endpoint.uri, fetched.token_endpoint.cluster = value.tokens.uri, value.tokens.backend.name
        fetched.token_endpoint.timeout.CopyFrom(duration(_TOKEN_TIMEOUT))
        fetched.client_credentials.client_id = value.tokens.client
        fetched.client_credentials.client_secret.CopyFrom(held)
        name, config = "oauth2", pack(fetched)
    credential = TypedExtensionConfig(name=f"envoy.http.injected_credentials.{name}", typed_config=config)
    return CredentialInjector(overwrite=value.overwrite, credential=credential)


CREDENTIAL_INJECTION = CredentialInjectionFeature()
