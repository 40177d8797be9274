"""Credentials for backends: the gateway shows what the client must not know.

In: `credentialInjection` of an HTTPRouteFilter, and a Secret whose key `credential` holds the whole value of the header. Out:
a filter of Envoy's credential injector, and a secret that it asks for by name: a new value reaches Envoy without a new
listener. Until Envoy has the secret it answers 401, and no request goes on without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.envoy_api.envoy.extensions.filters.http.credential_injector.v3.credential_injector_pb2 import (
    CredentialInjector,
)
from xds_server.envoy_api.envoy.extensions.http.injected_credentials.generic.v3.generic_pb2 import Generic
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from xds_server.features.contract import Context, Feature, enable, pack
from xds_server.features.parts.headers import check_forwarded
from xds_server.features.parts.secrets import SecretRefSpec, resolve_secret, secret_text
from xds_server.features.parts.values import ads
from xds_server.graph import SecretValue
from xds_server.spec import Bool, HeaderName, Spec
from xds_server.types import Secret

_FILTER = "envoy.filters.http.credential_injector"
_KEY = "credential"


class CredentialSpec(Spec):
    """Where the value is."""

    value_ref: SecretRefSpec


class CredentialInjectionSpec(Spec):
    """The header, and whether one that the client sent gives way."""

    header: HeaderName | None = None
    overwrite: Bool = False
    credential: CredentialSpec


@dataclass(frozen=True, slots=True)
class CredentialInjection:
    """A header and its value; `owner` is the filter that says so."""

    owner: str
    header: str
    overwrite: bool
    secret: Secret


class CredentialInjectionFeature(Feature[CredentialInjectionSpec, CredentialInjection]):
    """`credentialInjection` of an HTTPRouteFilter."""

    name = "credential_injection"
    carriers = (("HTTPRouteFilter", "credentialInjection"),)
    chain_follows_routes = True

    def resolve(self, spec: CredentialInjectionSpec, context: Context) -> CredentialInjection | None:
        """The credential, or None if there is none that can be sent."""
        place = ("credential", "valueRef")
        held = resolve_secret(spec.credential.value_ref, _KEY, context, *place)
        text = secret_text(held, "the credential", context, *place) if held else None
        good = check_forwarded(context, spec.header, "header")
        if held is None or text is None or not good:
            return None
        return CredentialInjection(context.owner, (spec.header or "Authorization").lower(), spec.overwrite, held)

    def http_filters(self, values: Sequence[CredentialInjection]) -> Sequence[tuple[str, Message]]:
        """A filter for each credential."""
        found: dict[str, Message] = {_filter_name(value): _filter(value) for value in values}
        return tuple(found.items())

    def route(self, value: CredentialInjection, route: Route) -> None:
        """Switches the filter of this credential on."""
        enable(route, _filter_name(value), FilterConfig(config=AnyMessage()))

    def secrets(self, value: CredentialInjection) -> Sequence[SecretValue]:
        """The value of the header."""
        return (SecretValue(_secret_name(value), value.secret),)


def _filter_name(value: CredentialInjection) -> str:
    return f"{_FILTER}/{value.owner}/{value.header}{'/overwrite' if value.overwrite else ''}"


def _secret_name(value: CredentialInjection) -> str:
    return f"{value.owner}/credential-injection"


def _filter(value: CredentialInjection) -> CredentialInjector:
    held = SdsSecretConfig(name=_secret_name(value), sds_config=ads())
    generic = Generic(credential=held, header=value.header)
    credential = TypedExtensionConfig(name="envoy.http.injected_credentials.generic", typed_config=pack(generic))
    return CredentialInjector(overwrite=value.overwrite, credential=credential)


CREDENTIAL_INJECTION = CredentialInjectionFeature()
