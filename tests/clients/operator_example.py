"""A kopf operator, for `kopf run`: for each Shop a ConfigMap, a status, a timer, a finalizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kopf
from kubernetes import client, config

GROUP = os.environ["SHOP_GROUP"]
JOURNAL = Path(os.environ["SHOP_JOURNAL"])


def _note(*words: object) -> None:
    with JOURNAL.open("a") as journal:
        journal.write(" ".join(map(str, words)) + "\n")


@kopf.on.startup()
def started(settings: kopf.OperatorSettings, **_: Any) -> None:
    config.load_kube_config()
    settings.persistence.finalizer = f"{GROUP}/finalizer"
    settings.watching.server_timeout = 20
    _note("started")


@kopf.on.create(GROUP, "v1", "shops")
def created(spec: kopf.Spec, name: str, namespace: str | None, body: kopf.Body, **_: Any) -> dict[str, Any]:
    wanted = {"metadata": {"name": f"shop-{name}"}, "data": {"items": str(spec["items"])}}
    kopf.adopt(wanted, owner=body)
    client.CoreV1Api().create_namespaced_config_map(namespace, wanted)
    _note("created", name)
    return {"configMap": f"shop-{name}"}


@kopf.on.update(GROUP, "v1", "shops", field="spec.items")
def changed(old: Any, new: Any, name: str, namespace: str | None, patch: kopf.Patch, **_: Any) -> None:
    body = {"data": {"items": str(new)}}
    client.CoreV1Api().patch_namespaced_config_map(f"shop-{name}", namespace, body)
    patch.status["items"] = new
    _note("changed", name, old, new)


@kopf.on.delete(GROUP, "v1", "shops")
def deleted(name: str, **_: Any) -> None:
    _note("deleted", name)


@kopf.timer(GROUP, "v1", "shops", interval=0.5)
def ticked(patch: kopf.Patch, status: kopf.Status, **_: Any) -> None:
    patch.status["ticks"] = status.get("ticks", 0) + 1
