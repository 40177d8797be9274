"""`%DECISION%`: one word in access logs that says who decided about a request, and what.

In: nothing. Out: an expression in CEL over what Envoy knows when a request is over. Envoy tells that in many places (a status,
details, a header of its own answer); here they become one of a few words. What a backend answers is `allowed`, whatever it
says: only what the gateway itself answers is looked into.
"""

from __future__ import annotations

NAME = "DECISION"
_DETAILS = "response.code_details"
_DENY = "response.headers['x-cell-deny']"


def _begins(text: str) -> str:
    return f"{_DETAILS}.startsWith('{text}')"


def _has(text: str) -> str:
    return f"{_DETAILS}.contains('{text}')"


_OWN = f"{_DETAILS} == 'direct_response'"
DECISIONS: tuple[tuple[str, str], ...] = (
    (f"!has({_DETAILS}) && has(upstream.address)", "allowed"),
    (f"!has({_DETAILS})", "closed"),
    (f"{_DETAILS} == 'via_upstream'", "allowed"),
    (f"{_OWN} && response.code >= 300 && response.code < 400", "redirected"),
    (f"{_OWN} && response.code == 500", "closed"),
    (_OWN, "answered"),
    (f"{_DETAILS} == 'route_not_found'", "not-found"),
    (_has("matched_policy[not-granted]"), "not-granted"),
    (_has("matched_policy[private-address]"), "private-address"),
    (_begins("rbac_"), "not-authorized"),
    (_begins("jwt_authn_"), "not-authenticated"),
    (f"{_has('basic_auth')} || {_has('api_key')} || {_has('oauth')}", "not-authenticated"),
    (_begins("ext_authz_"), "not-authorized"),
    (_begins("csrf_"), "not-authorized"),
    (_has("credential_injector"), "credential-missing"),
    (f"{_has('rate_limited')}", "rate-limited"),
    (f"{_has('overflow')} || {_has('concurrency_limit')} || {_has('admission_control')}", "overloaded"),
    (_begins("overload"), "overloaded"),
    (_begins("no_healthy_upstream"), "no-healthy-backend"),
    (f"{_has('cluster_not_found')}", "closed"),
    (f"{_has('timeout')}", "timed-out"),
    (_begins("upstream_"), "backend-failed"),
    (f"{_begins('downstream_')} || {_has('remote_disconnect')} || {_has('local_disconnect')}", "client-gone"),
    ("response.code < 400", "allowed"),
)
"""Conditions and words; the first one that holds counts."""
_BEFORE = 3
"""So many of them come before what a cell's gateway says itself."""
OTHERWISE = "refused"


def decision() -> str:
    """The expression. The reason that a cell's gateway gives itself is a word already."""
    said = f"{_OWN} && 'x-cell-deny' in response.headers"
    rest = f"'{OTHERWISE}'"
    for condition, word in reversed(DECISIONS[_BEFORE:]):
        rest = f"({condition}) ? '{word}' : {rest}"
    rest = f"({said}) ? {_DENY} : {rest}"
    for condition, word in reversed(DECISIONS[:_BEFORE]):
        rest = f"({condition}) ? '{word}' : {rest}"
    return rest
