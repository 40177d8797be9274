"""An endpoint and the policy that guards it come together: at no moment is one there without the other."""

from __future__ import annotations

import time

import httpx

from tests.e2e import shop
from tests.e2e.load import Load
from tests.e2e.running import Cellway
from tests.e2e.shop import NORTH, url
from tests.e2e.tokens import bearer

HOST = "api.shop.example.com"
COMPONENT = """  - name: reports
    endpoints: [{name: http, protocol: HTTP, port: 3000, basePath: /reports, visibility: [public]}]
"""
GUARDED = """---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: reports-public, namespace: orders}
spec:
  targetRefs: [{group: cellway.dev, kind: Cell, name: orders, sectionName: north.reports.http}]
  jwt: {providers: [{name: acme-idp}]}
"""


def opened(cellway: Cellway, policy: str) -> None:
    """The cell with a public endpoint more, and a policy for it, written at once."""
    cell = shop.ORDERS.replace("  - name: worker\n", f"{COMPONENT}  - name: worker\n")
    cellway.write("cells/orders.yaml", cell + policy)


def test_47_no_request_without_a_token_slips_in_while_an_endpoint_opens(cellway: Cellway) -> None:
    shop.write_shop(cellway, quota=False)
    shop.start_servers(cellway)
    binding = shop.BINDINGS.replace("catalog.http: [", "reports.http: [{address: ADDR.113}], catalog.http: [")
    cellway.write("bindings.yaml", binding)
    opened(cellway, GUARDED)
    cellway.start()
    cellway.write("cells/orders.yaml", shop.ORDERS)
    cellway.wait()
    address, port = shop.door(cellway, "orders", NORTH)
    for _ in range(5):
        with Load(address, port, HOST, path="/reports", rate=1000) as poller:
            opened(cellway, GUARDED)
            cellway.wait()
            time.sleep(0.1)
            cellway.write("cells/orders.yaml", shop.ORDERS)
            cellway.wait()
            time.sleep(0.1)
        assert set(poller.outcomes) == {"404", "401"}, poller.outcomes
    opened(cellway, GUARDED)
    cellway.wait()
    answer = httpx.get(url(cellway, "orders", NORTH, "/reports"), headers={"Host": HOST, **bearer()}, timeout=10)
    assert answer.status_code == 200


def test_47_a_policy_whose_issuer_nobody_knows_closes_the_route(cellway: Cellway) -> None:
    shop.write_shop(cellway, quota=False)
    shop.start_servers(cellway)
    cellway.start()
    text = (cellway.folder / "policies.yaml").read_text(encoding="utf-8")
    cellway.write("policies.yaml", text.replace("name: acme-idp,", "name: acme-ipd,"))
    cellway.wait()
    answer = httpx.get(url(cellway, "orders", NORTH, "/v1"), headers={"Host": HOST, **bearer()}, timeout=10)
    assert (answer.status_code, answer.text) == (500, "")
    status = cellway.object("SecurityPolicy", "orders-public")["status"]
    (accepted,) = (one for one in status["ancestors"][0]["conditions"] if one["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "Invalid"), status
