"""Access logs of all gateways of cells: one form, which says where each entry is from and what was decided there.

In: derived Gateways, and what the Organization says. Out: the same Gateways, each with a derived EnvoyProxy that has its
Envoys log. Without `accessLog` nothing is logged.
"""

from __future__ import annotations

from typing import Any

from xds_server.cells.derive import Output
from xds_server.cells.plan import Plan
from xds_server.model.object import Object
from xds_server.types import CELLWAY_GROUP, ENVOY_GATEWAY_GROUP

Json = dict[str, Any]
_FIELDS: Json = {
    "time": "%START_TIME%",
    "decision": "%DECISION%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "caller": "%DOWNSTREAM_PEER_URI_SAN%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "traceparent": "%REQ(TRACEPARENT)%",
    "route": "%ROUTE_NAME%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "backend": "%UPSTREAM_HOST%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
    "milliseconds": "%DURATION%",
}


def log_gateways(organization: Object | None, plan: Plan, output: Output) -> None:
    """Have every gateway of a cell log, if the organization wants that."""
    wanted = plan.organization.access_log
    if wanted is None or organization is None:
        return
    for item in [one for one in output.objects.values() if one.key.kind == "Gateway"]:
        told = ("stage", "cell", "direction", *(("component",) if item.key in output.sidecars else ()))
        marks = {name: item.meta.labels.get(f"{CELLWAY_GROUP}/{name}", "") for name in told}
        fields = {**marks, **_FIELDS}
        setting = {
            "format": {"type": "JSON", "json": fields},
            "sinks": [{"type": "File", "file": {"path": wanted.path}}],
        }
        spec: Json = {"telemetry": {"accessLog": {"settings": [setting]}}}
        output.add("EnvoyProxy", item.namespace, item.name, spec, (organization,))
        ref = {"group": ENVOY_GATEWAY_GROUP, "kind": "EnvoyProxy", "name": item.name}
        written = {**item.document["spec"], "infrastructure": {"parametersRef": ref}}
        output.parse({**item.document, "spec": written}, item.source.positions, item.origins)
