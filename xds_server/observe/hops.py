"""From one gateway to the next: which addresses are gateways, and who a gateway is to the next one.

In: gateways of the graph. Out: names by address, and the URI in a certificate. Keys are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509

from xds_server.graph import Certificate, Gateway


def listeners_by_address(gateways: Iterable[Gateway]) -> dict[str, str]:
    """The names of gateways by `ADDRESS:PORT` of their listeners that take connections."""
    return {
        f"{address}:{port.port}": gateway.name
        for gateway in gateways
        for port in gateway.ports
        if port.transport == "tcp"
        for address in port.addresses
    }


def identity(shown: Certificate | None) -> str:
    """The one URI of a certificate; empty if it has none, or more."""
    if shown is None:
        return ""
    try:
        found = x509.load_pem_x509_certificate(shown.chain).extensions
        names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return ""
    uris: list[str] = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if len(uris) == 1 else ""
