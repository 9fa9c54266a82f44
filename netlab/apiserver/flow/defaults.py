"""PURE. The mandatory and the suggested flow schemas and priority levels, as tables.

Source followed: apiserver/pkg/apis/flowcontrol/bootstrap/default.go of 1.33.
"""

from typing import NamedTuple

from netlab.api.types import Obj

GROUP = "flowcontrol.apiserver.k8s.io"
VERSION = f"{GROUP}/v1"
_EVERYBODY = "Group system:unauthenticated, Group system:authenticated"


class Level(NamedTuple):
    """`queues` is (queues, hand size, queue length limit); None rejects what finds no seat."""

    name: str
    shares: int
    lendable: int
    queues: tuple[int, int, int] | None = None


LEVELS = (
    Level("catch-all", 5, 0),
    Level("system", 30, 33, (64, 6, 50)),
    Level("node-high", 40, 25, (64, 6, 50)),
    Level("leader-election", 10, 0, (16, 4, 50)),
    Level("workload-high", 40, 50, (128, 6, 50)),
    Level("workload-low", 100, 90, (128, 6, 50)),
    Level("global-default", 20, 50, (128, 6, 50)),
)
"""Those that are limited; beside them there is `exempt`."""


class Rule(NamedTuple):
    """One resource rule; words separated by blanks, the core group is written "core"."""

    verbs: str
    groups: str
    resources: str
    cluster: bool = False


class Schema(NamedTuple):
    """Without rules: everything. `subjects` are "Kind name", separated by commas."""

    name: str
    level: str
    precedence: int
    by: str
    subjects: str
    rules: tuple[Rule, ...] = ()


_LEASES = (Rule("get create update", "coordination.k8s.io", "leases"),)
_MANAGER, _SCHEDULER = "User system:kube-controller-manager", "User system:kube-scheduler"
_SYSTEM_ACCOUNTS = "ServiceAccount kube-system/*"
SCHEMAS = (
    Schema("exempt", "exempt", 1, "", "Group system:masters"),
    Schema("probes", "exempt", 2, "", _EVERYBODY),
    Schema(
        "system-leader-election",
        "leader-election",
        100,
        "ByUser",
        f"{_MANAGER}, {_SCHEDULER}, {_SYSTEM_ACCOUNTS}",
        _LEASES,
    ),
    Schema(
        "endpoint-controller",
        "workload-high",
        150,
        "ByUser",
        f"{_MANAGER}, ServiceAccount kube-system/endpoint-controller, "
        "ServiceAccount kube-system/endpointslicemirroring-controller",
        (Rule("get create update", "core", "endpoints"),),
    ),
    Schema("workload-leader-election", "leader-election", 200, "ByUser", _SYSTEM_ACCOUNTS, _LEASES),
    Schema(
        "system-node-high",
        "node-high",
        400,
        "ByUser",
        "Group system:nodes",
        (Rule("*", "core", "nodes nodes/status", cluster=True), Rule("*", "coordination.k8s.io", "leases")),
    ),
    Schema("system-nodes", "system", 500, "ByUser", "Group system:nodes"),
    Schema("kube-controller-manager", "workload-high", 800, "ByNamespace", _MANAGER),
    Schema("kube-scheduler", "workload-high", 800, "ByNamespace", _SCHEDULER),
    Schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", _SYSTEM_ACCOUNTS),
    Schema("service-accounts", "workload-low", 9000, "ByUser", "Group system:serviceaccounts"),
    Schema("global-default", "global-default", 9900, "ByUser", _EVERYBODY),
    Schema("catch-all", "catch-all", 10000, "ByUser", _EVERYBODY),
)
MANDATORY = frozenset({"exempt", "catch-all"})


def objects() -> list[Obj]:
    """Every default object."""
    return [_exempt(), *(_level(level) for level in LEVELS), *(_schema(schema) for schema in SCHEMAS)]


def mandatory() -> list[Obj]:
    """Those that hold also while the store has none."""
    return [obj for obj in objects() if obj["metadata"]["name"] in MANDATORY]


def _metadata(name: str) -> Obj:
    return {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}}


def _exempt() -> Obj:
    spec = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}
    kind = {"apiVersion": VERSION, "kind": "PriorityLevelConfiguration"}
    return {**kind, "metadata": _metadata("exempt"), "spec": spec, "status": {}}


def _level(level: Level) -> Obj:
    response: Obj = {"type": "Reject"}
    if level.queues is not None:
        queues, hand, length = level.queues
        queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": length}
        response = {"type": "Queue", "queuing": queuing}
    limited = {
        "nominalConcurrencyShares": level.shares,
        "limitResponse": response,
        "lendablePercent": level.lendable,
    }
    return {
        "apiVersion": VERSION,
        "kind": "PriorityLevelConfiguration",
        "metadata": _metadata(level.name),
        "spec": {"type": "Limited", "limited": limited},
        "status": {},
    }


def _schema(schema: Schema) -> Obj:
    rules: Obj = {"subjects": [_subject(text) for text in schema.subjects.split(", ")]}
    if schema.name == "probes":
        rules["nonResourceRules"] = [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]
    else:
        rules["resourceRules"] = [_resources(rule) for rule in schema.rules or (Rule("*", "*", "*", cluster=True),)]
    if not schema.rules and schema.name != "probes":
        rules["nonResourceRules"] = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    spec: Obj = {
        "priorityLevelConfiguration": {"name": schema.level},
        "matchingPrecedence": schema.precedence,
        "rules": [rules],
    }
    if schema.by:
        spec["distinguisherMethod"] = {"type": schema.by}
    kind = {"apiVersion": VERSION, "kind": "FlowSchema"}
    return {**kind, "metadata": _metadata(schema.name), "spec": spec, "status": {}}


def _resources(rule: Rule) -> Obj:
    found: Obj = {
        "verbs": rule.verbs.split(),
        "apiGroups": ["" if group == "core" else group for group in rule.groups.split()],
        "resources": rule.resources.split(),
        "namespaces": ["*"],
    }
    if rule.cluster:
        found["clusterScope"] = True
    return found


def _subject(text: str) -> Obj:
    kind, _, name = text.partition(" ")
    if kind == "ServiceAccount":
        namespace, _, account = name.partition("/")
        return {"kind": kind, "serviceAccount": {"namespace": namespace, "name": account}}
    return {"kind": kind, kind.lower(): {"name": name}}
