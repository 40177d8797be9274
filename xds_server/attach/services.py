"""Services and their EndpointSlices -> graph backends.

In: a Service, the port that is asked for, and the index. Out: a `graph.Backend`, or why there is none. A headless
Service is one like any other: what counts are its EndpointSlices, whoever wrote them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from xds_server.attach.backend_tls import backend_tls
from xds_server.attach.index import Index
from xds_server.attach.unresolved import Unresolved
from xds_server.graph import Backend, Endpoint
from xds_server.model.core import EndpointConditions, EndpointSliceBody, ServicePort, ServiceSpec, SliceEndpoint
from xds_server.model.object import Object

Protocol = Literal["http1", "h2c"]
Use = Literal["http", "tcp", "udp"]
APP_PROTOCOLS: Mapping[str, Protocol] = {
    "kubernetes.io/h2c": "h2c",
    "gateway.envoyproxy.io/h2c": "h2c",
    "http2": "h2c",
    "grpc": "h2c",
}
"""What an `appProtocol` means; everything else is HTTP/1.1, `kubernetes.io/ws` included."""
NEED_TLS = ("https", "kubernetes.io/wss")


def of_service(
    item: Object, spec: ServiceSpec, number: int | None, index: Index, use: Use = "http"
) -> Backend | Unresolved:
    """The backend of a Service's port. What is said of requests (`appProtocol`) does not matter to connections."""
    transport = "UDP" if use == "udp" else "TCP"
    if spec.type == "ExternalName":
        message = (
            f"{item.key} is an ExternalName Service: whoever may write one could send requests anywhere; "
            "name the host in a Backend of gateway.envoyproxy.io"
        )
        return Unresolved("UnsupportedValue", message, ("name",))
    if number is None:
        return Unresolved("PortNotSpecified", f"a reference to {item.key} needs a port")
    port = next((port for port in spec.ports if port.port == number and port.protocol == transport), None)
    if port is None:
        known = ", ".join(f"{port.port} ({port.protocol})" for port in spec.ports) or "none"
        return Unresolved("PortNotFound", f"{item.key} has no {transport} port {number}; it has {known}", ("port",))
    tls, asked_by = backend_tls(item.key, (port.name, str(port.port)), index)
    if isinstance(tls, str):
        return Unresolved("InvalidBackendTLS", tls)
    if use == "http" and tls is None and port.app_protocol in NEED_TLS:
        message = f"port {number} of {item.key} has appProtocol {port.app_protocol}, but no BackendTLSPolicy targets it"
        return Unresolved("UnsupportedProtocol", message, ("port",))
    slices = index.slices.get((item.namespace, item.name), ())
    return Backend(
        name=f"{item.namespace}/{item.name}:{number}",
        endpoints=_endpoints(slices, port, alone=len(spec.ports) == 1),
        protocol=APP_PROTOCOLS.get(port.app_protocol or "", "http1"),
        tls=tls,
        origins=(*item.origins, *(origin for piece in slices for origin in piece.origins), *asked_by),
    )


def _endpoints(slices: Iterable[Object], port: ServicePort, *, alone: bool) -> tuple[Endpoint, ...]:
    """Endpoints that take new requests; if there are none, those that still serve while they go away."""
    ready: dict[Endpoint, None] = {}
    leaving: dict[Endpoint, None] = {}
    for piece in slices:
        assert isinstance(piece.spec, EndpointSliceBody)
        for number in _numbers(piece.spec, port, alone=alone):
            for one in piece.spec.endpoints:
                found = _endpoint(one, number)
                if is_ready(one.conditions):
                    ready[found] = None
                elif one.conditions.serving and one.conditions.terminating:
                    leaving[found] = None
    return tuple(sorted(ready or leaving, key=lambda one: (one.zone, one.address, one.port)))


def is_ready(conditions: EndpointConditions) -> bool:
    """Whether an endpoint takes new requests. Unknown counts as ready, unless it is on its way out."""
    if conditions.ready is None:
        return not conditions.terminating and conditions.serving is not False
    return conditions.ready


def _numbers(body: EndpointSliceBody, port: ServicePort, *, alone: bool) -> list[int]:
    """A slice's ports for a port of its Service: by name or by targetPort; or the only two, if one has no name."""
    fitting = [piece for piece in body.ports if piece.protocol == port.protocol]
    named = [piece.port for piece in fitting if piece.name == port.name]
    aimed = [piece.port for piece in fitting if port.target_port in (piece.port, piece.name)]
    if named or aimed or not alone or len(fitting) != 1 or (fitting[0].name and port.name):
        return named or aimed
    return [fitting[0].port]


def _endpoint(one: SliceEndpoint, number: int) -> Endpoint:
    # A slice's addresses of one endpoint are interchangeable: the first counts.
    return Endpoint(one.addresses[0], number, one.zone, one.hostname or "")
