"""A webhook over HTTPS, for tests: a function of the request's path and AdmissionReview answers."""

import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from netlab.apiserver.pki import ensure_pki, ensure_server

Obj = dict[str, Any]
Decide = Callable[[str, Obj], Obj | Awaitable[Obj]]


class Webhook:
    """`url`, `bundle` (base64) and the reviews that came."""

    def __init__(self, decide: Decide) -> None:
        self.decide = decide
        self.url = ""
        self.bundle = ""
        self.seen: list[tuple[str, Obj]] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.seen.append((request.path, body))
        found = self.decide(request.path, body["request"])
        said = found if isinstance(found, dict) else await found
        if said.get("raw") is not None:
            return web.Response(status=said.get("code", 200), body=orjson.dumps(said["raw"]))
        if body["kind"] == "AdmissionReview":
            said = {"uid": body["request"]["uid"], **said}
        answer = {"kind": body["kind"], "apiVersion": body["apiVersion"], "response": said}
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    def requests(self, path: str = "") -> list[Obj]:
        return [body["request"] for where, body in self.seen if not path or where == path]


def allow(**more: Any) -> Obj:
    return {"allowed": True, **more}


def deny(message: str, **more: Any) -> Obj:
    return {"allowed": False, "status": {"message": message, **more}}


def patched(*operations: Obj) -> Obj:
    return allow(patchType="JSONPatch", patch=base64.b64encode(orjson.dumps(operations)).decode())


@asynccontextmanager
async def webhook(state: Path, decide: Decide) -> AsyncIterator[Webhook]:
    made = Webhook(decide)
    pki = ensure_pki(state / "hook-pki")
    ensure_server(pki, "hook", "127.0.0.1", ["127.0.0.1"])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(state / "hook-pki" / "hook.crt", state / "hook-pki" / "hook.key")
    runner = web.ServerRunner(web.Server(made.answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    assert runner.addresses
    made.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    made.bundle = base64.b64encode((state / "hook-pki" / "ca.crt").read_bytes()).decode()
    try:
        yield made
    finally:
        await runner.cleanup()
