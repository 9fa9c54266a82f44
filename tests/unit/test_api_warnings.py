"""Warnings beside the answer: upstream's words, case by case."""

import base64
from typing import Any

import pytest

from netlab.api import warnings
from netlab.api.types import Obj
from netlab.api.warnings import addresses, finalizers, tls


def _pod(metadata: Obj | None = None, container: Obj | None = None, **spec: Any) -> Obj:
    containers = spec.pop("containers", None) or [{"name": "c", "image": "i", **(container or {})}]
    return {"kind": "Pod", "metadata": {"name": "p", **(metadata or {})}, "spec": {"containers": containers, **spec}}


def _ports(*lists: list[Obj]) -> list[Obj]:
    return [{"name": f"c{i}", "ports": ports} for i, ports in enumerate(lists)]


NULL_SELECTOR = "a null labelSelector results in matching no pod"
PODS: list[tuple[Obj, list[str]]] = [
    (_pod(), []),
    (
        _pod({"name": "a.b"}),
        [
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label "
            "is recommended: [must not contain dots]"
        ],
    ),
    (
        _pod(nodeSelector={"beta.kubernetes.io/os": "linux"}),
        ['spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead'],
    ),
    (
        _pod(topologySpreadConstraints=[{"topologyKey": "kubernetes.io/hostname"}]),
        [f"spec.topologySpreadConstraints[0].labelSelector: {NULL_SELECTOR}"],
    ),
    (
        _pod(affinity={"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}]}}),
        [
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm."
            f"labelSelector: {NULL_SELECTOR}"
        ],
    ),
    (
        _pod({"annotations": {"scheduler.alpha.kubernetes.io/critical-pod": ""}}),
        [
            "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: "
            'non-functional in v1.16+; use the "priorityClassName" field instead'
        ],
    ),
    (_pod(volumes=[{"name": "v", "gitRepo": {}}]), ["spec.volumes[0].gitRepo: deprecated in v1.11"]),
    (
        _pod(volumes=[{"name": "v", "configMap": {"name": "m", "items": [{"path": "a"}, {"path": "a/b"}]}}]),
        ['volume "v" (ConfigMap "m"): overlapping paths: "a/b" with "a"'],
    ),
    (
        _pod(
            volumes=[
                {
                    "name": "v",
                    "projected": {
                        "sources": [
                            {"secret": {"name": "s", "items": [{"path": "token"}]}},
                            {"serviceAccountToken": {"path": "token"}},
                        ]
                    },
                }
            ]
        ),
        ['volume "v" (Projected ServiceAccountToken): overlapping paths: "token" with "token"'],
    ),
    (
        _pod(hostAliases=[{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}], imagePullSecrets=[{"name": "a"}, {"name": "a"}, {}]),
        [
            'spec.hostAliases[1].ip: duplicate ip "10.0.0.1"',
            'spec.imagePullSecrets[1].name: duplicate name "a"',
            'spec.imagePullSecrets[2].name: invalid empty name ""',
        ],
    ),
    (
        _pod(container={"resources": {"limits": {"memory": "100m"}}}),
        [
            'spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer',
        ],
    ),
    (
        _pod(container={"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A"}]}),
        ['spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply'],
    ),
    (
        _pod(containers=_ports([{"containerPort": 80, "name": "w"}], [{"containerPort": 80, "name": "w"}])),
        [
            "spec.containers[1].ports[0]: duplicate port definition with spec.containers[0].ports[0]",
            'spec.containers[1].ports[0]: duplicate port name "w" with spec.containers[0].ports[0], services and '
            "probes that select ports by name will use spec.containers[0].ports[0]",
        ],
    ),
    (
        _pod(containers=_ports([{"containerPort": 80, "hostPort": 80}], [{"containerPort": 80}])),
        ["spec.containers[1].ports[0]: overlapping port definition with spec.containers[0].ports[0]"],
    ),
    (
        _pod(
            containers=_ports(
                [
                    {"containerPort": 80, "hostPort": 80, "protocol": "TCP"},
                    {"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1", "protocol": "TCP"},
                    {"containerPort": 81, "hostIP": "10.0.0.1", "protocol": "TCP"},
                ]
            )
        ),
        [
            "spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]",
            "spec.containers[0].ports[2]: hostIP set without hostPort: "
            "{Name: HostPort:0 ContainerPort:81 Protocol:TCP HostIP:10.0.0.1}",
        ],
    ),
    (
        _pod(terminationGracePeriodSeconds=-1),
        [
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
        ],
    ),
]


@pytest.mark.parametrize(("pod", "said"), PODS, ids=range(len(PODS)))
def test_a_pod_is_warned_of(pod: Obj, said: list[str]) -> None:
    assert warnings.on_create(pod) == said


def test_templates_are_named_by_their_path_and_only_what_people_change_is_told_again() -> None:
    template = _pod(terminationGracePeriodSeconds=-1)
    why = "must be >= 0; negative values are invalid and will be treated as 1"
    old = {"kind": "Deployment", "metadata": {"name": "d", "generation": 1}, "spec": {"template": template}}
    new = {**old, "metadata": {"name": "d", "generation": 2}}
    said = [f"spec.template.spec.terminationGracePeriodSeconds: {why}"]
    assert (warnings.on_create(old), warnings.on_change(new, old), warnings.on_change(old, old)) == (said, said, [])
    assert warnings.on_change(template, _pod()) == []
    cron = {"kind": "CronJob", "metadata": {"name": "j"}, "spec": {"jobTemplate": {"spec": {"template": template}}}}
    assert warnings.on_create(cron) == [
        f"spec.jobTemplate.spec.template.spec.terminationGracePeriodSeconds: {why}",
    ]


