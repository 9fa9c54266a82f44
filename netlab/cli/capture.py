"""`klab capture`: packets at any interfaces of any machines, switches and pods, merged in time."""

from __future__ import annotations

import os
import sys

import click

from netlab.cli.common import this_lab
from netlab.lab import capturing


@click.command(
    "capture",
    epilog="Example: klab capture node1:eth0 node2:eth0 --filter 'udp port 8472'     klab capture pod/client node1     "
    "klab capture all --filter 'tcp[tcpflags] & tcp-syn != 0 and not host 10.96.0.1'     "
    "klab capture all --follow 'client→svc/web'     klab capture 'node*' -w - | tshark -r -",
)
@click.argument("where", nargs=-1, required=True)
@click.option("--filter", "expression", default="", metavar="EXPRESSION", help="tcpdump's language, run by the kernel.")
@click.option("-w", "--write", metavar="FILE", help="pcapng to a file, '-' is standard output (for Wireshark, tshark).")
@click.option(
    "--follow",
    default="",
    metavar="FROM→TO[:PORT]",
    help="Only this connection, before and after every translation: pod/NAME, a machine, svc/NAME, an address, any.",
)
@click.option("-c", "--count", default=0, type=click.IntRange(0), help="End after so many packets.")
@click.option("--seconds", default=0.0, type=click.FloatRange(0), help="End after so many seconds.")
@click.option("--raw", is_flag=True, help="One JSON line a frame; ends when standard input ends.")
@click.pass_context
def capture_command(
    ctx: click.Context,
    where: tuple[str, ...],
    expression: str,
    write: str | None,
    follow: str,
    count: int,
    seconds: float,
    raw: bool,
) -> None:
    """Show the packets at WHERE until Ctrl-C: MACHINE[:INTERFACE], SWITCH, pod/[NAMESPACE/]NAME[:INTERFACE], all.

    Names may be patterns ('node*:eth0', 'pod/*/*'). Without an INTERFACE a machine's are all meant, a pod's is eth0.
    """
    if write and raw:
        raise click.UsageError("--raw and -w are two formats: choose one", ctx)
    if write == "-" and sys.stdout.isatty():
        raise click.UsageError("-w - writes pcapng, which no terminal can show: pipe it into 'tshark -r -'", ctx)
    paths = this_lab(ctx)
    form = "pcapng" if write else "json" if raw else "text"
    asked = capturing.Capture(where, expression, form, count, seconds, follow)  # type: ignore[arg-type]
    if write and write != "-":
        try:
            file = os.open(write, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as problem:
            raise click.UsageError(f"-w {write}: {problem.strerror}; name a file that can be written", ctx) from None
        os.dup2(file, 1)
    ctx.exit(capturing.capture(paths, asked))
