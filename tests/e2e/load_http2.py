"""Requests over HTTP/2, one after the other on one connection, and what became of each.

Written with frames: libraries give a connection up when they hear GOAWAY, and lose the answers that are still to come. What
the other side says it has not begun is asked again on another connection, as RFC 9113 has it.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator

from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, SettingsFrame, WindowUpdateFrame

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class _Connection:
    """One connection. After GOAWAY no request is begun on it."""

    def __init__(self, address: str, port: int) -> None:
        self.leaving = False
        self._authority, self._next = f"{address}:{port}", 1
        self._encoder, self._decoder, self._buffer = Encoder(), Decoder(), b""
        self._socket = socket.create_connection((address, port), timeout=15)
        self._socket.sendall(_PREFACE + SettingsFrame(0).serialize())

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def get(self) -> str:
        """The status of a request; empty if the other side says that it has not begun it."""
        stream, self._next = self._next, self._next + 2
        names = (":method", "GET"), (":scheme", "http"), (":authority", self._authority), (":path", "/")
        request = HeadersFrame(stream, self._encoder.encode(names), flags=["END_HEADERS", "END_STREAM"])
        self._socket.sendall(request.serialize())
        status = "none"
        for frame in self._frames():
            if isinstance(frame, GoAwayFrame):
                self.leaving = True
                if frame.last_stream_id < stream:
                    return ""
            elif isinstance(frame, SettingsFrame | PingFrame) and "ACK" not in frame.flags:
                self._socket.sendall(_acknowledge(frame).serialize())
            elif isinstance(frame, HeadersFrame) and frame.stream_id == stream:
                status = str(next(iter(self._decoder.decode(frame.data)))[1])
            elif isinstance(frame, DataFrame) and frame.flow_controlled_length:
                self._socket.sendall(WindowUpdateFrame(0, frame.flow_controlled_length).serialize())
            if isinstance(frame, HeadersFrame | DataFrame) and "END_STREAM" in frame.flags:
                return status
        return "closed"

    def _frames(self) -> Iterator[Frame]:
        while True:
            while len(self._buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self._buffer[:9]))
                if len(self._buffer) < 9 + length:
                    break
                frame.parse_body(memoryview(self._buffer[9 : 9 + length]))
                self._buffer = self._buffer[9 + length :]
                yield frame
            piece = self._socket.recv(65536)
            if not piece:
                return
            self._buffer += piece


def _acknowledge(frame: SettingsFrame | PingFrame) -> Frame:
    if isinstance(frame, PingFrame):
        return PingFrame(0, frame.opaque_data, flags=["ACK"])
    return SettingsFrame(0, flags=["ACK"])


class Http2:
    """A load that goes on until the end of the `with`. `outcomes` counts statuses, and names of errors."""

    def __init__(self, address: str, port: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.connections = 0
        self._at, self._stop = (address, port), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Http2:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        connection: _Connection | None = None
        while not self._stop.wait(0.005):
            try:
                if connection is None:
                    connection, self.connections = _Connection(*self._at), self.connections + 1
                outcome = connection.get()
            except OSError as error:
                outcome = type(error).__name__
            if outcome:
                self.outcomes[outcome] += 1
            if connection is not None and (connection.leaving or outcome != "200"):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()
