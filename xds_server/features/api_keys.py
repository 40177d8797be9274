"""API keys: a text that a client sends, in a header, a query parameter or a cookie.

In: `apiKeyAuth` of a SecurityPolicy, and Secrets with a key for each client. Out: Envoy's api_key_auth filter. A request
without a known key is answered with 401. Of two clients with one key nobody could say who it is, so that is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2 import (
    ApiKeyAuth as EnvoyApiKeyAuth,
)
from xds_server.envoy_api.envoy.extensions.filters.http.api_key_auth.v3.api_key_auth_pb2 import ApiKeyAuthPerRoute
from xds_server.features.contract import Context, Feature, enable
from xds_server.features.parts.headers import check_forwarded
from xds_server.features.parts.secrets import SecretRefSpec, secret_text
from xds_server.spec import Bool, HeaderName, Spec, Text
from xds_server.types import Secret

ParameterName = Annotated[Text, Field(min_length=1, max_length=256)]


class KeySourceSpec(Spec):
    """Where a key may stand. `Bearer ` before a key in `Authorization` is no part of it."""

    headers: tuple[HeaderName, ...] = ()
    params: tuple[ParameterName, ...] = ()
    cookies: tuple[ParameterName, ...] = ()


class ApiKeyAuthSpec(Spec):
    """Secrets, each with clients' ids and their keys, and where to look. The first place with a key counts."""

    credential_refs: Annotated[tuple[SecretRefSpec, ...], Field(min_length=1)]
    extract_from: Annotated[tuple[KeySourceSpec, ...], Field(min_length=1)]
    forward_client_id_header: Annotated[HeaderName | None, Field(alias="forwardClientIDHeader")] = None
    sanitize: Bool = False


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Keys by client, and places as (field, name) pairs."""

    clients: tuple[tuple[str, Secret], ...]
    sources: tuple[tuple[str, str], ...]
    header: str
    sanitize: bool


class ApiKeysFeature(Feature[ApiKeyAuthSpec, ApiKeys]):
    """`apiKeyAuth` of a SecurityPolicy."""

    name = "api_keys"
    carriers = (("SecurityPolicy", "apiKeyAuth"),)
    filter_name = "envoy.filters.http.api_key_auth"
    guards = True

    def resolve(self, spec: ApiKeyAuthSpec, context: Context) -> ApiKeys | None:
        """The keys, or None if one of them cannot be used."""
        good = check_forwarded(context, spec.forward_client_id_header, "forwardClientIDHeader")
        sources: list[tuple[str, str]] = []
        for number, written in enumerate(spec.extract_from):
            found = _sources(written)
            sources += found
            if not found:
                context.problem("F103", "extractFrom", number, reason="name a header, a parameter or a cookie")
                good = False
        clients = _clients(spec, context)
        if not good or clients is None:
            return None
        header = (spec.forward_client_id_header or "").lower()
        return ApiKeys(tuple(sorted(clients.items())), tuple(dict.fromkeys(sources)), header, spec.sanitize)

    def http_filter(self, values: Sequence[ApiKeys]) -> EnvoyApiKeyAuth:
        """The filter itself knows nobody; routes bring their keys."""
        return EnvoyApiKeyAuth()

    def route(self, value: ApiKeys, route: Route) -> None:
        """The keys of this route."""
        config = ApiKeyAuthPerRoute()
        for client, key in value.clients:
            config.credentials.add(client=client, key=key.value.decode())
        for field, name in value.sources:
            config.key_sources.add(**{field: name})
        config.forwarding.header = value.header
        config.forwarding.hide_credentials = value.sanitize
        enable(route, self.filter_name, config)


def _sources(spec: KeySourceSpec) -> list[tuple[str, str]]:
    """Headers, then parameters, then cookies: the order in which Envoy looks into one source."""
    listed = (("header", spec.headers), ("query", spec.params), ("cookie", spec.cookies))
    return [(field, name) for field, names in listed for name in names]


def _clients(spec: ApiKeyAuthSpec, context: Context) -> dict[str, Secret] | None:
    """The key of every client; None if one was reported."""
    found: dict[str, Secret] = {}
    owners: dict[Secret, str] = {}
    good = True
    for number, ref in enumerate(spec.credential_refs):
        place = ("credentialRefs", number)
        data = context.secret(ref.name, ref.namespace, *place)
        good = good and data is not None
        for client, key in sorted((data or {}).items()):
            problem = ""
            if client in found:
                problem = f"there is another key of client '{client}'"
            elif key in owners:
                problem = f"the clients '{owners[key]}' and '{client}' have the same key"
            if problem:
                context.problem("F140", *place, reason=f"Secret {ref.name}: {problem}")
            elif secret_text(key, f"Secret {ref.name}: the key of '{client}'", context, *place) is not None:
                found[client], owners[key] = key, client
                continue
            good = False
        if data is not None and not data:
            context.problem("F140", *place, reason=f"Secret {ref.name} holds no key")
            good = False
    return found if good else None


API_KEYS = ApiKeysFeature()
