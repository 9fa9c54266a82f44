"""`netlab.Lab`: a lab as an object for scripts and tests. Synchronous; every call that waits has a time-out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netlab import manifests as manifest_files
from netlab.api.errors import StatusError
from netlab.api.types import Obj
from netlab.client.kinds import ResourceRef, object_path
from netlab.lab.facade import waiting
from netlab.lab.facade.api import ApiClient
from netlab.lab.facade.model import DnsAnswer, Observation, Response, WaitTimeout
from netlab.lab.facade.places import Machine, Place, Pod
from netlab.lab.facade.recording import Recording
from netlab.lab.facade.reset import Resetter
from netlab.lab.finding import pick
from netlab.lab.lifecycle import Started, UpOptions, down, up
from netlab.lab.portal import Portal, Result, Where
from netlab.lab.record import LabError
from netlab.topology import load
from netlab.topology.model import Topology

if TYPE_CHECKING:
    from netlab.lab.diagnosis.model import Finding
    from netlab.trace.model import Report
    from netlab.trace.reach.matrix import Matrix

POLL = 0.03
"""Seconds between two looks at what is waited for; a look takes about 2 ms."""


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
        self.portal = Portal(self.paths)
        self._resetter: Resetter | None = None
        self.since = time.time()
        """When what it is used for began: events before it tell of something else."""
        self.notes: dict[str, str] = {}
        """Texts to keep beside them, by file name."""
        self.severed: set[str] = set()
        """Machines whose cables `cut` has pulled."""
        self.kept: list[Recording] = []
        """What was sniffed, for whoever wants to keep it (the pytest plugin does, of tests that fail)."""

    @classmethod
    def up(
        cls,
        topology: str | Path | None = None,
        *,
        name: str | None = None,
        api_port: int | None = None,
        timeout: float | None = None,
        without: Sequence[str] | None = None,
    ) -> Lab:
        """Start a lab and return when its cluster is of use. Raises TopologyError, LabError, SandboxError."""
        left_out = None if without is None else tuple(without)
        source = str(topology) if topology else None
        started = up(UpOptions(source, name, api_port, timeout=timeout, without=left_out))
        lab = cls(started.paths.name)
        lab.started = started
        return lab

    @classmethod
    def attach(cls, name: str | None = None) -> Lab:
        """The lab of that name, or the only one that runs. LabError where there is none, or several."""
        return cls(pick(name).name)

    def down(self, *, purge: bool = False) -> None:
        """End the lab; `purge` forgets its objects too. Twice is fine."""
        self.close()
        down(self.name, purge=purge)

    def close(self) -> None:
        """Let go of it: what this object holds open ends, the lab goes on."""
        for recording in self.kept:
            recording.stop()
        self.portal.close()
        if self._resetter is not None:
            self._resetter.close()
        if "api" in self.__dict__:
            self.api.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.down(purge=True)

    # the API

    @cached_property
    def api(self) -> ApiClient:
        """The lab's API as its administrator."""
        return ApiClient(self.paths)

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment with kubectl pointed at the lab."""
        return {**os.environ, "KUBECONFIG": str(self.paths.kubeconfig), "KLAB_LAB": self.name}

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120.0, check: bool = True) -> str:
        """Run the user's own kubectl; its standard output. LabError with its words when it fails and `check` is on."""
        program = shutil.which("kubectl")
        if program is None:
            raise LabError("there is no kubectl on PATH; Debian's is in the package kubernetes-client", 127)
        result = _run([program, *arguments], stdin, timeout, self.environment)
        if check and result.returncode != 0:
            raise LabError(f"kubectl {' '.join(arguments)}: {result.stderr.strip() or result.stdout.strip()}")
        return result.stdout

    def get(self, *arguments: str) -> Obj:
        """`kubectl get … -o json`, decoded."""
        return dict(json.loads(self.kubectl("get", *arguments, "-o", "json")))

    def apply(self, manifests: str | Path | Obj | Sequence[Obj], *, namespace: str = "default") -> str:
        """Apply YAML text, a file or directory (a Path), an object or several; a line an object, as kubectl prints.

        Server-side: the API decides what changes, in a few ms. LabError names the object that is refused, and why.
        """
        lines = []
        for obj in _objects(manifests):
            name = f"{obj['kind'].lower()}/{obj['metadata'].get('name', '')}"
            try:
                _, what = self.api.apply(obj, namespace)
            except StatusError as error:
                raise LabError(f"{name}: {error.message}") from None
            lines.append(f"{name} {what}\n")
        return "".join(lines)

    def delete(
        self,
        what: str | Path | Obj | Sequence[Obj],
        *,
        namespace: str = "default",
        grace: int | None = None,
        timeout: float = 60.0,
    ) -> None:
        """Delete "pod/web", or everything of manifests, and wait until it is gone. What is not there is no error."""
        if isinstance(what, str) and "\n" not in what and "/" in what and not Path(what).exists():
            kind, _, name = what.partition("/")
            resource, _, namespaced = self.api.named(kind)
            wanted = [(resource, name, namespace if namespaced else None)]
        else:
            wanted = [self._place_of(obj, namespace) for obj in reversed(_objects(what))]
        body = {"propagationPolicy": "Background", **({} if grace is None else {"gracePeriodSeconds": grace})}
        for resource, name, where in wanted:
            try:
                self.api.call("DELETE", object_path(resource, where, name), body=body)
            except StatusError as error:
                if error.code != 404:
                    raise LabError(f"{name}: {error.message}") from None
        for resource, name, where in wanted:
            self._until(lambda r=resource, n=name, w=where: self._gone(r, n, w), f"{name} to be gone", timeout)  # type: ignore[misc]

    def _place_of(self, obj: Obj, namespace: str) -> tuple[ResourceRef, str, str | None]:
        plural, namespaced = self.api.plural(obj["apiVersion"], obj["kind"])
        where = obj["metadata"].get("namespace") or namespace
        return (obj["apiVersion"], plural), obj["metadata"]["name"], where if namespaced else None

    def _gone(self, resource: ResourceRef, name: str, namespace: str | None) -> tuple[bool, str]:
        found = self.api.find(resource, name, namespace)
        return found is None, "" if found is None else waiting.how_far(found)

    @property
    def nodes(self) -> list[Obj]:
        """The cluster's Nodes."""
        return self.api.list(("v1", "nodes"))

    def pods(self, selector: str = "", *, namespace: str | None = None) -> list[Obj]:
        """Pods by label, of one namespace or (None) of all."""
        return self.api.list(("v1", "pods"), namespace, selector=selector)

    def wait(
        self,
        what: str,
        condition: str | Callable[[Obj], bool] | None = None,
        *,
        namespace: str = "default",
        selector: str = "",
        timeout: float = 60.0,
    ) -> list[Obj]:
        """Wait for "deployment/web", "pod/client", "pods" (with a `selector`), "nodes"; the objects as they then are.

        `condition`: a condition's type ("Ready", "Ready=False"), "exists", "deleted", or a function of the object; the
        default is that pods and nodes are Ready, workloads are rolled out, and other things are there. WaitTimeout
        says what was waited for, and how it was at the end.
        """
        kind, _, name = what.partition("/")
        resource, kind_name, namespaced = self.api.named(kind)
        wanted = waiting.DEFAULTS.get(kind_name, "exists") if condition is None else condition
        where = namespace if namespaced else None
        text = wanted if isinstance(wanted, str) else getattr(wanted, "__name__", "as wanted")
        found: list[Obj] = []

        def look() -> tuple[bool, str]:
            nonlocal found
            if name:
                one = self.api.find(resource, name, where)
                found = [] if one is None else [{"kind": kind_name, **one}]
            else:
                found = [{"kind": kind_name, **one} for one in self.api.list(resource, where, selector=selector)]
            if text == "deleted":
                return not found, "; ".join(map(waiting.how_far, found))
            missing = [one for one in found if not _is(one, wanted)]
            return bool(found) and not missing, "; ".join(map(waiting.how_far, missing)) or waiting.how_far(None)

        of = f" with {selector}" if selector else ""
        self._until(look, f"{what}{of} to be {text}", timeout)
        return found

    def _until(self, look: Callable[[], tuple[bool, str]], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            done, state = look()
            if done:
                return
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"lab '{self.name}': waited {timeout:g} s for {what}: {state}")
            time.sleep(POLL)

    # places

    def node(self, name: str) -> Machine:
        """A node, host or router. LabError names those that there are."""
        from netlab.lab.inside import machines

        known = machines(self.topology)
        if name not in known:
            raise LabError(f"no machine '{name}' in lab '{self.name}'; there are: {', '.join(known)}", 2)
        return Machine(self, name)

    host = node

    def pod(self, name: str) -> Pod:
        """A running pod `[NAMESPACE/]NAME[:CONTAINER]`; a NAME may be a pattern ("web-*": the first). LabError."""
        import fnmatch

        from netlab.lab.inside import running_pods

        wanted, _, container = name.removeprefix("pod/").partition(":")
        wanted = wanted if "/" in wanted else f"default/{wanted}"
        running = running_pods(self.paths)
        for full in sorted(fnmatch.filter(running, wanted)):
            return Pod(self, running[full], container)
        raise LabError(f"no running pod '{wanted}' in lab '{self.name}'; there are: {', '.join(running) or 'none'}", 2)

    def place(self, name: str | Place) -> Place:
        """A machine by its name, else a pod ("pod/NAME", "NAMESPACE/NAME", NAME)."""
        if isinstance(name, Place):
            return name
        from netlab.lab.inside import machines

        return self.node(name) if name in machines(self.topology) else self.pod(name)

    def exec(self, where: str | Place, *command: str, timeout: float = 60.0, check: bool = True) -> str:
        """Run a command on a node, host or router, or in a pod; its standard output. LabError where it fails."""
        return self.place(where).run(*command, timeout=timeout, check=check).stdout

    def http(self, source: str | Place, url: str, **options: Any) -> Response:
        """A request from a place: status, headers, body. Options: method, headers, body, timeout (5 s).

        Unreachable where there is no answer: `.reason` is "refused", "timeout", … Names are resolved as there: by a
        pod's resolv.conf, on a node by the cluster's DNS; machines of the topology are known everywhere.
        """
        return self.place(source).http(url, **options)

    def dns(
        self, source: str | Place, name: str, kind: str = "A", *, server: str | None = None, timeout: float = 5.0
    ) -> DnsAnswer:
        """A DNS question from a place, by its resolver and search list. NXDOMAIN is an answer; none is Unreachable."""
        return self.place(source).dns(name, kind, server=server, timeout=timeout)

    # packets

    def capture(self, *where: str, filter: str = "") -> Recording:  # noqa: A002 — as scapy says it
        """Record at places as `klab capture` takes them (all of them: "all"), while a `with` block runs.

        >>> with lab.capture("node1:eth0", "pod/client", filter="udp port 8472") as seen: ...
        >>> seen.packets(), seen.frames(), seen.save("x.pcapng")
        """
        from netlab.lab.capturing import Places
        from netlab.lab.inside import running_pods

        pods = running_pods(self.paths) if any(w.startswith(("pod/", "all")) for w in where) else {}
        points = Places(self.topology, pods, self.name).points(where)
        recording = Recording(self.portal, points, filter)
        self.kept.append(recording)
        return recording

    @contextmanager
    def observe(self, *where: str, expression: str = "") -> Iterator[Observation]:
        """Capture at places while the block runs: decoded frames, and how many were lost at each place."""
        seen = Observation()
        with self.capture(*where, filter=expression) as recording:
            yield seen
        seen.frames[:] = recording.frames()
        seen.dropped.update(recording.dropped)

    # as it was

    def remember(self) -> None:
        """Take the lab as it is now for what `reset` brings it back to."""
        if self._resetter is not None:
            self._resetter.close()
        self._resetter = Resetter(self)

    def reset(self, *, timeout: float = 60.0) -> float:
        """Bring the lab back to what `remember` saw; seconds that it took (a few ms where nothing has changed).

        Objects of every kind that came since are deleted at once, changed ones changed back, lost ones made again;
        faults are healed, cables and devices are up, proxy modes as they were, and of pods that are gone no process is
        left. What `exec` has changed in a machine by hand (routes, rules) is not. WaitTimeout says what resists.
        """
        if self._resetter is None:
            raise LabError("nothing to go back to: Lab.remember() comes first")
        for recording in self.kept:
            recording.stop()
        self.kept.clear()
        self.notes.clear()
        seconds = self._resetter.reset(timeout)
        self.since = time.time()
        return seconds

    # the underlay

    def mininet(self, command: str, *, timeout: float = 120.0) -> str:
        """One command at Mininet's prompt; what it printed."""
        result = self._mininet(command, timeout)
        return result.stdout + result.stderr

    def _mininet(self, command: str, timeout: float = 120.0) -> Result:
        prompt = [sys.executable, "-m", "netlab.substrate.prompt", str(self.paths.topology), "-c", command]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or "." for entry in sys.path)}
        result = self.portal.run(Where(), prompt, env=environment, timeout=timeout, what="mininet")
        if result.status:
            raise LabError(f"mininet: {command}: {result.stderr.strip() or result.stdout.strip()}")
        return result

    def cut(self, machine: str) -> None:
        """Pull the machine's cables: its links lose their carrier, as when the plug is out."""
        self._carrier(machine, "down")
        self.severed.add(machine)

    def mend(self, machine: str) -> None:
        """Put the cables back."""
        self._carrier(machine, "up")
        self.severed.discard(machine)

    def _carrier(self, machine: str, state: str) -> None:
        for a, b in self._cables(machine):
            self._mininet(f"link {a} {b} {state}")

    def _cables(self, machine: str) -> list[tuple[str, str]]:
        """The pairs of machine names at the ends of its links."""
        found = [
            (a.node, b.node) for a, b in (link.ends for link in self.topology.links) if machine in (a.node, b.node)
        ]
        if not found:
            raise LabError(f"no machine '{machine}' with a cable in lab '{self.name}'")
        return found

    # what the other verbs of `klab` do

    @contextmanager
    def fault(
        self, kind: str, *targets: str, duration: str | float | None = None, seed: int | None = None, **options: object
    ) -> Iterator[Obj]:
        """Break something while the block runs: `fault("link-down", "node1")`, `fault("loss", "node1", percent="20%")`.

        Kinds and options are those of `klab fault`; the block gets the record of what was broken. LabError says what
        this kernel cannot do, and which kind or option is wrong.
        """
        from netlab.lab import faulting

        written = {name.rstrip("_").replace("_", "-"): str(value) for name, value in options.items()}
        found = faulting.inject(self.paths, kind, targets, written, duration, seed)
        try:
            yield found
        finally:
            if found["id"] in [one["id"] for one in faulting.listed(self.paths)]:
                faulting.heal(self.paths, [found["id"]])

    def heal(self) -> None:
        """Mend everything that is broken on purpose."""
        from netlab.lab import faulting

        faulting.heal(self.paths)
        for machine in sorted(self.severed):
            self.mend(machine)

    def why(self, source: str, target: str, *, proto: str = "tcp") -> list[Finding]:
        """What is wrong between them, causes first, as `klab why` says it; empty where everything works."""
        from netlab.lab.diagnosis import collect

        return collect.findings(collect.why(self.paths, source, target, proto, collect.through(self.portal)))

    def check(self) -> list[Finding]:
        """What of the lab is not as it should be, as `klab check` says it; empty where all is well."""
        from netlab.lab.diagnosis import collect

        return collect.findings(collect.check(self.paths, collect.through(self.portal)))

    def trace(self, source: str, target: str, *, proto: str = "", timeout: float = 2.0) -> Report:
        """A packet followed, and its way computed, as `klab trace` does: `.observed`, `.predicted`, `.difference`.

        `source` and `target` as there: pods, machines, "svc/web:80", addresses, "outside".
        """
        from netlab.lab.tracing import Asked, trace

        return trace(self.paths, Asked(source, target, proto, timeout=timeout))

    def ping_all(self, *, proto: str = "icmp", to: str = "", timeout: float = 300.0) -> Matrix:
        """Who reaches whom: `klab ping --all`, as a matrix."""
        from netlab.trace.reach.matrix import from_obj

        groups = ("--to", to) if to else ()
        arguments = ("--all", "--proto", proto, *groups, "-o", "json")
        result = _run([*_KLAB, "--lab", self.name, "ping", *arguments], None, timeout, dict(os.environ))
        try:
            return from_obj(json.loads(result.stdout))
        except ValueError:
            raise LabError(f"ping: {result.stderr.strip().removeprefix('Error: ')}") from None

    def klab(self, *arguments: str, timeout: float = 120.0, check: bool = True) -> str:
        """Run `klab` on this lab; its standard output. LabError with its words where it fails and `check` is on."""
        result = _run([*_KLAB, "--lab", self.name, *arguments], None, timeout, dict(os.environ))
        if check and result.returncode != 0:
            words = result.stderr.strip().removeprefix("Error: ") or result.stdout.strip()
            raise LabError(f"klab {' '.join(arguments)}: {words}", result.returncode)
        return result.stdout


def _objects(given: str | Path | Obj | Sequence[Obj]) -> list[Obj]:
    """Whatever a caller calls manifests. A string with a line end is text, one without is a path."""
    try:
        if isinstance(given, dict):
            return [given]
        if isinstance(given, Path) or (isinstance(given, str) and "\n" not in given and ":" not in given):
            return manifest_files.load(Path(given))
        if isinstance(given, str):
            return manifest_files.in_apply_order(manifest_files.parse(given))
    except (OSError, manifest_files.ManifestError) as problem:
        raise LabError(str(problem)) from None
    return manifest_files.in_apply_order(given)


def _is(obj: Obj, wanted: str | Callable[[Obj], bool]) -> bool:
    return waiting.reached(obj, wanted) if isinstance(wanted, str) else wanted(obj)


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
