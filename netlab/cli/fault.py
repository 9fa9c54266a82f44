"""`klab fault`: break something on purpose, see what is broken, and mend it."""

from __future__ import annotations

import time
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import click

from netlab.api.types import Obj
from netlab.cli import examples_in_lines
from netlab.cli.common import ended_in_order, output_option, print_json, print_table, this_lab
from netlab.lab.faults.kinds import KINDS
from netlab.lab.faults.model import Fault, options_of

EXAMPLES = {
    "link-down": "node1 --for 10s",
    "link-flap": "node1:eth0 --down 500ms --up 2s --seed 7",
    "partition": "node1,node2 master     klab fault partition node1 --way in",
    "node-crash": "node2 --for 30s",
    "node-reboot": "node2 --down 5s",
    "process-kill": "pod/web-0     klab fault process-kill controller-manager --for 20s",
    "process-pause": "apiserver --for 5s",
    "loss": "node1 --percent 20% --seed 7     klab fault loss pod/web-0 --percent 5% --way in",
    "delay": "node1 --delay 50ms --jitter 10ms",
    "reorder": "node1 --percent 25% --delay 20ms",
    "duplicate": "node1 --percent 10%",
    "bandwidth": "node1 --rate 1Mbit",
    "mtu-black-hole": "node1 --size 1400",
    "wrong-fdb": "node1 --peer node2     klab fault wrong-fdb node1 --peer node2 --to none",
    "wrong-arp": "node1 --ip 192.168.77.4",
    "conntrack-full": "node1 --for 10s",
    "dns-loss": "node1 --percent 50%",
    "stale-rule": "node1 --service web --endpoint 10.244.1.250:8080",
    "missing-rule": "node1 --service kube-system/kube-dns:dns",
    "clock-skew": "node1 --offset -30s",
}


