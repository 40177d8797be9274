"""What every part of lowering works with: the plan, the sections of all cells, and what was made so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from xds_server.cells.derive import Output
from xds_server.cells.plan import Plan
from xds_server.cells.sections import Added, Sections
from xds_server.model.namespaces import ReferenceGrantSpec
from xds_server.model.object import Object
from xds_server.status import Status
from xds_server.types import GATEWAY_GROUP, Key


@dataclass(frozen=True, slots=True)
class Lowering:
    """`written` are the identities of written objects that are no cells, without those that a derived object takes.

    `others` are all objects that are no cells. `paths` says whose each host and path is on the internet. `added` are the
    routes that a cell has on top of those of its endpoints; `carried` says for which sections a written route stands, `kept`
    which of these routes have other parents, too, `replaced` who took a derived route's place; `closed` are sections that
    stay shut because of a written object.
    """

    plan: Plan
    sections: Mapping[str, Sections]
    written: frozenset[Key]
    output: Output
    others: Mapping[Key, Object] = field(default_factory=dict)
    paths: dict[tuple[str, str], str] = field(default_factory=dict)
    added: dict[str, list[Added]] = field(default_factory=dict)
    carried: dict[Key, list[str]] = field(default_factory=dict)
    kept: set[Key] = field(default_factory=set)
    replaced: dict[Key, Key] = field(default_factory=dict)
    closed: list[tuple[str, str, Object]] = field(default_factory=list)
    statuses: dict[Key, Status] = field(default_factory=dict)

    def grants(self, target: Key) -> Iterator[ReferenceGrantSpec]:
        """The ReferenceGrants of the namespace of an object."""
        for key, item in self.others.items():
            if (key.group, key.kind, key.namespace) == (GATEWAY_GROUP, "ReferenceGrant", target.namespace):
                assert isinstance(item.spec, ReferenceGrantSpec)
                yield item.spec
