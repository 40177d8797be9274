"""A client of HTTP/3 that checks the server's certificate."""

from __future__ import annotations

import asyncio

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent


class _Client(QuicConnectionProtocol):
    """One request on a connection."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._http = H3Connection(self._quic)
        self._headers: dict[str, str] = {}
        self._body = b""
        self._done = asyncio.get_running_loop().create_future()

    async def get(self, host: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        stream = self._quic.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "https", ":authority": host, ":path": path}
        self._http.send_headers(
            stream, [(name.encode(), text.encode()) for name, text in head.items()], end_stream=True
        )
        self.transmit()
        await asyncio.wait_for(self._done, 10)
        return int(self._headers[":status"]), self._headers, self._body

    def quic_event_received(self, event: QuicEvent) -> None:
        """Collect what comes."""
        for one in self._http.handle_event(event):
            self._take(one)

    def _take(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self._headers |= {name.decode(): text.decode() for name, text in event.headers}
        if isinstance(event, DataReceived):
            self._body += event.data
        if isinstance(event, HeadersReceived | DataReceived) and event.stream_ended and not self._done.done():
            self._done.set_result(None)


def get(
    address: tuple[str, int], name: str, authority: str, host: str = "", path: str = "/"
) -> tuple[int, dict[str, str], bytes]:
    """A request over QUIC with SNI `name`; the server's certificate must be of `authority` (PEM)."""

    async def ask() -> tuple[int, dict[str, str], bytes]:
        configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name, idle_timeout=1.5)
        configuration.load_verify_locations(cadata=authority.encode())
        async with connect(*address, configuration=configuration, create_protocol=_Client) as client:
            assert isinstance(client, _Client)
            return await client.get(host or name, path)

    return asyncio.run(ask())
