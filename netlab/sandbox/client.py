"""Speaking to PID 1 from inside the lab: an asyncio client and a synchronous twin for start-up.

A connection is a SOCK_SEQPACKET socket: one JSON object per packet, descriptors beside it (SCM_RIGHTS). Every order
carries a number which its answer repeats; exits are pushed to connections that asked for them.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from netlab.sandbox.paths import INIT_SOCKET
from netlab.sandbox.spec import ExitEvent, ProcessInfo, ProcessSpec


@dataclass(slots=True)
class StdioFds:
    """Descriptors of a process's stdio, owned by the caller: ours of a pipe, or the master of a pty in `tty`."""

    stdin: int | None = None
    stdout: int | None = None
    stderr: int | None = None
    tty: int | None = None


class InitClient:
    """One connection to PID 1. All methods raise InitGone when PID 1 does not answer any more."""

    @classmethod
    async def connect(cls, path: Path = INIT_SOCKET) -> "InitClient":
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def spawn(self, spec: ProcessSpec, fds: Sequence[int] = ()) -> int:
        """Start a process and return its pid in the lab, once it runs (its program replaced the fork, or `target`
        is about to be called). Raises SpawnError (the record is kept, with ExitInfo.error) and AlreadyExists."""
        raise NotImplementedError

    async def kill(self, id: str, signal: int, *, stop: bool = False) -> None:  # noqa: A002
        """Send a signal; nothing happens when it has ended. `stop`: do not restart it any more."""
        raise NotImplementedError

    async def list(self, prefix: str = "") -> Sequence[ProcessInfo]:
        """The kept processes whose id starts with `prefix`, running and ended."""
        raise NotImplementedError

    async def forget(self, id: str) -> None:  # noqa: A002
        """Drop an ended process's record, stdio and layer. Unknown ids are fine; a running one raises."""
        raise NotImplementedError

    def exits(self, prefix: str = "") -> AsyncIterator[ExitEvent]:
        """Ends of processes from now on. Subscribe first, then `list`: nothing is missed."""
        raise NotImplementedError

    async def stdio(self, id: str) -> StdioFds:  # noqa: A002
        """Duplicates of what PID 1 keeps of a process's stdio."""
        raise NotImplementedError

    async def hold(self, name: str, fds: Sequence[int]) -> None:
        """Give PID 1 descriptors to keep under a name (replacing what was there; none: drop the name)."""
        raise NotImplementedError

    async def held(self, name: str) -> Sequence[int]:
        """Duplicates of the descriptors kept under a name; empty when there are none."""
        raise NotImplementedError


def inherited_fds(name: str) -> list[int]:
    """In a process spawned with `hold=(name, …)`: the numbers of those descriptors."""
    raise NotImplementedError
