"""Rules that the recorded answers do not touch, as tables of one wrong thing and what is said about it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from netlab.api import decoding, strategy
from netlab.api.defaults import apply_defaults
from netlab.api.resources import by_kind
from netlab.api.types import Obj
from netlab.api.validation import names, validate_create
from netlab.api.validation.field import FieldError, aggregate, duplicate, invalid, not_supported, too_long, too_many
from netlab.api.validation.gofmt import GoSyntax, go_body
from netlab.apiserver.allocation.families import fill_families

META = {"name": "a", "namespace": "default"}


def findings(body: Obj) -> list[str]:
    resource = by_kind(body["apiVersion"], body["kind"])
    assert resource is not None
    obj, _ = decoding.decode(orjson.dumps(body), resource, "Strict")
    obj["metadata"]["uid"] = "u"
    apply_defaults(obj)
    strategy.prepare_for_create(obj)
    refused = fill_families(obj, None, ("IPv4",)) if obj["kind"] == "Service" else []
    return [one.message for one in refused or validate_create(obj)]


def pod(**spec: Any) -> Obj:
    containers = [{"name": "c", "image": "i"}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": META, "spec": {"containers": containers, **spec}}


def container(**fields: Any) -> Obj:
    return pod(containers=[{"name": "c", "image": "i", **fields}])


def service(**spec: Any) -> Obj:
    full = {"selector": {"a": "b"}, "ports": [{"port": 80}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": META, "spec": full}


def endpoints(address: str) -> Obj:
    subsets = [{"addresses": [{"ip": address}], "ports": [{"port": 80}]}]
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": META, "subsets": subsets}


PROBE = {"httpGet": {"port": 80}, "exec": {"command": ["x"]}}
GRACE = "must be non-negative and less than terminationGracePeriodSeconds (30)"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            pod(restartPolicy="Sometimes"),
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
        ),
        (pod(dnsPolicy="None"), "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
        (
            pod(hostAliases=[{"ip": "x"}]),
            'spec.hostAliases[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            pod(volumes=[{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "../x"}]}}]),
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
        ),
        (
            pod(tolerations=[{"operator": "Equal"}]),
            'spec.tolerations[0].operator: Invalid value: "Equal": operator must be '
            'Exists when `key` is empty, which means "match all values and all keys"',
        ),
        (
            pod(activeDeadlineSeconds=0),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (
            container(livenessProbe=PROBE),
            "spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
        ),
        (
            container(readinessProbe={}),
            "spec.containers[0].readinessProbe: Required value: must specify a handler type",
        ),
        (
            container(lifecycle={"preStop": {"sleep": {"seconds": 31}}}),
            f"spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: {GRACE}",
        ),
        (
            container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            container(resources={"limits": {"gpu": "1"}}),
            'spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": '
            "must be a standard resource type or fully qualified",
        ),
        (
            container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]),
            'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x": error converting '
            "fieldPath: field label not supported: spec.x",
        ),
        (
            container(ports=[{"containerPort": 1, "name": "no--port"}]),
            'spec.containers[0].ports[0].name: Invalid value: "no--port": must not contain consecutive hyphens',
        ),
        (
            container(image=" i"),
            'spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace',
        ),
        (service(type="ExternalName"), "spec.externalName: Required value"),
        (
            service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 0}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less "
            "than 86400",
        ),
        (
            service(externalIPs=["127.0.0.1"]),
            'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
        ),
        (
            service(ipFamilyPolicy="RequireDualStack"),
            'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster '
            "is not configured for dual-stack services",
        ),
        (
            service(ports=[{"port": 80, "nodePort": 30000}]),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            endpoints("169.254.1.1"),
            'subsets[0].addresses[0].ip: Invalid value: "169.254.1.1": may not be in the link-local '
            "range (169.254.0.0/16, fe80::/10)",
        ),
        (
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": META,
                "addressType": "IPv6",
                "endpoints": [{"addresses": ["10.0.0.1"]}],
                "ports": None,
            },
            'endpoints[0].addresses[0]: Invalid value: "10.0.0.1": must be an IPv6 address',
        ),
        (
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": META,
                "spec": {"leaseDurationSeconds": 0},
            },
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            {"apiVersion": "v1", "kind": "Event", "metadata": META, "involvedObject": {"namespace": "b"}},
            'involvedObject.namespace: Invalid value: "b": does not match event.namespace',
        ),
        (
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": "n"},
                "spec": {"taints": [{"key": "a", "effect": "X"}]},
            },
            'metadata.taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", '
            '"NoExecute"',
        ),
        (
            {"apiVersion": "v1", "kind": "Secret", "metadata": META, "type": "kubernetes.io/tls"},
            "data[tls.crt]: Required value",
        ),
        (
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a.b"}},
            'metadata.name: Invalid value: "a.b": must not contain dots',
        ),
    ],
)
def test_one_wrong_thing_and_what_is_said_first(body: Obj, words: str) -> None:
    assert findings(body)[0] == words


@pytest.mark.parametrize(
    "body",
    [
        pod(hostNetwork=True, containers=[{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]),
        pod(
            initContainers=[
                {"name": "s", "image": "i", "restartPolicy": "Always", "startupProbe": {"grpc": {"port": 1}}}
            ]
        ),
        service(clusterIP="None", ports=None),
        service(type="LoadBalancer"),
        {"apiVersion": "v1", "kind": "Event", "metadata": META, "involvedObject": {"namespace": "default"}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}},
    ],
)
def test_what_is_right_is_let_through(body: Obj) -> None:
    assert findings(body) == []


def test_messages_are_upstreams() -> None:
    assert invalid("a.b", "x\n", "bad").message == r'a.b: Invalid value: "x\n": bad'
    assert invalid("a", None, "bad").message == 'a: Invalid value: "null": bad'
    assert duplicate("a", 5).message == "a: Duplicate value: 5"
    assert not_supported("a", "x", ("A", "B")).message == 'a: Unsupported value: "x": supported values: "A", "B"'
    assert too_long("a", 5).message == "a: Too long: may not be more than 5 bytes"
    assert too_many("a", 3, 2).message == "a: Too many: 3: must have at most 2 items"
    assert FieldError("FieldValueRequired", "a").cause() == {
        "reason": "FieldValueRequired",
        "message": "Required value",
        "field": "a",
    }


def test_several_findings_make_one_message_without_repeats() -> None:
    one, two = invalid("a", 1, "x"), invalid("b", 2, "y")
    assert aggregate([one]) == "a: Invalid value: 1: x"
    assert aggregate([one, two, one]) == "[a: Invalid value: 1: x, b: Invalid value: 2: y]"


def test_values_print_in_go_syntax() -> None:
    assert go_body({"b": "1", "a": "2"}) == 'map[string]string{"a":"2", "b":"1"}'
    assert go_body(["x"]) == '[]string{"x"}'
    assert go_body(GoSyntax("core.X{}")) == "core.X{}"
    assert go_body(True) == "true"


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (names.dns_label, ["a", "a-1", "1"], ["", "A", "-a", "a.b", "a" * 64]),
        (names.dns_subdomain, ["a.b", "1.2"], ["", "a..b", "A.b", "a_b"]),
        (names.dns_1035_label, ["a", "a-1"], ["1a", "a.b", ""]),
        (names.qualified_name, ["a", "a.b/c_d", "A"], ["", "/a", "a/", "a/b/c", "a b"]),
        (names.label_value, ["", "a_b.C-1"], ["-a", "a b", "a" * 64]),
        (names.config_map_key, ["a.b", "_", "..a.b"[1:]], ["", "..", ".", "..a", "a b"]),
        (names.port_name, ["http", "a1"], ["", "1", "-a", "a--b", "a" * 16]),
        (names.percent, ["1%"], ["1", "%", "a%"]),
    ],
)
def test_forms_of_names(rule: Any, good: list[str], bad: list[str]) -> None:
    assert [one for one in good if rule(one)] == []
    assert [one for one in bad if not rule(one)] == []


def test_a_generated_name_may_end_in_a_dash() -> None:
    body = pod()
    body["metadata"] = {"generateName": "web-", "name": "web-x", "namespace": "default"}
    assert findings(body) == []


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ({}, None),
        ({"externalIPs": ["203.0.113.250"]}, "Cluster"),
        ({"type": "NodePort"}, "Cluster"),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}, "Local"),
        ({"type": "ExternalName", "externalIPs": ["203.0.113.250"]}, None),
    ],
)
def test_a_service_that_is_reached_from_outside_has_an_external_policy(spec: Obj, policy: str | None) -> None:
    obj = service(**spec)
    apply_defaults(obj)
    assert obj["spec"].get("externalTrafficPolicy") == policy
