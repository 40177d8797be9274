"""Requests to promote or to roll back: read, judged, and carried out if nothing blocks them.

In: what was asked for as JSON, what is in force, and the store. Out: an HTTP status and the answer as JSON. What is
recorded in the store comes into force with the next reload; bringing that about is the caller's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from xds_server.model.cell_kinds import Label
from xds_server.releases.moves import Known, Move, plan_promotion, plan_rollback
from xds_server.releases.store import Store
from xds_server.spec import Bool, ObjectName, Spec

Kind = Literal["promote", "rollback"]
Json = dict[str, Any]


class MoveRequest(Spec):
    """What is asked for. `release` is for going back to a certain one."""

    cells: Annotated[tuple[ObjectName, ...], Field(min_length=1, max_length=100)]
    stage: Label
    release: ObjectName | None = None
    dry_run: Bool = False


def carry_out(kind: Kind, body: Any, known: Known, store: Store, now: str) -> tuple[int, Json]:
    """Judge a request and, unless it is only asked about or blocked, record it. OSError if that cannot be written."""
    try:
        request = MoveRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        return 400, {"message": f"{'.'.join(map(str, first['loc'])) or 'the request'}: {first['msg']}"}
    if kind == "promote" and request.release is not None:
        return 400, {"message": "a cell is promoted with the release of the stage before; rollback takes a release"}
    moves = _moves(kind, request, known, store)
    blocked = any(move.blockers for move in moves)
    if not blocked and not request.dry_run:
        for move in moves:
            if move.text:
                store.keep(move.release, move.text)
        store.record({(move.stage, move.cell): move.release for move in moves}, kind, now)
    done = not blocked and not request.dry_run
    answer = {"done": done, "dryRun": request.dry_run, "moves": [_view(move) for move in moves]}
    return (409 if blocked else 200), answer


def _moves(kind: Kind, request: MoveRequest, known: Known, store: Store) -> tuple[Move, ...]:
    if kind == "promote":
        return plan_promotion(known, request.cells, request.stage)
    return tuple(
        plan_rollback(known, cell, request.stage, request.release or "", _before(store, request.stage, cell))
        for cell in dict.fromkeys(request.cells)
    )


def _before(store: Store, stage: str, cell: str) -> list[str]:
    """What a cell had in a stage before what it has now, the oldest first."""
    names = [entry.release for entry in store.history(stage, cell)]
    return names[:-1]


def _view(move: Move) -> Json:
    view: Mapping[str, Any] = asdict(move)
    return {key: value for key, value in view.items() if key != "text"}
