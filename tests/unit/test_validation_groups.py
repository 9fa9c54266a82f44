"""Kinds of the smaller groups with every field set, one of them wrong at a time, and what is said about it."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import orjson
import pytest

from netlab.api import decoding, strategy
from netlab.api.defaults import apply_defaults
from netlab.api.resources import by_kind
from netlab.api.types import Obj
from netlab.api.validation import validate_create

POD = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
KINDS: dict[str, Obj] = {
    "HorizontalPodAutoscaler": {
        "apiVersion": "autoscaling/v2",
        "spec": {
            "minReplicas": 1,
            "maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "behavior": {
                "scaleUp": {
                    "stabilizationWindowSeconds": 10,
                    "selectPolicy": "Max",
                    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}],
                }
            },
            "metrics": [
                {
                    "type": "ContainerResource",
                    "containerResource": {
                        "name": "cpu",
                        "container": "c",
                        "target": {"type": "Utilization", "averageUtilization": 50},
                    },
                },
                {
                    "type": "Pods",
                    "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}},
                },
                {
                    "type": "Object",
                    "object": {
                        "describedObject": {"kind": "Service", "name": "s"},
                        "metric": {"name": "m"},
                        "target": {"type": "Value", "value": "1"},
                    },
                },
                {"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}},
            ],
        },
    },
    "Job": {
        "apiVersion": "batch/v1",
        "spec": {
            "backoffLimitPerIndex": 1,
            "maxFailedIndexes": 1,
            "completionMode": "Indexed",
            "completions": 3,
            "managedBy": "a.b/c",
            "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]},
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onExitCodes": {"containerName": "c", "operator": "In", "values": [1, 2]}},
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {"spec": POD},
        },
    },
    "StorageClass": {
        "apiVersion": "storage.k8s.io/v1",
        "provisioner": "a.b/c",
        "allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": ["b"]}]}],
    },
    "CSIDriver": {
        "apiVersion": "storage.k8s.io/v1",
        "spec": {
            "volumeLifecycleModes": ["Persistent"],
            "fsGroupPolicy": "File",
            "tokenRequests": [{"audience": "a", "expirationSeconds": 600}],
        },
    },
    "CSINode": {
        "apiVersion": "storage.k8s.io/v1",
        "spec": {"drivers": [{"name": "a.b", "nodeID": "x", "topologyKeys": ["k"], "allocatable": {"count": 5}}]},
    },
    "VolumeAttachment": {
        "apiVersion": "storage.k8s.io/v1",
        "spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "pv"}},
    },
    "CSIStorageCapacity": {"apiVersion": "storage.k8s.io/v1", "storageClassName": "sc", "capacity": "1Gi"},
    "FlowSchema": {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "spec": {
            "matchingPrecedence": 5,
            "distinguisherMethod": {"type": "ByUser"},
            "priorityLevelConfiguration": {"name": "p"},
            "rules": [
                {
                    "subjects": [{"kind": "User", "user": {"name": "u"}}],
                    "resourceRules": [
                        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get"], "namespaces": ["default"]}
                    ],
                    "nonResourceRules": [{"nonResourceURLs": ["/healthz"], "verbs": ["*"]}],
                }
            ],
        },
    },
    "PriorityLevelConfiguration": {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 5,
                "lendablePercent": 10,
                "borrowingLimitPercent": 5,
                "limitResponse": {"type": "Queue", "queuing": {"queues": 5, "handSize": 2, "queueLengthLimit": 5}},
            },
        },
    },
    "IPAddress": {
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "10.99.0.5"},
        "spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "s"}},
    },
    "Node": {"apiVersion": "v1", "spec": {"podCIDR": "10.5.0.0/24", "podCIDRs": ["10.5.0.0/24"]}},
    "Event": {
        "apiVersion": "v1",
        "metadata": {"name": "e", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
    },
    "Pod": {
        "apiVersion": "v1",
        "spec": {
            **POD,
            "securityContext": {"windowsOptions": {"runAsUserName": "dom\\user", "gmsaCredentialSpec": "b"}},
        },
    },
}
GONE = object()
HPA, JOB, FLOW, LEVEL = "HorizontalPodAutoscaler", "Job", "FlowSchema", "PriorityLevelConfiguration"
WRONG: list[tuple[str, str, Any, str]] = [
    (HPA, "spec.scaleTargetRef.name", "a/b", "Invalid value: \"a/b\": may not contain '/'"),
    (HPA, "spec.behavior.scaleUp.stabilizationWindowSeconds", 3601, "Invalid value: 3601: must be less"),
    (HPA, "spec.behavior.scaleUp.selectPolicy", "x", 'Unsupported value: "x": supported values: "Disabled", "Max"'),
    (HPA, "spec.behavior.scaleUp.policies.0.type", "x", 'Unsupported value: "x": supported values: "Percent", '),
    (HPA, "spec.behavior.scaleUp.policies.0.value", 0, "Invalid value: 0: must be greater than zero"),
    (HPA, "spec.behavior.scaleUp.policies.0.periodSeconds", 1801, "Invalid value: 1801: must be less"),
    (HPA, "spec.metrics.0.type", "x", 'Unsupported value: "x": supported values: "ContainerRes'),
    (HPA, "spec.metrics.0.containerResource.container", GONE, "Required v"),
    (HPA, "spec.metrics.1.pods.metric.name", GONE, "Required value: must specify a me"),
    (HPA, "spec.metrics.1.pods.target.averageValue", GONE, "Required value: m"),
    (HPA, "spec.metrics.2.object.describedObject.kind", GONE, "Required"),
    (HPA, "spec.metrics.2.object.target.value", "0", "Invalid value: resource.Qua"),
    (HPA, "spec.metrics.3.external.target.value", GONE, "@spec.metrics[3].external.target.averageValue: Required val"),
    (JOB, "spec.managedBy", "x", 'Invalid value: "x": must be a domain-prefixed path (such as "acme.io'),
    (JOB, "spec.backoffLimitPerIndex", GONE, "Required value: when maxFailedIndexes is spe"),
    (JOB, "spec.maxFailedIndexes", 4, "Invalid value: 4: must be less than or equal to complet"),
    (JOB, "spec.podFailurePolicy.rules.0.onExitCodes.values", [2, 1], "Invalid value: []int32{2, 1}: must be"),
    (JOB, "spec.podFailurePolicy.rules.0.onExitCodes.operator", GONE, 'Required value: valid values: ["In"'),
    (JOB, "spec.podFailurePolicy.rules.1.onPodConditions", GONE, "@spec.podFailurePolicy.rules[1]: Invalid value: sp"),
    (JOB, "spec.successPolicy.rules.0.succeededIndexes", "0,0", 'Invalid value: "0,0": er'),
    (JOB, "spec.successPolicy.rules.0.succeededIndexes", "7", 'Invalid value: "7": error'),
    (JOB, "spec.successPolicy.rules.0.succeededCount", 3, "Invalid value: 3: must be less"),
    ("StorageClass", "allowedTopologies.0.matchLabelExpressions.0.values", ["b", "b"], "@allowedTopologies[0].matchL"),
    ("StorageClass", "allowedTopologies.0", {}, '@allowedTopologies[0].matchLabelExpressions: Duplicate value: ""'),
    ("CSIDriver", "spec.volumeLifecycleModes.0", "x", '@spec.volumeLifecycleModes: Unsupported value: "x": supported'),
    ("CSIDriver", "spec.fsGroupPolicy", "x", 'Unsupported value: "x": supported values: "File", "N'),
    ("CSIDriver", "spec.tokenRequests.0.expirationSeconds", 1, "Invalid value: 1"),
    ("CSINode", "spec.drivers.0.name", "", "Required value"),
    ("CSINode", "spec.drivers.0.nodeID", GONE, "Required value"),
    ("CSINode", "spec.drivers.0.allocatable.count", -1, "Invalid value: -1: must be g"),
    ("VolumeAttachment", "spec.source", {}, "Required value: must specify exactly one of inlineVolumeSpec "),
    ("VolumeAttachment", "spec.attacher", GONE, "Required value"),
    ("CSIStorageCapacity", "capacity", "-1", 'Invalid value: "-1": must be greater than or equal to 0'),
    (FLOW, "spec.matchingPrecedence", 1, "Invalid value: 1: only the schema named 'exempt' may"),
    (FLOW, "spec.distinguisherMethod.type", "x", "Unsupported value: flowcontrol.FlowDi"),
    (FLOW, "spec.priorityLevelConfiguration", {}, "@spec.priorityLevelConfiguration.name: Required value: must refer"),
    (FLOW, "spec.rules.0.subjects.0.user", GONE, "Required value: user is required"),
    (FLOW, "spec.rules.0.resourceRules.0.verbs", ["x"], "Unsupported value: []st"),
    (FLOW, "spec.rules.0.resourceRules.0.namespaces", GONE, "Required value"),
    (FLOW, "spec.rules.0.nonResourceRules.0.nonResourceURLs", ["a"], "@spec.rules[0].nonResourceRules[0].nonResource"),
    (LEVEL, "spec.type", "Exempt", "Invalid value: \"Exempt\": type must be 'Exempt' if and only if `name` is"),
    (LEVEL, "spec.limited", GONE, "Required value: must not be empty when type is Limited"),
    (LEVEL, "spec.limited.lendablePercent", 101, "Invalid value: 101: must be between 0"),
    (LEVEL, "spec.limited.limitResponse.queuing.handSize", 6, "Invalid value: 6: should not be greater than"),
    (LEVEL, "spec.limited.limitResponse.type", "Reject", "@spec.limited.limitResponse.queuing: Forbidden: must be ni"),
    ("IPAddress", "spec.parentRef.group", "A!", 'Invalid value: "A!": a lowercase RFC 1123 subdom'),
    ("Node", "spec.podCIDR", "x", '@spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value'),
    ("Event", "metadata.name", GONE, "Required value: name or generateName is required"),
    ("Pod", "spec.securityContext.windowsOptions.runAsUserName", "a\\b\\c", 'Invalid value: "a\\\\b\\\\c": runAsUser'),
    ("Pod", "spec.securityContext.windowsOptions.runAsUserName", "u" * 105, 'Invalid value: "uuu'),
    ("Pod", "spec.securityContext.windowsOptions.runAsUserName", "a.\\..", 'Invalid value: "a.\\\\..": runAsUserName'),
    ("Pod", "spec.securityContext.windowsOptions.gmsaCredentialSpec", "", 'Invalid value: "": gmsaCredentialSpec c'),
]
"""Kind, path of the field, its value, and how its finding begins: behind the field's own name, or whole after an @."""


