"""What becomes of a packet, computed from the state of every machine on its way. PURE.

`state` is what a machine is (as data), `route` looks up routes, `xtables`, `nft` and `ipvs` follow one kind of rules
each, `hooks` puts them into the kernel's order with conntrack and NAT, `walk` leads the packet from interface to
interface, `enumerate` takes every branch of what is random. A rule that cannot be interpreted is an error that names
it, never a guess. Nothing here reads the kernel: the states come from `netlab.trace.gather`, or from a test.
"""

from netlab.dataplane.explain.model import Uninterpretable
from netlab.trace.predict.branches import predict
from netlab.trace.predict.state import Interface, Machine, World

__all__ = ["Interface", "Machine", "Uninterpretable", "World", "predict"]