class _Faults(click.Group):
    """`ls`, `heal`, `run`, `kinds`, and a command for every kind, made from its fields."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *KINDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        return found or (_command(KINDS[cmd_name]) if cmd_name in KINDS else None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            from netlab.lab.faults.model import suggestion

            raise click.UsageError(f"no fault '{args[0]}'; {suggestion(args[0], known)}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    "fault",
    cls=_Faults,
    epilog="Example: klab fault link-down node1 --for 10s     klab fault ls     klab fault heal --all",
)
def fault_command() -> None:
    """Break something on purpose: cables, nodes, processes, packets, entries, rules, clocks. All of it can be mended.

    A fault lasts as long as --for says, or until 'klab fault heal'; 'klab down' forgets it.
    """


def _command(kind: type[Fault]) -> click.Command:
    options: list[click.Parameter] = [
        click.Argument(["targets"], nargs=-1, required=True, metavar="TARGET..."),
    ]
    for name, one in options_of(kind).items():
        about = one.metadata["about"]
        needed = one.default is MISSING
        shown = about if needed else f"{about}  [default: {_default(one.default)}]"
        options.append(click.Option([f"--{name}"], required=needed, help=shown, metavar=name.upper()))
    options += [
        click.Option(["--for", "duration"], metavar="TIME", help="Heal it after so long, such as 10s or 500ms."),
        click.Option(["--seed"], type=int, help="Whatever is random is the same for the same seed."),
    ]
    click_output = click.Option(
        ["-o", "--output"], type=click.Choice(["text", "json"]), default="text", help="Output format."
    )
    command = click.Command(
        kind.kind,
        params=[*options, click_output],
        callback=_callback(kind),
        help=f"{kind.about}\n\nTARGET: {kind.what}.",
        epilog=f"Example: klab fault {kind.kind} {EXAMPLES[kind.kind]}",
    )
    return examples_in_lines(command)


def _default(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _callback(kind: type[Fault]) -> Any:
    def run(targets: tuple[str, ...], duration: str | None, seed: int | None, output: str, **written: str) -> None:
        from netlab.lab import faulting
        from netlab.lab.faults.model import FaultError, make, seconds
        from netlab.lab.record import LabError

        options = {name: text for name, text in written.items() if text is not None}
        try:
            make(kind, targets, options)
            if duration is not None:
                seconds(duration)
        except FaultError as error:
            raise LabError(f"{error.key}: {error.message}" if error.key else error.message, 2) from None
        except ValueError as error:
            raise LabError(f"--for: {error}", 2) from None
        paths = this_lab(click.get_current_context())
        found = faulting.inject(paths, kind.kind, targets, options, duration, seed)
        if output == "json":
            print_json(found)
        elif found["state"] == "done":
            click.echo(f"done: {found['text']}")
        else:
            until = f"for {found['left']:.1f} s" if found["left"] is not None else "until it is healed"
            click.echo(f"{found['id']}: {found['text']}, {until} (klab fault heal {found['id']})")

    return run


@fault_command.command("ls", epilog="Example: klab fault ls     klab fault ls -o json")
@output_option
@click.pass_context
def fault_ls(ctx: click.Context, output: str) -> None:
    """What is broken on purpose now."""
    from netlab.lab import faulting

    found = faulting.listed(this_lab(ctx))
    if output == "json":
        print_json(found)
    elif not found:
        click.echo("nothing is broken")
    else:
        print_table(("ID", "FAULT", "SINCE", "LEFT", "SEED"), [_row(one) for one in found])


def _row(one: Obj) -> tuple[object, ...]:
    since = f"{max(0.0, time.time() - one['began']):.0f}s"
    left = "" if one["left"] is None else f"{one['left']:.0f}s"
    return (one["id"], one["text"], since, left, one["seed"])


@fault_command.command("heal", epilog="Example: klab fault heal loss-1     klab fault heal --all")
@click.argument("ids", metavar="[ID...]", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Everything that is broken.")
@click.pass_context
def fault_heal(ctx: click.Context, ids: tuple[str, ...], every: bool) -> None:
    """Mend faults. What is healed already is no error."""
    from netlab.lab import faulting
    from netlab.lab.record import LabError

    if bool(ids) == every:
        raise LabError("which? klab fault heal ID…, or klab fault heal --all", 2)
    found = faulting.heal(this_lab(ctx), ids)
    for one in found:
        click.echo(f"healed {one['id']}: {one['text']}")
    if not found:
        click.echo("nothing to heal")


@fault_command.command("kinds", epilog="Example: klab fault kinds     klab fault kinds -o json")
@output_option
def fault_kinds(output: str) -> None:
    """What can be broken, and with which options (klab fault KIND --help says more)."""
    rows = [(kind.kind, " ".join(f"--{name}" for name in options_of(kind)), kind.about) for kind in KINDS.values()]
    if output == "json":
        print_json([{"kind": kind, "options": options.split(), "about": about} for kind, options, about in rows])
    else:
        print_table(("KIND", "OPTIONS", "WHAT"), rows)


@fault_command.command("run", epilog="Example: klab fault run bad-day.yaml     klab fault run --schema > bad-day.yaml")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--schema", is_flag=True, help="Print an example that explains the format.")
@click.option("--check", is_flag=True, help="Read the file only.")
@click.option("--keep", is_flag=True, help="Leave broken at the end what the file does not heal.")
@click.pass_context
def fault_run(ctx: click.Context, file: Path | None, schema: bool, check: bool, keep: bool) -> None:
    """Play a scenario FILE: faults at their times. At its end, or Ctrl-C, what it broke is mended."""
    from netlab.lab import faulting
    from netlab.lab.faults.scenario import SCHEMA
    from netlab.lab.record import LabError

    if schema:
        click.echo(SCHEMA, nl=False)
        return
    if file is None:
        raise LabError("which scenario? klab fault run FILE (--schema shows the format)", 2)
    scenario = faulting.load(file)
    if check:
        click.echo(f"{file}: {len(scenario.steps)} steps, {scenario.length:g} s")
        return
    with ended_in_order():
        faulting.run(this_lab(ctx), scenario, lambda at, words: click.echo(f"{at:7.2f}s  {words}"), keep=keep)
