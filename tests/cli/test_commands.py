"""The commands as processes: answers on stdout, trouble on stderr, exit codes, no side effects."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.commands import cellway
from tests.e2e.certificates import self_signed
from xds_server.serve.tokens import Tokens
from xds_server.supervise.records import StateFolder

ROOT = Path(__file__).parents[2]
BINARY = Path(os.environ.get("CELLWAY_ENVOY") or ROOT / ".envoy" / "bin" / "envoy").resolve()
QUICKSTART = str(ROOT / "policies" / "quickstart")
TYPO = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  rules:
  - backendRefs:
    - {name: a, wieght: 3}
"""
TLS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  listeners:
  - {name: https, protocol: HTTPS, port: 8443, tls: {certificateRefs: [{name: cert}]}}
---
apiVersion: v1
kind: Secret
metadata: {name: cert}
type: kubernetes.io/tls
data: {tls.crt: CHAIN, tls.key: KEY}
"""


def envoy_accepts(text: str, folder: Path) -> str:
    path = folder / "envoy.yaml"
    path.write_text(text, encoding="utf-8")
    line = [str(BINARY), "--mode", "validate", "--disable-hot-restart", "-l", "warning", "-c", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def test_validate_says_how_much_it_read() -> None:
    done = cellway("validate", QUICKSTART)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4 files, 8 objects: 0 errors\n", "")


def test_validate_shows_the_place_and_the_word(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(TYPO, encoding="utf-8")
    done = cellway("validate", str(tmp_path))
    assert done.returncode == 1
    first, line, caret, *_ = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path}/web.yaml:9:17: error M110 unknown field 'wieght' (did you mean 'weight'?)")
    assert line.index("wieght") == caret.index("^")
    assert caret.count("^") == len("wieght")
    assert "1 file" in done.stdout
    assert sorted(tmp_path.iterdir()) == [tmp_path / "web.yaml"]


def test_validate_reads_stdin_beside_folders() -> None:
    done = cellway("validate", "-", QUICKSTART, given=TYPO)
    assert done.returncode == 1
    assert "<stdin>:9:17: error M110" in done.stdout
    assert "    - {name: a, wieght: 3}" in done.stdout
    assert "5 files, 8 objects: 1 error" in done.stdout


def test_validate_as_json() -> None:
    done = cellway("validate", "-o", "json", "-", given=TYPO)
    answer = json.loads(done.stdout)
    (finding,) = answer["diagnostics"]
    assert (done.returncode, answer["files"], finding["code"], finding["line"]) == (1, 1, "M110", 9)


def test_what_is_not_there_is_trouble(tmp_path: Path) -> None:
    done = cellway("validate", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"cellway: there is no file or folder {tmp_path}/nowhere\n"


@pytest.mark.parametrize("words", [["validate", "--nonsense"], ["run"], ["render"], ["nonsense"]])
def test_usage_errors_are_trouble(words: list[str]) -> None:
    assert cellway(*words).returncode == 2


def test_no_escape_codes_where_nobody_wants_them() -> None:
    for env in ({}, {"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in cellway("validate", "-", given=TYPO, env=env).stdout


def test_render_shows_resources_with_their_origins() -> None:
    done = cellway("render", QUICKSTART)
    assert done.returncode == 0
    shown = yaml.safe_load(done.stdout)
    assert shown["gateway"] == "default/edge"
    (listener,) = shown["resources"]["Listener"]
    assert any("gateway.yaml:2:1" in origin for origin in listener["origins"])
    again = cellway("render", QUICKSTART, "-o", "json")
    assert json.loads(again.stdout) == [shown]


def test_render_shows_statuses_and_objects() -> None:
    statuses = list(yaml.safe_load_all(cellway("render", QUICKSTART, "--as", "status").stdout))
    gateway = next(one for one in statuses if one["kind"] == "Gateway")
    conditions = {one["type"]: one["status"] for one in gateway["status"]["conditions"]}
    assert conditions["Accepted"] == "True"
    assert "lastTransitionTime" not in str(statuses)
    objects = list(yaml.safe_load_all(cellway("render", QUICKSTART, "--as", "objects").stdout))
    assert len(objects) == 8
    assert all("status" not in one for one in objects)


def test_what_render_shows_as_objects_is_valid_input() -> None:
    objects = cellway("render", QUICKSTART, "--as", "objects").stdout
    done = cellway("validate", "-", given=objects)
    assert (done.returncode, done.stdout) == (0, "1 file, 8 objects: 0 errors\n")


def test_render_of_one_gateway() -> None:
    assert cellway("render", QUICKSTART, "--gateway", "default/edge").returncode == 0
    done = cellway("render", QUICKSTART, "--gateway", "default/egde")
    assert (done.returncode, "default/edge" in done.stderr) == (2, True)


def test_render_of_a_cell_is_one_document_for_each_gateway_and_all_of_them_if_asked() -> None:
    shop = str(ROOT / "policies" / "shop")
    names = [one["gateway"] for one in yaml.safe_load_all(cellway("render", shop).stdout)]
    assert "acme/dev/orders/west" in names
    assert "acme/dev/orders" not in names
    (whole,) = yaml.safe_load_all(cellway("render", shop, "--gateway", "acme/dev/orders").stdout)
    assert len(whole["resources"]["Listener"]) > 1


def test_render_of_effective_settings_says_who_set_each() -> None:
    shop = str(ROOT / "policies" / "shop")
    lines = cellway("render", shop, "--as", "effective", "--cell", "payments", "--stage", "dev").stdout.splitlines()
    assert lines[:2] == ["payments (dev)", "  south.card-processor"]
    assert any("= 20  <- class override, CellClass pci (" in line for line in lines), lines
    (found,) = json.loads(cellway("render", shop, "--as", "effective", "--cell", "payments", "-o", "json").stdout)
    timeout = next(one for one in found["sections"][0]["settings"] if one["field"].endswith("requestTimeout"))
    assert (timeout["value"], timeout["setBy"]["object"]) == ("10s", "CellBinding payments-dev")
    assert [(one["value"], one["object"]) for one in timeout["overridden"]] == [("5s", "CellClass standard")]
    done = cellway("render", shop, "--as", "effective", "--stage", "prod")
    assert (done.stdout, "no cell is in stage prod" in done.stderr) == ("", True)
    assert cellway("render", shop, "--as", "effective", "--stage", "moon").returncode == 2
    done = cellway("render", shop, "--as", "effective", "--cell", "paymnets")
    assert (done.returncode, "there is no cell paymnets" in done.stderr) == (2, True)
    assert cellway("render", shop, "--cell", "payments").returncode == 2


def test_export_of_network_policies_says_what_they_cannot_enforce() -> None:
    shop = str(ROOT / "policies" / "shop")
    done = cellway("export", "network-policy", shop)
    documents = list(yaml.safe_load_all(done.stdout))
    assert done.returncode == 0
    assert {one["kind"] for one in documents} == {"Namespace", "NetworkPolicy"}
    assert cellway("export", "network-policy", shop, "--stage", "dev", "-o", "json").stdout.startswith("[")
    done = cellway("export", "network-policy", shop, "--stage", "moon")
    assert (done.returncode, "there is no stage moon" in done.stderr) == (2, True)
    done = cellway("export", "network-policy", shop, "--stage", "prod")
    assert (done.stdout, "NoCells: no cell is in stage prod" in done.stderr) == ("", True), "releases are the server's"
    kinds = [one["kind"] for one in yaml.safe_load_all(cellway("export", "network-policy", shop, "--cilium").stdout)]
    assert "CiliumClusterwideNetworkPolicy" in kinds
    by_name = cellway("export", "network-policy", "-", given=BY_NAME)
    assert "FQDNNotEnforceable: cell-a-default" in by_name.stderr


BY_NAME = """
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: a}
spec: {components: [{name: job}], dependencies: [{name: mail, external: mail}]}
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: mail}
spec: {hosts: [mail.example], ports: [{port: 443, protocol: HTTPS}]}
---
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: a}
spec: {cell: a, stage: default, address: 127.10.9.0}
"""


def test_a_static_bootstrap_is_one_that_envoy_takes(tmp_path: Path) -> None:
    done = cellway("render", QUICKSTART, "--as", "bootstrap")
    assert done.returncode == 0
    assert envoy_accepts(done.stdout, tmp_path) == ""


STREAMS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  listeners:
  - {name: tls, protocol: TLS, port: 10443, tls: {mode: Passthrough}}
  - {name: tcp, protocol: TCP, port: 10053}
  - {name: udp, protocol: UDP, port: 10053}
"""
STREAM_ROUTE = """---
apiVersion: gateway.networking.k8s.io/v1
kind: %s
metadata: {name: dns}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: up}]}]
"""
UP = """---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: up}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 53}}]}
"""


