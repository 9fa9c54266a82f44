"""What a cluster is made of: nodes, namespaces, events, leases, configuration, quotas, classes, certificates, RBAC."""

from __future__ import annotations

from typing import Any

from netlab.api import meta
from netlab.api.tables import human
from netlab.api.tables.human import number, text
from netlab.api.tables.model import AGE, CREATED_AT, NAME, Printer, boolean, integer, string
from netlab.api.types import Obj

DEFAULT = Printer((NAME, AGE), lambda obj, now: [meta.name(obj), human.age(obj, now)])
"""For kinds without columns of their own in upstream's table generator."""

CREATED = Printer((NAME, CREATED_AT), lambda obj, now: [meta.name(obj), text(obj, "metadata", "creationTimestamp")])
"""For kinds without a table generator upstream: name and time of creation."""

_ROLE_LABEL = "node-role.kubernetes.io/"


def _roles(obj: Obj) -> str:
    found = set()
    for label, value in meta.labels(obj).items():
        if label.startswith(_ROLE_LABEL) and len(label) > len(_ROLE_LABEL):
            found.add(label[len(_ROLE_LABEL) :])
        elif label == "kubernetes.io/role" and value:
            found.add(value)
    return ",".join(sorted(found)) or human.NONE


def _address(obj: Obj, kind: str) -> str:
    addresses = meta.get(obj, "status", "addresses", default=[])
    return next((str(a.get("address")) for a in addresses if a.get("type") == kind), human.NONE)


def _node(obj: Obj, now: float) -> list[Any]:
    ready = meta.condition(obj, "Ready")
    status = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if meta.get(obj, "spec", "unschedulable"):
        status += ",SchedulingDisabled"
    info = meta.get(obj, "status", "nodeInfo", default={})
    return [
        meta.name(obj),
        status,
        _roles(obj),
        human.age(obj, now),
        info.get("kubeletVersion") or "",
        _address(obj, "InternalIP"),
        _address(obj, "ExternalIP"),
        info.get("osImage") or human.UNKNOWN,
        info.get("kernelVersion") or human.UNKNOWN,
        info.get("containerRuntimeVersion") or human.UNKNOWN,
    ]


NODE = Printer(
    (
        NAME,
        string("Status", "The status of the node"),
        string("Roles", "The roles of the node"),
        AGE,
        string("Version", "Kubelet version reported by the node."),
        string("Internal-IP", "The node's address inside the cluster.", wide=True),
        string("External-IP", "The node's address outside the cluster.", wide=True),
        string("OS-Image", "The operating system reported by the node.", wide=True),
        string("Kernel-Version", "The kernel reported by the node.", wide=True),
        string("Container-Runtime", "The container runtime reported by the node.", wide=True),
    ),
    _node,
)

NAMESPACE = Printer(
    (NAME, string("Status", "The status of the namespace"), AGE),
    lambda obj, now: [meta.name(obj), text(obj, "status", "phase"), human.age(obj, now)],
)


def _component_status(obj: Obj, now: float) -> list[Any]:
    found = next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), None)
    if found is None:
        return [meta.name(obj), "Unknown", "", ""]
    status = "Healthy" if found.get("status") == "True" else "Unhealthy"
    return [meta.name(obj), status, found.get("message", ""), found.get("error", "")]


COMPONENT_STATUS = Printer(
    (NAME, string("Status"), string("Message"), string("Error")),
    _component_status,
)


def _event_source(obj: Obj) -> str:
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    instance = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else component


def _event(obj: Obj, now: float) -> list[Any]:
    about = obj.get("involvedObject") or obj.get("regarding") or {}
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp") or first
    count = obj.get("count") or obj.get("deprecatedCount") or 1
    series = obj.get("series")
    if series:
        last, count = series.get("lastObservedTime"), series.get("count", 0)
    kind = str(about.get("kind") or "").lower()
    return [
        human.since(last, now),
        obj.get("type") or "",
        obj.get("reason") or "",
        f"{kind}/{about['name']}" if about.get("name") else kind,
        about.get("fieldPath") or "",
        _event_source(obj),
        str(obj.get("message") or obj.get("note") or "").strip(),
        human.since(first, now),
        count,
        meta.name(obj),
    ]


EVENT = Printer(
    (
        string("Last Seen", "When it was last recorded."),
        string("Type", "Normal or Warning."),
        string("Reason", "Why, in one word."),
        string("Object", "The object it is about."),
        string("Subobject", "The part of the object.", wide=True),
        string("Source", "Who reports it.", wide=True),
        string("Message", "What happened."),
        string("First Seen", "When it was first recorded.", wide=True),
        string("Count", "How often it occurred.", wide=True),
        type(NAME)("Name", form="name", description="Name of the event.", wide=True),
    ),
    _event,
)

