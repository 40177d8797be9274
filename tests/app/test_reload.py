"""Reloading without a server: what stays in force when files go wrong, vanish, or come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import pytest

from xds_server.changes.candidate import Files, candidate
from xds_server.compile import Options
from xds_server.load import directory
from xds_server.observe.policies_view import policies_view, read_asked
from xds_server.observe.status_view import objects_view
from xds_server.reload import GRACE, Policies, Result, Source, reload

GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {listeners: [{name: http, protocol: HTTP, port: 8080}]}
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAME}
spec:
  parentRefs: [{name: edge}]
  hostnames: [NAME.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: NAME-b}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: 3000}}]}
"""
POLICY = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: auth}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  jwt: {providers: [{name: idp, issuer: https://idp.example, remoteJWKS: {uri: 'https://idp.example/keys'}}]}
"""


EXTENSION = """
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: more}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: web}]
  wasm: [{code: {type: File, file: FILE}}]
"""
MODULE = b"\0asm\1\0\0\0" + b"\7\x19\1\x15proxy_abi_version_0_2\0\0"


@dataclass
class Folder:
    """A policy folder and what is in force of it. `time` is the clock."""

    path: Path
    time: float = 100.0
    policies: Policies = field(default_factory=Policies)
    options: Options = Options(extenders=("default",))  # noqa: RUF009 - frozen

    @property
    def texts(self) -> dict[str, bytes]:
        """The files but for the one with an extension."""
        return {one.name: one.read_bytes() for one in self.path.glob("*.yaml") if one.name != "wasm.yaml"}

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, encoding="utf-8")

    def reload(self, *, confirmed: bool = False) -> Result:
        source = Source((self.path,), self.options, lambda: self.time)
        self.policies, result = reload(self.policies, source, confirmed=confirmed)
        return result

    def names(self, kind: str = "HTTPRoute") -> list[str]:
        return sorted(item.name for item in self.policies.compiled.objects if item.key.kind == kind)

    def own(self) -> list[str]:
        """The codes, but for that of the missing backend."""
        return [code for code in self.codes() if code != "A112"]

    def codes(self) -> list[str]:
        return [diagnostic.code for diagnostic in self.policies.diagnostics]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "policies")
    made.path.mkdir()
    made.write("gateway.yaml", GATEWAY)
    made.write("web.yaml", ROUTE.replace("NAME", "web"))
    made.write("other.yaml", ROUTE.replace("NAME", "other"))
    assert made.reload() == "applied"
    return made


def test_a_module_beside_the_policies_is_read_anew_when_it_changes(folder: Folder) -> None:
    written = "{path: code/m.wasm}"
    folder.write("wasm.yaml", EXTENSION.replace("FILE", written))
    (folder.path / "code").mkdir()
    folder.reload()
    assert folder.own() == ["A105"]
    (folder.path / "code" / "m.wasm").write_bytes(MODULE)
    assert (folder.reload(), folder.own(), folder.reload()) == ("applied", [], "unchanged")
    before = versions(folder)
    (folder.path / "code" / "m.wasm").write_bytes(MODULE.replace(b"0_2", b"0_1"))
    assert (folder.reload(), folder.own()) == ("applied", [])
    assert versions(folder) != before
    folder.write("wasm.yaml", EXTENSION.replace("FILE", f"{written[:-1]}, sha256: {sha256(MODULE).hexdigest()}}}"))
    folder.reload()
    assert folder.own() == ["F103"]
    draft = Files("next", str(folder.path), {"wasm.yaml": EXTENSION.replace("FILE", written).encode(), **folder.texts})
    options = replace(folder.options, code_files=folder.policies.code_files)
    found = candidate(folder.policies, options, draft).diagnostics
    assert {one.code for one in found} == {"A112"}, "a draft finds the modules of the server"


def versions(folder: Folder) -> dict[str, str]:
    return dict(folder.policies.compiled.snapshots["default/edge"].versions)


def test_nothing_changed_is_nothing_done(folder: Folder) -> None:
    before = folder.policies.compiled
    assert folder.reload() == "unchanged"
    folder.write("web.yaml", ROUTE.replace("NAME", "web"))
    assert folder.reload() == "unchanged"
    assert folder.policies.compiled is before


def test_unchanged_documents_keep_their_objects(folder: Folder) -> None:
    before = {item.key: item for item in folder.policies.compiled.objects}
    folder.write("web.yaml", ROUTE.replace("NAME", "web").replace("web.example", "www.example"))
    assert folder.reload() == "applied"
    changed = [item.key.name for item in folder.policies.compiled.objects if before[item.key] is not item]
    assert changed == ["web"]


def test_a_file_that_is_no_yaml_keeps_what_it_said(folder: Folder) -> None:
    before = versions(folder)
    folder.write("web.yaml", "a: [1,\n")
    assert folder.reload() == "applied"
    assert versions(folder) == before
    assert "L101" in folder.codes()
    folder.write("web.yaml", ROUTE.replace("NAME", "web"))
    folder.reload()
    assert "L101" not in folder.codes()
    assert versions(folder) == before


def test_an_object_with_a_mistake_keeps_its_last_good_form_and_others_in_its_file_go_on(folder: Folder) -> None:
    before = versions(folder)
    folder.write("web.yaml", ROUTE.replace("NAME", "web").replace("hostnames", "hostname") + "---" + POLICY)
    assert folder.reload() == "applied"
    assert folder.names() == ["other", "web"]
    assert folder.policies.objects.kept[0].name == "web"
    assert folder.names("SecurityPolicy") == ["auth"]
    assert "M110" in folder.codes()
    folder.write("web.yaml", ROUTE.replace("NAME", "web").replace("hostnames", "hostname"))
    folder.reload()
    assert versions(folder) == before, "and keeps it as often as that is needed"


def test_an_object_that_was_never_good_is_not_there(folder: Folder) -> None:
    folder.write("new.yaml", ROUTE.replace("NAME", "new").replace("hostnames", "hostname"))
    folder.reload()
    assert folder.names() == ["other", "web"]


def test_a_policy_with_a_mistake_closes_what_it_covers(folder: Folder) -> None:
    folder.write("policy.yaml", POLICY)
    folder.reload()
    before = versions(folder)
    folder.write("policy.yaml", POLICY.replace("providers", "provider"))
    folder.reload()
    (policy,) = [item for item in folder.policies.compiled.objects if item.key.kind == "SecurityPolicy"]
    assert policy.broken
    assert versions(folder) != before


@pytest.mark.parametrize("remove", ["gone", "emptied"])
def test_a_folder_that_is_gone_or_empty_changes_nothing(folder: Folder, remove: str) -> None:
    away = folder.path.with_name("away")
    folder.path.rename(away)
    if remove == "emptied":
        folder.path.mkdir()
    before = folder.policies.compiled
    assert folder.reload() == "rejected"
    assert folder.policies.compiled is before
    assert folder.policies.alarm
    assert any(code.startswith("L13") for code in folder.codes())
    if remove == "emptied":
        folder.path.rmdir()
    away.rename(folder.path)
    assert folder.reload() == "applied"
    assert folder.policies.alarm == ""
    assert folder.codes() == folder.codes()
    assert not any(code.startswith("L1") for code in folder.codes())


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir], ids=["missing", "empty"])
def test_at_the_start_there_must_be_something(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = Folder(tmp_path / "policies")
    make(folder.path)
    assert folder.reload() == "rejected"
    assert folder.policies.loaded is None
    assert "L12" in folder.policies.alarm
    folder.path.mkdir(exist_ok=True)
    folder.write("gateway.yaml", GATEWAY)
    assert folder.reload() == "applied"


def test_a_file_that_has_just_vanished_still_counts_for_a_moment(folder: Folder) -> None:
    (folder.path / "web.yaml").unlink()
    folder.reload()
    assert folder.names() == ["other", "web"]
    assert folder.policies.gone
    folder.time += GRACE / 2
    folder.reload()
    assert folder.names() == ["other", "web"]
    folder.time += GRACE
    assert folder.reload() == "applied"
    assert folder.names() == ["other"]
    assert not folder.policies.gone


def test_every_object_keeps_its_document_while_another_file_vanishes(folder: Folder) -> None:
    (folder.path / "other.yaml").unlink()
    folder.reload()
    folder.time += 2 * GRACE
    assert folder.reload() == "applied"
    assert folder.names() == ["web"]
    folder.write("web.yaml", ROUTE.replace("NAME", "new"))
    assert folder.reload() == "applied"
    assert folder.names() == ["new"]


def test_a_file_that_comes_back_in_time_was_never_gone(folder: Folder) -> None:
    (folder.path / "web.yaml").rename(folder.path / "web.yaml~")
    folder.reload()
    folder.time += GRACE / 2
    folder.write("web.yaml", ROUTE.replace("NAME", "web"))
    assert folder.reload() in ("applied", "unchanged")
    folder.time += GRACE
    folder.reload()
    assert folder.names() == ["other", "web"]


def test_a_renamed_file_is_no_duplicate(folder: Folder) -> None:
    (folder.path / "web.yaml").rename(folder.path / "renamed.yaml")
    folder.reload()
    assert "A101" not in folder.codes()
    assert folder.names() == ["other", "web"]


def test_many_files_that_vanish_at_once_need_a_confirmation(folder: Folder) -> None:
    for number in range(20):
        folder.write(f"r{number}.yaml", ROUTE.replace("NAME", f"r{number}"))
    folder.reload()
    for number in range(20):
        (folder.path / f"r{number}.yaml").unlink()
    folder.time += 10
    assert folder.reload() == "rejected"
    assert "SIGHUP" in folder.policies.alarm
    assert len(folder.names()) == 22
    assert folder.reload(confirmed=True) == "applied"
    assert folder.names() == ["other", "web"]


def test_generation_counts_changes_of_the_spec(folder: Folder) -> None:
    def generations() -> tuple[int, int]:
        listed = {item.name: item for item in folder.policies.compiled.objects}
        (view,) = [one for one in objects_view(folder.policies.compiled, "c") if one["kind"] == "Gateway"]
        observed = {one["observedGeneration"] for one in view["status"]["conditions"]}
        observed |= {one["observedGeneration"] for place in view["status"]["listeners"] for one in place["conditions"]}
        assert observed == {listed["edge"].meta.generation} == {view["metadata"]["generation"]}
        return listed["edge"].meta.generation, listed["third"].meta.generation

    def edited(gateway: str) -> tuple[int, int]:
        folder.write("gateway.yaml", f"{gateway}---{ROUTE}".replace("NAME", "third"))
        assert folder.reload() == "applied"
        return generations()

    assert edited(GATEWAY) == (1, 1)
    assert edited(GATEWAY.replace("8080", "8081")) == (2, 1)
    assert edited(GATEWAY.replace("8080", "8081").replace("name: edge}", "name: edge, labels: {a: b}}")) == (2, 1)
    assert edited(GATEWAY.replace("8080", "8081") + "# a comment\n") == (2, 1)
    assert edited(GATEWAY.replace("name: edge}", "name: edge, generation: 7}")) == (7, 1)
    assert edited(GATEWAY.replace("8080", "8082")) == (8, 1)


def test_a_suppression_counts_in_a_running_server_and_is_told_when_it_has_lost_its_reason(folder: Folder) -> None:
    alone = ROUTE.replace("NAME", "alone").replace("  parentRefs: [{name: edge}]\n", "")
    folder.write("alone.yaml", alone)
    folder.reload()
    assert "A111" in folder.codes()
    meant = "{name: alone, annotations: {cellway.dev/suppress: A111}}"
    folder.write("alone.yaml", alone.replace("{name: alone}", meant))
    folder.reload()
    assert not {"A111", "M108"} & set(folder.codes())
    folder.write("alone.yaml", ROUTE.replace("NAME", "alone").replace("{name: alone}", meant))
    folder.reload()
    assert "M108" in folder.codes()


def test_what_is_told_of_policies_that_do_not_count_is_of_now(folder: Folder) -> None:
    def passed_over() -> list[str]:
        view = policies_view(folder.policies.compiled, read_asked("HTTPRoute/web"))
        assert view is not None
        return [one["field"] for entry in view["items"] for one in entry["fields"] if one["overridden"]]

    policy = POLICY.replace("SecurityPolicy", "BackendTrafficPolicy").partition("  jwt:")[0]
    folder.write("near.yaml", policy.replace("auth", "near") + "  timeout: {http: {requestTimeout: 1s}}\n")
    far = policy.replace("auth", "far").replace("kind: HTTPRoute, name: web", "kind: Gateway, name: edge")
    folder.write("far.yaml", far + "  timeout: {http: {requestTimeout: 2s}}\n")
    folder.reload()
    assert passed_over() == ["timeout"]
    folder.write("far.yaml", far + "  timeout: {http: {requestTimeout: 2s}}\n  retry: {numRetries: 3}\n")
    folder.reload()
    assert passed_over() == ["timeout", "retry"]
    (folder.path / "far.yaml").unlink()
    folder.reload(confirmed=True)
    assert passed_over() == []


def test_what_is_confirmed_is_read_whatever_the_system_says_of_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SIGHUP does: here nothing new is said of any file, for good."""
    monkeypatch.setattr(directory, "_DOUBT", -1.0)
    monkeypatch.setattr(directory, "stamp", lambda _: (1,))
    assert folder.reload() == "unchanged"
    folder.write("new.yaml", ROUTE.replace("NAME", "new"))
    assert folder.reload() == "applied", "a file with another name is another file"
    folder.write("web.yaml", ROUTE.replace("NAME", "changed"))
    assert folder.reload() == "unchanged"
    assert folder.reload(confirmed=True) == "applied"
    assert folder.names() == ["changed", "new", "other"]
