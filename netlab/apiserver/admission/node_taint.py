"""TaintNodesByCondition: a new node takes no pods until it has said that it is ready.

Source followed: plugin/pkg/admission/nodetaint.
"""

from netlab.apiserver.admission.attributes import Attributes, Plugin, Reader

NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


def _mutate(reader: Reader, attributes: Attributes) -> None:
    if attributes.resource.group_resource != "nodes" or attributes.operation != "CREATE" or attributes.subresource:
        return
    spec = (attributes.obj or {}).setdefault("spec", {})
    taints = spec.get("taints") or []
    if not any((taint.get("key"), taint.get("effect")) == tuple(NOT_READY.values()) for taint in taints):
        spec["taints"] = [*taints, dict(NOT_READY)]


PLUGIN = Plugin("TaintNodesByCondition", mutate=_mutate, about=frozenset({"nodes"}))
