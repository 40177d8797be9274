"""The file that says which client certificate is for which gateways.

In: YAML with `trustDomains` and `clients`. Out: `Identities`; ValueError with FILE:LINE:COLUMN for what is wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from xds_server.load.yaml import parse_documents
from xds_server.serve.identity import Identities
from xds_server.spec import Spec

_Gateway = Annotated[
    str, StringConstraints(pattern=r"^[^/\s]+(/[^/\s]+){1,3}$|^[^/\s]+(/[^/\s]+){2}/component/[^/\s]+$")
]
_Stage = Annotated[str, StringConstraints(pattern=r"^[^/\s]+/[^/\s]+$")]
_Domain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]+$")]


class _IdentitiesFile(Spec):
    trust_domains: tuple[_Domain, ...] | dict[_Domain, _Stage] = ()
    clients: dict[str, Annotated[tuple[_Gateway, ...], Field(min_length=1)]] = Field(default_factory=dict)


def read_identities(file: Path) -> Identities:
    """What the file says. Raises ValueError."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    documents, problems = parse_documents(str(file), data)
    if problems:
        raise ValueError(str(problems[0]))
    if len(documents) != 1:
        raise ValueError(f"{file}:1:1: this file must be one YAML document with 'trustDomains' and 'clients'")
    try:
        read = _IdentitiesFile.model_validate(documents[0].value)
    except ValidationError as error:
        first = error.errors()[0]
        path = tuple(one for one in first["loc"] if one != "[key]")
        raise ValueError(f"{documents[0].positions.value(path)}: {'.'.join(map(str, path))}: {first['msg']}") from None
    domains = read.trust_domains
    return Identities(read.clients, domains if isinstance(domains, dict) else dict.fromkeys(domains, ""))
