"""Services, their endpoints and the pods behind them, by the API's objects. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches

from netlab.api.types import Obj
from netlab.lab.diagnosis.legs import (
    Leg,
    cluster_ips,
    distinctive,
    find_service,
    is_ready,
    matched,
    nearly,
    slices_of,
)
from netlab.lab.diagnosis.model import Facts, Finding, Listener, Objects, Question
from netlab.lab.diagnosis.places import key

UNANSWERED = ("deadline exceeded", "timeout", "timed out", "no route to host", "unreachable")
"""What the kubelet says of a probe that met nobody; one that was refused has reached its pod."""
DNS_REMEDY = "klab kubectl scale deployment coredns -n kube-system --replicas=2"


def missing_target(question: Question, leg: Leg, facts: Facts) -> Iterator[Finding]:
    """That what was asked for does not exist, or has no such port."""
    target, objects = question.target, facts.objects
    if objects.error:
        return
    if target.kind == "service":
        service = find_service(objects, target.name)
        if service is None:
            yield _no_service(target.name, objects)
        elif leg.port is None:
            yield _no_port(service, target.port_name or str(target.port))
        elif leg.entry is None and cluster_ips(service) and question.source.kind not in ("pod", "node"):
            yield _not_exposed(service, question)
    elif target.kind == "pod" and not leg.ends:
        pod = next((one for one in objects.pods if key(one) == target.name), None)
        if pod is not None:
            yield _pod_finding(pod, objects)


def _no_service(name: str, objects: Objects) -> Finding:
    namespace, _, short = name.partition("/")
    elsewhere = [key(one) for one in objects.services if one["metadata"]["name"] == short]
    there = [one["metadata"]["name"] for one in objects.services if one["metadata"]["namespace"] == namespace]
    close = get_close_matches(short, there, 1)
    if elsewhere:
        other = elsewhere[0].partition("/")[0]
        remedy = f"call it {short}.{other}: a name without a namespace means the caller's own"
    elif close:
        remedy = f"did you mean '{close[0]}'?"
    else:
        remedy = f"klab kubectl expose …, or klab kubectl get services -n {namespace}"
    return Finding(
        "service-missing", "service", f"namespace {namespace}", f"there is no Service '{short}'",
        f"Service {name}", remedy,
    )  # fmt: skip


def _no_port(service: Obj, wanted: str) -> Finding:
    ports = [_port_text(port) for port in (service.get("spec") or {}).get("ports") or ()]
    listed: list[Obj] = (service.get("spec") or {}).get("ports") or []
    first = listed[0]["port"] if listed else "PORT"
    return Finding(
        "service-port", "service", f"Service {key(service)}", f"it has no port {wanted}; it has {', '.join(ports)}",
        f"a port {wanted}", f"call port {first}, or: klab kubectl edit service {_args(service)}",
    )  # fmt: skip


def _port_text(port: Obj) -> str:
    name = f"{port['name']} " if port.get("name") else ""
    return f"{name}{port['port']}/{port.get('protocol', 'TCP')}"


def _args(obj: Obj) -> str:
    return f"{obj['metadata']['name']} -n {obj['metadata'].get('namespace') or 'default'}"


def _not_exposed(service: Obj, question: Question) -> Finding:
    patch = '{"spec":{"type":"NodePort"}}'
    return Finding(
        "service-not-exposed", "service", f"Service {key(service)}",
        f"type {service['spec'].get('type', 'ClusterIP')}: it has no address that {question.source} can reach",
        "a NodePort or a load balancer's address", f"klab kubectl patch service {_args(service)} -p '{patch}'",
    )  # fmt: skip


def resolver_service(leg: Leg, facts: Facts) -> Iterator[Finding]:
    """That the Service to which resolvers send does not have port 53, or is not there."""
    if leg.service is not None and leg.port is None:
        ports = ", ".join(_port_text(port) for port in (leg.service.get("spec") or {}).get("ports") or ())
        patch = '[{"name":"dns","port":53,"protocol":"UDP","targetPort":53},' \
                '{"name":"dns-tcp","port":53,"protocol":"TCP","targetPort":53}]'  # fmt: skip
        yield Finding(
            "dns-port", "name", f"Service {key(leg.service)}", f"it has no port 53/UDP; it has {ports}",
            "port 53/UDP: that is where resolvers ask",
            f"klab kubectl patch service {_args(leg.service)} --type=merge -p '{{\"spec\":{{\"ports\":{patch}}}}}'",
        )  # fmt: skip


def endpoints(leg: Leg, facts: Facts) -> Iterator[Finding]:
    """Why a Service's port has no endpoints, or too few."""
    service = leg.service
    if service is None or leg.port is None or (service.get("spec") or {}).get("type") == "ExternalName":
        return
    yield from _local_policy(leg, facts)
    selector = (service.get("spec") or {}).get("selector") or {}
    if not selector:
        if not leg.ends:
            yield _nothing(service, "it has no selector, and nobody has written EndpointSlices for it")
        return
    matching = matched(service, selector, facts.objects)
    ready = [pod for pod in matching if is_ready(pod)]
    if not matching:
        yield _selector(service, selector, facts.objects)
        return
    unready = [pod for pod in matching if not is_ready(pod) and not pod["metadata"].get("deletionTimestamp")]
    for pod in unready[:4]:
        yield _pod_finding(pod, facts.objects)
    if ready and not leg.ends:
        yield _slices(service, leg.port, ready, facts)
    elif ready:
        yield from _forgotten(service, leg, ready, facts)


