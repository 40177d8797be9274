"""JSON Web Tokens: who may come in, and which claims travel on as headers.

In: `jwt` of a SecurityPolicy. Out: providers and requirements of Envoy's jwt_authn filter, the requirement of each
route, and the servers that keys are fetched from as further backends. Keys are checked when they are read: Envoy
would take a broken key set and then refuse every token. A header that carries a claim is removed from requests
first, wherever the filter runs. Names are hashes of content, so a changed provider never meets an old route.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from google.protobuf.empty_pb2 import Empty
from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtAuthentication,
    JwtProvider,
    JwtRequirement,
    PerRouteConfig,
)
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.headers import TABLE
from xds_server.features.parts.key_sets import key_set_problem
from xds_server.features.parts.servers import asking_problem, parse_server
from xds_server.features.parts.services import ServiceSpec, resolve_service, with_settings
from xds_server.features.parts.texts import TextSpec, resolve_text
from xds_server.features.parts.values import content_name, duration, seconds
from xds_server.graph import Backend
from xds_server.spec import Bool, Duration, HeaderName, ObjectName, Spec, Text

_FETCH_TIMEOUT = 10.0
_KEY_SET_KEY = "jwks"


class RemoteJwksSpec(ServiceSpec):
    """Keys from a URL. They are fetched beforehand and again whenever `cacheDuration` is over.

    With `backendRefs` the URL's host is only named in requests, and the backends are asked.
    """

    uri: Annotated[Text, Field(min_length=1, max_length=2048)]
    cache_duration: Duration = "300s"
    failed_refetch_duration: Duration = "1s"


class ClaimToHeaderSpec(Spec):
    """A claim (nested with dots) that the backend gets as a header."""

    claim: Annotated[Text, Field(min_length=1, max_length=253)]
    header: HeaderName


class TokenHeaderSpec(Spec):
    """A header that holds a token, after a prefix."""

    name: HeaderName
    value_prefix: Text = ""


class ExtractFromSpec(Spec):
    """Where the token is. Without it: `Authorization: Bearer`, or the query parameter `access_token`."""

    headers: tuple[TokenHeaderSpec, ...] = ()
    cookies: tuple[Annotated[Text, Field(min_length=1)], ...] = ()
    params: tuple[Annotated[Text, Field(min_length=1)], ...] = ()


class JwtProviderSpec(Spec):
    """Someone who issues tokens, and how to recognise theirs. In a ConfigMap the key set has the key `jwks`."""

    name: ObjectName
    issuer: Annotated[Text, Field(max_length=253)] = ""
    audiences: Annotated[tuple[Annotated[Text, Field(min_length=1)], ...], Field(max_length=8)] = ()
    remote_jwks: Annotated[RemoteJwksSpec | None, Field(alias="remoteJWKS")] = None
    local_jwks: Annotated[TextSpec | None, Field(alias="localJWKS")] = None
    claim_to_headers: Annotated[tuple[ClaimToHeaderSpec, ...], Field(max_length=32)] = ()
    recompute_route: Bool = False
    extract_from: ExtractFromSpec = ExtractFromSpec()


class JwtSpec(Spec):
    """A token of any of the providers is needed; `optional`: or none; `failOpen`: or a bad one."""

    optional: Bool = False
    fail_open: Bool = False
    providers: Annotated[tuple[JwtProviderSpec, ...], Field(min_length=1, max_length=16)]


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """Keys from a URL, for which the backend `cluster` is asked. Times in seconds."""

    uri: str
    cluster: str
    cache: float
    retry: float
    backend: Backend = field(repr=False)  # names follow what is printed, and must not follow endpoints


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider with its keys: a checked JSON text, or where to fetch them."""

    name: str
    issuer: str
    audiences: tuple[str, ...]
    keys: str | RemoteKeys
    claims: tuple[tuple[str, str], ...]
    recompute_route: bool
    headers: tuple[tuple[str, str], ...]
    cookies: tuple[str, ...]
    params: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its name in the filter."""
        return content_name(self.name, self)


@dataclass(frozen=True, slots=True)
class Jwt:
    """What a route requires."""

    providers: tuple[Provider, ...]
    optional: bool
    fail_open: bool

    @property
    def requirement(self) -> str:
        """The name of this requirement in the filter."""
        return content_name("+".join(provider.name for provider in self.providers)[:120], self)


class JwtFeature(Feature[JwtSpec, Jwt]):
    """`jwt` of a SecurityPolicy."""

    name = "jwt"
    carriers = (("SecurityPolicy", "jwt"),)
    filter_name = "envoy.filters.http.jwt_authn"
    chain_follows_routes = True
    guards = True

    def resolve(self, spec: JwtSpec, context: Context) -> Jwt | None:
        """The requirement, or None if a provider cannot be used."""
        names = [provider.name for provider in spec.providers]
        providers = []
        for number, written in enumerate(spec.providers):
            if written.name in names[:number]:
                context.problem("F113", "providers", number, "name", name=written.name)
            provider = _provider(written, context, "providers", number)
            if provider is not None:
                providers.append(provider)
        if len(providers) < len(names) or len(set(names)) < len(names):
            return None
        return Jwt(tuple(providers), spec.optional, spec.fail_open)

    def http_filter(self, values: Sequence[Jwt]) -> JwtAuthentication:
        """All providers and requirements of the chain's routes."""
        config = JwtAuthentication()
        for value in values:
            config.requirement_map[value.requirement].CopyFrom(_requirement(value))
            for provider in value.providers:
                config.providers[provider.key].CopyFrom(_envoy_provider(provider))
        return config

    def route(self, value: Jwt, route: Route) -> None:
        """Names the route's requirement."""
        enable(route, self.filter_name, PerRouteConfig(requirement_name=value.requirement))

    def chooses_again(self, value: Jwt) -> bool:
        """With `recomputeRoute`, by the headers that claims are written to."""
        return any(provider.recompute_route for provider in value.providers)

    def backends(self, value: Jwt) -> Sequence[Backend]:
        """The servers that keys come from."""
        remote = [provider.keys for provider in value.providers if isinstance(provider.keys, RemoteKeys)]
        return tuple(dict.fromkeys(keys.backend for keys in remote))


