"""The fields of one spec -> the settings of the features that they belong to.

In: a parsed spec, the object that carries it, and the features. Out: settings, and what is wrong with their fields. What
they apply to is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError
from pydantic_core import ErrorDetails

from xds_server.attach.context import Reading
from xds_server.attach.index import Index
from xds_server.diagnostics import Diagnostic, Path
from xds_server.features.contract import AnyFeature
from xds_server.graph import Setting
from xds_server.model.backend_settings import BackendSettingsSpec
from xds_server.model.object import Object
from xds_server.spec import Spec


def settings_of(
    item: Object, kind: str, spec: Spec, path: Path, features: Sequence[AnyFeature], index: Index
) -> tuple[tuple[Setting, ...], tuple[Diagnostic, ...], bool]:
    """The settings that the fields of one spec mean; the flag is True when one of them is in error.

    `path` is where the spec is written below the object's body.
    """
    aliases = {info.alias or name: name for name, info in type(spec).model_fields.items()}
    settings, problems, failed = [], [], False
    for feature in features:
        for carrier, field in feature.carriers:
            written = getattr(spec, aliases[field]) if carrier == kind and field in aliases else None
            if written is None:
                continue
            reading = Reading(item, (*path, field), index, _Expanding(features, index))
            value = feature.resolve(written, reading)
            problems += reading.problems
            failed = failed or reading.failed
            if value is not None:
                settings.append(Setting(feature.name, value, item.origins))
    return tuple(settings), tuple(problems), failed


@dataclass(frozen=True, slots=True)
class _Expanding:
    """Reads `backendSettings`: fields of a BackendTrafficPolicy, for the cluster of one service."""

    features: Sequence[AnyFeature]
    index: Index

    def __call__(
        self, item: Object, written: JsonValue, path: Path
    ) -> tuple[tuple[Setting, ...] | None, Sequence[Diagnostic]]:
        try:
            spec = BackendSettingsSpec.model_validate(written)
        except ValidationError as error:
            found = error.errors(include_url=False)
            return None, [item.diagnose("F103", *path, *one["loc"], reason=_reason(one)) for one in found]
        if unfit := spec.unfit():
            return None, [item.diagnose("F103", *path, *place, reason=reason) for place, reason in unfit]
        settings, problems, failed = settings_of(item, "BackendTrafficPolicy", spec, path, self.features, self.index)
        return (None if failed else settings), problems


def _reason(error: ErrorDetails) -> str:
    return (
        "there is no such field here"
        if error["type"] == "extra_forbidden"
        else error["msg"].removeprefix("Value error, ")
    )
