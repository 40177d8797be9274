"""Expressions in CEL about a request: what may be asked, and whether the answer is yes or no.

In: the text of an expression. Out: its parsed form for Envoy, or why it cannot be used. Names, fields and types are
checked here with the checker that Envoy's own is made of: Envoy would take a wrong name and then never find it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, timestamp_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from xds_server.envoy_api.cel.expr.checked_pb2 import CheckedExpr
from xds_server.envoy_api.cel.expr.syntax_pb2 import Expr, ParsedExpr
from xds_server.envoy_api.xds.type.matcher.v3.cel_pb2 import CelMatcher
from xds_server.envoy_api.xds.type.v3.cel_pb2 import CelExpression
from xds_server.features.parts.patterns import regex_problem

_PACKAGE = "cellway.cel"
_TEXT, _NUMBER, _FLAG = "text", "number", "flag"
# What Envoy knows before a request is forwarded. Answers and the backend are not known yet.
_ATTRIBUTES = {
    "request": {
        "path": _TEXT, "url_path": _TEXT, "host": _TEXT, "scheme": _TEXT, "method": _TEXT, "headers": "headers",
        "referer": _TEXT, "useragent": _TEXT, "id": _TEXT, "protocol": _TEXT, "query": _TEXT, "time": "time",
        "size": _NUMBER,
    },
    "source": {"address": _TEXT, "port": _NUMBER},
    "destination": {"address": _TEXT, "port": _NUMBER},
    "connection": {
        "id": _NUMBER, "mtls": _FLAG, "requested_server_name": _TEXT, "tls_version": _TEXT,
        "subject_local_certificate": _TEXT, "subject_peer_certificate": _TEXT,
        "dns_san_local_certificate": _TEXT, "dns_san_peer_certificate": _TEXT,
        "uri_san_local_certificate": _TEXT, "uri_san_peer_certificate": _TEXT,
        "sha256_peer_certificate_digest": _TEXT,
    },
}  # fmt: skip
# What it knows at the end of a request.
_LOGGED = {
    **_ATTRIBUTES,
    "request": {**_ATTRIBUTES["request"], "duration": "length", "total_size": _NUMBER},
    "response": {
        "code": _NUMBER, "code_details": _TEXT, "flags": _NUMBER, "grpc_status": _NUMBER, "headers": "headers",
        "trailers": "headers", "size": _NUMBER, "total_size": _NUMBER, "backend_latency": "length",
    },
    "connection": {
        **_ATTRIBUTES["connection"], "termination_details": _TEXT, "transport_failure_reason": _TEXT,
    },
    "upstream": {
        "address": _TEXT, "port": _NUMBER, "local_address": _TEXT, "transport_failure_reason": _TEXT,
        "request_attempt_count": _NUMBER, "tls_version": _TEXT, "subject_peer_certificate": _TEXT,
        "dns_san_peer_certificate": _TEXT, "uri_san_peer_certificate": _TEXT,
    },
    "xds": {
        "cluster_name": _TEXT, "route_name": _TEXT, "virtual_host_name": _TEXT, "filter_chain_name": _TEXT,
    },
}  # fmt: skip
_WELL_KNOWN = {"time": ".google.protobuf.Timestamp", "length": ".google.protobuf.Duration"}
_FREE = ("metadata",)
_JOINS = {"add_string", "add_bytes", "add_list"}
_NAMES = ("mtls", "subject_peer_certificate", "dns_san_peer_certificate", "uri_san_peer_certificate")
# Names in a certificate. Its digest is none: nobody can show another's certificate without its key.
_PATHS = ("path", "url_path", ":path")


def parse_expression(text: str) -> ParsedExpr | str:
    """The expression, about a request before it is forwarded, or why it cannot be used."""
    return _parse(text, logged=False)


def parse_log_expression(text: str) -> ParsedExpr | str:
    """The expression, about a request that has ended, or why it cannot be used."""
    return _parse(text, logged=True)


def _parse(text: str, *, logged: bool) -> ParsedExpr | str:
    try:
        compiled = _environment(logged=logged).compile(text)
    except (RuntimeError, ValueError) as error:
        return _first_line(str(error))
    if compiled.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
        return f"it must be true or false, and this is {compiled.return_type().name().lower()}"
    checked = CheckedExpr.FromString(AnyMessage.FromString(compiled.serialize()).value)
    if problem := _beyond_envoy(checked):
        return problem
    for pattern in _patterns(checked.expr):
        if problem := regex_problem(pattern):
            return f"the regular expression '{pattern}' cannot be used: {problem}"
    # Types and the names of overloads are left out: Envoy looks attributes up by name.
    return ParsedExpr(expr=checked.expr)


def asks_for_path(parsed: ParsedExpr) -> bool:
    """True if the path of the request counts."""
    return any(
        one.select_expr.field in _PATHS or one.const_expr.string_value.lower() in _PATHS for one in _parts(parsed.expr)
    )


def asks_for_names(parsed: ParsedExpr) -> bool:
    """True if it counts what the client's certificate says."""
    return any(one.select_expr.field in _NAMES for one in _parts(parsed.expr))


