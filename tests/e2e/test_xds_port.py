"""The xDS port beyond loopback: certificates, what is refused at the start, and Envoys that come over TLS."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.running import ENVOY, Cellway, ask_envoy
from tests.e2e.test_live import get, load, prepare, route
from tests.e2e.test_serving import command
from tests.protocol.authority import Authority


def test_a_remote_envoy_comes_with_its_certificate_and_gets_its_gateway_only(cellway: Cellway, tmp_path: Path) -> None:
    prepare(cellway)
    authority = Authority(tmp_path / "pki")
    server, client = authority.issue("localhost"), authority.issue("edge-1.example")
    identities = tmp_path / "identities.yaml"
    identities.write_text("clients: {edge-1.example: [default/edge]}\n", encoding="utf-8")
    lists = tmp_path / "lists.pem"
    lists.write_bytes(authority.revoke())
    cellway.arguments = (
        *("--no-envoy", "--xds", "127.0.0.1:0", "--xds-cert", str(server.certificate), "--xds-key", str(server.key)),
        *("--xds-ca", str(authority.certificate), "--xds-identities", str(identities)),
        *("--xds-crl", str(lists)),
    )
    cellway.start()
    port = cellway.log().partition("xDS on 127.0.0.1:")[2].partition(",")[0]
    files = ("--cert", str(client.certificate), "--key", str(client.key), "--ca", str(authority.certificate))
    envoys = []
    try:
        for gateway in ("default/edge", "default/other"):
            admin = f"{cellway.block.address(251)}:0"
            printed = command("bootstrap", gateway, "--xds", f"127.0.0.1:{port}", "--admin", admin, *files)
            assert printed.returncode == 0, printed.stderr
            path = tmp_path / f"{gateway.replace('/', '-')}.yaml"
            path.write_text(printed.stdout, encoding="utf-8")
            options = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]
            envoys.append(subprocess.Popen([str(ENVOY), "-c", str(path), *options]))
        deadline = time.monotonic() + 60
        while not cellway.api("proxies")["items"] and time.monotonic() < deadline:
            time.sleep(0.05)
        cellway.wait()
        assert get(cellway, "web.example").status_code == 200
        while "PERMISSION_DENIED" not in metrics(cellway) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 'cellway_refused_streams_total{code="PERMISSION_DENIED"}' in metrics(cellway)
        assert [item["gateway"] for item in cellway.api("proxies")["items"]] == ["default/edge"]
        lists.write_bytes(authority.revoke(client))
        while cellway.api("proxies")["items"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert cellway.api("proxies")["items"] == []
        assert "cellway_revocation_lists_good 1.0" in metrics(cellway)
        assert "is revoked" in cellway.log()
    finally:
        for envoy in envoys:
            envoy.terminate()
            envoy.wait(20)


def metrics(cellway: Cellway) -> str:
    return httpx.get(f"{cellway.admin}/metrics", timeout=30).text


def test_local_envoys_have_a_port_of_their_own_beside_tls(cellway: Cellway, tmp_path: Path) -> None:
    prepare(cellway)
    authority = Authority(tmp_path / "pki")
    server = authority.issue("localhost")
    cellway.arguments = ("--xds-cert", str(server.certificate), "--xds-key", str(server.key))
    cellway.arguments += ("--xds-ca", str(authority.certificate))
    cellway.start()
    assert get(cellway, "web.example").status_code == 200
    cellway.kill()
    cellway.start()
    assert get(cellway, "web.example").status_code == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--xds", "0.0.0.0:0"), "not on loopback"),
        (("--xds-cert", "x.pem"), "all of --xds-cert, --xds-key and --xds-ca"),
        (("--xds-identities", "x.yaml"), "needs --xds-cert"),
        (("--xds-crl", "x.pem"), "which certificates are revoked: it needs --xds-cert"),
        (("--xds-limit", "stream=4"), "no limit of the xDS server"),
        (("--xds-cert", "x.pem", "--xds-key", "x.pem", "--xds-ca", "x.pem"), "No such file"),
        (
            ("--xds-cert", "x.pem", "--xds-key", "x.pem", "--xds-ca", "x.pem", "--xds-identities", "TMP/bad.yaml"),
            "bad.yaml:2:28: clients.spiffe://a/b.0:",
        ),
    ],
)
def test_what_cannot_work_is_said_at_the_start(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    (tmp_path / "bad.yaml").write_text("clients:\n  spiffe://a/b: [default/, x]\n".replace("[default/", "          [/"))
    chosen = [one.replace("TMP", str(tmp_path)) for one in arguments]
    done = command("serve", str(tmp_path), "--admin", "127.0.0.1:0", *chosen)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
    assert words in done.stderr


def test_connections_that_are_made_anew_again_and_again_cost_nothing(cellway: Cellway) -> None:
    prepare(cellway)
    cellway.arguments = ("--xds-limit", "age=1", "--xds-limit", "age-grace=1")
    cellway.start()
    admin = cellway.api("proxies")["items"][0]["admin"]
    names = "cluster_manager.cds.update_success|listener_manager.lds.update_success|control_plane.*connected"
    with load(cellway) as steady:
        for edit in range(4):
            cellway.write("routes/web.yaml", route("web", edit))
            time.sleep(1.5)
            cellway.wait()
            assert get(cellway, "web.example").headers["x-edit"] == str(edit)
    assert steady.failures() == {}
    stats = ask_envoy(admin, f"/stats?filter={names}").text
    assert "cds.update_success: 1" in stats, stats
    streams = ask_envoy(admin, "/stats?filter=cluster.cellway_xds.upstream_rq_total").text
    assert int(streams.rpartition(":")[2]) > 2, streams
