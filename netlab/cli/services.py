"""`klab proxy-mode`, `klab conntrack`, `klab explain`: how Services work on the nodes, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from netlab.api.types import Obj
from netlab.cli.common import output_option, print_json, print_table, this_lab

if TYPE_CHECKING:
    from netlab.sandbox.paths import LabPaths
    from netlab.trace import connections

EXTERNAL = """\
The proxy of {nodes} has left, and its rules with it. A real kube-proxy takes its place, with any of its modes:

  klab exec {first} -- kube-proxy --kubeconfig {kubeconfig} \\
      --hostname-override {first} --cluster-cidr {cidr} --proxy-mode iptables --conntrack-max-per-core 0

It must find br_netfilter's and conntrack's settings as they are; 'klab proxy-mode iptables' brings ours back."""


@click.command(
    "proxy-mode",
    epilog="Example: klab proxy-mode     klab proxy-mode nftables     klab proxy-mode ipvs --scheduler lc --node node1",
)
@click.argument("mode", required=False)
@click.option("--node", "nodes", multiple=True, metavar="NODE", help="Only this node; may be given several times.")
@click.option("--scheduler", help="IPVS' scheduler: rr, wrr, lc, wlc, sh, dh, …  [default: the topology's, or rr]")
@click.option(
    "--strict-arp/--no-strict-arp",
    default=None,
    help="IPVS: nodes do not answer ARP for service addresses.  [default: the topology's, or no]",
)
@output_option
@click.pass_context
def proxy_mode_command(
    ctx: click.Context,
    mode: str | None,
    nodes: tuple[str, ...],
    scheduler: str | None,
    strict_arp: bool | None,
    output: str,
) -> None:
    """How Services are made: MODE is iptables, ipvs, nftables, external or none. Without MODE: what each node has.

    A change removes all that the former mode wrote once the new one is in place, and is kept over restarts. Connections
    that stand go on, but for those that IPVS itself carried. With external the nodes are left to a real kube-proxy.
    """
    from netlab.lab.bus import ask
    from netlab.lab.record import LabError

    if mode != "ipvs" and (strict_arp or ctx.get_parameter_source("scheduler") is ParameterSource.COMMANDLINE):
        raise click.UsageError("--scheduler and --strict-arp are IPVS': klab proxy-mode ipvs --scheduler lc", ctx)
    paths = this_lab(ctx)
    request = {"op": "proxy_mode", "mode": mode, "nodes": nodes, "scheduler": scheduler, "strict_arp": strict_arp}
    found = next(ask(paths.control_socket, request, 90.0))
    if "error" in found:
        raise LabError(found["error"], found.get("status", 1))
    if output == "json":
        print_json(found["nodes"])
        return
    rows = [
        (name, one["mode"], _details(one), one["state"] + (f": {one['error']}" if one["error"] else ""))
        for name, one in found["nodes"].items()
    ]
    print_table(("NODE", "MODE", "DETAILS", "STATE"), rows)
    if mode == "external":
        from netlab.lab.components import component_kubeconfig
        from netlab.topology import load

        names = list(found["nodes"])
        kubeconfig = component_kubeconfig(paths, "kube-proxy")
        cidr = load(paths.topology).cluster.pod_cidr
        click.echo()
        click.echo(EXTERNAL.format(nodes=", ".join(names), first=names[0], kubeconfig=kubeconfig, cidr=cidr))


def _details(one: dict[str, object]) -> str:
    if one["mode"] != "ipvs":
        return ""
    return f"scheduler {one['scheduler']}" + (", strict ARP" if one["strict_arp"] else "")


@click.command(
    "conntrack",
    epilog="Example: klab conntrack --service web     klab conntrack --pod default/client --watch -o json",
)
@click.option("--node", "nodes", multiple=True, metavar="NODE", help="Only this node; may be given several times.")
@click.option("--pod", metavar="[NAMESPACE/]NAME", help="Only connections of this pod.")
@click.option("--service", metavar="[NAMESPACE/]NAME[:PORT]", help="Only connections to this Service.")
@click.option("--watch", is_flag=True, help="Not what is there, but what begins, changes and ends, until Ctrl-C.")
@output_option
@click.pass_context
def conntrack_command(
    ctx: click.Context, nodes: tuple[str, ...], pod: str | None, service: str | None, watch: bool, output: str
) -> None:
    """Tracked connections of the nodes, with pod and Service names for the addresses.

    TO is where the client sent it; ANSWERED BY is who really answers, "=" where nothing was translated; SEEN AS is the
    client's address as the other side sees it, "=" where it is the client's own.
    """
    from netlab.lab import looking, proxymodes
    from netlab.topology import load
    from netlab.trace import connections

    paths = this_lab(ctx)
    wanted = proxymodes.check_nodes(load(paths.topology), nodes)
    services, pods, machines = looking.objects(paths, ("v1", "services"), ("v1", "pods"), ("v1", "nodes"))
    known = connections.names(services, pods, machines)
    _require("pod", pod, pods, paths.name)
    _require("service", service, services, paths.name)

    def is_wanted(entry: connections.Named) -> bool:
        return (pod is None or connections.about_pod(entry, _qualified(pod))) and (
            service is None or connections.about_service(entry, _qualified(service))
        )

    def entries(rows: Iterable[Obj]) -> Iterator[connections.Named]:
        for row in rows:
            if "following" in row:
                if output == "json":
                    click.echo(json.dumps(row))
            else:
                entry = connections.named(connections.connection(str(row.pop("node")), row), known)
                if is_wanted(entry):
                    yield entry

    if watch:
        _watch(entries, paths, wanted, output)
        return
    with looking.tables(paths, "conntrack", wanted) as rows:
        found = sorted(entries(rows), key=connections.row)
    if output == "json":
        print_json([connections.to_obj(entry) for entry in found])
    elif found:
        print_table(connections.HEADER, [connections.row(entry) for entry in found])
    else:
        click.echo("no tracked connections" + (" that match" if pod or service else ""))


def _require(kind: str, wanted: str | None, objects: Sequence[Obj], lab: str) -> None:
    """LabError where an object that was asked for is not there; its port, of a Service, is not looked at."""
    from difflib import get_close_matches

    from netlab.api.meta import key
    from netlab.lab.record import LabError

    names = [key(one) for one in objects]
    if wanted is None or (name := _qualified(wanted).partition(":")[0]) in names:
        return
    close = get_close_matches(name, names, 1)
    hint = f"did you mean '{close[0]}'?" if close else f"'klab kubectl get {kind}s -A' lists them"
    raise LabError(f"no {'Service' if kind == 'service' else kind} '{name}' in lab '{lab}'; {hint}", 2)


def _watch(
    entries: Callable[[Iterable[Obj]], Iterable[connections.Named]],
    paths: LabPaths,
    nodes: Sequence[str],
    output: str,
) -> None:
    from netlab.lab import looking
    from netlab.trace import connections

    with suppress(KeyboardInterrupt), looking.tables(paths, "conntrack-events", nodes) as rows:
        for entry in entries(rows):
            if output == "json":
                click.echo(json.dumps(connections.to_obj(entry)))
            else:
                click.echo("   ".join((entry.connection.event.ljust(7), *connections.row(entry))))


def _qualified(name: str) -> str:
    return name if "/" in name else f"default/{name}"


@click.command(
    "explain",
    epilog="Example: klab explain svc/web     klab explain svc/web:http -n shop --node node1 --mode all --count 10",
)
@click.argument("service", metavar="svc/NAME[:PORT]")
@click.option("-n", "--namespace", default="default", show_default=True, help="The Service's namespace.")
@click.option("--node", metavar="NODE", help="Whose rules; by default the first worker's.")
@click.option(
    "--mode",
    type=click.Choice(["iptables", "ipvs", "nftables", "all"]),
    help="Which mode's rules; by default the node's own. One that does not run there is computed.",
)
@click.option(
    "--from", "origins", type=click.Choice(["pod", "node", "outside"]), multiple=True, help="Who calls the Service."
)
@click.option(
    "--count",
    "seconds",
    type=click.FloatRange(min=0, min_open=True, max=3600),
    metavar="SECONDS",
    help="Count new connections for so long, each IP family in its turn; the counters shown are of that time alone.",
)
@click.option("--brief", is_flag=True, help="Words and counters, without the rules themselves.")
@output_option
@click.pass_context
def explain_command(
    ctx: click.Context,
    service: str,
    namespace: str,
    node: str | None,
    mode: str | None,
    origins: tuple[str, ...],
    seconds: float | None,
    brief: bool,
    output: str,
) -> None:
    """Follow a client's packet to a Service through a node's rules, to each endpoint.

    Each step says what happens, which rule does it, and how many packets that rule has seen; the end says which share
    of the connections goes where, and whether they are masqueraded. Steps in parentheses would be for other clients.

    kube-proxy's nftables rules have no counters. With --count a table of klab's own looks, beside them, at which new
    connections come and where they are sent; it decides nothing, and is gone when the time is over. The other modes
    then show by how much their own counters went up.
    """
    from netlab.dataplane.explain import words
    from netlab.lab import explaining

    paths = this_lab(ctx)
    found = explaining.explain(paths, service, namespace, node, mode, origins, seconds or 0)  # type: ignore[arg-type]
    if output == "json":
        print_json({"node": found.node, "explanations": [words.to_obj(one) for one in found.explanations]})
        return
    within = f"; counted for {seconds:g} s" if seconds else ""
    click.echo(f"on node {found.node}, whose proxy mode is {found.mode}{within}")
    if mode == "all":
        header, rows = words.comparison(found.explanations)
        print_table(header, rows)
    for one in found.explanations:
        click.echo()
        for line in words.text(one, found.names, rules=not brief):
            click.echo(line)