def cel_matcher(parsed: ParsedExpr, *, unless_false: bool) -> CelMatcher:
    """Fits requests for which it is true; with `unless_false` those for which `!expression` is.

    An expression that fails, as with a header that is not there, is neither.
    """
    expression = parsed
    if unless_false:
        expression = ParsedExpr()
        expression.expr.id = 1 + max((one.id for one in _parts(parsed.expr)), default=0)
        expression.expr.call_expr.function = "!_"
        expression.expr.call_expr.args.add().CopyFrom(parsed.expr)
    return CelMatcher(expr_match=CelExpression(cel_expr_parsed=expression))


def _first_line(problem: str) -> str:
    """What the checker says, without the kinds of its errors and its drawing."""
    line = problem.partition("\n")[0]
    for word in ("INVALID_ARGUMENT: ", "CANCELLED: ", "ERROR: <input>:"):
        line = line.removeprefix(word)
    return line.partition(" [CANCELLED]")[0].partition(" (in container ")[0]


@cache
def _environment(*, logged: bool) -> Any:
    known = _LOGGED if logged else _ATTRIBUTES
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(duration_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(_attributes(known).SerializeToString())
    variables = {name: cel.Type(f"{_PACKAGE}.{name}") for name in known}
    return cel.NewEnv(descriptor_pool=pool, variables={**variables, **dict.fromkeys(_FREE, cel.Type.DYN)})


def _attributes(known: Mapping[str, Mapping[str, str]]) -> descriptor_pb2.FileDescriptorProto:
    """Envoy's attributes as messages: that is how the checker is told about fields."""
    file = descriptor_pb2.FileDescriptorProto(name="cellway/cel.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.extend(("google/protobuf/timestamp.proto", "google/protobuf/duration.proto"))
    field_type = descriptor_pb2.FieldDescriptorProto
    kinds = {_TEXT: field_type.TYPE_STRING, _NUMBER: field_type.TYPE_INT64, _FLAG: field_type.TYPE_BOOL}
    for name, fields in known.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            added = message.field.add(name=field, number=number, label=field_type.LABEL_OPTIONAL)
            if kind in kinds:
                added.type = kinds[kind]
                continue
            added.type = field_type.TYPE_MESSAGE
            if kind in _WELL_KNOWN:
                added.type_name = _WELL_KNOWN[kind]
                continue
            entry = message.nested_type.add(name=f"{field.capitalize()}Entry")
            added.label, added.type_name = field_type.LABEL_REPEATED, f".{_PACKAGE}.{name}.{entry.name}"
            entry.options.map_entry = True
            for index, part in enumerate(("key", "value"), start=1):
                entry.field.add(name=part, number=index, label=field_type.LABEL_OPTIONAL, type=field_type.TYPE_STRING)
    return file


def _parts(message: Message) -> Iterator[Expr]:
    """The expression and all within it."""
    if isinstance(message, Expr):
        yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for each in value if descriptor.is_repeated else (value,):
                yield from _parts(each)


def _beyond_envoy(checked: CheckedExpr) -> str:
    """What Envoy would refuse, or always fail at; empty if there is nothing."""
    used = {overload for reference in checked.reference_map.values() for overload in reference.overload_id}
    if used & _JOINS:
        return "Envoy joins no texts and no lists with +"
    for part in _parts(checked.expr):
        if part.HasField("comprehension_expr"):
            return "Envoy has no all, exists, exists_one, filter and map"
        if part.struct_expr.message_name:
            return "Envoy makes no messages"
        if part.call_expr.function == "string":
            return "Envoy has no string()"
    return ""


def _patterns(expr: Expr) -> Iterator[str]:
    """The expressions that texts are matched with, where they are written as texts."""
    for part in _parts(expr):
        if part.call_expr.function == "matches" and part.call_expr.args:
            last = part.call_expr.args[-1]
            if last.const_expr.HasField("string_value"):
                yield last.const_expr.string_value