def test_streams_are_validated_rendered_and_have_a_status(tmp_path: Path) -> None:
    routes = "".join(STREAM_ROUTE % kind for kind in ("TLSRoute", "TCPRoute", "UDPRoute"))
    (tmp_path / "streams.yaml").write_text(STREAMS + routes + UP, encoding="utf-8")
    assert cellway("validate", str(tmp_path)).stdout == "1 file, 5 objects: 0 errors\n"
    (view,) = yaml.safe_load_all(cellway("render", str(tmp_path)).stdout)
    listeners = {one["name"].removeprefix("default/edge/") for one in view["resources"]["Listener"]}
    assert listeners == {"tls-10443", "tcp-10053", "udp-10053/0.0.0.0"}
    statuses = {
        one["kind"]: one for one in yaml.safe_load_all(cellway("render", str(tmp_path), "--as", "status").stdout)
    }
    for kind in ("TLSRoute", "TCPRoute", "UDPRoute"):
        (parent,) = statuses[kind]["status"]["parents"]
        assert [one["reason"] for one in parent["conditions"]] == ["Accepted", "ResolvedRefs"]
    done = cellway("render", str(tmp_path), "--as", "bootstrap")
    assert envoy_accepts(done.stdout, tmp_path) == ""


def test_secrets_are_printed_only_when_asked_for(tmp_path: Path) -> None:
    chain, key = (text.encode() for text in self_signed("edge.example"))
    encoded = base64.b64encode(key).decode()
    (tmp_path / "tls.yaml").write_text(
        TLS.replace("CHAIN", base64.b64encode(chain).decode()).replace("KEY", encoded), encoding="utf-8"
    )
    secret = [encoded[60:120], key.decode().splitlines()[1]]
    for form in ("resources", "objects", "status"):
        done = cellway("render", str(tmp_path), "--as", form)
        assert done.returncode == 0, done.stderr
        assert not [one for one in secret if one in done.stdout + done.stderr], form
    refused = cellway("render", str(tmp_path), "--as", "bootstrap")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--show-secrets" in refused.stderr
    shown = cellway("render", str(tmp_path), "--as", "bootstrap", "--show-secrets")
    assert encoded[60:120] in shown.stdout
    assert envoy_accepts(shown.stdout, tmp_path) == ""


