"""The lab's components: what each process of the control plane runs, and with which configuration.

Each function here is the target of a ProcessSpec (see `specs`), called in a fork of the zygote. Their arguments are
JSON-able; they read the topology again from the lab's state, so that a restart needs nobody's memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from netlab.lab.bus import report
from netlab.sandbox.paths import LabPaths
from netlab.sandbox.spec import ProcessSpec
from netlab.topology import load
from netlab.topology.model import Host, Node, Topology

API_PORT = 6443
NODES_PER_AGENT = 32
"""More agents than processors only cost memory; one agent's loop serves this many nodes with time to spare."""

ZYGOTE_MODULES = (
    "asyncio",
    "ssl",
    "uvloop",
    "orjson",
    "netlab.lab.quick_aiohttp",
    "aiohttp.web",
    "netlab.lab.components",
    "netlab.lab.credentials",
    "netlab.apiserver.server",
    "netlab.apiserver.pki",
    "@component/apiserver",
    "netlab.controllers.manager",
    "netlab.scheduler.scheduler",
    "netlab.node.agent",
    "netlab.node.proxy",
    "netlab.dns.program",
    "netlab.dns.server",
    "netlab.dns.nodecache",
    "netlab.metrics.server",
    "netlab.wardle.server",
    "netlab.client.certificate",
    "netlab.client.door",
    "netlab.client.in_cluster",
    "netlab.client.informer",
    "netlab.client.transport",
    "prometheus_client",
    "prometheus_client.exposition",
)
"""What the fork server imports before it forks components, and the `coredns` builtin image (whose pod has no files of
ours: what it may need later must be imported here)."""


REPLACEABLE = ("scheduler", "controller-manager", "metrics-server")
"""What `klab up --without` can leave out, so that something else takes its place."""


def specs(paths: LabPaths, topology: Topology, upstream_timing: bool, without: Sequence[str] = ()) -> list[ProcessSpec]:
    """The components in the order in which they are started; the first is the API server, the last the add-ons."""
    control_plane = topology.control_planes[0].name
    args = (paths.name, str(paths.state), str(paths.runtime), upstream_timing)

    def component(
        name: str, *more: object, hold: tuple[str, ...] = (), node: str | None = control_plane
    ) -> ProcessSpec:
        own = name.startswith(("agent-", "resolver-"))
        function = name.partition("-")[0] if own else name.replace("-", "_")
        return ProcessSpec(
            id=f"component/{name}",
            target=f"netlab.lab.components:{function}",
            args=(*args, *more),
            via="zygote",
            join={"net": f"/run/netns/{node}"} if node else {},
            hold=hold,
            restart=name != "addons",
            stdio=("null", "log", "log"),
            log=str(paths.logs / f"{name}.log"),
        )

    agents = agent_count(len(topology.nodes))
    return [
        component("apiserver", hold=("api",)),
        *(component(name) for name in ("controller-manager", "scheduler") if name not in without),
        *(component(f"agent-{index}", index, agents, node=None) for index in range(agents)),
        *(component(f"resolver-{host.name}", host.name, node=host.name) for host in resolvers(topology)),
        component("addons"),
    ]


def resolvers(topology: Topology) -> list[Host]:
    """The hosts that are DNS servers."""
    return [host for host in topology.hosts if host.resolver is not None]


