"""Where clients are: Envoy looks their addresses up for rules that ask.

In: `authorization` of a SecurityPolicy, of which only `clientIPGeoLocations` counts here, and the server's databases.
Out: Envoy's geoip filter with MaxMind's provider, before the rules. What it finds is said in headers, which nobody else
may write. Envoy refuses a listener if it cannot open one of the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.envoy_api.envoy.extensions.filters.http.geoip.v3.geoip_pb2 import Geoip
from xds_server.envoy_api.envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
    HeaderMutationPerRoute,
)
from xds_server.envoy_api.envoy.extensions.geoip_providers.maxmind.v3.maxmind_pb2 import MaxMindConfig
from xds_server.features.contract import Context, Feature, Transport, enable, pack
from xds_server.features.parts.authorization_specs import AuthorizationSpec
from xds_server.features.parts.locations import fields_told, header_of, used
from xds_server.types import Path

_FILTER = "envoy.filters.http.geoip"
_REMOVAL = "envoy.filters.http.header_mutation/geoip"
_PATHS = {
    "city": "city_db_path",
    "country": "country_db_path",
    "asn": "asn_db_path",
    "isp": "isp_db_path",
    "anonymous": "anon_db_path",
}


@dataclass(frozen=True, slots=True)
class Databases:
    """Files by what they tell, in order."""

    files: tuple[tuple[str, str], ...]


class Locations(Feature[AuthorizationSpec, Databases]):
    """`clientIPGeoLocations` in `authorization` of a SecurityPolicy."""

    name = "locations"
    carriers = (("SecurityPolicy", "authorization"),)
    chain_follows_routes = True
    transports = ("http", "tcp")

    def resolve(self, spec: AuthorizationSpec, context: Context) -> Databases | None:
        """The databases, or None if no rule asks."""
        asked = any(rule.principal and rule.principal.client_ip_geo_locations for rule in spec.rules)
        known = context.location_databases()
        return Databases(used(known)) if asked and known else None

    def http_filters(self, values: Sequence[Databases]) -> Sequence[tuple[str, Message]]:
        """A filter that takes headers out, and the one that looks up."""
        if not values:
            return ()
        config = MaxMindConfig()
        for what, path in values[0].files:
            setattr(config, _PATHS[what], path)
        for field in fields_told(values[0].files):
            setattr(config.common_provider_config.geo_field_keys, field, header_of(field))
        provider = TypedExtensionConfig(name="envoy.geoip_providers.maxmind", typed_config=pack(config))
        return ((_REMOVAL, HeaderMutation()), (_FILTER, Geoip(provider=provider)))

    def route(self, value: Databases, route: Route) -> None:
        """Switches both on, and keeps what they say inside."""
        removal = HeaderMutationPerRoute()
        for field in fields_told(value.files):
            removal.mutations.request_mutations.add(remove=header_of(field))
            route.request_headers_to_remove.append(header_of(field))
        enable(route, _REMOVAL, removal)
        enable(route, _FILTER, FilterConfig(config=AnyMessage()))

    def unfit(self, spec: AuthorizationSpec, transport: Transport) -> Sequence[Path]:
        """What is said of rules as a whole, authorization says."""
        return ()


LOCATIONS = Locations()
