"""What an agent is told about faults: which of its nodes are off, and what it must not repair.

`klab fault` leaves a file per node in the lab's /run and has the agents look (SIGHUP), as with proxy modes: an agent
that starts again finds it there. A node without a file is a node without faults. What has been seen is acknowledged,
so that whoever injects a fault knows that it holds.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

DIRECTORY = Path("/run/netlab/faults")


@dataclass(frozen=True, slots=True)
class Told:
    """About one node. `entries`: keys of kernel objects (`Fdb.key`, `Neighbour.key`) that are wrong on purpose."""

    number: int = 0
    off: bool = False
    clock: float = 0.0
    entries: frozenset[tuple[str, ...]] = field(default_factory=frozenset)
    proxy: int = 0
    """Changes when the proxy must write all its rules again."""


def read(node: str, directory: Path = DIRECTORY) -> Told:
    """What was written last; a plain Told where nothing was."""
    try:
        found = json.loads((directory / f"{node}.json").read_text())
    except (OSError, ValueError):
        return Told()
    return Told(**{**found, "entries": frozenset(tuple(key) for key in found["entries"])})


def write(node: str, told: Told, directory: Path = DIRECTORY) -> None:
    """For the agent of that node."""
    directory.mkdir(parents=True, exist_ok=True)
    obj = {
        "number": told.number,
        "off": told.off,
        "clock": told.clock,
        "entries": sorted(map(list, told.entries)),
        "proxy": told.proxy,
    }
    fresh = directory / f".{node}"
    fresh.write_text(json.dumps(obj))
    fresh.replace(directory / f"{node}.json")


def seen(node: str, directory: Path = DIRECTORY) -> int:
    """The number of what the node's agent has acted upon last."""
    try:
        return int((directory / f"{node}.seen").read_text())
    except (OSError, ValueError):
        return -1


class NodeFaults:
    """An agent's view of its nodes; `look` reads the files again."""

    def __init__(self, nodes: Sequence[str] = (), directory: Path = DIRECTORY) -> None:
        self._directory = directory
        self._told: dict[str, Told] = {}
        self._changed = {node: asyncio.Event() for node in nodes}
        self._nodes = tuple(nodes)
        self._read()

    def _read(self) -> Mapping[str, Told]:
        before, self._told = self._told, {node: read(node, self._directory) for node in self._nodes}
        return before

    def of(self, node: str) -> Told:
        return self._told.get(node, Told())

    def clock(self, node: str) -> Callable[[], float]:
        """Wall time as that node has it."""
        return lambda: time.time() + self.of(node).clock

    def look(self) -> None:
        """Something may have changed. What needs no waiting is acknowledged here: it is in force when this returns."""
        before = self._read()
        for node, told in self._told.items():
            if told == before.get(node):
                continue
            if told.off == before[node].off and told.off is False:
                self.acknowledge(node)
            self._changed[node].set()

    def acknowledge(self, node: str) -> None:
        """What the node was told last holds now."""
        fresh = self._directory / f".{node}.{os.getpid()}"
        try:
            fresh.write_text(str(self.of(node).number))
            fresh.replace(self._directory / f"{node}.seen")
        except OSError:
            return  # nothing was ever told

    async def until_off(self, node: str, off: bool) -> None:
        """Wait until the node is off (or is on)."""
        while self.of(node).off != off:
            self._changed[node].clear()
            await self._changed[node].wait()
