"""kube-proxy's iptables mode as typed rules: upstream's chains, names, comments, marks and probabilities. PURE.

`rules` is the vocabulary, `parse` reads it back from text, `service` makes the rules of one service port, `base` those
that a node has once, `program` keeps them all and prints restore text, whole or only what changed. Nothing is run here.
"""

from netlab.dataplane.iptables.parse import Counted, Existing, ParseError, Table, parse, parse_rule, scan
from netlab.dataplane.iptables.program import LARGE_CLUSTER_ENDPOINTS, IptablesProgram, partial
from netlab.dataplane.iptables.rules import Rule
from netlab.dataplane.iptables.service import IptablesConfig, ServiceRules, service_rules

__all__ = [
    "LARGE_CLUSTER_ENDPOINTS",
    "Counted",
    "Existing",
    "IptablesConfig",
    "IptablesProgram",
    "ParseError",
    "Rule",
    "ServiceRules",
    "Table",
    "parse",
    "parse_rule",
    "partial",
    "scan",
    "service_rules",
]
