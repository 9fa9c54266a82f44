"""An API server without sockets: requests go to `dispatch.answer`, watches into a list of events."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from netlab.apiserver.api import Api
from netlab.apiserver.assembly import assemble, server_pki
from netlab.apiserver.config import ApiServerConfig
from netlab.apiserver.dispatch import answer
from netlab.apiserver.wire.message import Request, Response, Streaming, TakeOver
from netlab.apiserver.wire.path import parse

ADMIN = "admin-token"
TOKENS = {
    ADMIN: ("admin", ("system:masters",)),
    "joe-token": ("joe", ()),
    "node-token": ("system:node:n1", ("system:nodes",)),
}
Obj = dict[str, Any]


class Listener:
    """A sink that decodes what it is told."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = False
        self.buffered = self.initial = 0
        self._more = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        self.data += data
        self._more.set()

    def abort(self) -> None:
        self.closed = True

    @property
    def events(self) -> list[Obj]:
        found, rest = [], self.data
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            found.append(orjson.loads(rest[: int(size, 16)]))
            rest = rest[int(size, 16) + 2 :]
        return found

    async def until(self, count: int) -> list[Obj]:
        """The events, once there are at least `count`."""
        while len(self.events) < count:
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), 5)
        return self.events

    def seen(self) -> list[tuple[str, str]]:
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in self.events]


class Harness:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.tasks: list[asyncio.Task[None]] = []
        self.headers: Mapping[str, str] = {}

    async def raw(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        token: str = ADMIN,
        headers: Mapping[str, str] | None = None,
    ) -> Response | Streaming | TakeOver:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        watching = query.get("watch", "") not in ("", "0", "false")
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if token:
            sent.setdefault("authorization", f"Bearer {token}")
        if body is not None:
            sent.setdefault("content-type", "application/json")
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        info = parse(method, parts.path, watching)
        return await answer(self.api, Request(info, method, query, parts.query, sent, data), None)

    async def call(self, method: str, url: str, body: Any = None, **more: Any) -> tuple[int, Obj]:
        found = await self.raw(method, url, body, **more)
        assert isinstance(found, Response), found
        self.headers = found.headers
        return found.code, orjson.loads(found.text) if found.text else {}

    async def ok(self, method: str, url: str, body: Any = None, **more: Any) -> Obj:
        code, obj = await self.call(method, url, body, **more)
        assert code in (200, 201), obj
        return obj

    async def refused(self, method: str, url: str, body: Any = None, **more: Any) -> tuple[int, str, str]:
        """(code, reason, message) of a request that must fail."""
        code, obj = await self.call(method, url, body, **more)
        assert obj.get("kind") == "Status" and obj["status"] == "Failure", obj
        assert obj["code"] == code
        return code, obj.get("reason", ""), obj["message"]

    async def watch(self, url: str, **more: Any) -> Listener:
        found = await self.raw("GET", url + ("&" if "?" in url else "?") + "watch=1", **more)
        assert isinstance(found, Streaming), found
        listener = Listener()
        listener.task = asyncio.create_task(found.run(listener))  # type: ignore[arg-type]
        self.tasks.append(listener.task)
        await asyncio.sleep(0)
        return listener


@asynccontextmanager
async def harness(state: Path, **settings: Any) -> AsyncIterator[Harness]:
    config = ApiServerConfig(state_dir=state, advertise_address="10.0.0.1", static_tokens=TOKENS, **settings)
    api = await assemble(config, server_pki(config))
    made = Harness(api)
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
        await api.store.close()


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Obj:
    metadata: Obj = {"name": name}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def pod(name: str, node: str = "", **metadata: Any) -> Obj:
    spec: Obj = {"containers": [{"name": "c", "image": "busybox"}]}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def service(name: str, **spec: Any) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], **spec},
    }


def account(name: str) -> Obj:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}


CMS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
