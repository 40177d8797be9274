"""A real Envoy under a real xDS server, and servers for it to forward to: who answers behaviour cases.

In: compiled snapshots and requests. Out: answers. One rig serves all cases of a test process, one after the other.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import threading
import time
from collections.abc import Coroutine, Mapping
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx

from tests.cases.answers import Answer, Seen
from tests.cases.reading import Request
from tests.cases.streams import METHODS, StreamEcho, ask
from tests.e2e.running import Block
from tests.e2e.upstream import Upstream
from tests.translate.live import envoy_binary
from xds_server.serve.grpc import XdsServer
from xds_server.snapshot.resource import Snapshot
from xds_server.supervise.bootstrap import Address, Bootstrap
from xds_server.supervise.process import is_settled

GATEWAY = "default/edge"
MARK = "x-case-request"
_PORTS = {"http": 10080, "https": 10443}
_MIRRORS_END = 5.0


class GrpcEcho:
    """A gRPC server that answers every method with what it saw, or with the status that the metadata `fail` names."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.seen = name, list[dict[str, Any]]()
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((_AnyMethod(self),))
        assert self._server.add_insecure_port(f"{address}:3000")
        self._server.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.stop(None).wait(5)


class _AnyMethod(grpc.GenericRpcHandler):
    def __init__(self, echo: GrpcEcho) -> None:
        self._echo = echo

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        headers = {str(name): str(value) for name, value in handler_call_details.invocation_metadata}
        path = handler_call_details.method
        told = {"server": self._echo.name, "method": "POST", "path": path, "host": "", "headers": headers}

        def answer(_request: bytes, context: grpc.ServicerContext) -> bytes:
            self._echo.seen.append(told)
            if "fail" in headers:
                context.abort(grpc.StatusCode[headers["fail"]], "as told")
            return json.dumps(told).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


def _new_client() -> httpx.Client:
    return httpx.Client(timeout=20, verify=False, http2=False)


class Rig:
    """Everything that runs."""

    def __init__(self, block: Block, folder: Path, first: Mapping[str, Snapshot]) -> None:
        self.block, self._marks = block, itertools.count(1)
        self.servers: list[Upstream | GrpcEcho] = [
            Upstream(f"echo-{n}", block.address(10 + n), 3000) for n in (1, 2, 3)
        ]
        for server in self.servers:
            assert isinstance(server, Upstream)
            server.start()
        self.servers += [GrpcEcho(f"grpc-{n}", block.address(20 + n)) for n in (1, 2)]
        self._streams = [StreamEcho(f"stream-{n}", block.address(30 + n), folder) for n in (1, 2)]
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._xds = XdsServer(time.monotonic, drain_delay=0.01)
        port = self._run(self._listen())
        self._run(self._xds.publish(first))
        bootstrap, self._admin, self._log = folder / "envoy.yaml", folder / "admin", folder / "envoy.log"
        bootstrap.write_text(Bootstrap(GATEWAY, "cases", Address("127.0.0.1", port)).text(), encoding="utf-8")
        command = [
            str(envoy_binary()),
            "-c",
            str(bootstrap),
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "-l",
            "warn",
        ]
        with self._log.open("wb") as log:
            command += ["--admin-address-path", str(self._admin)]
            self._envoy = subprocess.Popen(command, stdout=log, stderr=log)
        self._client = _new_client()

    async def _listen(self) -> int:
        port = self._xds.listen("127.0.0.1:0")
        await self._xds.start()
        return port

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def apply(self, snapshots: Mapping[str, Snapshot]) -> None:
        """Publish, and return when Envoy serves it all."""
        self._run(self._xds.publish(snapshots))
        self._run(self._until_served())
        self._client.close()  # a connection that is open already belongs to the listener from before
        self._client = _new_client()

    async def _until_served(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            records = self._xds.proxies()
            refused = [said.message for record in records for one in record.types for said in one.standing]
            assert not refused, refused
            assert self._envoy.poll() is None, self.log()
            synced = bool(records) and all(one.synced for one in records) and self._admin.exists()
            if synced and await is_settled(self._admin.read_text(encoding="utf-8")):
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"Envoy did not take the configuration\n{self.log()}")

    def send(self, request: Request, *, others: int = 0, silent: bool = False) -> Answer:
        """Send one request. `others`: how many servers beside the one that answers (`silent`: none) are to see it."""
        if request.method in METHODS:
            return ask(request, self.block.address(2 if request.host == "second" else 1), silent=silent)
        mark = str(next(self._marks))
        answer = self._call(request, mark) if request.method == "GRPC" else self._ask(request, mark)
        deadline = time.monotonic() + _MIRRORS_END
        wanted = others + (answer.upstream != "none")
        while len(seen := self._seen(mark)) < wanted and time.monotonic() < deadline:
            time.sleep(0.005)
        return replace(answer, seen=seen, mark=mark)

    def again(self, answers: list[Answer]) -> list[Answer]:
        """The same answers with what the servers have seen by now."""
        return [replace(answer, seen=self._seen(answer.mark)) for answer in answers]

    def _seen(self, mark: str) -> tuple[Seen, ...]:
        found = [one for server in self.servers for one in list(server.seen) if one["headers"].get(MARK) == mark]
        return tuple(Seen(one["server"], one["method"], _path(one), one["host"], one["headers"]) for one in found)

    def _ask(self, request: Request, mark: str) -> Answer:
        port = request.port or _PORTS[request.scheme]
        host = f"{request.host}:{request.port}" if request.port else request.host
        headers = [("Host", host), (MARK, mark), *request.headers]
        url = f"{request.scheme}://{self.block.address(1)}:{port}{request.path}"
        extensions = {"sni_hostname": request.host}
        self._client.cookies.clear()
        got = self._client.request(
            request.method, url, headers=headers, content=request.body or None, extensions=extensions
        )
        said = {name.lower(): value for name, value in got.headers.items()}
        return Answer(got.status_code, "", said, got.text, _server(got.text))

    def _call(self, request: Request, mark: str) -> Answer:
        options = [("grpc.default_authority", request.host)]
        address = f"{self.block.address(1)}:{request.port or _PORTS[request.scheme]}"
        with grpc.insecure_channel(address, options=options) as channel:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(request.path)
            call = method.future(request.body.encode(), timeout=20, metadata=((MARK, mark), *request.headers))
            code = call.code()
            said = [*call.initial_metadata(), *call.trailing_metadata()]
            text = call.result().decode() if code is grpc.StatusCode.OK else ""
        seen = self._seen(mark)
        upstream = _server(text) if text else seen[-1].server if seen else "none"
        return Answer(0, code.name, {str(name): str(value) for name, value in said}, text, upstream)

    def log(self) -> str:
        """What Envoy printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def close(self) -> None:
        """Stop everything."""
        self._client.close()
        self._envoy.kill()
        self._envoy.wait(10)
        self._run(self._xds.stop(0))
        self._loop.call_soon_threadsafe(self._loop.stop)
        for server in (*self.servers, *self._streams):
            server.stop()
        self.block.release()


def _path(seen: Mapping[str, Any]) -> str:
    return f"{seen['path']}?{seen['query']}" if seen.get("query") else str(seen["path"])


def _server(body: str) -> str:
    """Which server wrote a body; `none` if the gateway did."""
    try:
        told = json.loads(body)
    except ValueError:
        return "none"
    return str(told["server"]) if isinstance(told, dict) and "server" in told else "none"
