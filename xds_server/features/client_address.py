"""Whose address is the client's when proxies stand before the gateway.

In: `clientIPDetection` of a ClientTrafficPolicy. Out: how the connection manager finds the address that policies see
and that backends are told. Without a policy it is that of the connection, whatever the client says in
`x-forwarded-for`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
)
from xds_server.envoy_api.envoy.extensions.http.original_ip_detection.custom_header.v3.custom_header_pb2 import (
    CustomHeaderConfig,
)
from xds_server.envoy_api.envoy.extensions.http.original_ip_detection.xff.v3.xff_pb2 import XffConfig
from xds_server.envoy_api.envoy.type.v3.http_status_pb2 import StatusCode
from xds_server.features.contract import Context, Feature, pack
from xds_server.features.parts.values import uint32
from xds_server.spec import Bool, HeaderName, Spec, Text
from xds_server.types import read_network

_EARLY = "envoy.http.early_header_mutation.header_mutation"


class ForwardedForSpec(Spec):
    """Trust `x-forwarded-for`: so many proxies from the right, or all proxies of these ranges."""

    num_trusted_hops: Annotated[int | None, Field(strict=True, ge=1, le=2**32 - 1)] = None
    trusted_cidrs: Annotated[tuple[Text, ...] | None, Field(alias="trustedCIDRs", min_length=1)] = None
    disable_x_forwarded_for_append: Bool = False


class CustomHeaderSpec(Spec):
    """Trust a header that the proxy in front sets."""

    name: HeaderName
    fail_closed: Bool = False


class DirectSourceSpec(Spec):
    """Its presence is all that it says: `directSourceIP: {}`."""


class ClientAddressSpec(Spec):
    """One of three ways."""

    x_forwarded_for: ForwardedForSpec | None = None
    custom_header: CustomHeaderSpec | None = None
    direct_source_ip: Annotated[DirectSourceSpec | None, Field(alias="directSourceIP")] = None


@dataclass(frozen=True, slots=True)
class ClientAddress:
    """How to find the address: by `hops`, by `networks` of proxies, or by `header`. None of them: the connection's."""

    hops: int = 0
    networks: tuple[tuple[str, int], ...] = ()
    header: str = ""
    fail_closed: bool = False
    append: bool = True


class ClientAddresses(Feature[ClientAddressSpec, ClientAddress]):
    """`clientIPDetection` of a ClientTrafficPolicy."""

    name = "client_address"
    carriers = (("ClientTrafficPolicy", "clientIPDetection"),)
    finds_clients = True

    def resolve(self, spec: ClientAddressSpec, context: Context) -> ClientAddress | None:
        """The one way that is written, or None for several and for ranges that are none."""
        ways = [one for one in (spec.x_forwarded_for, spec.custom_header, spec.direct_source_ip) if one is not None]
        if len(ways) != 1:
            reason = "clientIPDetection needs one of xForwardedFor, customHeader and directSourceIP"
            context.problem("F103", reason=reason)
            return None
        if spec.custom_header is not None:
            return ClientAddress(header=spec.custom_header.name, fail_closed=spec.custom_header.fail_closed)
        if spec.x_forwarded_for is not None:
            return _forwarded(spec.x_forwarded_for, context)
        return ClientAddress()

    def believes_only(self, value: ClientAddress) -> tuple[tuple[str, int], ...]:
        """With ranges, what is said of the client counts from there only; and what Envoy makes of it, as the scheme."""
        return value.networks

    def chain(self, value: ClientAddress, manager: HttpConnectionManager) -> None:
        """Envoy's own way for hops; an extension for the other two, with which it does not look at the connection.

        It then keeps what else proxies say. A header of one's own says nothing of whoever sends the others.
        """
        manager.skip_xff_append = not value.append
        manager.xff_num_trusted_hops = value.hops
        if value.networks:
            forwarded = XffConfig()
            forwarded.skip_xff_append.value = not value.append
            for first, length in value.networks:
                forwarded.xff_trusted_cidrs.cidrs.add(address_prefix=first, prefix_len=uint32(length))
            _detect(
                manager, TypedExtensionConfig(name="envoy.http.original_ip_detection.xff", typed_config=pack(forwarded))
            )
        if value.header:
            custom = CustomHeaderConfig(header_name=value.header)
            if value.fail_closed:
                custom.reject_with_status.code = StatusCode.Forbidden
            name = "envoy.http.original_ip_detection.custom_header"
            _detect(manager, TypedExtensionConfig(name=name, typed_config=pack(custom)))
            removed = ["x-forwarded-proto"]
            removed += [] if manager.preserve_external_request_id else ["x-request-id"]
            mutations = [mutation_rules_pb2.HeaderMutation(remove=name) for name in removed]
            config = pack(HeaderMutation(mutations=mutations))
            manager.early_header_mutation_extensions.append(TypedExtensionConfig(name=_EARLY, typed_config=config))


def _detect(manager: HttpConnectionManager, extension: TypedExtensionConfig) -> None:
    manager.use_remote_address.value = False
    manager.original_ip_detection_extensions.append(extension)


def _forwarded(spec: ForwardedForSpec, context: Context) -> ClientAddress | None:
    place = "xForwardedFor"
    if (spec.num_trusted_hops is None) == (spec.trusted_cidrs is None):
        context.problem("F103", place, reason="xForwardedFor needs one of numTrustedHops and trustedCIDRs")
        return None
    append = not spec.disable_x_forwarded_for_append
    if spec.num_trusted_hops is not None:
        return ClientAddress(hops=spec.num_trusted_hops, append=append)
    networks = []
    for number, text in enumerate(spec.trusted_cidrs or ()):
        try:
            network = read_network(text)
        except ValueError as error:
            context.problem("F103", place, "trustedCIDRs", number, reason=f"this is no address range: {error}")
            return None
        networks.append((str(network.network_address), network.prefixlen))
    return ClientAddress(networks=tuple(networks), append=append)


CLIENT_ADDRESS = ClientAddresses()
