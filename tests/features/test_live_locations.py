"""Rules by where an address is, in a real Envoy with databases made for the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from tests.translate.graphs import Reporter, backend, forward, gateway, host, route, setting
from tests.translate.live import Envoy
from xds_server.features.parts.authorization_specs import AuthorizationSpec
from xds_server.graph import Setting

CITY = {
    "127.0.0.2": {
        "country": {"iso_code": "DE"},
        "subdivisions": [{"iso_code": "BE"}],
        "city": {"names": {"en": "Berlin"}},
    },
    "127.0.0.3": {
        "country": {"iso_code": "FR"},
        "subdivisions": [{"iso_code": "IDF"}],
        "city": {"names": {"en": "Paris"}},
    },
}
ASN = {"127.0.0.2": {"autonomous_system_number": 64500, "autonomous_system_organization": "Example"}}
ISP = {"127.0.0.3": {"isp": "Some Cable"}}
ANONYMOUS = {"127.0.0.3": {"is_anonymous": True, "is_anonymous_vpn": True}, "127.0.0.2": {"is_anonymous": False}}


def database(folder: Path, name: str, type_: str, told: dict[str, Any]) -> str:
    """A file in MaxMind's format."""
    writer = MMDBWriter(4, type_, languages=["en"], description=name, int_type="u32")
    for address, facts in told.items():
        writer.insert_network(IPSet([f"{address}/32"]), facts)
    path = folder / f"{name}.mmdb"
    writer.to_db_file(str(path))
    return str(path)


@pytest.fixture(scope="module")
def edge(envoy: Envoy, tmp_path_factory: pytest.TempPathFactory) -> Envoy:
    folder = tmp_path_factory.mktemp("databases")
    files = {
        "city": database(folder, "city", "GeoLite2-City", CITY),
        "asn": database(folder, "asn", "GeoLite2-ASN", ASN),
        "isp": database(folder, "isp", "GeoIP2-ISP", ISP),
        "anonymous": database(folder, "anonymous", "GeoIP2-Anonymous-IP", ANONYMOUS),
    }
    action = forward(backend(envoy.server().address))

    def rules(verdict: str, *locations: dict[str, Any], **more: Any) -> tuple[Setting, ...]:
        rule = {"action": verdict, "principal": {"clientIPGeoLocations": list(locations)}}
        reporter = Reporter(databases=files)
        written = {"rules": [rule], **more}
        return tuple(setting(name, AuthorizationSpec, written, reporter) for name in ("locations", "authorization"))

    envoy.apply(
        gateway(
            host("open.example", route(action)),
            host("country.example", route(action, *rules("Allow", {"country": "de"}))),
            host("either.example", route(action, *rules("Allow", {"city": "Paris"}, {"region": "BE", "asn": 64500}))),
            host("both.example", route(action, *rules("Allow", {"country": "FR", "asn": 64500}))),
            host("isp.example", route(action, *rules("Allow", {"isp": "Some Cable"}))),
            host("hidden.example", route(action, *rules("Deny", {"anonymous": {"isVPN": True}}, defaultAction="Allow"))),
            host("plain.example", route(action, *rules("Allow", {"anonymous": {"isAnonymous": False}}))),
        )
    )  # fmt: skip
    return envoy


def status(edge: Envoy, name: str, address: str, **headers: str) -> int:
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
        written = {"Host": name, **{one.replace("_", "-"): text for one, text in headers.items()}}
        return client.get(f"http://127.0.0.1:{edge.port}/", headers=written).status_code


@pytest.mark.parametrize(
    ("name", "berlin", "paris", "nowhere"),
    [
        ("open", 200, 200, 200),
        ("country", 200, 403, 403),
        ("either", 200, 200, 403),
        ("both", 403, 403, 403),
        ("isp", 403, 200, 403),
        ("hidden", 200, 403, 200),
        ("plain", 200, 403, 200),
    ],
)
def test_places_and_networks_decide(edge: Envoy, name: str, berlin: int, paris: int, nowhere: int) -> None:
    answers = [status(edge, f"{name}.example", address) for address in ("127.0.0.2", "127.0.0.3", "127.0.0.4")]
    assert answers == [berlin, paris, nowhere]


def test_nobody_says_himself_where_he_is(edge: Envoy) -> None:
    assert status(edge, "country.example", "127.0.0.4", x_cellway_geo_country="DE") == 403
    assert status(edge, "country.example", "127.0.0.4", x_forwarded_for="127.0.0.2") == 403
    assert status(edge, "hidden.example", "127.0.0.3", x_cellway_geo_anon_vpn="false") == 403


def test_backends_are_not_told(edge: Envoy) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as client:
        told = client.get(f"http://127.0.0.1:{edge.port}/", headers={"Host": "country.example"}).json()["headers"]
    assert not [name for name in told if name.lower().startswith("x-cellway")]
