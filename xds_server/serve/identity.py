"""Who may ask for what: the gateway that a node names, and the gateways that a certificate is for.

In: a node, the names of gateways there are, and what a verified client certificate or a token is for. Out: the gateway, or
a refusal. Where neither is asked for the node's own word counts; else only what they are for, and a
refusal tells nothing of what else there is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from xds_server.serve.requests import Node

_SHOWN = 20
_LENGTH = 200
_ID_LENGTH = 512
_SPIFFE = re.compile(r"spiffe://(?P<domain>[a-z0-9._-]+)/(?:gateway/(?P<gateway>[^/]+/[^/]+)|cell/(?P<cell>.+))")
_DIRECTION = re.compile(r"(?P<cell>[^/]+)(?:/gw/(?P<direction>[a-z]+)|/(?P<component>component/[^/]+))?")


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a stream is ended: the name of a gRPC status and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Identities:
    """What certificates are for. `mapping`: gateways by a name in the certificate (URI or DNS name).

    A SPIFFE id of a trust domain in `domains` says it itself: `spiffe://DOMAIN/gateway/NAMESPACE/NAME`. Where the domain is
    that of a stage (`ORGANIZATION/STAGE`; empty: of none), so do `spiffe://DOMAIN/cell/CELL/gw/DIRECTION`,
    `spiffe://DOMAIN/cell/CELL/component/COMPONENT` for a sidecar, and `spiffe://DOMAIN/cell/CELL` for all gateways of a
    cell, which its sidecars are none of.
    """

    mapping: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    domains: Mapping[str, str] = field(default_factory=dict)

    def gateways(self, names: Iterable[str]) -> frozenset[str]:
        """What the owner of a certificate with these names may ask for."""
        found: set[str] = set()
        for name in names:
            found.update(self.mapping.get(name, ()))
            spiffe = _SPIFFE.fullmatch(name)
            if spiffe is not None and spiffe["domain"] in self.domains:
                if spiffe["gateway"]:
                    found.add(spiffe["gateway"])
                elif (stage := self.domains[spiffe["domain"]]) and (cell := _DIRECTION.fullmatch(spiffe["cell"])):
                    place = cell["direction"] or cell["component"]
                    found.add(f"{stage}/{cell['cell']}/{place}" if place else f"{stage}/{cell['cell']}")
        return frozenset(found)


def gateway_of(node: Node | None, known: Collection[str], allowed: Collection[str] | None) -> str | Refused:
    """The gateway that a stream's first request names. `allowed` is what its certificate or token is for; None: any."""
    if node is None:
        return Refused("INVALID_ARGUMENT", "the first request of a stream must carry a node")
    if not node.id:
        return Refused("INVALID_ARGUMENT", "node.id is empty; every Envoy needs one of its own")
    if len(node.id) > _ID_LENGTH:
        return Refused("INVALID_ARGUMENT", f"node.id is longer than {_ID_LENGTH} characters")
    if not node.cluster:
        return Refused("INVALID_ARGUMENT", "node.cluster is empty; it must be NAMESPACE/GATEWAY")
    if allowed is not None and node.cluster not in allowed:
        return Refused("PERMISSION_DENIED", "this client certificate, or token, is not for the gateway in node.cluster")
    if node.cluster in known:
        return node.cluster
    asked = node.cluster[:_LENGTH]
    if allowed is not None:
        return Refused("NOT_FOUND", f"node.cluster {asked!r} is no gateway here")
    names = sorted(known)
    close = difflib.get_close_matches(asked, names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return Refused("NOT_FOUND", f"node.cluster {asked!r} is no gateway here.{hint} Known: {shown or 'none'}")
