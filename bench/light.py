"""Many xDS streams held by one light process: HTTP/2 frames by hand, no gRPC library, each stream its own connection.

In: the server's address, and commands on standard input: how many streams, and what each asks for. Out: a line when every
stream has so many responses, and when that was. A client costs far less than the server that it measures; what it costs it
says at the end. It reads only what it needs of a response: its type, its nonce, and how many resources it has.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import select
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from xds_server.envoy_api.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_FRAME = 16_384
_WIDE = 2**31 - 1
_REFILL = 2**28
_READ = 1 << 18
_EDIT = re.compile(rb"edit-(\d+)-")
_SEARCHED = 4096


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """One HTTP/2 frame."""
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def data_frames(message: bytes) -> bytes:
    """A gRPC message on stream 1."""
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return b"".join(frame(_DATA, 0, 1, body[start : start + _FRAME]) for start in range(0, len(body), _FRAME))


def preface() -> bytes:
    """The begin of a connection with windows that never close, and of one call."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": METHOD,
        ":authority": "bench",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    words = ((name.encode(), value.encode()) for name, value in headers.items())
    # Literal fields without indexing; lengths are below 127.
    block = b"".join(b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value for name, value in words)
    return b"".join(
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            frame(_SETTINGS, 0, 0, (4).to_bytes(2, "big") + _WIDE.to_bytes(4, "big")),
            frame(_WINDOW, 0, 0, (_WIDE - 65_535).to_bytes(4, "big")),
            frame(_HEADERS, 4, 1, block),
        )
    )


