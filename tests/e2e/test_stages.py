"""Three stages on one server: what is promoted is the same everywhere, and what is written changes the first one only."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.commands import cellway
from tests.e2e.load import Load
from tests.e2e.running import Cellway, ask_envoy

ORGANIZATION = """
apiVersion: cellway.dev/v1alpha1
kind: Organization
metadata: {name: acme}
spec:
  defaultClass: standard
  stages:
  - {name: dev, trustDomain: dev.acme.internal}
  - {name: test, trustDomain: test.acme.internal}
  - {name: prod, trustDomain: prod.acme.internal, production: true}
---
apiVersion: cellway.dev/v1alpha1
kind: CellClass
metadata: {name: standard}
spec:
  defaults:
    east:
      traffic:
        timeout: {http: {requestTimeout: 5s}}
        rateLimit: {local: {rules: [{limit: {requests: 100000, unit: Minute}}]}}
---
apiVersion: cellway.dev/v1alpha1
kind: ExternalService
metadata: {name: cards}
spec:
  hosts: [api.cards.example]
  ports: [{port: 80, protocol: HTTP}]
  credential: {header: Authorization, secretRef: {name: card-key}, overwrite: true}
---
apiVersion: v1
kind: Secret
metadata: {name: card-key, namespace: back}
stringData: {credential: sandbox}
---
apiVersion: v1
kind: Secret
metadata: {name: card-key-live, namespace: back}
stringData: {credential: earnest}
---
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: late}
spec: {components: [{name: worker}]}
"""
FRONT = """
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: front}
spec:
  components: [{name: web}]
  dependencies:
  - {name: back, cell: back, component: api}
  - {name: catalog, cell: back, component: catalog}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: quota, namespace: front}
spec:
  targetRefs: [{group: cellway.dev, kind: Cell, name: front, sectionName: east.catalog}]
  rateLimit: {local: {rules: [{limit: {requests: 3, unit: Hour}}]}}
"""
BACK = """
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: back}
spec:
  components:
  - name: api
    endpoints: [{name: http, port: 3000, visibility: [organization], allow: {cells: [front]}}]
  - name: next
    endpoints: [{name: http, port: 3000}]
  - name: catalog
    endpoints: [{name: http, port: 3000, visibility: [organization]}]
  dependencies: [{name: cards, external: cards}]
"""
BINDINGS = """
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: front-STAGE}
spec: {cell: front, stage: STAGE, address: ADDR.FRONT, endpoints: {}OVER}
---
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: back-STAGE}
spec:
  cell: back
  stage: STAGE
  address: ADDR.BACK
  endpoints: {api.http: [{address: ADDR.101}], next.http: [{address: ADDR.102}], catalog.http: [{address: ADDR.103}]}
  overrides: {externals: {cards: {endpoints: [{address: ADDR.104, port: 3000}]SECRET}}}
"""
QUOTA = ", overrides: {sections: {east.catalog: {traffic: {rateLimit: {local: {rules: [{limit: {requests: 5, unit: Hour}}]}}}}}}"
CANARY = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: canary, namespace: back, labels: {cellway.dev/stages: "test,prod"}}
spec:
  parentRefs: [{group: cellway.dev, kind: Cell, name: back, sectionName: west.api.http}]
  rules:
  - backendRefs:
    - {group: cellway.dev, kind: Endpoint, name: api.http, weight: %d}
    - {group: cellway.dev, kind: Endpoint, name: next.http, weight: %d}
"""
NUMBERS = {"dev": (0, 16), "test": (32, 48), "prod": (64, 80)}
API, CATALOG = "api.back.cell.internal", "catalog.back.cell.internal"


