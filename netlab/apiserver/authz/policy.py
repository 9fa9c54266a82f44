"""The roles and bindings that every cluster has, as tables.

Source followed: plugin/pkg/auth/authorizer/rbac/bootstrappolicy (policy.go), and kubeadm's for CoreDNS and its
administrators. Rows that are netlab's own say so: its controllers and its node agents each run as one identity.
"""

from netlab.api.types import Obj
from netlab.apiserver.authz import controller_policy, namespace_policy
from netlab.apiserver.authz.policy_rule import ALL, EVENTS, READ, WRITE, Rule, binding, role, subject

_RBAC, _AUTHZ, _AUTHN = "rbac.authorization.k8s.io", "authorization.k8s.io", "authentication.k8s.io"
_NET, _STORAGE, _LEASES = "networking.k8s.io", "storage.k8s.io", "coordination.k8s.io"
_REQUESTS = "system:certificates.k8s.io:certificatesigningrequests"
_EDIT, _VIEW, _ADMIN = (f"rbac.authorization.k8s.io/aggregate-to-{name}" for name in ("edit", "view", "admin"))

BOOTSTRAPPERS = "system:bootstrappers:kubeadm:default-node-token"
_DISCOVERY = "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"

_ISSUER = "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/"

_VIEW_RULES = (
    Rule(
        READ,
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status",
    ),
    Rule(
        READ,
        "core",
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        "resourcequotas resourcequotas/status",
    ),
    Rule(READ, "core", "namespaces"),
    Rule(READ, "discovery.k8s.io", "endpointslices"),
    Rule(
        READ,
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
        "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    ),
    Rule(READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
    Rule(READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
    Rule(
        READ,
        "extensions",
        "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status "
        "networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
    ),
    Rule(READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    Rule(READ, _NET, "ingresses ingresses/status networkpolicies"),
)
_EDIT_RULES = (
    Rule(READ, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    Rule("impersonate", "core", "serviceaccounts"),
    Rule(WRITE, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    Rule("create", "core", "pods/eviction"),
    Rule(
        WRITE,
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy",
    ),
    Rule("create", "core", "serviceaccounts/token"),
    Rule(
        WRITE,
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
        "statefulsets/scale",
    ),
    Rule(WRITE, "autoscaling", "horizontalpodautoscalers"),
    Rule(WRITE, "batch", "cronjobs jobs"),
    Rule(
        WRITE,
        "extensions",
        "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets "
        "replicasets/scale replicationcontrollers/scale",
    ),
    Rule(WRITE, "policy", "poddisruptionbudgets"),
    Rule(WRITE, _NET, "ingresses networkpolicies"),
    Rule(ALL, _LEASES, "leases"),
)
_ADMIN_RULES = (
    Rule("create", _AUTHZ, "localsubjectaccessreviews"),
    Rule(ALL, _RBAC, "rolebindings roles"),
)
NODE_RULES = (
    Rule("create", _AUTHN, "tokenreviews"),
    Rule("create", _AUTHZ, "localsubjectaccessreviews subjectaccessreviews"),
    Rule(READ, "core", "services"),
    Rule("create get list watch", "core", "nodes"),
    Rule("patch update", "core", "nodes/status"),
    Rule("patch update", "core", "nodes"),
    Rule("create patch update", "core", "events"),
    Rule(READ, "core", "pods"),
    Rule("create delete", "core", "pods"),
    Rule("patch update", "core", "pods/status"),
    Rule("create", "core", "pods/eviction"),
    Rule(READ, "core", "configmaps secrets"),
    Rule("get", "core", "persistentvolumeclaims persistentvolumes"),
    Rule("get", "core", "endpoints"),
    Rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
    Rule("create delete get patch update", _LEASES, "leases"),
    Rule("get", _STORAGE, "volumeattachments"),
    Rule("get patch update", "core", "persistentvolumeclaims/status"),
    Rule("create", "core", "serviceaccounts/token"),
    Rule(READ, _STORAGE, "csidrivers"),
    Rule("create delete get patch update", _STORAGE, "csinodes"),
    Rule(READ, "node.k8s.io", "runtimeclasses"),
)
_PROXY_RULES = (
    Rule("list watch", "core", "endpoints services"),
    Rule(READ, "core", "nodes"),
    EVENTS,
    Rule("list watch", _NET, "servicecidrs"),
    Rule("list watch", "discovery.k8s.io", "endpointslices"),
)
_SCHEDULER_RULES = (
    EVENTS,
    Rule("create", _LEASES, "leases"),
    Rule("get update", _LEASES, "leases", "kube-scheduler"),
    Rule(READ, "core", "nodes"),
    Rule("delete get list watch", "core", "pods"),
    Rule("create", "core", "bindings pods/binding"),
    Rule("patch update", "core", "pods/status"),
    Rule(READ, "core", "replicationcontrollers services"),
    Rule(READ, "apps extensions", "replicasets"),
    Rule(READ, "apps", "statefulsets"),
    Rule(READ, "policy", "poddisruptionbudgets"),
    Rule(READ, "core", "persistentvolumeclaims persistentvolumes"),
    Rule("create", _AUTHN, "tokenreviews"),
    Rule("create", _AUTHZ, "subjectaccessreviews"),
    Rule(READ, _STORAGE, "csinodes"),
    Rule(READ, "core", "namespaces"),
    Rule(READ, _STORAGE, "csidrivers"),
    Rule(READ, _STORAGE, "csistoragecapacities"),
    Rule(READ, _STORAGE, "volumeattachments"),
)
_MANAGER_RULES = (
    EVENTS,
    Rule("create", _LEASES, "leases"),
    Rule("get update", _LEASES, "leases", "kube-controller-manager"),
    Rule("create", "core", "secrets serviceaccounts"),
    Rule("delete", "core", "secrets"),
    Rule("get", "core", "configmaps namespaces secrets serviceaccounts"),
    Rule("update", "core", "secrets serviceaccounts"),
    Rule("create", _AUTHN, "tokenreviews"),
    Rule("create", _AUTHZ, "subjectaccessreviews"),
    Rule("list watch", "*", "*"),
    Rule("create", "core", "serviceaccounts/token"),
)
# netlab's controllers share one identity, where upstream gives each a service account of its own
_CONTROLLER_RULES = (
    Rule("get list watch create update patch delete deletecollection", "*", "*"),
    Rule("get", paths="/metrics /healthz"),
    Rule("approve sign", "certificates.k8s.io", "signers"),
    Rule("escalate", "rbac.authorization.k8s.io", "clusterroles"),
)

CLUSTER_ROLES: dict[str, tuple[Rule, ...]] = {
    "cluster-admin": (Rule("*", "*", "*"), Rule("*", paths="*")),
    "system:discovery": (Rule("get", paths=_DISCOVERY),),
    "system:monitoring": (
        Rule("get", paths="/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),
    ),
    "system:basic-user": (
        Rule("create", _AUTHZ, "selfsubjectaccessreviews selfsubjectrulesreviews"),
        Rule("create", _AUTHN, "selfsubjectreviews"),
    ),
    "system:public-info-viewer": (Rule("get", paths="/healthz /livez /readyz /version /version/"),),
    "system:service-account-issuer-discovery": (Rule("get", paths=_ISSUER),),
    "system:node": NODE_RULES,
    "system:node-proxier": _PROXY_RULES,
    "system:kubelet-api-admin": (
        Rule(READ, "core", "nodes"),
        Rule("proxy", "core", "nodes"),
        Rule("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
        Rule("*", "core", "nodes/configz nodes/healthz nodes/pods"),
    ),
    "system:heapster": (
        Rule(READ, "core", "events namespaces nodes pods"),
        Rule(READ, "extensions", "deployments"),
    ),
    "system:node-problem-detector": (
        Rule("get", "core", "nodes"),
        Rule("patch", "core", "nodes/status"),
        EVENTS,
    ),
    "system:persistent-volume-provisioner": (
        Rule("create delete get list watch", "core", "persistentvolumes"),
        Rule("get list update watch", "core", "persistentvolumeclaims"),
        Rule(READ, _STORAGE, "storageclasses"),
        Rule("watch", "core", "events"),
        EVENTS,
    ),
    "system:node-bootstrapper": (Rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),),
    f"{_REQUESTS}:nodeclient": (Rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),),
    f"{_REQUESTS}:selfnodeclient": (
        Rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),
    ),
    **{
        f"system:certificates.k8s.io:{signer}-approver": (
            Rule("approve", "certificates.k8s.io", "signers", f"kubernetes.io/{signer}"),
        )
        for signer in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")
    },
    "system:auth-delegator": (
        Rule("create", _AUTHN, "tokenreviews"),
        Rule("create", _AUTHZ, "subjectaccessreviews"),
    ),
    "system:kube-aggregator": (Rule(READ, "core", "endpoints services"),),
    "system:kube-controller-manager": _MANAGER_RULES,
    "system:kube-scheduler": _SCHEDULER_RULES,
    "system:kube-dns": (Rule("list watch", "core", "endpoints services"),),
    "system:volume-scheduler": (
        Rule("get list patch update watch", "core", "persistentvolumes"),
        Rule(READ, _STORAGE, "storageclasses"),
        Rule("get list patch update watch", "core", "persistentvolumeclaims"),
    ),
    "system:coredns": (
        Rule("list watch", "core", "endpoints services pods namespaces"),
        Rule("list watch", "discovery.k8s.io", "endpointslices"),
    ),
    "flannel": (
        Rule("get", "core", "pods"),
        Rule(READ, "core", "nodes"),
        Rule("patch", "core", "nodes/status"),
    ),
    "kube-network-policies": (
        Rule("list watch", "core", "pods namespaces"),
        Rule("list watch", "networking.k8s.io", "networkpolicies"),
    ),
    "netlab:controllers": _CONTROLLER_RULES,
}
"""Name → rules."""

AGGREGATES: dict[str, tuple[str, str, tuple[Rule, ...]]] = {
    "view": ("system:aggregate-to-view", _VIEW, _VIEW_RULES),
    "edit": ("system:aggregate-to-edit", _EDIT, _EDIT_RULES),
    "admin": ("system:aggregate-to-admin", _ADMIN, _ADMIN_RULES),
}
"""User-facing role → (the role that is collected into it, the label it is collected by, its rules)."""
_COLLECTED_INTO = {"edit": ("admin",), "view": ("edit",), "admin": ()}

BINDINGS: tuple[tuple[str, str, str, str], ...] = (
    ("cluster-admin", "cluster-admin", "Group", "system:masters"),
    ("kubeadm:cluster-admins", "cluster-admin", "Group", "kubeadm:cluster-admins"),
    ("system:monitoring", "system:monitoring", "Group", "system:monitoring"),
    ("system:discovery", "system:discovery", "Group", "system:authenticated"),
    ("system:basic-user", "system:basic-user", "Group", "system:authenticated"),
    ("system:public-info-viewer", "system:public-info-viewer", "Group", "system:authenticated system:unauthenticated"),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        "Group",
        "system:serviceaccounts",
    ),
    ("system:node-proxier", "system:node-proxier", "User", "system:kube-proxy"),
    ("system:kube-controller-manager", "system:kube-controller-manager", "User", "system:kube-controller-manager"),
    ("system:kube-scheduler", "system:kube-scheduler", "User", "system:kube-scheduler"),
    ("system:volume-scheduler", "system:volume-scheduler", "User", "system:kube-scheduler"),
    ("system:kube-dns", "system:kube-dns", "ServiceAccount", "kube-system/kube-dns"),
    ("system:coredns", "system:coredns", "ServiceAccount", "kube-system/coredns"),
    # for kubelets the node authorizer decides: the binding has no subjects
    ("system:node", "system:node", "Group", ""),
    ("flannel", "flannel", "ServiceAccount", "kube-flannel/flannel"),
    ("kube-network-policies", "kube-network-policies", "ServiceAccount", "kube-system/kube-network-policies"),
    # kubeadm's: a machine that holds a bootstrap token may ask for a kubelet's certificate and gets it
    ("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", "Group", BOOTSTRAPPERS),
    ("kubeadm:node-autoapprove-bootstrap", f"{_REQUESTS}:nodeclient", "Group", BOOTSTRAPPERS),
    ("kubeadm:node-autoapprove-certificate-rotation", f"{_REQUESTS}:selfnodeclient", "Group", "system:nodes"),
    ("netlab:controllers", "netlab:controllers", "User", "system:kube-controller-manager"),
)
"""(binding, cluster role, kind of subject, subjects)."""


def objects() -> list[Obj]:
    """The ClusterRoles and ClusterRoleBindings that a starting cluster needs."""
    found = [role(name, rules) for name, rules in CLUSTER_ROLES.items()]
    for name, (part, label, rules) in AGGREGATES.items():
        found.append(role(part, rules, {label: "true"}))
        # what view may, edit may; what edit may, admin may
        wider = {f"rbac.authorization.k8s.io/aggregate-to-{one}": "true" for one in _COLLECTED_INTO[name]}
        selectors = [{"matchLabels": {label: "true"}}]
        found.append({**role(name, (), wider), "aggregationRule": {"clusterRoleSelectors": selectors}})
    found += [
        binding(name, to, [subject(kind, one) for one in subjects.split()]) for name, to, kind, subjects in BINDINGS
    ]
    return found


def late_objects() -> list[Obj]:
    """Those that nothing here waits for: of upstream's controllers, and the Roles of kube-system and kube-public."""
    found = []
    for name, rules in controller_policy.ROLES.items():
        whole = controller_policy.PREFIX + name
        found.append(role(whole, rules))
        found.append(binding(whole, whole, [subject("ServiceAccount", f"kube-system/{name}")]))
    found += [role(name, rules, None, namespace) for namespace, name, rules in namespace_policy.ROLES]
    for namespace, name, to, users, accounts in namespace_policy.BINDINGS:
        subjects = [subject("User", one) for one in users.split()]
        subjects += [subject("ServiceAccount", one) for one in accounts.split()]
        found.append(binding(name, to, subjects, namespace))
    return found
