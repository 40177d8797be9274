"""EnvoyPatchPolicy as it is written: changes of the Envoy resources of a Gateway, by JSON Patch.

Follows gateway.envoyproxy.io/v1alpha1. Refused: an operation with a field that it does not use, or without one that it
needs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator

from xds_server.model.policies import TargetRef
from xds_server.spec import Spec, Text

Resource = Literal[
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
]
Pointer = Annotated[str, StringConstraints(pattern=r"^(/[^\r\n]*)?$", max_length=2048)]
_WITH_VALUE = ("add", "replace", "test")
_WITH_FROM = ("move", "copy")


class PatchOperationSpec(Spec):
    """One operation of RFC 6902. `path` and `from` are JSON pointers; with `jsonPath` the path begins at each hit."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: Pointer | None = None
    json_path: Annotated[Text, Field(min_length=1, max_length=1024)] | None = None
    from_: Annotated[Pointer | None, Field(alias="from")] = None
    value: JsonValue = None

    @model_validator(mode="after")
    def _whole(self) -> PatchOperationSpec:
        if self.path is None and self.json_path is None:
            raise ValueError("give 'path', 'jsonPath', or both")
        if (self.from_ is not None) != (self.op in _WITH_FROM):
            raise ValueError("move and copy need 'from', and nothing else has it")
        if ("value" in self.model_fields_set) != (self.op in _WITH_VALUE):
            raise ValueError("add, replace and test need 'value', and nothing else has it")
        return self


class JsonPatchSpec(Spec):
    """A change of one resource, which is known by its type and its name."""

    type: Resource
    name: Annotated[Text, Field(min_length=1, max_length=1024)]
    operation: PatchOperationSpec


class EnvoyPatchPolicySpec(Spec):
    """Changes for the Envoys of one Gateway. Of several policies the one with the lowest `priority` comes first."""

    type: Literal["JSONPatch"]
    json_patches: Annotated[tuple[JsonPatchSpec, ...], Field(max_length=1024)] = ()
    target_ref: TargetRef
    priority: Annotated[int, Field(strict=True, ge=-(2**31), le=2**31 - 1)] = 0
