"""The demonstration behind scripts/demo: each step says what it checks, what it expects and what it saw.

It is also an example of scripting a lab with `netlab.Lab`. Run it through scripts/demo, which sets up what it needs.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from netlab import Lab
from netlab.api.types import Obj
from netlab.lab.record import LabError
from netlab.sandbox.spec import SandboxError
from netlab.topology import TopologyError
from netlab.trace.render import outer, story, summary
from netlab.trace.story import Frame, packets

MANIFESTS = Path(__file__).resolve().parent.parent / "labs" / "00-first-look" / "manifests"
NODE_PORT = 30080


class Failed(Exception):
    """A check that was not met; the text says what was expected and what was seen."""


class Demo:
    """The steps, in order, on one lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.steps = 0

    # telling

    def step(self, title: str) -> None:
        self.steps += 1
        print(
            f"\n\033[1m{self.steps}. {title}\033[0m" if sys.stdout.isatty() else f"\n{self.steps}. {title}", flush=True
        )

    def check(self, what: str, expected: object, seen: object, holds: bool) -> None:
        """Say what was checked; Failed unless it holds."""
        if not holds:
            raise Failed(f"{what}: expected {expected}, saw {seen}")
        print(f"   ok  {what}: {seen}", flush=True)

    def until(
        self, what: str, expected: object, look: Callable[[], object], timeout: float, pause: float = 0.2
    ) -> None:
        """Look again until `look` gives what was expected; Failed with the last sight after `timeout` seconds."""
        end, began, seen = time.monotonic() + timeout, time.monotonic(), None
        while time.monotonic() < end:
            seen = look()
            if seen == expected:
                print(f"   ok  {what}: {seen} (after {time.monotonic() - began:.1f} s)", flush=True)
                return
            time.sleep(pause)
        raise Failed(f"{what}: expected {expected} within {timeout:.0f} s, saw {seen}")

    # asking

    def pods(self, selector: str) -> dict[str, Obj]:
        items = self.lab.get("pods", "-l", selector)["items"]
        return {pod["metadata"]["name"]: pod for pod in items if not pod["metadata"].get("deletionTimestamp")}

    def ready_addresses(self) -> list[str]:
        """What the Service leads to just now."""
        slices = self.lab.get("endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
        return sorted(
            endpoint["addresses"][0]
            for one in slices
            for endpoint in one.get("endpoints") or ()
            if endpoint["conditions"].get("ready")
        )

    def node_states(self) -> dict[str, str]:
        return {
            node["metadata"]["name"]: next(c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready")
            for node in self.lab.get("nodes")["items"]
        }

    def in_client(self, *command: str) -> str:
        """What a command prints in the client pod."""
        return self.lab.kubectl("exec", "client", "--", *command)

    def fetch(self, url: str) -> str:
        """From the client pod, as a user would."""
        return self.in_client("timeout", "5", "wget", "-q", "-O", "-", url).strip()

    # the steps

    def cluster(self) -> None:
        self.step("The cluster that came up from the topology file")
        topology = self.lab.topology
        shown = sorted({"node1", "node2", "client"} & {one.name for one in (*topology.nodes, *topology.hosts)})
        needed = ["client", "node1", "node2"]
        self.check("the topology has the machines of these steps", needed, shown, shown == needed)
        print(self.lab.kubectl("get", "nodes", "-o", "wide").rstrip())
        expected = {node.name: "True" for node in self.lab.topology.nodes}
        self.check("every node is Ready", expected, self.node_states(), self.node_states() == expected)

    def deploy(self) -> None:
        self.step("A Deployment and a Service, applied with kubectl")
        print(self.lab.kubectl("apply", "-f", str(MANIFESTS)).rstrip())
        print(self.lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s").rstrip())
        self.lab.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s")
        print(self.lab.kubectl("get", "pods,services", "-o", "wide").rstrip())
        nodes = sorted({pod["spec"]["nodeName"] for pod in self.pods("app=web").values()})
        self.check("the backends are on two nodes", ["node1", "node2"], nodes, nodes == ["node1", "node2"])

    def names(self) -> None:
        self.step("The Service answers by its DNS name, across the overlay")
        address = self.lab.get("service", "web")["spec"]["clusterIP"]
        answer = self.in_client("nslookup", "web.default.svc.cluster.local")
        self.check("web.default.svc.cluster.local resolves", address, address, address in answer)
        wanted = set(self.pods("app=web"))
        seen: dict[str, int] = {}
        for call in range(40):  # ten calls; chance picks, so a few more before a backend counts as never reached
            if call >= 10 and set(seen) == wanted:
                break
            name = self.fetch("http://web/hostname")
            seen[name] = seen.get(name, 0) + 1
        self.check(f"{sum(seen.values())} calls reached both backends", sorted(wanted), seen, set(seen) == wanted)

    def node_port(self) -> None:
        self.step("From outside: the NodePort")
        client, node = "client", self.lab.topology.node_ip("node1")
        url = f"http://{node}:{NODE_PORT}/hostname"
        name = self.lab.exec(client, "timeout", "5", "busybox", "wget", "-q", "-O", "-", url).strip()
        self.check(f"the outside client asks {url}", "one of the backends", name, name in self.pods("app=web"))

    def masquerade(self) -> None:
        self.step("To outside: a pod's packets leave with its node's address")
        outside, node = self.lab.topology.node_ip("client"), self.lab.topology.node_ip("node1")
        pod = self.pods("app=client")["client"]["status"]["podIP"]
        with self.lab.observe("client:eth0", expression="icmp") as seen:
            self.in_client("ping", "-c", "1", "-W", "3", outside)
        sources = {f.packet.src for f in seen.frames if f.packet.dst == outside}
        self.check(f"pod {pod} pings {outside}, which sees", {node}, sources, sources == {node})

    def hops(self) -> None:
        self.step("The packets of one call, hop by hop")
        backend = next(pod for pod in self.pods("app=web").values() if pod["spec"]["nodeName"] == "node2")
        address, name = backend["status"]["podIP"], backend["metadata"]["name"]
        service = self.lab.get("service", "web")["spec"]["clusterIP"]
        client = self.pods("app=client")["client"]["status"]["podIP"]
        flows = self.capture_call(name, client)
        names = {service: "service web", address: name, client: "client"}
        telling = [flow for flow in flows if tells(flow[0])]
        print(story(telling, names=names, explain=Rules(self.lab, "node1")).rstrip())
        print(f"   ({len(flows)} packets in all; acknowledgements and the closing look the same)")
        self.judge(flows, client, service, address)

    def capture_call(self, backend: str, client: str) -> list[list[Frame]]:
        """Call until the backend on the other node answers, and give that call's packets."""
        where = ["pod/client", "node1:docker0", "node1:flannel.1", "node1:eth0"]
        where += ["node2:eth0", "node2:flannel.1", "node2:docker0", f"pod/{backend}"]
        for _ in range(20):
            with self.lab.observe(*where, expression="tcp port 80 or tcp port 8080 or udp port 8472") as seen:
                answer = self.fetch("http://web/hostname")
            if answer == backend:
                frames = [replace(frame, place=frame.place.removeprefix("pod/default/")) for frame in seen.frames]
                first = next(f for f in frames if f.place == "client" and f.packet.flags == ("SYN",))
                return packets(frames, client, first.packet.sport)
        raise Failed(f"20 calls, none to {backend}: expected one in two")

    def judge(self, flows: list[list[Frame]], client: str, service: str, backend: str) -> None:
        sights = [f"{frame.place} {frame.interface}" for frame in flows[0]]
        path = ["client eth0", "node1 docker0", "node1 flannel.1", "node1 eth0", "node2 eth0", "node2 flannel.1"]
        path += ["node2 docker0"]
        ordered = [place for place in dict.fromkeys(sights) if place in path]
        self.check("the first packet's way", path, ordered, ordered == path)
        first, last = flows[0][0].packet, flows[0][-1].packet
        self.check("it was sent to the Service's address", service, first.dst, first.dst == service)
        self.check("DNAT gave it the backend's", backend, last.dst, last.innermost.dst == backend)
        self.check("its source was kept", client, last.src, last.innermost.src == client)
        carried = next(frame.packet for frame in flows[0] if frame.packet.inner is not None)
        nodes = (self.lab.topology.node_ip("node1"), self.lab.topology.node_ip("node2"))
        self.check("it crossed the underlay in VXLAN", nodes, outer(carried), (carried.src, carried.dst) == nodes)
        replies = [flow for flow in flows if flow[-1].place == "client" and flow[-1].packet.src == service]
        self.check("the reply came back from the Service", service, summary(replies[0][-1].packet), bool(replies))

    def broken_cable(self) -> None:
        self.step("node2's cable is cut")
        gone = [p["status"]["podIP"] for p in self.pods("app=web").values() if p["spec"]["nodeName"] == "node2"]
        self.lab.cut("node2")
        self.until("node2 is no longer Ready", "Unknown", lambda: self.node_states()["node2"], 90)
        self.until("its endpoint is gone", True, lambda: not set(gone) & set(self.ready_addresses()), 90)
        seen = {self.fetch("http://web/hostname") for _ in range(5)}
        self.check("the Service keeps answering, 5 of 5", "other backends", sorted(seen), bool(seen) and "" not in seen)

    def mended(self) -> None:
        self.step("The cable is back")
        self.lab.mend("node2")
        wanted = {node.name: "True" for node in self.lab.topology.nodes}
        self.until("all nodes are Ready again", wanted, self.node_states, 90)
        self.lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        self.until("two endpoints again", 2, lambda: len(self.ready_addresses()), 60)

    def run(self) -> None:
        for action in (
            self.cluster, self.deploy, self.names, self.node_port, self.masquerade, self.hops, self.broken_cable,
            self.mended,
        ):  # fmt: skip
            action()


def tells(frame: Frame) -> bool:
    """Whether a packet opens the connection or carries data."""
    return "SYN" in frame.packet.innermost.flags or bool(frame.packet.innermost.payload)


class Rules:
    """Finds the iptables rule behind a translation, in the node's own `iptables-save`."""

    def __init__(self, lab: Lab, node: str) -> None:
        self.lab, self.node = lab, node
        self.text = lab.exec(node, "iptables-save", "-t", "nat")

    def __call__(self, frame: Frame, change: str) -> str:
        match = re.fullmatch(r"DNAT \S+ → (\S+)", change)
        if match is None or frame.place != self.node:
            return ""
        for line in self.text.splitlines():
            if line.startswith("-A KUBE-SEP-") and f"--to-destination {match[1]}" in line:
                return f"{self.node}'s {line}"
        return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument(
        "--topology", default="course", help="a topology with node1, node2 and an outside host 'client'"
    )
    parser.add_argument("--name", default="demo", help="the lab's name")
    parser.add_argument("--keep", action="store_true", help="leave the lab running at the end, also when a step failed")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # whatever ends the demonstration ends its lab
    began = time.monotonic()
    try:
        print(f"klab up {options.topology} --name {options.name}", flush=True)
        lab = Lab.up(options.topology, name=options.name)
    except (LabError, SandboxError, TopologyError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nscripts/demo: interrupted", file=sys.stderr)
        return 130
    demo = Demo(lab)
    try:
        assert lab.started is not None
        for phase in lab.started.phases:
            print(f"   {phase['seconds']:5.2f} s  {phase['name']}")
        demo.run()
    except (Failed, LabError, SandboxError, StopIteration, KeyError, json.JSONDecodeError) as error:
        print(f"\nscripts/demo: step {demo.steps} failed: {error or type(error).__name__}", file=sys.stderr)
        print(f"logs: {lab.paths.logs}", file=sys.stderr)
        if not options.keep:
            lab.down()
        return 1
    except KeyboardInterrupt:
        lab.down(purge=True)
        print("\nscripts/demo: interrupted; the lab is down", file=sys.stderr)
        return 130
    if options.keep:
        print(f'\nThe lab keeps running:  eval "$({Path(sys.executable).parent}/klab --lab {lab.name} env)"')
    else:
        lab.down(purge=True)
    print(f"\nAll {demo.steps} steps as expected, in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
