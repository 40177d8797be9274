"""Signs that stand in place of secrets: nobody brings one, and none comes out."""

from __future__ import annotations

import base64

import pytest

from xds_server.envoy_api.envoy.config.core.v3.base_pb2 import DataSource, HeaderValue
from xds_server.envoy_api.envoy.extensions.transport_sockets.tls.v3.secret_pb2 import GenericSecret
from xds_server.translate.documents import PatchError
from xds_server.translate.hidden import Hidden


@pytest.mark.parametrize("encoded", [False, True])
def test_a_sign_is_not_brought_and_does_not_come_out_elsewhere(encoded: bool) -> None:
    hidden = Hidden()
    sign = hidden.hide(GenericSecret(secret=DataSource(inline_string="hidden"))).secret.inline_string
    written = base64.b64encode(sign.encode()).decode() if encoded else sign
    with pytest.raises(PatchError, match="stays in its place"):
        hidden.check({}, {"op": "add", "path": "/a", "value": [f"x{written}" if not encoded else written]})
    with pytest.raises(PatchError, match="stays in its place"):
        hidden.show(HeaderValue(raw_value=sign.encode()) if encoded else HeaderValue(value=sign))
    assert sign not in Hidden().hide(GenericSecret(secret=DataSource(inline_string="hidden"))).secret.inline_string
