"""What is wrong with a user's input, and where: `Diagnostic`, `Span`, `Positions`, the catalogue of codes.

In: a code of the catalogue, the words that fit its template and a place. Out: frozen values that
`validate`, object conditions and the admin API all print. A user's mistake is such a value, never an
exception. This module reads nothing and knows no kind of object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Path = tuple[str | int, ...]
"""Where a value stands in a document: `("spec", "rules", 0, "matches")`."""


class Severity(StrEnum):
    """How much a diagnostic weighs: an error makes its object (or a part of it) ineffective."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A place in a file. Line and column count from 1; `length` is how many columns the caret underlines."""

    file: str
    line: int = 1
    column: int = 1
    length: int = field(default=1, compare=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Positions:
    """The place of every node of one document, by path.

    `values` holds where a value starts, `keys` where the key of a mapping entry starts. A path that is
    not there (a default, a missing field) is placed at its nearest ancestor.
    """

    start: Span
    values: Mapping[Path, Span] = field(default_factory=dict)
    keys: Mapping[Path, Span] = field(default_factory=dict)

    def value(self, path: Path) -> Span:
        """Where the value at `path` starts."""
        while path:
            if (span := self.values.get(path)) is not None:
                return span
            path = path[:-1]
        return self.start

    def key(self, path: Path) -> Span:
        """Where the key that leads to `path` starts; for a list item, the item."""
        return self.keys.get(path) or self.value(path)


@dataclass(frozen=True, slots=True)
class Code:
    """One entry of the catalogue. `template` is filled with the words given to `diagnose`."""

    severity: Severity
    template: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `subject` is the object it is about (`HTTPRoute default/web`), `hint` what to write instead."""

    code: str
    message: str
    span: Span | None = None
    subject: str = ""
    hint: str = ""

    @property
    def severity(self) -> Severity:
        """The severity that the catalogue gives to this code."""
        return CATALOGUE[self.code].severity

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.severity} {self.code} {self.message}{hint}"


def diagnose(code: str, span: Span | None = None, *, subject: str = "", hint: str = "", **words: object) -> Diagnostic:
    """A diagnostic whose message is the catalogue's template filled with `words`."""
    return Diagnostic(code, CATALOGUE[code].template.format(**words), span, subject, hint)


def sort_key(diagnostic: Diagnostic) -> tuple[Span, str, str]:
    """Order for printing: by place, then code, then message."""
    return (diagnostic.span or Span("", 0, 0), diagnostic.code, diagnostic.message)


def _error(template: str) -> Code:
    return Code(Severity.ERROR, template)


def _info(template: str) -> Code:
    return Code(Severity.INFO, template)


def _warning(template: str) -> Code:
    return Code(Severity.WARNING, template)


# One catalogue: L1xx reading files, M1xx one object by itself, C1xx cells, A1xx attachment and references,
# F1xx features, T1xx translation. A code is never reused for another meaning.
CATALOGUE: Mapping[str, Code] = {
    # -- load ----------------------------------------------------------------------------------------
    "L100": _error("cannot read this file: {reason}"),
    "L101": _error("this is not valid YAML: {reason}"),
    "L102": _error("this is not UTF-8 text: {reason}"),
    "L103": _error("the character {character} may not stand in a file"),
    "L104": _error("the key '{key}' is already written at {first}"),
    "L105": _error("'{text}' without quotes means {meaning} to some readers and text to others"),
    "L106": _error("a key must be text, this is {what}"),
    "L107": _error("the number {text} does not fit: {reason}"),
    "L108": _error("the tag {tag} is not supported"),
    "L109": _error("this alias cannot be used: {reason}"),
    "L110": _error("this merge key cannot be used: {reason}"),
    "L111": _error("this is more than will be read: {reason}"),
    "L112": _error("a document must be a mapping with apiVersion and kind, this is {what}"),
    "L113": _error("this List cannot be expanded: {reason}"),
    "L114": _error("this is not valid JSON: {reason}"),
    "L120": _error("there is no such file or folder"),
    "L121": _warning("there is no .yaml, .yml or .json file in this folder"),
    "L130": _error("the folder or file is gone; what was read last stays in force"),
    "L131": _error("every file of this folder is gone; what was read last stays in force"),
    "L132": _error("{lost} of {before} {what} are gone at once; what was read last stays in force"),
    # -- model ---------------------------------------------------------------------------------------
    "M101": _error("the field '{field}' is missing"),
    "M102": _error("there is no kind {kind} in API group {group}"),
    "M103": _error("version {version} of {kind} is not known; known: {known}"),
    "M104": _error("this {kind} has no metadata.name"),
    "M105": _error("'{name}' is not a name: lower-case letters, digits, '-' and '.', at most 253 characters"),
    "M106": _error("'{name}' is not a namespace: lower-case letters, digits and '-', at most 63 characters"),
    "M107": _warning("{kind} of API group {group} is not read: it means nothing to Cellway"),
    "M108": _warning("the annotation cellway.dev/suppress: {reason}"),
    "M110": _error("unknown field '{field}'"),
    "M111": _error("{field} must be text"),
    "M112": _error("{reason}"),
    # -- cells ---------------------------------------------------------------------------------------
    "C101": _error("only one Organization is served for now; this one is not used, {name} is"),
    "C102": _error("the class of this cell cannot be used, and so neither can the cell: {reason}"),
    "C103": _error("dependency '{name}' is refused: {reason}"),
    "C104": _error("this binding cannot be used as written: {reason}"),
    "C105": _error("endpoint {name} of cell {cell} has no address in this binding; its routes answer 500"),
    "C106": _error("endpoint {name} is public, but the cell has no hostnames: set gateways.north.hostnames"),
    "C107": _error("endpoint {name} is not reachable there: {reason}"),
    "C108": _error("this is not attached: {reason}"),
    "C109": _error("the policy is not attached, another one is: {reason}"),
    "C110": _error("{reason}"),
    "C130": _warning("{field} has no effect on {sections}: {by} overrides it"),
    "C121": _info("cell {cell} is not in stage {stage} yet: cellway promote {cell} --to {stage}"),
    "C122": _error("label cellway.dev/stages: {reason}"),
    "C123": _error("there is no release '{name}' here{kept}"),
    "C125": _error("this override changes nothing: {reason}"),
    "C124": _error("what production has stays in production: {reason}"),
    "C111": _error("gateways of trust domain {domain} get no certificates: {reason}"),
    # -- attach --------------------------------------------------------------------------------------
    "A101": _error("{name} is already defined at {first}; this one is not used"),
    "A102": _error("this address cannot be used: {reason}"),
    "A103": _error("this listener cannot be served as written: {reason}"),
    "A104": _error("this certificate cannot be used: {reason}"),
    "A105": _error("this reference leads nowhere: {reason}"),
    "A106": _error("the annotation {name} means nothing as written: {reason}"),
    "A110": _error("the route is not attached here: {reason}"),
    "A111": _warning("the route has no parentRefs, so it is attached to nothing"),
    "A112": _error("this backend cannot be used, its share of requests is answered with 500: {reason}"),
    "A113": _warning("{name} has no ready endpoint; requests to it are answered with 503"),
    "A114": _error("this filter cannot be used, the rule answers 500: {reason}"),
    "A115": _error("this mirror is left out, requests are served without it: {reason}"),
    "A116": _warning("no request can reach this: {reason}"),
    "A117": _warning("this reference leads nowhere, so what it is for is left out: {reason}"),
    "A118": _warning("this has no effect: a {action} of the rule answers every request at the gateway"),
    "A120": _error("the policy is not attached: {reason}"),
    "A121": _error("the policy is not attached, another one is: {reason}"),
    "A123": _warning("there is no {kind} with these labels, so nothing is covered here{reason}"),
    "A122": _warning("this policy takes {fields} of {other} away ({place}): only the nearest policy counts"),
    "A131": _warning("HTTP/3 is not served on {name}: {reason}"),
    "A132": _error("the policy cannot count for listener {listener}, which is closed: {reason}"),
    "A130": _error("the ListenerSet adds nothing: {reason}"),
    "A140": _error("this backend cannot be used, so it gets nothing: {reason}"),
    "A141": _warning("{name} has no ready endpoint; what is sent to it is refused"),
    "A142": _warning("this route gets nothing here: {reason}"),
    "A143": _error("'{field}' does nothing for {what}"),
    "A144": _error("everything for this route is refused: {reason}"),
    "A145": _warning("clients need no certificate here: 'tls.frontend' counts for HTTPS listeners only"),
    "A146": _warning("{name} has no ready endpoint, so it cannot be asked for now"),
    "A147": _warning(
        "{other} listens on {places} too, and on one machine each connection reaches one of them by chance: "
        "give each an address in 'addresses', or start with --address-pool"
    ),
    "A148": _error("'{field}' goes by certificates, but listener {listener} takes any; it answers 500 there"),
    "A149": _warning("the {feature} of this policy does nothing on {gateway}: {reason}"),
    "A150": _error("{what} extends Envoys, which namespace {namespace} may not"),
    "A151": _error("'{field}' cannot be kept on {gateway}, so what it covers answers 500 there: {reason}"),
    "A152": _error("{what} of the EnvoyProxy cannot be had at {place}, where {other} is"),
    "A160": _info(
        "it is not in force, as its label cellway.dev/shadow says; cellway diff --shadow shows what it would change"
    ),
    "A161": _error("the label cellway.dev/shadow is 'true' or 'false', not '{value}'; this is in force"),
    # -- features ------------------------------------------------------------------------------------
    "F100": _error("the regular expression '{pattern}' cannot be used: {reason}"),
    "F101": _error("the header '{name}' cannot be changed like this: {reason}"),
    "F102": _error("{field} is not supported yet"),
    "F103": _error("{reason}"),
    "F110": _error("there are no keys for the tokens of provider '{name}'"),
    "F111": _error("the keys of provider '{name}' cannot be used: {reason}"),
    "F112": _warning("the keys of provider '{name}' are fetched without TLS, so anybody on the way can replace them"),
    "F113": _error("two providers are named '{name}'"),
    "F115": _warning("with '*' and allowCredentials, every site may act in the name of its visitors"),
    "F120": _error("this limit cannot be kept: {reason}"),
    "F130": _error("this rule cannot be kept: {reason}"),
    "F140": _error("these credentials cannot be used: {reason}"),
    "F141": _error("this URL cannot be used: {reason}"),
    "F142": _warning("tokens are fetched without TLS, so anybody on the way can read and replace them"),
    "F143": _error("the provider's endpoints are not known, so nobody can log in: {reason}"),
    "F144": _warning(
        "the provider's endpoints are not known yet: a server asks {url}, and until then this answers 500"
    ),
    "F150": _warning("TLS {version} can be broken, so clients that speak nothing newer are heard by others"),
    "F160": _error("this script cannot be run: {reason}"),
    # -- translate -----------------------------------------------------------------------------------
    "T100": _error("the route {name} cannot be served as written, so it answers 500: {reason}"),
    "T101": _error("Envoy would refuse the cluster {name}, so it is left out: {reason}"),
    "T102": _error("Envoy would refuse the listener {name}, so it is left out: {reason}"),
    "T103": _error("the route {name} cannot be matched as written, so it is left out: {reason}"),
    "T120": _error("Envoy would refuse the {what}, so it is left out: {reason}"),
    "T121": _error("the {what} refers to the {missing}, which nothing made: a bug in Cellway"),
    "T123": _error("gateway {gateway} is not served by Envoys of {group}: it means something else by the {what}"),
    "T130": _error("Envoy itself refuses the {what}: {reason}"),
    "T131": _error("{policy} changes nothing: {reason}"),
    "T122": _error("the {what} is left out, because it refers to what is not there: {missing}"),
}
