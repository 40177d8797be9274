"""A fixed answer of the gateway: status, body and headers.

In: `directResponse` of an HTTPRouteFilter. Out: the action (`graph.Respond`) and the headers of the answer. The
body is literal: Envoy's command operators have no effect in it, and no header value reads Envoy's environment. A
body of more than 4,096 bytes is refused, as Envoy would refuse it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from xds_server.envoy_api.envoy.config.route.v3.route_components_pb2 import Route
from xds_server.features.contract import Context, Feature
from xds_server.features.parts.headers import APPEND, OVERWRITE, Headers, Pairs, check_names, option, pairs
from xds_server.features.parts.texts import TextSpec, resolve_text
from xds_server.graph import Respond
from xds_server.spec import HeaderValue, Spec

BODY_LIMIT = 4096
_BODY_KEY = "response.body"


class ResponseHeadersSpec(Spec):
    """Headers of the answer."""

    set: Headers = ()
    add: Headers = ()


class DirectResponseSpec(Spec):
    """The answer. Without a status it is 200. In a ConfigMap the body has the key `response.body`."""

    status_code: Annotated[int, Field(strict=True, ge=200, le=599)] = 200
    content_type: HeaderValue | None = None
    body: TextSpec | None = None
    header: ResponseHeadersSpec = ResponseHeadersSpec()


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """The answer, with (name, value) pairs of headers."""

    status: int
    body: str
    content_type: str
    set: Pairs
    add: Pairs


class DirectResponses(Feature[DirectResponseSpec, DirectResponse]):
    """`directResponse` of an HTTPRouteFilter."""

    name = "direct_response"
    carriers = (("HTTPRouteFilter", "directResponse"),)

    def resolve(self, spec: DirectResponseSpec, context: Context) -> DirectResponse | None:
        """The answer, or None when its body or a header cannot be used."""
        body = _body(spec.body, context) if spec.body else ""
        good = check_names(context, "set", tuple(one.name for one in spec.header.set), "header")
        good = check_names(context, "add", tuple(one.name for one in spec.header.add), "header") and good
        if body is None or not good:
            return None
        return DirectResponse(
            spec.status_code, body, spec.content_type or "", pairs(spec.header.set), pairs(spec.header.add)
        )

    def action(self, value: DirectResponse) -> Respond:
        """The gateway answers by itself."""
        return Respond(value.status, value.body, value.content_type)

    def route(self, value: DirectResponse, route: Route) -> None:
        """The headers of the answer."""
        route.response_headers_to_add.extend(option(name, text, OVERWRITE) for name, text in value.set)
        route.response_headers_to_add.extend(option(name, text, APPEND) for name, text in value.add)


def _body(spec: TextSpec, context: Context) -> str | None:
    body = resolve_text(spec, _BODY_KEY, context, "body")
    length = len((body or "").encode())
    if length > BODY_LIMIT:
        context.problem("F103", "body", reason=f"the body has {length} bytes, Envoy takes at most {BODY_LIMIT}")
        return None
    return body


DIRECT_RESPONSE = DirectResponses()
