"""A cluster that has exported documents: which pod may connect to which, by the rules of Kubernetes and of Cilium.

Written from the meaning of the kinds alone; it knows nothing of cells.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod: labels of its own and of its namespace."""

    namespace: str
    labels: Mapping[str, str]
    around: Mapping[str, str] = field(default_factory=dict)


def fits(selector: Json, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects."""
    wanted = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return wanted and all(_expression(one, labels) for one in selector.get("matchExpressions", ()))


def _expression(one: Json, labels: Mapping[str, str]) -> bool:
    if one["operator"] == "Exists":
        return one["key"] in labels
    assert one["operator"] == "NotIn"
    return labels.get(one["key"]) not in one["values"]


def may_connect(documents: Iterable[Json], source: Pod, target: Pod, port: int, protocol: str = "TCP") -> bool:
    """Whether both sides let a connection between pods through."""
    known = [one for one in documents if one["kind"] == "NetworkPolicy"]
    out = _passes(known, source, "egress", "to", lambda peer: _is_pod(peer, target, source.namespace), port, protocol)
    into = _passes(
        known, target, "ingress", "from", lambda peer: _is_pod(peer, source, target.namespace), port, protocol
    )
    return out and into


def may_reach(documents: Iterable[Json], source: Pod, address: str, port: int) -> bool:
    """Whether a pod may connect to an address outside of the cluster."""
    known = [one for one in documents if one["kind"] == "NetworkPolicy"]
    return _passes(known, source, "egress", "to", lambda peer: _is_address(peer, address), port, "TCP")


def may_enter(documents: Iterable[Json], address: str, target: Pod, port: int) -> bool:
    """Whether somebody outside of the cluster may connect to a pod."""
    known = [one for one in documents if one["kind"] == "NetworkPolicy"]
    return _passes(known, target, "ingress", "from", lambda peer: _is_address(peer, address), port, "TCP")


def _passes(documents: list[Json], pod: Pod, side: str, peers: str, is_peer: Any, port: int, protocol: str) -> bool:
    about = [
        one["spec"]
        for one in documents
        if one["metadata"]["namespace"] == pod.namespace
        and fits(one["spec"]["podSelector"], pod.labels)
        and side.capitalize() in one["spec"]["policyTypes"]
    ]
    if not about:
        return True
    rules = [rule for spec in about for rule in spec.get(side, ())]
    return any(_port(rule, port, protocol) and any(is_peer(peer) for peer in rule[peers]) for rule in rules)


def _port(rule: Json, port: int, protocol: str) -> bool:
    return "ports" not in rule or any((one["protocol"], one["port"]) == (protocol, port) for one in rule["ports"])


def _is_pod(peer: Json, pod: Pod, namespace: str) -> bool:
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        return fits(peer["namespaceSelector"], pod.around) and fits(peer.get("podSelector", {}), pod.labels)
    return pod.namespace == namespace and fits(peer["podSelector"], pod.labels)


def _is_address(peer: Json, address: str) -> bool:
    if "ipBlock" not in peer:
        return False
    block, one = peer["ipBlock"], ipaddress.ip_address(address)
    return one in ipaddress.ip_network(block["cidr"]) and not any(
        one in ipaddress.ip_network(text) for text in block.get("except", ())
    )
