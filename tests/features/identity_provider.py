"""A small OpenID Connect provider, strict where it matters: it knows one client, and every code and verifier counts once.

In: requests of a browser (`/authorize`) and of a gateway (`/token`). Out: redirects with codes, and signed tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.e2e.tokens import token


class IdentityProvider:
    """Logs everybody in as `ann`."""

    def __init__(self, client: str, secret: str) -> None:
        self.client, self.secret = client, secret
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[dict[str, str]] = []
        self.lifetime = 3600
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                query = {name: texts[0] for name, texts in parse_qs(urlsplit(self.path).query).items()}
                code = f"code-{len(provider.codes)}"
                provider.codes[code] = query
                back = urlencode({"code": code, "state": query["state"]})
                self.send_response(302)
                self.send_header("location", f"{query['redirect_uri']}?{back}")
                self.send_header("content-length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                form = self.rfile.read(int(self.headers["content-length"])).decode()
                asked = {name: texts[0] for name, texts in parse_qs(form).items()}
                provider.asked.append(asked)
                status, told = provider.exchange(asked)
                body = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.address = ("127.0.0.1", int(self._http.server_address[1]))
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.address[1]}"

    def exchange(self, asked: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Tokens for a code or a refresh token, or an error of OAuth 2."""
        if (asked.get("client_id"), asked.get("client_secret")) != (self.client, self.secret):
            return 401, {"error": "invalid_client"}
        if asked["grant_type"] == "refresh_token" and asked.get("refresh_token") == "refresh-ann":
            return 200, self._tokens("refreshed")
        wanted = self.codes.pop(asked.get("code", ""), None)
        digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if wanted is None or (wanted["redirect_uri"], wanted["code_challenge"]) != (asked["redirect_uri"], challenge):
            return 400, {"error": "invalid_grant"}
        return 200, self._tokens("first")

    def _tokens(self, session: str) -> dict[str, Any]:
        return {
            "access_token": token(sub="ann", session=session),
            "id_token": token(sub="ann", name="Ann", session=session),
            "refresh_token": "refresh-ann",
            "token_type": "Bearer",
            "expires_in": self.lifetime,
        }

    def close(self) -> None:
        """Stop."""
        self._http.shutdown()
        self._http.server_close()
