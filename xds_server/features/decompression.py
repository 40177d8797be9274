"""Bodies that come compressed and go on plain.

In: `decompressor` of a BackendTrafficPolicy (Cellway's own). Out: Envoy's decompressor filter, one for each algorithm and
direction. Whoever gets the body sees neither `content-encoding` nor the old length. What is compressed in another way
passes as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.envoy_api.envoy.extensions.compression.brotli.decompressor.v3.brotli_pb2 import Brotli
from xds_server.envoy_api.envoy.extensions.compression.gzip.decompressor.v3.gzip_pb2 import Gzip
from xds_server.envoy_api.envoy.extensions.compression.zstd.decompressor.v3.zstd_pb2 import Zstd
from xds_server.envoy_api.envoy.extensions.filters.http.decompressor.v3.decompressor_pb2 import Decompressor
from xds_server.features.contract import Context, Feature, enable, pack
from xds_server.spec import Spec

_FILTER = "envoy.filters.http.decompressor"
_RUNTIME = "cellway.decompressor"
_LIBRARIES: dict[str, type[Message]] = {"Gzip": Gzip, "Brotli": Brotli, "Zstd": Zstd}
Direction = Literal["Request", "Response", "Both"]


class DecompressionSpec(Spec):
    """An algorithm, and whose bodies it is for."""

    type: Literal["Gzip", "Brotli", "Zstd"]
    direction: Direction = "Request"


@dataclass(frozen=True, slots=True)
class Decompression:
    """(algorithm, direction)."""

    algorithms: tuple[tuple[str, Direction], ...]


class DecompressionFeature(Feature[tuple[DecompressionSpec, ...], Decompression]):
    """`decompressor` of a BackendTrafficPolicy."""

    name = "decompression"
    carriers = (("BackendTrafficPolicy", "decompressor"),)
    chain_follows_routes = True

    def resolve(self, spec: tuple[DecompressionSpec, ...], context: Context) -> Decompression | None:
        """The algorithms, or None if one is there twice."""
        found: dict[str, Direction] = {}
        for number, written in enumerate(spec):
            if written.type in found:
                reason = f"{written.type} is there twice; for both directions write direction: Both"
                context.problem("F103", number, "type", reason=reason)
                return None
            found[written.type] = written.direction
        return Decompression(tuple(found.items()))

    def http_filters(self, values: Sequence[Decompression]) -> Sequence[tuple[str, Message]]:
        """A filter for each algorithm and direction."""
        known = {one for value in values for one in value.algorithms}
        return [(_name(*one), _filter(*one)) for one in sorted(known)]

    def route(self, value: Decompression, route: Route) -> None:
        """Switches the filters of these algorithms on."""
        for algorithm, direction in value.algorithms:
            enable(route, _name(algorithm, direction), FilterConfig(config=AnyMessage()))


def _name(algorithm: str, direction: Direction) -> str:
    return f"{_FILTER}/{algorithm.lower()}/{direction.lower()}"


def _filter(algorithm: str, direction: Direction) -> Decompressor:
    library = TypedExtensionConfig(name=algorithm.lower(), typed_config=pack(_LIBRARIES[algorithm]()))
    config = Decompressor(decompressor_library=library)
    request, response = config.request_direction_config, config.response_direction_config
    for common, other in ((request.common_config, "Response"), (response.common_config, "Request")):
        common.enabled.default_value.value = direction != other
        common.enabled.runtime_key = f"{_RUNTIME}.{'response' if other == 'Request' else 'request'}"
    # Backends are told that they may compress only where their answers are read.
    request.advertise_accept_encoding.value = direction != "Request"
    return config


DECOMPRESSION = DecompressionFeature()
