"""URLs that a provider sends people back to.

In: a URL as written, where the scheme and the host may be those of the request. Out: what is wrong with it, or its
path. No other operator of Envoy is let through: some of them read the environment.
"""

from __future__ import annotations

from urllib.parse import urlsplit

_OPERATORS = {"%REQ(x-forwarded-proto)%": "https", "%REQ(:authority)%": "host.example"}


def _plain(url: str) -> str:
    for operator, example in _OPERATORS.items():
        url = url.replace(operator, example)
    return url


def redirect_problem(url: str) -> str:
    """Why people cannot be sent back to this URL; empty if they can."""
    plain = _plain(url)
    if "%" in plain:
        return f"of Envoy's operators only {' and '.join(_OPERATORS)} may stand in it"
    try:
        parts = urlsplit(plain)
    except ValueError as error:
        return str(error)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        return "it must be an http or https URL"
    if parts.query or parts.fragment or any(sign.isspace() for sign in plain):
        return "it must have no query, no fragment and no space"
    return "" if parts.path.strip("/") else "it needs a path of its own, such as /oauth2/callback"


def redirect_path(url: str) -> str:
    """The path of such a URL."""
    try:
        return urlsplit(_plain(url)).path
    except ValueError:
        return ""
