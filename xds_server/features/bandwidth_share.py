"""A rate of bytes that clients share fairly, however many requests each of them has under way.

In: `bandwidthShare` of a BackendTrafficPolicy (Cellway's own). Out: Envoy's bandwidth share filter. While all together
want more than there is, every client gets the same, or its weight; what one does not need the others have. Nobody waits
in a queue: bodies pass slower. All routes of a policy share one rate, in each Envoy process. A client is an address, or
the value of a header; requests without that header are one client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from google.protobuf.message import Message
from pydantic import Field

from xds_server.envoy_api.envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.envoy_api.envoy.extensions.filters.http.bandwidth_share.v3.bandwidth_share_pb2 import (
    BandwidthShare as EnvoyBandwidthShare,
)
from xds_server.envoy_api.envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2 import Config
from xds_server.features.contract import Context, Feature, enable, pack
from xds_server.features.parts.rates import RateSpec, rate
from xds_server.features.parts.values import content_name
from xds_server.spec import HeaderName, Spec, Text

_FILTER = "envoy.filters.http.bandwidth_share"
_NOTE = "envoy.filters.http.header_to_metadata/bandwidth_share"
_NAMESPACE = "cellway.bandwidth_share"
_BY_ADDRESS = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
_BY_HEADER = f"%DYNAMIC_METADATA({_NAMESPACE}:client)%"
Weight = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class ShareRateSpec(Spec):
    """The rate of all together."""

    limit: RateSpec


class ClientSpec(Spec):
    """What a client is told apart by."""

    type: Literal["SourceIP", "Header"] = "SourceIP"
    header: HeaderName | None = None


class ShareWeightSpec(Spec):
    """A client that gets more than one share."""

    client: Annotated[Text, Field(min_length=1, max_length=256)]
    weight: Weight


class BandwidthShareSpec(Spec):
    """What is shared, among whom, and who gets more."""

    request: ShareRateSpec | None = None
    response: ShareRateSpec | None = None
    client: ClientSpec = ClientSpec()
    weights: Annotated[tuple[ShareWeightSpec, ...], Field(max_length=256)] = ()


@dataclass(frozen=True, slots=True)
class BandwidthShare:
    """KiB a second, 0 for no limit. `header` empty: a client is an address."""

    owner: str
    request: int
    response: int
    header: str
    weights: tuple[tuple[str, int], ...]


class BandwidthShareFeature(Feature[BandwidthShareSpec, BandwidthShare]):
    """`bandwidthShare` of a BackendTrafficPolicy."""

    name = "bandwidth_share"
    carriers = (("BackendTrafficPolicy", "bandwidthShare"),)

    def resolve(self, spec: BandwidthShareSpec, context: Context) -> BandwidthShare | None:
        """The rates, or None if Envoy cannot keep one of them."""
        if spec.request is None and spec.response is None:
            context.problem("F103", reason="bandwidthShare needs request or response")
            return None
        if (spec.client.type == "Header") != (spec.client.header is not None):
            context.problem("F103", "client", reason="type Header and the field header go together")
            return None
        weights = {one.client: one.weight for one in spec.weights}
        if len(weights) < len(spec.weights):
            context.problem("F103", "weights", reason="a client is there twice")
            return None
        request = rate(spec.request.limit, context, "request", "limit") if spec.request else 0
        response = rate(spec.response.limit, context, "response", "limit") if spec.response else 0
        if request is None or response is None:
            return None
        header = (spec.client.header or "").lower()
        return BandwidthShare(context.owner, request, response, header, tuple(sorted(weights.items())))

    def http_filters(self, values: Sequence[BandwidthShare]) -> Sequence[tuple[str, Message]]:
        """Filters that do nothing by themselves: one notes who a client is, one divides."""
        return ((_NOTE, Config()), (_FILTER, EnvoyBandwidthShare()))

    def route(self, value: BandwidthShare, route: Route) -> None:
        """What this route shares, and how."""
        if value.header:
            note = Config()
            rule = note.request_rules.add(header=value.header)
            rule.on_header_present.metadata_namespace = _NAMESPACE
            rule.on_header_present.key = "client"
            enable(route, _NOTE, note)
        enable(route, _FILTER, _filter(value))


def _filter(value: BandwidthShare) -> EnvoyBandwidthShare:
    config = EnvoyBandwidthShare()
    # Envoy refuses one name for two rates, also while an old listener still drains.
    bucket = content_name(value.owner, (value.request, value.response))
    for name, limit, speed in (
        ("request", config.request_limit, value.request),
        ("response", config.response_limit, value.response),
    ):
        if speed:
            limit.bucket_id = f"{bucket}/{name}"
            limit.kbps.default_value = speed
            limit.kbps.runtime_key = f"{_NAMESPACE}.{bucket}.{name}"
    who = SubstitutionFormatString(omit_empty_values=True)
    who.text_format_source.inline_string = _BY_HEADER if value.header else _BY_ADDRESS
    action = config.tenant_name_selector.on_no_match.action
    action.name = "client"
    action.typed_config.CopyFrom(pack(who))
    for client, weight in value.weights:
        config.tenant_configs[client].weight = weight
    return config


BANDWIDTH_SHARE = BandwidthShareFeature()
