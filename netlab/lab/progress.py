"""The phases of a lab's start, as data: labd collects them, `klab up` shows them, the benchmark breaks them down."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Literal

from netlab.api.types import Obj

State = Literal["starting", "ready", "failed"]

PHASES = {
    "sandbox": "namespaces and PID 1",
    "substrate": "nodes, switches, routers and links",
    "apiserver": "API server",
    "components": "controllers, scheduler, node agents",
    "nodes": "nodes registered and Ready",
    "proxies": "rules of the Services there are",
    "addons": "cluster DNS answering",
}
"""Phase → what a reader calls it, in the order in which they end."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A finished phase. `seconds` is the time from the start of the lab to its end (they overlap)."""

    name: str
    seconds: float
    detail: str = ""


@dataclass(slots=True)
class Progress:
    """`began` is time.monotonic() at the call of `klab up`; the clock is the same in all processes of a machine."""

    began: float = field(default_factory=time.monotonic)
    state: State = "starting"
    error: str = ""
    phases: list[Phase] = field(default_factory=list)

    def end(self, name: str, detail: str = "") -> None:
        """Note the end of a phase; a second end of the same phase (after a restart) changes nothing."""
        if all(phase.name != name for phase in self.phases):
            self.phases.append(Phase(name, time.monotonic() - self.began, detail))

    @property
    def complete(self) -> bool:
        return {phase.name for phase in self.phases} >= PHASES.keys()

    def to_obj(self) -> Obj:
        return {"state": self.state, "error": self.error, "phases": [asdict(phase) for phase in self.phases]}
