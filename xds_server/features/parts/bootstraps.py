"""Changes of a bootstrap: what may be changed, and how.

In: a bootstrap as plain data and steps: data to merge (maps key by key, lists appended), or patches of RFC 6902. Out: the
changed bootstrap, or ValueError with a sentence. Who the Envoy is, whom it asks for its configuration and where its admin
interface is stay as they are; so do limits that Cellway counts on. Of the rest what bootstrap_fields lists may be changed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from xds_server.envoy_api.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.features.parts.api_types import load_types
from xds_server.features.parts.bootstrap_fields import CHANGEABLE, refused
from xds_server.features.parts.json_patch import done

MERGE = "merge"
_OURS = "cellway"
_DISCOVERIES = {Cluster.STATIC: "STATIC", Cluster.STRICT_DNS: "STRICT_DNS", Cluster.LOGICAL_DNS: "LOGICAL_DNS"}
_COUNTED_ON = "re2."
_LOADS = "/cluster_manager/load_stats_config"

Json = Any
Step = Mapping[str, Json]


def changed(base: Json, steps: Sequence[Step]) -> Json:
    """A bootstrap after all steps. ValueError says which of them cannot be, or what they must not touch."""
    result = copy.deepcopy(base)
    for step in steps:
        if MERGE in step:
            result = _merged(result, step[MERGE])
        elif _asks(step):
            raise ValueError(f"{_LOADS} is not read: what the Envoy shows to the control plane is in it")
        else:
            result = done(result, step)
    if steps and (problem := _touched(_message(base), _message(result))):
        raise ValueError(problem)
    return result


def fragment_problem(fragment: Json) -> str:
    """What is wrong with data to merge, as far as it shows without the rest; empty if nothing."""
    if not isinstance(fragment, dict):
        return "a bootstrap is a map, such as stats_flush_interval: 10s"
    try:
        message = _message(fragment)
    except ValueError as error:
        return str(error)
    return _unchangeable(message) or next(refused(message), "")


def path_problem(path: str) -> str:
    """What is wrong with the path of a patch; empty if nothing."""
    words = path.split("/")
    if words[0] or len(words) < 2:
        return f"'{path}' is not a path such as /overload_manager/refresh_interval"
    if words[1] not in CHANGEABLE:
        return f"'{words[1]}' stays as it is; what may be changed: {', '.join(CHANGEABLE)}"
    return ""


def _message(data: Json) -> Bootstrap:
    load_types(data)
    try:
        return json_format.ParseDict(data, Bootstrap())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"this is no bootstrap: {error}") from None


def _merged(below: Json, above: Json) -> Json:
    if isinstance(below, dict) and isinstance(above, dict):
        both = {name: _merged(value, above[name]) if name in above else value for name, value in below.items()}
        return both | {name: value for name, value in above.items() if name not in below}
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *above]
    return above


def _asks(step: Step) -> bool:
    """Whether a patch takes what is in the Envoy's own connection elsewhere, or asks what it is."""
    place = str(step["path"] if step["op"] == "test" else step.get("from") or "/")
    return f"{place}/".startswith(f"{_LOADS}/") or (place != "/" and f"{_LOADS}/".startswith(f"{place}/"))


def _touched(base: Bootstrap, result: Bootstrap) -> str:
    """What must not be as it is now."""
    for field in Bootstrap.DESCRIPTOR.fields:
        name = field.name
        if name not in CHANGEABLE and getattr(base, name) != getattr(result, name):
            return f"{name} stays as it is"
    ours, now = list(base.static_resources.clusters), list(result.static_resources.clusters)
    if any(one not in now for one in ours) or any(one.name.startswith(_OURS) and one not in ours for one in now):
        return f"clusters that are there, and those whose names begin with {_OURS}, stay as they are"
    if result.static_resources.listeners or result.static_resources.secrets:
        return _ONLY_CLUSTERS
    if base.cluster_manager.local_cluster_name != result.cluster_manager.local_cluster_name:
        return "cluster_manager.local_cluster_name stays as it is: option --zone says it"
    if base.cluster_manager.load_stats_config != result.cluster_manager.load_stats_config:
        return "cluster_manager.load_stats_config stays as it is: option --report-load says it"
    layers = list(result.layered_runtime.layers)
    if any(layer not in layers for layer in base.layered_runtime.layers):
        return "the runtime layers that are there stay as they are: add one"
    own = Bootstrap()
    own.CopyFrom(result)
    for name in ("admin", "dynamic_resources", "node"):
        own.ClearField(cast(Any, name))
    own.cluster_manager.ClearField("load_stats_config")
    for sink in base.stats_sinks:
        if sink in own.stats_sinks:
            own.stats_sinks.remove(sink)
    for cluster in base.static_resources.clusters:
        own.static_resources.clusters.remove(cluster)
    for layer in base.layered_runtime.layers:
        own.layered_runtime.layers.remove(layer)
    return _unchangeable(own) or next(refused(own), "")


_ONLY_CLUSTERS = "static_resources has clusters only: listeners and secrets come from policies"


def _unchangeable(message: Bootstrap) -> str:
    for field, _ in message.ListFields():
        if field.name not in CHANGEABLE:
            return f"{field.name} stays as it is; what may be changed: {', '.join(CHANGEABLE)}"
    if message.static_resources.listeners or message.static_resources.secrets:
        return _ONLY_CLUSTERS
    for cluster in message.static_resources.clusters:
        if cluster.name.startswith(_OURS):
            return f"clusters whose names begin with {_OURS} stay as they are"
        if cluster.type not in _DISCOVERIES:
            return f"the type of cluster '{cluster.name}' is none of {', '.join(_DISCOVERIES.values())}"
    for layer in message.layered_runtime.layers:
        if any(f"{name}.".startswith(_COUNTED_ON) for name in _keys("", layer.static_layer)):
            return f"{_COUNTED_ON}* stays as it is: Cellway compares regular expressions with the same number"
    return ""


def _keys(above: str, layer: Struct) -> Iterator[str]:
    """The keys of a runtime layer as Envoy reads them: those of a map inside are joined to its own by dots."""
    for name, value in layer.fields.items():
        key = f"{above}.{name}" if above else name
        yield key
        if value.HasField("struct_value"):
            yield from _keys(key, value.struct_value)
