"""A request as it is asked about: what a client sends, and what Envoy makes of its path.

In: method, URL, headers. Out: a `Request`. Paths are normalised as Envoy's connection managers do it (RFC 3986: dot
segments, escaped letters; then slashes that follow each other).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNRESERVED = re.compile(r"%(?:4[1-9A-Fa-f]|5[0-9Aa]|6[1-9A-Fa-f]|7[0-9AaEe]|3[0-9]|2[DdEe]|5[Ff])")
_PARAMETERS_OF_DOTS = re.compile(r"(?<=/)(\.{1,2});[^/]*")
_ESCAPED_SLASH = re.compile(r"%(?:2[Ff]|5[Cc])")


class NotARequestError(ValueError):
    """The text is no request that Envoy could get."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `port` None: any port that speaks the scheme. `headers` are values by name in
    lower case.

    `source` is the client's address, `peer` the URI in its certificate, `server_name` what TLS asks for instead of the
    host; empty: not known.
    """

    method: str
    scheme: Literal["http", "https"]
    host: str
    port: int | None
    path: str
    headers: Mapping[str, tuple[str, ...]]
    source: str = ""
    peer: str = ""
    server_name: str = ""

    @property
    def bare_path(self) -> str:
        """The path without its query."""
        return self.path.partition("?")[0]

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query as they are written; of several with one name the first counts."""
        found: dict[str, str] = {}
        for part in self.path.partition("?")[2].split("&"):
            name, _, value = part.partition("=")
            if part:
                found.setdefault(name, value)
        return found

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies; of several with one name the first counts."""
        found: dict[str, str] = {}
        for part in (part for line in self.headers.get("cookie", ()) for part in line.split(";")):
            name, equals, value = part.strip().partition("=")
            if equals:
                found.setdefault(name, value.strip('"'))
        return found


def read_request(method: str, url: str, headers: Iterable[tuple[str, str]] = ()) -> Request:
    """A request for a URL with a scheme and a host. NotARequestError says what is wrong with it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise NotARequestError(f"'{url}' is no URL: {error}") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise NotARequestError(f"'{url}' is no URL such as https://shop.example/orders?page=2")
    if not re.fullmatch(r"[A-Z-]+", method):
        raise NotARequestError(f"'{method}' is no method such as GET")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    found: dict[str, tuple[str, ...]] = {}
    for name, value in headers:
        found[name.lower()] = (*found.get(name.lower(), ()), value)
    host = found.pop("host", (parts.hostname,))[0].lower()
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return Request(method, scheme, host, port, path, found)


def has_escaped_slash(path: str) -> bool:
    """Whether a path hides a slash or a backslash behind an escape."""
    return _ESCAPED_SLASH.search(path.partition("?")[0]) is not None


def normal_path(path: str) -> str:
    """The path without dot segments and needless escapes; the query stays. A backslash counts as a slash.

    A dot segment may carry parameters (`/..;x`) if neither its dots are escaped nor its slash is a backslash.
    """
    bare, mark, query = path.partition("?")
    bare = _PARAMETERS_OF_DOTS.sub(r"\1", bare).replace("\\", "/")
    bare = _UNRESERVED.sub(lambda found: chr(int(found[0][1:], 16)), bare)
    kept: list[str] = []
    segments = bare.split("/")[1:]
    for number, segment in enumerate(segments):
        if segment in (".", ".."):
            del kept[-1 if segment == ".." and kept else len(kept) :]
            kept += [""] if number == len(segments) - 1 else []
        else:
            kept.append(segment)
    return "/" + "/".join(kept) + mark + query


def without_double_slashes(path: str) -> str:
    """The path in which no slash follows another. Envoy leaves two where there is nothing but slashes."""
    bare, mark, query = path.partition("?")
    if "//" not in bare:
        return path
    end = "/" if bare.endswith("/") else ""
    return "/" + "/".join(part for part in bare.split("/") if part) + end + mark + query
