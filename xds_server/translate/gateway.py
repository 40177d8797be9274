"""`graph.Gateway` -> all of its Envoy messages.

In: one gateway's graph, the features, and a check that says why Envoy would refuse a message. Out: listeners, route
tables, clusters, endpoint assignments and secrets with their names, origins and references, in the order of type and
name, and diagnostics. What Envoy would refuse is left out or answers 500, and nothing else changes for it. No decision
that a user could notice is taken here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import Message

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.features.contract import AnyFeature
from xds_server.graph import Gateway, HttpChain
from xds_server.parts import Parts
from xds_server.translate.clusters import ClustersMemory
from xds_server.translate.listeners import set_marks, sockets, translate_listener
from xds_server.translate.message import Translated
from xds_server.translate.quic import translate_quic
from xds_server.translate.routes import RoutesMemory, Tools, chain_values, translate_routes
from xds_server.translate.scopes import spread_chains
from xds_server.translate.tls import translate_authorities, translate_secret, translate_value


@dataclass(slots=True)
class Memory:
    """What is kept from call to call for one gateway. Dropping it changes no result."""

    clusters: ClustersMemory = field(default_factory=ClustersMemory)
    routes: RoutesMemory = field(default_factory=RoutesMemory)


def translate_gateway(
    gateway: Gateway,
    features: tuple[AnyFeature, ...],
    check: Callable[[Message], str | None],
    memory: Memory | None = None,
) -> tuple[Parts[Translated], tuple[Diagnostic, ...]]:
    """All messages of a gateway, and what was wrong with some."""
    memory = memory or Memory()
    gateway = spread_chains(gateway, features)
    known = memory.clusters
    known.update(gateway, features, check)
    clusters, translated, problems = known.names, known.secrets, known.problems
    memory.routes.begin(clusters)
    tools = Tools(features, clusters, check)
    for port in (one for each in gateway.ports for one in sockets(each)):
        if not (port.chains or port.names is not None or port.own) or not port.addresses:
            continue
        listeners = [translate_listener(port, features, clusters), translate_quic(port, features, clusters)]
        refused = [one for one in (_check(each, gateway, check) for each in listeners if each) if one]
        if refused:
            problems += refused
            continue
        translated += [one for one in listeners if one]
        for http in port.http_chains:
            tables, found = translate_routes(http, tools, memory.routes)
            translated += tables
            problems += found
            if (validation := http.validation) is not None:
                secret = translate_authorities(validation)
                translated.append(Translated(validation.name, secret, validation.origins))
            translated += _secrets(http, features)
        for chain in port.chains:
            translated += [Translated(one.name, translate_secret(one), one.origins) for one in chain.certificates]
    return Parts((known.clusters, known.endpoints, _sorted(translated))), tuple(problems)


def _secrets(chain: HttpChain, features: tuple[AnyFeature, ...]) -> list[Translated]:
    """The secrets that the filters of a chain ask for."""
    return [
        Translated(secret.name, translate_value(secret), chain.origins)
        for feature in features
        for value in chain_values(chain, feature)
        for secret in feature.secrets(value)
    ]


def _check(listener: Translated, gateway: Gateway, check: Callable[[Message], str | None]) -> Diagnostic | None:
    """Finish a listener. The answer is why Envoy would refuse it."""
    set_marks(listener.message, gateway.marks)
    reason = check(listener.message)
    if not reason:
        return None
    first = listener.origins[0] if listener.origins else None
    span, subject = (first.span, str(first.key)) if first else (None, "")
    return diagnose("T102", span, subject=subject, name=listener.name, reason=reason)


def _sorted(translated: list[Translated]) -> tuple[Translated, ...]:
    """By type and name, which come after clusters and endpoints; a certificate that several chains use is one secret."""
    unique = {(type(one.message).DESCRIPTOR.full_name, one.name): one for one in translated}
    return tuple(unique[key] for key in sorted(unique))
