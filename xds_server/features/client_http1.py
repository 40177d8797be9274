"""HTTP/1 of clients.

In: `http1` of a ClientTrafficPolicy. Out: options of the connection manager. Without a policy trailers are dropped, HTTP/1.0 is
answered with 426 and names of headers are written in lower case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, JsonValue

from xds_server.envoy_api.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from xds_server.features.contract import Context, Feature
from xds_server.features.parts.patterns import StringMatchSpec, check_regex, string_matcher
from xds_server.spec import Bool, Spec


class Http10Spec(Spec):
    """An empty object serves HTTP/1.0. `useDefaultHost` is not supported yet."""

    use_default_host: JsonValue = None


class ClientHttp1Spec(Spec):
    """`preserveHeaderCase` is not supported yet."""

    enable_trailers: Bool = False
    preserve_header_case: JsonValue = None
    http10: Http10Spec | None = None
    disable_safe_max_connection_duration: Bool = False
    ignored_upgrade_types: Annotated[tuple[StringMatchSpec, ...], Field(max_length=64)] = ()


@dataclass(frozen=True, slots=True)
class ClientHttp1:
    """`ignored` are (type, value) pairs of matchers on the header Upgrade."""

    trailers: bool
    http10: bool
    hard_close: bool
    ignored: tuple[tuple[str, str], ...]


class ClientHttp1s(Feature[ClientHttp1Spec, ClientHttp1]):
    """`http1` of a ClientTrafficPolicy."""

    name = "client_http1"
    carriers = (("ClientTrafficPolicy", "http1"),)

    def resolve(self, spec: ClientHttp1Spec, context: Context) -> ClientHttp1 | None:
        """The options, or None for what cannot be done."""
        http10 = spec.http10 or Http10Spec()
        unknown = {
            ("preserveHeaderCase",): spec.preserve_header_case,
            ("http10", "useDefaultHost"): http10.use_default_host,
        }
        bad = [path for path, written in unknown.items() if written]
        for path in bad:
            context.problem("F102", *path, field=f"http1.{'.'.join(path)}")
        for number, match in enumerate(spec.ignored_upgrade_types):
            if match.type == "RegularExpression":
                good = check_regex(context, match.value, "ignoredUpgradeTypes", number, "value")
                bad += [] if good else [("ignoredUpgradeTypes",)]
        if bad:
            return None
        ignored = tuple((one.type, one.value) for one in spec.ignored_upgrade_types)
        return ClientHttp1(
            spec.enable_trailers, spec.http10 is not None, spec.disable_safe_max_connection_duration, ignored
        )

    def chain(self, value: ClientHttp1, manager: HttpConnectionManager) -> None:
        """What is set."""
        options = manager.http_protocol_options
        options.enable_trailers = value.trailers
        options.accept_http_10 = value.http10
        options.ignore_http_11_upgrade.extend(string_matcher(kind, text) for kind, text in value.ignored)
        if value.hard_close:
            manager.http1_safe_max_connection_duration = False


CLIENT_HTTP1 = ClientHttp1s()
