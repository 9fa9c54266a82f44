"""Which proxy each node of a lab has: what the topology says, and what was chosen since, which a restart keeps.

A choice is written to the lab's state and the agents are told to look; each of them says, in a file of the lab's /run,
what a node's proxy has become. Nobody needs to remember anything: an agent that starts again finds both.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path

from netlab.api.types import Obj
from netlab.lab.record import LabError, write_atomically
from netlab.sandbox.client import InitClient
from netlab.sandbox.paths import INSIDE, LabPaths
from netlab.topology.model import Topology

MODES = ("iptables", "ipvs", "nftables", "external", "none")
CHOSEN_FILE = "proxy-modes.json"
STATUS = INSIDE / "proxy"
SWITCH_TIMEOUT = 60.0
IPVS_FEATURES = ("ip_vs", "dummy", "ip_set")


@dataclass(frozen=True, slots=True)
class ProxyChoice:
    """A node's mode; scheduler and strict ARP are for IPVS."""

    mode: str
    scheduler: str = "rr"
    strict_arp: bool = False

    def __str__(self) -> str:
        if self.mode != "ipvs":
            return self.mode
        return f"ipvs ({self.scheduler}{', strict ARP' if self.strict_arp else ''})"


def chosen(state: Path, topology: Topology) -> dict[str, ProxyChoice]:
    """Every node's mode, in the order of the topology."""
    try:
        written: Mapping[str, Obj] = json.loads((state / CHOSEN_FILE).read_text())
    except (FileNotFoundError, ValueError):
        written = {}
    result = {}
    for node in topology.nodes:
        cluster = topology.cluster
        own = ProxyChoice(node.proxy_mode or cluster.proxy_mode)
        if own.mode == "ipvs":
            own = ProxyChoice("ipvs", cluster.ipvs_scheduler, cluster.ipvs_strict_arp)
        result[node.name] = ProxyChoice(**written[node.name]) if node.name in written else own
    return result


def choose(state: Path, topology: Topology, nodes: Iterable[str], choice: ProxyChoice) -> None:
    """Writes the choice for some nodes. On the disk when this returns."""
    every = {**chosen(state, topology), **dict.fromkeys(nodes, choice)}
    text = json.dumps({name: asdict(one) for name, one in every.items()}, indent=2)
    write_atomically(state / CHOSEN_FILE, text + "\n")


def requested(topology: Topology, request: Obj) -> ProxyChoice:
    """What is asked for; what it leaves open of IPVS is as the topology has it."""
    if request["mode"] != "ipvs":
        return ProxyChoice(request["mode"])
    cluster, strict = topology.cluster, request.get("strict_arp")
    scheduler = request.get("scheduler") or cluster.ipvs_scheduler
    return ProxyChoice("ipvs", scheduler, cluster.ipvs_strict_arp if strict is None else bool(strict))


def check_nodes(topology: Topology, nodes: Sequence[str]) -> tuple[str, ...]:
    """The nodes meant: all where none is named. LabError for a name that is no node's."""
    known = [node.name for node in topology.nodes]
    for name in nodes:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean '{close[0]}'? " if close else ""
            raise LabError(f"no node '{name}' in lab '{topology.name}'; {hint}there are: {', '.join(known)}", 2)
    return tuple(nodes) or tuple(known)


def check_choice(choice: ProxyChoice) -> None:
    """LabError for a mode or scheduler that does not exist, or that this kernel cannot do for this user."""
    if choice.mode not in MODES:
        raise LabError(f"no proxy mode '{choice.mode}'; there are: {', '.join(MODES)}", 2)
    if choice.mode == "ipvs":
        from netlab.dataplane.ipvs.model import SCHEDULERS

        if choice.scheduler not in SCHEDULERS:
            raise LabError(f"no IPVS scheduler '{choice.scheduler}'; there are: {', '.join(SCHEDULERS)}", 2)
        check_ipvs()


def check_ipvs() -> None:
    """LabError where IPVS mode cannot work here, with what is missing and the remedy."""
    from netlab.kernel.features import UnsupportedFeature, require

    for feature in IPVS_FEATURES:
        try:
            require(feature, "proxy mode ipvs")
        except UnsupportedFeature as lack:
            raise LabError(str(lack)) from None


# -- what the agents say ----------------------------------------------------------------------------------------------


def report(node: str, choice: ProxyChoice, state: str, error: str = "") -> None:
    """Told by an agent: "starting", "ready" or "failed"."""
    STATUS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**asdict(choice), "state": state, "error": error, "time": time.time()})
    write_atomically(STATUS / f"{node}.json", text)


def reported(node: str) -> Obj:
    """The last report, {} where there is none."""
    try:
        found: Obj = json.loads((STATUS / f"{node}.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def last_choice(node: str) -> ProxyChoice | None:
    """What the node's proxy was, the last time that one said so."""
    found = reported(node)
    names = ("mode", "scheduler", "strict_arp")
    return ProxyChoice(**{name: found[name] for name in names}) if found else None


# -- the operation of labd --------------------------------------------------------------------------------------------


async def answer(paths: LabPaths, topology: Topology, request: Obj) -> Obj:
    """What `klab proxy-mode` asked: {"nodes": …}, or {"error": …, "status": …}. Without a mode nothing changes."""
    try:
        nodes = check_nodes(topology, request.get("nodes") or ())
        if request.get("mode"):
            choice = requested(topology, request)
            await asyncio.to_thread(check_choice, choice)
            began = time.time()
            choose(paths.state, topology, nodes, choice)
            await _tell_agents()
            await _wait(nodes, choice, began, float(request.get("timeout") or SWITCH_TIMEOUT))
    except LabError as error:
        return {"error": str(error), "status": error.status}
    every = chosen(paths.state, topology)
    return {"nodes": {name: {**asdict(every[name]), **_seen(name)} for name in nodes}}


def _seen(node: str) -> Obj:
    found = reported(node)
    return {"state": found.get("state", "starting"), "error": found.get("error", "")}


async def _tell_agents() -> None:
    init = await InitClient.connect()
    try:
        for process in await init.list("component/agent-"):
            if process.exit is None:
                await init.kill(process.id, signal.SIGHUP)
    finally:
        await init.close()


async def _wait(nodes: Sequence[str], choice: ProxyChoice, began: float, timeout: float) -> None:
    end = time.monotonic() + timeout
    waiting = list(nodes)
    while True:
        for name in list(waiting):
            found = reported(name)
            if last_choice(name) != choice or found.get("state") == "starting":
                continue
            if found["state"] == "failed" and found["time"] >= began:
                raise LabError(f"node '{name}': proxy mode {choice}: {found['error']} (klab logs shows more)")
            if found["state"] == "ready":
                waiting.remove(name)
        if not waiting:
            return
        if time.monotonic() > end:
            raise LabError(
                f"the proxy of {', '.join(waiting)} was not in mode {choice} after {timeout:.0f} s; it goes on trying "
                "('klab proxy-mode' shows how it is, 'klab logs' why)"
            )
        await asyncio.sleep(0.05)