def command(stages: Cellway, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of `cellway` against the server."""
    return cellway(*words, "--admin", stages.admin.removeprefix("http://"))


def done(stages: Cellway, *words: str) -> dict[str, Any]:
    """The answer of a promotion or rollback that works, after every Envoy has what it brought."""
    ran = command(stages, *words, "-o", "json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    stages.wait(60)
    return dict(json.loads(ran.stdout))


@pytest.fixture(scope="module")
def stages(shared: Callable[..., Cellway]) -> Cellway:
    running = shared("--stage", "dev", "--stage", "test", "--stage", "prod")
    running.write("organization.yaml", ORGANIZATION)
    running.write("front.yaml", FRONT)
    running.write("back.yaml", BACK)
    for stage, (front, back) in NUMBERS.items():
        text = BINDINGS.replace("STAGE", stage).replace("FRONT", str(front)).replace("BACK", str(back))
        text = text.replace("OVER", QUOTA if stage == "test" else "")
        text = text.replace("SECRET", ", credential: {secretRef: {name: card-key-live}}" if stage == "prod" else "")
        running.write(f"{stage}.yaml", text)
    running.write("late.yaml", "\n---\n".join(
        f"apiVersion: cellway.dev/v1alpha1\nkind: CellBinding\nmetadata: {{name: late-{stage}}}\n"
        f"spec: {{cell: late, stage: {stage}, address: ADDR.{200 + 8 * number}}}"
        for number, stage in enumerate(("dev", "prod"))
    ))  # fmt: skip
    for name, number in {"api": 101, "next": 102, "catalog": 103, "cards": 104}.items():
        running.upstream(number, name=name)
    running.start()
    for stage in ("test", "prod"):
        done(running, "promote", "back", "front", "--to", stage)
    return running


def east(stages: Cellway, stage: str) -> tuple[str, int]:
    return stages.block.address(NUMBERS[stage][0] + 3), 15001


def ask(stages: Cellway, stage: str, host: str = API) -> httpx.Response:
    address, port = east(stages, stage)
    return httpx.get(f"http://{address}:{port}/", headers={"Host": host}, timeout=10)


def releases(stages: Cellway, cell: str) -> dict[str, str]:
    return {one["stage"]: one["release"] for one in stages.api("cells")["items"] if one["cell"] == cell}


def versions(stages: Cellway, *names: str) -> dict[str, Any]:
    return {
        one["gateway"]: {kind: of["acknowledged"] for kind, of in one["types"].items()}
        for one in stages.api("proxies")["items"]
        if one["gateway"].split("/")[1] in names
    }


def test_every_stage_answers_and_knows_its_own_callers_only(stages: Cellway) -> None:
    for stage in NUMBERS:
        answer = ask(stages, stage)
        assert answer.status_code == 200, (stage, answer.text)
        assert answer.json()["headers"]["x-cell-caller"] == f"spiffe://{stage}.acme.internal/cell/front/gw/east"
    gateways = {one["gateway"] for one in stages.api("proxies")["items"]}
    assert gateways == {f"acme/{stage}/{one}" for stage in NUMBERS for one in ("front/east", "back/west", "back/south")}


def test_what_is_written_changes_the_first_stage_and_no_version_of_others(stages: Cellway) -> None:
    before, names = versions(stages, "test", "prod"), releases(stages, "back")
    assert names["test"] == names["prod"] == names["dev"]
    stages.write("back.yaml", BACK.replace("allow: {cells: [front]}", "allow: {cells: []}"))
    try:
        stages.wait()
        assert ask(stages, "dev").headers["x-cell-deny"] == "not-allowed"
        assert ask(stages, "test").status_code == ask(stages, "prod").status_code == 200
        assert versions(stages, "test", "prod") == before != {}
        assert releases(stages, "back")["dev"] != names["dev"]
        ran = command(stages, "promote", "back", "--to", "test")
        assert (ran.returncode, "does not allow cell front" in ran.stdout) == (1, True), ran.stdout
        assert versions(stages, "test", "prod") == before
    finally:
        stages.write("back.yaml", BACK)
        stages.wait()
    assert releases(stages, "back") == names


def test_no_stage_is_skipped_and_a_missing_binding_blocks(stages: Cellway) -> None:
    ran = command(stages, "promote", "late", "--to", "prod")
    assert (ran.returncode, "dev -> test -> prod" in ran.stdout) == (1, True), ran.stdout
    ran = command(stages, "promote", "late", "--to", "test", "--dry-run")
    assert (ran.returncode, "has no binding in stage test" in ran.stdout) == (1, True), ran.stdout
    assert command(stages, "promote", "late", "--to", "tset").stdout.endswith("(did you mean 'test'?)\n")


def test_a_canary_is_promoted_and_changed_under_load_without_a_failure(stages: Cellway) -> None:
    before = releases(stages, "back")["test"]
    stages.write("canary.yaml", CANARY % (90, 10))
    try:
        stages.wait()
        done(stages, "promote", "back", "--to", "test")
        address, port = east(stages, "test")
        with httpx.Client(base_url=f"http://{address}:{port}", headers={"Host": API}, timeout=10) as client:
            seen = Counter(client.get("/").json()["server"] for _ in range(2000))
        assert seen.total() == 2000
        assert 130 <= seen["next"] <= 270, seen  # five standard deviations
        stages.write("canary.yaml", CANARY % (0, 1))
        stages.wait()
        with Load(address, port, API, rate=100) as load:
            done(stages, "promote", "back", "--to", "test")
            assert {ask(stages, "test").json()["server"] for _ in range(20)} == {"next"}
            back = done(stages, "rollback", "back", "--stage", "test")
            assert {ask(stages, "test").json()["server"] for _ in range(100)} >= {"api"}
            done(stages, "rollback", "back", "--stage", "test", "--to", before)
            assert {ask(stages, "test").json()["server"] for _ in range(20)} == {"api"}
            until(lambda: load.total > 50)
        assert load.failures() == {}
        assert back["moves"][0]["release"] not in ("", before)
        assert {ask(stages, "dev").json()["server"] for _ in range(50)} == {"api"}, "the label leaves dev out"
        history = next(one for one in stages.api("cells/back/releases")["stages"] if one["stage"] == "test")["history"]
        assert [one["by"] for one in history][:2] == ["rollback", "rollback"]
    finally:
        (stages.folder / "canary.yaml").unlink()
        stages.wait()


def test_a_stage_never_holds_the_credential_of_another(stages: Cellway) -> None:
    texts = {one["gateway"]: dump(one["admin"]) for one in stages.api("proxies")["items"]}
    for name, text in texts.items():
        assert "earnest" not in text, name
        for other in set(NUMBERS) - {name.split("/")[1]}:
            assert f"{other}.acme.internal" not in text, name
    for stage, secret in (("dev", "sandbox"), ("prod", "earnest")):
        address = stages.block.address(NUMBERS[stage][1] + 4)
        answer = httpx.get(f"http://{address}:15002/", headers={"Host": "api.cards.example"}, timeout=10)
        assert answer.json()["headers"]["authorization"] == secret


def dump(admin: str) -> str:
    return ask_envoy(admin, "/config_dump?include_eds").text


def test_class_policy_and_binding_say_what_counts_and_it_does(stages: Cellway) -> None:
    ran = cellway("render", str(stages.folder), "--as", "effective", "-o", "json")
    assert "class default" in ran.stdout
    assert "policy on" in ran.stdout
    for stage, limit, layer in (("dev", 3, "policy on"), ("test", 5, "binding")):
        (settings,) = stages.api(f"cells/front/effective?stage={stage}")["items"]
        section = next(one for one in settings["sections"] if one["section"] == "east.catalog")
        of = {one["field"]: one for one in section["settings"]}
        quota = next(one for field, one in of.items() if "rateLimit" in field)
        assert quota["setBy"]["layer"].startswith(layer), quota
        assert "class default" in [one["layer"] for one in quota["overridden"]]
        timeout = next(one for field, one in of.items() if "requestTimeout" in field)
        assert (timeout["value"], timeout["setBy"]["layer"]) == ("5s", "class default")
        codes = [ask(stages, stage, CATALOG).status_code for _ in range(8)]
        assert codes == [200] * limit + [429] * (8 - limit)
    slow = next(server for server in stages.upstreams if server.name == "api")
    slow.delay = 8.0
    try:
        assert ask(stages, "prod").status_code == 504
    finally:
        slow.delay = 0.0


def test_commands_show_cells_and_connections(stages: Cellway) -> None:
    ran = command(stages, "cells")
    assert ran.returncode == 0, ran.stdout
    lines = [" ".join(line.split()) for line in ran.stdout.splitlines()]
    names = releases(stages, "back")
    assert f"back dev {names['dev']} (working copy) west, south Cell -" in lines, lines
    assert f"back test {names['test']} west, south Cell -" in lines
    ran = command(stages, "connections", "--cell", "front", "--stage", "prod")
    assert ran.stdout.splitlines() == [f"BACK_URL=http://{API}:15001", f"CATALOG_URL=http://{CATALOG}:15001"]
    assert command(stages, "connections", "--cell", "fornt").returncode == 2
    edges = stages.api("topology")["edges"]
    assert any(
        (one["stage"], one["from"], one["to"], one["state"]) == ("prod", "front", "back", "Resolved") for one in edges
    )
    south = [one for one in stages.api("cells/back/gateways?stage=dev")["items"] if one["direction"] == "south"]
    assert south[0]["proxies"] == {"synced": 1, "wanted": 1}


def test_web_pages_and_other_users_cannot_promote(stages: Cellway) -> None:
    url, body = f"{stages.admin}/api/v1/promote", {"cells": ["back"], "stage": "test"}
    assert httpx.post(url, json=body, headers={"Origin": "https://evil.example"}).status_code == 403
    assert httpx.post(url, content=json.dumps(body), headers={"Content-Type": "text/plain"}).status_code == 415
    assert httpx.get(url).status_code == 405
    answer = httpx.post(url, json=body)
    assert answer.status_code == 401, "another user of this machine, or a client of a gateway with a Backend here"
    assert answer.json()["tokenFile"] == str(stages.state / "token")


def test_a_restarted_server_has_the_same_releases(stages: Cellway) -> None:
    names = releases(stages, "back")
    stages.kill()
    stages.start()
    assert releases(stages, "back") == names
    assert ask(stages, "prod").status_code == 200


def until(check: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.02)
