"""The plug-ins that run, in upstream's order (pkg/kubeapiserver/options/plugins.go).

Of 1.33's default ones, ClusterTrustBundleAttest and PodTopologyLabels are not here: what they are about
(ClusterTrustBundles, the gate PodTopologyLabelsAdmission) is off by default. RbacEscalation is upstream's storage
wrapper for roles and bindings.
"""

from netlab.apiserver.admission import (
    certificates,
    default_classes,
    escalation,
    limit_ranger,
    namespace_lifecycle,
    node_restriction,
    node_taint,
    pod_security,
    priority,
    resource_quota,
    runtime_class,
    service_account,
    storage_protection,
    tolerations,
)
from netlab.apiserver.admission.attributes import Plugin

PLUGINS: tuple[Plugin, ...] = (
    namespace_lifecycle.PLUGIN,
    limit_ranger.PLUGIN,
    service_account.PLUGIN,
    node_restriction.PLUGIN,
    node_taint.PLUGIN,
    pod_security.PLUGIN,
    priority.PLUGIN,
    tolerations.PLUGIN,
    default_classes.STORAGE,
    storage_protection.PLUGIN,
    default_classes.RESIZE,
    runtime_class.PLUGIN,
    certificates.APPROVAL,
    certificates.SIGNING,
    certificates.PLUGIN,
    default_classes.INGRESS,
    escalation.PLUGIN,
    resource_quota.PLUGIN,
)
