"""When a real server that is no endpoint any more may go. Pure; upstream's `graceful_termination.go`.

Its connections would break with it, so one with connections gets weight 0, which takes no new ones, and is looked at
again every minute. UDP and SCTP have no such grace: `expire_nodest_conn` ends their flows with the next packet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from netlab.dataplane.ipvs.model import Frontend
from netlab.dataplane.services.model import Protocol

CHECK_INTERVAL = 60.0
"""Seconds between two looks (upstream: rsCheckDeleteInterval)."""

Connections = Mapping[tuple[Frontend, tuple[str, int]], int]
"""Active and inactive connections of a real server, by its virtual server and its address and port."""


def is_graceful(protocol: Protocol) -> bool:
    return protocol == "TCP"


def leave(protocol: Protocol, weight: int, connections: int) -> Literal["delete", "drain", "wait"]:
    """What to do with a real server that must go."""
    if not is_graceful(protocol) or connections == 0:
        return "delete"
    return "wait" if weight == 0 else "drain"
