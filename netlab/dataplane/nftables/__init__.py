"""kube-proxy's nftables mode as typed data: upstream's table, chains, sets, verdict maps and names. PURE.

`rules` is the vocabulary, `parse` reads a listing back, `service` makes the objects of one service port, `base` those
that a node has once, `table` computes the transaction between two states, whose steps are `operations`; `program` keeps
all. Nothing is run here.
"""

from netlab.dataplane.nftables.base import NftablesConfig, base_state
from netlab.dataplane.nftables.operations import Operation, text
from netlab.dataplane.nftables.parse import ParseError, parse, parse_rule
from netlab.dataplane.nftables.program import NftablesProgram
from netlab.dataplane.nftables.service import service_items
from netlab.dataplane.nftables.table import TABLE, NftState, Transaction, create, diff, nft_family, remove

__all__ = [
    "TABLE",
    "NftState",
    "NftablesConfig",
    "NftablesProgram",
    "Operation",
    "ParseError",
    "Transaction",
    "base_state",
    "create",
    "diff",
    "nft_family",
    "parse",
    "parse_rule",
    "remove",
    "service_items",
    "text",
]
