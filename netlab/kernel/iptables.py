"""iptables rules of a namespace, written and read as text.

`iptables-restore` is the only interface that both back ends share and that replaces a table in one transaction. In a
user namespace the nft back end's transaction is bounded by the socket buffer (about 1,000 Services): what is refused as
too long is repeated in pieces, chains first, which is no longer atomic; the legacy back end has no such bound, and is
ten times faster on a full restore. Each namespace has a lock file of its own under the lab's /run, so that nodes do not
wait for each other.
"""

from __future__ import annotations

import asyncio
import os
from functools import cache
from typing import Literal

from netlab.kernel import command, features
from netlab.kernel.errors import CommandFailed
from netlab.kernel.netns import NetNs
from netlab.kernel.programs import find

Backend = Literal["legacy", "nft"]

WHOLE = 4000
"""Lines that are tried as one transaction where the socket buffer bounds it; the attempt itself costs more than
proportionally (iptables-nft keeps the chains it will need as a sorted list), and could hardly succeed."""
PIECE = 128
"""Rules per piece when a transaction was too long for the socket buffer (208 KiB; a rule takes about 1 KiB of it)."""
ATTEMPTS = 3
"""The legacy tables are read, changed and written back; another writer in between makes the kernel refuse."""


@cache
def default_backend() -> Backend:
    """Legacy where the kernel and the machine have it, else nft."""
    return "legacy" if features.has("iptables_legacy") else "nft"


def restore(
    ns: NetNs,
    text: str,
    *,
    noflush: bool = True,
    counters: bool = False,
    backend: Backend | None = None,
    ipv6: bool = False,
) -> None:
    """`iptables-restore [--noflush] [--counters]` of `text`. CommandFailed names the line it complained about.

    `ipv6`: the tables of ip6tables, here and in the other functions."""
    chosen = backend or default_backend()
    options = [*(["--noflush"] if noflush else []), *(["--counters"] if counters else [])]
    if chosen == "legacy" or text.count("\n") <= WHOLE or features.is_first_user_namespace():
        try:
            _run(ns, chosen, "restore", options, text, ipv6)
            return
        except CommandFailed as problem:
            if "essage too long" not in problem.stderr:
                raise
    for number, piece in enumerate(pieces(text)):
        more = options if number == 0 or noflush else [*options, "--noflush"]
        _run(ns, chosen, "restore", more, piece, ipv6)


def save(
    ns: NetNs, *, table: str = "", counters: bool = False, backend: Backend | None = None, ipv6: bool = False
) -> str:
    """`iptables-save [-t table] [-c]`."""
    options = [*(["-t", table] if table else []), *(["-c"] if counters else [])]
    return _run(ns, backend or default_backend(), "save", options, "", ipv6)


async def restore_async(
    ns: NetNs,
    text: str,
    *,
    noflush: bool = True,
    counters: bool = False,
    backend: Backend | None = None,
    ipv6: bool = False,
) -> None:
    """`restore` without blocking the event loop."""
    await asyncio.to_thread(restore, ns, text, noflush=noflush, counters=counters, backend=backend, ipv6=ipv6)


async def save_async(
    ns: NetNs, *, table: str = "", counters: bool = False, backend: Backend | None = None, ipv6: bool = False
) -> str:
    """`save` without blocking the event loop."""
    return await asyncio.to_thread(save, ns, table=table, counters=counters, backend=backend, ipv6=ipv6)


def _run(ns: NetNs, backend: Backend, verb: str, options: list[str], text: str, ipv6: bool) -> str:
    family = "ip6tables" if ipv6 else "iptables"
    program = f"{family}-{backend}-{verb}"
    if find(program) is None:
        program = f"{family}-{verb}"  # distributions with one back end only
    env = {**os.environ, "XTABLES_LOCKFILE": f"/run/xtables-{ns.name.replace('/', '_')}.lock"}
    wait = ["-w", "10"] if verb == "restore" else []
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return command.run(ns, [program, *wait, *options], text, env=env)
        except CommandFailed as problem:
            if attempt == ATTEMPTS or "Resource temporarily unavailable" not in problem.stderr:
                raise
    raise AssertionError("unreachable")


def pieces(text: str) -> list[str]:
    """The same rules as several inputs: each table's chains once, at its beginning, then some rules at a time."""
    found: list[str] = []
    table, chains, rules = "", list[str](), list[str]()
    for line in text.splitlines():
        if line.startswith("*"):
            table, chains, rules = line, [], []
        elif line.startswith(":"):
            chains.append(line)
        elif line == "COMMIT":
            found += [_input(table, chains[i : i + PIECE]) for i in range(0, len(chains), PIECE)]
            found += [_input(table, rules[i : i + PIECE]) for i in range(0, len(rules), PIECE)]
        elif line and not line.startswith("#"):
            rules.append(line)
    return found


def _input(table: str, lines: list[str]) -> str:
    return "\n".join([table, *lines, "COMMIT"]) + "\n"
