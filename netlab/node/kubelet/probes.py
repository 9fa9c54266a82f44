"""What a probe's results mean: thresholds and the messages around them. Pure; upstream pkg/kubelet/prober/worker.go."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from netlab.api.types import Obj


class ProbeKind(Enum):
    """The spec's field name, and the word that messages start with."""

    STARTUP = "startupProbe"
    LIVENESS = "livenessProbe"
    READINESS = "readinessProbe"

    @property
    def word(self) -> str:
        return {"startupProbe": "Startup", "livenessProbe": "Liveness", "readinessProbe": "Readiness"}[self.value]


@dataclass(frozen=True, slots=True)
class Result:
    """Of one attempt. `error`: the probe could not be made at all (counts as nothing, but is reported)."""

    success: bool
    output: str = ""
    error: bool = False


@dataclass(slots=True)
class Threshold:
    """Counts equal results in a row; a verdict is given once there are enough."""

    success: int = 1
    failure: int = 3
    _last: bool | None = None
    _count: int = 0

    @classmethod
    def of(cls, probe: Obj) -> Threshold:
        return cls(int(probe.get("successThreshold") or 1), int(probe.get("failureThreshold") or 3))

    def add(self, success: bool) -> bool | None:
        """The verdict, or None while there are too few results to change it."""
        if success is self._last:
            self._count += 1
        else:
            self._last, self._count = success, 1
        return success if self._count >= (self.success if success else self.failure) else None


def message(kind: ProbeKind, result: Result) -> str:
    """The text of the Unhealthy event."""
    if result.error:
        return f"{kind.word} probe errored and resulted in unknown state: {result.output}"
    return f"{kind.word} probe failed: {result.output}"


def killing_message(kind: ProbeKind, container: str) -> str:
    return f"Container {container} failed {kind.word.lower()} probe, will be restarted"


def port_number(port: int | str, container: Obj) -> int:
    """A probe's or hook's port: a number, or the name of one of the container's ports. Raises ValueError."""
    if isinstance(port, int):
        return port
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    if str(port).isdigit():
        return int(port)
    raise ValueError(f"couldn't find port: {port}")
