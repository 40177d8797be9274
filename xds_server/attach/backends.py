"""backendRefs -> graph backends: references followed, permissions checked, endpoints collected.

In: a backendRef and who refers. Out: a `graph.Backend`, or why there is none in Gateway API's words. Nothing is
balanced or connected here.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from xds_server.attach.certificates import certificate_problem
from xds_server.attach.index import Index
from xds_server.diagnostics import Path
from xds_server.graph import Backend, BackendTls, Endpoint
from xds_server.model.core import (
    BackendEndpoint,
    BackendSpec,
    BackendTlsSpec,
    ConfigMapBody,
    EndpointSliceBody,
    SecretBody,
    ServicePort,
    ServiceSpec,
)
from xds_server.model.gateway_api import BackendRef
from xds_server.model.object import Object
from xds_server.types import CORE_GROUP, ENVOY_GATEWAY_GROUP, Key

_H2C = ("kubernetes.io/h2c", "gateway.envoyproxy.io/h2c")


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why a reference leads nowhere: a reason of Gateway API, a message, and where below the backendRef."""

    reason: str
    message: str
    path: Path = ()
    hint: str = ""


def resolve_backend(ref: BackendRef, source: Key, index: Index) -> Backend | Unresolved:
    """What a backendRef of the object `source` leads to."""
    namespace = ref.namespace or source.namespace
    if (ref.group, ref.kind) not in ((CORE_GROUP, "Service"), (ENVOY_GATEWAY_GROUP, "Backend")):
        known = "Service, or Backend in group gateway.envoyproxy.io"
        return Unresolved(
            "InvalidKind", f"a backendRef must be a {known}; this is {ref.kind} in '{ref.group}'", ("kind",)
        )
    target = Key(ref.group, ref.kind, namespace, ref.name)
    if not index.permitted(source, target):
        message = (
            f"{target} is in another namespace and no ReferenceGrant there permits {source.kind} of {source.namespace}"
        )
        return Unresolved("RefNotPermitted", message, ("namespace",))
    item = index.by_key.get(target)
    if item is None:
        return Unresolved("BackendNotFound", f"there is no {target}", ("name",), _near(target, index))
    if isinstance(item.spec, ServiceSpec):
        return _of_service(item, item.spec, ref, index)
    assert isinstance(item.spec, BackendSpec)
    return _of_backend(item, item.spec, index)


def _near(target: Key, index: Index) -> str:
    names = [item.name for item in index.of_kind(target.group, target.kind) if item.namespace == target.namespace]
    close = difflib.get_close_matches(target.name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def _of_service(item: Object, spec: ServiceSpec, ref: BackendRef, index: Index) -> Backend | Unresolved:
    if ref.port is None:
        return Unresolved("PortNotSpecified", f"a reference to {item.key} needs a port")
    port = next((port for port in spec.ports if port.port == ref.port and port.protocol == "TCP"), None)
    if port is None:
        known = ", ".join(str(port.port) for port in spec.ports) or "none"
        return Unresolved("PortNotFound", f"{item.key} has no TCP port {ref.port}; it has {known}", ("port",))
    slices = index.slices.get((item.namespace, item.name), ())
    endpoints: dict[Endpoint, None] = {}
    for piece in slices:
        assert isinstance(piece.spec, EndpointSliceBody)
        endpoints.update(dict.fromkeys(_ready_endpoints(piece.spec, port)))
    return Backend(
        name=f"{item.namespace}/{item.name}:{ref.port}",
        endpoints=tuple(sorted(endpoints, key=lambda one: (one.zone, one.address, one.port))),
        protocol="h2c" if port.app_protocol in _H2C else "http1",
        origins=(*item.origins, *(origin for piece in slices for origin in piece.origins)),
    )


def _ready_endpoints(body: EndpointSliceBody, port: ServicePort) -> list[Endpoint]:
    """Endpoints that take new requests. A slice's port has the name of the Service's port."""
    numbers = [piece.port for piece in body.ports if piece.name == port.name]
    if not numbers and len(body.ports) == 1:
        numbers = [body.ports[0].port]
    return [
        Endpoint(endpoint.addresses[0], number, endpoint.zone, endpoint.hostname or "")
        for number in numbers
        for endpoint in body.endpoints
        if endpoint.conditions.ready is not False
    ]


def _of_backend(item: Object, spec: BackendSpec, index: Index) -> Backend | Unresolved:
    tls = _tls(item, spec, index) if spec.tls else None
    if isinstance(tls, Unresolved):
        return tls
    endpoints = tuple(_endpoint(one) for one in spec.endpoints)
    return Backend(
        name=item.name if item.derived else f"{item.namespace}/{item.name}",
        endpoints=endpoints,
        dns=spec.endpoints[0].fqdn is not None,
        protocol="h2c" if any(name in _H2C for name in spec.app_protocols) else "http1",
        tls=tls,
        origins=item.origins,
    )


def _endpoint(written: BackendEndpoint) -> Endpoint:
    if written.ip is not None:
        return Endpoint(written.ip.address, written.ip.port, written.zone, written.hostname or "")
    assert written.fqdn is not None
    name = written.fqdn.hostname
    return Endpoint(name, written.fqdn.port, written.zone, written.hostname or name)


def _tls(item: Object, spec: BackendSpec, index: Index) -> BackendTls | Unresolved:
    written: BackendTlsSpec | None = spec.tls
    assert written is not None
    name = written.sni or next((one.fqdn.hostname for one in spec.endpoints if one.fqdn), "")
    authorities = []
    for number, ref in enumerate(written.ca_certificate_refs):
        holder = index.get(CORE_GROUP, ref.kind, item.namespace, ref.name)
        text = _ca(holder)
        if text is None or (problem := certificate_problem(text)):
            why = f"{ref.kind} {item.namespace}/{ref.name} "
            why += "does not exist" if holder is None else "has no key ca.crt" if text is None else problem
            return Unresolved("InvalidBackendTLS", f"{item.key}, tls.caCertificateRefs[{number}]: {why}")
        authorities.append(text.decode())
    return BackendTls(sni=name, san=name, ca="\n".join(authorities))


def _ca(holder: Object | None) -> bytes | None:
    if holder is not None and isinstance(holder.spec, ConfigMapBody):
        text = holder.spec.data.get("ca.crt")
        return text.encode() if text is not None else None
    if holder is not None and isinstance(holder.spec, SecretBody):
        return holder.spec.values().get("ca.crt")
    return None
