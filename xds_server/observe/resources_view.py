"""Snapshots as people read them: resources by type, and bootstraps that hold everything.

In: snapshots. Out: JSON values. Sensitive values read `[redacted]` unless they are asked for.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import yaml
from google.protobuf import symbol_database
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from xds_server.envoy_api.envoy.config.cluster.v3 import cluster_pb2
from xds_server.envoy_api.envoy.config.endpoint.v3 import endpoint_pb2
from xds_server.envoy_api.envoy.config.listener.v3 import listener_pb2
from xds_server.envoy_api.envoy.config.route.v3 import route_pb2, scoped_route_pb2
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from xds_server.features.parts.redact import REDACTED, Word, redacted
from xds_server.snapshot.resource import (
    CLUSTER,
    ENDPOINTS,
    HOST,
    LISTENER,
    ROUTES,
    SCOPES,
    SECRET,
    TYPES,
    Resource,
    Snapshot,
)
from xds_server.supervise.bootstrap import Address, Bootstrap

Json = dict[str, Any]

_MESSAGES: Mapping[str, type[Message]] = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINTS: endpoint_pb2.ClusterLoadAssignment,
    SECRET: secret_pb2.Secret,
    LISTENER: listener_pb2.Listener,
    ROUTES: route_pb2.RouteConfiguration,
    SCOPES: scoped_route_pb2.ScopedRouteConfiguration,
}
_REDACTED_BYTES = b64encode(REDACTED.encode()).decode()


def short_type(type_url: str) -> str:
    """`Cluster` of `type.googleapis.com/envoy.config.cluster.v3.Cluster`."""
    return type_url.rpartition(".")[2]


def snapshot_view(snapshot: Snapshot, *, show_secrets: bool = False) -> Json:
    """A snapshot: every resource with its name, version, the documents that made it, and its content."""
    types = {
        short_type(type_url): [
            {
                "name": resource.name,
                "version": resource.version,
                "origins": [str(origin) for origin in resource.origins],
                "resource": resource_view(resource, show_secrets=show_secrets),
            }
            for resource in snapshot.get(type_url).values()
        ]
        for type_url in TYPES
    }
    return {"gateway": snapshot.gateway, "resources": {name: found for name, found in types.items() if found}}


def resource_view(resource: Resource, *, show_secrets: bool = False) -> Json:
    """The content of one resource, with the field names of Envoy's documentation."""
    message = message_of(resource)
    shown = message if show_secrets else redacted(message)
    view: Json = _readable(MessageToDict(shown, preserving_proto_field_name=True))
    return view


def hashed_view(resource: Resource, word: Word) -> Json:
    """The content of one resource, with a word of its own in place of each sensitive value."""
    message = message_of(resource)
    words: set[str] = set()

    def said(value: bytes) -> str:
        words.add(text := word(value))
        return text

    view = MessageToDict(redacted(message, said), preserving_proto_field_name=True)
    encoded = {b64encode(text.encode()).decode(): text for text in words}
    found: Json = _decoded(view, encoded)
    return found


def message_of(resource: Resource) -> Message:
    """The message in a resource."""
    kind = _MESSAGES.get(resource.type_url) or symbol_database.Default().GetSymbol(resource.type_url.partition("/")[2])
    message: Message = kind.FromString(resource.body)
    return message


def has_secrets(snapshot: Snapshot) -> bool:
    """Whether a static bootstrap of this gateway would hold secret values."""
    return any(
        resource_view(resource) != resource_view(resource, show_secrets=True)
        for type_url in TYPES
        for resource in snapshot.get(type_url).values()
    )


def static_bootstrap(snapshot: Snapshot) -> Json:
    """A bootstrap that needs no control plane: everything that would come over xDS is in it, secrets too."""
    parts = {
        type_url: {
            name: resource_view(resource, show_secrets=True) for name, resource in snapshot.get(type_url).items()
        }
        for type_url in TYPES
    }
    clusters = [_static_cluster(cluster, parts[ENDPOINTS]) for cluster in parts[CLUSTER].values()]
    tables = {name: _whole(table, parts[HOST]) for name, table in parts[ROUTES].items()}
    bootstrap: Json = yaml.safe_load(
        Bootstrap(snapshot.gateway, f"static/{snapshot.gateway}", Address("127.0.0.1", 1)).text()
    )
    del bootstrap["dynamic_resources"]
    bootstrap["static_resources"] = {
        "clusters": [_static(cluster, tables, parts[SCOPES]) for cluster in clusters],
        "listeners": [_static(listener, tables, parts[SCOPES]) for listener in parts[LISTENER].values()],
        "secrets": list(parts[SECRET].values()),
    }
    return bootstrap


def to_yaml(documents: list[Any]) -> str:
    """YAML documents, in the order of their fields."""
    dumped = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return str(dumped)


def to_json(documents: list[Any]) -> str:
    """One JSON list."""
    return json.dumps(documents, indent=2) + "\n"


class _Dumper(yaml.SafeDumper):
    """Never writes anchors: two equal values are two values."""

    def ignore_aliases(self, data: Any) -> bool:
        """True for everything."""
        del data
        return True


def _static_cluster(cluster: Json, endpoints: Mapping[str, Json]) -> Json:
    if cluster.get("type") != "EDS":
        return cluster
    settings = cluster.pop("eds_cluster_config", {})
    name = settings.get("service_name") or cluster["name"]
    return cluster | {"type": "STATIC", "load_assignment": endpoints.get(name, {"cluster_name": name})}


def _whole(table: Json, hosts: Mapping[str, Json]) -> Json:
    """A route table, with the virtual hosts in it that would come on demand."""
    if "vhds" not in table:
        return table
    own = [host for name, host in hosts.items() if name.startswith(f"{table['name']}/")]
    return {key: value for key, value in table.items() if key != "vhds"} | {"virtual_hosts": own}


def _static(value: Any, routes: Mapping[str, Json], scopes: Mapping[str, Json]) -> Any:
    """A value whose route tables stand where they were referred to, and whose secrets are looked for in the same file."""
    if isinstance(value, list):
        return [_static(item, routes, scopes) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _static(item, routes, scopes) for key, item in value.items() if key != "sds_config"}
    if isinstance(found.get("rds"), Mapping):
        name = found.pop("rds")["route_config_name"]
        found["route_config"] = routes.get(name, {"name": name})
    if isinstance(found.get("scoped_routes"), Mapping):
        found["scoped_routes"] = _static_scopes(found["scoped_routes"], routes, scopes)
    return found


def _static_scopes(asked: Json, routes: Mapping[str, Json], scopes: Mapping[str, Json]) -> Json:
    """The scopes of a listener with their tables in them."""
    own = [
        {"name": name, "key": scope["key"], "route_configuration": routes[scope["route_configuration_name"]]}
        for name, scope in scopes.items()
        if name.startswith(f"{asked['name']}/")
    ]
    kept = {key: asked[key] for key in ("name", "scope_key_builder")}
    return {**kept, "scoped_route_configurations_list": {"scoped_route_configurations": own}}


def _readable(value: Any) -> Any:
    """Redacted bytes as the word, not its base64."""
    return _decoded(value, {_REDACTED_BYTES: REDACTED})


def _decoded(value: Any, words: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _decoded(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [_decoded(item, words) for item in value]
    return words.get(value, value) if isinstance(value, str) else value
