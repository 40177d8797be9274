"""A steady load from several connections, and what became of every request."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field


class _Named(http.client.HTTPConnection):
    """TLS to an address, for a name that is not looked up."""

    def __init__(self, address: str, port: int, name: str, tls: ssl.SSLContext) -> None:
        super().__init__(address, port, timeout=15)
        self._name, self._tls = name, tls

    def connect(self) -> None:
        super().connect()
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


@dataclass
class Load:
    """`rate` requests a second to one address, over `connections` connections, until `stop`.

    Not `kept`: each request has a connection of its own. `tls`: over TLS, for the name `host`.
    """

    address: str
    port: int
    host: str
    path: str = "/"
    rate: float = 200.0
    connections: int = 4
    kept: bool = True
    tls: ssl.SSLContext | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    timeline: list[tuple[float, str]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Load:
        for _ in range(self.connections):
            thread = threading.Thread(target=self._run, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    @property
    def total(self) -> int:
        """How many requests have ended."""
        return sum(self.outcomes.values())

    def lasts(self, seconds: float) -> None:
        """Wait until requests have ended over so many seconds from now."""
        begun = time.monotonic()
        deadline = begun + seconds + 60
        while not self.timeline or self.timeline[-1][0] < begun + seconds:
            if time.monotonic() > deadline:
                raise AssertionError("no request ends any more")
            time.sleep(0.05)

    def failures(self, *good: str) -> dict[str, int]:
        """Outcomes that are none of the good ones (default 200)."""
        return {outcome: count for outcome, count in self.outcomes.items() if outcome not in (good or ("200",))}

    def _run(self) -> None:
        pause = self.connections / self.rate
        connection = self._connection()
        due = time.monotonic()
        while not self._stop.is_set():
            due += pause
            outcome = self._one(connection)
            if not self.kept:
                connection.close()
            with self._lock:
                self.outcomes[outcome] += 1
                self.timeline.append((time.monotonic(), outcome))
            time.sleep(max(0.0, due - time.monotonic()))
        connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.address, self.port, timeout=15)
        return _Named(self.address, self.port, self.host, self.tls)

    def _one(self, connection: http.client.HTTPConnection) -> str:
        try:
            connection.request("GET", self.path, headers={"Host": self.host})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return type(error).__name__
        return str(response.status)
