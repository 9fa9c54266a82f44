"""The sample API server's kinds, its verbs over an etcd's JSON gateway, and that etcd."""

import base64
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from netlab.api.errors import StatusError
from netlab.runtime.builtin import etcd
from netlab.runtime.builtin.web import Request
from netlab.runtime.builtin.web import Server as WebServer
from netlab.wardle import objects
from netlab.wardle.keeping import Keeper
from netlab.wardle.verbs import Place, Verbs

Obj = dict[str, Any]
FLUNDERS, BETA = objects.RESOURCES["v1alpha1", "flunders"], objects.RESOURCES["v1beta1", "flunders"]
FISCHERS = objects.RESOURCES["v1alpha1", "fischers"]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def ask(keys: etcd.Keys, path: str, body: Obj) -> Obj:
    answer = etcd.answer(keys, Request("POST", path, "HTTP/1.1", {}, json.dumps(body).encode()))
    found: Obj = json.loads(answer.body)
    return {**found, "code": answer.status}


def test_etcd_compares_before_it_writes() -> None:
    keys = etcd.Keys()
    put = {"requestPut": {"key": b64("a"), "value": b64("1")}}
    new = {"compare": [{"key": b64("a"), "target": "MOD", "modRevision": "0"}], "success": [put]}
    assert ask(keys, "/v3/kv/txn", new)["succeeded"] is True
    assert "succeeded" not in ask(keys, "/v3/kv/txn", new)
    found = ask(keys, "/v3/kv/range", {"key": b64("a"), "range_end": b64("b")})
    assert found["count"] == "1" and found["kvs"][0]["mod_revision"] == found["header"]["revision"] == "2"
    assert ask(keys, "/v3/kv/deleterange", {"key": b64("\0"), "range_end": b64("\0")})["deleted"] == "1"
    assert ask(keys, "/v3/kv/put", {"key": "?"})["code"] == 400
    assert etcd.answer(keys, Request("POST", "/v3/lease/grant", "HTTP/1.1", {}, b"{}")).status == 404


def test_versions_of_a_flunder() -> None:
    beta = {"apiVersion": BETA.api_version, "kind": "Flunder", "metadata": {"name": "f"}}
    full = objects.defaulted({**beta, "spec": {"fischerReference": "x"}}, "v1beta1")
    alpha = objects.converted(full, "v1alpha1")
    assert alpha["spec"] == {"reference": "x", "referenceType": "Fischer"}
    assert objects.converted(alpha, "v1beta1")["spec"] == {"fischerReference": "x", "referenceType": "Fischer"}


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"flunderReference": "a", "fischerReference": "b"}, "cannot be set with flunderReference at the same time"),
        ({"flunderReference": "a", "referenceType": "Fischer"}, "cannot be set if referenceType is not Flunder"),
        ({"referenceType": "Fischer"}, "cannot be empty if referenceType is Fischer"),
    ],
)
def test_flunders_that_are_refused(spec: Obj, why: str) -> None:
    with pytest.raises(StatusError, match=why):
        objects.validate({"apiVersion": BETA.api_version, "kind": "Flunder", "metadata": {"name": "f"}, "spec": spec})


@pytest.fixture
def url() -> Iterator[str]:
    """An etcd; its thread ends with the tests."""
    keys = etcd.Keys()
    server = WebServer(lambda request: etcd.answer(keys, request))
    listener = socket.create_server(("127.0.0.1", 0))
    server.add(listener)
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
async def keeper(url: str) -> AsyncIterator[Keeper]:
    made = Keeper(url)
    yield made
    await made.close()


async def test_the_verbs(keeper: Keeper) -> None:
    verbs, place = Verbs(keeper), Place(FLUNDERS, "d")
    made = await verbs.create(place, {"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"reference": "r"}})
    with pytest.raises(StatusError, match=r'flunders\.wardle\.example\.com "a" already exists'):
        await verbs.create(place, {"metadata": {"name": "a"}})
    one = Place(FLUNDERS, "d", "a")
    patched = await verbs.patch(one, "application/merge-patch+json", b'{"metadata":{"labels":{"y":"2"}}}')
    assert patched["metadata"]["labels"] == {"x": "1", "y": "2"}
    assert patched["metadata"]["uid"] == made["metadata"]["uid"]
    with pytest.raises(StatusError, match="the object has been modified"):
        await verbs.replace(one, made)
    found, revision = await verbs.select(Place(BETA, "d"), {"labelSelector": "y=2"})
    assert found[0]["spec"]["flunderReference"] == "r" and revision == patched["metadata"]["resourceVersion"]
    await verbs.create(Place(FISCHERS), {"metadata": {"name": "f"}, "disallowedFlunders": ["pike"]})
    with pytest.raises(StatusError, match="this name may not be used"):
        await verbs.create(place, {"metadata": {"name": "pike"}})
    assert [one["metadata"]["name"] for one in await verbs.delete_all(place, {})] == ["a"]
    with pytest.raises(StatusError, match="not found"):
        await verbs.get(one)
