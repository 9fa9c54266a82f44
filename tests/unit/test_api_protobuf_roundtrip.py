"""Protobuf both ways: what the tests' encoder writes by the table of Go types, the decoder reads back."""

from typing import Any

import pytest
from api_protobuf_encoder import encode

from netlab.api import protobuf
from netlab.api.types import Obj

POD: Obj = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "p",
        "labels": {"a": "b", "empty": ""},
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}
        ],
        "managedFields": [{"manager": "m", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:nodeName": {}}}}],
    },
    "spec": {
        "volumes": [
            {"name": "e", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "c", "configMap": {"name": "x", "items": [{"key": "k", "path": "p", "mode": 256}]}},
        ],
        "containers": [
            {
                "name": "c",
                "image": "i",
                "args": ["a", ""],
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"cpu": "500m"}, "requests": {"memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 5},
                "readinessProbe": {"tcpSocket": {"port": 80}},
                "securityContext": {"runAsUser": 0, "privileged": False, "capabilities": {"add": ["NET_ADMIN"]}},
            }
        ],
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 300}],
    },
    "status": {},
}
EXTRA: list[Obj] = [
    POD,
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "n"},
        "spec": {
            "podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
            "ingress": [{"ports": [{"protocol": "TCP", "port": 80}], "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
            "policyTypes": ["Ingress"],
        },
    },
    {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "l"},
        "spec": {"holderIdentity": "h", "leaseDurationSeconds": 40, "renewTime": "2026-01-02T03:04:05.000006Z"},
    },
    {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {"user": "u", "groups": ["g"], "extra": {"scopes": ["a", "b"]}},
        "status": {"allowed": False},
    },
    {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "p"},
        "deleteOptions": {"gracePeriodSeconds": 0, "dryRun": ["All"]},
    },
    {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "x"},
        "spec": {
            "group": "e.com",
            "names": {"plural": "ws", "kind": "W"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "a": {"type": "array", "items": {"type": "string"}, "default": ["x"]},
                                "b": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0.5}},
                            },
                        }
                    },
                }
            ],
        },
        "status": {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []},
    },
]


def without_empty_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_empty_lists(v) for k, v in value.items() if v not in (None, [])}
    return [without_empty_lists(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("obj", EXTRA, ids=lambda obj: obj["kind"])
def test_objects_survive_the_wire(obj: Obj) -> None:
    assert without_empty_lists(protobuf.decode(encode(obj))) == without_empty_lists(obj)


def test_delete_options_are_one_kind_in_every_group() -> None:
    body = encode({"apiVersion": "meta/v1", "kind": "DeleteOptions", "propagationPolicy": "Orphan"})
    renamed = body.replace(b"\x0a\x07meta/v1", b"\x0a\x07apps/v1")
    assert protobuf.decode(renamed) == {
        "apiVersion": "apps/v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Orphan",
    }
