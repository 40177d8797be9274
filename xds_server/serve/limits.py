"""How much one client, and all of them, may ask of the server.

In: `NAME=VALUE` as operators write it. Out: `Limits`. What goes beyond is refused with RESOURCE_EXHAUSTED and a sentence
that names the limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

_MOST_MEMORY = 2**50


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds.

    `memory`: when the server nearly has so much, new streams are refused; 0: what the system lets it have. A peer
    is a client certificate, or without one an IP address. `subscriptions` counts the names of one stream; `age`:
    after it (give or take a tenth) a connection is to be made anew, so that clients spread over servers. Streams of a
    connection that were cancelled and not yet looked at count, too: nobody has thousands of them wait here.
    """

    memory: int = 0
    message: int = 32 * 1024 * 1024
    streams: int = 20_000
    streams_per_peer: int = 5_000
    streams_per_connection: int = 100
    subscriptions: int = 100_000
    keepalive: int = 60
    keepalive_timeout: int = 20
    age: int = 3600
    age_grace: int = 30

    def options(self) -> tuple[tuple[str, int], ...]:
        """As options of a gRPC server."""
        return (
            ("grpc.max_receive_message_length", self.message),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", self.streams_per_connection),
            # Without these two some of a thousand streams that come at once are cancelled without a word.
            ("grpc.server.max_pending_requests", self.streams),
            ("grpc.server.max_pending_requests_hard_limit", self.streams),
            ("grpc.keepalive_time_ms", self.keepalive * 1000),
            ("grpc.keepalive_timeout_ms", self.keepalive_timeout * 1000),
            ("grpc.keepalive_permit_without_calls", 1),
            # Without these three a stream on which nothing happens is probed every five minutes only.
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_time_between_pings_ms", self.keepalive * 1000),
            ("grpc.http2.ping_timeout_ms", self.keepalive_timeout * 1000),
            ("grpc.max_connection_age_ms", self.age * 1000),
            ("grpc.max_connection_age_grace_ms", self.age_grace * 1000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
            ("grpc.http2.max_ping_strikes", 0),
        )


def parse_limits(texts: Iterable[str]) -> Limits:
    """The defaults with changes such as `streams=500`; ValueError with a sentence for anything else."""
    limits, names = Limits(), [one.name.replace("_", "-") for one in fields(Limits)]
    for text in texts:
        name, _, value = text.partition("=")
        if name not in names:
            raise ValueError(f"'{text}' is no limit of the xDS server; there are {', '.join(names)}")
        most = _MOST_MEMORY if name == "memory" else 2**31 - 1
        if not value.isascii() or not value.isdecimal() or not 0 < int(value) <= most:
            raise ValueError(f"'{text}': a limit is a whole number from 1 to {most}, such as {name}=500")
        limits = replace(limits, **{name.replace("-", "_"): int(value)})
    return limits
