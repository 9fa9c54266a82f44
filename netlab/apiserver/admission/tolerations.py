"""DefaultTolerationSeconds: a pod stays on a node that is not ready or unreachable for a while, then is evicted.

Source followed: plugin/pkg/admission/defaulttolerationseconds.
"""

from netlab.api.types import Obj
from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

_KEYS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def _mutate(reader: Reader, attributes: Attributes) -> None:
    pod = attributes.obj
    if attributes.resource.group_resource != "pods" or attributes.subresource or pod is None:
        return
    if attributes.operation not in ("CREATE", "UPDATE"):
        return
    spec = pod.setdefault("spec", {})
    tolerations: list[Obj] = spec.get("tolerations") or []
    for key in _KEYS:
        if not any(_tolerates(toleration, key) for toleration in tolerations):
            seconds = reader.config.default_toleration_seconds
            entry = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
            tolerations = [*tolerations, entry]
    spec["tolerations"] = tolerations


def _tolerates(toleration: Obj, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


PLUGIN = Plugin("DefaultTolerationSeconds", mutate=_mutate, about=frozenset({"pods"}))
