"""PURE. The scale subresource of a custom kind: autoscaling/v1 Scale by the paths that its definition names.

Source followed: apiextensions-apiserver `pkg/registry/customresource/etcd.go` (`scaleFromCustomResource`).
"""

from __future__ import annotations

from typing import Any

from netlab.api import errors, meta
from netlab.api.types import Obj
from netlab.apiserver.extensions.kinds import CustomResource


def _steps(path: str) -> list[str]:
    return path.lstrip(".").split(".")


def scale_of(obj: Obj, resource: CustomResource) -> Obj:
    """Raises StatusError 500, as upstream, where the object names no number of replicas."""
    paths = resource.scale or {}
    wanted = _number(obj, paths["specReplicasPath"])
    if wanted is None:
        raise errors.internal(f'the spec replicas field "{paths["specReplicasPath"]}" does not exist')
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    scale: Obj = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: obj["metadata"][field] for field in kept if field in obj["metadata"]},
        "spec": {"replicas": wanted} if wanted else {},
        "status": {"replicas": _number(obj, paths["statusReplicasPath"]) or 0},
    }
    selector = meta.get(obj, *_steps(paths["labelSelectorPath"])) if paths.get("labelSelectorPath") else None
    if selector:
        scale["status"]["selector"] = str(selector)
    return scale


def _number(obj: Obj, path: str) -> int | None:
    value = meta.get(obj, *_steps(path))
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def put_replicas(obj: Obj, resource: CustomResource, replicas: int) -> None:
    """Write the number where the definition says. In place."""
    *steps, last = _steps((resource.scale or {})["specReplicasPath"])
    place: Any = obj
    for step in steps:
        place = place.setdefault(step, {})
    place[last] = replicas
