"""The fields of one spec -> the settings of the features that they belong to.

In: a parsed spec, the object that carries it, and the features. Out: settings, and what is wrong with their fields. What
they apply to is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError
from pydantic_core import ErrorDetails

from xds_server.attach.context import Reading, Written
from xds_server.attach.index import Index
from xds_server.diagnostics import Diagnostic, Path
from xds_server.features.contract import AnyFeature
from xds_server.graph import Setting
from xds_server.model.backend_settings import BackendSettingsSpec
from xds_server.model.object import Object
from xds_server.spec import Spec


def settings_of(
    by: Object | Written, kind: str, spec: Spec, path: Path, features: Sequence[AnyFeature], index: Index
) -> tuple[tuple[Setting, ...], tuple[Diagnostic, ...], bool]:
    """The settings that the fields of one spec mean; the flag is True when one of them is in error.

    `path` is where the spec is written below the object's body.
    """
    written_by = by if isinstance(by, Written) else Written(by)
    aliases = {info.alias or name: name for name, info in type(spec).model_fields.items()}
    settings, problems, failed = [], [], False
    for feature in features:
        for carrier, field in feature.carriers:
            written = getattr(spec, aliases[field]) if carrier == kind and field in aliases else None
            if written is None:
                continue
            reading = Reading(written_by, (*path, field), index, _Expanding(features, index))
            value = feature.resolve(written, reading)
            problems += reading.problems
            failed = failed or reading.failed
            if value is not None:
                settings.append(Setting(feature.name, value, written_by.item.origins))
    return tuple(settings), tuple(problems), failed


@dataclass(frozen=True, slots=True)
class _Expanding:
    """Reads `backendSettings`: fields of a BackendTrafficPolicy, for the cluster of one service."""

    features: Sequence[AnyFeature]
    index: Index

    def __call__(
        self, by: Written, written: JsonValue, path: Path
    ) -> tuple[tuple[Setting, ...] | None, Sequence[Diagnostic]]:
        try:
            spec = BackendSettingsSpec.model_validate(written)
        except ValidationError as error:
            found = error.errors(include_url=False)
            return None, [_refused(by, (*path, *one["loc"]), _reason(one)) for one in found]
        if unfit := spec.unfit():
            return None, [_refused(by, (*path, *place), reason) for place, reason in unfit]
        settings, problems, failed = settings_of(by, "BackendTrafficPolicy", spec, path, self.features, self.index)
        return (None if failed else settings), problems


def _refused(by: Written, path: Path, reason: str) -> Diagnostic:
    writer, place = by.at(path)
    return writer.diagnose("F103", *place, reason=reason)


def _reason(error: ErrorDetails) -> str:
    return (
        "there is no such field here"
        if error["type"] == "extra_forbidden"
        else error["msg"].removeprefix("Value error, ")
    )
