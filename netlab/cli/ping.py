"""`klab ping`: who reaches whom, thousands of pairs at once."""

from __future__ import annotations

from pathlib import Path

import click

from netlab.cli.common import output_option, print_json, this_lab


@click.command(
    "ping",
    epilog="Example: klab ping --all     klab ping --all --proto tcp --to services,nodeports -o json > before.json     "
    "klab ping --all --proto tcp --to services,nodeports --diff before.json     klab ping web-0 svc/web --proto tcp",
)
@click.argument("source", metavar="[SRC", required=False)
@click.argument("target", metavar="[DST]]", required=False)
@click.option("--all", "everybody", is_flag=True, help="Every pod (and node) asks; needed where no SRC is given.")
@click.option(
    "--proto",
    type=click.Choice(["icmp", "tcp", "udp", "sctp"]),
    default="icmp",
    show_default=True,
    help="What to send.",
)
@click.option(
    "--to", default="", metavar="GROUPS", help="Of pods,services,nodes,dns,nodeports,hosts; by default pods and nodes "
    "(icmp) or pods and services."
)  # fmt: skip
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Only N of the pairs, chosen by --seed.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which pairs --sample takes.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a heat map.")
@click.option("--diff", metavar="FILE|predicted", help="Compare with an earlier -o json, or with prediction.")
@click.option("--expect", type=click.Choice(["all", "none"]), help="Exit status 1 where not all (any) pairs reach.")
@output_option
@click.pass_context
def ping_command(
    ctx: click.Context,
    source: str | None,
    target: str | None,
    everybody: bool,
    proto: str,
    to: str,
    sample: int | None,
    seed: int,
    svg: Path | None,
    diff: str | None,
    expect: str | None,
    output: str,
) -> None:
    """The reachability matrix: SRC and DST are pods ([NAMESPACE/]NAME), machines, svc/NAME, or addresses.

    Every pair is asked from a socket in the source's own network namespace, all at once. Reachable means: an echo reply
    (icmp); a connection, or a reset by the machine itself where no port was promised (tcp); an answer, or "port
    unreachable" by the machine itself where no port was promised (udp, sctp); the right answer (dns). A reset where a
    Service, a NodePort or a declared port promises a listener is "refused". What stays silent is asked three times, for
    as long as the network's own answers take. Exit status 1 where --diff finds a difference or --expect does not hold.
    """
    from netlab.lab import reaching
    from netlab.lab.record import LabError
    from netlab.trace.reach import render
    from netlab.trace.reach.matrix import differences, unlike_predicted

    if source is None and not everybody:
        raise LabError("whom? klab ping SRC [DST], or klab ping --all", 2)
    if target is not None and to:
        raise LabError("--to chooses groups of targets; with a DST there is one already", 2)
    paths = this_lab(ctx)
    asking = reaching.Asking(proto, reaching.groups_of(to), source, target, sample, seed)  # type: ignore[arg-type]
    before = reaching.earlier(paths, asking, diff) if diff else None
    found = reaching.ping(paths, asking)
    compare = unlike_predicted if diff == reaching.PREDICTED else differences
    changed = compare(before, found) if before is not None else []
    if svg is not None:
        svg.write_text(render.svg(found, changed))
    if output == "json":
        more = {"differences": [vars_of(one) for one in changed]} if before is not None else {}
        print_json({**found.to_obj(), **more})
    else:
        for line in render.lines(found):
            click.echo(line)
        if before is not None:
            click.echo("")
            click.echo("\n".join(render.differences(changed)) if changed else "no difference")
    reached = found.reachable
    failed = (expect == "all" and reached < found.asked) or (expect == "none" and reached > 0)
    if changed or failed:
        ctx.exit(1)


def vars_of(one: object) -> dict[str, object]:
    """A difference as JSON."""
    from dataclasses import asdict

    from netlab.trace.reach.matrix import VERDICTS, Difference

    assert isinstance(one, Difference)  # noqa: S101
    words = {name: VERDICTS[letter] for name, letter in (("before", one.before), ("after", one.after))}
    return {**asdict(one), **words}
