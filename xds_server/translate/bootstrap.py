"""What the Envoys of a gateway start with, beside what all Envoys do.

In: a gateway, the features, and the gateway's translated messages. Out: parts of a bootstrap as JSON. A cluster in it is
the one of the same backend under another name; its endpoints and secrets come over xDS, so that they may change while the
Envoy runs. What it does not start with would keep an Envoy from starting: then nothing of it is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from xds_server.envoy_api.envoy.config.cluster.v3.cluster_pb2 import Cluster
from xds_server.features.contract import AnyFeature, fixed_name
from xds_server.graph import Gateway
from xds_server.translate.message import Translated


def translate_bootstrap(gateway: Gateway, features: Sequence[AnyFeature], translated: Iterable[Translated]) -> str:
    """Parts of a bootstrap as a JSON object; empty if there are none."""
    built = Bootstrap()
    wanted: dict[str, str] = {}
    for feature in features if gateway.settings else ():
        for setting in gateway.settings:
            if setting.feature == feature.name:
                feature.bootstrap(setting.value, built)
                wanted |= {backend.name: fixed_name(backend) for backend in feature.fixed_backends(setting.value)}
    if not built.ByteSize():
        return ""
    found = (one for one in translated if wanted and isinstance(one.message, Cluster) and one.name in wanted)
    fixed = [_named(wanted[one.name], one.message) for one in found]
    if len(fixed) < len(wanted):
        return ""
    built.static_resources.clusters.extend(sorted(fixed, key=lambda one: one.name))
    return json.dumps(MessageToDict(built, preserving_proto_field_name=True), sort_keys=True)


def _named(name: str, cluster: Message) -> Cluster:
    """The cluster under another name, with the same endpoints."""
    assert isinstance(cluster, Cluster)
    found = Cluster()
    found.CopyFrom(cluster)
    found.name = name
    if found.HasField("eds_cluster_config"):
        found.eds_cluster_config.service_name = cluster.eds_cluster_config.service_name or cluster.name
    if found.HasField("load_assignment"):
        found.load_assignment.cluster_name = name
    return found
