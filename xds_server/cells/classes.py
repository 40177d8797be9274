"""What a class sets, whether a cell uses it or not: fields that do not exist are told at once.

In: CellClass objects. Out: diagnostics. Only unknown fields are judged here: a class may set a part of what a policy
needs, and a cell the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from xds_server.cells.attachments import FIELDS
from xds_server.cells.bindings import OFFSETS
from xds_server.cells.derive import Output
from xds_server.cells.merge import merge_layers, piece
from xds_server.diagnostics import Diagnostic
from xds_server.model.object import Object
from xds_server.types import GATEWAY_GROUP, Key

_UNKNOWN_FIELD = "M110"


def check_classes(objects: Iterable[Object]) -> list[Diagnostic]:
    """The unknown fields below `defaults` and `overrides` of every class."""
    found: list[Diagnostic] = []
    for item in objects:
        if item.key.kind != "CellClass":
            continue
        scratch = Output()
        for part in ("defaults", "overrides"):
            for direction in OFFSETS:
                route = Key(GATEWAY_GROUP, "HTTPRoute", item.name, direction)
                for kind, name in FIELDS.items():
                    layer = piece(item, ("spec", part, direction, name))
                    scratch.add_policy(kind, route, merge_layers([layer]), layer.origin.span)
        subject = str(item.key)
        found += [replace(one, subject=subject) for one in scratch.problems if one.code == _UNKNOWN_FIELD]
    return found