def test_rules_on_places_need_a_database(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "policies" / "authorization.md").read_text(encoding="utf-8")
    given = (
        page.split("```yaml\n")[1]
        .partition("```")[0]
        .replace("clientCIDRs: [10.0.0.0/8]", "clientIPGeoLocations: [{country: DE}]")
    )
    without = cellway("validate", "-", given=given)
    assert without.returncode == 1
    assert "--geoip country=/PATH" in without.stdout
    rendered = cellway("render", "-", "--geoip", "city=/city.mmdb", given=given)
    assert rendered.returncode == 0
    assert "city_db_path: /city.mmdb" in rendered.stdout
    assert cellway("validate", "-", "--geoip", "town=/x", given=given).returncode == 2


def test_a_bootstrap_says_who_gets_metrics(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "policies" / "metrics.md").read_text(encoding="utf-8")
    folder = tmp_path / "policies"
    folder.mkdir()
    _, _, told, sent = (part.partition("```")[0] for part in page.split("```yaml\n"))
    (folder / "edge.yaml").write_text(told, encoding="utf-8")
    done = cellway("bootstrap", "default/edge", str(folder), "--admin", "127.0.0.1:19009")
    (admin,) = (one for one in yaml.safe_load(done.stdout)["static_resources"]["clusters"] if "admin" in one["name"])
    assert "19009" in str(admin["load_assignment"])
    (folder / "edge.yaml").write_text(sent, encoding="utf-8")
    done = cellway("bootstrap", "default/edge", str(folder))
    assert [one["name"] for one in yaml.safe_load(done.stdout)["stats_sinks"]] == ["envoy.stat_sinks.open_telemetry"]
    assert envoy_accepts(done.stdout, tmp_path) == ""


