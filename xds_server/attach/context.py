"""What a feature may ask while its spec gets its meaning: values of ConfigMaps and Secrets, and a place to complain.

In: the object that carries the spec, and the spec's path in it. Out: looked-up values, and the diagnostics that
the feature reported. References into other namespaces need a ReferenceGrant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from posixpath import dirname, join, normpath
from typing import Protocol

from pydantic import JsonValue

from xds_server.attach.backends import Unresolved, resolve_backend
from xds_server.attach.index import Index
from xds_server.diagnostics import Diagnostic, Path, Severity
from xds_server.features.contract import Reference
from xds_server.graph import Backend, Endpoint, Setting
from xds_server.model.core import ConfigMapBody, SecretBody
from xds_server.model.object import Object
from xds_server.types import CORE_GROUP, CodeFile, Fetched, Key, Secret

_CLOSES = ("F144",)
"""Not an error, and yet nothing may pass: it is not known yet whom to let in."""


class Expand(Protocol):
    """Reads `backendSettings` of an object at a path: its settings, None if they cannot be, and what is wrong."""

    def __call__(
        self, by: Written, written: JsonValue, path: Path
    ) -> tuple[tuple[Setting, ...] | None, Sequence[Diagnostic]]: ...


@dataclass(frozen=True, slots=True)
class Written:
    """Who wrote a spec: `item`, but for the `parts` that another object wrote, each with its place there."""

    item: Object
    parts: Mapping[Path, tuple[Object, Path]] = field(default_factory=dict)

    def at(self, path: Path) -> tuple[Object, Path]:
        """Who wrote what stands at a path, and where."""
        for length in range(len(path), 0, -1):
            if (found := self.parts.get(path[:length])) is not None:
                return found[0], (*found[1], *path[length:])
        return self.item, path


@dataclass(slots=True)
class Reading:
    """One spec being read. Implements `features.contract.Context`. A reference is that of the object that wrote it."""

    written: Written
    path: Path
    index: Index
    expand: Expand
    problems: list[Diagnostic] = field(default_factory=list)

    @property
    def owner(self) -> str:
        """`NAMESPACE/NAME` of the object that carries the spec."""
        return f"{self.written.item.namespace}/{self.written.item.name}"

    @property
    def failed(self) -> bool:
        """True once an error was reported, or what closes as an error does."""
        return any(problem.severity == Severity.ERROR or problem.code in _CLOSES for problem in self.problems)

    def problem(self, code: str, *path: str | int, hint: str = "", **words: object) -> None:
        """Report a diagnostic at a place below the spec."""
        writer, place = self.written.at((*self.path, *path))
        self.problems.append(writer.diagnose(code, *place, hint=hint, **words))

    def config_map(self, name: str, namespace: str | None, *path: str | int) -> dict[str, str] | None:
        """The data of a ConfigMap, or None after having reported why there is none."""
        found = self._look_up("ConfigMap", name, namespace, path)
        return found.spec.data if found and isinstance(found.spec, ConfigMapBody) else None

    def secret(self, name: str, namespace: str | None, *path: str | int) -> dict[str, Secret] | None:
        """The data of a Secret, or None after having reported why there is none."""
        found = self._look_up("Secret", name, namespace, path)
        if found is None or not isinstance(found.spec, SecretBody):
            return None
        return {key: Secret(value) for key, value in found.spec.values().items()}

    def backend(self, ref: Reference, *path: str | int, needed: bool = True) -> Backend | None:
        """What a backendRef leads to, or None after having reported why nowhere: an error, a warning if not `needed`."""
        writer, _ = self.written.at((*self.path, *path))
        found = resolve_backend(ref, writer.key, self.index)
        if isinstance(found, Unresolved):
            code = "A105" if needed else "A117"
            self.problem(code, *path, *found.path, hint=found.hint, reason=found.message)
            return None
        if found.lookups is not None:
            self.problem(
                "A105", *path, reason=f"{found.name} is a DynamicResolver, and nobody names a host for it here"
            )
            return None
        if not found.endpoints:
            self.problem("A146", *path, name=found.name)
        return found

    def cluster_settings(self, written: JsonValue, *path: str | int) -> tuple[Setting, ...] | None:
        """What `backendSettings` mean; None after having reported what is wrong with them."""
        settings, problems = self.expand(self.written, written, (*self.path, *path))
        self.problems += problems
        return settings

    def location_databases(self) -> Mapping[str, str]:
        """Files that tell where addresses are."""
        return self.index.databases

    def log_folders(self) -> Sequence[str]:
        """Folders in which access logs may be written."""
        return self.index.log_folders

    def unreachable(self, endpoints: Sequence[Endpoint]) -> str:
        """What the server itself listens on is no place for them."""
        return self.index.reach.refusal(endpoints)

    def module_folders(self) -> Sequence[str]:
        """Folders right in which native modules may be."""
        return self.index.module_folders

    def code_file(self, name: str, *path: str | int) -> CodeFile | None:
        """A module beside the policies, or None after having reported why there is none."""
        writer, _ = self.written.at((*self.path, *path))
        whole = normpath(join(dirname(writer.source.positions.start.file), name))
        found = self.index.code_files.get(whole)
        if found is None or found.problem:
            reason = f"there is no file {whole}" if found is None else f"{whole} cannot be used: {found.problem}"
            self.problem("A105", *path, reason=reason)
            return None
        return found

    def may_extend(self, *path: str | int) -> bool:
        """True if the writer's namespace may run code in Envoys."""
        return self.index.may_extend(self.namespace(*path))

    def namespace(self, *path: str | int) -> str:
        """The namespace of the writer."""
        writer, _ = self.written.at((*self.path, *path))
        return writer.namespace

    def document(self, url: str) -> Fetched | None:
        """A document of the web as it is known now."""
        self.index.wanted.add(url)
        return self.index.fetched.get(url)

    def _look_up(self, kind: str, name: str, namespace: str | None, path: Path) -> Object | None:
        writer, _ = self.written.at((*self.path, *path))
        target = Key(CORE_GROUP, kind, namespace or writer.namespace, name)
        found = self.index.by_key.get(target)
        if not self.index.permitted(writer.key, target):
            reason = f"{target} is in another namespace and no ReferenceGrant there permits {writer.key.kind}"
            self.problem("A105", *path, reason=f"{reason} of {writer.namespace}")
            return None
        # What identifies a cell's gateway is for it alone, and what production keeps for what its cells made.
        if found is None or (kind == "Secret" and found.derived) or (found.kept and not writer.derived):
            self.problem("A105", *path, reason=f"there is no {target}")
            return None
        return found
