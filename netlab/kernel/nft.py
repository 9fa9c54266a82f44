"""nftables of a namespace, written and read as text or JSON."""

from __future__ import annotations

from typing import Any

from netlab.kernel.netns import NetNs


def run(ns: NetNs, text: str) -> None:
    """`nft -f -`: one transaction. CommandFailed names the line."""
    raise NotImplementedError


def ruleset(ns: NetNs, *, table: str = "") -> str:
    """`nft list ruleset`, or `nft list table <table>` ("ip kube-proxy")."""
    raise NotImplementedError


def ruleset_json(ns: NetNs, *, table: str = "") -> dict[str, Any]:
    """The same as nft's JSON."""
    raise NotImplementedError


async def run_async(ns: NetNs, text: str) -> None:
    """`run` without blocking the event loop."""
    raise NotImplementedError