def test_a_log_is_written_in_a_folder_that_is_permitted() -> None:
    page = (ROOT / "docs" / "policies" / "access-logs.md").read_text(encoding="utf-8")
    given = page.split("```yaml\n")[1].partition("```")[0].replace("/dev/stdout", "/var/log/envoy/edge.log")
    without = cellway("validate", "-", given=given)
    assert (without.returncode, "--log-folder /PATH" in without.stdout) == (1, True)
    rendered = cellway("render", "-", "--log-folder", "/var/log/envoy/", given=given)
    assert (rendered.returncode, "path: /var/log/envoy/edge.log" in rendered.stdout) == (0, True)
    assert cellway("validate", "-", "--log-folder", "/var/../etc", given=given).returncode == 2


def test_a_library_is_in_a_folder_that_is_permitted() -> None:
    page = (ROOT / "docs" / "policies" / "extensions.md").read_text(encoding="utf-8")
    given = page.split("```yaml\n")[2].partition("```")[0]
    options = ("--allow-extensions", "default", "--module-folder", "/usr/lib/envoy")
    rendered = cellway("render", "-", *options, given=given)
    assert (rendered.returncode, "filename: /usr/lib/envoy/libstamp.so" in rendered.stdout) == (0, True)
    without = cellway("validate", "-", *options[:2], given=given)
    assert (without.returncode, "--module-folder /PATH" in without.stdout) == (1, True)


def test_validate_asks_a_real_envoy_if_it_shall() -> None:
    page = (ROOT / "docs" / "policies" / "authorization.md").read_text(encoding="utf-8")
    places = "clientIPGeoLocations: [{country: DE}]"
    given = page.split("```yaml\n")[1].partition("```")[0].replace("clientCIDRs: [10.0.0.0/8]", places)
    line = ("validate", "-", "--with-envoy", "--envoy", str(BINARY), "--geoip")
    done = cellway(*line, "city=/nowhere.mmdb", given=given)
    assert done.returncode == 1
    assert "error T130 Envoy itself refuses the filter envoy.filters.http.geoip of listener" in done.stdout
    assert "/nowhere.mmdb" in done.stdout
    assert "[SecurityPolicy default/shop-users]" in done.stdout
    done = cellway("validate", QUICKSTART, "--with-envoy", "--envoy", str(BINARY))
    assert (done.returncode, done.stdout) == (0, "4 files, 8 objects: 0 errors\n")
    done = cellway("validate", QUICKSTART, "--with-envoy", "--envoy", "/nowhere/envoy")
    assert (done.returncode, "--envoy says /nowhere/envoy" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "gateway", ["shop/edge", "acme/dev/orders/west", "acme/dev/orders", "acme/dev/orders/component/api"]
)
def test_bootstrap_for_an_envoy_elsewhere(tmp_path: Path, gateway: str) -> None:
    done = cellway("bootstrap", gateway, "--xds", "control.example:18000", "--node-id", "n1")
    bootstrap = yaml.safe_load(done.stdout)
    assert bootstrap["node"] == {"id": "n1", "cluster": gateway}
    assert envoy_accepts(done.stdout, tmp_path) == ""


def test_the_admin_interface_elsewhere_is_a_socket_for_its_owner(tmp_path: Path) -> None:
    for words, path in (((), "envoy-default-edge.sock"), (("--admin", "/run/a.sock"), "/run/a.sock")):
        done = cellway("bootstrap", "default/edge", *words)
        assert yaml.safe_load(done.stdout)["admin"]["address"] == {"pipe": {"path": path, "mode": 0o600}}
        assert "19000" not in done.stdout
    assert envoy_accepts(done.stdout, tmp_path) == ""
    said = yaml.safe_load(cellway("bootstrap", "default/edge", "--admin", "127.0.0.1:19000").stdout)
    assert said["admin"]["address"]["socket_address"]["port_value"] == 19000
    long = yaml.safe_load(cellway("bootstrap", "/".join((*["o" * 63] * 3, "component", "c" * 63))).stdout)
    assert len(long["admin"]["address"]["pipe"]["path"]) < 100


