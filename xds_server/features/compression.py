"""Compressed answers, for clients that accept them.

In: `compressor` of a BackendTrafficPolicy (or `compression`, its older name). Out: Envoy's compressor filter, one for
each algorithm and length, and for the first of the list apart. A client chooses by the weights of its
`accept-encoding`; of equal ones the first of the list is taken, and without it the one that the client names first.
What a backend has compressed itself, and what is no text (by its content type), is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import FilterConfig, Route
from xds_server.envoy_api.envoy.extensions.compression.brotli.compressor.v3.brotli_pb2 import Brotli
from xds_server.envoy_api.envoy.extensions.compression.gzip.compressor.v3.gzip_pb2 import Gzip
from xds_server.envoy_api.envoy.extensions.compression.zstd.compressor.v3.zstd_pb2 import Zstd
from xds_server.envoy_api.envoy.extensions.filters.http.compressor.v3.compressor_pb2 import Compressor
from xds_server.features.contract import Context, Feature, enable, pack
from xds_server.features.parts.values import size, uint32
from xds_server.spec import Quantity, Spec

_FILTER = "envoy.filters.http.compressor"
_SHORTEST = 30
_MOST = 2**32 - 1
_LIBRARIES: dict[str, type[Message]] = {"Gzip": Gzip, "Brotli": Brotli, "Zstd": Zstd}


class AlgorithmSpec(Spec):
    """Nothing can be set yet."""


class CompressionSpec(Spec):
    """An algorithm, and the shortest answer that is worth it."""

    type: Literal["Gzip", "Brotli", "Zstd"]
    gzip: AlgorithmSpec | None = None
    brotli: AlgorithmSpec | None = None
    zstd: AlgorithmSpec | None = None
    min_content_length: Quantity | None = None


@dataclass(frozen=True, slots=True)
class Compression:
    """(algorithm, shortest answer in bytes), the preferred one first."""

    algorithms: tuple[tuple[str, int], ...]


class CompressionFeature(Feature[tuple[CompressionSpec, ...], Compression]):
    """`compressor` and `compression` of a BackendTrafficPolicy."""

    name = "compression"
    carriers = (("BackendTrafficPolicy", "compressor"), ("BackendTrafficPolicy", "compression"))
    chain_follows_routes = True

    def resolve(self, spec: tuple[CompressionSpec, ...], context: Context) -> Compression | None:
        """The algorithms, or None if one is there twice or has a field of another."""
        found: dict[str, int] = {}
        for number, written in enumerate(spec):
            others = {"gzip", "brotli", "zstd"} - {written.type.lower()}
            wrong = sorted(name for name in others if getattr(written, name) is not None)
            if wrong:
                reason = f"type {written.type} does not go with the field {wrong[0]}"
                context.problem("F103", number, wrong[0], reason=reason)
                return None
            if written.type in found:
                context.problem("F103", number, "type", reason=f"{written.type} is there twice")
                return None
            length = size(written.min_content_length)
            length = _SHORTEST if length is None else length
            if length > _MOST:
                context.problem("F120", number, "minContentLength", reason=f"Envoy takes at most {_MOST} bytes")
                return None
            found[written.type] = length
        return Compression(tuple(found.items())) if found else None

    def http_filters(self, values: Sequence[Compression]) -> Sequence[tuple[str, Message]]:
        """A filter for each algorithm and length."""
        known = {(rank == 0, *one) for value in values for rank, one in enumerate(value.algorithms)}
        return [(_name(*one), _filter(*one)) for one in sorted(known)]

    def route(self, value: Compression, route: Route) -> None:
        """Switches the filters of these algorithms on."""
        for rank, (algorithm, length) in enumerate(value.algorithms):
            enable(route, _name(rank == 0, algorithm, length), FilterConfig(config=AnyMessage()))


def _name(first: bool, algorithm: str, length: int) -> str:
    return f"{_FILTER}/{algorithm.lower()}/{length}{'/first' if first else ''}"


def _filter(first: bool, algorithm: str, length: int) -> Compressor:
    library = TypedExtensionConfig(name=algorithm.lower(), typed_config=pack(_LIBRARIES[algorithm]()))
    config = Compressor(compressor_library=library, choose_first=first)
    config.response_direction_config.common_config.min_content_length.CopyFrom(uint32(length))
    return config


COMPRESSION = CompressionFeature()
