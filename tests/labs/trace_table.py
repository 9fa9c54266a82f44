"""The table that `klab trace` must fill, flow × proxy mode: what each cell's packet meets, and how a trace is held
against it. `FLOWS` are the rows that every mode must have; the labs of `test_trace` and the stock kernel's network of
`tests/vm/test_vm_trace` fill them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from netlab.trace.model import Hop, Step, Trace

FLOWS = (
    "pod → pod, same node",
    "pod → pod, other node",
    "pod → pod, host-gw",
    "pod → cluster IP, local endpoint",
    "pod → cluster IP, remote endpoint",
    "pod → cluster IP, hairpin",
    "pod → node port",
    "outside → node port, policy Cluster",
    "outside → node port, policy Local",
    "outside → load balancer",
    "pod → outside",
    "pod → DNS",
    "dropped: no endpoint",
    "dropped: policy Local, no endpoint here",
    "dropped: a filter's rule",
    "dropped: cut link",
    "dropped: no forwarding entry",
    "dropped: MTU",
)
MODES = ("iptables, legacy", "iptables, nft", "nftables", "ipvs")


@dataclass(frozen=True)
class Cell:
    """One flow. `way`: every "place interface" in order, "veth" and a switch's name for those that are numbered, "?"
    behind one that is only seen the first time. `decides`: words of deciding rules or of the ending, all of them there.
    `end`: (kind, place). `seen_as`: the client's address as the destination sees it ("": its own)."""

    source: str
    target: str
    way: str
    decides: tuple[str, ...] = ()
    end: tuple[str, str] = ("delivered", "")
    options: Mapping[str, Any] | None = None
    seen_as: str | None = ""
    breaks: Callable[[], AbstractContextManager[None]] | None = None
    """Makes what it is asked in."""


def filled(cell: Cell, words: Mapping[str, str]) -> Cell:
    """With the addresses, ports and parts of ways that `words` has for its {names}."""

    def fill(text: str) -> str:
        return text.format_map(words)

    return replace(
        cell, target=fill(cell.target), way=fill(cell.way), decides=tuple(map(fill, cell.decides)),
        end=(cell.end[0], fill(cell.end[1])), seen_as=None if cell.seen_as is None else fill(cell.seen_as),
    )  # fmt: skip


def wrong(cell: Cell, seen: Trace, difference: object, error: str) -> list[str]:
    """What of a trace is not as the cell says, [] for nothing."""
    found = [f"prediction is not observation: {difference}"] if difference is not None else []
    found += [error] if error else []
    if not _same_way(cell.way, seen):
        found.append(f"its way is {', '.join(map(_sight, seen.hops))}; expected {cell.way}")
    said = deciding(seen)
    found += [f"'{words}' decides nothing in:\n{said}" for words in cell.decides if words not in said]
    kind, place = cell.end
    if seen.verdict.kind != kind or (place and seen.verdict.place != place):
        found.append(f"it ends {seen.verdict.kind} at {seen.verdict.place}: {seen.verdict.text}")
    if kind == "delivered" and cell.seen_as is not None:
        client = seen.hops[-1].packet.src
        if client != (cell.seen_as or seen.flow.src):
            found.append(f"the client is seen as {client}")
    if kind in ("dropped", "rejected") and not (seen.verdict.cause and seen.verdict.remedy):
        found.append(f"no cause or no remedy: {seen.verdict}")
    return found


def deciding(seen: Trace) -> str:
    """All that decided the packet's way, and how it ended."""
    steps: list[Step] = [step for hop in seen.hops for step in hop.steps] + list(seen.verdict.steps)
    lines = [f"{step.where} {step.text} {step.owner}" for step in steps if step.deciding and not step.outer]
    return "\n".join([*lines, seen.verdict.text, seen.verdict.cause])


def _same_way(wanted: str, seen: Trace) -> bool:
    left = [_sight(hop) for hop in seen.hops]
    for one in wanted.split(", "):
        if left and left[0] == one.removesuffix("?"):
            del left[0]
        elif not one.endswith("?"):
            return False
    return not left


def _sight(hop: Hop) -> str:
    interface = "veth" if hop.interface.startswith("veth") else re.sub(r"-eth\d+$", "", hop.interface)
    return interface if hop.place == "switches" else f"{hop.place.removeprefix('default/')} {interface}"
