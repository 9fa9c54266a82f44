"""`klab capture`: packets at any interfaces of any machines and pods, merged in time."""

from __future__ import annotations

import click

from netlab.cli.common import this_lab
from netlab.lab import inside


@click.command(
    "capture",
    epilog="Example: klab capture node1:eth0 node2:eth0 --filter 'udp port 8472'     klab capture pod/client node1",
)
@click.argument("where", nargs=-1, required=True)
@click.option("--filter", "expression", default="", metavar="EXPRESSION", help="As tcpdump's, run by the kernel.")
@click.option("--raw", is_flag=True, help="One JSON line a frame; ends when standard input ends.")
@click.pass_context
def capture_command(ctx: click.Context, where: tuple[str, ...], expression: str, raw: bool) -> None:
    """Print the packets seen at MACHINE[:INTERFACE] or pod/[NAMESPACE/]NAME[:INTERFACE] until Ctrl-C."""
    ctx.exit(inside.capture(this_lab(ctx), where, expression, text=not raw))
