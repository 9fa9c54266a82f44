"""What becomes of a client's packet to a Service: a walk over typed rules, in words, with shares and counters. PURE.

`model` is the vocabulary, `iptables`, `nftables` and `ipvs` walk one mode's rules each, `service` finds the entrances
of a Service and walks each of them, `desired` computes the rules of a mode that does not run, `words` prints. Rules
come parsed from the node or computed; one that a walker cannot interpret is an error that names it, never a guess.
"""

from netlab.dataplane.explain.model import Caller, Ending, Origin, Stage, Uninterpretable, Walk, World
from netlab.dataplane.explain.service import Explanation, Material, explain

__all__ = [
    "Caller",
    "Ending",
    "Explanation",
    "Material",
    "Origin",
    "Stage",
    "Uninterpretable",
    "Walk",
    "World",
    "explain",
]
