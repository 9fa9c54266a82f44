"""`netlab.Lab`: a lab as an object for scripts and tests. Synchronous; every call that waits has a time-out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from netlab.api.types import Obj
from netlab.lab.lifecycle import Started, UpOptions, down, pick, up
from netlab.lab.record import LabError
from netlab.topology import load
from netlab.topology.model import Topology

if TYPE_CHECKING:
    from netlab.trace.story import Frame


@dataclass(slots=True)
class Observation:
    """What a `Lab.observe` block saw; complete when the block has ended. `dropped`: frames lost, by place."""

    frames: list[Frame] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


class Lab:
    """A running lab. `Lab.up` starts one, `Lab.attach` finds one; as a context manager it goes down at the end.

    >>> with Lab.up("single", name="example") as lab:
    ...     print(lab.kubectl("get", "nodes"))
    """

    def __init__(self, name: str) -> None:
        self.paths = pick(name)
        self.name = name
        self.topology: Topology = load(self.paths.topology)
        self.started: Started | None = None

    @classmethod
    def up(
        cls,
        topology: str | Path | None = None,
        *,
        name: str | None = None,
        api_port: int | None = None,
        timeout: float | None = None,
    ) -> Lab:
        """Start a lab and return when its cluster is of use. Raises TopologyError, LabError, SandboxError."""
        started = up(UpOptions(str(topology) if topology else None, name, api_port, timeout=timeout))
        lab = cls(started.paths.name)
        lab.started = started
        return lab

    @classmethod
    def attach(cls, name: str | None = None) -> Lab:
        """The lab of that name, or the only one that runs. LabError where there is none, or several."""
        return cls(pick(name).name)

    def down(self, *, purge: bool = False) -> None:
        """End the lab; `purge` forgets its objects too. Twice is fine."""
        down(self.name, purge=purge)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.down(purge=True)

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment with kubectl pointed at the lab."""
        return {**os.environ, "KUBECONFIG": str(self.paths.kubeconfig), "KLAB_LAB": self.name}

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120.0, check: bool = True) -> str:
        """Run the user's own kubectl; its standard output. LabError with its words when it fails and `check` is on."""
        program = shutil.which("kubectl")
        if program is None:
            raise LabError("there is no kubectl on PATH; Debian's is in the package kubernetes-client", 127)
        result = self._run([program, *arguments], stdin, timeout, self.environment)
        if check and result.returncode != 0:
            raise LabError(f"kubectl {' '.join(arguments)}: {result.stderr.strip() or result.stdout.strip()}")
        return result.stdout

    def get(self, *arguments: str) -> Obj:
        """`kubectl get … -o json`, decoded."""
        return dict(json.loads(self.kubectl("get", *arguments, "-o", "json")))

    def apply(self, manifests: str) -> str:
        """Apply YAML text."""
        return self.kubectl("apply", "-f", "-", stdin=manifests)

    def exec(self, machine: str, *command: str, timeout: float = 60.0, check: bool = True) -> str:
        """Run a command in the network of a node, host or router; its standard output."""
        result = self._klab("exec", machine, "--", *command, timeout=timeout)
        if check and result.returncode != 0:
            raise LabError(f"{machine}: {' '.join(command)}: {result.stderr.strip() or result.stdout.strip()}")
        return result.stdout

    def pod_exec(self, pod: str, *command: str, namespace: str = "default", timeout: float = 60.0) -> str:
        """`kubectl exec` in the pod's first container; its standard output."""
        return self.kubectl("exec", "-n", namespace, pod, "--", *command, timeout=timeout)

    def cut(self, machine: str) -> None:
        """Pull the machine's cables: its links lose their carrier, as when the plug is out."""
        self._carrier(machine, "down")

    def mend(self, machine: str) -> None:
        """Put the cables back."""
        self._carrier(machine, "up")

    def _carrier(self, machine: str, state: str) -> None:
        for command in [f"link {a} {b} {state}" for a, b in self._cables(machine)]:
            result = self._klab("mininet", "-c", command)
            if result.returncode != 0:
                raise LabError(f"{command}: {result.stderr.strip()}")

    def _cables(self, machine: str) -> list[tuple[str, str]]:
        """The pairs of machine names at the ends of its links."""
        found = [
            (a.node, b.node) for a, b in (link.ends for link in self.topology.links) if machine in (a.node, b.node)
        ]
        if not found:
            raise LabError(f"no machine '{machine}' with a cable in lab '{self.name}'")
        return found

    @contextmanager
    def observe(self, *where: str, expression: str = "", timeout: float = 10.0) -> Iterator[Observation]:
        """Capture at `MACHINE:INTERFACE` or `pod/[NAMESPACE/]NAME` places while the block runs."""
        from netlab.trace.observe import frame

        seen = Observation()
        command = [*_KLAB, "--lab", self.name, "capture", "--raw", "--filter", expression, *where]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101
            try:
                first = process.stdout.readline()
                if not first:
                    raise LabError(f"capture at {', '.join(where)} did not start")
                yield seen
                process.stdin.close()
                for line in process.stdout:
                    entry = json.loads(line)
                    if "dropped" in entry:
                        seen.dropped[entry["place"]] = entry["dropped"]
                    else:
                        seen.frames.append(frame(entry))
                process.wait(timeout)
            finally:
                if process.poll() is None:
                    process.kill()

    def _klab(self, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        return self._run([*_KLAB, "--lab", self.name, *arguments], None, timeout, dict(os.environ))

    @staticmethod
    def _run(
        command: Sequence[str], stdin: str | None, timeout: float, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command, input="" if stdin is None else stdin, capture_output=True,
                text=True, timeout=timeout, env=environment, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise LabError(f"{' '.join(command)}: no end after {timeout:.0f} s") from None


_KLAB = (sys.executable, "-m", "netlab")
