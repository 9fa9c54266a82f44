"""The roles of upstream's controllers, `system:controller:*`, each bound to a service account of kube-system.

netlab's own controllers share one identity; these are for a real kube-controller-manager in their place, and for
whoever looks. Source followed: bootstrappolicy/controller_policy.go of 1.33, with its default feature gates.
"""

from netlab.apiserver.authz.policy_rule import EVENTS, READ, Rule

PREFIX = "system:controller:"
_APPS = "apps extensions"
_CERTIFICATES, _DISCOVERY, _NET = "certificates.k8s.io", "discovery.k8s.io", "networking.k8s.io"
_STORAGE = "storage.k8s.io"
_SIGNERS = " ".join(
    f"kubernetes.io/{signer}"
    for signer in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")
)

ROLES: dict[str, tuple[Rule, ...]] = {
    "attachdetach-controller": (
        Rule("list watch", "core", "persistentvolumeclaims persistentvolumes"),
        Rule(READ, "core", "nodes"),
        Rule("patch update", "core", "nodes/status"),
        Rule("list watch", "core", "pods"),
        EVENTS,
        Rule("create delete get list watch", _STORAGE, "volumeattachments"),
        Rule(READ, _STORAGE, "csidrivers"),
        Rule(READ, _STORAGE, "csinodes"),
    ),
    "clusterrole-aggregation-controller": (
        Rule("escalate get list patch update watch", "rbac.authorization.k8s.io", "clusterroles"),
    ),
    "cronjob-controller": (
        Rule("get list update watch", "batch", "cronjobs"),
        Rule("create delete get list patch update watch", "batch", "jobs"),
        Rule("update", "batch", "cronjobs/status"),
        Rule("update", "batch", "cronjobs/finalizers"),
        Rule("delete list watch", "core", "pods"),
        EVENTS,
    ),
    "daemon-set-controller": (
        Rule(READ, _APPS, "daemonsets"),
        Rule("update", _APPS, "daemonsets/status"),
        Rule("update", _APPS, "daemonsets/finalizers"),
        Rule("list watch", "core", "nodes"),
        Rule("create delete list patch watch", "core", "pods"),
        Rule("create", "core", "pods/binding"),
        Rule("create delete get list patch update watch", "apps", "controllerrevisions"),
        EVENTS,
    ),
    "deployment-controller": (
        Rule("get list update watch", _APPS, "deployments"),
        Rule("update", _APPS, "deployments/status"),
        Rule("update", _APPS, "deployments/finalizers"),
        Rule("create delete get list patch update watch", _APPS, "replicasets"),
        Rule("get list update watch", "core", "pods"),
        EVENTS,
    ),
    "disruption-controller": (
        Rule(READ, _APPS, "deployments"),
        Rule(READ, _APPS, "replicasets"),
        Rule(READ, "core", "replicationcontrollers"),
        Rule(READ, "policy", "poddisruptionbudgets"),
        Rule(READ, "apps", "statefulsets"),
        Rule("update", "policy", "poddisruptionbudgets/status"),
        Rule("patch update", "core", "pods/status"),
        Rule("get", "*", "*/scale"),
        EVENTS,
    ),
    "endpoint-controller": (
        Rule(READ, "core", "pods services"),
        Rule("create delete get list update watch", "core", "endpoints"),
        Rule("create", "core", "endpoints/restricted"),
        EVENTS,
    ),
    "endpointslice-controller": (
        Rule(READ, "core", "nodes pods services"),
        Rule("update", "core", "services/finalizers"),
        Rule("create delete get list update watch", _DISCOVERY, "endpointslices"),
        EVENTS,
    ),
    "endpointslicemirroring-controller": (
        Rule(READ, "core", "endpoints services"),
        Rule("update", "core", "services/finalizers"),
        Rule("update", "core", "endpoints/finalizers"),
        Rule("create delete get list update watch", _DISCOVERY, "endpointslices"),
        EVENTS,
    ),
    "expand-controller": (
        Rule("get list patch update watch", "core", "persistentvolumes"),
        Rule("patch update", "core", "persistentvolumeclaims/status"),
        Rule(READ, "core", "persistentvolumeclaims"),
        EVENTS,
        Rule("get", "core", "services"),
    ),
    "ephemeral-volume-controller": (
        Rule(READ, "core", "pods"),
        Rule("update", "core", "pods/finalizers"),
        Rule("create get list watch", "core", "persistentvolumeclaims"),
        EVENTS,
    ),
    "generic-garbage-collector": (Rule("delete get list patch update watch", "*", "*"), EVENTS),
    "horizontal-pod-autoscaler": (
        Rule(READ, "autoscaling", "horizontalpodautoscalers"),
        Rule("update", "autoscaling", "horizontalpodautoscalers/status"),
        Rule("get update", "*", "*/scale"),
        Rule("list watch", "core", "pods"),
        Rule("list watch", "metrics.k8s.io", "pods"),
        Rule(READ, "custom.metrics.k8s.io", "*"),
        Rule(READ, "external.metrics.k8s.io", "*"),
        EVENTS,
    ),
    "job-controller": (
        Rule("get list patch update watch", "batch", "jobs"),
        Rule("update", "batch", "jobs/status"),
        Rule("update", "batch", "jobs/finalizers"),
        Rule("create delete list patch watch", "core", "pods"),
        EVENTS,
    ),
    "namespace-controller": (
        Rule("delete get list watch", "core", "namespaces"),
        Rule("update", "core", "namespaces/finalize namespaces/status"),
        Rule("delete deletecollection get list watch", "*", "*"),
    ),
    "node-controller": (
        Rule("delete get list patch update watch", "core", "nodes"),
        Rule("patch update", "core", "nodes/status"),
        Rule("patch update", "core", "pods/status"),
        Rule("delete get list watch", "core", "pods"),
        EVENTS,
    ),
    "persistent-volume-binder": (
        Rule("create delete get list update watch", "core", "persistentvolumes"),
        Rule("update", "core", "persistentvolumes/status"),
        Rule("get list update watch", "core", "persistentvolumeclaims"),
        Rule("update", "core", "persistentvolumeclaims/status"),
        Rule("create delete get list watch", "core", "pods"),
        Rule(READ, _STORAGE, "storageclasses"),
        Rule("list watch", "core", "nodes"),
        EVENTS,
        Rule("watch", "core", "events"),
        Rule("get", "core", "services"),
    ),
    "pod-garbage-collector": (
        Rule("delete list watch", "core", "pods"),
        Rule(READ, "core", "nodes"),
        Rule("patch", "core", "pods/status"),
    ),
    "replicaset-controller": (
        Rule("get list update watch", _APPS, "replicasets"),
        Rule("update", _APPS, "replicasets/status"),
        Rule("update", _APPS, "replicasets/finalizers"),
        Rule("create delete list patch watch", "core", "pods"),
        EVENTS,
    ),
    "replication-controller": (
        Rule("get list update watch", "core", "replicationcontrollers"),
        Rule("update", "core", "replicationcontrollers/status"),
        Rule("update", "core", "replicationcontrollers/finalizers"),
        Rule("create delete list patch watch", "core", "pods"),
        EVENTS,
    ),
    "resourcequota-controller": (
        Rule("list watch", "*", "*"),
        Rule("update", "core", "resourcequotas/status"),
        EVENTS,
    ),
    "route-controller": (
        Rule("list watch", "core", "nodes"),
        Rule("patch", "core", "nodes/status"),
        EVENTS,
    ),
    "service-account-controller": (Rule("create", "core", "serviceaccounts"), EVENTS),
    "service-controller": (
        Rule(READ, "core", "services"),
        Rule("patch update", "core", "services/status"),
        Rule("list watch", "core", "nodes"),
        EVENTS,
    ),
    "service-cidrs-controller": (
        Rule("get list patch update watch", _NET, "servicecidrs"),
        Rule("patch update", _NET, "servicecidrs/finalizers"),
        Rule("patch update", _NET, "servicecidrs/status"),
        Rule(READ, _NET, "ipaddresses"),
        EVENTS,
    ),
    "statefulset-controller": (
        Rule("list watch", "core", "pods"),
        Rule(READ, "apps", "statefulsets"),
        Rule("update", "apps", "statefulsets/status"),
        Rule("update", "apps", "statefulsets/finalizers"),
        Rule("create delete get patch update", "core", "pods"),
        Rule("create delete get list patch update watch", "apps", "controllerrevisions"),
        Rule("create get list watch", "core", "persistentvolumeclaims"),
        Rule("delete update", "core", "persistentvolumeclaims"),
        Rule("update", "core", "pods/finalizers"),
        EVENTS,
    ),
    "ttl-controller": (Rule("list patch update watch", "core", "nodes"), EVENTS),
    "certificate-controller": (
        Rule("delete get list watch", _CERTIFICATES, "certificatesigningrequests"),
        Rule("update", _CERTIFICATES, "certificatesigningrequests/approval certificatesigningrequests/status"),
        Rule("approve", _CERTIFICATES, "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
        Rule("sign", _CERTIFICATES, "signers", _SIGNERS),
        Rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        EVENTS,
    ),
    "pvc-protection-controller": (
        Rule("get list update watch", "core", "persistentvolumeclaims"),
        Rule(READ, "core", "pods"),
        EVENTS,
    ),
    "pv-protection-controller": (Rule("get list update watch", "core", "persistentvolumes"), EVENTS),
    "ttl-after-finished-controller": (Rule("delete get list watch", "batch", "jobs"), EVENTS),
    "root-ca-cert-publisher": (Rule("create update", "core", "configmaps"), EVENTS),
    "validatingadmissionpolicy-status-controller": (
        Rule(READ, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
        Rule("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"),
        EVENTS,
    ),
    "legacy-service-account-token-cleaner": (
        Rule("get", "core", "configmaps", "kube-apiserver-legacy-service-account-token-tracking"),
        Rule("delete patch", "core", "secrets"),
    ),
    "selinux-warning-controller": (
        EVENTS,
        Rule(READ, "core", "persistentvolumes"),
        Rule(READ, "core", "persistentvolumeclaims"),
        Rule(READ, "core", "pods"),
        Rule(READ, _STORAGE, "csidrivers"),
    ),
}
"""Controller → rules, in upstream's order."""
