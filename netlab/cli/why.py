"""`klab why`, `klab check`: what is wrong, and what to do."""

from __future__ import annotations

import click

from netlab.cli.common import output_option, print_json, print_table, this_lab


@click.command(
    "why",
    epilog="Example: klab why client web     klab why pod/client web.shop:80 --all     klab why outside node1:30080",
)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST[:PORT]")
@click.option(
    "--proto", type=click.Choice(["tcp", "udp", "icmp"]), default="tcp", show_default=True,
    help="Where DST is no Service (a Service's port says it itself).",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Everything found, not only the first thing.")
@output_option
@click.pass_context
def why_command(ctx: click.Context, source: str, target: str, proto: str, everything: bool, output: str) -> None:
    """Why SRC does not reach DST: the first thing that is wrong between them, and what to do about it.

    Looks at the name, the Service, its endpoints, the rules, routes, neighbours, forwarding entries, cables, pods and
    the processes that listen, each as it is and as it should be, and sends probes. SRC is a pod, a machine, or
    `outside`; DST is a Service or pod (svc/NAME, pod/NAME, NAME.NAMESPACE), a machine, a DNS name or an address.
    Nothing is changed. Exit status 0 when everything works, 1 when something is wrong.
    """
    from netlab.lab.diagnosis import collect, words

    answer = collect.why(this_lab(ctx), source, target, proto)
    if output == "json":
        shown = answer["findings"] if everything else answer["findings"][:1]
        print_json({**answer, "findings": shown})
    else:
        for line in words.why(answer, everything=everything):
            click.echo(line)
    if answer["findings"]:
        ctx.exit(1)


@click.command("check", epilog="Example: klab check     klab --lab exam check -o json")
@output_option
@click.pass_context
def check_command(ctx: click.Context, output: str) -> None:
    """The whole lab against what it should be: processes, links, overlay, rules, pods, DNS, leftovers, clocks.

    Nothing is changed. What is just changing is looked at twice. Exit status 0 when all is well, 1 when not.
    """
    from netlab.lab.diagnosis import collect, words

    answer = collect.check(this_lab(ctx))
    if output == "json":
        print_json(answer)
    else:
        print_table(("CHECK", "STATE", "LOOKED AT"), words.check_rows(answer))
        for line in words.check_findings(answer):
            click.echo(line)
    if not answer["ok"]:
        ctx.exit(1)
