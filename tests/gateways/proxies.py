"""Documents of an EnvoyProxy and a Gateway that refers to it, and of a Backend for a collector."""

from __future__ import annotations

import json
from typing import Any

PROXY = "parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: logs}"
REFS = {"backendRefs": [{"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "collector"}]}


def proxy(telemetry: Any) -> str:
    """An EnvoyProxy that tells of requests."""
    written = json.dumps(telemetry).replace("ADDR", "\\u0041DDR")  # which stands for addresses of the test
    return (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\nmetadata: {name: logs}\n"
        f"spec: {{telemetry: {written}}}\n---\n"
    )


def gateway(more: str = f"infrastructure: {{{PROXY}}}") -> str:
    """A Gateway with a listener of requests and one of connections."""
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n"
        f"  gatewayClassName: ours\n  addresses: [{{value: ADDR.1}}]\n  {more}\n"
        "  listeners: [{name: http, protocol: HTTP, port: 10080}, {name: tcp, protocol: TCP, port: 10090}]\n---\n"
    )


def backend(name: str, address: tuple[str, int]) -> str:
    """A Backend at one address."""
    ip = f"{{ip: {{address: {address[0]}, port: {address[1]}}}}}"
    return (
        f"apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: {name}}}\n"
        f"spec: {{endpoints: [{ip}]}}\n---\n"
    )


def policy(telemetry: Any) -> str:
    """A BackendTrafficPolicy for the HTTPRoute `web`."""
    return (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: BackendTrafficPolicy\nmetadata: {name: told}\n"
        "spec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]\n"
        f"  telemetry: {json.dumps(telemetry)}\n---\n"
    )
