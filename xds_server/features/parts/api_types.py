"""Types of Envoy's API that a document names: they are known once their modules are imported.

In: a document as plain data. Out: nothing; what Envoy does not have stays unknown, and whoever reads the document says so.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pool

_API = "xds_server.envoy_api"


def load_types(document: Any) -> None:
    """Make the types known that a document names by `@type`, if Envoy has them."""
    if isinstance(document, dict):
        url = document.get("@type")
        if isinstance(url, str):
            load_type(url.rpartition("/")[2])
        document = list(document.values())
    if isinstance(document, list):
        for one in document:
            load_types(one)


def load_type(name: str) -> None:
    """Import the modules of the package that a type is in: Envoy's packages are folders."""
    try:
        descriptor_pool.Default().FindMessageTypeByName(name)
    except KeyError:
        package, _, _ = name.rpartition(".")
        if package.replace(".", "").replace("_", "").isalnum() and package.startswith(("envoy.", "xds.")):
            for module in _modules(f"{_API}.{package}"):
                importlib.import_module(module)


def _modules(package: str) -> Iterator[str]:
    try:
        found = importlib.import_module(package)
    except ImportError:
        return
    for one in pkgutil.iter_modules(getattr(found, "__path__", ())):
        if one.name.endswith("_pb2"):
            yield f"{package}.{one.name}"