def _nothing(service: Obj, why: str) -> Finding:
    return Finding(
        "no-endpoints", "endpoints", f"Service {key(service)}", why, "pods behind it",
        f"klab kubectl set selector service {_args(service)} app=…",
    )  # fmt: skip


def _selector(service: Obj, selector: Mapping[str, str], objects: Objects) -> Finding:
    """No pod has these labels. Which pods were meant: those most alike."""
    namespace = service["metadata"].get("namespace")
    text = ",".join(f"{k}={v}" for k, v in selector.items())
    owner = next(iter(nearly(service, selector, objects)), None)
    if owner is None:
        what = "coredns runs no pod" if service["metadata"]["name"] == "kube-dns" else "there is no such pod"
        remedy = DNS_REMEDY if service["metadata"]["name"] == "kube-dns" else (
            f"klab kubectl get pods -n {namespace} --show-labels; start pods with these labels"
        )  # fmt: skip
        return Finding(
            "no-pods", "endpoints", f"Service {key(service)}", f"its selector {text} matches no pod: {what}",
            "at least one pod with these labels", remedy,
        )  # fmt: skip
    labels = owner["metadata"].get("labels") or {}
    right = {k: labels[k] for k in selector if k in labels} or distinctive(labels)
    said = ",".join(f"{k}={v}" for k, v in right.items())
    return Finding(
        "selector", "endpoints", f"Service {key(service)}",
        f"its selector {text} matches no pod; pod {owner['metadata']['name']} has {said}", f"selector {said}",
        f"klab kubectl set selector service {_args(service)} '{said}'",
    )  # fmt: skip


def _local_policy(leg: Leg, facts: Facts) -> Iterator[Finding]:
    """internalTrafficPolicy or externalTrafficPolicy Local where the node has no endpoint of its own."""
    spec = (leg.service or {}).get("spec") or {}
    field = "externalTrafficPolicy" if leg.external else "internalTrafficPolicy"
    local = [end for end in leg.ends if end.place is not None and end.place.node == leg.at]
    if leg.service is None or spec.get(field) != "Local" or local or not leg.ends or not leg.at:
        return
    patch = f'{{"spec":{{"{field}":"Cluster"}}}}'
    nodes = sorted({end.place.node for end in leg.ends if end.place is not None})
    yield Finding(
        "traffic-policy", "endpoints", f"Service {key(leg.service)}",
        f"{field} is Local, and {leg.at} has no endpoint of its own (there are some on {', '.join(nodes)})",
        f"an endpoint on {leg.at}, or policy Cluster",
        f"klab kubectl patch service {_args(leg.service)} -p '{patch}'",
    )  # fmt: skip


def _slices(service: Obj, port: Obj, ready: Sequence[Obj], facts: Facts) -> Finding:
    """Ready pods, and no endpoint: a named port that no container has, or a controller that does not work."""
    target = port.get("targetPort")
    declared = sorted(
        {p["name"] for pod in ready for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()
         if p.get("name")}
    )  # fmt: skip
    if isinstance(target, str) and target not in declared:
        return Finding(
            "target-port-name", "endpoints", f"Service {key(service)}",
            f"its targetPort '{target}' is no port of its pods; they name {', '.join(declared) or 'none'}",
            "a port's name, or a number",
            f"klab kubectl edit service {_args(service)}",
        )  # fmt: skip
    return Finding(
        "endpoints-missing", "endpoints", f"Service {key(service)}",
        f"{len(ready)} ready pods match its selector, and there is no endpoint",
        "an EndpointSlice with their addresses", "klab status; klab logs controller-manager --tail 20",
    )  # fmt: skip


