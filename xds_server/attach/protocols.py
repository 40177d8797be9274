"""What a listener's protocol means: which socket it needs, what may share its port, which routes it takes.

In: a listener as written. Out: facts, and what does not fit together in it. Other listeners are not looked at here.
"""

from __future__ import annotations

from typing import Literal

from xds_server.model.gateways import Listener

DNS = "cellway.dev/DNS"
"""Cellway's own: a UDP port that answers DNS queries for the hosts of its Gateway."""
SUPPORTED = ("HTTP", "HTTPS", "TLS", "TCP", "UDP", DNS)
_KINDS = {
    "HTTP": ("HTTPRoute", "GRPCRoute"),
    "HTTPS": ("HTTPRoute", "GRPCRoute"),
    "TCP": ("TCPRoute",),
    "UDP": ("UDPRoute",),
}


def transport_of(protocol: str) -> Literal["tcp", "udp"]:
    """The socket: one number may be a TCP port and a UDP port."""
    return "udp" if protocol in ("UDP", DNS) else "tcp"


def family_of(protocol: str) -> str:
    """Listeners of one family can share a port if something tells them apart: Host, or SNI."""
    return "TLS" if protocol in ("HTTPS", "TLS") else protocol


def passes_through(listener: Listener) -> bool:
    """True if TLS does not end at the gateway."""
    return listener.tls is not None and listener.tls.mode == "Passthrough"


def needs_certificate(listener: Listener) -> bool:
    """True if TLS ends at the gateway."""
    return listener.protocol in ("HTTPS", "TLS") and not passes_through(listener)


def route_kinds(listener: Listener) -> tuple[str, ...]:
    """The kinds of routes that the listener can serve."""
    if listener.protocol == "TLS":
        return ("TLSRoute",) if passes_through(listener) else ("TLSRoute", "TCPRoute")
    return _KINDS.get(listener.protocol, ())


def misfit(listener: Listener) -> tuple[str, str] | None:
    """The field that does not fit the protocol, and why; None if all do."""
    protocol, tls = listener.protocol, listener.tls
    if protocol == DNS and (tls is not None or listener.hostname is not None):
        field = "tls" if tls is not None else "hostname"
        return field, "a DNS listener answers for all hosts of its Gateway, in plain text: leave this out"
    if tls is not None and protocol == "HTTPS" and tls.mode == "Passthrough":
        return "tls", "HTTPS ends TLS at the gateway; mode Passthrough needs protocol TLS"
    if tls is None and protocol == "TLS":
        return "protocol", "protocol TLS needs 'tls' with mode Passthrough, or Terminate and certificateRefs"
    if tls is not None and tls.mode == "Passthrough" and tls.certificate_refs:
        return "tls", "certificateRefs do nothing with mode Passthrough; leave them out, or use mode Terminate"
    return None
