"""Where `klab capture` is to listen, what things are called there, and which flow is meant."""

from __future__ import annotations

import fnmatch
import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from netlab.api.types import Obj
from netlab.lab import looking
from netlab.lab.inside import machines, running_pods
from netlab.lab.record import LabError
from netlab.sandbox.launch import enter
from netlab.sandbox.paths import LabPaths
from netlab.topology import load
from netlab.topology.model import Topology

if TYPE_CHECKING:
    from netlab.runtime.contract import SandboxConfig
    from netlab.trace.connections import Names
    from netlab.trace.follow import End, Flow
    from netlab.trace.observe import Format, Point, Wanted
    from netlab.trace.sinks import Labels

_FLOW = re.compile(r"\s*(.+?)\s*(?:→|->|>)\s*(.+?)\s*\Z")
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "sctp": 132}


@dataclass(frozen=True, slots=True)
class Capture:
    """What a capture is asked for. `form`: how it is written to standard output."""

    where: tuple[str, ...]
    expression: str = ""
    form: Format = "text"
    count: int = 0
    seconds: float = 0.0
    follow: str = ""


class Places:
    """The places of a running lab, by the words of a user."""

    def __init__(self, topology: Topology, pods: dict[str, SandboxConfig], lab: str) -> None:
        self.topology, self.pods, self.lab = topology, pods, lab
        self.machines = machines(topology)
        self.switches = [switch.name for switch in topology.switches]

    def points(self, where: Sequence[str]) -> list[Point]:
        """Every place that is meant, each once. LabError with what there is, where one is not."""
        found: dict[tuple[str, str], Point] = {}
        for word in where:
            for point in self._points(word):
                found.setdefault((point.place, point.interface), point)
        return list(found.values())

    def _points(self, word: str) -> list[Point]:
        if word == "all":
            return [*self._points("pod/*/*"), *map(self._machine, self.machines), *map(self._switch, self.switches)]
        name, _, interface = word.partition(":")
        if name.startswith("pod/"):
            return [self._pod(pod, interface) for pod in self._matching_pods(name.removeprefix("pod/"))]
        machines = fnmatch.filter(self.machines, name)
        switches = fnmatch.filter(self.switches, name)
        if not machines and not switches:
            self._unknown(name)
        return [
            *(self._machine(one, interface) for one in machines),
            *(self._switch(one, interface) for one in switches),
        ]

    def _machine(self, name: str, interface: str = "") -> Point:
        from netlab.trace.observe import Point

        return Point(name, name, interface)

    def _switch(self, name: str, interface: str = "") -> Point:
        """Switches and their ports are in the lab's own namespace; the ports begin with the switch's name."""
        from netlab.trace.observe import Point

        return Point(name, "", interface or f"{name},{name}-*")

    def _pod(self, name: str, interface: str) -> Point:
        from netlab.trace.observe import Point

        config = self.pods[name]
        return Point(f"pod/{name}", config.netns.rpartition("/")[2], interface or "eth0")

    def _matching_pods(self, pattern: str) -> list[str]:
        wanted = pattern if "/" in pattern else f"default/{pattern}"
        found = [name for name in fnmatch.filter(self.pods, wanted) if not self.pods[name].host_network]
        if found or wanted == "*/*":
            return found
        close = get_close_matches(wanted, self.pods, 1)
        hint = f"did you mean 'pod/{close[0]}'?" if close else "'klab kubectl get pods -A' lists the pods"
        raise LabError(f"no running pod '{pattern}' in lab '{self.lab}'; {hint}", 2)

    def _unknown(self, name: str) -> None:
        known = [*self.machines, *self.switches]
        close = get_close_matches(name, known, 1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise LabError(
            f"no machine '{name}' in lab '{self.lab}'; {hint}there are: {', '.join(known)}; a pod is pod/NAME, "
            "everything is 'all'", 2,
        )  # fmt: skip


def capture(paths: LabPaths, asked: Capture) -> int:
    """Run an observer in the lab on the caller's standard streams; its exit status."""
    from netlab.kernel.bpf import FilterError, compile_filter
    from netlab.trace.observe import request

    try:
        if asked.expression.strip():
            compile_filter(asked.expression)
    except FilterError as problem:
        raise LabError(str(problem), 2) from None
    topology = load(paths.topology)
    places = Places(topology, running_pods(paths), paths.name)
    points = places.points(asked.where)
    text = request(points, asked.expression, form=asked.form, wanted=_wanted(paths, places, asked))
    return enter(paths, [sys.executable, "-m", "netlab.trace.observe", text])


def _wanted(paths: LabPaths, places: Places, asked: Capture) -> Wanted:
    from netlab.trace.observe import Wanted

    if asked.form == "json" and not asked.follow:
        return Wanted(asked.count, asked.seconds)
    world = World.of(paths, places)
    nodes = tuple(node.name for node in places.topology.nodes)
    flow = world.flow(asked.follow) if asked.follow else None
    return Wanted(asked.count, asked.seconds, flow, nodes if flow else (), world.labels())


class World:
    """Names and addresses of everything, from the API and the topology."""

    def __init__(self, places: Places, known: Names, services: list[Obj], pods: list[Obj]) -> None:
        self.places, self.known, self.services, self.pods = places, known, services, pods

    @classmethod
    def of(cls, paths: LabPaths, places: Places) -> World:
        from netlab.trace.connections import names

        services, pods, nodes = looking.objects(paths, ("v1", "services"), ("v1", "pods"), ("v1", "nodes"))
        known = names(services, pods, nodes)
        topology = places.topology
        for name in places.machines:
            for address in topology.node_ips(name):
                known.nodes.setdefault(address, name)
        return cls(places, known, services, pods)

    def labels(self) -> Labels:
        """As Wireshark's users write names: NAME.NAMESPACE.pod, NAME.NAMESPACE.svc, a machine's own."""
        from netlab.trace.sinks import Labels

        addresses = dict(self.known.nodes)
        for address, pod in self.known.pods.items():
            namespace, _, name = pod.partition("/")
            addresses[address] = f"{name}.{namespace}.pod"
        for (_, address, _), service in self.known.services.items():
            namespace, _, name = service.partition("/")
            addresses[address] = f"{name.partition(':')[0]}.{namespace}.svc"
        interfaces = {
            f"{config.node}:veth{hashlib.sha256(config.uid.encode()).hexdigest()[:8]}": f"to pod {name}"
            for name, config in self.places.pods.items()
            if not config.host_network
        }
        pods = {
            f"pod/{name}": f"pod {name} ({' '.join(config.ips)}) on {config.node}"
            for name, config in self.places.pods.items()
        }
        return Labels(addresses, interfaces, pods)

    def flow(self, text: str) -> Flow:
        """`SRC→DST[:PORT][/tcp]`; LabError where it cannot be read or names what is not there."""
        from netlab.trace.follow import Flow

        match = _FLOW.match(text)
        if match is None:
            raise LabError(f"flow '{text}': write FROM→TO[:PORT], as client→svc/web:80 or pod/a->10.96.0.10:53/udp", 2)
        target, _, protocol = match[2].rpartition("/")
        if protocol not in PROTOCOLS:
            target, protocol = match[2], ""
        return Flow(self._ends(match[1]), self._ends(target), PROTOCOLS.get(protocol, 0))

    def _ends(self, word: str) -> tuple[End, ...]:
        """Addresses of a pod (as in a trace it goes before a machine of its name), Service, machine; `any` is ()."""
        if word in ("any", "*"):
            return ()
        name, _, port = word.rpartition(":") if re.search(r"\w:\d+\Z", word) else (word, "", "0")
        name, number = name.strip("[]"), int(port)
        prefix, _, rest = name.partition("/")
        if prefix in ("svc", "service", "services"):
            return self._service(rest, number)
        if re.fullmatch(r"[\d.]+|[0-9a-f:]*:[0-9a-f:]+", name):
            return ((name, number),)
        machine = rest if prefix in ("node", "host", "router") else name
        found = [] if machine == rest else self._pod_addresses(name.removeprefix("pod/"))
        if not found and prefix != "pod":
            found = [address for address, owner in self.known.nodes.items() if owner == machine]
        if not found:
            raise LabError(f"no pod, machine or address '{name}' in lab '{self.places.lab}'; a Service is svc/NAME", 2)
        return tuple((address, number) for address in found)

    def _pod_addresses(self, name: str) -> list[str]:
        full = name if "/" in name else f"default/{name}"
        return [address for address, owner in self.known.pods.items() if owner == full]

    def _service(self, word: str, number: int) -> tuple[End, ...]:
        full = word if "/" in word else f"default/{word}"
        found: set[End] = set()
        for (_, address, port), name in self.known.services.items():
            if name.partition(":")[0] == full and number in (0, port):
                found.add((address, port))
        for (_, port), name in self.known.node_ports.items():
            if name.partition(":")[0] == full and number in (0, port):
                found.update((address, port) for address in self.known.nodes)
        if not found:
            at = f" with port {number}" if number else ""
            raise LabError(f"no Service '{full}'{at} that has an address in lab '{self.places.lab}'", 2)
        return tuple(sorted(found))
