"""The connection tracking table of a namespace, by netlink (ctnetlink)."""

from __future__ import annotations

from dataclasses import dataclass

from netlab.kernel.netns import NetNs


@dataclass(frozen=True, slots=True)
class Tuple:
    """One direction of a connection. Ports are 0 where the protocol has none (ICMP: type and id are not ports)."""

    src: str
    dst: str
    sport: int
    dport: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A tracked connection. `proto` is the IP protocol's number; `state` is TCP's, by name, or empty."""

    proto: int
    original: Tuple
    reply: Tuple
    state: str
    status: int
    mark: int
    timeout: int
    id: int


def entries(ns: NetNs) -> list[Entry]:
    """All IPv4 entries."""
    raise NotImplementedError


def delete(ns: NetNs, entry: Entry) -> bool:
    """Delete one entry; False where it was gone already."""
    raise NotImplementedError


def flush(ns: NetNs, *, proto: int = 0, dst: str = "", dport: int = 0, reply_src: str = "") -> int:
    """Delete the entries whose original direction matches what is given; returns how many."""
    raise NotImplementedError
