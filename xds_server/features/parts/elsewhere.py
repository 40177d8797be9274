"""Where an answer sends its client instead: the redirect of a `responseOverride`.

In: a redirect as written. Out: the value of `location`. Parts that are not written stay: the scheme, and the path as the
backend got it. Without a hostname the location is a path, so that no inner name of a host is ever told.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from xds_server.features.contract import Context
from xds_server.features.parts.values import literal
from xds_server.spec import Port, PreciseHostname, Spec, Text

_OWN_PATH = "%REQ(:PATH)%"
PathText = Annotated[Text, Field(min_length=1, max_length=1024, pattern=r"^/([^/\\]|$)")]


class NewPathSpec(Spec):
    """The path of the new place. `ReplacePrefixMatch` is refused: an answer does not know what its route matched."""

    type: Literal["ReplaceFullPath", "ReplacePrefixMatch"]
    replace_full_path: PathText | None = None
    replace_prefix_match: Text | None = None


class ElsewhereSpec(Spec):
    """The new place."""

    scheme: Literal["http", "https"] | None = None
    hostname: PreciseHostname | None = None
    path: NewPathSpec | None = None
    port: Port | None = None
    status_code: Literal[301, 302] = 302


def location(spec: ElsewhereSpec, context: Context, *path: str | int) -> str | None:
    """The value of `location`, with Envoy's operators where it depends on the request; None after a problem."""
    if spec.path is not None and spec.path.type == "ReplacePrefixMatch":
        hint = "ReplaceFullPath works"
        context.problem("F102", *path, "path", "type", field="ReplacePrefixMatch of a responseOverride", hint=hint)
        return None
    if spec.path is not None and (spec.path.replace_full_path is None or spec.path.replace_prefix_match is not None):
        reason = "type ReplaceFullPath needs the field replaceFullPath and no other"
        context.problem("F103", *path, "path", reason=reason)
        return None
    if spec.hostname is None and (spec.scheme or spec.port):
        context.problem("F103", *path, reason="scheme and port need a hostname to go with")
        return None
    if spec.hostname is None and spec.path is None:
        context.problem("F103", *path, reason="a redirect needs a hostname or a path, or it leads back to itself")
        return None
    target = literal(spec.path.replace_full_path or "/") if spec.path else _OWN_PATH
    if spec.hostname is None:
        return target
    start = f"{spec.scheme}:" if spec.scheme else ""
    port = f":{spec.port}" if spec.port else ""
    return f"{start}//{spec.hostname}{port}{target}"
