"""Which chains are served over QUIC (HTTP/3), and what is to be told where that is wished for and cannot be.

In: the ports of a gateway, and the features, some of whose settings are that wish. Out: the ports with the chains
marked. A chain that asks clients for certificates is not served over QUIC: nothing would check them there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.features.contract import AnyFeature
from xds_server.graph import Chain, HttpChain, Port, Setting


def with_quic(ports: Sequence[Port], features: Sequence[AnyFeature]) -> tuple[tuple[Port, ...], list[Diagnostic]]:
    """The ports, and what is to be told."""
    by_name = {feature.name: feature for feature in features}
    taken = {port.port for port in ports if port.transport == "udp"}
    wishes: list[tuple[Chain, Setting, str]] = []
    found = []
    for port in ports:
        chains: list[Chain] = []
        for chain in port.chains:
            setting = next((one for one in chain.settings if by_name[one.feature].quic(one.value)), None)
            if setting is None:
                chains.append(chain)
                continue
            reason = _obstacle(chain, port, taken) or _forbidden(chain, by_name)
            wishes.append((chain, setting, reason))
            good = isinstance(chain, HttpChain) and not reason
            chains.append(replace(chain, quic=True) if good and isinstance(chain, HttpChain) else chain)
        found.append(replace(port, chains=tuple(chains)))
    return tuple(found), _problems(wishes)


_NO_TLS = "it needs an HTTPS listener"


def _obstacle(chain: Chain, port: Port, taken: set[int]) -> str:
    """Why a chain cannot be served over QUIC; empty if it can."""
    if not isinstance(chain, HttpChain) or not port.tls:
        return _NO_TLS
    if chain.validation is not None:
        return "clients show certificates there, and over QUIC nothing would check them"
    if port.port in taken:
        return f"UDP port {port.port} belongs to another listener"
    return ""


def _forbidden(chain: Chain, features: Mapping[str, AnyFeature]) -> str:
    """Which other setting of a chain cannot be kept over QUIC; empty if all can."""
    return next((reason for one in chain.settings if (reason := features[one.feature].no_quic(one.value))), "")


def _problems(wishes: list[tuple[Chain, Setting, str]]) -> list[Diagnostic]:
    """One for each chain; that plain HTTP has no QUIC is told only where nothing else of the wish is served."""
    met = {setting.origins for _, setting, reason in wishes if reason != _NO_TLS}
    problems = []
    for chain, setting, reason in wishes:
        if reason and not (reason == _NO_TLS and setting.origins in met):
            first = setting.origins[0]
            problems.append(diagnose("A131", first.span, subject=str(first.key), name=chain.name, reason=reason))
    return problems