CONFIG_MAP = Printer(
    (NAME, string("Data", "Number of keys."), AGE),
    lambda obj, now: [
        meta.name(obj),
        len(obj.get("data") or ()) + len(obj.get("binaryData") or ()),
        human.age(obj, now),
    ],
)
SECRET = Printer(
    (NAME, string("Type", "What the data is for."), string("Data", "Number of keys."), AGE),
    lambda obj, now: [meta.name(obj), obj.get("type") or "", len(obj.get("data") or ()), human.age(obj, now)],
)
SERVICE_ACCOUNT = Printer(
    (NAME, string("Secrets", "Number of secrets."), AGE),
    lambda obj, now: [meta.name(obj), len(obj.get("secrets") or ()), human.age(obj, now)],
)
LEASE = Printer(
    (NAME, string("Holder", "Who holds the lease."), AGE),
    lambda obj, now: [meta.name(obj), text(obj, "spec", "holderIdentity"), human.age(obj, now)],
)


def _resource_quota(obj: Obj, now: float) -> list[Any]:
    hard = meta.get(obj, "status", "hard", default={})
    used = meta.get(obj, "status", "used", default={})
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        entry = f"{name}: {used.get(name, '0')}/{hard[name]}"
        (limits if name.startswith("limits.") else requests).append(entry)
    return [meta.name(obj), ", ".join(requests), ", ".join(limits), human.age(obj, now)]


RESOURCE_QUOTA = Printer(
    (NAME, string("Request", "Requests: used/hard."), string("Limit", "Limits: used/hard."), AGE),
    _resource_quota,
)


def _priority_class(obj: Obj, now: float) -> list[Any]:
    policy = obj.get("preemptionPolicy") or ""
    return [meta.name(obj), obj.get("value", 0), bool(obj.get("globalDefault")), human.age(obj, now), policy]


PRIORITY_CLASS = Printer(
    (NAME, integer("Value"), boolean("Global-Default"), AGE, string("PreemptionPolicy")),
    _priority_class,
)
RUNTIME_CLASS = Printer(
    (NAME, string("Handler", "The runtime's name for it."), AGE),
    lambda obj, now: [meta.name(obj), obj.get("handler") or "", human.age(obj, now)],
)


def _csr_condition(obj: Obj) -> str:
    kinds = {c.get("type") for c in meta.get(obj, "status", "conditions", default=[])}
    shown = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    if "Failed" in kinds:
        shown += ",Failed"
    return shown + (",Issued" if meta.get(obj, "status", "certificate") else "")


def _csr(obj: Obj, now: float) -> list[Any]:
    seconds = meta.get(obj, "spec", "expirationSeconds")
    return [
        meta.name(obj),
        human.age(obj, now),
        text(obj, "spec", "signerName", default=human.NONE),
        text(obj, "spec", "username"),
        human.NONE if seconds is None else human.duration(seconds),
        _csr_condition(obj),
    ]


CSR = Printer(
    (
        NAME,
        AGE,
        string("SignerName", "Who is asked to sign."),
        string("Requestor", "Who asks."),
        string("RequestedDuration", "How long it shall be valid."),
        string("Condition", "Approved, denied, issued."),
    ),
    _csr,
)


def _subjects(obj: Obj) -> list[str]:
    by_kind: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        name = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount" and subject.get("namespace"):
            name = f"{subject['namespace']}/{name}"
        by_kind.setdefault(subject.get("kind", ""), []).append(name)
    return [", ".join(by_kind[kind]) for kind in ("User", "Group", "ServiceAccount")]


def _role_binding(obj: Obj, now: float) -> list[Any]:
    role = f"{text(obj, 'roleRef', 'kind')}/{text(obj, 'roleRef', 'name')}"
    return [meta.name(obj), role, human.age(obj, now), *_subjects(obj)]


ROLE_BINDING = Printer(
    (
        NAME,
        string("Role", "The role that is granted."),
        AGE,
        string("Users", "Users in the roleBinding", wide=True),
        string("Groups", "Groups in the roleBinding", wide=True),
        string("ServiceAccounts", "ServiceAccounts in the roleBinding", wide=True),
    ),
    _role_binding,
)


def _flow_schema(obj: Obj, now: float) -> list[Any]:
    dangling = meta.condition(obj, "Dangling")
    missing = {"True": "True", "False": "False"}.get((dangling or {}).get("status", ""), "?")
    return [
        meta.name(obj),
        text(obj, "spec", "priorityLevelConfiguration", "name"),
        number(obj, "spec", "matchingPrecedence"),
        text(obj, "spec", "distinguisherMethod", "type", default=human.NONE),
        human.age(obj, now),
        missing,
    ]


FLOW_SCHEMA = Printer(
    (
        NAME,
        string("PriorityLevel"),
        string("MatchingPrecedence"),
        string("DistinguisherMethod"),
        AGE,
        string("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
    ),
    _flow_schema,
)


def _priority_level(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    concurrency = spec.get("limited") or spec.get("exempt") or {}
    shares = concurrency.get("nominalConcurrencyShares", human.NONE)
    queuing = meta.get(spec, "limited", "limitResponse", "queuing", default={})
    return [
        meta.name(obj),
        spec.get("type") or "",
        shares,
        *(queuing.get(key, human.NONE) for key in ("queues", "handSize", "queueLengthLimit")),
        human.age(obj, now),
    ]


PRIORITY_LEVEL = Printer(
    (
        NAME,
        string("Type"),
        string("NominalConcurrencyShares"),
        string("Queues"),
        string("HandSize"),
        string("QueueLengthLimit"),
        AGE,
    ),
    _priority_level,
)
