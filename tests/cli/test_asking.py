"""What a command sends to whoever answers where a server should be."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer

from xds_server.cli.asking import send


class Stranger(ThreadingHTTPServer):
    """Asks for a token that is in a file of its choice, and keeps what it is sent."""

    file = Path()
    seen: list[tuple[str | None, bytes]]


class _Handler(BaseHTTPRequestHandler):
    server: Stranger

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append((self.headers["authorization"], body))
        self.send_response(200 if self.headers["authorization"] else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"tokenFile": str(self.server.file)}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with Stranger(("127.0.0.1", 0), _Handler) as server:
        server.seen = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server: Stranger) -> int:
    return send(f"127.0.0.1:{server.server_address[1]}", "/api/v1/apply", {"files": {"a.yaml": "x"}}, 10)[0]


def test_the_token_is_read_where_the_server_says(stranger: Stranger, tmp_path: Path) -> None:
    word = f"cellway-{'0' * 64}"
    stranger.file = tmp_path / "token"
    stranger.file.write_text(f"{word}\n", encoding="utf-8")
    assert ask(stranger) == 200
    assert stranger.seen == [(None, b"{}"), (f"Bearer {word}", b'{"files": {"a.yaml": "x"}}')]


@pytest.mark.parametrize("text", ["a private key", "", None])
def test_no_other_file_is_sent_to_whoever_asks_for_it(
    stranger: Stranger, tmp_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger.file = tmp_path / "key"
    if text is not None:
        stranger.file.write_text(text, encoding="utf-8")
    with pytest.raises(typer.Exit) as ended:
        ask(stranger)
    assert (ended.value.exit_code, stranger.seen) == (2, [(None, b"{}")])
    assert str(stranger.file) in capsys.readouterr().err
