"""Components of the lab and containers of pods: running, paused, ended. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netlab.api.types import Obj
from netlab.dataplane.nodes import BRIDGE
from netlab.lab.diagnosis.legs import is_ready
from netlab.lab.diagnosis.model import Facts, Finding, NodeProxy

COMPONENT = "component/"
ONCE = ("addons",)
"""Components that end when their work is done."""


def components(facts: Facts) -> Iterator[Finding]:
    """Components that are paused or have ended. Those that a lab was told to do without are not missed."""
    for process in facts.processes:
        name = process.id.removeprefix(COMPONENT)
        if not process.id.startswith(COMPONENT) or name in ONCE:
            continue
        if process.state == "T":
            yield Finding(
                "component-paused", "lab", f"component {name}", f"process {process.pid} is stopped (SIGSTOP)",
                "it runs", f"klab mininet -c 'sh kill -CONT {process.pid}'",
            )  # fmt: skip
        elif process.state in ("-", "Z", "X"):
            yield Finding(
                "component-ended", "lab", f"component {name}", "it has ended and does not come back", "it runs",
                f"klab logs {name} --tail 20; klab down && klab up",
            )  # fmt: skip


def api(facts: Facts) -> Iterator[Finding]:
    if facts.objects.error:
        yield Finding(
            "api-unreachable", "lab", "API server", facts.objects.error, "it answers",
            "klab status; klab logs apiserver",
        )  # fmt: skip


def nodes(facts: Facts, names: Iterable[str]) -> Iterator[Finding]:
    """Nodes that are not Ready, or never registered."""
    if facts.objects.error:
        return
    known = {node["metadata"]["name"]: node for node in facts.objects.nodes}
    for name in names:
        node = known.get(name)
        if node is None:
            yield Finding(
                "node-unknown", "lab", name, "the node has not registered with the API server", "a Node object",
                "klab logs agent-0 --tail 20",
            )  # fmt: skip
        elif not is_ready(node):
            condition: Obj = next((c for c in node["status"].get("conditions") or () if c["type"] == "Ready"), {})
            yield Finding(
                "node-not-ready", "lab", name,
                f"NotReady: {condition.get('message') or condition.get('reason') or 'it says nothing'}", "Ready",
                f"klab kubectl describe node {name}",
            )  # fmt: skip


def off(facts: Facts, names: Iterable[str]) -> Iterator[Finding]:
    """Nodes that have registered and have no bridge: a power cut, or an agent that never came so far."""
    known = {node["metadata"]["name"] for node in facts.objects.nodes if (node.get("spec") or {}).get("podCIDR")}
    for name in names:
        machine = facts.machines.get(name)
        if name in known and machine is not None and machine.state.links and machine.state.link(BRIDGE) is None:
            yield Finding(
                "node-off", "lab", name, f"it has no {BRIDGE}: the node is off, or its agent has not set it up",
                "a node that runs", "klab fault ls; klab fault heal --all; klab logs agent-0 --tail 20",
            )  # fmt: skip


def proxies(facts: Facts, names: Iterable[str]) -> Iterator[Finding]:
    """Nodes on which nobody makes Services, or whose proxy has failed."""
    for name in names:
        proxy = facts.proxies.get(name, NodeProxy("none"))
        if proxy.mode == "none":
            yield Finding(
                "no-proxy", "rules", name, "its proxy mode is none: nobody makes Services on it", "a proxy",
                f"klab proxy-mode iptables --node {name}",
            )  # fmt: skip
        elif proxy.state == "failed":
            yield Finding(
                "proxy-failed", "rules", name, f"its proxy in mode {proxy.mode} has failed", "it runs",
                "klab proxy-mode; klab logs agent-0 --tail 20",
            )  # fmt: skip


def containers(facts: Facts, pods: Iterable[str]) -> Iterator[Finding]:
    """Stopped processes of these pods ("namespace/name")."""
    wanted = set(pods)
    for process in facts.processes:
        if process.container and process.pod in wanted and process.state == "T":
            namespace, _, name = process.pod.partition("/")
            yield Finding(
                "process-paused", "process", f"pod {process.pod}",
                f"container {process.container}: its process is stopped (SIGSTOP)", "it runs",
                f"klab mininet -c 'sh kill -CONT {process.pid}'  (or: klab kubectl delete pod {name} -n {namespace})",
            )  # fmt: skip
