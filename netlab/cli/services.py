"""`klab proxy-mode`, `klab conntrack`, `klab explain`: how Services work on the nodes, and why."""

from __future__ import annotations

import click

from netlab.cli.common import output_option, print_json, print_table, this_lab

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
@click.option("--scheduler", default="rr", show_default=True, help="IPVS' scheduler: rr, wrr, lc, wlc, sh, dh, …")
@click.option("--strict-arp", is_flag=True, help="IPVS: nodes do not answer ARP for service addresses.")
@output_option
@click.pass_context
def proxy_mode_command(
    ctx: click.Context, mode: str | None, nodes: tuple[str, ...], scheduler: str, strict_arp: bool, output: str
) -> None:
    """How Services are made: MODE is iptables, ipvs, nftables, external or none. Without MODE: what each node has.

    A change removes all that the former mode wrote once the new one is in place, and is kept over restarts. Connections
    that stand go on, but for those that IPVS itself carried. With external the nodes are left to a real kube-proxy.
    """
    from netlab.lab.bus import ask
    from netlab.lab.record import LabError

    paths = this_lab(ctx)
    request = {"op": "proxy_mode", "mode": mode, "nodes": nodes, "scheduler": scheduler, "strict_arp": strict_arp}
    found = next(ask(paths.control_socket, request, 60.0))
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
