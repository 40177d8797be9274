"""Short ways to write graphs in tests: backends, routes, settings made from specs, a gateway of one chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from xds_server.diagnostics import CATALOGUE, Severity, Span
from xds_server.features import FEATURES
from xds_server.features.contract import AnyFeature, Reference
from xds_server.graph import (
    Backend,
    Destination,
    Endpoint,
    Forward,
    Gateway,
    HttpChain,
    Match,
    Port,
    Redirect,
    Respond,
    Route,
    Setting,
    VirtualHost,
)
from xds_server.model.backend_settings import BackendSettingsSpec
from xds_server.spec import Spec
from xds_server.types import CodeFile, Fetched, Key, Origin, Secret

ORIGIN = Origin(Key("gateway.networking.k8s.io", "HTTPRoute", "shop", "web"), Span("web.yaml", 3, 1))


@dataclass
class Reporter:
    """A `Context` that keeps what was reported, with paths, and hands out ConfigMaps, Secrets and backends."""

    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    found: list[tuple[str, tuple[str | int, ...], str]] = field(default_factory=list)
    owner: str = "shop/policy"
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    backends: dict[str, Backend] = field(default_factory=dict)
    documents: dict[str, Fetched] = field(default_factory=dict)
    databases: dict[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()

    def problem(self, code: str, *path: str | int, hint: str = "", **words: object) -> None:
        """Keeps (code, path, message)."""
        self.found.append((code, path, CATALOGUE[code].template.format(**words)))

    def config_map(self, name: str, namespace: str | None, *path: str | int) -> dict[str, str] | None:
        """A ConfigMap, or A105."""
        if name not in self.config_maps:
            self.problem("A105", *path, reason=f"there is no ConfigMap {name}")
        return self.config_maps.get(name)

    def secret(self, name: str, namespace: str | None, *path: str | int) -> dict[str, Secret] | None:
        """A Secret, or A105."""
        if name not in self.secrets:
            self.problem("A105", *path, reason=f"there is no Secret {name}")
            return None
        return {key: Secret(text.encode()) for key, text in self.secrets[name].items()}

    def cluster_settings(self, written: JsonValue, *path: str | int) -> tuple[Setting, ...] | None:
        """What the fields mean, for fields that are right."""
        spec = BackendSettingsSpec.model_validate(written)
        fields = {info.alias or name: getattr(spec, name) for name, info in BackendSettingsSpec.model_fields.items()}
        found = []
        for one in FEATURES:
            for kind, field_name in one.carriers:
                if kind == "BackendTrafficPolicy" and fields.get(field_name) is not None:
                    found.append(Setting(one.name, one.resolve(fields[field_name], self)))
        return tuple(found)

    def location_databases(self) -> dict[str, str]:
        """Files that tell where addresses are."""
        return self.databases

    def log_folders(self) -> tuple[str, ...]:
        """Folders for access logs."""
        return self.folders

    def unreachable(self, endpoints: Sequence[Endpoint]) -> str:
        """Every place may be asked."""
        return ""

    def module_folders(self) -> tuple[str, ...]:
        """Folders for native modules."""
        return self.folders

    def code_file(self, name: str, *path: str | int) -> CodeFile | None:
        """No module lies beside anything."""
        return None

    def may_extend(self, *path: str | int) -> bool:
        """Everybody may."""
        return True

    def namespace(self, *path: str | int) -> str:
        """The namespace of the policy."""
        return self.owner.partition("/")[0]

    def document(self, url: str) -> Fetched | None:
        """A document of the web, if there is one."""
        return self.documents.get(url)

    def backend(self, ref: Reference, *path: str | int, needed: bool = True) -> Backend | None:
        """A backend, or A105 (A117 if it is not needed)."""
        if ref.name not in self.backends:
            self.problem("A105" if needed else "A117", *path, reason=f"there is no {ref.kind} {ref.name}")
        return self.backends.get(ref.name)


def feature(name: str) -> AnyFeature:
    """The feature of a name."""
    return next(one for one in FEATURES if one.name == name)


@dataclass(frozen=True)
class Listed:
    """A field that holds a list of specs, read like the spec of any other field."""

    item: type[Spec]

    def model_validate(self, written: Any) -> tuple[Spec, ...]:
        """The specs."""
        return tuple(self.item.model_validate(one) for one in written)


class Plain:
    """A field that holds a value without fields of its own."""

    def model_validate(self, written: Any) -> Any:
        """The value."""
        return written


def setting(name: str, spec: type[Spec] | Listed | Plain, written: Any, reporter: Reporter | None = None) -> Setting:
    """What a spec means, which must be without errors. `reporter` holds what it refers to."""
    reporter = reporter or Reporter()
    value = feature(name).resolve(spec.model_validate(written), reporter)
    assert not [one for one in reporter.found if CATALOGUE[one[0]].severity is Severity.ERROR], reporter.found
    assert value is not None
    return Setting(name, value, (ORIGIN,))


def backend(*addresses: tuple[str, int], name: str = "web") -> Backend:
    """A backend by IP addresses."""
    return Backend(name, tuple(Endpoint(host, port) for host, port in addresses), origins=(ORIGIN,))


def forward(*backends: Backend | None, weights: tuple[int, ...] = (), suffix: str = "") -> Forward:
    """Forwarding by weight (1 each unless said). None stands for a reference that leads nowhere."""
    shares = weights or (1,) * len(backends)
    return Forward(
        tuple(
            Destination(f"{one.name if one else f'unresolved/{place}'}{suffix}", one, weight)
            for place, (one, weight) in enumerate(zip(backends, shares, strict=True))
        )
    )


def route(action: Forward | Respond | Redirect, *settings: Setting, name: str = "r", **match: Any) -> Route:
    """A route; keywords are those of `Match`."""
    return Route(name, Match(**match), action, settings, (ORIGIN,))


def host(hostname: str, *routes: Route) -> VirtualHost:
    """A virtual host."""
    return VirtualHost(hostname, routes)


def gateway(*hosts: VirtualHost, settings: tuple[Setting, ...] = (), port: int = 0) -> Gateway:
    """A gateway of one plain HTTP port on loopback."""
    chain = HttpChain("default/edge/http", hosts, settings=settings, origins=(ORIGIN,))
    listening = Port("default/edge/http-8080", ("127.0.0.1",), port, (chain,))
    return Gateway(Key("gateway.networking.k8s.io", "Gateway", "default", "edge"), (listening,))
