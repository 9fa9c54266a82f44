"""Making, entering and ending a lab, from outside, as the user (or as root, then without a user namespace)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netlab.sandbox.paths import LabPaths
from netlab.sandbox.spec import ProcessSpec, SandboxError


class LaunchError(SandboxError):
    """The lab could not be made; the message names the step, the reason and the remedy."""


class LabRunning(LaunchError):  # noqa: N818
    """A lab of that name already runs."""


class LabNotRunning(SandboxError):  # noqa: N818
    """No lab of that name runs."""


@dataclass(frozen=True, slots=True)
class Launched:
    """pid: the lab's PID 1 as the machine sees it. user_namespace, subordinate_ids: what it runs in."""

    pid: int
    user_namespace: bool
    subordinate_ids: bool


def launch(
    lab: LabPaths,
    main: Sequence[ProcessSpec] = (),
    *,
    fds: Mapping[str, Sequence[int]] | None = None,
    zygote: Sequence[str] = (),
    timeout: float = 10.0,
) -> Launched:
    """Make the namespaces and PID 1, which starts `main` (labd, …) and keeps `fds` by name ("api", "control").

    Returns when PID 1 answers; it is then a process of its own, in its own session, with its output in
    `<state>/logs/init.log`. Should the caller die before that, nothing is left. `zygote`: modules that the fork
    server imports, in order ("via zygote" processes wait for them). Raises LabRunning and LaunchError.
    """
    raise NotImplementedError


def running_pid(lab: LabPaths) -> int | None:
    """The lab's PID 1 as the machine sees it, or None."""
    raise NotImplementedError


def enter(
    lab: LabPaths,
    argv: Sequence[str],
    *,
    netns: str | None = None,
    hostname: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    process: int | None = None,
) -> int:
    """Run a command inside a running lab on the caller's terminal and return its exit status (128 + signal).

    netns: name below /run/netns (a node, or a pod's cni-…); None: the lab's own network namespace.
    process: pid *in the lab* of a container's process whose mount, UTS, IPC and PID namespaces are joined instead.
    127: no such command; 126: not executable. Raises LabNotRunning.
    """
    raise NotImplementedError


def destroy(lab: LabPaths, *, grace: float = 0.0) -> bool:
    """End the lab: SIGTERM and up to `grace` seconds for an orderly stop, then SIGKILL to PID 1; returns when every
    process is gone. True when there was something to end. Idempotent; safe against pid reuse."""
    raise NotImplementedError
