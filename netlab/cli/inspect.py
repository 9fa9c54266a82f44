"""`klab ls`, `status`, `logs`, `version`, `doctor`: what there is, and what this machine can do."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path

import click

from netlab import __version__
from netlab.api.types import Obj
from netlab.cli.common import output_option, print_json, print_table, record_of, this_lab
from netlab.lab.bus import ask
from netlab.lab.finding import log_files
from netlab.lab.record import load_record
from netlab.sandbox.locate import running_pid
from netlab.sandbox.paths import LabPaths, known_labs


@click.command("ls", epilog="Example: klab ls     klab ls -o json")
@output_option
def ls_command(output: str) -> None:
    """The labs of this user: running ones, and stopped ones whose objects are kept."""
    labs: list[Obj] = []
    for name in known_labs():
        paths = LabPaths.of(name)
        record, pid = load_record(paths), running_pid(paths)
        if record is None and pid is None:
            continue
        labs.append(
            {
                "name": name,
                "state": "running" if pid else "stopped",
                "topology": record.topology if record else "",
                "api": record.api_url if record and pid else "",
                "pid": pid,
            }
        )
    if output == "json":
        print_json(labs)
    elif not labs:
        click.echo("no labs; 'klab up' starts one")
    else:
        print_table(
            ("NAME", "STATE", "API", "TOPOLOGY"),
            [(lab["name"], lab["state"], lab["api"], lab["topology"]) for lab in labs],
        )


@click.command("status", epilog="Example: klab status     klab --lab exam status -o json")
@click.argument("name", required=False)
@output_option
@click.pass_context
def status_command(ctx: click.Context, name: str | None, output: str) -> None:
    """A lab's processes, nodes and how its start went. Exit status 1 when something of it is not running."""
    from netlab.topology import load

    paths = this_lab(ctx, name)
    record, topology = record_of(paths), load(paths.topology)
    status = next(ask(paths.control_socket, {"op": "status"}, 10.0))
    components = [process for process in status["processes"] if process["id"].startswith("component/")]
    down = [process["id"] for process in components if process["exit"] and not process["id"].endswith("/addons")]
    pods = sum(1 for process in status["processes"] if process["id"].startswith("pod/") and not process["exit"])
    if output == "json":
        nodes = [{"name": n.name, "role": n.role, "address": topology.node_ip(n.name)} for n in topology.nodes]
        print_json({"name": paths.name, "api": record.api_url, "nodes": nodes, **status})
    else:
        click.echo(f"lab '{paths.name}' ({status['state']}) — API {record.api_url} — {pods} pods")
        if status["error"]:
            click.echo(f"error: {status['error']}")
        print_table(
            ("NODE", "ROLE", "ADDRESS"), [(n.name, n.role, " ".join(topology.node_ips(n.name))) for n in topology.nodes]
        )
        click.echo()
        print_table(
            ("COMPONENT", "STATE", "PID", "STARTS"),
            [
                (
                    process["id"].partition("/")[2],
                    _state(process),
                    process["pid"],
                    process["starts"],
                )
                for process in components
            ],
        )
    if down or status["state"] == "failed":
        ctx.exit(1)


def _state(process: Obj) -> str:
    if not process["exit"]:
        return "running"
    return "done" if process["exit"]["code"] == 0 and not process["exit"]["signal"] else f"ended: {process['exit']}"


@click.command("logs", epilog="Example: klab logs     klab logs apiserver -f     klab logs agent-0 --tail 50")
@click.argument("component", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are written.")
@click.option("--tail", type=click.IntRange(0), help="Only the last lines.")
@click.pass_context
def logs_command(ctx: click.Context, component: str | None, follow: bool, tail: int | None) -> None:
    """What the lab's own components wrote (for pods: `kubectl logs`). Without a COMPONENT: which logs there are."""
    paths = this_lab(ctx)
    files = log_files(paths)
    if component is None:
        print_table(("COMPONENT", "BYTES", "FILE"), [(name, file.stat().st_size, file) for name, file in files.items()])
        return
    if component not in files:
        raise click.ClickException(f"no log of '{component}'; there are: {', '.join(files)}")
    _print_log(files[component], follow, tail)


def _print_log(file: Path, follow: bool, tail: int | None) -> None:
    with file.open(errors="replace") as log:
        lines = log.readlines()
        sys.stdout.writelines(lines if tail is None else lines[len(lines) - min(tail, len(lines)) :])
        while follow:
            sys.stdout.flush()
            line = log.readline()
            if line:
                sys.stdout.write(line)
            else:
                time.sleep(0.2)


@click.command("version", epilog="Example: klab version -o json")
@output_option
def version_command(output: str) -> None:
    """netlab's version, and the Kubernetes version whose behaviour it follows."""
    from netlab.api.version import KUBERNETES_VERSION

    if output == "json":
        print_json({"netlab": __version__, "kubernetes": KUBERNETES_VERSION, "python": sys.version.split()[0]})
    else:
        click.echo(f"klab {__version__} (Kubernetes {KUBERNETES_VERSION}, Python {sys.version.split()[0]})")


@click.command("doctor", epilog="Example: klab doctor     klab doctor -o json")
@output_option
@click.pass_context
def doctor_command(ctx: click.Context, output: str) -> None:
    """What this kernel and user can and cannot do for a lab, and the remedy. Exit status 1 when no lab can run."""
    from netlab.sandbox.doctor import checks

    found = checks()
    if output == "json":
        print_json([asdict(check) for check in found])
    else:
        marks = {True: "ok", False: "--"}
        print_table(
            ("", "CHECK", "FOUND", "NEEDED FOR"),
            [
                ("!!" if not c.ok and c.level == "required" else marks[c.ok], c.name, c.found, c.needed_for)
                for c in found
            ],
        )
        for check in found:
            if not check.ok and check.remedy:
                click.echo(f"\n{check.name}: {check.remedy}")
    if any(not check.ok and check.level == "required" for check in found):
        ctx.exit(1)
