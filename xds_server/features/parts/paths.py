"""Replacing a path prefix the way Gateway API says: by whole path elements, with neither lost nor doubled slashes.

In: the prefix that a route matched and what replaces it. Out: either a plain prefix rewrite or a regular expression
with its substitution, whichever Envoy does right. It follows HTTPPathModifier of Gateway API.
"""

from __future__ import annotations

from dataclasses import dataclass

from xds_server.features.parts.patterns import escape

_SPELLED_OUT = 60


@dataclass(frozen=True, slots=True)
class PathChange:
    """Either `prefix` (replace what the route matched) or `pattern` with `substitution`; all empty: no change."""

    prefix: str = ""
    pattern: str = ""
    substitution: str = ""


def replace_prefix(matched: str, replacement: str) -> PathChange:
    """The change that puts `replacement` where `matched` was: `/v1` to `/` makes `/v1/a` into `/a` and `/v1` into `/`."""
    elements = matched.strip("/")
    wanted = replacement.rstrip("/")
    if not elements:
        # The route matched "/" literally, so what replaces it has to end with a slash.
        return PathChange(prefix=f"{wanted}/") if wanted else PathChange()
    if wanted:
        return PathChange(prefix=wanted)
    # Taking a prefix away: Envoy's own rewrite would leave "//a" or "". A long prefix is not spelled out, for Envoy
    # limits the size of expressions; the route has matched already, so counting its elements does as well.
    if len(elements) > _SPELLED_OUT:
        return PathChange(pattern=f"^(?:/[^/]+){{{elements.count('/') + 1}}}/*", substitution="/")
    return PathChange(pattern=f"^{escape('/' + elements)}/*", substitution="/")


def replace_all(replacement: str) -> PathChange:
    """The change to one path, whatever the request's was. The query stays."""
    return PathChange(pattern="^.*$", substitution=(replacement or "/").replace("\\", r"\\"))
