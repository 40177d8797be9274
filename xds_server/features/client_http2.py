"""HTTP/2 of clients.

In: `http2` of a ClientTrafficPolicy. Out: options of the connection manager. Without a policy a connection has at most
100 requests at a time, and windows of 64 KiB for each and 1 MiB for all.
"""

from __future__ import annotations

from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import Context, Feature
from xds_server.features.parts.http2_settings import Http2Settings, Http2SettingsSpec, fill_http2, resolve_http2


class ClientHttp2s(Feature[Http2SettingsSpec, Http2Settings]):
    """`http2` of a ClientTrafficPolicy."""

    name = "client_http2"
    carriers = (("ClientTrafficPolicy", "http2"),)

    def resolve(self, spec: Http2SettingsSpec, context: Context) -> Http2Settings | None:
        """The settings, or None if a part of them cannot be."""
        return resolve_http2(spec, context)

    def chain(self, value: Http2Settings, manager: HttpConnectionManager) -> None:
        """What is set."""
        fill_http2(manager.http2_protocol_options, value)


CLIENT_HTTP2 = ClientHttp2s()
