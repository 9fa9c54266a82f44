"""What the kubelet remembers of a pod on its node: plain mutable records, one owner each (the pod's worker).

Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """Which list of the spec a container comes from."""

    INIT = "init"
    SIDECAR = "sidecar"
    MAIN = "main"
    EPHEMERAL = "ephemeral"


@dataclass(frozen=True, slots=True)
class Exit:
    """How one attempt of a container ended."""

    container_id: str
    exit_code: int
    reason: str
    message: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0
    signal: int = 0


@dataclass(slots=True)
class ContainerState:
    """One container of the spec: its newest attempt, the one before, and what its probes say.

    `id` is "" until something was started. `exit` is set once the newest attempt ended; `waiting` is (reason,
    message) while there is none running and something is to be said about why.
    """

    name: str
    kind: Kind
    id: str = ""
    attempt: int = -1
    image: str = ""
    image_id: str = ""
    running: bool = False
    started_at: float = 0.0
    exit: Exit | None = None
    last: Exit | None = None
    waiting: tuple[str, str] | None = None
    started: bool = False
    ready: bool = False
    stopping: bool = False
    retry_at: float = 0.0
    """No new attempt to create it before (image or configuration errors)."""

    @property
    def created(self) -> bool:
        return bool(self.id)

    @property
    def restart_count(self) -> int:
        return max(self.attempt, 0)


@dataclass(slots=True)
class PodState:
    """One pod on the node. `verdict` is (phase, reason, message) once the kubelet itself failed the pod."""

    uid: str
    containers: dict[str, ContainerState] = field(default_factory=dict)
    sandbox_id: str = ""
    sandbox_ready: bool = False
    ips: tuple[str, ...] = ()
    last_ips: tuple[str, ...] = ()
    """What an ended pod had: shown still, given back already."""
    start_time: float = 0.0
    verdict: tuple[str, str, str] | None = None
    initialized: bool = False
    """A main container was started in this sandbox: plain init containers are over."""
    terminal: bool = False
    """All work is done and no container will run again (deleted, failed by the kubelet, or ran to completion)."""

    def of(self, kind: Kind) -> list[ContainerState]:
        return [c for c in self.containers.values() if c.kind is kind]

    @property
    def any_running(self) -> bool:
        return any(c.running for c in self.containers.values())
