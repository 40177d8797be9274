"""DNS by hand: a query to a server, and a small server with names that a test can change.

Just as much of RFC 1035 as that takes: one question, answers with addresses, names in full.
"""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import struct
import threading
from dataclasses import dataclass, field

A, AAAA = 1, 28
NO_ERROR, NO_SUCH_NAME = 0, 3
_ANSWER = 0x8400
_RECURSION = 0x0100


@dataclass(frozen=True)
class Answer:
    """What a server said: the code, and the addresses."""

    code: int
    addresses: tuple[str, ...] = ()


def ask(server: tuple[str, int], name: str, kind: int = A) -> Answer:
    """Ask a server for the addresses of a name."""
    question = _name(name) + struct.pack("!HH", kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(struct.pack("!HHHHHH", 4711, _RECURSION, 1, 0, 0, 0) + question, server)
        answer = client.recv(2048)
    number, flags, _, count, _, _ = struct.unpack("!HHHHHH", answer[:12])
    assert number == 4711
    found, at = [], _end_of_name(answer, 12) + 4
    for _ in range(count):
        at = _end_of_name(answer, at)
        of, _, _, length = struct.unpack("!HHIH", answer[at : at + 10])
        if of in (A, AAAA):
            found.append(str(ipaddress.ip_address(answer[at + 10 : at + 10 + length])))
        at += 10 + length
    return Answer(flags & 15, tuple(found))


def _name(text: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def _end_of_name(packet: bytes, at: int) -> int:
    while packet[at]:
        if packet[at] >= 0xC0:
            return at + 2
        at += packet[at] + 1
    return at + 1


@dataclass
class Names:
    """A DNS server on a free port of 127.0.0.1. `known` are the addresses of names, several with commas, and may be
    changed at any time."""

    known: dict[str, str] = field(default_factory=dict)
    lifetime: int = 1

    def __post_init__(self) -> None:
        names = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                packet, reply = self.request
                reply.sendto(names.answer(packet), self.client_address)

        self._server = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, packet: bytes) -> bytes:
        """The packet that answers another."""
        end = _end_of_name(packet, 12)
        name, (kind,) = self._read(packet), struct.unpack("!H", packet[end : end + 2])
        known = self.known.get(name)
        packed = [ipaddress.ip_address(one).packed for one in (known or "").split(",") if one]
        fitting = [one for one in packed if kind == (A if len(one) == 4 else AAAA)]
        flags = _ANSWER | (NO_ERROR if known else NO_SUCH_NAME)
        head = packet[:2] + struct.pack("!HHHHH", flags, 1, len(fitting), 0, 0) + packet[12 : end + 4]
        records = (b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, self.lifetime, len(one)) + one for one in fitting)
        return head + b"".join(records)

    @staticmethod
    def _read(packet: bytes) -> str:
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1 : at + 1 + packet[at]].decode().lower())
            at += packet[at] + 1
        return ".".join(labels)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