def test_bootstrap_has_the_token_of_its_gateway(tmp_path: Path) -> None:
    line = ("bootstrap", "default/edge", "--report-load")
    done = cellway(*line)
    assert (done.stdout.count("initial_metadata"), "only a server with --xds-insecure" in done.stderr) == (0, True)
    state = StateFolder(tmp_path / "state")
    done = cellway(*line, "--state-dir", str(state.path))
    assert (done.returncode, "has no key that tokens are made with" in done.stderr) == (2, True)
    shown = f"Bearer {Tokens(state.xds_key()).word('default/edge')}"
    state.close()
    done = cellway(*line, "--state-dir", str(state.path))
    assert done.stderr == ""
    assert envoy_accepts(done.stdout, tmp_path) == ""
    bootstrap = yaml.safe_load(done.stdout)
    for source in (bootstrap["dynamic_resources"]["ads_config"], bootstrap["cluster_manager"]["load_stats_config"]):
        (service,) = source["grpc_services"]
        assert service["initial_metadata"] == [{"key": "authorization", "value": shown}]
    files = ("--cert", "/edge.pem", "--key", "/edge.key", "--ca", "/ca.pem")
    assert "initial_metadata" not in cellway(*line, "--state-dir", str(state.path), *files).stdout


def test_bootstrap_says_what_policies_say_of_an_envoy(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "envoy-process.md").read_text(encoding="utf-8")
    first, second = (part.partition("```")[0] for part in page.split("```yaml\n")[1:3])
    (tmp_path / "large.yaml").write_text(first, encoding="utf-8")
    done = cellway("bootstrap", "default/edge", str(tmp_path))
    line, _, text = done.stdout.partition("\n")
    assert line.startswith("# envoy -c FILE --concurrency 4 --log-level error --component-log-level upstream:debug ")
    assert yaml.safe_load(text)["node"]["cluster"] == "default/edge"
    small = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: little}\nspec:\n"
    small += "  gatewayClassName: small\n  listeners: [{name: http, protocol: HTTP, port: 10081}]\n---\n" + second
    (tmp_path / "small.yaml").write_text(small, encoding="utf-8")
    changed = yaml.safe_load(cellway("bootstrap", "default/little", str(tmp_path)).stdout)
    heap = changed["overload_manager"]["resource_monitors"][0]["typed_config"]
    assert heap["max_heap_size_bytes"] == 536870912
    refused = cellway("bootstrap", "default/none", str(tmp_path))
    assert (refused.returncode, "default/edge, default/little" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        *(["/"], ["a"], ["a/b/c/d/e"], ["/b"], ["a/b", "--xds", "nowhere"]),
        *(["a/b", "--admin", "here"], ["a/b", "--admin", "@/x"]),
    ],
)
def test_bootstrap_refuses_what_it_cannot_use(words: list[str]) -> None:
    done = cellway("bootstrap", *words)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


@pytest.mark.parametrize("name", ["status", "wait"])
def test_a_server_that_does_not_answer_is_trouble(name: str) -> None:
    done = cellway(name, "--admin", "127.0.0.1:1")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "127.0.0.1:1" in done.stderr


def test_version() -> None:
    answer = json.loads(cellway("version", "-o", "json").stdout)
    assert set(answer) == {"cellway", "envoy_api", "python"}


def test_help_imports_no_server() -> None:
    program = "import sys, xds_server.cli.main\nprint([name for name in ('grpc', 'uvicorn', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "validate" in cellway("--help").stdout


def test_render_of_a_diagram_is_for_one_stage() -> None:
    shop = str(ROOT / "policies" / "shop")
    assert cellway("render", shop, "--as", "diagram", "--stage", "dev").stdout.startswith("flowchart LR\n")
    done = cellway("render", shop, "--as", "diagram", "--stage", "moon")
    assert (done.returncode, "there is no stage moon" in done.stderr) == (2, True)
    assert cellway("render", shop, "--as", "diagram", "-o", "json").returncode == 2


def test_namespaces_that_may_extend_envoys_are_named_by_the_operator() -> None:
    given = GATEWAY_AND_PATCH
    without = cellway("validate", "-", given=given)
    assert (without.returncode, "A150" in without.stdout, "--allow-extensions" in without.stdout) == (1, True, True)
    assert cellway("validate", "-", "--allow-extensions", "default", given=given).returncode == 0
    rendered = cellway("render", "-", "--allow-extensions", "*", "--as", "resources", given=given)
    assert (rendered.returncode, "patched-prefix" in rendered.stdout) == (0, True)
    assert cellway("validate", "-", "--allow-extensions", "No Name", given=given).returncode == 2


GATEWAY_AND_PATCH = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, protocol: HTTP, port: 8080}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: edge}
spec:
  type: JSONPatch
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
  jsonPatches:
  - type: type.googleapis.com/envoy.config.listener.v3.Listener
    name: default/edge/http-8080
    operation: {op: add, path: /stat_prefix, value: patched-prefix}
"""