def _fields(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of a protobuf message that has only length-delimited ones."""
    position = 0
    while position < len(data):
        number = data[position] >> 3
        position += 1
        size = shift = 0
        while True:
            byte = data[position]
            position += 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield number, position, position + size
        position += size


def acknowledgement(data: bytes) -> tuple[bytes, int, int]:
    """The answer to a delta response, and how many resources it brought and took away."""
    type_url = nonce = b""
    brought = removed = 0
    for number, start, end in _fields(data):
        if number == 2:
            brought += 1
        elif number == 6:
            removed += 1
        elif number == 4:
            type_url = data[start:end]
        elif number == 5:
            nonce = data[start:end]
    ack = b"\x12" + bytes((len(type_url),)) + type_url + b"\x32" + bytes((len(nonce),)) + nonce
    return data_frames(ack), brought, removed


@dataclass(slots=True, eq=False)
class Stream:
    """One connection with one call."""

    peer: socket.socket
    responses: int = 0
    brought: int = 0
    removed: int = 0
    last: float = 0.0
    end: str = ""
    """The last words of the server."""
    marks: list[tuple[int, float]] = field(default_factory=list)
    """The edits that responses showed, and when."""
    _unread: bytearray = field(default_factory=bytearray)
    _message: bytearray = field(default_factory=bytearray)
    _taken: int = 0

    def readable(self) -> bool:
        """Read what there is, and acknowledge what is whole. False at the end."""
        try:
            chunk = self.peer.recv(_READ, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        if not chunk:
            return False
        unread = self._unread
        unread += chunk
        position, end = 0, len(unread)
        while end - position >= 9:
            size = int.from_bytes(unread[position : position + 3], "big")
            if end - position < 9 + size:
                break
            kind, flags = unread[position + 3], unread[position + 4]
            position += 9
            if not self._frame(kind, flags, unread, position, size):
                return False
            position += size
        del unread[:position]
        return True

    def _frame(self, kind: int, flags: int, unread: bytearray, start: int, size: int) -> bool:
        if kind == _DATA:
            self._message += unread[start : start + size]
            self._taken += size
            self._messages()
        elif kind == _SETTINGS and not flags:
            self.peer.sendall(frame(_SETTINGS, 1, 0, b""))
        elif kind == _PING and not flags:
            self.peer.sendall(frame(_PING, 1, 0, bytes(unread[start : start + size])))
        if kind in (_RESET, _GOAWAY) or (kind == _HEADERS and flags & 1):
            self.end = f"frame {kind}: {bytes(unread[start : start + size])!r}"
        return not self.end

    def _messages(self) -> None:
        message = self._message
        while len(message) >= 5:
            size = int.from_bytes(message[1:5], "big")
            if len(message) < 5 + size:
                return
            data = bytes(message[5 : 5 + size])
            ack, brought, removed = acknowledgement(data)
            self.last = time.monotonic()
            self.peer.sendall(ack)
            if edit := _EDIT.search(data, 0, _SEARCHED):
                self.marks.append((int(edit[1]), self.last))
            self.responses += 1
            self.brought += brought
            self.removed += removed
            del message[: 5 + size]
        if self._taken > _REFILL:
            more = self._taken.to_bytes(4, "big")
            self.peer.sendall(frame(_WINDOW, 0, 0, more) + frame(_WINDOW, 0, 1, more))
            self._taken = 0


@dataclass(slots=True)
class Clients:
    """All streams of this process."""

    address: tuple[str, int]
    poller: select.epoll = field(default_factory=select.epoll)
    streams: dict[int, Stream] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)

    def connect(self, count: int, first: Iterable[bytes], gateway: str, name: str) -> None:
        """Open so many streams, which ask for this."""
        head, rest = preface(), list(first)
        for number in range(count):
            peer = socket.create_connection(self.address)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            asked = DeltaDiscoveryRequest.FromString(rest[0])
            asked.node.id, asked.node.cluster = f"{name}-{number}", gateway
            peer.sendall(head + b"".join(map(data_frames, (asked.SerializeToString(), *rest[1:]))))
            self.streams[peer.fileno()] = Stream(peer)
            self.poller.register(peer, select.EPOLLIN)
            if number % 20 == 19:
                self.turn(0)

    def turn(self, wait: float) -> bool:
        """Serve what is there; True if there was something."""
        events = self.poller.poll(wait)
        for number, _ in events:
            stream = self.streams.get(number)
            if stream is not None and not stream.readable():
                self.poller.unregister(number)
                stream.peer.close()
                self.ended.append(stream.end or "the connection ended")
                del self.streams[number]
        return bool(events)

    def close(self) -> None:
        """Vanish."""
        for number, stream in self.streams.items():
            self.poller.unregister(number)
            stream.peer.close()
        self.streams.clear()
        self.ended.clear()


def until(clients: Clients, responses: int, brought: int, removed: int) -> float:
    """Serve until every stream has so many responses, with so many resources: when the last came."""
    waiting = set(clients.streams.values())
    while waiting:
        clients.turn(1)
        if clients.ended:
            raise RuntimeError(f"{len(clients.ended)} streams ended: {clients.ended[0]}")
        waiting = {
            one for one in waiting if one.responses < responses or one.brought < brought or one.removed < removed
        }
    return max((one.last for one in clients.streams.values()), default=0.0)


def next_order(clients: Clients) -> str:
    """The next line of standard input. Meanwhile pings are answered: a server ends those who do not."""
    while True:
        ready, _, _ = select.select([sys.stdin, clients.poller], [], [])
        if clients.poller in ready:
            clients.turn(0)
        if sys.stdin in ready:
            return sys.stdin.readline()


def allow_many_files() -> None:
    """As many open connections as this process may have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Obey lines of JSON: `connect`, `until`, `close`; answer each with one."""
    parser = argparse.ArgumentParser(prog="python -m bench.light", description=__doc__)
    parser.add_argument("address", help="HOST:PORT")
    host, _, port = str(parser.parse_args().address).rpartition(":")
    allow_many_files()
    clients, connections = Clients((host, int(port))), 0
    while line := next_order(clients):
        order = json.loads(line)
        answer: dict[str, object] = {}
        if order["do"] == "connect":
            asked = [bytes.fromhex(one) for one in order["asked"]]
            connections += 1
            clients.connect(order["streams"], asked, order["gateway"], f"{order['name']}-{connections}")
        elif order["do"] == "until":
            wanted = (order.get(name, 0) for name in ("responses", "brought", "removed"))
            answer["last"] = until(clients, *wanted)
        elif order["do"] == "marks":
            answer["marks"] = [one.marks for one in clients.streams.values()]
        elif order["do"] == "close":
            clients.close()
        streams = clients.streams.values()
        answer |= {
            "cpu": time.process_time(),
            "brought": sum(one.brought for one in streams),
            "removed": sum(one.removed for one in streams),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
