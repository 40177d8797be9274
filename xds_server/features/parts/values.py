"""Scalars on their way into Envoy: literal texts, durations, wrapped numbers, and where Envoy asks for more.

In: plain Python values. Out: what Envoy's fields take. Refuses nothing; specs have checked before.
"""

from __future__ import annotations

from hashlib import blake2b

from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from xds_server.envoy_api.envoy.config.core.v3.config_source_pb2 import ApiVersion, ConfigSource
from xds_server.types import parse_duration, parse_quantity


def literal(text: str) -> str:
    """The text for a field in which Envoy expands `%...%`: a user's `%` stays one, and reads no environment."""
    return text.replace("%", "%%")


def seconds(text: str | None) -> float | None:
    """The seconds of a duration as a spec holds it."""
    return None if text is None else parse_duration(text)


def size(text: str | None) -> int | None:
    """The bytes of a quantity as a spec holds it."""
    return None if text is None else parse_quantity(text)


def duration(length: float) -> Duration:
    """A duration in whole milliseconds."""
    whole, millis = divmod(round(length * 1000), 1000)
    return Duration(seconds=whole, nanos=millis * 1_000_000)


def uint32(number: int) -> UInt32Value:
    """A number that is there even when it is zero."""
    return UInt32Value(value=number)


def content_name(readable: str, value: object) -> str:
    """A name that changes exactly when the (frozen) value does: `READABLE@8 hex digits`."""
    return f"{readable}@{blake2b(repr(value).encode(), digest_size=4).hexdigest()}"


def ads() -> ConfigSource:
    """ "Ask the stream that brought this." Envoy waits up to 15 s for what it asks (its default)."""
    source = ConfigSource(resource_api_version=ApiVersion.V3)
    source.ads.SetInParent()
    return source
