"""`cellway version`: which Cellway this is, and for which Envoy it was made."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from xds_server import __version__


def version(
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="How to print it.")] = "text",
) -> None:
    """Print the version.

    Example: cellway version -o json
    """
    import json
    import platform

    from xds_server.supervise.binary import ENVOY_VERSION

    known = {"cellway": __version__, "envoy_api": ENVOY_VERSION, "python": platform.python_version()}
    if output == "json":
        print(json.dumps(known))
    else:
        print("\n".join(f"{name} {value}" for name, value in known.items()))