def findings(kind: str, body: Obj) -> list[str]:
    resource = by_kind(body["apiVersion"], kind)
    assert resource is not None
    obj, _ = decoding.decode(orjson.dumps(body), resource, "Strict")
    obj["metadata"]["uid"] = "u"
    apply_defaults(obj)
    strategy.prepare_for_create(obj)
    return [one.message for one in validate_create(obj)]


def whole(kind: str) -> Obj:
    body = deepcopy(KINDS[kind])
    resource = by_kind(body["apiVersion"], kind)
    assert resource is not None
    meta: Obj = {"name": "a", **({"namespace": "default"} if resource.namespaced else {})}
    return {"kind": kind, "metadata": meta, **body}


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_may_be_set(kind: str) -> None:
    assert findings(kind, whole(kind)) == []


@pytest.mark.parametrize(("kind", "path", "value", "words"), WRONG)
def test_one_wrong_field_is_named(kind: str, path: str, value: Any, words: str) -> None:
    body = whole(kind)
    *above, last = (int(part) if part.isdigit() else part for part in path.split("."))
    at: Any = body
    for part in above:
        at = at[part]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    field = re.sub(r"[.]([0-9]+)", r"[\1]", path)
    begin = words[1:] if words.startswith("@") else f"{field}: {words}"
    assert any(one.startswith(begin) for one in findings(kind, body)), findings(kind, body)


def test_no_kind_is_without_a_wrong_field() -> None:
    assert {kind for kind, *_ in WRONG} == set(KINDS)
