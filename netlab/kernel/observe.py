"""What a namespace has, in the words of the model."""

from __future__ import annotations

from collections.abc import Iterable

from netlab.dataplane.model import NodeState
from netlab.kernel.netns import NetNs


def observe(ns: NetNs, *, sysctls: Iterable[str] = ()) -> NodeState:
    """The namespace's state. IPv4 only, main table only; `sysctls` are read where the kernel has them."""
    raise NotImplementedError
