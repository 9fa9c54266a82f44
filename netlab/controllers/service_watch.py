"""Which Services a pod's change concerns: shared by the Endpoints and EndpointSlice controllers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from netlab.api import meta
from netlab.api.types import Obj
from netlab.client.informer import Informer
from netlab.client.kinds import PODS, SERVICES
from netlab.controllers.context import BY_LABEL, Context, label_pairs
from netlab.controllers.endpoint_addresses import signature

BY_SELECTOR = "first selector pair"


def first_pair(service: Obj) -> Sequence[str]:
    """Index: namespace/key=value of one pair of the selector; a pod has to have it to be selected."""
    selector = (service.get("spec") or {}).get("selector")
    if not selector:
        return ()
    key = min(selector)
    return (f"{meta.namespace(service)}/{key}={selector[key]}",)


def selected_pods(pods: Informer, service: Obj) -> list[Obj]:
    """The pods that a Service selects, oldest name first."""
    selector = service["spec"]["selector"]
    (pair,) = first_pair(service)
    found = [pod for pod in pods.by_index(BY_LABEL, pair) if selector.items() <= meta.labels(pod).items()]
    return sorted(found, key=meta.name)


class ServiceWatch:
    """Calls `enqueue(key, endpoints)` for each Service that may have to be looked at; `endpoints` is how many there
    roughly are, for pacing."""

    def __init__(self, context: Context, enqueue: Callable[[str, int], None]) -> None:
        self.services, self.pods = context.informer(SERVICES), context.informer(PODS)
        self._enqueue = enqueue
        self.services.add_index(BY_SELECTOR, first_pair)
        self.pods.add_index(BY_LABEL, label_pairs)
        self.services.add_handler(self._service, lambda old, new: self._service(new), self._service)
        self.pods.add_handler(self._pod, self._pod_updated, self._pod)

    def _service(self, service: Obj) -> None:
        self._enqueue(meta.key(service), 0)

    def _pod(self, pod: Obj) -> None:
        if not (pod.get("status") or {}).get("podIP"):
            return
        for pair in label_pairs(pod):
            for service in self.services.by_index(BY_SELECTOR, pair):
                if service["spec"]["selector"].items() <= meta.labels(pod).items():
                    self._enqueue(meta.key(service), len(self.pods.by_index(BY_LABEL, pair)))

    def _pod_updated(self, old: Obj, new: Obj) -> None:
        if signature(old) == signature(new):
            return
        if meta.labels(old) != meta.labels(new):
            self._pod(old)
        self._pod(new)
