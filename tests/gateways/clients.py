"""Documents of listeners with a ClientTrafficPolicy each, and clients that write and read bytes.

In: policies by the name of their listener. Out: the YAML of a Gateway with one port for each; what comes back on a socket.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

FIRST_PORT = 11000
OK = b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"


def policy(name: str, body: str, target: str = "kind: Gateway, name: edge", namespace: str = "default") -> str:
    """A ClientTrafficPolicy whose spec goes on with `body` (lines of flow style)."""
    lines = "".join(f"  {line}\n" for line in body.strip().splitlines())
    return (
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n"
        f"  targetRefs: [{{group: gateway.networking.k8s.io, {target}}}]\n{lines}---\n"
    )


def ports(policies: Mapping[str, str], first: int = FIRST_PORT) -> dict[str, int]:
    """The port of each listener."""
    return {name: first + number for number, name in enumerate(policies)}


def gateway(policies: Mapping[str, str], more: str = "protocol: HTTP", first: int = FIRST_PORT) -> str:
    """A Gateway with a listener for each policy, and the policies."""
    listeners = [f"{{name: {name}, port: {port}, {more}}}" for name, port in ports(policies, first).items()]
    text = (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n"
        f"  addresses: [{{value: ADDR.1}}]\n  listeners: [{', '.join(listeners)}]\n---\n"
    )
    targets = {name: f"kind: Gateway, name: edge, sectionName: {name}" for name in policies}
    return text + "".join(policy(name, body, targets[name]) for name, body in policies.items() if body)


def exchange(address: str, port: int, *pieces: bytes) -> bytes:
    """Everything that comes back for these bytes until the other side closes. Each piece is sent by itself."""
    with socket.create_connection((address, port), timeout=10) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return everything(connection)


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes, or breaks off."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionError:
        pass
    return data


def status(answer: bytes) -> int:
    """The status of an answer in HTTP/1; 0 if there is none."""
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1") else 0
