"""kube-proxy's IPVS mode as typed data: virtual and real servers, ipsets, and the rules that match these sets. PURE.

`model` is the vocabulary (it prints as `ipvsadm -S`, `ipset save` and `ip`), `sets` the sets by their upstream names,
`service` what one service port brings, `chains` the fixed iptables chains, `state` the whole and the steps between two,
`termination` when a real server may go, `program` keeps all. Nothing is run here.
"""

from netlab.dataplane.ipvs.chains import fixed_chains, jumps, restore_text, rules
from netlab.dataplane.ipvs.model import DEVICE, SCHEDULERS, Entry, Frontend, IpSet, RealServer, Scheduler, VirtualServer
from netlab.dataplane.ipvs.program import IpvsProgram
from netlab.dataplane.ipvs.service import IpvsConfig, ServiceParts, service_parts
from netlab.dataplane.ipvs.sets import SET_NAMES, IpSets, ip_sets
from netlab.dataplane.ipvs.state import IpvsState, Step, diff

__all__ = [
    "DEVICE",
    "SCHEDULERS",
    "SET_NAMES",
    "Entry",
    "Frontend",
    "IpSet",
    "IpSets",
    "IpvsConfig",
    "IpvsProgram",
    "IpvsState",
    "RealServer",
    "Scheduler",
    "ServiceParts",
    "Step",
    "VirtualServer",
    "diff",
    "fixed_chains",
    "ip_sets",
    "jumps",
    "restore_text",
    "rules",
    "service_parts",
]
