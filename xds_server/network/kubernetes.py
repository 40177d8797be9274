"""Allowed connections as objects of Kubernetes: Namespace and NetworkPolicy (`networking.k8s.io/v1`).

In: namespaces with their policies. Out: documents. NetworkPolicy knows no names of hosts: what they stand for becomes every
public address on those ports, and the policy carries an annotation that says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xds_server.network.flows import Hosts, Namespace, Networks, Peer, PodPolicy, Pods, Port, Rule

Json = dict[str, Any]
DEGRADED = "cellway.dev/degraded"
_PRIVATE_4 = ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_PRIVATE_6 = ("::1/128", "fc00::/7", "fe80::/10")


def kubernetes_documents(namespaces: Iterable[Namespace], *, without_hosts: bool = False) -> list[Json]:
    """A Namespace and its policies for every cell. `without_hosts`: rules for hosts are left to something that knows names."""
    documents = []
    for one in namespaces:
        metadata = {"name": one.name, "labels": dict(one.labels)}
        documents.append({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        documents += [_policy(one, policy, without_hosts=without_hosts) for policy in one.policies]
    return documents


def hosts_of(policy: PodPolicy) -> tuple[str, ...]:
    """The hosts that a policy allows by name."""
    found = [name for rule in policy.egress for peer in rule.peers if isinstance(peer, Hosts) for name in peer.names]
    return tuple(dict.fromkeys(found))


def selector(pods: Pods) -> Json:
    """A label selector; an empty one selects all."""
    found: Json = {"matchLabels": dict(pods.labels)} if pods.labels else {}
    if pods.having:
        found["matchExpressions"] = [{"key": key, "operator": "Exists"} for key in pods.having]
    return found


def ports_of(ports: Iterable[Port]) -> list[Json]:
    """Ports by protocol and number."""
    return [{"protocol": protocol, "port": port} for protocol, port in ports]


def _policy(namespace: Namespace, policy: PodPolicy, *, without_hosts: bool) -> Json:
    metadata: Json = {"name": policy.name, "namespace": namespace.name, "labels": dict(namespace.labels)}
    hosts = hosts_of(policy)
    if hosts and not without_hosts:
        text = f"FQDNNotEnforceable: {', '.join(hosts)} stand for every public address; only the south gateway tells them apart"
        metadata["annotations"] = {DEGRADED: text}
    spec: Json = {"podSelector": selector(policy.pods), "policyTypes": ["Ingress", "Egress"]}
    egress = [rule for rule in policy.egress if not (without_hosts and _is_by_name(rule))]
    if policy.ingress:
        spec["ingress"] = [_rule(rule, "from") for rule in policy.ingress]
    if egress:
        spec["egress"] = [_rule(rule, "to") for rule in egress]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _is_by_name(rule: Rule) -> bool:
    return any(isinstance(peer, Hosts) for peer in rule.peers)


def _rule(rule: Rule, side: str) -> Json:
    peers = [one for peer in rule.peers for one in _peers(peer)]
    return {side: peers} | ({"ports": ports_of(rule.ports)} if rule.ports else {})


def _peers(peer: Peer) -> list[Json]:
    if isinstance(peer, Networks):
        return [{"ipBlock": {"cidr": cidr}} for cidr in peer.ranges]
    if isinstance(peer, Hosts):
        return [
            {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(_PRIVATE_4)}},
            {"ipBlock": {"cidr": "::/0", "except": list(_PRIVATE_6)}},
        ]
    found: Json = {}
    if peer.namespace is not None:
        found["namespaceSelector"] = {"matchLabels": dict(peer.namespace)}
    return [found | {"podSelector": selector(peer)}]
