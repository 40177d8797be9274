"""HTTP/1 of clients.

In: `http1` of a ClientTrafficPolicy. Out: options of the connection manager and, so that names of headers keep their
case both ways, of the clusters behind it. Without a policy trailers are dropped, HTTP/1.0 is answered with 426 and
names of headers are written in lower case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, JsonValue

from xds_server.envoy_api.envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions
from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.envoy_api.envoy.extensions.http.header_formatters.preserve_case.v3.preserve_case_pb2 import (
    PreserveCaseFormatterConfig,
)
from xds_server.features.contract import ClusterParts, Context, Feature, pack
from xds_server.features.parts.patterns import StringMatchSpec, check_regex, string_matcher
from xds_server.spec import Bool, Spec


class Http10Spec(Spec):
    """An empty object serves HTTP/1.0. `useDefaultHost` is not supported yet."""

    use_default_host: JsonValue = None


class ClientHttp1Spec(Spec):
    """HTTP/1 between clients and the gateway."""

    enable_trailers: Bool = False
    preserve_header_case: Bool = False
    http10: Http10Spec | None = None
    disable_safe_max_connection_duration: Bool = False
    ignored_upgrade_types: Annotated[tuple[StringMatchSpec, ...], Field(max_length=64)] = ()


@dataclass(frozen=True, slots=True)
class ClientHttp1:
    """`ignored` are (type, value) pairs of matchers on the header Upgrade."""

    trailers: bool
    http10: bool
    hard_close: bool
    keeps_case: bool
    ignored: tuple[tuple[str, str], ...]


class ClientHttp1s(Feature[ClientHttp1Spec, ClientHttp1]):
    """`http1` of a ClientTrafficPolicy."""

    name = "client_http1"
    carriers = (("ClientTrafficPolicy", "http1"),)

    def resolve(self, spec: ClientHttp1Spec, context: Context) -> ClientHttp1 | None:
        """The options, or None for what cannot be done."""
        http10 = spec.http10 or Http10Spec()
        good = not http10.use_default_host
        if not good:
            context.problem("F102", "http10", "useDefaultHost", field="http1.http10.useDefaultHost")
        for number, match in enumerate(spec.ignored_upgrade_types):
            if match.type == "RegularExpression":
                good = check_regex(context, match.value, "ignoredUpgradeTypes", number, "value") and good
        if not good:
            return None
        ignored = tuple((one.type, one.value) for one in spec.ignored_upgrade_types)
        return ClientHttp1(
            trailers=spec.enable_trailers,
            http10=spec.http10 is not None,
            hard_close=spec.disable_safe_max_connection_duration,
            keeps_case=spec.preserve_header_case,
            ignored=ignored,
        )

    def chain(self, value: ClientHttp1, manager: HttpConnectionManager) -> None:
        """What is set."""
        options = manager.http_protocol_options
        options.enable_trailers = value.trailers
        options.accept_http_10 = value.http10
        options.ignore_http_11_upgrade.extend(string_matcher(kind, text) for kind, text in value.ignored)
        if value.hard_close:
            manager.http1_safe_max_connection_duration = False
        if value.keeps_case:
            _keep_case(options)

    def touches_cluster(self, value: ClientHttp1) -> bool:
        """Trailers and the case of names have to be kept by both sides."""
        return value.keeps_case or value.trailers

    def cluster(self, value: ClientHttp1, parts: ClusterParts) -> None:
        """Changes a cluster that speaks HTTP/1."""
        explicit, downstream = parts.http.explicit_http_config, parts.http.use_downstream_protocol_config
        for options in (explicit, downstream):
            if options.HasField("http_protocol_options"):
                options.http_protocol_options.enable_trailers = value.trailers
                if value.keeps_case:
                    _keep_case(options.http_protocol_options)


def _keep_case(options: Http1ProtocolOptions) -> None:
    formatter = options.header_key_format.stateful_formatter
    formatter.name = "envoy.http.stateful_header_formatters.preserve_case"
    formatter.typed_config.CopyFrom(pack(PreserveCaseFormatterConfig()))


CLIENT_HTTP1 = ClientHttp1s()
