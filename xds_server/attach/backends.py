"""backendRefs -> graph backends: references followed, permissions checked, endpoints collected.

In: a backendRef and who refers. Out: a `graph.Backend`, or why there is none in Gateway API's words. Nothing is
balanced or connected here.
"""

from __future__ import annotations

import difflib
from dataclasses import replace

from xds_server.attach.authorities import read_authorities
from xds_server.attach.backend_tls import backend_tls
from xds_server.attach.index import Index
from xds_server.attach.listeners import read_certificate
from xds_server.attach.services import APP_PROTOCOLS, Use, of_service
from xds_server.attach.unresolved import Unresolved
from xds_server.features.contract import Reference
from xds_server.graph import Backend, BackendTls, Endpoint
from xds_server.model.core import BackendEndpoint, BackendSpec, ServiceSpec
from xds_server.model.object import Object
from xds_server.types import CORE_GROUP, ENVOY_GATEWAY_GROUP, Key

__all__ = ["Unresolved", "resolve_backend"]


def resolve_backend(ref: Reference, source: Key, index: Index, use: Use = "http") -> Backend | Unresolved:
    """What a backendRef of the object `source` leads to, for requests, connections or datagrams."""
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
        return _within_reach(of_service(item, item.spec, ref.port, index, use), item, index)
    assert isinstance(item.spec, BackendSpec)
    return _within_reach(_of_backend(item, item.spec, index, use), item, index)


def _within_reach(found: Backend | Unresolved, item: Object, index: Index) -> Backend | Unresolved:
    """The backend, if all of it is where a backend may lead."""
    if isinstance(found, Unresolved):
        return found
    reason = index.reach.refusal(found.endpoints) or index.reach.refusal_of_lookups(found.lookups or ())
    return Unresolved("UnsupportedValue", f"{item.key}: {reason}") if reason else found


def _near(target: Key, index: Index) -> str:
    names = [item.name for item in index.of_kind(target.group, target.kind) if item.namespace == target.namespace]
    close = difflib.get_close_matches(target.name, names, n=1)
    return f"did you mean '{close[0]}'?" if close else ""


def _of_backend(item: Object, spec: BackendSpec, index: Index, use: Use) -> Backend | Unresolved:
    if use == "udp" and any(one.unix for one in spec.endpoints):
        return Unresolved("UnsupportedValue", f"{item.key} has Unix sockets, which take no datagrams")
    tls, asked_by = backend_tls(item.key, (), index)
    if isinstance(tls, str):
        return Unresolved("InvalidBackendTLS", tls)
    own = _tls(item, spec, index) if spec.tls and tls is None else tls
    if isinstance(own, Unresolved):
        return own
    dynamic = spec.type == "DynamicResolver"
    if dynamic and use != "http":
        return Unresolved("UnsupportedValue", f"{item.key} is a DynamicResolver, which only requests can use")
    if dynamic and tls is not None:
        message = f"a BackendTLSPolicy has one name and the DynamicResolver {item.key} many; use 'tls' of the Backend"
        return Unresolved("InvalidBackendTLS", message)
    if use == "http" and own is None and "gateway.envoyproxy.io/wss" in spec.app_protocols:
        message = f"{item.key} has appProtocol gateway.envoyproxy.io/wss, but neither tls nor a BackendTLSPolicy"
        return Unresolved("UnsupportedProtocol", message)
    endpoints = tuple(replace(_endpoint(one), priority=int(spec.fallback)) for one in spec.endpoints)
    return Backend(
        name=item.name if item.derived else f"{item.namespace}/{item.name}",
        endpoints=endpoints,
        dns=dynamic or spec.endpoints[0].fqdn is not None,
        protocol=next((APP_PROTOCOLS[name] for name in spec.app_protocols if name in APP_PROTOCOLS), "http1"),
        tls=own,
        origins=(*item.origins, *asked_by),
        lookups=(spec.resolver.allowed_cidrs if spec.resolver else ()) if dynamic else None,
    )


def _endpoint(written: BackendEndpoint) -> Endpoint:
    if written.ip is not None:
        return Endpoint(written.ip.address, written.ip.port, written.zone, written.hostname or "")
    if written.unix is not None:
        return Endpoint(written.unix.path, 0, written.zone, written.hostname or "")
    assert written.fqdn is not None
    name = written.fqdn.hostname
    return Endpoint(name, written.fqdn.port, written.zone, written.hostname or name)


def _tls(item: Object, spec: BackendSpec, index: Index) -> BackendTls | Unresolved:
    assert spec.tls is not None
    name = spec.tls.sni or next((one.fqdn.hostname for one in spec.endpoints if one.fqdn), "")
    authorities = read_authorities(spec.tls.ca_certificate_refs, item.key, index)
    for bad in authorities.problems:
        return Unresolved("InvalidBackendTLS", f"{item.key}, tls.caCertificateRefs[{bad.number}]: {bad.message}")
    client = read_certificate(spec.tls.client_certificate_ref, item, index) if spec.tls.client_certificate_ref else None
    if isinstance(client, tuple):
        return Unresolved("InvalidBackendTLS", f"{item.key}, tls.clientCertificateRef: {client[1]}")
    by_endpoint = spec.tls.auto_sni_from_endpoint_hostname or spec.type == "DynamicResolver"
    lowest, highest = (
        "" if one in (None, "Auto") else str(one) for one in (spec.tls.min_version, spec.tls.max_version)
    )
    return BackendTls(
        sni="" if by_endpoint else name,
        san="" if by_endpoint else name,
        ca="\n".join(authorities.pem),
        by_endpoint=by_endpoint,
        verified=not spec.tls.insecure_skip_verify,
        client=client,
        versions=(lowest, highest),
        protocols=spec.tls.alpn_protocols,
        ciphers=spec.tls.ciphers,
        curves=spec.tls.ecdh_curves,
        signatures=spec.tls.signature_algorithms,
    )
