"""Hosts of stages: each stage's north gateway knows those of its own stage, and no other."""

from __future__ import annotations

import httpx

from tests.e2e.running import Cellway

CELL = """
apiVersion: cellway.dev/v1alpha1
kind: Organization
metadata: {name: acme}
spec: {stages: [{name: dev, trustDomain: dev.acme.internal}, {name: prod, trustDomain: prod.acme.internal}]}
---
apiVersion: cellway.dev/v1alpha1
kind: Cell
metadata: {name: web}
spec:
  components: [{name: site, endpoints: [{name: http, port: 3000, visibility: [public]}]}]
  gateways: {north: {hostnames: [shop.example.com]}}
"""
BINDING = """
apiVersion: cellway.dev/v1alpha1
kind: CellBinding
metadata: {name: web-STAGE}
spec:
  cell: web
  stage: STAGE
  address: ADDR.NUMBER
  endpoints: {site.http: [{address: ADDR.101}]}
  overrides: {gateways: {north: {hostnames: [HOST]}}}
"""
HOSTS = {"dev": ("dev.shop.example.com", 0), "prod": ("shop.example.com", 16)}


def test_20_a_host_of_one_stage_is_unknown_in_the_other(cellway: Cellway) -> None:
    cellway.arguments = ("--stage", "dev", "--stage", "prod")
    cellway.write("cell.yaml", CELL)
    for stage, (host, number) in HOSTS.items():
        text = BINDING.replace("STAGE", stage).replace("HOST", host).replace("NUMBER", str(number))
        cellway.write(f"{stage}.yaml", text)
    cellway.upstream(101)
    cellway.start()
    body = {"cells": ["web"], "stage": "prod"}
    assert httpx.post(f"{cellway.admin}/api/v1/promote", json=body, timeout=30).status_code == 200
    cellway.wait()
    for stage, (_, number) in HOSTS.items():
        for other, (host, _) in HOSTS.items():
            address = f"http://{cellway.block.address(number + 1)}:8080/"
            status = httpx.get(address, headers={"Host": host}, timeout=10).status_code
            assert status == (200 if stage == other else 404), (stage, host)
