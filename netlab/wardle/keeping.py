"""Objects in an etcd, through the JSON gateway that it serves beside gRPC: compared by revision, then written."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson

from netlab.api.types import Obj
from netlab.client.transport import HttpTransport, TransportError

_PREFIX = "/registry/wardle.example.com"


def key_of(plural: str, namespace: str = "", name: str = "") -> str:
    """Where an object is kept; without a name, what the keys of a collection begin with."""
    parts = [_PREFIX, plural, *([namespace] if namespace else [])]
    return "/".join(parts) + "/" + name


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _after(prefix: str) -> str:
    """The first key behind all that begin so."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class ChangedError(Exception):
    """Somebody wrote the object meanwhile, or it is there already, or gone."""


class Keeper:
    """The store of one sample API server, which is the only one that writes it."""

    def __init__(self, url: str) -> None:
        self._http = HttpTransport(url, user_agent="sample-apiserver")
        self.told: list[Callable[[str, str, Obj], None]] = []
        """Called with ADDED, MODIFIED or DELETED, the key, and the object."""

    async def close(self) -> None:
        await self._http.close()

    async def _ask(self, what: str, body: Obj) -> Obj:
        head = {"Content-Type": "application/json"}
        answer = await self._http.request("POST", f"/v3/kv/{what}", body=orjson.dumps(body), headers=head)
        if answer.status != 200:
            raise TransportError(f"etcd answered {answer.status} to {what}")
        found: Obj = orjson.loads(answer.body)
        return found

    async def get(self, key: str) -> Obj | None:
        """The object as stored, with its revision in metadata."""
        found = await self._ask("range", {"key": _coded(key)})
        return next((_loaded(one) for one in found.get("kvs") or ()), None)

    async def list(self, prefix: str) -> tuple[list[Obj], str]:
        """(the objects in order of their keys, the revision at which that holds)."""
        found = await self._ask("range", {"key": _coded(prefix), "range_end": _coded(_after(prefix))})
        return [_loaded(one) for one in found.get("kvs") or ()], str(found["header"]["revision"])

    async def put(self, key: str, obj: Obj, revision: str) -> Obj:
        """Write it over that revision ("0": it is new). Raises ChangedError."""
        metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
        value = base64.b64encode(orjson.dumps({**obj, "metadata": metadata})).decode()
        done = await self._compared(key, revision, {"requestPut": {"key": _coded(key), "value": value}})
        written = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(done["header"]["revision"])}}
        self._tell("ADDED" if revision == "0" else "MODIFIED", key, written)
        return written

    async def delete(self, key: str, obj: Obj) -> Obj:
        """Raises ChangedError."""
        revision = obj["metadata"]["resourceVersion"]
        done = await self._compared(key, revision, {"requestDeleteRange": {"key": _coded(key)}})
        last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(done["header"]["revision"])}}
        self._tell("DELETED", key, last)
        return obj

    async def _compared(self, key: str, revision: str, action: Obj) -> Obj:
        compare = {"key": _coded(key), "target": "MOD", "result": "EQUAL", "modRevision": revision}
        done = await self._ask("txn", {"compare": [compare], "success": [action]})
        if not done.get("succeeded"):
            raise ChangedError(key)
        return done

    def _tell(self, kind: str, key: str, obj: Obj) -> None:
        for told in list(self.told):
            told(kind, key, obj)

    async def changes(self, prefix: str) -> AsyncIterator[tuple[str, Obj]]:
        """What is written from now on."""
        import asyncio

        queue: asyncio.Queue[tuple[str, Obj]] = asyncio.Queue()

        def tell(kind: str, key: str, obj: Obj) -> None:
            if key.startswith(prefix):
                queue.put_nowait((kind, obj))

        self.told.append(tell)
        try:
            while True:
                yield await queue.get()
        finally:
            self.told.remove(tell)


def _loaded(pair: Any) -> Obj:
    obj: Obj = orjson.loads(base64.b64decode(pair["value"]))
    obj["metadata"]["resourceVersion"] = str(pair["mod_revision"])
    return obj
