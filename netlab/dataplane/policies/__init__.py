"""PURE. NetworkPolicies: which connections of which pods they let through, as typed data, and as one nftables table.

Only a connection's first packet is judged, on the node of each of the two pods: egress where it starts, ingress where
it arrives. May not: know how the table gets into a kernel.
"""

from netlab.dataplane.policies.model import Cluster, Direction, Pod, pod_of
from netlab.dataplane.policies.select import Allowed, Isolation, isolation
from netlab.dataplane.policies.table import TABLE, policy_table
from netlab.dataplane.policies.verdict import Connection, Verdict, judge

__all__ = [
    "TABLE",
    "Allowed",
    "Cluster",
    "Connection",
    "Direction",
    "Isolation",
    "Pod",
    "Verdict",
    "isolation",
    "judge",
    "pod_of",
    "policy_table",
]
