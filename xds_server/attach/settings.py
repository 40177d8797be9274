"""The fields of one spec -> the settings of the features that they belong to.

In: a parsed spec, the object that carries it, and the features. Out: settings, and what is wrong with their fields. What
they apply to is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence

from xds_server.attach.context import Reading
from xds_server.attach.index import Index
from xds_server.diagnostics import Diagnostic, Path
from xds_server.features.contract import AnyFeature
from xds_server.graph import Setting
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
            reading = Reading(item, (*path, field), index)
            value = feature.resolve(written, reading)
            problems += reading.problems
            failed = failed or reading.failed
            if value is not None:
                settings.append(Setting(feature.name, value, item.origins))
    return tuple(settings), tuple(problems), failed
