"""Ports of a Gateway that listen elsewhere than the Gateway: its annotation `cellway.dev/port-addresses`.

In: a Gateway's metadata and its ports. Out: an address for each port that has one of its own, and diagnostics. What means
nothing could open a port to more callers than was meant, so the Gateway is then not served.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.model.object import Object

PORT_ADDRESSES = "cellway.dev/port-addresses"


def read_places(gateway: Object, ports: Collection[int]) -> tuple[Mapping[int, str], Diagnostic | None]:
    """The addresses by port; what is wrong with the annotation, if anything is. It is written `15001=127.0.0.1,…`."""
    found: dict[int, str] = {}
    written = gateway.meta.annotations.get(PORT_ADDRESSES)
    for text in written.split(",") if written is not None else ():
        port, _, address = text.strip().partition("=")
        reason = _problem(port, address, found, ports)
        if reason:
            span = gateway.source.value("metadata", "annotations", PORT_ADDRESSES)
            return {}, diagnose("A106", span, subject=str(gateway.key), name=PORT_ADDRESSES, reason=reason)
        found[int(port)] = address
    return found, None


def _problem(port: str, address: str, found: Mapping[int, str], ports: Collection[int]) -> str:
    """Why one entry means nothing; empty if it does."""
    if not (port.isascii() and port.isdecimal()) or int(port) not in ports:
        return f"'{port}' is no port of a listener of this Gateway; write 15001=127.0.0.1"
    if int(port) in found:
        return f"port {port} is there twice"
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return f"'{address}' is not an IP address; write {port}=127.0.0.1"
    return ""