def _forgotten(service: Obj, leg: Leg, ready: Sequence[Obj], facts: Facts) -> Iterator[Finding]:
    """Endpoints that belong to no ready pod, and ready pods without one: EndpointSlices that are not up to date."""
    listed = {ip for one in slices_of(service, facts.objects) for e in one.get("endpoints") or ()
              for ip in e.get("addresses") or ()}  # fmt: skip
    absent = [pod for pod in ready if (pod.get("status") or {}).get("podIP") not in listed]
    strangers = [end for end in leg.ends if end.place is None]
    if absent or strangers:
        what = [f"pod {pod['metadata']['name']} is ready and not in it" for pod in absent]
        what += [f"{end} is nobody's" for end in strangers]
        yield Finding(
            "endpoints-stale", "endpoints", f"EndpointSlices of Service {key(service)}", "; ".join(what[:3]),
            "the addresses of the ready pods", "klab status; klab logs controller-manager --tail 20",
        )  # fmt: skip


# -- pods -------------------------------------------------------------------------------------------------------------


def _pod_finding(pod: Obj, objects: Objects) -> Finding:
    """Why a pod is not ready."""
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    where, describe = f"pod {key(pod)}", f"klab kubectl describe pod {_args(pod)}"
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    node = (pod.get("spec") or {}).get("nodeName")
    if not node:
        why = conditions.get("PodScheduled", {}).get("message") or "no node was chosen for it"
        return Finding("pod-pending", "pod", where, why, "a node that takes it", describe)
    if not _node_ready(node, objects):
        return Finding(
            "pod-node-not-ready", "pod", where, f"its node {node} is NotReady", f"node {node} Ready",
            f"klab kubectl describe node {node}",
        )  # fmt: skip
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting")
        ended = (container.get("lastState") or {}).get("terminated") or {}
        if waiting and waiting.get("reason") not in ("ContainerCreating", "PodInitializing"):
            last = f" (ended with exit status {ended['exitCode']})" if "exitCode" in ended else ""
            text = f"container {container['name']}: {waiting.get('reason')}{last} {waiting.get('message', '')}".strip()
            return Finding(
                "pod-not-running", "pod", where, text, "a container that runs",
                f"{describe}; klab kubectl logs {_args(pod)} --previous",
            )  # fmt: skip
    probe = last_event(objects, pod, "Unhealthy")
    running = [c for c in status.get("containerStatuses") or () if "running" in (c.get("state") or {})]
    if running:
        said = probe or conditions.get("Ready", {}).get("message") or "it is Running and not Ready"
        owner = next((o for o in pod["metadata"].get("ownerReferences") or ()), None)
        edit = f"; klab kubectl edit deployment {name.rsplit('-', 2)[0]} (readinessProbe)" if owner else ""
        code = "probe-unanswered" if any(word in said for word in UNANSWERED) else "pod-not-ready"
        return Finding(code, "pod", where, said, "its readiness probe succeeds", f"{describe}{edit}")
    return Finding(
        "pod-not-running", "pod", where, f"phase {status.get('phase', 'Unknown')}: its containers do not run yet",
        "phase Running", describe,
    )  # fmt: skip


def last_event(objects: Objects, pod: Obj, reason: str) -> str:
    """The newest event's message of that reason about the pod; "" where there is none."""
    uid = pod["metadata"]["uid"]
    found = [e for e in objects.events if (e.get("involvedObject") or {}).get("uid") == uid]
    found = [e for e in found if e.get("reason") == reason]
    found.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
    return str(found[-1].get("message", "")) if found else ""


def _node_ready(name: str, objects: Objects) -> bool:
    node = next((one for one in objects.nodes if one["metadata"]["name"] == name), None)
    return node is None or is_ready(node)


def wrong_target_port(leg: Leg, listeners: Sequence[Listener], port: int) -> Finding | None:
    """That the Service sends to a port at which nothing listens, while the pod listens at another."""
    if leg.service is None or leg.port is None:
        return None
    open_ = sorted({one.port for one in listeners if one.protocol == leg.protocol and one.port != port})
    patch = {"name": leg.port.get("name"), "port": leg.port["port"], "targetPort": open_[0] if open_ else 0}
    patch = {k: v for k, v in patch.items() if v is not None}
    if not open_:
        return None
    text = str({"spec": {"ports": [patch]}}).replace("'", '"')
    return Finding(
        "target-port", "service", f"Service {key(leg.service)}",
        f"its targetPort leads to port {port}, where its pods do not listen; they do at "
        + ", ".join(map(str, open_)),
        f"targetPort {open_[0]}", f"klab kubectl patch service {_args(leg.service)} -p '{text}'",
    )  # fmt: skip
