"""nftables of a namespace, written and read as text or JSON.

One text is one transaction. In a user namespace its size is bounded by the socket buffer (net.core.wmem_max): a caller
with thousands of elements sends several texts.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from netlab.kernel import command
from netlab.kernel.netns import NetNs


def run(ns: NetNs, text: str) -> None:
    """`nft -f -`: all of `text` or nothing. CommandFailed names the line."""
    command.run(ns, ["nft", "-f", "-"], text)


def ruleset(ns: NetNs, *, table: str = "") -> str:
    """`nft list ruleset`, or `nft list table <table>` ("ip kube-proxy")."""
    return command.run(ns, ["nft", "list", *(["table", *table.split()] if table else ["ruleset"])])


def ruleset_json(ns: NetNs, *, table: str = "") -> dict[str, Any]:
    """The same as nft's JSON."""
    found = command.run(ns, ["nft", "-j", "list", *(["table", *table.split()] if table else ["ruleset"])])
    decoded: dict[str, Any] = json.loads(found)
    return decoded


async def run_async(ns: NetNs, text: str) -> None:
    """`run` without blocking the event loop."""
    await asyncio.to_thread(run, ns, text)