LATER = "will be considered invalid in a future Kubernetes release"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1", []),
        ("2001:db8::1", []),
        ("010.0.0.1", [f'f: non-standard IP address "010.0.0.1" {LATER}: use "10.0.0.1"']),
        ("::ffff:10.0.0.1", [f'f: non-standard IP address "::ffff:10.0.0.1" {LATER}: use "10.0.0.1"']),
        ("2001:DB8::1", ['f: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")']),
    ],
)
def test_addresses_in_other_forms(text: str, said: list[str]) -> None:
    assert addresses.of_ip("f", text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.0/8", []),
        (
            "10.1.0.0/8",
            ['f: CIDR value "10.1.0.0/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.1.0.0/32"?)'],
        ),
        ("010.0.0.0/8", [f'f: non-standard CIDR value "010.0.0.0/8" {LATER}: use "10.0.0.0/8"']),
        ("::ffff:10.0.0.0/104", [f'f: non-standard CIDR value "::ffff:10.0.0.0/104" {LATER}: use "10.0.0.0/8"']),
        ("FD00::/8", ['f: IPv6 CIDR value "FD00::/8" should be in RFC 5952 canonical format ("fd00::/8")']),
    ],
)
def test_ranges_in_other_forms(text: str, said: list[str]) -> None:
    assert addresses.of_cidr("f", text) == said


def _pem(kind: str) -> str:
    return base64.b64encode(f"-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n".encode()).decode()


KINDS: list[tuple[Obj, list[str]]] = [
    (
        {"kind": "PersistentVolume", "spec": {"persistentVolumeReclaimPolicy": "Recycle"}},
        [
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
            "Instead, the recommended approach is to use dynamic provisioning."
        ],
    ),
    (
        {"kind": "PersistentVolumeClaim", "spec": {"resources": {"requests": {"storage": "1500m"}}}},
        ['spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer'],
    ),
    (
        {
            "kind": "Service",
            "spec": {
                "type": "ClusterIP",
                "clusterIPs": ["None"],
                "externalIPs": ["1.2.3.4"],
                "sessionAffinity": "ClientIP",
            },
        },
        [
            "spec.externalIPs is ignored for headless services",
            "spec.SessionAffinity is ignored for headless services",
        ],
    ),
    (
        {"kind": "Service", "spec": {"type": "ClusterIP", "sessionAffinity": "None", "externalName": "a.b"}},
        ['spec.externalName is ignored when spec.type is not "ExternalName"'],
    ),
    (
        {"kind": "Ingress", "metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}, "spec": {}},
        ["annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"],
    ),
    (
        {"kind": "ServiceAccount", "metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}},
        [
            "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: "
            "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        ],
    ),
    (
        {"kind": "NetworkPolicy", "spec": {"egress": [{"to": [{}, {"ipBlock": {"cidr": "10.0.0.1/8"}}]}]}},
        [
            'spec.egress[0].to[1].ipBlock.cidr: CIDR value "10.0.0.1/8" is ambiguous in this context '
            '(should be "10.0.0.0/8" or "10.0.0.1/32"?)'
        ],
    ),
    ({"kind": "EndpointSlice", "addressType": "FQDN"}, ["addressType: FQDN endpoints are deprecated"]),
    ({"kind": "ConfigMap", "data": {}}, []),
    (
        {"kind": "Secret", "type": "kubernetes.io/tls", "data": {"tls.crt": _pem("CERTIFICATE"), "tls.key": ""}},
        ["tls: failed to find any PEM data in key input"],
    ),
]


@pytest.mark.parametrize(("obj", "said"), KINDS, ids=[f"{obj['kind']}-{i}" for i, (obj, _) in enumerate(KINDS)])
def test_an_object_is_warned_of(obj: Obj, said: list[str]) -> None:
    obj = {"metadata": {"name": "x"}, **obj}
    assert warnings.on_create(obj) == said
    kept = obj["kind"] in ("Ingress", "ServiceAccount")
    assert warnings.on_change(obj, obj) == ([] if kept else said)


def test_a_pair_of_key_and_certificate() -> None:
    key, certificate = _pem("PRIVATE KEY"), _pem("CERTIFICATE")
    assert tls.of_pair("", key) == "tls: failed to find any PEM data in certificate input"
    assert "PEM inputs may have been switched" in tls.of_pair(key, certificate)
    assert tls.of_pair(certificate, key) == "x509: malformed certificate"


def test_finalizers_of_custom_objects() -> None:
    def given(*names: str) -> Obj:
        return {"metadata": {"finalizers": list(names)}}

    why = "prefer a domain-qualified finalizer name including a path (/)"
    assert finalizers.added(given("a.example/b", "orphan"), None) == []
    (said,) = finalizers.added(given("old.example", "new.example"), given("old.example"))
    assert said.startswith(f'metadata.finalizers: "new.example": {why}')
