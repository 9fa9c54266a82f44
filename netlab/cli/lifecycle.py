"""`klab up` and `klab down`."""

from __future__ import annotations

import time

import click

from netlab.api.types import Obj
from netlab.cli.common import ended_in_order, output_option, print_json, to_terminal
from netlab.lab.finding import running_labs
from netlab.lab.lifecycle import START_TIMEOUT, Started, UpOptions, down, up
from netlab.lab.progress import PHASES
from netlab.lab.record import LabError
from netlab.sandbox.paths import known_labs


@click.command("up", epilog="Example: klab up course     klab up my/lab.yaml --name exam     klab up wan --dry-run")
@click.argument("topology", required=False)
@click.option(
    "--name", metavar="NAME", help="The lab's name (else the topology's); a name known from before comes back."
)
@click.option("--api-port", type=click.IntRange(1, 65535), help="Port of the API on 127.0.0.1 (else any free one).")
@click.option(
    "--upstream-timing/--lab-timing",
    default=None,
    help="Kubernetes' own periods (40 s until NotReady, …), or fast ones: the default, but on a slow machine.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    help=f"Seconds to wait.  [default: {START_TIMEOUT:.0f}, more on a slow machine]",
)
@click.option(
    "--without",
    metavar="NAMES",
    help="Start without these, for others in their place: scheduler,controller-manager,metrics-server "
    "(remembered for the lab; 'none' starts all again).",
)
@click.option("--dry-run", is_flag=True, help="Print what would be made, in the words of ip, bridge and iptables-save.")
@output_option
def up_command(
    topology: str | None,
    name: str | None,
    api_port: int | None,
    upstream_timing: bool | None,
    timeout: float | None,
    without: str | None,
    dry_run: bool,
    output: str,
) -> None:
    """Start a lab from a TOPOLOGY: a file, or a shipped one's name.

    Shipped are course, single, dual-stack, leaf-spine, wan and fattree. Without a TOPOLOGY: course.
    """
    left_out = None if without is None else tuple(part for part in without.split(",") if part not in ("", "none"))
    options = UpOptions(topology, name, api_port, upstream_timing, timeout, left_out)
    if dry_run:
        from netlab.lab.dryrun import plan_text

        click.echo(plan_text(options), nl=False)
        return
    printer = _ProgressPrinter(quiet=output == "json")
    with ended_in_order():
        started = up(options, printer.show)
    if output == "json":
        print_json(_summary(started))
    else:
        if upstream_timing is None and started.record.upstream_timing:
            click.echo("This machine is slow: periods are Kubernetes' own, as with --upstream-timing", err=True)
        _print_summary(started)


class _ProgressPrinter:
    """One line a phase on standard error, as it ends."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.shown = 0

    def show(self, progress: Obj) -> None:
        if self.quiet:
            return
        for phase in progress["phases"][self.shown :]:
            mark = click.style("✓", fg="green") if to_terminal() else "ok"
            click.echo(f"{mark} {PHASES.get(phase['name'], phase['name'])} ({phase['seconds']:.2f} s)", err=True)
        self.shown = len(progress["phases"])


def _summary(started: Started) -> Obj:
    topology = started.topology
    return {
        "name": started.paths.name,
        "topology": started.record.topology,
        "api": started.record.api_url,
        "kubeconfig": str(started.paths.kubeconfig),
        "pid": started.pid,
        "nodes": [
            {"name": node.name, "role": node.role, "address": topology.node_ip(node.name)} for node in topology.nodes
        ],
        "hosts": [{"name": host.name, "address": topology.node_ip(host.name)} for host in topology.hosts],
        "phases": started.phases,
    }


def _print_summary(started: Started) -> None:
    topology = started.topology
    seconds = max((phase["seconds"] for phase in started.phases), default=0.0)
    click.echo(f"Lab '{started.paths.name}' is up after {seconds:.1f} s: Kubernetes at {started.record.api_url}")
    shown: list[tuple[str, str, str]] = [
        (node.name, node.role, "  ".join(topology.node_ips(node.name))) for node in topology.nodes
    ]
    shown += [(host.name, "host", "  ".join(topology.node_ips(host.name))) for host in topology.hosts]
    for name, role, address in shown[:12]:
        click.echo(f"  {name:<16} {role:<14} {address}")
    if len(shown) > 12:
        click.echo(f"  … and {len(shown) - 12} more (klab status)")
    click.echo('Next:  klab kubectl get nodes -o wide      or   eval "$(klab env)" && kubectl get pods -A')


@click.command("down", epilog="Example: klab down     klab down course --purge     klab down --all")
@click.argument("name", required=False)
@click.option("--purge", is_flag=True, help="Also forget the lab's objects and credentials.")
@click.option("--all", "everything", is_flag=True, help="Every lab of this user.")
@click.pass_context
def down_command(ctx: click.Context, name: str | None, purge: bool, everything: bool) -> None:
    """End a lab. Its API objects stay for the next `klab up` of that name, unless --purge."""
    name = name or ctx.find_root().obj
    if everything:
        names = known_labs() if purge else running_labs()
    elif name is not None:
        names = [name]
    else:
        names = running_labs() or (known_labs() if purge else [])
        if len(names) > 1:
            raise LabError(f"several labs: {', '.join(names)}; name one, or --all", 2)
    for lab in names:
        began = time.monotonic()
        if down(lab, purge=purge):
            click.echo(f"lab '{lab}' is down ({time.monotonic() - began:.1f} s)")
        elif not everything:
            click.echo(f"lab '{lab}' was not running")
    if not names:
        click.echo("no lab runs")
