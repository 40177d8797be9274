"""`Object`: one typed, frozen object, whether written by a user or derived from a cell.

In: a spec model and where it was written. Out: the value that `cells/` and `attach/` work with. An object
knows no other object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xds_server.diagnostics import Diagnostic, diagnose
from xds_server.spec import Spec
from xds_server.types import Key, Meta, Origin, Source


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """One object. `spec` is the kind's model (for Secret and ConfigMap: of the whole body).

    `document` is what was written, as JSON values; never changed. `made_from` are the origins of a derived object,
    empty for a written one. Objects are compared by identity.
    """

    key: Key
    meta: Meta
    spec: Spec
    source: Source
    document: Mapping[str, Any]
    made_from: tuple[Origin, ...] = ()
    body: tuple[str, ...] = ("spec",)
    """The path of `spec` inside the document: ("spec",), or () where the body is the document itself."""
    broken: bool = False
    """True for an object with errors of which only what it covers could be read, so that this is closed.

    Of a policy `spec` is a `Targets`, of an HTTPRoute it has parents alone; an Organization covers everything.
    """

    kept: bool = False
    """True for a Secret that only what a cell made may read."""

    @property
    def derived(self) -> bool:
        """True if a cell made this object."""
        return bool(self.made_from)

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The documents behind it: itself, or what it was made from."""
        return self.made_from or (Origin(self.key, self.source.positions.start),)

    @property
    def namespace(self) -> str:
        """The namespace, empty for cluster-wide kinds."""
        return self.key.namespace

    @property
    def name(self) -> str:
        """The name."""
        return self.key.name

    def diagnose(self, code: str, *path: str | int, hint: str = "", **words: object) -> Diagnostic:
        """A diagnostic about this object at a path below its spec."""
        full = (*self.body, *path)
        return diagnose(code, self.source.value(*full), subject=str(self.key), hint=hint, **words)
