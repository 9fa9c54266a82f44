"""The plug-ins that run, in upstream's order."""

from netlab.apiserver.admission import (
    certificates,
    limit_ranger,
    namespace_lifecycle,
    node_restriction,
    pod_security,
    priority,
    resource_quota,
    service_account,
    storage_protection,
    tolerations,
)
from netlab.apiserver.admission.attributes import Plugin

PLUGINS: tuple[Plugin, ...] = (
    namespace_lifecycle.PLUGIN,
    node_restriction.PLUGIN,
    limit_ranger.PLUGIN,
    service_account.PLUGIN,
    pod_security.PLUGIN,
    priority.PLUGIN,
    tolerations.PLUGIN,
    storage_protection.PLUGIN,
    certificates.PLUGIN,
    resource_quota.PLUGIN,
)
