"""HTTP/2 connections to backends.

In: `http2` of a BackendTrafficPolicy. Out: the protocol options of those of the route's clusters that speak HTTP/2;
which ones do is said by their `appProtocol`, and the others are left as they are.
"""

from __future__ import annotations

from xds_server.features.contract import ClusterParts, Context, Feature
from xds_server.features.parts.http2_settings import Http2Settings, Http2SettingsSpec, fill_http2, resolve_http2


class BackendHttp2(Feature[Http2SettingsSpec, Http2Settings]):
    """`http2` of a BackendTrafficPolicy."""

    name = "backend_http2"
    carriers = (("BackendTrafficPolicy", "http2"),)

    def resolve(self, spec: Http2SettingsSpec, context: Context) -> Http2Settings | None:
        """The settings, or None if a part of them cannot be."""
        return resolve_http2(spec, context)

    def touches_cluster(self, value: Http2Settings) -> bool:
        """Connections belong to clusters."""
        return True

    def cluster(self, value: Http2Settings, parts: ClusterParts) -> None:
        """Changes a cluster that speaks HTTP/2."""
        explicit, downstream = parts.http.explicit_http_config, parts.http.use_downstream_protocol_config
        if explicit.HasField("http2_protocol_options"):
            fill_http2(explicit.http2_protocol_options, value)
        elif downstream.HasField("http2_protocol_options"):
            fill_http2(downstream.http2_protocol_options, value)


BACKEND_HTTP2 = BackendHttp2()
