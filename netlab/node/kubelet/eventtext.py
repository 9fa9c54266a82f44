"""The kubelet's events, as upstream words them (pkg/kubelet/events and kuberuntime)."""

from __future__ import annotations

from netlab.api.types import Obj
from netlab.node.kubelet.model import Kind
from netlab.node.kubelet.ports import Recorder

_FIELD = {
    Kind.INIT: "spec.initContainers",
    Kind.SIDECAR: "spec.initContainers",
    Kind.MAIN: "spec.containers",
    Kind.EPHEMERAL: "spec.ephemeralContainers",
}


class PodEvents:
    """Events about one pod and its containers."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def pod(self, pod: Obj, reason: str, message: str, *, warning: bool = True) -> None:
        self._recorder.event(_reference(pod), "Warning" if warning else "Normal", reason, message)

    def container(self, pod: Obj, kind: Kind, name: str, reason: str, message: str, *, warning: bool = False) -> None:
        path = f"{_FIELD[kind]}{{{name}}}"
        self._recorder.event(_reference(pod), "Warning" if warning else "Normal", reason, message, field_path=path)


def _reference(pod: Obj) -> Obj:
    """An ObjectReference: informers give pods without apiVersion and kind."""
    meta = pod["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": meta["name"],
        "namespace": meta["namespace"],
        "uid": meta["uid"],
        "resourceVersion": meta.get("resourceVersion", ""),
    }
