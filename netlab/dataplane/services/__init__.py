"""Services as data: ports, endpoints, and which endpoints a node uses for which traffic. PURE.

Shared by every back end (iptables, nftables, IPVS). It knows nothing of rules, and decides nothing that upstream's
`pkg/proxy` decides elsewhere.
"""

from netlab.dataplane.services.choose import Choice, choose
from netlab.dataplane.services.model import Endpoint, Family, NodeView, Protocol, ServicePort, ServicePortName
from netlab.dataplane.services.objects import SELECTOR, endpoints, family_of, service_ports, slice_service
from netlab.dataplane.services.table import ServiceState, ServiceTable

__all__ = [
    "SELECTOR",
    "Choice",
    "Endpoint",
    "Family",
    "NodeView",
    "Protocol",
    "ServicePort",
    "ServicePortName",
    "ServiceState",
    "ServiceTable",
    "choose",
    "endpoints",
    "family_of",
    "service_ports",
    "slice_service",
]
