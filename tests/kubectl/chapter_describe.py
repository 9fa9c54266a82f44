"""kubectl describe: every kind of a lab."""

from __future__ import annotations

from collections.abc import Callable

from tests.kubectl.chapter_workloads import WEB
from tests.kubectl.matrix import OLDEST, Chapter, Kubectl

MORE = """
---
apiVersion: v1
kind: Secret
metadata: {name: word}
stringData: {word: open}
---
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox, command: ["true"]}]}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ing}
spec:
  rules:
    - host: a.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: np}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}]}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: claim}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota}
spec: {hard: {secrets: "10"}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec: {limits: [{type: Container, max: {cpu: "2"}}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: sts}
spec:
  serviceName: web
  replicas: 0
  selector: {matchLabels: {app: sts}}
  template: {metadata: {labels: {app: sts}}, spec: {containers: [{name: c, image: busybox}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ds}
spec:
  selector: {matchLabels: {app: ds}}
  template: {metadata: {labels: {app: ds}}, spec: {nodeSelector: {no: such}, containers: [{name: c, image: busybox}]}}
"""


def _prepare(kubectl: Kubectl) -> None:
    kubectl.ok("apply -f -", WEB + MORE)
    kubectl.ok("rollout status deployment/web --timeout=60s")


DESCRIBE = Chapter("describe", _prepare)

# what → what it must print; since and everyday by the tables below
WANTED: dict[str, tuple[str, ...]] = {
    "pod -l app=web": (
        "Successfully assigned",
        "Started container web",
        "Controlled By:  ReplicaSet/web-",
        "ContainersReady ",
        "Port:          8080/TCP",
    ),
    "deployment web": ("2 desired | 2 updated | 2 total | 2 available | 0 unavailable", "ScalingReplicaSet"),
    "rs -l app=web": ("2 current / 2 desired", "SuccessfulCreate", "2 Running / 0 Waiting / 0 Succeeded / 0 Failed"),
    "service web": ("10.244.", ":8080", "Session Affinity:", "app=web"),
    "endpoints web": ("Subsets:", "8080"),
    "endpointslices -l kubernetes.io/service-name=web": ("AddressType:", "8080", "Ready:"),
    "node node": (
        "Non-terminated Pods:",
        "Allocated resources:",
        "PodCIDR:",
        "10.244.0.0/24",
        "KubeletReady",
        "RenewTime:",
        "192.168.0.",
    ),
    "configmap cm": ("a:\n----\nb",),
    "secret word": ("word:  4 bytes", "Opaque"),
    "serviceaccount default": ("Mountable secrets:",),
    "namespace {ns}": ("Active", "Resource Quotas", "Resource Limits"),
    "job job": ("Completions:", "busybox"),
    "ingress ing": ("a.com", "web:80 (10.244."),
    "networkpolicy np": ("app=web", "Allowing ingress traffic"),
    "pvc claim": ("claim",),
    "quota quota": ("Resource",),
    "limits limits": ("Container", "cpu"),
    "role reader": ("pods", "[get]"),
    "clusterrole view": ("configmaps", "[get list watch]"),
    "statefulset sts": ("0 desired | 0 total",),
    "daemonset ds": ("Desired Number of Nodes Scheduled: 0",),
    "lease -n kube-node-lease node": ("node",),
    "events": ("ScalingReplicaSet",),
    "priorityclass system-node-critical": ("2000001000",),
}
EVERYDAY = ("pod -l app=web", "deployment web", "service web", "node node", "configmap cm", "endpoints web")
SINCE = {
    # 1.20 asks for endpointslices discovery.k8s.io/v1beta1, gone since 1.25
    "endpointslices -l kubernetes.io/service-name=web": 27,
}


def _check(what: str, wanted: tuple[str, ...]) -> Callable[[Kubectl], None]:
    def check(kubectl: Kubectl) -> None:
        out = kubectl.ok(f"describe {what.replace('{ns}', kubectl.namespace)}")
        missing = [word for word in wanted if word not in out]
        assert not missing, f"describe {what}: {missing} not in\n{out}"

    return check


for _what, _wanted in WANTED.items():
    DESCRIBE.verb(f"describe {_what.split()[0]}", since=SINCE.get(_what, OLDEST), everyday=_what in EVERYDAY)(
        _check(_what, _wanted)
    )
