"""One document of the web, asked for once.

In: a URL. Out: its text. Refused are redirects, anything but 200, long answers, slow ones, and addresses that only a
machine itself should ask: a name is looked up first, and the connection goes to the address that was checked.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from xds_server.features.parts.issuers import description_problem, place_problem
from xds_server.features.parts.servers import WebServer, address_problem, parse_server, server_problem

LONGEST = 256 * 1024
TIMEOUT = 10.0
_OK = 200
_LATE = f"its answer takes longer than {TIMEOUT:g} s"


class FetchError(Exception):
    """Why a document was not fetched."""


def fetch_description(url: str) -> str:
    """What an issuer of tokens says of itself, at the URL where it says so. Blocks. FetchError if it does not."""
    if problem := place_problem(url):
        raise FetchError(problem)
    text = fetch(url)
    if problem := description_problem(text, url):
        raise FetchError(problem)
    return text


class _Connection(http.client.HTTPConnection):
    """A connection to an address that was looked up and checked before."""

    def __init__(self, server: WebServer, address: tuple[str, int]) -> None:
        super().__init__(server.host, server.port, timeout=TIMEOUT)
        self._server, self._address = server, address
        self.is_late = False
        self._line: socket.socket | None = None  # http.client forgets `sock` while an answer without a length is read

    def connect(self) -> None:
        plain = socket.create_connection(self._address, TIMEOUT)
        if not self._server.tls:
            self.sock = self._line = plain
            return
        secure = ssl.create_default_context().wrap_socket(
            plain, server_hostname=self._server.host, do_handshake_on_connect=False
        )
        self.sock = self._line = secure
        secure.do_handshake()

    def give_up(self) -> None:
        """End all that is under way, from another thread."""
        self.is_late = True
        if self._line is not None:
            with contextlib.suppress(OSError):  # it has ended already
                self._line.shutdown(socket.SHUT_RDWR)


def fetch(url: str, look_up: Callable[..., Sequence[Any]] = socket.getaddrinfo) -> str:
    """The document. Blocks. FetchError if there is none."""
    server = parse_server(url, "fetch")
    if isinstance(server, str) or (problem := server_problem(server)):
        raise FetchError(server if isinstance(server, str) else problem)
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: _Connection | None = None
    try:
        connection = _Connection(server, _address(server, look_up))
        # A timeout is for each wait. Who sends a byte now and then could hold us for days.
        patience = threading.Timer(TIMEOUT, connection.give_up)
        patience.daemon = True
        patience.start()
        try:
            connection.request("GET", target, headers={"Accept": "application/json", "User-Agent": "cellway"})
            text = _text(connection.getresponse())
            if connection.is_late:  # an end that we made looks like one of the document
                raise FetchError(_LATE)
            return text
        finally:
            patience.cancel()
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        if connection is not None and connection.is_late:
            raise FetchError(_LATE) from None
        raise FetchError(str(error) or type(error).__name__) from None


def _address(server: WebServer, look_up: Callable[..., Sequence[Any]]) -> tuple[str, int]:
    """The first address of the server; FetchError if one of them must not be asked."""
    found = look_up(server.host, server.port, type=socket.SOCK_STREAM)
    for *_, (host, *_rest) in found:
        if problem := address_problem(str(host)):
            raise FetchError(f"{server.host}: {problem}")
    if not found:
        raise FetchError(f"{server.host} has no address")
    return str(found[0][4][0]), server.port


def _text(answer: http.client.HTTPResponse) -> str:
    if answer.status != _OK:
        raise FetchError(f"it answers {answer.status}")
    data = answer.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise FetchError(f"it answers with more than {LONGEST} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FetchError("its answer is no text in UTF-8") from None
