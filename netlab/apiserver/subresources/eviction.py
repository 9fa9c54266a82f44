"""pods/eviction: a deletion that asks the disruption budgets first (pkg/registry/core/pod/storage/eviction.go)."""

from netlab.api import errors, labels, meta
from netlab.api.resources import Resource, get
from netlab.api.types import Obj
from netlab.apiserver.admission import Attributes
from netlab.apiserver.api import Api
from netlab.apiserver.body import decode_of
from netlab.apiserver.lifecycle import Deletion
from netlab.apiserver.operations.delete import delete_key
from netlab.apiserver.operations.options import dry_run
from netlab.apiserver.storage import Stored, load
from netlab.apiserver.wire.message import Answer, Request, json_response
from netlab.apiserver.writing import Conflict, NotFound, write_changed

_MANY_DISRUPTIONS = 2000


async def evict(api: Api, request: Request, resource: Resource) -> Answer:
    body = decode_of(request, "policy/v1", "Eviction")
    info = request.info
    if meta.name(body) not in ("", info.name):
        raise errors.bad_request("name in URL does not match name in Eviction object")
    stored = api.stored(resource)
    key = stored.key(info.namespace, info.name)
    current = api.store.latest(key)
    if current is None:
        raise errors.not_found(resource, info.name)
    pod = load(current, stored)
    options = body.get("deleteOptions") or {}
    dry = dry_run(request, options.get("dryRun")) or dry_run(request)
    attributes = Attributes("CREATE", resource, "eviction", info.namespace, info.name, body, None, request.user, dry)
    api.admission.mutate(api, attributes)
    if api.dynamic.mutating or api.dynamic.validating:
        attributes.warnings = request.warnings
        await api.dynamic.both(api, attributes, resource, request)
    api.admission.validate(api, attributes)
    if not _ignores_budgets(pod):
        await _ask_budget(api, pod, dry)
    preconditions = dict(options.get("preconditions") or {})
    asked = (
        preconditions.get("uid") or meta.uid(pod),
        preconditions.get("resourceVersion") or meta.resource_version(pod),
    )
    if not dry and asked == (meta.uid(pod), meta.resource_version(pod)):
        await _mark(api, stored, resource, key)
        preconditions.pop("resourceVersion", None)  # the mark made another
    wish = Deletion(
        grace=options.get("gracePeriodSeconds"),
        propagation=options.get("propagationPolicy") or "",
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=dry,
    )
    await delete_key(api, request, resource, key, wish)
    return json_response(errors.success(code=201), 201)


async def _mark(api: Api, stored: Stored, resource: Resource, key: str) -> None:
    """The pod's status says why it goes, before it does: failure policies of Jobs read that."""
    while (current := api.store.latest(key)) is not None:
        pod, stamp = load(current, stored), meta.now_rfc3339(api.clock)
        conditions = pod.setdefault("status", {}).setdefault("conditions", [])
        why = {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
        meta.set_condition(conditions, {"type": "DisruptionTarget", "status": "True", **why}, stamp)
        try:
            await write_changed(api, stored, resource, pod, current.revision)
        except Conflict:
            continue
        except NotFound:
            pass
        return


def _ignores_budgets(pod: Obj) -> bool:
    """Pods that serve nothing any more, or not yet, disrupt nothing."""
    phase = meta.get(pod, "status", "phase", default="")
    return phase in ("Succeeded", "Failed", "Pending") or meta.deleting(pod)


async def _ask_budget(api: Api, pod: Obj, dry: bool) -> None:
    namespace = meta.namespace(pod)
    resource = get("policy/v1", "PodDisruptionBudget")
    stored = api.stored(resource)
    matching = []
    for item in api.store.list(stored.collection, namespace).items:
        latest = api.store.latest(item.key)
        if latest is None:
            continue
        budget = load(latest, stored)
        if labels.from_label_selector(meta.get(budget, "spec", "selector")).matches(meta.labels(pod)):
            matching.append((latest, budget))
    if not matching:
        return
    if len(matching) > 1:
        message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise errors.internal(message)
    item, budget = matching[0]
    ready = meta.condition_true(pod, "Ready")
    if not ready and _unhealthy_may_go(budget):
        return
    _spend(budget, meta.name(pod), meta.now_rfc3339(api.clock))
    if dry:
        return
    try:
        await write_changed(api, stored, resource, budget, item.revision)
    except (Conflict, NotFound):
        raise errors.too_many_requests(retry_after_seconds=10) from None


def _unhealthy_may_go(budget: Obj) -> bool:
    if meta.get(budget, "spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    return int(status.get("currentHealthy", 0)) >= int(status.get("desiredHealthy", 0)) > 0


def _spend(budget: Obj, pod: str, now: str) -> None:
    """Take one disruption from the budget's status; 429 when it has none."""
    name, status = meta.name(budget), budget.setdefault("status", {})
    if status.get("observedGeneration", 0) < meta.generation(budget):
        cause = f"The disruption budget {name} is still being processed by the server."
        raise _refused(cause, retry=10)
    if int(status.get("disruptionsAllowed", 0)) <= 0 or len(status.get("disruptedPods") or {}) > _MANY_DISRUPTIONS:
        wanted, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        cause = f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
        raise _refused(cause, retry=0)
    status["disruptionsAllowed"] -= 1
    status.setdefault("disruptedPods", {})[pod] = now


def _refused(cause: str, *, retry: int) -> errors.StatusError:
    causes = [{"reason": "DisruptionBudget", "message": cause}]
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return errors.too_many_requests(message, retry, causes)