def agent_count(nodes: int) -> int:
    """Agent processes for so many nodes: one per 32, at most one per processor, at least one."""
    return max(1, min(os.cpu_count() or 1, -(-nodes // NODES_PER_AGENT)))


def api_url(topology: Topology) -> str:
    """The API server as the lab's own machines reach it."""
    address = topology.node_ip(topology.control_planes[0].name)
    return f"https://{f'[{address}]' if ':' in address else address}:{API_PORT}"


def node_kubeconfig(paths: LabPaths, node: str) -> Path:
    return paths.pki / f"kubelet-{node}.kubeconfig"


def component_kubeconfig(paths: LabPaths, name: str) -> Path:
    return paths.pki / f"{name}.kubeconfig"


def _paths(name: str, state: str, runtime: str) -> LabPaths:
    return LabPaths(name, Path(state), Path(runtime))


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run a component until it ends or SIGTERM asks it to."""
    import uvloop

    async def guarded() -> None:
        task = asyncio.ensure_future(main)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    uvloop.run(guarded())


def apiserver(name: str, state: str, runtime: str, upstream_timing: bool) -> None:
    """The PKI and kubeconfigs, then the API server, on the node's address and on the socket from the host."""
    from netlab.apiserver.config import ApiServerConfig
    from netlab.apiserver.server import serve
    from netlab.lab.credentials import write_credentials
    from netlab.sandbox.client import inherited_fds

    paths = _paths(name, state, runtime)
    topology = load(paths.topology)
    node = topology.control_planes[0].name
    cluster = topology.cluster
    address = topology.node_ip(node)
    addresses = (ip for end in topology.attachments(node) for ip in (end.ip, end.ip6) if ip)
    names = (*dict.fromkeys(addresses), node)
    write_credentials(paths, topology, names)
    config = ApiServerConfig(
        state_dir=paths.state,
        listen=tuple((ip, API_PORT) for ip in topology.node_ips(node)),
        listen_fds=tuple(inherited_fds("api")),
        advertise_address=address,
        advertise_port=API_PORT,
        service_cidr=cluster.service_cidr,
        pod_cidr=cluster.pod_cidr,
        dns_domain=cluster.dns_domain,
        cluster_name=topology.name,
        server_names=names,
        history_seconds=cluster.compaction_interval_s,
        default_toleration_seconds=int(_timing(upstream_timing).default_toleration),
        token_file=paths.state / "tokens.csv",
        audit_policy=paths.state / "audit-policy.yaml",
        audit_log=paths.logs / "audit.log",
    )
    _run(serve(config, ready=announce("apiserver")))


def announce(component: str) -> Callable[[], None]:
    """A callback that reports a component as ready without holding it up."""
    kept: list[asyncio.Task[None]] = []
    return lambda: kept.append(asyncio.get_running_loop().create_task(report(component, "ready")))


def controller_manager(name: str, state: str, runtime: str, upstream_timing: bool) -> None:
    from netlab.controllers import ControllersConfig
    from netlab.controllers.manager import run

    paths = _paths(name, state, runtime)
    topology = load(paths.topology)
    cluster = topology.cluster
    config = ControllersConfig(
        cluster_cidr=cluster.pod_cidr,
        service_cidr=cluster.service_cidr,
        node_mask=cluster.node_prefix,
        node_mask6=cluster.node_prefix6,
        node_order=tuple(node.name for node in topology.nodes),
        root_ca=(paths.pki / "ca.crt").read_text(),
        signing_key=(paths.pki / "ca.key").read_text(),
        account_key=(paths.pki / "sa.key").read_text(),
        cluster_name=topology.name,
        load_balancer_pool=cluster.load_balancer_pool,
        secure_port=10257,
        timing=_timing(upstream_timing),
    )
    _run(run(_client("kube-controller-manager", component_kubeconfig(paths, "controller-manager")), config))


def scheduler(name: str, state: str, runtime: str, upstream_timing: bool) -> None:
    from netlab.scheduler import SchedulerConfig
    from netlab.scheduler.scheduler import run

    paths = _paths(name, state, runtime)
    config = SchedulerConfig(timing=_timing(upstream_timing), secure_port=10259)
    _run(run(_client("kube-scheduler", component_kubeconfig(paths, "scheduler")), config))


def agent(name: str, state: str, runtime: str, upstream_timing: bool, index: int, agents: int) -> None:
    """Every `agents`-th node from `index` on: kubelet, overlay and proxy."""
    from netlab.lab.agent import run_node_agents

    paths = _paths(name, state, runtime)
    _run(run_node_agents(paths, load(paths.topology), index, agents, upstream_timing))


def resolver(name: str, state: str, runtime: str, upstream_timing: bool, host: str) -> None:
    """A DNS server outside the cluster, on one of its hosts."""
    from netlab.dns.outside import serve_host

    topology = load(_paths(name, state, runtime).topology)
    (found,) = (one for one in topology.hosts if one.name == host)
    addresses = [ip for end in topology.attachments(host) for ip in (end.ip, end.ip6) if ip]
    serve_host(addresses, found.resolver or ())


def addons(name: str, state: str, runtime: str, upstream_timing: bool) -> None:
    """Applies the cluster's own add-ons, waits until the cluster is of use, says so, and ends."""
    from netlab.lab.addons import settle
    from netlab.lab.record import load_record

    paths = _paths(name, state, runtime)
    record = load_record(paths)
    without = record.without if record is not None else ()
    resolution = _timing(upstream_timing).metrics_resolution
    client = _client("kubeadm", component_kubeconfig(paths, "addons"))
    _run(settle(client, load(paths.topology), without=without, metrics_resolution=resolution))


def _client(program: str, kubeconfig: Path) -> Any:
    from netlab.api.version import user_agent
    from netlab.client.client import Client
    from netlab.client.kubeconfig import load as load_kubeconfig
    from netlab.client.transport import HttpTransport

    url, context, token = load_kubeconfig(kubeconfig)
    return Client(HttpTransport(url, context, token, user_agent=user_agent(program)))


def _timing(upstream: bool) -> Any:
    from netlab.api.timing import LAB, UPSTREAM

    return UPSTREAM if upstream else LAB


def share(nodes: tuple[Node, ...], index: int, agents: int) -> tuple[Node, ...]:
    """The nodes of one agent: dealt out in turn, so that a few busy neighbours do not sit in one process."""
    return nodes[index::agents]
