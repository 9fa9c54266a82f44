"""Defaults of the smaller groups. Source followed: `pkg/apis/<group>/v1/defaults.go` of each."""

from __future__ import annotations

from netlab.api.types import Obj

_RBAC = "rbac.authorization.k8s.io"


def endpoint_slice(obj: Obj) -> None:
    """Ports are TCP and have a (perhaps empty) name."""
    for port in obj.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def ingress_class(obj: Obj) -> None:
    """Parameters are cluster-scoped."""
    parameters = obj["spec"].get("parameters")
    if parameters is not None and parameters.get("scope") is None:
        parameters["scope"] = "Cluster"


def network_policy(obj: Obj) -> None:
    """Policy types follow the rules that are there; ports are TCP."""
    spec = obj["spec"]
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def role_binding(obj: Obj) -> None:
    """API groups of subjects and role."""
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = _RBAC
    if not obj["roleRef"].get("apiGroup"):
        obj["roleRef"]["apiGroup"] = _RBAC


def storage_class(obj: Obj) -> None:
    """Delete, immediately."""
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def csi_driver(obj: Obj) -> None:
    """`SetDefaults_CSIDriver`."""
    spec = obj["spec"]
    for key, value in (
        ("attachRequired", True),
        ("podInfoOnMount", False),
        ("storageCapacity", False),
        ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
        ("requiresRepublish", False),
        ("seLinuxMount", False),
    ):
        spec.setdefault(key, value)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def priority_class(obj: Obj) -> None:
    """May preempt."""
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def flow_schema(obj: Obj) -> None:
    """Matched at 1,000."""
    if not obj["spec"].get("matchingPrecedence"):
        obj["spec"]["matchingPrecedence"] = 1000


def priority_level(obj: Obj) -> None:
    """`SetDefaults_ExemptPriorityLevelConfiguration`, `SetDefaults_LimitedPriorityLevelConfiguration`, queues."""
    for key, shares in (("exempt", 0), ("limited", 30)):
        level = obj["spec"].get(key)
        if level is not None:
            for field, value in (("nominalConcurrencyShares", shares), ("lendablePercent", 0)):
                level[field] = value if level.get(field) is None else level[field]
    queuing = ((obj["spec"].get("limited") or {}).get("limitResponse") or {}).get("queuing")
    if queuing is not None:
        for key, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
            queuing[key] = queuing.get(key) or value


def custom_resource_definition(obj: Obj) -> None:
    """Names that follow from the kind; no conversion; webhooks on 443."""
    spec = obj["spec"]
    names = spec["names"]
    if not names.get("singular"):
        names["singular"] = names.get("kind", "").lower()
    if not names.get("listKind") and names.get("kind"):
        names["listKind"] = names["kind"] + "List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    service = ((conversion.get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)


def api_service(obj: Obj) -> None:
    """Services on 443."""
    service = obj["spec"].get("service")
    if service is not None:
        service.setdefault("port", 443)


def webhooks(obj: Obj) -> None:
    """`SetDefaults_ValidatingWebhook`, `SetDefaults_MutatingWebhook`."""
    for hook in obj.get("webhooks") or ():
        for key, value in (("failurePolicy", "Fail"), ("matchPolicy", "Equivalent"), ("timeoutSeconds", 10)):
            hook.setdefault(key, value)
        for key in ("namespaceSelector", "objectSelector"):
            hook.setdefault(key, {})
        if obj["kind"] == "MutatingWebhookConfiguration":
            hook.setdefault("reinvocationPolicy", "Never")
        for rule in hook.get("rules") or ():
            rule.setdefault("scope", "*")
        service = hook["clientConfig"].get("service")
        if service is not None:
            service.setdefault("port", 443)


def admission_policy(obj: Obj) -> None:
    """`SetDefaults_ValidatingAdmissionPolicySpec`, `SetDefaults_MatchResources`."""
    spec = obj.setdefault("spec", {})
    if obj["kind"] == "ValidatingAdmissionPolicy":
        spec.setdefault("failurePolicy", "Fail")
    matched = spec.get("matchConstraints" if obj["kind"] == "ValidatingAdmissionPolicy" else "matchResources")
    if matched is None:
        return
    matched.setdefault("matchPolicy", "Equivalent")
    for key in ("namespaceSelector", "objectSelector"):
        matched.setdefault(key, {})
    for key in ("resourceRules", "excludeResourceRules"):
        for rule in matched.get(key) or ():
            rule.setdefault("scope", "*")


DEFAULTS = {
    "discovery.k8s.io/v1.EndpointSlice": endpoint_slice,
    "networking.k8s.io/v1.IngressClass": ingress_class,
    "networking.k8s.io/v1.NetworkPolicy": network_policy,
    f"{_RBAC}/v1.RoleBinding": role_binding,
    f"{_RBAC}/v1.ClusterRoleBinding": role_binding,
    "storage.k8s.io/v1.StorageClass": storage_class,
    "storage.k8s.io/v1.CSIDriver": csi_driver,
    "scheduling.k8s.io/v1.PriorityClass": priority_class,
    "flowcontrol.apiserver.k8s.io/v1.FlowSchema": flow_schema,
    "flowcontrol.apiserver.k8s.io/v1.PriorityLevelConfiguration": priority_level,
    "apiextensions.k8s.io/v1.CustomResourceDefinition": custom_resource_definition,
    "apiregistration.k8s.io/v1.APIService": api_service,
    "admissionregistration.k8s.io/v1.ValidatingWebhookConfiguration": webhooks,
    "admissionregistration.k8s.io/v1.MutatingWebhookConfiguration": webhooks,
    "admissionregistration.k8s.io/v1.ValidatingAdmissionPolicy": admission_policy,
    "admissionregistration.k8s.io/v1.ValidatingAdmissionPolicyBinding": admission_policy,
}
