"""Certificates that are replaced again and again while clients shake hands."""

from __future__ import annotations

import ssl
import time
from collections import Counter
from functools import partial
from textwrap import indent

from bench.soak.handshakes import handshakes
from bench.soak.mix import CERTIFICATE
from bench.soak.rig import Row, broken_rules, rig, told, until
from tests.e2e.certificates import Authority
from tests.e2e.load import Load
from tests.e2e.test_live import GATEWAY, route

_HOST = "web.example"
_ROTATIONS = 200
_HANDSHAKES, _PROCESSES = 500.0, 6
"""A second, and how many processes make them: one after the other each, and no more at the same time than there are processes."""
_REQUESTS = 20.0
"""A second, on connections of their own: some of the handshakes are to be good for something."""
_ENOUGH = 0.95
_SOON = 1.0
_TLS = "listeners: [{name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: cert}]}}]"


def certificates(seconds: float) -> Row:
    """G17: 200 certificates one after the other, or as many as there is time for."""
    authority, count = Authority(), 0
    context = ssl.create_default_context(cadata=authority.certificate)
    with rig(prepared=False) as cellway:

        def rotate() -> str:
            chain, key = authority.issue(_HOST)
            text = CERTIFICATE.replace("CHAIN", indent(chain, "    ")).replace("KEY", indent(key, "    "))
            cellway.write("cert.yaml", text)
            return chain

        listeners = "listeners: [{name: http, protocol: HTTP, port: 8080}]"
        cellway.write("gateway.yaml", GATEWAY.replace(listeners, _TLS))
        cellway.write("routes/web.yaml", route("web"))
        cellway.upstream(11)
        rotate()
        cellway.start()
        address, seen = cellway.block.address(1), 0
        with (
            Load(address, 8443, _HOST, rate=_REQUESTS, connections=4, kept=False, tls=context) as steady,
            handshakes(address, 8443, _HOST, authority.certificate, _HANDSHAKES, _PROCESSES) as shaken,
        ):
            end = time.monotonic() + seconds
            while count < _ROTATIONS and time.monotonic() < end:
                chain = rotate()
                cellway.wait()
                # Envoy's threads hear of it a moment after it was acknowledged.
                seen += until(partial(_shows, address, chain), _SOON)
                count += 1
                time.sleep(min(0.2, seconds / _ROTATIONS / 2))
            steady.lasts(1)
        broken = broken_rules(cellway)
    failures = Counter(steady.failures()) + shaken.failed
    words = f": {', '.join(f'{number} {name}' for name, number in failures.items())}" if failures else ""
    measured = (
        f"{count} certificates, {seen} of them seen within {_SOON:g} s of being in force; {failures.total()} of "
        f"{steady.total + shaken.total:,} handshakes failed, {shaken.rate:.0f} a second{words}{told(broken)}"
    )
    return Row(
        "G17 certificates",
        measured,
        not failures and seen == count and shaken.rate >= _ENOUGH * _HANDSHAKES and not broken,
    )


def _shows(address: str, chain: str) -> bool:
    return ssl.get_server_certificate((address, 8443)).strip() in chain
