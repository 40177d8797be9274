"""The way of a request as people read it: one line a step, with the place of whoever asked for it.

In: answers as JSON (`explain_view`). Out: lines. What is behind a gateway that leads to another is indented.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]
_MOST_TRIED = 20
_WORDS = {"passes": "lets it pass", "changes": "changes it", "mayAnswer": "may answer", "answers": "answers"}


def lines(one: Json) -> Iterable[str]:
    """All lines of one answer."""
    if one["gateway"]:
        yield f"gateway {one['gateway']}, listener {one['listener']}"
    if one["filterChain"]:
        yield f"  filter chain  {one['filterChain']}"
    if one["virtualHost"]:
        yield f"  virtual host  {one['virtualHost']}"
        yield f"  path          {one['path']}"
    for tried in one["tried"][:_MOST_TRIED]:
        yield f"  not           {tried['route']}{_where(tried)}: {tried['reason']}"
    if len(one["tried"]) > _MOST_TRIED:
        yield f"  not           {len(one['tried']) - _MOST_TRIED} more routes"
    for route in one["routes"]:
        yield from _route(route)
    for cluster in one["clusters"]:
        yield f"  connections go to {_to(cluster)}"
    for step in one["onward"]:
        yield f"  from there    {step['dependency']} may be called as http://{step['host']}/"
        yield from (f"    {line}" for answer in step["answers"] for line in lines(answer))
    if one["refusal"]:
        status = f"status {one['status']}" if one["status"] else "no answer"
        yield f"  {status}: {one['refusal']}"


def _route(route: Json) -> Iterable[str]:
    share = "" if route["percent"] == 100 else f" for {route['percent']:g} % of such requests"
    yield f"  route         {route['route']}{_where(route)}{share}"
    decided = {one["feature"] for one in route["decisions"]}
    for setting in route["settings"]:
        if setting["feature"] not in decided:
            yield f"    {setting['feature']}{_where(setting)}"
    for one in route["decisions"]:
        status = f" {one['status']}" if one["status"] else ""
        says = f": {one['says']}" if one["says"] else ""
        yield f"    {one['feature'] or one['filter']}{_where(one)} {_WORDS[one['decision']]}{status}{says}"
    if route["answered"]:
        return
    for direction, changes in route["headers"].items():
        if changes:
            yield f"    headers of the {direction}: {', '.join(changes)}"
    if responds := route.get("responds"):
        yield f"    answers with status {responds['status']}"
    if redirects := route.get("redirects"):
        yield f"    redirects with status {redirects['status']} to {redirects['location']}"
    if forwards := route.get("forwards"):
        yield from _forwards(forwards)


def _forwards(forwards: Json) -> Iterable[str]:
    yield f"    sends {forwards['path']} with Host {forwards['host'] or 'of the endpoint'}"
    if forwards["timeout"] is not None:
        yield f"    within {forwards['timeout']:g} s" if forwards["timeout"] else "    without a time limit"
    if forwards["retries"]:
        yield f"    again up to {forwards['retries']} times on {forwards['retryOn']}"
    total = sum(cluster["weight"] for cluster in forwards["clusters"])
    for cluster in forwards["clusters"]:
        part = f"{100 * cluster['weight'] / total:.3g} % " if len(forwards["clusters"]) > 1 else ""
        yield f"    to {part}{_to(cluster)}"
        for changes in cluster.get("headers", {}).values():
            if changes:
                yield f"      there headers: {', '.join(changes)}"
        yield from (f"      {line}" for behind in cluster.get("next", ()) for line in lines(behind))
    for mirror in forwards["mirrors"]:
        yield f"    and a copy to {mirror}"


def _to(cluster: Json) -> str:
    return f"{cluster['name']}: {', '.join(cluster['endpoints']) or 'no endpoint'}"


def _where(made: Json) -> str:
    places = [f"{one['file']}:{one['line']}" for one in made["madeBy"]]
    return f" ({', '.join(dict.fromkeys(places))})" if places else ""
