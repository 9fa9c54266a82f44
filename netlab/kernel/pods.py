"""Attaching pods to a node, many at once."""

from __future__ import annotations

from collections.abc import Sequence

from netlab.dataplane.nodes import PodNet
from netlab.kernel.netns import NetNs


def setup_pods(node: NetNs, pods: Sequence[tuple[NetNs, PodNet]]) -> None:
    """Attach each pod's (new) namespace to the node's bridge and configure it, as `dataplane.pods` says.

    Chunked, so that an event loop may call it directly for a few pods at a time (about 0.4 ms each). Raises KernelError
    naming the first pod that failed, with everything this call made for that pod undone.
    """
    raise NotImplementedError


def teardown_pods(node: NetNs, pods: Sequence[PodNet]) -> None:
    """Remove the node's ends; what is already gone is no error."""
    raise NotImplementedError
