"""`klab trace`: where a packet goes, what happens to it there, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from netlab.cli.common import output_option, print_json, this_lab

COLOURS: dict[str, dict[str, Any]] = {
    "place": {"fg": "cyan", "bold": True},
    "packet": {"bold": True},
    "rule": {"fg": "magenta"},
    "change": {"fg": "yellow"},
    "good": {"fg": "green", "bold": True},
    "bad": {"fg": "red", "bold": True},
    "dim": {"dim": True},
    "head": {"underline": True},
}
EXAMPLES = (
    "Example: klab trace client svc/web     klab trace client web-0:8080 --proto udp     "
    "klab trace client web.default     "
    "klab trace outside node1:30080 --html way.html     klab trace client outside --predict -v"
)


@click.command("trace", epilog=EXAMPLES)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST[:PORT]", required=False)
@click.option(
    "--proto",
    type=click.Choice(["tcp", "udp", "icmp"]),
    help="By default DST's own: a Service's, tcp with a port, else icmp.",
)
@click.option("--predict", "mode", flag_value="predict", help="Only compute it: nothing is sent.")
@click.option("--observe", "mode", flag_value="observe", help="Only send and watch: nothing is computed.")
@click.option("--live", is_flag=True, help="Follow the next real packet from SRC to DST instead of sending one.")
@click.option("--http", "url", metavar="URL", help="A whole request from SRC to URL, which stands for DST.")
@click.option("--reply/--no-reply", default=True, show_default=True, help="The way of the answer, too.")
@click.option(
    "--size",
    type=click.IntRange(0, 60000),
    default=0,
    metavar="BYTES",
    help="Payload of a datagram or an echo request.",
)
@click.option("--fragment", is_flag=True, help="The packet may be fragmented on its way.")
@click.option("-6", "ipv6", is_flag=True, help="By IPv6, where SRC and DST have both.")
@click.option("-v", "--verbose", "every", is_flag=True, help="Every rule, not only those that decide.")
@click.option(
    "-w",
    "pcap",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a pcapng file: one interface for each hop.",
)
@click.option(
    "--svg", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a sequence picture."
)
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="The same as a page."
)
@click.option(
    "--timeout",
    type=float,
    metavar="SECONDS",
    help="For the answer; with --live for the packet.  [default: 2; with --live 30]",
)
@output_option
@click.pass_context
def trace_command(
    ctx: click.Context,
    source: str,
    target: str | None,
    proto: str | None,
    mode: str | None,
    live: bool,
    url: str | None,
    reply: bool,
    size: int,
    fragment: bool,
    ipv6: bool,
    every: bool,
    pcap: Path | None,
    svg: Path | None,
    page: Path | None,
    timeout: float | None,
    output: str,
) -> None:
    """Where a packet goes from SRC to DST, hop by hop, and what happens to it there and why.

    SRC and DST are pods ([NAMESPACE/]NAME), machines of the topology, `outside`, addresses, and for DST
    svc/[NAMESPACE/]NAME or a DNS name, which is looked up first. A pod goes before a machine of the same name;
    pod/NAME, node/NAME and host/NAME say which. A real packet is sent and seen at every interface and rule; the same
    way is computed from the tables of every machine, and the two are compared. Exit status 0: it arrives, and as
    computed; 1: it does not, or not as computed.
    """
    from netlab.lab.tracing import Asked, trace

    if not target and not url:
        raise click.UsageError("to where? klab trace SRC DST[:PORT], or klab trace SRC --http URL", ctx)
    if target and "://" in target:
        raise click.UsageError(f"a URL is --http {target}: klab trace {source} --http {target}", ctx)
    wait = (30.0 if timeout is None else timeout) if live else 0.0
    answer = 2.0 if timeout is None else timeout
    asked = Asked(source, target or "", proto or "", mode or "both", size, not fragment, ipv6, wait, url or "", answer)
    found = trace(this_lab(ctx), asked)
    if pcap is not None:
        from netlab.trace.file import to_pcapng

        pcap.write_bytes(to_pcapng(found))
    title = f"{source} → {target or url}"
    if svg is not None or page is not None:
        from netlab.trace import picture

        if svg is not None:
            svg.write_text(picture.svg(found))
        if page is not None:
            page.write_text(picture.html(found, title))
    if output == "json":
        from dataclasses import asdict

        print_json({key: value for key, value in asdict(found).items() if key != "frames"})
    else:
        from netlab.trace import tell

        colour = sys.stdout.isatty()
        for line in tell.report(found, every=every, reply=reply):
            parts = (click.style(text, **COLOURS.get(style, {})) if colour else text for text, style in line)
            click.echo("".join(parts).rstrip())
    main = found.observed or found.predicted[0]
    arrived = all(one.verdict.kind == "delivered" for one in ([found.observed] if found.observed else found.predicted))
    ctx.exit(0 if arrived and found.difference is None and main is not None and not found.error else 1)
