"""The bootstrap of a gateway's Envoys, as YAML text.

In: who the Envoy is, where the control plane listens, where its own admin interface shall be. Out: the text of
`envoy/gateway.yaml` with these filled in, comments and all. Of its gateway a bootstrap holds only what no xDS can bring:
who gets metrics, and which there are.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from xds_server.features.parts.bootstraps import changed
from xds_server.features.parts.metrics_listener import ADMIN
from xds_server.supervise.memory import MOST

_PACKAGED = Path(__file__).parent / "templates"
_UPSTREAM_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_LOCAL_CLUSTER = """
  # Where this Envoy is, as Envoy wants to be told before it prefers a zone. Nothing is ever sent there.
  - name: cellway_zone
    type: STATIC
    load_assignment:
      cluster_name: cellway_zone
      endpoints:
      - locality: {zone: ZONE}
        lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}
"""
_LOCAL_CLUSTER_NAME = "  local_cluster_name: cellway_zone\n"
_LOADS = """  # How many requests went to each cluster is reported to the control plane.
  load_stats_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services:
    - envoy_grpc: {cluster_name: cellway_xds}
"""
_SHOWN = "      initial_metadata: [{key: authorization, value: WORD}]\n"
_CHECKOUT = Path(__file__).parents[2] / "envoy"


@dataclass(frozen=True, slots=True)
class Address:
    """A host (name or IP address) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`HOST:PORT` or `[IPV6]:PORT`; ValueError with a sentence for anything else."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not bare or not port.isdecimal() or int(port) > 65535 or (":" in bare and bare == host):
        raise ValueError(f"'{text}' is not HOST:PORT, such as 127.0.0.1:18000 or [::1]:18000")
    return Address(bare, int(port))


def parse_place(text: str) -> Address | Path:
    """The path of a Unix socket, which has a `/` or ends with `.sock`, or an address; ValueError with a sentence for neither."""
    if not text.startswith("@") and ("/" in text or text.endswith(".sock")):
        return Path(text)
    try:
        return parse_address(text)
    except ValueError as error:
        raise ValueError(f"{error}, and no path of a Unix socket, such as ./admin.sock") from None


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Files on the Envoy's machine, PEM: its certificate and key, and the authority of the control plane's certificate."""

    certificate: Path
    key: Path
    authority: Path

    def text(self, host: str) -> str:
        """The transport socket as YAML. The control plane must show a certificate for `host`."""
        kind = "IP_ADDRESS" if is_ip_address(host) else "DNS"
        names = [{"san_type": kind, "matcher": {"exact": host}}]
        validation = {"trusted_ca": {"filename": str(self.authority)}, "match_typed_subject_alt_names": names}
        chain = {"certificate_chain": {"filename": str(self.certificate)}, "private_key": {"filename": str(self.key)}}
        common = {
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [chain],
            "validation_context": validation,
        }
        config: dict[str, object] = {"@type": _UPSTREAM_TLS, "common_tls_context": common}
        if kind == "DNS":
            config["sni"] = host
        socket = {"name": "envoy.transport_sockets.tls", "typed_config": config}
        return f"    transport_socket: {json.dumps(socket)}\n"


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What differs between the bootstraps of two Envoys. `gateway` is NAMESPACE/NAME; an admin port of 0: any free one; a path is
    that of a Unix socket which only its owner may open.

    `zone` is where the Envoy is, for policies that prefer its own zone. `reports`: it tells how many requests it sent where.
    `more`: what its gateway asks for, as JSON. `heap`: bytes beyond which it sheds load. `token`: what it shows to the control
    plane with every stream, in place of a certificate.
    """

    gateway: str
    node_id: str
    xds: Address
    admin: Address | Path = Address("127.0.0.1", 0)
    tls: ClientTls | None = None
    zone: str = ""
    reports: bool = False
    more: str = ""
    heap: int = MOST
    token: str = ""

    def text(self) -> str:
        """The bootstrap as YAML."""
        more = json.loads(self.more or "{}")
        clusters = more.pop("static_resources", {}).get("clusters", ())
        for one in clusters:
            if one["name"] == ADMIN:
                _lead_to(one, self._admin())
        whole = template("gateway.yaml").substitute(
            node_id=json.dumps(self.node_id),
            cluster=json.dumps(self.gateway),
            xds_host=json.dumps(self.xds.host),
            xds_port=self.xds.port,
            xds_type="STATIC" if is_ip_address(self.xds.host) else "STRICT_DNS",
            xds_token=self._token(),
            xds_tls=self.tls.text(self.xds.host) if self.tls is not None else "",
            locality=f"  locality: {{zone: {json.dumps(self.zone)}}}\n" if self.zone else "",
            more_clusters="".join(f"  - {json.dumps(one)}\n" for one in clusters),
            local_cluster=_LOCAL_CLUSTER.replace("ZONE", json.dumps(self.zone)) if self.zone else "",
            cluster_manager=self._cluster_manager(),
            admin=json.dumps(self._admin()),
            heap=self.heap,
        )
        return whole + "".join(f"\n{name}: {json.dumps(part)}\n" for name, part in sorted(more.items()))

    def _cluster_manager(self) -> str:
        parts = (_LOCAL_CLUSTER_NAME if self.zone else "") + (_LOADS + self._token() if self.reports else "")
        return f"\ncluster_manager:\n{parts}" if parts else ""

    def _admin(self) -> dict[str, Any]:
        if isinstance(self.admin, Path):
            return {"pipe": {"path": str(self.admin), "mode": 0o600}}
        return {"socket_address": {"address": self.admin.host, "port_value": self.admin.port}}

    def _token(self) -> str:
        return _SHOWN.replace("WORD", json.dumps(f"Bearer {self.token}")) if self.token else ""


def _lead_to(cluster: dict[str, Any], admin: dict[str, Any]) -> None:
    """Make a cluster that of an admin interface."""
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["endpoint"]["address"] = admin


def is_ip_address(host: str) -> bool:
    """Whether `host` is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def changed_text(text: str, changes: str) -> str:
    """A bootstrap after changes, which are a JSON list or nothing. ValueError says why they cannot be made."""
    steps = json.loads(changes) if changes else []
    return json.dumps(changed(yaml.safe_load(text), steps), indent=1) + "\n" if steps else text


def template(name: str) -> Template:
    """A template of the folder `envoy`: in a wheel next to this module, in a checkout at its top, without the header."""
    folder = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
    text = (folder / name).read_text(encoding="utf-8")
    header, _, body = text.partition("\n\n")
    return Template(body if header.startswith("#") else text)
