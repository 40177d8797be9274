"""What guards of browsers decide: CORS and cross-site request forgery.

In: a route's policy and a request. Out: a `Verdict`. Both hang on the request's head alone, so they are decided here.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from xds_server.envoy_api.envoy.extensions.filters.http.cors.v3.cors_pb2 import CorsPolicy
from xds_server.envoy_api.envoy.extensions.filters.http.csrf.v3.csrf_pb2 import CsrfPolicy
from xds_server.explain.matching import fits
from xds_server.explain.request import Request
from xds_server.explain.verdict import PASSES, Verdict, answers, depends, passes

_WRITES = ("POST", "PUT", "DELETE", "PATCH")
_MILLION = 1_000_000


def cross_origin(policy: CorsPolicy, request: Request) -> Verdict:
    """Preflights are answered at the gateway, also those without a permission."""
    origin = "".join(request.headers.get("origin", ())[:1])
    if not origin:
        return PASSES
    allowed = any(fits(one, origin) for one in policy.allow_origin_string_match)
    word = f"the origin {origin} may" if allowed else f"the origin {origin} may not"
    preflight = request.method == "OPTIONS" and any(request.headers.get("access-control-request-method", ()))
    if not preflight:
        return passes(f"{word} see the answer")
    return answers(200, f"a preflight: {word} call")


def forgery(policy: CsrfPolicy, request: Request) -> Verdict:
    """Requests that change something must name an origin that is the request's own host, or an additional one."""
    if request.method not in _WRITES:
        return PASSES
    written = "".join(request.headers.get("origin", ())[:1] or request.headers.get("referer", ())[:1])
    source = _host_and_port(written)
    own = source and source == _host_and_port(f"http://{request.host}", request.port)
    if own or any(fits(one, source) for one in policy.additional_origins):
        return passes(f"it comes from {source}")
    reason = f"it comes from {source}" if source else "it names no origin"
    enforced = policy.filter_enabled.default_value.numerator
    return answers(403, reason) if enforced >= _MILLION else depends(f"{reason}, and a share is refused", 403)


def _host_and_port(origin: str, port: int | None = None) -> str:
    """`HOST` or `HOST:PORT`, as Envoy compares it."""
    found = urlsplit(origin).netloc if "://" in origin else ""
    return f"{found}:{port}" if found and port else found
