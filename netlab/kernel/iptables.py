"""iptables rules of a namespace, written and read as text."""

from __future__ import annotations

from typing import Literal

from netlab.kernel.netns import NetNs

Backend = Literal["legacy", "nft"]


def default_backend() -> Backend:
    """Legacy where the kernel and the machine have it (ten times faster on a full restore), else nft."""
    raise NotImplementedError


def restore(
    ns: NetNs, text: str, *, noflush: bool = True, counters: bool = False, backend: Backend | None = None
) -> None:
    """`iptables-restore [--noflush] [--counters]` of `text`. CommandFailed names the line it complained about."""
    raise NotImplementedError


def save(ns: NetNs, *, table: str = "", counters: bool = False, backend: Backend | None = None) -> str:
    """`iptables-save [-t table] [-c]`."""
    raise NotImplementedError


async def restore_async(
    ns: NetNs, text: str, *, noflush: bool = True, counters: bool = False, backend: Backend | None = None
) -> None:
    """`restore` without blocking the event loop."""
    raise NotImplementedError


async def save_async(ns: NetNs, *, table: str = "", counters: bool = False, backend: Backend | None = None) -> str:
    """`save` without blocking the event loop."""
    raise NotImplementedError
