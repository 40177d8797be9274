"""What the server sends and what Envoys have, side by side.

In: the snapshots, the records of all streams, and the configuration dumps of the Envoys of this machine. Out: JSON values.
Both sides are without secrets: the server's by the marks of Envoy's API, Envoy's by its own. Of an Envoy elsewhere only the
versions that it acknowledged are known.
"""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xds_server.compile import Compiled
from xds_server.observe.proxies_view import Fleet
from xds_server.observe.resources_view import resource_view, short_type
from xds_server.serve.records import ProxyRecord
from xds_server.snapshot.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET, TYPES, Resource, Snapshot
from xds_server.supervise.process import ask_admin

Json = dict[str, Any]
_PATIENCE = 10.0
_SECTIONS = {
    "dynamic_active_clusters": (CLUSTER, "cluster"),
    "dynamic_warming_clusters": (CLUSTER, "cluster"),
    "dynamic_endpoint_configs": (ENDPOINTS, "endpoint_config"),
    "dynamic_route_configs": (ROUTES, "route_config"),
    "dynamic_active_secrets": (SECRET, "secret"),
    "dynamic_warming_secrets": (SECRET, "secret"),
}
"""Where Envoy's dump has what came from us, and how the resource in it is called."""
_DUMPED = frozenset((LISTENER, *(kind for kind, _ in _SECTIONS.values())))
"""What Envoy shows; virtual hosts that come on demand, for one, stand in their tables."""
_STATES = ("active_state", "warming_state", "draining_state")
_UNVERSIONED = (ENDPOINTS,)
"""Envoy does not say which version of these it has."""


@dataclass(frozen=True, slots=True)
class Held:
    """A resource that an Envoy has. `note` is `warming` or what Envoy says against its next version."""

    version: str
    body: Json
    note: str = ""


async def dump_view(compiled: Compiled, fleet: Fleet, gateway: str | None = None) -> list[Json]:
    """An entry for every gateway, or for one. Envoys that do not answer are asked in vain for ten seconds at most."""
    asked = sorted({one.gateway for one in fleet.records} & compiled.snapshots.keys())  # among them groups of gateways
    names = list(dict.fromkeys((*(one.name for one in compiled.gateways), *asked))) if gateway is None else [gateway]
    records = [one for one in fleet.records if one.gateway in names]
    local = {one.node_id: one.admin for one in fleet.local if one.admin}
    dumps = await asyncio.gather(*(_dump(local.get(one.node_id, "")) for one in records))
    found = dict(zip((one.node_id for one in records), dumps, strict=True))
    return await asyncio.to_thread(lambda: [_of(compiled.snapshots[name], records, found) for name in names])


async def _dump(admin: str) -> str:
    if not admin:
        return ""
    try:
        return await ask_admin(admin, "GET", "/config_dump?include_eds", _PATIENCE)
    except (OSError, ValueError, http.client.HTTPException):
        return ""


def _of(snapshot: Snapshot, records: Iterable[ProxyRecord], dumps: Mapping[str, str]) -> Json:
    sent = {(kind, name): one for kind in TYPES for name, one in snapshot.get(kind).items()}
    return {
        "gateway": snapshot.gateway,
        "resources": [
            {
                "type": short_type(kind),
                "name": name,
                "version": one.version,
                "origins": [str(origin) for origin in one.origins],
                "resource": resource_view(one),
            }
            for (kind, name), one in sent.items()
        ],
        "envoys": [
            _envoy(record, sent, dumps.get(record.node_id, ""), snapshot)
            for record in records
            if record.gateway == snapshot.gateway
        ],
    }


def _envoy(record: ProxyRecord, sent: Mapping[tuple[str, str], Resource], text: str, snapshot: Snapshot) -> Json:
    here = {"node": record.node_id, "envoy_version": record.version, "local": bool(text)}
    if not text:
        return {**here, "resources": list(_acknowledged(record, sent, snapshot))}
    return {**here, "resources": list(compare(sent, read_dump(text)))}


def _acknowledged(record: ProxyRecord, sent: Mapping[tuple[str, str], Resource], snapshot: Snapshot) -> Iterator[Json]:
    """What is known of an Envoy that cannot be asked: whether it acknowledged all of a type."""
    types = {one.type_url: one for one in record.types}
    for kind, name in sent:
        known = types.get(kind)
        good = known is not None and known.synced
        state = "acknowledged" if good else "refused" if known is not None and known.standing else "not acknowledged"
        has = snapshot.versions[kind] if good else known.acknowledged if known is not None else ""
        yield {"type": short_type(kind), "name": name, "has": has, "state": state, "resource": None}


def compare(sent: Mapping[tuple[str, str], Resource], held: Mapping[tuple[str, str], Held]) -> Iterator[Json]:
    """Every resource that is on one side or on both, and whether it is the same on both."""
    for kind, name in dict.fromkeys((*sent, *sorted(held))):
        own, theirs = sent.get((kind, name)), held.get((kind, name))
        head = {"type": short_type(kind), "name": name}
        if theirs is None:
            state = "missing" if kind in _DUMPED else "not shown"
            yield {**head, "has": "", "state": state, "resource": None}
            continue
        if own is None:
            state = "not ours any more"
        elif kind in _UNVERSIONED:
            state = "there"
        else:
            state = "same" if theirs.version == own.version else "differs"
        yield {**head, "has": theirs.version, "state": theirs.note or state, "resource": theirs.body}


def read_dump(text: str) -> dict[tuple[str, str], Held]:
    """The resources in an Envoy's dump that came over xDS."""
    found: dict[tuple[str, str], Held] = {}
    for config in json.loads(text)["configs"]:
        for section, (kind, field) in _SECTIONS.items():
            for one in config.get(section, ()):
                body = one.get(field, {})
                note = "warming" if "warming" in section else ""
                found[kind, _name(one, body)] = Held(one.get("version_info", ""), body, _error(one) or note)
        for one in config.get("dynamic_listeners", ()):
            state = next((name for name in _STATES if name in one), "")
            body = one.get(state, {})
            note = "" if state == "active_state" else state.removesuffix("_state")
            held = Held(body.get("version_info", ""), body.get("listener", {}), _error(one) or note)
            found[LISTENER, one["name"]] = held
    return found


def _name(entry: Json, body: Json) -> str:
    return str(body.get("cluster_name") or body.get("name") or entry.get("name", ""))


def _error(entry: Json) -> str:
    state = entry.get("error_state")
    return f"refused: {state.get('details', '')}" if state else ""


def is_same(items: Iterable[Json]) -> bool:
    """Whether every Envoy has what is sent."""
    good = {"same", "there", "not shown", "acknowledged"}
    return all(one["state"] in good for item in items for envoy in item["envoys"] for one in envoy["resources"])
