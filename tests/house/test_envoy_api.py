"""The generated Envoy API is whole: every file, every module, stubs, and nothing outside its private prefix.

In: `xds_server/envoy_api/`. Out: failures when the pinned Envoy's API lost something that Cellway relies on,
after a new Envoy or a new protoc. One fresh interpreter imports all modules, because imports register
descriptors for the whole process.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import xds_server

API = Path(xds_server.__file__).parent / "envoy_api"
PREFIX = "xds_server.envoy_api"
ENVOY_FILES = 471
ALLOWED_ROOTS = {"xds_server", "google", "__future__", "collections", "typing", "datetime"}

FIELDS = [
    ("envoy.config.listener.v3.listener_pb2", "Listener", "filter_chain_matcher"),
    ("envoy.config.route.v3.route_components_pb2", "VirtualHost", "typed_per_filter_config"),
    ("envoy.config.route.v3.route_components_pb2", "RouteAction", "host_rewrite_path_regex"),
    ("envoy.config.cluster.v3.cluster_pb2", "Cluster", "lrs_report_endpoint_metrics"),
    ("envoy.config.core.v3.health_check_pb2", "HealthCheck", "grpc_health_check"),
    ("envoy.service.discovery.v3.discovery_pb2", "DeltaDiscoveryRequest", "initial_resource_versions"),
    ("envoy.service.discovery.v3.discovery_pb2", "DeltaDiscoveryResponse", "removed_resource_names"),
    ("envoy.service.load_stats.v3.lrs_pb2", "LoadStatsResponse", "load_reporting_interval"),
    ("envoy.service.accesslog.v3.als_pb2", "StreamAccessLogsMessage", "http_logs"),
    ("envoy.service.ratelimit.v3.rls_pb2", "RateLimitRequest", "descriptors"),
    ("envoy.extensions.filters.http.bandwidth_share.v3.bandwidth_share_pb2", "BandwidthShare", "tenant_configs"),
    ("envoy.extensions.filters.http.oauth2.v3.oauth_pb2", "OAuth2Config", "allowed_redirect_domains"),
]


@pytest.mark.parametrize(("module", "message", "field"), FIELDS, ids=lambda value: str(value).rsplit(".", 1)[-1])
def test_field_is_there(module: str, message: str, field: str) -> None:
    descriptor = getattr(importlib.import_module(f"{PREFIX}.{module}"), message).DESCRIPTOR
    assert field in descriptor.fields_by_name


def test_every_file_of_envoy_is_there() -> None:
    assert len(list((API / "envoy").rglob("*_pb2.py"))) == ENVOY_FILES


def test_every_module_has_a_stub_and_every_folder_is_a_package() -> None:
    modules = list(API.rglob("*_pb2.py"))
    assert [path for path in modules if not path.with_suffix(".pyi").is_file()] == []
    assert [path.parent for path in modules if not (path.parent / "__init__.py").is_file()] == []


def test_every_module_imports_and_none_imports_a_public_envoy() -> None:
    program = (
        "import importlib, sys\n"
        "for name in sys.stdin.read().split():\n    importlib.import_module(name)\n"
        "public = {name.split('.')[0] for name in sys.modules} & {'envoy', 'xds', 'udpa', 'validate'}\n"
        "sys.exit(' '.join(sorted(public)) or None)"
    )
    names = [".".join((PREFIX, *path.relative_to(API).with_suffix("").parts)) for path in API.rglob("*_pb2.py")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        input=" ".join(names),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("pattern", ["*_pb2.py", "*_pb2.pyi"])
def test_imports_stay_in_the_private_prefix(pattern: str) -> None:
    outside = {
        f"{path.relative_to(API)}: {root}"
        for path in API.rglob(pattern)
        for root in _imported_roots(path)
        if root not in ALLOWED_ROOTS
    }
    assert outside == set()


def _imported_roots(path: Path) -> set[str]:
    roots = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").split(".")[0])
    return roots