def _provider(spec: JwtProviderSpec, context: Context, *path: str | int) -> Provider | None:
    keys = _keys(spec, context, *path)
    for number, claim in enumerate(spec.claim_to_headers):
        if claim.header.lower() in ("host", TABLE):
            place = (*path, "claimToHeaders", number, "header")
            context.problem("F101", *place, name=claim.header, reason="a claim must not choose the host")
            return None
    if keys is None:
        return None
    return Provider(
        spec.name,
        spec.issuer,
        spec.audiences,
        keys,
        tuple((claim.claim, claim.header) for claim in spec.claim_to_headers),
        spec.recompute_route,
        tuple((header.name, header.value_prefix) for header in spec.extract_from.headers),
        spec.extract_from.cookies,
        spec.extract_from.params,
    )


def _keys(spec: JwtProviderSpec, context: Context, *path: str | int) -> str | RemoteKeys | None:
    remote, local = spec.remote_jwks, spec.local_jwks
    if (remote is None) == (local is None):
        context.problem("F110", *path, name=spec.name, hint="give either remoteJWKS or localJWKS")
        return None
    if local is not None:
        return _local_keys(spec.name, local, context, *path, "localJWKS")
    assert remote is not None
    server = parse_server(remote.uri, "jwks")
    if isinstance(server, str) or (problem := "" if remote.elsewhere else asking_problem(server, context)):
        reason = server if isinstance(server, str) else problem
        context.problem("F111", *path, "remoteJWKS", "uri", name=spec.name, reason=reason)
        return None
    place = (*path, "remoteJWKS")
    if remote.elsewhere:
        backend = resolve_service(remote, context, *place)
    else:
        backend = with_settings(server.backend, remote, context, *place)
    if backend is None:
        return None
    if backend.tls is None or not backend.tls.verified:
        context.problem("F112", *path, "remoteJWKS", "uri", name=spec.name)
    cache, retry = seconds(remote.cache_duration), seconds(remote.failed_refetch_duration)
    if not cache or not retry:
        reason = "cacheDuration and failedRefetchDuration must be longer than 0s"
        context.problem("F103", *path, "remoteJWKS", reason=reason)
        return None
    return RemoteKeys(server.uri, backend.name, cache, retry, backend)


def _local_keys(name: str, spec: TextSpec, context: Context, *path: str | int) -> str | None:
    text = resolve_text(spec, _KEY_SET_KEY, context, *path)
    problem = key_set_problem(text) if text is not None else ""
    if problem:
        context.problem("F111", *path, "inline" if spec.value_ref is None else "valueRef", name=name, reason=problem)
        return None
    return text


def _requirement(value: Jwt) -> JwtRequirement:
    choices = [JwtRequirement(provider_name=provider.key) for provider in value.providers]
    if value.fail_open:
        choices.append(JwtRequirement(allow_missing_or_failed=Empty()))
    elif value.optional:
        choices.append(JwtRequirement(allow_missing=Empty()))
    if len(choices) == 1:
        return choices[0]
    requirement = JwtRequirement()
    requirement.requires_any.requirements.extend(choices)
    return requirement


def _envoy_provider(provider: Provider) -> JwtProvider:
    config = JwtProvider(
        issuer=provider.issuer,
        audiences=provider.audiences,
        forward=True,  # the backend may want to see, and check, the token itself
        payload_in_metadata=provider.name,
        clear_route_cache=provider.recompute_route,
        from_cookies=provider.cookies,
        from_params=provider.params,
    )
    # Scopes are one text with spaces (RFC 8693) or a list; rules on scopes want a list.
    config.normalize_payload_in_metadata.space_delimited_claims.extend(["scope", "scp"])
    for claim, header in provider.claims:
        config.claim_to_headers.add(claim_name=claim, header_name=header)
    for name, prefix in provider.headers:
        config.from_headers.add(name=name, value_prefix=prefix)
    if isinstance(provider.keys, str):
        config.local_jwks.inline_string = provider.keys
        return config
    remote = config.remote_jwks
    remote.http_uri.uri = provider.keys.uri
    remote.http_uri.cluster = provider.keys.cluster
    remote.http_uri.timeout.CopyFrom(duration(_FETCH_TIMEOUT))
    remote.cache_duration.CopyFrom(duration(provider.keys.cache))
    # A key server that is down must not keep a listener from opening: its routes answer 401, others work.
    remote.async_fetch.fast_listener = True
    remote.async_fetch.failed_refetch_duration.CopyFrom(duration(provider.keys.retry))
    return config


JWT = JwtFeature()
