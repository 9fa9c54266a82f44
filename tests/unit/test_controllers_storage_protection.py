"""Claims and volumes in use are not gone before their users are."""

import asyncio
from typing import Any

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.client import Client
from netlab.client.fake import FakeApi, eventually
from netlab.client.kinds import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from netlab.controllers import ControllersConfig
from netlab.controllers.manager import run
from netlab.controllers.storage_protection import CLAIM_FINALIZER, VOLUME_FINALIZER, claims, finalizers


def claim(name: str, **metadata: Any) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default", **metadata},
    }


def user(name: str, claim_name: str, node: str = "n1") -> Obj:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}, {"name": "e", "ephemeral": {}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "volumes": volumes, "containers": []},
    }


def test_the_claims_of_a_pod() -> None:
    assert claims(user("p", "data")) == ["default/data", "default/p-e"]
    assert claims(user("p", "data", node="")) == ()
    assert claims({**user("p", "data"), "status": {"phase": "Failed"}}) == ["default/data"]


def test_when_finalizers_come_and_go() -> None:
    gone = {"deletionTimestamp": "t"}
    assert finalizers(claim("a", finalizers=["x"]), "own", False) == ["x", "own"]
    assert finalizers(claim("a", finalizers=["own"]), "own", False) is None
    assert finalizers(claim("a", finalizers=["x", "own"], **gone), "own", False) == ["x"]
    assert finalizers(claim("a", finalizers=["own"], **gone), "own", True) is None
    assert finalizers(claim("a", **gone), "own", False) is None


async def test_a_claim_outlives_its_pods_and_a_volume_its_binding() -> None:
    api = FakeApi()
    client = Client(api)
    controllers = ("persistentvolumeclaim-protection", "persistentvolume-protection")
    task = asyncio.create_task(run(client, ControllersConfig(controllers=controllers)))
    try:
        api.add(claim("used"))
        api.add(claim("free"))
        api.add(user("p", "used"))
        volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}}
        api.add({**volume, "status": {"phase": "Bound"}})
        every = [*((PERSISTENT_VOLUME_CLAIMS, f"default/{name}") for name in ("used", "free"))]

        def protected() -> bool:
            found = [api.find(resource, key)["metadata"].get("finalizers") for resource, key in every]
            there = api.find(PERSISTENT_VOLUMES, "v")["metadata"].get("finalizers")
            return found == [[CLAIM_FINALIZER]] * 2 and there == [VOLUME_FINALIZER]

        await eventually(protected, "finalizers")
        for name in ("free", "used"):
            await client.delete(PERSISTENT_VOLUME_CLAIMS, name, "default")
        await client.delete(PERSISTENT_VOLUMES, "v")
        left = lambda: [meta.name(one) for one in api.objects(PERSISTENT_VOLUME_CLAIMS)]  # noqa: E731
        await eventually(lambda: left() == ["used"], "the free claim's end")
        assert len(api.objects(PERSISTENT_VOLUMES)) == 1
        api.remove(PODS, "default/p")
        api.modify(PERSISTENT_VOLUMES, "v", {"status": {"phase": "Released"}})
        await eventually(lambda: not left() and not api.objects(PERSISTENT_VOLUMES), "the end of both")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
