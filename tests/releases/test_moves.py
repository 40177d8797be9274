"""Promotion and rollback as decisions: what is allowed, what blocks, what is warned of. Nothing is served here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.cells.shop import BACK, BACK_AT, FRONT, FRONT_AT, binding, cell, objects_of, on, policy, reply, route
from tests.cells.test_stages import HOST, STAGES, versions
from xds_server.cells.releases import Releases, name_of, released_document
from xds_server.compile import Options, compile_objects
from xds_server.diagnostics import Severity
from xds_server.releases.moves import Known, Move, plan_promotion, plan_rollback
from xds_server.releases.requests import carry_out
from xds_server.releases.store import Store, read_release, release_text

NOW = "2026-01-01T00:00:00Z"
PROMOTED = {
    "front-test": binding("front", 32, FRONT_AT + HOST % "test", stage="test", name="front-test"),
    "back-test": binding("back", 48, BACK_AT, stage="test", name="back-test"),
    "front-prod": binding("front", 64, FRONT_AT, stage="prod", name="front-prod"),
    "back-prod": binding("back", 80, BACK_AT, stage="prod", name="back-prod"),
}


def known(folder: Path, releases: Releases | None = None, **changes: str) -> Known:
    files = STAGES | PROMOTED | {name.replace("_", "-"): text for name, text in changes.items()}
    options = Options(releases=releases or Releases())
    return Known(compile_objects(objects_of(files)[0], options), options, folder)


def done(before: Known, moves: Iterable[Move], **changes: str) -> Known:
    """What is in force after moves."""
    stored, live = dict(before.releases.stored), dict(before.releases.live)
    for move in moves:
        assert not move.blockers, move
        if move.text:
            stored[move.release] = tuple(
                read_release(move.release, move.text, before.folder / f"{move.release}.yaml").objects
            )
        live[move.stage, move.cell] = move.release
    return known(before.folder, Releases(stored, live), **changes)


def promoted(state: Known, stage: str, **changes: str) -> Known:
    return done(state, plan_promotion(state, ["back", "front"], stage), **changes)


def messages(move: Move) -> str:
    return "; ".join(f"{one.message} ({one.hint})" for one in move.blockers)


def test_a_release_is_the_same_in_every_stage(tmp_path: Path) -> None:
    state = promoted(promoted(known(tmp_path), "test"), "prod")
    names = {one.stage: dict(one.releases) for one in state.compiled.stages}
    assert names["test"] == names["prod"]
    assert set(names["prod"]) == {"front", "back"}
    assert names["dev"] == {"front": "", "back": ""}
    assert state.compiled.diagnostics == ()


def test_an_edit_after_promotion_changes_the_first_stage_alone(tmp_path: Path) -> None:
    state = promoted(known(tmp_path), "test")
    edit = {
        "front": FRONT.replace("web", "shop"),
        "front_at": binding("front", 0, FRONT_AT.replace("web", "shop") + HOST % "dev"),
    }
    after = promoted(known(tmp_path), "test", **edit)
    assert versions(after.compiled, "test") == versions(state.compiled, "test") != {}
    assert versions(after.compiled, "dev") != versions(state.compiled, "dev")


def test_no_stage_is_skipped_and_the_path_is_named(tmp_path: Path) -> None:
    (move,) = plan_promotion(known(tmp_path), ["back"], "prod")
    assert "back is not in stage test; the path is dev -> test -> prod" in messages(move)
    assert "cellway promote back --to test" in messages(move)


def test_what_cannot_be_promoted_says_why(tmp_path: Path) -> None:
    state = known(tmp_path, back_test="")
    for cells, stage, said in (
        ("back", "tset", "did you mean 'test'?"),
        ("bakc", "test", "did you mean 'back'?"),
        ("back", "dev", "cells begin in stage dev"),
        ("back", "test", "write a CellBinding with cell: back and stage: test"),
    ):
        (move,) = plan_promotion(state, [cells], stage)
        assert said in messages(move), (cells, stage)


def test_a_stage_without_what_a_cell_calls_blocks_it_and_both_may_go_together(tmp_path: Path) -> None:
    state = known(tmp_path)
    (alone,) = plan_promotion(state, ["front"], "test")
    assert "cell 'back' is not in stage test" in messages(alone)
    assert [one.place.partition(":")[0] for one in alone.blockers] == ["front"]
    front, back = plan_promotion(state, ["front", "back"], "test")
    assert (front.blockers, back.blockers) == ((), ())


def test_a_cell_that_a_stage_depends_on_cannot_become_one_that_refuses(tmp_path: Path) -> None:
    closed = BACK.replace("allow: {cells: [front]}", "allow: {cells: []}")
    state = promoted(known(tmp_path), "test", back=closed)
    (move,) = plan_promotion(state, ["back"], "test")
    assert "does not allow cell front" in messages(move)


def test_a_dependency_that_is_refused_everywhere_blocks(tmp_path: Path) -> None:
    closed = BACK.replace("allow: {cells: [front]}", "allow: {cells: []}")
    state = done(known(tmp_path), plan_promotion(known(tmp_path, back=closed), ["back"], "test"), back=closed)
    (move,) = plan_promotion(state, ["front"], "test")
    assert "does not allow cell front" in messages(move)


def test_a_host_that_is_taken_in_the_stage_blocks(tmp_path: Path) -> None:
    spec = (
        "{components: [{name: a, endpoints: [{name: http, port: 80, visibility: [public]}]}],"
        " gateways: {north: {hostnames: [%s]}}}"
    )
    at = binding("late", 112, ", endpoints: {a.http: [{address: 127.0.9.9}]}")
    there = at.replace("stage: dev, address: 127.0.9.112", "stage: test, address: 127.0.9.128").replace(
        "name: late}", "name: late-test}", 1
    )
    hosts = {"late": cell("late", spec % "late.example"), "late_at": at, "late_test": there}
    state = promoted(known(tmp_path), "test", **hosts)
    (fine,) = plan_promotion(state, ["late"], "test")
    assert fine.blockers == ()
    hosts["late_test"] = there.replace(
        "}]}}", "}]}, overrides: {gateways: {north: {hostnames: [test.front.example]}}}}"
    )
    state = promoted(known(tmp_path), "test", **hosts)
    (move,) = plan_promotion(state, ["late"], "test")
    assert "already leads to" in messages(move)


def test_a_working_copy_with_errors_is_no_release(tmp_path: Path) -> None:
    broken = policy("p", "back", "west.nothing", "timeout: {}")
    (move,) = plan_promotion(known(tmp_path, p=broken), ["back"], "test")
    assert "has no section 'west.nothing'" in messages(move)


def test_a_weaker_policy_and_an_override_that_changes_nothing_are_warned_of(tmp_path: Path) -> None:
    text = policy("p", "back", "west.api.http", "cors: {allowOrigins: ['https://a.example']}", "SecurityPolicy")
    limited = text.replace("namespace: back", "namespace: back, labels: {cellway.dev/stages: dev}")
    unused = binding(
        "back", 48, BACK_AT + ", overrides: {sections: {west.nothing: {traffic: {}}}}", stage="test", name="back-test"
    )
    (move,) = plan_promotion(known(tmp_path, p=limited, back_test=unused), ["back"], "test")
    assert move.blockers == ()
    said = [one.message for one in move.warnings]
    assert "west.api.http has no cors in stage test, and has it in stage dev" in said
    assert any("west.nothing" in one for one in said)


def test_a_binding_that_names_a_release_has_the_last_word(tmp_path: Path) -> None:
    for text in ("working-copy", "back-1234567"):
        fixed = binding("back", 48, f"{BACK_AT}, release: {text}", stage="test", name="back-test")
        (move,) = plan_promotion(known(tmp_path, back_test=fixed), ["back"], "test")
        assert "the binding says" in messages(move)
        assert f"write release: {move.release} there" in messages(move)
        assert move.blockers[0].place.startswith("back-test:4")


def test_a_stage_without_the_sidecars_of_the_one_before_is_warned_of(tmp_path: Path) -> None:
    named = BACK.replace(
        "{name: next, endpoints: [{name: http, port: 80}]}",
        "{name: next, endpoints: [{name: http, port: 80, from: [api]}]}",
    )
    at = binding("back", 16, f"{BACK_AT}, sidecars: {{next: {{application: 127.0.9.213}}}}")
    (move,) = plan_promotion(known(tmp_path, back=named, back_at=at), ["back"], "test")
    assert move.blockers == ()
    said = "endpoint next.http has no sidecar that keeps its `from` in stage test, and has it in stage dev"
    assert said in [one.message for one in move.warnings]


def test_rollback_goes_to_the_release_before_or_to_a_named_one(tmp_path: Path) -> None:
    first = promoted(known(tmp_path), "test")
    old = first.live("back", "test")
    edited = BACK.replace("name: next", "name: other")
    changed = {"back": edited, "back_at": binding("back", 16, BACK_AT.replace("next", "other"))}
    changed["back_test"] = binding("back", 48, BACK_AT.split(", next")[0] + "}", stage="test", name="back-test")
    state = done(first, [], **changed)
    second = done(state, plan_promotion(state, ["back"], "test"), **changed)
    new = second.live("back", "test")
    assert new != old
    back = plan_rollback(second, "back", "test", "", [old])
    assert (back.release, back.replaces, back.blockers) == (old, new, ())
    assert plan_rollback(second, "back", "test", old, []).blockers == ()
    for move, said in (
        (plan_rollback(second, "back", "test", "", []), "nothing to go back to"),
        (plan_rollback(second, "back", "test", f"{old[:-1]}x", []), f"did you mean '{old}'?"),
        (plan_rollback(second, "back", "dev", old, []), "stage dev has the working copy"),
        (plan_rollback(second, "back", "nowhere", old, []), "has no stage 'nowhere'"),
    ):
        assert said in messages(move)


def test_a_store_keeps_releases_and_histories(tmp_path: Path) -> None:
    store = Store(tmp_path)
    state = known(tmp_path)
    status, answer = carry_out("promote", {"cells": ["back"], "stage": "test", "dryRun": True}, state, store, NOW)
    assert (status, answer["done"], list(tmp_path.iterdir())) == (200, False, [])
    status, answer = carry_out("promote", {"cells": ["back", "front"], "stage": "test"}, state, store, NOW)
    assert (status, answer["done"]) == (200, True)
    again = Store(tmp_path).releases
    assert again.live == store.releases.live == {("test", one["cell"]): one["release"] for one in answer["moves"]}
    assert set(again.stored) == set(again.live.values())
    entry = Store(tmp_path).history("test", "back")[-1]
    assert (entry.since, entry.by) == (NOW, "promote")
    after = known(tmp_path, again)
    assert after.has("front", "test")
    objects = again.stored[again.live["test", "back"]]
    assert release_text(objects) == (tmp_path / f"{again.live['test', 'back']}.yaml").read_text()


def test_a_release_that_somebody_changed_is_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    carry_out("promote", {"cells": ["back"], "stage": "test"}, known(tmp_path), store, NOW)
    (path,) = tmp_path.glob("*.yaml")
    path.write_text(path.read_text().replace("port: 80", "port: 81"))
    assert Store(tmp_path).releases.stored == {}


def test_a_stored_policy_that_means_nothing_any_more_closes_what_it_covers_and_is_told(tmp_path: Path) -> None:
    (good,) = plan_promotion(known(tmp_path), ["back"], "test")
    old = policy("p", "back", "west.api.http", "formerlyKnown: true", "SecurityPolicy")
    documents = [*yaml.safe_load_all(good.text), yaml.safe_load(old)]
    name = name_of(documents, "back")
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(documents))
    store = Store(tmp_path)
    store.record({("test", "back"): name}, "promote", NOW)
    state = known(tmp_path, store.releases)
    assert state.live("back", "test") == name
    (problem,) = [one for one in state.compiled.diagnostics if one.severity == Severity.ERROR]
    assert "formerlyKnown" in problem.message
    assert problem.span is not None
    assert problem.span.file == str(tmp_path / f"{name}.yaml")
    assert reply(state.compiled, "acme/test/back/west", "api.http.west") == {"Respond 500"}
    assert reply(state.compiled, "acme/dev/back/west", "api.http.west") >= {"Forward"}


def test_requests_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    store, state = Store(tmp_path), known(tmp_path)
    for body, said in (
        ({}, "cells"),
        ({"cells": ["back"], "stage": "test", "force": True}, "force"),
        ({"cells": ["back"], "stage": "test", "release": "back-1"}, "rollback takes a release"),
    ):
        status, answer = carry_out("promote", body, state, store, NOW)
        assert status == 400
        assert said in answer["message"]
    assert list(tmp_path.iterdir()) == []


def test_secrets_are_no_part_of_a_release(tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: back}\nstringData: {a: hidden-value}\n"
    state = known(tmp_path, secret=secret)
    (move,) = plan_promotion(state, ["back"], "test")
    (plain,) = plan_promotion(known(tmp_path), ["back"], "test")
    assert move.release == plain.release
    assert "hidden-value" not in move.text
    assert replace(move, text="") == replace(plain, text="")


def test_a_route_that_cannot_be_read_is_not_promoted_away(tmp_path: Path) -> None:
    """The stage would have the wider route that it was to narrow."""
    narrow = route("narrow", "back", on("west.api.http"), "rules: [{matches: [{path: {valeu: /only}}]}]")
    state = known(tmp_path, narrow=narrow)
    _, problems = objects_of({"narrow": narrow})
    diagnostics = (*state.compiled.diagnostics, *problems)
    (move,) = plan_promotion(
        replace(state, compiled=replace(state.compiled, diagnostics=diagnostics)), ["back"], "test"
    )
    assert "valeu" in messages(move)


def _alike() -> tuple[str, str]:
    """Two cells whose releases have one short name: after some ten thousand tries there are such."""
    (item,) = objects_of({"back": BACK})[0]
    seen: dict[str, int] = {}
    for number in range(1_000_000):
        document = released_document(replace(item, meta=replace(item.meta, annotations={"number": str(number)})))
        name = name_of([document], "back")
        if name in seen:
            marks = [f"annotations: {{number: '{one}'}}" for one in (seen[name], number)]
            return BACK.replace("{name: back}", f"{{name: back, {marks[0]}}}"), BACK.replace(
                "{name: back}", f"{{name: back, {marks[1]}}}"
            )
        seen[name] = number
    raise AssertionError("no two are alike")


def test_of_two_releases_with_one_short_name_each_is_itself(tmp_path: Path) -> None:
    one, other = _alike()
    store = Store(tmp_path)
    for text in (one, other, one):
        state = known(tmp_path, store.releases, back=text)
        status, _ = carry_out("promote", {"cells": ["back"], "stage": "test"}, state, store, NOW)
        assert status == 200
        live = store.releases.live["test", "back"]
        (cell,) = [item for item in store.releases.stored[live] if item.key.kind == "Cell"]
        assert cell.meta.annotations["number"] in text
    assert len(store.releases.stored) == 2
    assert Store(tmp_path).releases.stored.keys() == store.releases.stored.keys()
    with pytest.raises(OSError, match="another content"):
        store.keep(store.releases.live["test", "back"], "{}")
